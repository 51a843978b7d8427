"""How near pictures' patches are, how well a picture tiles, how much pictures differ."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from imggen_jax.patches import features


def patch_distance(first: np.ndarray, second: np.ndarray, *, size: int = 7, projections: int = 64,
                   samples: int = 8192, seed: int = 0, first_mask: np.ndarray | None = None,
                   second_mask: np.ndarray | None = None) -> float:
    """The sliced Wasserstein distance between the patches of two pictures, lower is nearer.

    The root of the mean squared difference between sorted projections of `samples` patches of each on random unit
    vectors; 0 for equal sets of patches, and never quite 0 for two samples of one.

    Args:
      first, second: uint8 or uint16 [H,W] or [H,W,C].
      size: side of the patches.
      projections: random directions.
      samples: patches of each picture, drawn.
      seed: of the draws.
      first_mask, second_mask: bool [H,W]: use patches that hold one of these pixels, or consist of them, only.
    """
    rng = np.random.default_rng(seed)
    sets = []
    for picture, mask, inside in ((first, first_mask, False), (second, second_mask, True)):
        picture = np.asarray(picture)
        full = picture.reshape(*picture.shape[:2], -1) / np.float32(np.iinfo(picture.dtype).max)
        shape = features.grid(full.shape, size)
        ok = np.ones(shape, bool) if mask is None else (
            features.whole(mask, size) if inside else features.touched(mask, size))
        at = rng.choice(np.flatnonzero(ok), samples)
        sets.append(features.cut(full, size, at // shape[1], at % shape[1]))
    directions = rng.standard_normal((sets[0].shape[1], projections))
    directions /= np.linalg.norm(directions, axis=0)
    a, b = (np.sort(points @ directions, 0) for points in sets)
    return float(np.sqrt(np.mean((a - b) ** 2)))


def seam(picture: np.ndarray) -> tuple[float, float]:
    """The gradient across the seam of a tile, relative to that inside: (upper and lower edge, left and right edge).

    Args:
      picture: uint8 or uint16 [H,W] or [H,W,C].

    Returns:
      mean absolute differences between the first and last line, over the mean of those between neighboring lines within
      an eighth of the picture of the seam; 1: the seam does not show.
    """
    rows, columns = (float(gradients(picture, axis)[-1]) for axis in (0, 1))
    return rows, columns


def gradients(picture: np.ndarray, axis: int) -> np.ndarray:
    """How rough each step between neighboring lines of a closed picture is, relative to those around it.

    Args:
      picture: [H,W] or [H,W,C]; its last line is followed by its first.
      axis: 0: steps between rows, 1: between columns.

    Returns:
      float64 [n]: mean absolute difference between lines k and k + 1, over the mean of the steps within an eighth of
      the picture on both sides; the last is the seam's. 1 everywhere for a flat picture.
    """
    lines = np.moveaxis(np.asarray(picture, np.float64), axis, 0)
    steps = np.abs(np.roll(lines, -1, 0) - lines).reshape(len(lines), -1).mean(1)
    if not steps.any():
        return np.ones_like(steps)
    near = max(2, len(steps) // 8)
    window = np.ones(2 * near + 1)
    window[near] = 0
    around = ndimage.correlate1d(steps, window / (2 * near), mode="wrap")
    return steps / np.maximum(around, 1e-9)


def diversity(pictures: Sequence[np.ndarray]) -> float:
    """How much pictures of one shape differ: the standard deviation of each pixel, over that of all; 0: not at all."""
    stack = np.stack([np.asarray(p, np.float64) for p in pictures])
    return float(stack.std(0).mean() / max(stack.std(), 1e-9))
