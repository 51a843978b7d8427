"""Pictures at smaller sizes, where some pixels may be unknown. NumPy and Pillow; float32 [H,W,C]."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image


class Level(NamedTuple):
    """A picture at one size, and which of its pixels are known."""

    picture: np.ndarray          # float32 [H,W,C], range [0,1]; unknown pixels are 0
    known: np.ndarray            # bool [H,W]


def resize(picture: np.ndarray, size: tuple[int, int], filter: Image.Resampling = Image.Resampling.LANCZOS,
           ) -> np.ndarray:
    """A picture at another size, antialiased.

    Args:
      picture: float32 [H,W] or [H,W,C].
      size: height and width, at least 1.
      filter: Pillow's; LANCZOS may overshoot the range by a little.

    Returns:
      float32 [h,w] or [h,w,C].
    """
    if picture.shape[:2] == tuple(size):
        return picture
    if picture.ndim == 2:
        one = Image.fromarray(np.ascontiguousarray(picture, np.float32)).resize((size[1], size[0]), filter)
        return np.asarray(one, np.float32)
    return np.stack([resize(picture[..., c], size, filter) for c in range(picture.shape[-1])], axis=-1)


def reduce(level: Level, size: tuple[int, int], least: float = 0.5) -> Level:
    """A smaller level: the mean of the known pixels, known where at least a share `least` of what it is made of is."""
    if level.known.all():
        return Level(resize(level.picture, size), np.ones(size, bool))
    share = resize(level.known.astype(np.float32), size, Image.Resampling.BOX)
    total = resize(np.where(level.known[..., None], level.picture, 0), size, Image.Resampling.BOX)
    known = share >= least
    return Level(np.where(known[..., None], total / np.maximum(share, 1e-6)[..., None], 0).astype(np.float32), known)


def scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Height and width times `scale`, rounded, at least 1."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def scales(side: int, coarsest: float, finest: int, ratio: float) -> list[float]:
    """Scales of a pyramid, coarse to fine: the last brings `side` to `finest` (never above 1), the first to about
    `coarsest`, and each is `ratio` of the next."""
    found = [min(1.0, finest / side)]
    while found[-1] * side * ratio >= coarsest * 0.99:
        found.append(found[-1] * ratio)
    return found[::-1]
