"""Starts for holes: at the coarsest level they are closed from their edges inward, layer by layer."""
from __future__ import annotations

import numpy as np
from scipy import ndimage

from imggen_jax.patches import features, matching
from imggen_jax.patches.matching import Settings, Source, Target

_KEYS = 20_000                       # patches of the source that are looked at, spread evenly
_AT_A_TIME = 500                     # pixels that are worked on at a time: 40 MB


def peeled(target: Target, source: Source, place: np.ndarray, settings: Settings) -> Target:
    """The target with its changing pixels taken, each, from the patch that fits what is known around it best.

    Args:
      target: of a coarse level: time grows with the changing pixels times the patches of the source.
      source: whose patches are used.
      place: float32 [H,W,2], where the target's pixels lie, as for `matching.points`.
      settings: its `patch` and `place` count.
    """
    p, r = settings.patch, settings.patch // 2
    grid_width = source.grid[1]
    usable = source.usable[:: -(-len(source.usable) // _KEYS)]
    keys = features.cut(source.level.picture, p, usable // grid_width, usable % grid_width)
    keys = keys.reshape(len(keys), p * p, -1)
    squares = np.square(keys).sum(-1).T
    flat = keys.reshape(len(keys), -1).T
    modes = ["wrap" if w else "constant" for w in target.wrap]
    picture, known = target.picture.copy(), ~target.change
    lies = matching.coordinates(source.level.known.shape).reshape(-1, 2)[
        usable // grid_width * source.level.known.shape[1] + usable % grid_width]
    while not known.all():
        share = ndimage.uniform_filter(known.astype(np.float32), 3, mode=modes)  # pyright: ignore[reportArgumentType]
        near = share > 0.05
        ring = near & ~known
        if not ring.any():           # nothing is known at all
            ring = ~known
        around, seen = (_around(a, r, target.wrap) for a in (picture, known[..., None].astype(np.float32)))
        rows, columns = np.nonzero(ring)
        for i in range(0, len(rows), _AT_A_TIME):
            y, x = rows[i : i + _AT_A_TIME], columns[i : i + _AT_A_TIME]
            at, mask = (features.cut(a, p, y, x).reshape(len(y), p * p, -1) for a in (around, seen))
            cost = mask[..., 0] @ squares - 2 * (at * mask).reshape(len(y), -1) @ flat
            for axis, weight in enumerate(settings.place):
                apart = place[np.maximum(y - r, 0), np.maximum(x - r, 0), axis][:, None] - lies[:, axis]
                cost += mask.sum(1) * np.float32(weight) ** 2 * apart**2
            picture[y, x] = keys[cost.argmin(1), p * p // 2]
        known |= ring
    return target._replace(picture=picture)


def _around(array: np.ndarray, r: int, wrap: tuple[bool, bool]) -> np.ndarray:
    for axis in (0, 1):
        width = [(r, r) if a == axis else (0, 0) for a in range(array.ndim)]
        array = np.pad(array, width, mode="wrap" if wrap[axis] else "constant")
    return array
