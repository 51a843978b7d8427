"""Tensors of safetensors files, known by the header and read one at a time; and networks filled with them.

Nothing but safetensors is read here: a file of torch.save, whatever its name, is refused. Every tensor is used, or left
out on purpose by a pattern; one that is missing, left over or of another shape is an error that names it.
"""
from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from imggen_jax.errors import WeightsError
from imggen_jax.game import PyTree

DTYPES: dict[str, Any] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jax.numpy.bfloat16, "I64": np.int64,
    "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_}
LONGEST_HEADER = 100_000_000  # bytes; as in the format's own reader
LFS = b"version "  # what a file begins with that Git LFS has not fetched
LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias", "running_mean": "running_mean",
          "running_var": "running_var"}

TURNED = {4: (3, 2, 0, 1), 2: (1, 0)}  # axes of convolutions and of dense layers, as files have them


class Stored(NamedTuple):
    """A tensor in a file."""

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    start: int  # byte in the file
    turned: bool = False  # whether the file has its two axes in the other order

    def read(self) -> np.ndarray:
        """Its numbers. Raises WeightsError where the file has changed since."""
        count = math.prod(self.shape)
        try:
            numbers = np.fromfile(self.path, self.dtype, count, offset=self.start)
        except OSError as error:
            raise WeightsError(f"the weight file {self.path} cannot be read ({error.strerror or error})") from error
        if len(numbers) != count:
            raise WeightsError(f"the weight file {self.path} has become shorter while it was read")
        return numbers.reshape(self.shape[::-1]).T if self.turned else numbers.reshape(self.shape)


class Header(NamedTuple):
    """What a file says of itself."""

    tensors: Mapping[str, Stored]
    about: Mapping[str, str]  # its metadata


def open_file(path: Path) -> Header:
    """The tensors of a safetensors file, which are not read yet.

    Raises:
      WeightsError: it cannot be read, is truncated or damaged, or is a file of torch.save under another name.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            first = file.read(8)
            length = int.from_bytes(first, "little")
            if first == LFS:
                raise WeightsError(f"{path} is a pointer of Git LFS in the place of the file; run `git lfs pull` "
                                   "in its folder, or download the file")
            if len(first) < 8 or length > LONGEST_HEADER or 8 + length > size:
                if first[:4] == b"PK\x03\x04" or first[:1] == b"\x80":
                    raise WeightsError(f"{path} is a file of torch.save, whatever its name says; only safetensors "
                                       "files are read here, since a pickle is a program. Get that file of the model")
                raise WeightsError(f"{path} is truncated, or no safetensors file; get it again")
            content = json.loads(file.read(length))
        about = content.pop("__metadata__", {})
        return Header({name: _stored(path, entry, 8 + length, size) for name, entry in content.items()}, about)
    except OSError as error:
        raise WeightsError(f"the weight file {path} cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:  # by where it is damaged
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{path} is damaged, or no safetensors file ({type(error).__name__}); get it again"
                           ) from error


def _stored(path: Path, entry: Mapping[str, Any], start: int, size: int) -> Stored:
    kind, shape, (low, high) = entry["dtype"], tuple(int(side) for side in entry["shape"]), entry["data_offsets"]
    if kind not in DTYPES:
        raise WeightsError(f"{path} holds numbers of the type {kind}; {', '.join(DTYPES)} are read")
    dtype = np.dtype(DTYPES[kind])
    if start + high > size:
        raise WeightsError(f"{path} is truncated: its header tells of {start + high:,} bytes or more, and it has "
                           f"{size:,}; get it again")
    if min((low, *shape), default=0) < 0 or high - low != math.prod(shape) * dtype.itemsize:
        raise WeightsError(f"{path} is damaged: the sizes in its header do not fit together; get it again")
    return Stored(path, dtype, shape, start + low)


def open_folder(folder: Path, stem: str) -> dict[str, Stored]:
    """The tensors of a component: of one file, or of several that an index names; of half precision where no other is.

    Args:
      folder: of the component.
      stem: "model", or "diffusion_pytorch_model".

    Raises:
      WeightsError: there is no such file, a part is missing, or as `open_file`.
    """
    for variant in ("", ".fp16", ".bf16"):
        if (path := folder / f"{stem}{variant}.safetensors").is_file():
            return dict(open_file(path).tensors)
        for index in (f"{stem}{variant}.safetensors.index.json", f"{stem}.safetensors.index{variant}.json"):
            if (path := folder / index).is_file():
                return _parts(path)
    others = sorted(path.name for path in folder.glob(f"{stem}*")) if folder.is_dir() else []
    has = f"; of {', '.join(others)} none is read here, only safetensors" if others else ""
    raise WeightsError(f"{folder} has no {stem}.safetensors{has}. Get that file of the model")


def _parts(index: Path) -> dict[str, Stored]:
    content = read_json(index).get("weight_map")
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{index} has no weight_map; get it again")
    files = {name: dict(open_file(index.parent / Path(name).name).tensors) for name in sorted(set(content.values()))}
    found = {name: one for each in files.values() for name, one in each.items()}
    if wrong := sorted(set(content) ^ set(found)):
        raise WeightsError(f"{index} and its files do not fit together: {wrong[0]} is in one of them only")
    return found


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises WeightsError where it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is no JSON file ({type(error).__name__}); get it again") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds no JSON object; get it again")
    return content


def renamed(tensors: Mapping[str, Stored], rename: Callable[[str], str]) -> dict[str, Stored]:
    """The same under other names."""
    return {rename(name): one for name, one in tensors.items()}


def tensor_name(path: Sequence[Any]) -> str:
    """The name of the tensor of a parameter, from the parameter's path."""
    place, _, leaf = ".".join(key.key for key in path).rpartition(".")
    return f"{place}.{LEAVES[leaf]}"


