"""The luma of a picture at a bounded size, whole or from its bands: all that is looked at of a large one."""
from __future__ import annotations

import numpy as np
from PIL import Image

MOST = 256               # pixels of a side, down to which large pictures are reduced by whole factors


class Overview:
    """What marks and fingerprints have to know of a picture, from its bands."""

    def __init__(self, height: int, width: int):
        self.height, self.width = height, width
        self._factors = _factors(height, width)
        self._reduced: list[np.ndarray] = []
        self._rest = np.zeros((0, width), np.uint8)

    def add(self, band: np.ndarray) -> None:
        """The next rows: uint8 or uint16 [rows,W,C]."""
        rows = np.concatenate([self._rest, np.asarray(_gray(band))])
        whole = len(rows) - len(rows) % self._factors[0]
        self._reduce(rows[:whole])
        self._rest = rows[whole:]

    def luma(self) -> np.ndarray:
        """float32 [h,w], of the whole picture."""
        self._reduce(self._rest)
        self._rest = self._rest[:0]
        return np.concatenate(self._reduced).astype(np.float32)

    def _reduce(self, rows: np.ndarray) -> None:
        if len(rows):
            self._reduced.append(np.asarray(_reduced(Image.fromarray(rows), self._factors)))


def luma(pixels: np.ndarray) -> np.ndarray:
    """float32 [h,w], 0 to 255, over mid gray where the picture is transparent (ITU-R BT.601 weights).

    Large pictures are reduced by whole factors, to no less than MOST pixels a side.
    """
    return np.asarray(_reduced(_gray(pixels), _factors(*pixels.shape[:2]))).astype(np.float32)


def _factors(height: int, width: int) -> tuple[int, int]:
    return max(1, height // MOST), max(1, width // MOST)


def _reduced(picture: Image.Image, factors: tuple[int, int]) -> Image.Image:
    return picture.reduce((factors[1], factors[0])) if max(factors) > 1 else picture


def _gray(pixels: np.ndarray) -> Image.Image:
    """The luma in 8 bits, over mid gray where the picture is transparent."""
    eight = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    channels = eight.shape[-1]
    picture = (Image.fromarray(np.ascontiguousarray(eight[..., :3])).convert("L") if channels >= 3
               else Image.fromarray(np.ascontiguousarray(eight[..., 0])))
    if channels in (2, 4) and eight[..., -1].min() < 255:
        alpha = Image.fromarray(np.ascontiguousarray(eight[..., -1]))
        picture = Image.composite(picture, Image.new("L", picture.size, 128), alpha)
    return picture


def resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """float32 [H,W] of another size, without aliasing."""
    if values.shape == (height, width):
        return values
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC))
