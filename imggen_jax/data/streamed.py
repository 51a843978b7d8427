"""Datasets larger than memory: every picture is read from disk and decoded when a batch asks for it.

The pixels are those of `resident`, so a run is the same to the bit either way. What it costs is decoding a picture each
time that it is seen, and a broken picture is found only when its turn comes.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from imggen_jax.data import decoding, sources, stacked_mnist
from imggen_jax.data import resize as resizing
from imggen_jax.data.decoding import Arrays


class Streamed(NamedTuple):
    """A dataset on disk. `read` may be called by many threads at once."""

    shape: tuple[int, int, int, int]  # of all pictures: N,S,S,C
    read: Callable                    # int [B] in [0, N) -> (uint8 [B,S,S,C], int32 [B] or None); raises DataError
    classes: int                      # 0 without labels
    label_names: tuple[str, ...]      # one a class
    fingerprint: str                  # as `Dataset.fingerprint`
    threads: int                      # that decode faster than one


def stream(*, name: str, split: str, dir: str, size: int, label: str) -> Streamed:
    """Opens a dataset without reading its pictures; arguments as `load`. Raises DataError."""
    if sources.parse_name(name).name == sources.STACKED_MNIST:
        return _stream_stacked_mnist(name=name, split=split, dir=dir, size=size, label=label)
    pictures = decoding.open_pictures(name=name, split=split, dir=dir, size=size, label=label)
    names = pictures.source.label_names
    return Streamed(pictures.shape, _reader(pictures), len(names), names, pictures.fingerprint, _threads(pictures))


def _reader(pictures: decoding.Pictures) -> Callable[[np.ndarray], Arrays]:
    source, fetch = pictures.source, sources.open_reader(pictures.source)

    def read(indices: np.ndarray) -> Arrays:
        images = np.empty((len(indices), *pictures.shape[1:]), np.uint8)
        labels = np.empty(len(indices), np.int32)
        indices = indices.tolist()
        for row, (index, (data, label)) in enumerate(zip(indices, fetch(indices))):
            images[row] = decoding.fit(pictures, index, decoding.decode(source, index, data))
            labels[row] = label
        return images, labels if source.label else None

    return read


# A picture takes 90 us in Python, where threads wait for each other, and 40 ns a pixel outside it (PNG, measured).
_PIXELS_A_THREAD = 2048


def _threads(pictures: decoding.Pictures) -> int:
    """How many threads decode faster than fewer, by the size of the first picture on disk and in a batch."""
    data, _ = sources.open_reader(pictures.source)([0])[0]
    picture = decoding.decode(pictures.source, 0, data)
    pixels = max(picture.width * picture.height, pictures.shape[1] * pictures.shape[2])
    return min(os.cpu_count() or 1, 1 + pixels // _PIXELS_A_THREAD)


def _stream_stacked_mnist(*, name: str, split: str, dir: str, size: int, label: str) -> Streamed:
    part = stacked_mnist.part(name=name, split=split, size=size, label=label)
    with stacked_mnist.explained():
        digits = stream(name="mnist", split=part.base, dir=dir, size=28, label="label")
    chosen = stacked_mnist.choose(digits.shape[0], stacked_mnist.EXAMPLES[part.base], split=part.base)
    chosen = chosen[part.start:part.stop]

    def read(indices: np.ndarray) -> Arrays:
        images, labels = digits.read(chosen[indices].ravel())
        images, labels = stacked_mnist.stack(images, labels, np.arange(len(images)).reshape(-1, 3))
        if part.shape[1] != stacked_mnist.SIZE:
            images = resizing.resize(images, part.shape[1])
        return images, labels if label else None

    names = stacked_mnist.LABEL_NAMES if label else ()
    return Streamed(part.shape, read, len(names), names, part.fingerprint(digits.fingerprint), digits.threads)