def _is_kernel(path: Sequence[Any]) -> bool:
    return path[-1].key.rpartition(".")[2] == "kernel"


@functools.lru_cache(maxsize=32)
def shapes(net: nn.Module, *inputs: jax.ShapeDtypeStruct | None) -> PyTree:
    """The parameters of a network as shapes, without computing any; kept, since tracing a large one takes seconds."""
    return jax.eval_shape(net.init, jax.random.key(0), *inputs)["params"]


def stored_shapes(wanted: PyTree) -> dict[str, tuple[int, ...]]:
    """The tensors that `fill` takes for parameters, {name: shape}; axes are turned as in the files."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(wanted):
        axes = TURNED[len(leaf.shape)] if _is_kernel(path) else range(len(leaf.shape))
        found[tensor_name(path)] = tuple(leaf.shape[axis] for axis in axes)
    return found


def stored(tree: PyTree) -> dict[str, np.ndarray]:
    """Parameters as `fill` takes them from a file: {name: float32 array}, axes turned as in the files."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf, np.float32)
        found[tensor_name(path)] = np.ascontiguousarray(
            array.transpose(TURNED[array.ndim]) if _is_kernel(path) else array)
    return found


def parameters(tree: PyTree) -> int:
    """How many numbers a tree of arrays or shapes holds."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def fill(wanted: PyTree, tensors: Mapping[str, Stored], dtype: Any, *, what: str, unused: Iterable[str] = (),
         put: Callable[[np.ndarray], jax.Array] = jax.numpy.asarray) -> PyTree:
    """Parameters, read from tensors one at a time, so that no more than one is held twice.

    Args:
      wanted: of `shapes`.
      tensors: by the names that `tensor_name` gives.
      dtype: of the parameters.
      what: the network's name, for messages.
      unused: patterns of names that are left out on purpose.
      put: puts an array where it is used.

    Raises:
      WeightsError: a tensor is missing, left over or of another shape.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(wanted)
    names = {tensor_name(path): (leaf.shape, _is_kernel(path)) for path, leaf in leaves}
    if missing := [name for name in names if name not in tensors]:
        raise WeightsError(f"{what}: {_listed(missing)} missing; the files are of another network, or not all there")
    left = [name for name in tensors if name not in names and not any(re.search(each, name) for each in unused)]
    if left:
        raise WeightsError(f"{what}: {_listed(left)} of no part of this network")
    for name, (shape, kernel) in names.items():
        if _fitted(np.empty(tensors[name].shape, "V0"), shape, kernel) is None:
            raise WeightsError(f"{what}: {name} is {list(tensors[name].shape)}, which does not fit {list(shape)}")
    made = []
    for name, (shape, kernel) in names.items():
        array = _fitted(tensors[name].read(), shape, kernel)
        made.append(put(np.ascontiguousarray(array, dtype)))
    return jax.tree.unflatten(structure, made)


def _fitted(array: np.ndarray, shape: tuple[int, ...], kernel: bool) -> np.ndarray | None:
    """A tensor as the parameter has its axes; None where it does not fit. Dense layers may be stored as 1x1
    convolutions."""
    if kernel and len(shape) == 4 and array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
    elif kernel and len(shape) == 2:
        array = array.reshape(array.shape[:2]) if array.shape[2:] == (1, 1) else array
        array = array.T
    return array if array.shape == shape else None


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more are" if len(names) > 3 else " are" if len(names) > 1 else " is"
    return ", ".join(names[:3]) + more
