"""The classifier of a dataset: trained once, kept, and asked."""
import subprocess
import sys

import numpy as np
import pytest
import shell

from imggen_jax import data
from imggen_jax.errors import RunError
from imggen_jax.evaluation import classifier
from imggen_jax.game import Classifier, Spec
from imggen_jax.metrics import features

RECIPE = {
    "version": 1, "network": {"name": "classifier", "widths": (8,), "blocks": (0,), "features": 16}, "augment": (),
    "images": 1600, "batch": 32, "ema": {"halflife": 0, "rampup": 0.0}, "seed": 0,
    "optimizer": {"optimizer": "adam", "learning_rate": 1e-2, "warmup": 0, "decay": "constant", "final": 1.0,
                  "clip": 0.0},
}

HOLD = """
import fcntl, sys
with open(sys.argv[1], "w") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def obtain(**changes):
    return classifier.obtain(**{**dict(name="small", split="train", test="test", dir=shell.data_dir(), size=0,
                                       recipe=RECIPE), **changes})


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("IMGGEN_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield obtain()
    patch.undo()


def test_it_learns_the_labels_of_the_dataset_and_says_how_well(small):
    assert (small.names, small.values, small.spec) == (("label",), (shell.LABELS,), Spec(16, 3, (4,)))
    assert small.accuracy["label"] >= 0.75
    given = data.load(name="small", split="train", dir=shell.data_dir(), size=0, label="label")
    predicted = small.predict(given.images)
    assert predicted.shape == (40, 1) and predicted.dtype == np.int32
    assert np.mean(predicted[:, 0] == given.labels) > 0.9
    assert [each.shape for each in small.logits(given.images)] == [(40, 4)]


def test_it_is_trained_once(small, monkeypatch):
    monkeypatch.setattr(classifier, "fit", None)  # would be called
    again = obtain()
    assert again.sha256 == small.sha256 and again.accuracy == small.accuracy
    for other in ({"split": "train[:30]"}, {"recipe": {**RECIPE, "seed": 1}}):
        with pytest.raises(TypeError):
            obtain(**other)


def test_who_comes_second_waits_for_it(small, monkeypatch):
    file, = classifier._folder().glob("*.npz")
    kept = file.read_bytes()
    file.unlink()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(file.with_suffix(".lock"))], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()  # it holds the lock

        def finish(message, *rest):
            assert "waiting for another process" in message
            file.write_bytes(kept)
            holder.stdin.close()

        monkeypatch.setattr(classifier.logging, "warning", finish)
        monkeypatch.setattr(classifier, "fit", None)  # would be called
        assert obtain().sha256 == small.sha256
    finally:
        holder.kill()
        holder.wait()


def test_a_damaged_one_is_trained_again_to_the_same_bits(small, caplog):
    file, = classifier._folder().glob("*.npz")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert obtain().sha256 == small.sha256
    assert "training again" in caplog.text


def test_its_features_are_a_space(small):
    images = data.load(name="small", split="test", dir=shell.data_dir(), size=0, label="").images
    found = features.extract(small.space, images)
    assert found.vectors.shape == (8, 16) and found.logits.shape == (8, 4)


def test_a_dataset_without_that_label_is_refused(small):
    with pytest.raises(data.DataError, match="no class label 'colour'; it has label"):
        obtain(labels=["colour"])


def test_a_loss_that_is_not_finite_is_told(small):
    wild = {**RECIPE, "optimizer": {**RECIPE["optimizer"], "learning_rate": 1e30}}
    with pytest.raises(RunError, match="did not train"):
        obtain(recipe=wild)


def test_it_looks_at_a_picture_from_five_places():
    images = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    centre = Classifier(lambda weights, images: (weights * images[:, 8, 8],), None)
    softmax = lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)  # noqa: E731
    (plain,), (five,) = (classifier.look(centre, 4.0, images, moved) for moved in (False, True))
    np.testing.assert_allclose(np.exp(plain), softmax(4 * images[:, 8, 8]), atol=1e-6)
    seen = [images[:, 8 + down, 8 + right] for down, right in ((0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))]
    np.testing.assert_allclose(np.exp(five), np.mean([softmax(4 * each) for each in seen], axis=0), atol=1e-6)
    edge = Classifier(lambda weights, images: (weights * images[:, 0, 0],), None)
    (corner,) = classifier.look(edge, 4.0, images, True)
    seen = [images[:, 0, 0], images[:, 1, 1], *[0 * images[:, 0, 0]] * 3]  # nothing but zeros comes in
    np.testing.assert_allclose(np.exp(corner), np.mean([softmax(4 * each) for each in seen], axis=0), atol=1e-6)
