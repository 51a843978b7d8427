"""Bicubic resizing of pictures on the host, by whole factors and a part at a time; the kernel is of `bicubic`."""
from __future__ import annotations

import functools

import numpy as np

from imggen_jax import bicubic


@functools.lru_cache(maxsize=8)
def _taps(size: int, to: int) -> tuple[np.ndarray, np.ndarray]:
    index, weights = bicubic.taps(size, to)
    return index, weights.astype(np.float32)


def enlarged(pixels: np.ndarray, scale: int, rows: slice, columns: slice) -> np.ndarray:
    """A part of the `scale` times larger picture: [H,W,C] -> float32 [scale * rows, scale * columns, C].

    rows, columns: the part, in pixels of the small picture.
    """
    part = _along(pixels, scale, rows)
    return _along(part.swapaxes(0, 1), scale, columns).swapaxes(0, 1)


def _along(pixels: np.ndarray, scale: int, part: slice) -> np.ndarray:
    index, weights = _taps(len(pixels), scale * len(pixels))
    chosen = slice(scale * part.start, scale * part.stop)
    made = np.zeros((scale * (part.stop - part.start), *pixels.shape[1:]), np.float32)
    for k in range(index.shape[1]):
        made += weights[chosen, k, None, None] * pixels[index[chosen, k]]
    return made


class Reduced:
    """A picture reduced by a whole factor while its rows come in from the top."""

    def __init__(self, height: int, width: int, channels: int, scale: int):
        """height, width: of the small picture."""
        self.pixels = np.zeros((height, width, channels), np.float32)
        self._scale = scale
        self._next = 0

    def add(self, rows: np.ndarray) -> None:
        """rows: [n, width * scale, C]."""
        height, width, channels = self.pixels.shape
        first, self._next = self._next, self._next + len(rows)
        across, weights = _taps(width * self._scale, width)
        narrow = np.zeros((len(rows), width, channels), np.float32)
        for k in range(across.shape[1]):
            narrow += weights[:, k, None] * rows[:, across[:, k]]
        down, weights = _taps(height * self._scale, height)
        small, tap = np.nonzero((down >= first) & (down < self._next) & (weights != 0))
        for i, k in zip(small, tap):
            self.pixels[i] += weights[i, k] * narrow[down[i, k] - first]
