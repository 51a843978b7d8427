"""Stacked MNIST: three random digits as the red, green and blue of one picture, 1,000 modes to be found.

The picture of digits r, g, b has the label 100 r + 10 g + b, so a generator's modes are counted by a digit classifier;
the labels red, green and blue are the digits. From Metz et al. 2017, "Unrolled Generative Adversarial Networks" (arXiv
1611.02163). 128,000 pictures for training and 26,000 for evaluation are the numbers of Lin et al. 2018, "PacGAN" (arXiv
1712.04086; num_training_sample and num_test_sample in the authors' VEEGAN_experiment/config.py), which later papers
share. Test pictures are made of MNIST's test digits alone. Digits are padded from 28 to 32 pixels with zeros, for
networks that halve the side.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from imggen_jax.data import combine, sources, splits
from imggen_jax.data.dataset import Dataset
from imggen_jax.errors import DataError
from imggen_jax.spec import Field

EXAMPLES = {"train": 128_000, "test": 26_000}
CLASSES = 1000
SIZE = 32
LABEL_NAMES = tuple(f"{number:03d}" for number in range(CLASSES))
DIGITS = {color: tuple("0123456789") for color in ("red", "green", "blue")}
# Names the recipe in a dataset's fingerprint; change it with the pixels that this file makes.
RECIPE = "stacked_mnist 1.0.0"

_BORDER = 2  # pixels on each side: 28 -> 32
_SEED = 1000
_LABELS = {"label": (lambda digits: digits @ np.array([100, 10, 1]), LABEL_NAMES)} | {
    color: (lambda digits, channel=channel: digits[:, channel], names)
    for channel, (color, names) in enumerate(DIGITS.items())}


def open_stacked(open_dataset: Callable[..., Dataset], *, name: str, split: str, size: int, label: str, text: str,
                 fields: Sequence[str], **options: Any) -> Dataset:
    """Opens stacked_mnist; arguments as those of `open_dataset`, which opens the mnist that it is made of.

    Raises DataError.
    """
    wanted = {field: field for field in fields or ("image",)} | ({"label": label} if label else {})
    _check(name, text, wanted)
    parts = splits.parse_split(split, EXAMPLES, dataset="stacked_mnist")
    labels = {field: _LABELS[source] for field, source in wanted.items() if source != "image"}
    base = [*(["image"] if "image" in wanted else []), *(["label"] if labels else [])]
    made = []
    for part in parts:
        try:
            digits = open_dataset(name="mnist", split=part.split, size=28 * ("image" in base), label="", text="",
                                  fields=base, **options)
        except DataError as error:
            raise DataError(f"stacked_mnist is made from mnist: {error}") from error
        groups = choose(digits.length, EXAMPLES[part.split], split=part.split)[part.start:part.stop]
        made.append(combine.stacked(digits, groups, labels, recipe=RECIPE))
    dataset = made[0] if len(made) == 1 else combine.concatenate(*made)
    if "image" in wanted:
        dataset = combine.mapped(dataset, pad, {"image": Field((SIZE, SIZE, 3), "uint8")}, recipe=f"{RECIPE}, padded")
        dataset = combine.resized(dataset, size) if size not in (0, SIZE) else dataset
    return dataset._replace(title=f"stacked_mnist, split {split!r}")


def choose(digits: int, number: int, *, split: str) -> np.ndarray:
    """Which digits are stacked: int64 [number,3] in [0, digits), drawn with replacement, the same on every machine."""
    stream = [_SEED, sorted(EXAMPLES).index(split)]
    # The raw output of a bit generator never changes between NumPy releases (NEP 19); modulo 60,000 its bias is 3e-15.
    raw = np.random.PCG64(np.random.SeedSequence(stream)).random_raw(3 * number)
    return (raw % np.uint64(digits)).astype(np.int64).reshape(number, 3)


def pad(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """"image" uint8 [B,28,28,3] -> [B,32,32,3], with zeros around it."""
    inner = slice(_BORDER, SIZE - _BORDER)
    padded = np.zeros((len(batch["image"]), SIZE, SIZE, 3), np.uint8)
    padded[:, inner, inner] = batch["image"]
    return batch | {"image": padded}


def _check(name: str, text: str, wanted: dict[str, str]) -> None:
    if name != sources.STACKED_MNIST:
        raise DataError(f"dataset {name!r}: stacked_mnist has no configs or versions; name it 'stacked_mnist'")
    if text:
        raise DataError("stacked_mnist has no captions; set data.text to ''")
    for source in wanted.values():
        if source != "image" and source not in _LABELS:
            raise DataError(f"label {source!r} of stacked_mnist is not there; class labels are: {', '.join(_LABELS)}")
