"""The feature spaces from weight files: the references' features for random weights, and which file is wanted."""
import hashlib

import numpy as np
import pytest
import reference_inputs as inputs
from safetensors.numpy import save_file

from imggen_jax.errors import MetricsError
from imggen_jax.metrics import features, spaces
from imggen_jax.weights import torch_file


@pytest.fixture(scope="module")
def state():
    return inputs.inception_state()


@pytest.fixture
def file(state, tmp_path, monkeypatch):
    """A file of the right name, whose reading gives the random weights."""
    path = tmp_path / spaces.INCEPTION_FILE
    path.write_bytes(b"weights")
    monkeypatch.setattr(torch_file, "read", lambda path: state)
    return path


@pytest.mark.parametrize("resize_as", ["pytorch-fid", "torch-fidelity"])
def test_inception_gives_the_references_features(resize_as, file, golden):
    space = spaces.inception(file, resize_as=resize_as)
    assert space.dims == 2048 and space.sha256 == hashlib.sha256(b"weights").hexdigest() and resize_as in space.resize
    found, logits = space.apply(space.weights, inputs.pictures(11, 2, 32, 32)[:1])
    assert found.shape == (1, 2048) and logits.shape == (1, 1008)
    np.testing.assert_allclose(found[0, ::128], golden[f"inception_{resize_as}"], atol=1e-4)


def test_weights_of_another_network_are_named(file, state, monkeypatch):
    for name, shape in (("Mixed_5b.branch1x1.conv.weight", (64, 8, 1, 1)), ("fc.weight", (1000, 2048))):
        monkeypatch.setattr(torch_file, "read", lambda path: {**state, name: np.zeros(shape)})
        message = f"{name} is {list(shape)}, not".replace("[", r"\[")
        with pytest.raises(MetricsError, match=message):
            spaces.inception(file, resize_as="pytorch-fid")
    monkeypatch.setattr(torch_file, "read", lambda path: {"a": np.zeros(3)})
    with pytest.raises(MetricsError, match="of another network than FID's Inception-v3: it has no"):
        spaces.inception(file, resize_as="pytorch-fid")


def test_dinov2_gives_the_references_features(tmp_path, golden):
    save_file(inputs.dino_state(**inputs.DINO), tmp_path / "d.safetensors")
    space = spaces.vision_transformer(tmp_path / "d.safetensors", "dinov2", **inputs.DINO)
    found = features.extract(space, [inputs.pictures(12, 2, 32, 32)[:1]]).vectors
    np.testing.assert_allclose(found[0], golden["dinov2"], atol=1e-4)


def test_dinov2_of_another_size_and_a_damaged_file_are_named(tmp_path):
    path = tmp_path / "d.safetensors"
    save_file(inputs.dino_state(**inputs.DINO), path)
    with pytest.raises(MetricsError, match=r"another network than DINOv2 with 12 layers of width 768"):
        spaces.dinov2(path, "dinov2-vitb14")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(MetricsError, match="d.safetensors is damaged") as error:
        spaces.dinov2(path, "dinov2-vitb14")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", spaces.NAMES)
def test_without_its_file_a_space_says_which_it_wants_and_where(name, tmp_path, monkeypatch):
    monkeypatch.setenv("IMGGEN_JAX_WEIGHTS", str(tmp_path))
    for function in (spaces.load, spaces.check_there):
        with pytest.raises(MetricsError) as error:
            function(name)
        text = str(error.value)
        assert name in text and str(tmp_path) in text and (".pth" in text or ".safetensors" in text)
        assert "\n" not in text


def test_another_file_of_that_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("IMGGEN_JAX_WEIGHTS", str(tmp_path))
    (tmp_path / spaces.INCEPTION_FILE).write_bytes(b"something else")
    with pytest.raises(MetricsError, match="is not the file that its name says"):
        spaces.load("inception")


def test_an_unknown_space_is_refused():
    with pytest.raises(MetricsError, match="unknown feature space 'vgg'; choose from classifier, inception"):
        spaces.load("vgg")
