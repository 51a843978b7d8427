"""Bicubic resizing of pictures on the host, a part at a time: the kernel, antialiasing and border of MATLAB's imresize.

Keys' cubic convolution with a = -1/2 (doi 10.1109/TASSP.1981.1163711); widened where a picture is reduced; mirrored at
the border.
"""
from __future__ import annotations

import functools

import numpy as np


@functools.lru_cache(maxsize=8)
def taps(size: int, to: int) -> tuple[np.ndarray, np.ndarray]:
    """(indices int [to,k] of the pixels that each new one is made of, weights float32 [to,k] that sum to 1)."""
    scale = to / size
    shrink = min(scale, 1.0)
    width = 4 / shrink
    center = (np.arange(to) + 0.5) / scale - 0.5
    index = np.floor(center - width / 2).astype(np.int64)[:, None] + np.arange(int(np.ceil(width)) + 2)
    weights = _cubic((center[:, None] - index) * shrink)
    used = (weights != 0).any(0)
    index, weights = index[:, used] % (2 * size), weights[:, used]
    index = np.minimum(index, 2 * size - 1 - index)
    return index, (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0))


def enlarged(pixels: np.ndarray, scale: int, rows: slice, columns: slice) -> np.ndarray:
    """A part of the `scale` times larger picture: [H,W,C] -> float32 [scale * rows, scale * columns, C].

    rows, columns: the part, in pixels of the small picture.
    """
    part = _along(pixels, scale, rows)
    return _along(part.swapaxes(0, 1), scale, columns).swapaxes(0, 1)


def _along(pixels: np.ndarray, scale: int, part: slice) -> np.ndarray:
    index, weights = taps(len(pixels), scale * len(pixels))
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
        across, weights = taps(width * self._scale, width)
        narrow = np.zeros((len(rows), width, channels), np.float32)
        for k in range(across.shape[1]):
            narrow += weights[:, k, None] * rows[:, across[:, k]]
        down, weights = taps(height * self._scale, height)
        small, tap = np.nonzero((down >= first) & (down < self._next) & (weights != 0))
        for i, k in zip(small, tap):
            self.pixels[i] += weights[i, k] * narrow[down[i, k] - first]
