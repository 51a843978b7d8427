"""Stacked MNIST: three random digits as the red, green and blue of one picture, 1,000 modes to be found.

The picture of digits r, g, b has the label 100 r + 10 g + b, so a generator's modes are counted by a digit classifier.
From Metz et al. 2017, "Unrolled Generative Adversarial Networks" (arXiv 1611.02163). 128,000 pictures for training and
26,000 for evaluation are the numbers of Lin et al. 2018, "PacGAN" (arXiv 1712.04086; num_training_sample and
num_test_sample in the authors' VEEGAN_experiment/config.py), which later papers share. Test pictures are made
of MNIST's test digits alone. Digits are padded from 28 to 32 pixels with zeros, for networks that halve the side.
"""
from __future__ import annotations

import numpy as np

EXAMPLES = {"train": 128_000, "test": 26_000}
CLASSES = 1000
SIZE = 32
LABEL_NAMES = tuple(f"{number:03d}" for number in range(CLASSES))
# Names the recipe in a dataset's fingerprint; change it with the pixels that this file makes.
RECIPE = "stacked_mnist 1.0.0"

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
