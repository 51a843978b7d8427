"""Stacked MNIST: the picture, its label and the choice of digits; on tiny made-up digits and on the real ones."""
import hashlib

import numpy as np
import pytest

from imggen_jax import data
from imggen_jax.data import stacked_mnist

FIRST = [[8508, 36037, 32858], [49110, 21999, 19033], [35778, 37380, 30686]]  # as drawn when this was written


def test_the_picture_and_its_labels():
    digits = data.from_arrays(image=np.stack([np.full((28, 28, 1), value, np.uint8) for value in (10, 20, 30)]),
                              label=np.array([7, 0, 5]))
    stacked = data.stacked(digits, np.array([[0, 1, 2], [2, 2, 0]]), stacked_mnist._LABELS, recipe="")
    batch = stacked_mnist.pad(stacked.read(np.arange(2)))
    pictures = batch["image"]
    assert pictures.shape == (2, 32, 32, 3) and pictures.dtype == np.uint8 and batch["label"].dtype == np.int32
    assert batch["label"].tolist() == [705, 557]
    assert [batch[color].tolist() for color in ("red", "green", "blue")] == [[7, 5], [0, 5], [5, 7]]
    assert (pictures[0, 2:30, 2:30] == [10, 20, 30]).all() and (pictures[1, 2:30, 2:30] == [30, 30, 10]).all()
    pictures[:, 2:30, 2:30] = 0
    assert not pictures.any()


def test_the_choice_is_fixed_and_differs_by_split():
    train = stacked_mnist.choose(60_000, 5, split="train")
    assert train.shape == (5, 3) and train.dtype == np.int64
    assert train[:3].tolist() == FIRST
    assert not np.array_equal(train, stacked_mnist.choose(60_000, 5, split="test"))


def test_digits_are_chosen_evenly():
    counts = np.bincount(stacked_mnist.choose(10, 30_000, split="train").ravel(), minlength=10)
    assert abs(counts - 9000).max() < 5 * np.sqrt(9000)


@pytest.mark.parametrize("change, message", [
    (dict(split="valid"), "no split 'valid'.*train .128000., test .26000."),
    (dict(split="train[5:5]"), "nothing is in it"),
    (dict(text="bytes:9"), "has no captions"),
    (dict(fields=("image", "mask")), "label 'mask' of stacked_mnist is not there"),
    (dict(label="digit"), "label 'digit'.*label"),
    (dict(name="stacked_mnist/32x32"), "no configs"),
    (dict(name="stacked_mnist"), "made from mnist: dataset 'mnist' is not prepared.*prepare --name mnist"),
])
def test_mistakes_are_named(tmp_path, change, message):
    asked = dict(name="stacked_mnist", split="train", dir=str(tmp_path), label="label", cache=None) | change
    with pytest.raises(data.DataError, match=message):
        data.open_dataset(**asked)


def opened(real, cache, **change):
    return data.open_dataset(**dict(name="stacked_mnist", split="test", dir=real, label="label", cache=cache) | change)


def test_the_real_digits(real, real_cache):
    dataset, digits = opened(real, real_cache), opened(real, real_cache, name="mnist")
    assert dataset.length == 26_000 and dataset.spec["image"].shape == (32, 32, 3)
    assert dataset.spec["label"].names == stacked_mnist.LABEL_NAMES and dataset.spec["label"].names[7] == "007"
    labels = opened(real, real_cache, fields=("label", "red", "green", "blue"), label="")
    labels = labels.read(np.arange(26_000))
    assert len(np.unique(labels["label"])) == 1000
    assert np.array_equal(labels["label"], 100 * labels["red"] + 10 * labels["green"] + labels["blue"])
    # the digits in the picture are those in the label
    chosen = stacked_mnist.choose(digits.length, 26_000, split="test")[123]
    one, three = dataset.read(np.array([123])), digits.read(chosen)
    assert np.array_equal(one["image"][0, 2:30, 2:30], np.moveaxis(three["image"][..., 0], 0, -1))
    assert one["label"][0] == three["label"] @ [100, 10, 1] == labels["label"][123]


def test_its_pixels_and_labels_are_those_of_every_release(real, real_cache):
    batch = opened(real, real_cache, split="test[13000:13100]").read(np.arange(100))
    small = opened(real, real_cache, split="test[:9]", size=16, label="").read(np.arange(9))
    marks = [hashlib.sha256(each.tobytes()).hexdigest()[:16] for each in (*map(batch.get, ("image", "label")),
                                                                          small["image"])]
    assert marks == ["5be6c0c28d52c157", "0790918828aa2700", "922abbc0f3d6a854"]


def test_parts_of_it(real, real_cache):
    whole = opened(real, real_cache)
    part = opened(real, real_cache, split="test[50%:]+test[:3]", label="")
    rows = np.array([0, 5, 13_002, 12_999])
    assert part.length == 13_003 and list(part.spec) == ["image"]
    assert np.array_equal(part.read(rows)["image"], whole.read(np.array([13_000, 13_005, 2, 25_999]))["image"])
    assert part.fingerprint != whole.fingerprint
    assert opened(real, real_cache, split="test[50%:]").fingerprints["image"] == (
        opened(real, real_cache, split="test[13000:]", label="", memory="stream").fingerprints["image"])
