"""The feature spaces from weight files: the references' features for random weights, and which file is wanted."""
import hashlib

import numpy as np
import pytest
import reference_inputs as inputs
from safetensors.numpy import save_file

from imggen_jax.errors import MetricsError, WeightsError
from imggen_jax.metrics import features, spaces
from imggen_jax.weights import find, torch_file


@pytest.fixture(scope="module")
def state():
    return inputs.inception_state()


@pytest.fixture
def file(state, tmp_path, monkeypatch):
    """A file of the right name, whose reading gives the random weights."""
    path = tmp_path / find.KNOWN["inception"].file
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


def test_dinov2_gives_the_references_features(tmp_path, golden):
    save_file(inputs.dino_state(**inputs.DINO), tmp_path / "d.safetensors")
    space = spaces.vision_transformer(tmp_path / "d.safetensors", "dinov2", **inputs.DINO)
    found = features.extract(space, [inputs.pictures(12, 2, 32, 32)[:1]]).vectors
    np.testing.assert_allclose(found[0], golden["dinov2"], atol=1e-4)


@pytest.mark.parametrize("name", spaces.NAMES)
def test_without_its_file_a_space_says_which_it_wants_and_where(name, tmp_path, monkeypatch):
    monkeypatch.setenv("IMGGEN_JAX_WEIGHTS", str(tmp_path))
    for function in (spaces.load, spaces.check_there):
        with pytest.raises(WeightsError) as error:
            function(name)
        text = str(error.value)
        assert name.removesuffix("-tf1") in text and str(tmp_path) in text and "weight file" in text
        assert "\n" not in text


def test_an_unknown_space_is_refused():
    with pytest.raises(MetricsError, match="unknown feature space 'vgg'; choose from classifier, inception"):
        spaces.load("vgg")
