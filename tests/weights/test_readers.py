"""Readers of others' weight files: by name or path, and what is missing, damaged or of another network is named."""
import hashlib

import jax
import numpy as np
import pytest
import reference_inputs as inputs
from safetensors.numpy import save_file

from imggen_jax.errors import WeightsError
from imggen_jax.weights import dinov2, find, inception, torch_file


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("IMGGEN_JAX_WEIGHTS", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", find.KNOWN)
def test_a_missing_file_is_named_with_where_to_put_it(name, folder):
    for function in (find.find, find.load):
        with pytest.raises(WeightsError) as error:
            function(name)
        text = str(error.value)
        assert name in text and find.KNOWN[name].file in text and str(folder) in text and "\n" not in text


def test_files_are_found_by_name_and_by_path(folder):
    path = folder / find.KNOWN["inception"].file
    path.write_bytes(b"anything")
    assert find.find("inception") == path == find.find(str(path)) == find.find(path)
    with pytest.raises(WeightsError, match="there is no weight file vgg; give the path of one, or a name: inception"):
        find.find("vgg")
    (folder / "other.pth").write_bytes(b"anything")
    with pytest.raises(WeightsError, match="no reader for the weight file .*other.pth: its name must be one of pt_inc"):
        find.load(folder / "other.pth")


def test_another_file_of_a_name_with_a_hash_is_refused(folder):
    path = folder / find.KNOWN["inception"].file
    path.write_bytes(b"something else")
    for name in ("inception", path):
        with pytest.raises(WeightsError, match="is not the file that its name promises"):
            find.load(name)


def test_inception_is_read_with_the_hash_of_its_file(tmp_path, monkeypatch):
    state = inputs.inception_state()
    path = tmp_path / "w.pth"
    path.write_bytes(b"weights")
    monkeypatch.setattr(torch_file, "read", lambda path: state)
    found = inception.load(path)
    assert found.sha256 == hashlib.sha256(b"weights").hexdigest()
    shapes = jax.eval_shape(found.apply["features"], found.weights, np.zeros((2, 299, 299, 3), np.float32))
    assert [shape.shape for shape in shapes] == [(2, 2048), (2, 1008)]
    for name, shape in (("Mixed_5b.branch1x1.conv.weight", (64, 8, 1, 1)), ("fc.weight", (1000, 2048))):
        monkeypatch.setattr(torch_file, "read", lambda path: {**state, name: np.zeros(shape)})
        message = f"{name} is {list(shape)}, not".replace("[", r"\[")
        with pytest.raises(WeightsError, match=message):
            inception.load(path)
    monkeypatch.setattr(torch_file, "read", lambda path: {"a": np.zeros(3)})
    with pytest.raises(WeightsError, match="of another network than FID's Inception-v3: it has no"):
        inception.load(path)


def test_dinov2_says_its_own_size(folder):
    path = folder / "d.safetensors"
    save_file(inputs.dino_state(**inputs.DINO), path)
    found = dinov2.load(path)
    given = dinov2.load(path, **{**inputs.DINO, "heads": None})
    assert found.apply == given.apply and found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    shape = jax.eval_shape(found.apply["features"], found.weights, np.zeros((2, 224, 224, 3), np.float32))
    assert shape.shape == (2, inputs.DINO["width"])


def test_dinov2_of_another_size_and_a_damaged_file_are_named(folder):
    path = folder / find.KNOWN["dinov2-vitb14"].file
    save_file(inputs.dino_state(**inputs.DINO), path)
    with pytest.raises(WeightsError, match=r"another network than DINOv2 with 12 layers of width 768"):
        find.load("dinov2-vitb14")
    save_file({"a": np.zeros(3, np.float32)}, path)
    with pytest.raises(WeightsError, match="another network than DINOv2"):
        dinov2.load(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(WeightsError, match="dinov2-base.safetensors is truncated, or no") as error:
        find.load("dinov2-vitb14")
    assert "\n" not in str(error.value)
