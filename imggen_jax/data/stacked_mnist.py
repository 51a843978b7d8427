"""Stacked MNIST: three random digits as the red, green and blue of one picture, 1,000 modes to be found.

The picture of digits r, g, b has the label 100 r + 10 g + b, so a generator's modes are counted by a digit classifier.
From Metz et al. 2017, "Unrolled Generative Adversarial Networks" (arXiv 1611.02163). 128,000 pictures for training and
26,000 for evaluation are the numbers of Lin et al. 2018, "PacGAN" (arXiv 1712.04086; num_training_sample and
num_test_sample in the authors' VEEGAN_experiment/config.py), which later papers share. Test pictures are made
of MNIST's test digits alone. Digits are padded from 28 to 32 pixels with zeros, for networks that halve the side.
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from imggen_jax.data import decoding, sources
from imggen_jax.data import resize as resizing
from imggen_jax.errors import DataError

EXAMPLES = {"train": 128_000, "test": 26_000}
CLASSES = 1000
SIZE = 32
LABEL_NAMES = tuple(f"{number:03d}" for number in range(CLASSES))
# Names the recipe in a dataset's fingerprint; change it with the pixels that this file makes.
RECIPE = "stacked_mnist 1.0.0"

class Part(NamedTuple):
    """The pictures that are asked for."""

    base: str                         # split of mnist that they are made of
    start: int                        # the first of them
    stop: int                         # after the last
    shape: tuple[int, int, int, int]  # N,S,S,3

    def fingerprint(self, digits: str) -> str:
        """sha256 hex over what decides the pixels; `digits` is that of the mnist they are made of."""
        return decoding.sha256(RECIPE, digits, self.start, self.stop, self.shape[1], resizing.RECIPE)


_BORDER = 2  # pixels on each side: 28 -> 32
_SEED = 1000


def choose(digits: int, number: int, *, split: str) -> np.ndarray:
    """Which digits are stacked: int64 [number,3] in [0, digits), drawn with replacement, the same on every machine."""
    stream = [_SEED, sorted(EXAMPLES).index(split)]
    # The raw output of a bit generator never changes between NumPy releases (NEP 19); modulo 60,000 its bias is 3e-15.
    raw = np.random.PCG64(np.random.SeedSequence(stream)).random_raw(3 * number)
    return (raw % np.uint64(digits)).astype(np.int64).reshape(number, 3)


def stack(images: np.ndarray, labels: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Digits uint8 [D,28,28,1] and labels int32 [D], stacked by chosen int64 [N,3].

    Returns pictures uint8 [N,32,32,3] and labels int32 [N] in [0, 1000).
    """
    inner = slice(_BORDER, SIZE - _BORDER)
    out = np.zeros((len(chosen), SIZE, SIZE, 3), np.uint8)
    for channel in range(3):
        out[:, inner, inner, channel] = images[chosen[:, channel], :, :, 0]
    return out, (labels[chosen] @ np.array([100, 10, 1])).astype(np.int32)


def part(*, name: str, split: str, size: int, label: str) -> Part:
    """Which pictures are asked for; arguments as `data.load`. Raises DataError."""
    decoding.check_size(size)
    if name != sources.STACKED_MNIST:
        raise DataError(f"dataset {name!r}: stacked_mnist has no configs or versions; name it 'stacked_mnist'")
    if label not in ("", "label"):
        raise DataError(f"label {label!r} of stacked_mnist is not there; class labels are: label")
    parts = sources.part_of(name, split, EXAMPLES)
    if len(parts) > 1:
        raise DataError(f"split {split!r} of stacked_mnist joins several; take train, test or a part of one")
    ((base, start, stop),) = parts
    side = size or SIZE
    return Part(base, start, stop, (stop - start, side, side, 3))


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Says in an error about mnist why it is wanted."""
    try:
        yield
    except DataError as error:
        raise DataError(f"stacked_mnist is made from mnist: {error}") from error
