"""Weight files of torch, written here byte by byte, for torch is not among the project's packages."""
import collections
import io
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
import pytest

from imggen_jax.errors import WeightsError
from imggen_jax.weights import torch_file

STATE = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.count": np.array(7, np.int64),
         "b": np.arange(8, dtype=np.float16)}
SCRIPT = "__torch__.nets.___torch_mangle_0"  # where TorchScript puts a class of the file's own
KINDS = {"float32": "FloatStorage", "int64": "LongStorage", "float16": "HalfStorage"}


class Stored:
    """Pickles as a torch tensor does."""

    def __init__(self, key, array, strides=None):
        self.key, self.array = key, array
        self.strides = strides or tuple(s // array.itemsize for s in array.strides)

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (Storage(self), 0, self.array.shape, self.strides, False, collections.OrderedDict())


class Storage:
    def __init__(self, tensor):
        self.tensor = tensor


class Pickler(pickle.Pickler):
    legacy = False

    def persistent_id(self, value):
        if isinstance(value, Storage):
            array = value.tensor.array
            kind = getattr(sys.modules["torch"], KINDS[array.dtype.name])
            found = ("storage", kind, value.tensor.key, "cpu", array.size)
            return (*found, None) if self.legacy else found
        return None


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    """The names that a file of torch refers to, for writing one."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in KINDS.values():
        setattr(torch, kind, type(kind, (), {"__module__": "torch"}))
    for name in ("__torch__", "__torch__.nets", SCRIPT):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules[SCRIPT].Net = type("Net", (), {"__module__": SCRIPT})
    utils._rebuild_tensor_v2 = lambda *args: None
    utils._rebuild_tensor_v2.__module__ = "torch._utils"
    utils._rebuild_tensor_v2.__qualname__ = utils._rebuild_tensor_v2.__name__ = "_rebuild_tensor_v2"
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def dump(content, legacy=False):
    out = io.BytesIO()
    pickler = Pickler(out, protocol=2)
    pickler.legacy = legacy
    pickler.dump(content)
    return out.getvalue()


def tensors(state):
    return collections.OrderedDict((name, Stored(str(i), array)) for i, (name, array) in enumerate(state.items()))


def write_zip(path, content, arrays):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", dump(content))
        archive.writestr("archive/byteorder", "little")
        for i, array in enumerate(arrays):
            archive.writestr(f"archive/data/{i}", array.tobytes())


def write_plain(path, content, arrays):
    parts = [torch_file.MAGIC, 1001, {"protocol_version": 1001, "little_endian": True}]
    with open(path, "wb") as out:
        for part in parts:
            pickle.dump(part, out, protocol=2)
        out.write(dump(content, legacy=True))
        pickle.dump([str(i) for i in range(len(arrays))], out, protocol=2)
        for array in arrays:
            out.write(struct.pack("<q", array.size) + array.tobytes())


writers = pytest.mark.parametrize("write", [write_zip, write_plain])


@writers
def test_tensors_are_read_as_they_were_written(write, tmp_path):
    write(tmp_path / "w.pth", tensors(STATE), list(STATE.values()))
    found = torch_file.read(tmp_path / "w.pth")
    assert list(found) == list(STATE)
    for name, array in STATE.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)


def test_a_view_is_read_by_its_strides(tmp_path):
    base = np.arange(6, dtype=np.float32)
    turned = Stored("0", base)
    turned.array, turned.strides = base.reshape(3, 2), (1, 3)
    write_zip(tmp_path / "w.pth", {"t": turned}, [base])
    assert np.array_equal(torch_file.read(tmp_path / "w.pth")["t"], base.reshape(2, 3).T)


def module(**attributes):
    """As TorchScript writes one: an object of a class that only its own code defines."""
    made = sys.modules[SCRIPT].Net()
    made.__dict__.update(attributes)
    return made


def test_the_tensors_of_a_torchscript_module_are_named_as_in_its_state_dict(tmp_path):
    weight, bias = (Stored(str(i), STATE[name]) for i, name in enumerate(("a.weight", "b")))
    inner = module(weight=weight, training=False, stride=[1, 2])
    write_zip(tmp_path / "w.pt", module(first=inner, bias=bias, kind="net", none=None), [STATE["a.weight"], STATE["b"]])
    found = torch_file.read(tmp_path / "w.pt")
    assert list(found) == ["first.weight", "bias"] and np.array_equal(found["first.weight"], STATE["a.weight"])
    itself = module(bias=bias)
    itself.me = itself
    write_zip(tmp_path / "w.pt", itself, [STATE["b"]])
    with pytest.raises(WeightsError, match="no file of tensors .RecursionError"):
        torch_file.read(tmp_path / "w.pt")
    write_zip(tmp_path / "w.pt", module(first=Evil()), [])
    with pytest.raises(WeightsError, match="and only tensors are read"):
        torch_file.read(tmp_path / "w.pt")


@writers
def test_a_state_dict_is_found_in_the_dictionaries_around_it(write, tmp_path):
    path, arrays, inside = tmp_path / "w.pth", list(STATE.values()), tensors(STATE)
    for content in (inside, {"params": inside}, {"step": 3, "params": inside}, {"only": inside},
                    {"net": {"params": inside}}):
        write(path, content, arrays)
        assert list(torch_file.read(path, wrappers=("params", "net"))) == list(STATE)
    write(path, {"params": inside}, arrays)
    with pytest.raises(WeightsError, match="'params' in it is no tensor"):
        torch_file.read(path)
    endless = {}
    endless["params"] = endless
    write(path, endless, [])
    with pytest.raises(WeightsError, match="'params' in it is no tensor"):
        torch_file.read(path, wrappers=("params",))


class Evil:
    def __reduce__(self):
        import os

        return os.system, ("touch pwned",)


@writers
def test_a_file_that_wants_to_run_something_is_refused_and_does_not(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "w.pth", {"a": Evil()}, [])
    with pytest.raises(WeightsError, match=r"it wants to use (posix|nt|os)\.system, and only tensors are read"):
        torch_file.read(tmp_path / "w.pth")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 3}, {"a": {"b": 1}}])
def test_what_is_no_dictionary_of_tensors_is_refused(content, tmp_path):
    write_zip(tmp_path / "w.pth", content, [])
    with pytest.raises(WeightsError, match="no dictionary of tensors|is no tensor"):
        torch_file.read(tmp_path / "w.pth")


@writers
def test_a_damaged_file_is_one_line(write, tmp_path):
    path = tmp_path / "w.pth"
    write(path, tensors(STATE), list(STATE.values()))
    whole = path.read_bytes()
    for cut in (0, 1, 20, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:cut])
        with pytest.raises(WeightsError, match="w.pth") as error:
            torch_file.read(path)
        assert "\n" not in str(error.value)
    with pytest.raises(WeightsError, match="nowhere.pth cannot be read"):
        torch_file.read(tmp_path / "nowhere.pth")


def test_a_tensor_longer_than_its_storage_is_refused(tmp_path):
    write_zip(tmp_path / "w.pth", {"t": Stored("0", np.zeros(9, np.float32))}, [np.zeros(4, np.float32)])
    with pytest.raises(WeightsError, match="not all there"):
        torch_file.read(tmp_path / "w.pth")
