"""Stacked MNIST: the picture, its label and the choice of digits; on tiny made-up digits and on the real ones."""
import numpy as np
import pytest

from imggen_jax import data
from imggen_jax.data import stacked_mnist

FIRST = [[8508, 36037, 32858], [49110, 21999, 19033], [35778, 37380, 30686]]  # as drawn when this was written


def test_the_picture_and_its_label():
    images = np.stack([np.full((28, 28, 1), value, np.uint8) for value in (10, 20, 30)])
    pictures, labels = stacked_mnist.stack(images, np.array([7, 0, 5], np.int32), np.array([[0, 1, 2], [2, 2, 0]]))
    assert pictures.shape == (2, 32, 32, 3) and pictures.dtype == np.uint8 and labels.dtype == np.int32
    assert labels.tolist() == [705, 557]
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
    (dict(split="train+test"), "joins several"),
    (dict(label="digit"), "label 'digit'.*label"),
    (dict(name="stacked_mnist/32x32"), "no configs"),
    (dict(name="stacked_mnist"), "made from mnist: dataset 'mnist' is not prepared.*prepare --name mnist"),
])
def test_mistakes_are_named(tmp_path, change, message):
    asked = dict(name="stacked_mnist", split="train", dir=str(tmp_path), size=0, label="label", cache=None) | change
    with pytest.raises(data.DataError, match=message):
        data.load(**asked)


def test_the_real_digits(real, real_cache):
    def load(**change):
        return data.load(**dict(name="stacked_mnist", split="test", dir=real, size=0, label="label",
                                cache=real_cache) | change)

    whole, digits = load(), data.load(name="mnist", split="test", dir=real, size=0, label="label",
                                      cache=real_cache)
    assert whole.images.shape == (26_000, 32, 32, 3) and whole.classes == 1000
    assert whole.label_names[7] == "007" and len(np.unique(whole.labels)) == 1000
    # the digits in the picture are those in the label
    chosen = stacked_mnist.choose(len(digits.images), 26_000, split="test")[123]
    assert np.array_equal(whole.images[123, 2:30, 2:30, 1], digits.images[chosen[1], :, :, 0])
    assert whole.labels[123] // 10 % 10 == digits.labels[chosen[1]]
    part = load(split="test[50%:]", label="")
    assert part.labels is None and np.array_equal(part.images, whole.images[13_000:])
    assert part.fingerprint != whole.fingerprint
    small = load(split="test[:9]", size=16)
    assert small.images.shape == (9, 16, 16, 3)
    assert data.peek(name="stacked_mnist", split="train", dir=real, size=16, label="label") == (16, 3, 1000)
