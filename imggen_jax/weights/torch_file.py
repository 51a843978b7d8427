"""Reads the tensors of a file written by torch.save or torch.jit.save, without torch and without running its code.

Such a file is a pickle, and a pickle is a program. This reader knows a few names, all of them for tensors and what they
lie in, and refuses a file that uses any other. Both formats of torch.save are read: the zip archive, torch's default
since version 1.6, and the older plain sequence of pickles, in which the Inception weights for FID were published; and
TorchScript's archive, whose modules become dictionaries and whose code is not looked at. Layouts:
torch/serialization.py, torch/csrc/jit/docs/serialization.md.
"""
from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from imggen_jax.errors import WeightsError

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the older format
DTYPES = {"FloatStorage": np.float32, "DoubleStorage": np.float64, "HalfStorage": np.float16, "LongStorage": np.int64,
          "IntStorage": np.int32, "ShortStorage": np.int16, "CharStorage": np.int8, "ByteStorage": np.uint8,
          "BoolStorage": np.bool_}
DEPTH = 2  # dictionaries around a state dict
# What TorchScript writes around the lists and dictionaries of a module: functions whose first argument is the value.
TYPED = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")


class _Storage(NamedTuple):
    key: str
    dtype: type
    count: int


class _Tensor(NamedTuple):
    """A view of a storage, resolved when the storages' bytes have been read."""

    storage: _Storage
    offset: int
    shape: tuple
    strides: tuple


class _Module:
    """A module of TorchScript: its attributes, of which only tensors and further modules matter here."""

    def __setstate__(self, attributes: Any) -> None:
        self.attributes = attributes


def read(path: str | Path, *, wrappers: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """{name: array} of a state dict, or of all tensors of a TorchScript module, named alike.

    Args:
      path: of the file.
      wrappers: names under which the state dict may lie in a larger dictionary; the first that is there is taken, and a
        dictionary that is the only entry of another one.

    Raises:
      WeightsError: the file is missing, damaged, no state dict of tensors, or holds anything else.
    """
    path = Path(path)
    try:
        state = _read_zip(path, wrappers) if zipfile.is_zipfile(path) else _read_sequence(path, wrappers)
    except OSError as error:
        raise WeightsError(f"the weight file {path} cannot be read ({error.strerror or error})") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(f"the weight file {path} is damaged, or no file of tensors: {error}") from error
    # By where a file is damaged, unpickling raises errors of many types.
    except (EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError,
            RecursionError, UnicodeDecodeError, struct.error, zipfile.BadZipFile, NotImplementedError) as error:
        raise WeightsError(f"the weight file {path} is damaged, or no file of tensors ({type(error).__name__})"
                           ) from error
    return state


class _Unpickler(pickle.Unpickler):
    """Knows tensors, their storages, and the dictionary or module around them."""

    def __init__(self, file: IO[bytes]):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, requires_grad, hooks: tensor
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if module.split(".")[0] == "__torch__":  # the module's own class, whose code stays unread
            return _Module
        if module == "torch.jit._pickle" and name in TYPED:
            return lambda value, *kind: value
        raise pickle.UnpicklingError(f"it wants to use {module}.{name}, and only tensors are read")

    def persistent_load(self, identity):
        kind, dtype, key, _, count, *view = identity
        if kind != "storage" or any(view):
            raise pickle.UnpicklingError(f"it refers to a {kind!r} in a way that is not read")
        storage = self.storages[str(key)] = _Storage(str(key), dtype, int(count))
        return storage


def _rebuild(storage, offset, shape, strides, requires_grad, hooks, metadata=None) -> _Tensor:
    del requires_grad, hooks, metadata
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _read_zip(path: Path, wrappers: Sequence[str]) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        index = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if index is None:
            raise pickle.UnpicklingError("the archive has no data.pkl")
        folder = index.removesuffix("data.pkl")
        order = f"{folder}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise pickle.UnpicklingError("its numbers are big-endian")
        content = _Unpickler(io.BytesIO(archive.read(index))).load()
        return _resolve(_tensors(content, wrappers), lambda storage: archive.read(f"{folder}data/{storage.key}"))


def _read_sequence(path: Path, wrappers: Sequence[str]) -> dict[str, np.ndarray]:
    with open(path, "rb") as file:
        magic, _, system = (_Unpickler(file).load() for _ in range(3))
        if magic != MAGIC or not system.get("little_endian"):
            raise pickle.UnpicklingError("it does not begin as torch.save begins")
        unpickler = _Unpickler(file)
        content = unpickler.load()
        keys = _Unpickler(file).load()
        found = {}
        for key in map(str, keys):
            count = struct.unpack("<q", file.read(8))[0]
            found[key] = file.read(count * np.dtype(unpickler.storages[key].dtype).itemsize)
        return _resolve(_tensors(content, wrappers), lambda storage: found[storage.key])


def _tensors(content: Any, wrappers: Sequence[str]) -> dict[str, _Tensor]:
    """The state dict in what was unpickled."""
    if isinstance(content, _Module):
        content = dict(_attributes(content, ""))
    for _ in range(DEPTH):
        content = _unwrapped(content, wrappers)
    if not isinstance(content, dict) or not content:
        raise pickle.UnpicklingError("it is no dictionary of tensors")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise pickle.UnpicklingError(f"{name!r} in it is no tensor")
    return dict(content)


def _unwrapped(content: Any, wrappers: Sequence[str]) -> Any:
    """The dictionary in a dictionary, or what was given where there is none."""
    if not isinstance(content, dict) or not wrappers:
        return content
    entries = [content[name] for name in wrappers if name in content]
    entries += list(content.values()) if len(content) == 1 else []
    return next((entry for entry in entries if isinstance(entry, dict)), content)


def _attributes(module: _Module, prefix: str) -> Iterator[tuple[str, _Tensor]]:
    """(dotted name, tensor) of a TorchScript module and of those in it."""
    for name, value in dict(module.attributes).items():
        if isinstance(value, _Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module):
            yield from _attributes(value, f"{prefix}{name}.")


def _resolve(tensors: Mapping[str, _Tensor], read_storage: Callable) -> dict[str, np.ndarray]:
    storages: dict[str, np.ndarray] = {}
    arrays = {}
    for name, (storage, offset, shape, strides) in tensors.items():
        if storage.key not in storages:
            storages[storage.key] = np.frombuffer(read_storage(storage), np.dtype(storage.dtype).newbyteorder("<"))
        data = storages[storage.key]
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides))
        if len(data) < storage.count or min((offset, *shape, *strides), default=0) < 0 or (
                0 not in shape and last >= len(data)):
            raise pickle.UnpicklingError(f"the numbers of {name!r} are not all there")
        steps = [step * data.itemsize for step in strides]
        arrays[name] = np.lib.stride_tricks.as_strided(data[offset:], shape, steps, writeable=False).copy()
    return arrays
