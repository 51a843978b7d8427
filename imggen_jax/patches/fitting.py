"""Pictures drawn nearer to the patches of another without an accelerator: the last touch of holes and of styles.

Pitie, Kokaram and Dahyot, Computer Vision and Image Understanding 107 (2007), which moves points along one
direction after the other to where they are distributed as others are; here the points are patches, whose pixels are
averaged after each move, as in Rabin et al.: Wasserstein barycenter and its application to texture mixing (2011).
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from imggen_jax.patches import features, measures


def fitted(picture: np.ndarray, change: np.ndarray, source: np.ndarray, usable: np.ndarray, rng: np.random.Generator,
           *, patch: int = 7, steps: int = 1, step: float = 0.3, samples: int = 8192) -> np.ndarray:
    """The picture with its changing pixels moved so that patches around them are distributed as the source's.

    Args:
      picture: float32 [H,W,C].
      change: bool [H,W]: pixels that may change; the patches that hold one are moved.
      source: float32 [h,w,C].
      usable: bool [h,w]: the patches that consist of these pixels are moved to; float: how much they count.
      rng: draws patches and directions.
      patch: side of the patches.
      steps: how many; each has its own directions.
      step: share of the way that each goes, above 0 and up to 1.
      samples: patches in a step, about; more where fewer would leave pixels out.

    Returns:
      float32 [H,W,C]; the picture, where there are no patches to move or to move to.
    """
    start, picture = picture, picture.astype(np.float32)
    height, width = change.shape
    moving, goals = features.touched(change, patch), np.flatnonzero(features.whole(usable > 0, patch))
    if not moving.any() or not len(goals):
        return start
    every = int(np.clip(np.ceil((moving.sum() / samples) ** 0.5), 1, patch // 2 + 1))
    goal_columns = usable.shape[1] - patch + 1
    chances = usable[: usable.shape[0] - patch + 1, :goal_columns].ravel()[goals].astype(np.float64)
    channels = picture.shape[-1]
    for _ in range(steps):
        # One patch in each cell of a lattice, anywhere in it: at one place in all of them, the lattice would show.
        offset = rng.integers(0, every, 2)
        cells = np.argwhere(moving[offset[0] :: every, offset[1] :: every]) * every
        at = np.minimum(cells + rng.integers(0, every, cells.shape), np.array(moving.shape) - 1)
        rows, cols = np.unique(at, axis=0).T                  # at the far edges, cells may meet
        if not len(rows):
            continue
        to = rng.choice(goals, len(rows), p=chances / chances.sum())
        basis = np.linalg.qr(rng.standard_normal((patch * patch * channels,) * 2))[0].astype(np.float32)
        now = features.cut(picture, patch, rows, cols) @ basis
        wanted = np.sort(features.cut(source, patch, *np.divmod(to, goal_columns)) @ basis, 0)
        moved = np.empty_like(now)
        np.put_along_axis(moved, now.argsort(0, kind="stable"), wanted, 0)
        moved = ((moved - now) @ basis.T).reshape(-1, patch, patch, channels)
        total, count = np.zeros_like(picture), np.zeros((height, width), np.float32)
        for dy in range(patch):
            for dx in range(patch):
                total[rows + dy, cols + dx] += moved[:, dy, dx]
                count[rows + dy, cols + dx] += 1
        picture = picture + np.float32(step) * total / np.maximum(count, 1)[..., None]
        picture = np.where(change[..., None], np.clip(picture, 0, 1), start)
    return picture


def fitted_into(picture: np.ndarray, plain: Sequence[np.ndarray], change: np.ndarray, ring: np.ndarray,
                rng: np.random.Generator, *, most: float = 0.02) -> np.ndarray:
    """A filling drawn nearer to the patches around it, as far as plain ones are nearer, and no farther.

    Args:
      picture: float32 [H,W,C] in [0,1], with a filling.
      plain: the same with other fillings, as smooth ones: nearer than these is near enough.
      change: bool [H,W], true where it is filled.
      ring: bool [H,W], what lies around.
      rng: as for `fitted`.
      most: by which a pixel may change. What belongs in a hole is not always what is around it.

    Returns:
      float32 [H,W,C].
    """
    if not features.whole(ring, 7).any() or not features.touched(change, 7).any():
        return picture

    def distance(filling):
        bits = np.rint(np.clip(filling, 0, 1) * 65535).astype(np.uint16)
        return measures.patch_distance(bits, bits, first_mask=change, second_mask=ring, samples=4096, seed=1)

    goal, now = 0.97 * min(map(distance, plain)), picture
    apart = distance(now)
    depth = np.asarray(ndimage.distance_transform_edt(change))
    # Less near the hole's edge, where a step would show.
    share = np.minimum(1, depth / max(1.0, depth.max() / 2)).astype(np.float32)[..., None]
    for _ in range(12):
        if apart <= goal:
            break
        moved = now + share * (fitted(now, change, picture, ring, rng) - now)
        moved = np.clip(moved, picture - most, picture + most)
        before, apart = apart, distance(moved)
        if apart > 0.995 * before:   # no nearer
            break
        # Only as much of the last step as is needed.
        part = np.float32(min(1.0, (before - goal) / (before - apart)))
        now = now + part * (moved - now)
    return now
