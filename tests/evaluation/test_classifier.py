"""The classifier of a dataset: trained once, and kept."""
import json
import subprocess
import sys

import numpy as np
import pytest
import shell
import tiny
from parts import RECIPE

from imggen_jax import data
from imggen_jax.errors import MetricsError, RunError
from imggen_jax.evaluation import classifier
from imggen_jax.game import Classifier, Field, make_spec
from imggen_jax.metrics import features
from imggen_jax.storage.cache import cache_folder

HOLD = """
import fcntl, sys
with open(sys.argv[1], "w") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def obtain(**changes):
    return classifier.dataset_classifier(**{**dict(
        name="small", split="train", held_out="test", dir=shell.data_dir(), size=0, recipe=RECIPE), **changes})


def opened(split):
    dataset = data.open_dataset(name="small", split=split, dir=shell.data_dir(), size=0, label="label", memory="auto")
    return dataset.read(np.arange(dataset.length))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("IMGGEN_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield obtain()
    patch.undo()


def test_it_learns_the_labels_of_the_dataset_and_says_how_well(small):
    spec = make_spec(image=Field((16, 16, 3), "uint8"), label=Field((), "int32", shell.LABELS))
    assert (small.names, small.values, small.spec) == (("label",), (shell.LABELS,), spec)
    assert small.accuracy["label"] >= 0.75
    given = opened("train")
    predicted = small.predict(given["image"])
    assert predicted.shape == (40, 1) and predicted.dtype == np.int32
    assert np.mean(predicted[:, 0] == given["label"]) > 0.9
    assert [each.shape for each in small.logits(given["image"])] == [(40, 4)]


def test_it_is_trained_once(small, monkeypatch):
    monkeypatch.setattr(classifier, "train_classifier", None)  # would be called
    again = obtain()
    assert again.sha256 == small.sha256 and again.accuracy == small.accuracy
    for other in ({"split": "train[:30]"}, {"recipe": {**RECIPE, "seed": 1}}):
        with pytest.raises(TypeError):
            obtain(**other)


def test_who_comes_second_waits_for_it(small, monkeypatch):
    file, = cache_folder("classifiers").glob("small-*.npz")
    kept = file.read_bytes()
    file.unlink()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(file.with_suffix(".lock"))], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()  # it holds the lock

        def finish(message, *rest):
            assert "waiting for %s" in message
            file.write_bytes(kept)
            holder.stdin.close()

        monkeypatch.setattr(classifier.logging, "warning", finish)
        monkeypatch.setattr(classifier, "train_classifier", None)  # would be called
        assert obtain().sha256 == small.sha256
    finally:
        holder.kill()
        holder.wait()


def test_a_damaged_one_is_trained_again_to_the_same_bits(small, caplog):
    file, = cache_folder("classifiers").glob("small-*.npz")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert obtain().sha256 == small.sha256
    assert "training again" in caplog.text


def test_its_features_are_a_space(small):
    found = features.extract(small.space, [opened("test")["image"]])
    assert found.vectors.shape == (8, 6) and found.logits.shape == (8, 4)


def test_a_dataset_without_that_label_is_refused(small):
    with pytest.raises(data.DataError, match="label.* 'colour'"):
        obtain(labels=["colour"])


def test_a_loss_that_is_not_finite_is_told(small):
    wild = {**RECIPE, "optimizer": {**RECIPE["optimizer"], "learning_rate": 1e30}}
    with pytest.raises(RunError, match="did not train"):
        obtain(recipe=wild)


def test_it_looks_at_a_picture_from_five_places():
    images = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    center = Classifier(("label",), lambda weights, images: (weights * images[:, 8, 8],), None)
    softmax = lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)  # noqa: E731
    (plain,), (five,) = (classifier.log_probabilities(center, 4.0, images, moved) for moved in (False, True))
    np.testing.assert_allclose(np.exp(plain), softmax(4 * images[:, 8, 8]), atol=1e-6)
    seen = [images[:, 8 + down, 8 + right] for down, right in ((0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))]
    np.testing.assert_allclose(np.exp(five), np.mean([softmax(4 * each) for each in seen], axis=0), atol=1e-6)
    edge = Classifier(("label",), lambda weights, images: (weights * images[:, 0, 0],), None)
    (corner,) = classifier.log_probabilities(edge, 4.0, images, True)
    seen = [images[:, 0, 0], images[:, 1, 1], *[0 * images[:, 0, 0]] * 3]  # nothing but zeros comes in
    np.testing.assert_allclose(np.exp(corner), np.mean([softmax(4 * each) for each in seen], axis=0), atol=1e-6)


def test_its_accuracy_is_measured_once_for_each_held_out_split(small, monkeypatch):
    calls = []
    predict = classifier.Labeller.predict
    monkeypatch.setattr(classifier.Labeller, "predict", lambda *given: calls.append(1) or predict(*given))
    assert obtain().accuracy == small.accuracy and not calls
    other = obtain(held_out="test[:4]")
    assert calls and obtain(held_out="test[:4]").accuracy == other.accuracy and len(calls) == 1


def test_a_damaged_accuracy_is_measured_again(small):
    for file in cache_folder("classifiers").glob("*.json"):
        file.write_text("{")
    assert obtain().accuracy == small.accuracy


@pytest.mark.parametrize(("split", "parts"), [
    ("train", ["train[:95%]", "train[95%:]"]), ("train[:20]", ["train[:20][:95%]", "train[:20][95%:]"]),
    ("train+test", ["(train+test)[:95%]", "(train+test)[95%:]"])])
def test_what_is_held_out_is_a_part_of_the_whole_split(split, parts, monkeypatch):
    asked = []

    def stop(**where):
        asked.append(where["split"])
        return tiny  # no dataset

    monkeypatch.setattr(data, "class_labels", lambda **where: {"label": ("a", "b")})
    monkeypatch.setattr(data, "open_dataset", stop)
    with pytest.raises(AttributeError):
        obtain(split=split, held_out="")
    assert asked == parts


def test_images_of_a_size_that_it_does_not_take_are_refused_before_it_is_trained(monkeypatch):
    monkeypatch.setattr(classifier, "train_classifier", None)  # would be called
    with pytest.raises(MetricsError, match="cannot see 8x8 images"):
        obtain(size=8)


def test_it_is_kept_elsewhere_and_read_again(small):
    facts, arrays = classifier.pack(small)
    again = classifier.unpack(json.loads(json.dumps(facts)), arrays)
    images = opened("test")["image"]
    assert (again.sha256, again.names, again.values) == (small.sha256, small.names, small.values)
    np.testing.assert_array_equal(again.predict(images), small.predict(images))
    with pytest.raises(ValueError, match="another network"):
        classifier.unpack(facts, {name: value[..., :1] for name, value in arrays.items()})
