"""Each patch of a picture that is being made is matched to one of the source, and the matches vote for its pixels.

Wexler, Shechtman, Irani: Space-time completion of video (2007); Barnes et al.: PatchMatch (2009), whose propagation
from neighbors is done here for all patches at once; Kaspar et al.: Self tuning texture optimization (2015), whose
penalty for patches that are used too often forces completeness.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from imggen_jax.patches import features
from imggen_jax.patches.pyramid import Level
from imggen_jax.patches.search import Search, nearest

_SHIFTS = ((-1, 0), (1, 0), (0, -1), (0, 1))
FAR = np.float32(1e9)                # a squared distance that no two patches have


class Settings(NamedTuple):
    """How patches are matched."""

    patch: int = 7                   # side in pixels
    dims: int | None = 16                   # principal components that are compared; None: all pixels, exactly
    backend: str = "auto"            # see `search.nearest`
    eps: float = 2.0                 # of the tree
    coherence: float = 0.5           # matches that continue their neighbors' may be farther by this share
    spread: float = 0.0              # weight of the penalty for source patches that are used more than the others
    place: tuple[float, float] = (0.0, 0.0)   # weight of where a patch lies: (rows, columns), per height or width


class Source(NamedTuple):
    """A level of the source, ready to be searched. K is the number of its patches, whole or not."""

    level: Level
    basis: features.Basis
    keys: np.ndarray                 # float32 [K,D]
    whole: np.ndarray                # bool [K]: all pixels known, so that it may be used
    snap: np.ndarray                 # int [K]: the nearest patch that may be used
    find: Callable[[], Search]       # makes the search on its first call: a level may need none
    usable: np.ndarray               # int [U]: the patches that may be used

    @property
    def grid(self) -> tuple[int, int]:
        return features.grid(self.level.known.shape, self.basis.size)


class Target(NamedTuple):
    """A picture that is being made, at one level. N patches of it hold a pixel that may change."""

    picture: np.ndarray              # float32 [H,W,C]
    change: np.ndarray               # bool [H,W]
    wrap: tuple[bool, bool]          # rows, columns
    rows: np.ndarray                 # int [N]: upper left corners of the patches
    columns: np.ndarray              # int [N]
    field: np.ndarray                # int [h,w] over the grid of patches: the source's patch, -1 where none changes


def source(level: Level, settings: Settings, rng: np.random.Generator, place: np.ndarray | None = None,
           near: np.ndarray | None = None) -> Source:
    """Prepares a level to be searched.

    Args:
      level: the source at one size.
      settings: how patches are matched.
      rng: draws the patches that principal components are found on.
      place: float32 [h,w,2], where each pixel lies, rows and columns in [0,1]; default: where it is in the level.
      near: bool [h,w] over the grid of patches: others are not used, which saves their points. Default: all.
    """
    p = settings.patch
    whole = features.whole(level.known, p)
    usable = np.flatnonzero(whole)
    dims = settings.dims or p * p * level.picture.shape[-1]
    basis = features.principal(level.picture, p, usable, dims, rng)
    if near is None:
        keys = features.project(level.picture, basis, np.arange(whole.size))
    else:
        whole = whole & near
        at = np.flatnonzero(whole)
        keys = np.zeros((whole.size, basis.components.shape[1]), np.float32)
        keys[at] = features.project(level.picture, basis, at)
        usable = at
    if any(settings.place):
        place = coordinates(level.known.shape) if place is None else place
        keys = np.concatenate([keys, _placed(place[: whole.shape[0], : whole.shape[1]].reshape(-1, 2), settings)], 1)
    snap = np.ravel_multi_index(tuple(features.nearest_true(whole)), whole.shape).ravel()
    made = []

    def find():
        if not made:
            made.append(nearest(keys[usable], backend=settings.backend, eps=settings.eps))
        return made[0]

    return Source(level, basis, keys, whole.ravel(), snap, find, usable)


def coordinates(shape: tuple[int, int], offset: tuple[float, float] = (0, 0), size: tuple[int, int] | None = None,
                ) -> np.ndarray:
    """float32 [h,w,2]: rows and columns of pixels, less an offset, as shares of a size (default: the shape)."""
    size = size or shape
    rows, columns = ((np.arange(n) - o) / s for n, o, s in zip(shape, offset, size, strict=True))
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).astype(np.float32)


def _placed(place: np.ndarray, settings: Settings) -> np.ndarray:
    # A patch's squared distance is a sum over its pixels and channels: so is that of where it lies.
    return place * (np.asarray(settings.place, np.float32) * np.float32(settings.patch))


def target(picture: np.ndarray, change: np.ndarray, patch: int, wrap: tuple[bool, bool] = (False, False)) -> Target:
    """A picture without matches. picture: float32 [H,W,C]; change: bool [H,W]."""
    active = features.touched(change, patch, wrap)
    rows, columns = np.nonzero(active)
    return Target(picture, change, wrap, rows, columns, np.full(active.shape, -1, np.int64))


def points(target: Target, source: Source, settings: Settings, place: np.ndarray | None = None) -> np.ndarray:
    """The target's changing patches as points: float32 [N,D]."""
    picture = features.padded(target.picture, source.basis.size, target.wrap)
    at = target.rows * (picture.shape[1] - source.basis.size + 1) + target.columns
    found = features.project(picture, source.basis, at)
    if any(settings.place):
        place = coordinates(target.change.shape) if place is None else place
        found = np.concatenate([found, _placed(place[target.rows, target.columns], settings)], 1)
    return found


def distances(queries: np.ndarray, source: Source, at: np.ndarray) -> np.ndarray:
    """Squared distances of points to the source's patches `at` int [N], FAR where these may not be used."""
    out = np.empty(len(at), np.float32)
    for i in range(0, len(at), 1 << 15):                     # pieces that stay in the processor's cache
        part = at[i : i + (1 << 15)]
        difference = queries[i : i + (1 << 15)] - source.keys[part]
        np.einsum("nd,nd->n", difference, difference, out=out[i : i + (1 << 15)])
    return np.where(source.whole[at], out, FAR)


def rematch(target: Target, source: Source, settings: Settings, rng: np.random.Generator, *, search: float,
            passes: int = 2, place: np.ndarray | None = None) -> tuple[Target, np.ndarray]:
    """Better matches for the target as it looks now.

    Args:
      target: with matches or without.
      source: what to match with.
      settings: how.
      rng: draws which patches move at a time, where `settings.spread` is set.
      search: share of the patches that look among all of the source's; the others take what continues their neighbors'.
      passes: how often matches are handed on to neighbors.
      place: as for `source`, of the target's pixels.

    Returns:
      the target with new matches, and their squared distances float32 [N].
    """
    queries = points(target, source, settings, place)
    field, now = target.field.copy(), target.field[target.rows, target.columns]
    known = now >= 0
    best = np.where(known, distances(queries, source, np.maximum(now, 0)), FAR)
    used = _Used(target, source, settings, now, best)
    looking = np.flatnonzero(~known if search == 0 else ~known | (rng.random(len(now)) < search))
    if len(looking):
        found, at = source.find()(queries[looking])
        found, at = found[:, 0] * np.float32(1 + settings.coherence), source.usable[at[:, 0]]
        better = (found + used.penalty(at) < best[looking] + used.penalty(now[looking]))
        if settings.spread:          # all at once would run from one crowded patch to the next
            better &= rng.random(len(better)) < 0.5
        better |= best[looking] >= FAR
        now[looking], best[looking] = np.where(better, at, now[looking]), np.where(better, found, best[looking])
        best[looking] = np.where(better, distances(queries[looking], source, now[looking]), best[looking])
        used.count(now)
    for turn in range(passes):
        field[target.rows, target.columns] = now
        for dy, dx in _SHIFTS:
            step = 1 if turn else 2
            at = _continued(field, target, source, dy * step, dx * step)
            at = np.where(at < 0, now, at)
            found = distances(queries, source, at)
            better = found + used.penalty(at) < best + used.penalty(now)
            now, best = np.where(better, at, now), np.where(better, found, best)
        used.count(now)
    field[target.rows, target.columns] = now
    return target._replace(field=field), best


def _continued(field: np.ndarray, target: Target, source: Source, dy: int, dx: int) -> np.ndarray:
    """For each changing patch the source's patch that continues the match of its neighbor at (dy, dx); -1: none."""
    (h, w), (kh, kw) = field.shape, source.grid
    y, x = target.rows + dy, target.columns + dx
    ok = np.ones(len(y), bool)
    for axis, (value, n) in enumerate(((y, h), (x, w))):
        if not target.wrap[axis]:
            ok &= (value >= 0) & (value < n)
    found = field[y % h, x % w]
    sy, sx = found // kw - dy, found % kw - dx
    ok &= (found >= 0) & (sy >= 0) & (sy < kh) & (sx >= 0) & (sx < kw)
    return np.where(ok, sy * kw + sx, -1)


class _Used:
    """How often each of the source's patches is used, relative to once or to all alike, and what more of it costs."""

    def __init__(self, target: Target, source: Source, settings: Settings, now: np.ndarray, best: np.ndarray):
        self.shape, self.weight, self.patch = source.grid, settings.spread, settings.patch
        # A small hole may be filled by one part of the source, though not by the same few patches again and again.
        self.fair = max(1.0, len(now) / max(1, len(source.usable)))
        self.cost = np.zeros(np.prod(self.shape), np.float32)
        matched = best[best < FAR]
        self.scale = np.float32(np.median(matched)) if len(matched) else np.float32(0)
        self.count(now)

    def count(self, now: np.ndarray) -> None:
        if self.weight and self.scale:
            count = np.bincount(now[now >= 0], minlength=self.cost.size).reshape(self.shape).astype(np.float32)
            crowd = ndimage.uniform_filter(count, self.patch, mode="nearest") / self.fair
            self.cost = (self.weight * self.scale * np.maximum(crowd - 1, 0)).ravel()

    def penalty(self, at: np.ndarray) -> np.ndarray | np.float32:
        return self.cost[np.maximum(at, 0)] if self.weight else np.float32(0)


def window(patch: int, sigma: float) -> np.ndarray:
    """float32 [patch,patch]: a Gaussian of `sigma` pixels, highest in the middle, which is 1."""
    line = np.exp(-0.5 * ((np.arange(patch) - (patch - 1) / 2) / sigma) ** 2)
    return np.outer(line, line).astype(np.float32)


def vote(target: Target, source: Source, weights: np.ndarray | None, sigma: float,
         colors: np.ndarray | None = None, every: int = 1) -> np.ndarray:
    """The picture whose changing pixels are means of what the matches of all patches around them say.

    Args:
      target: with matches.
      source: what these are of.
      weights: float32 [N], of each match; None: equal.
      sigma: of the window over each patch, in pixels: the smaller, the sharper and the harder the seams.
      colors: float32 [Hs,Ws,C'], to be voted on instead of the source's own pixels.
      every: patches vote for each second of their rows and columns only where it is 2, which takes a third of the time.

    Returns:
      float32 [H,W,C']. Pixels that may not change are the target's own; with `colors`, what the matches say of them
      where a patch reaches there, and else 0.
    """
    p, (_, kw) = source.basis.size, source.grid
    from_ = source.level.picture if colors is None else colors
    width, channels = from_.shape[1], from_.shape[-1]
    pixels = from_.reshape(-1, channels)
    height_, width_ = (n + (p - 1 if w else 0) for n, w in zip(target.change.shape, target.wrap, strict=True))
    total = np.zeros((height_ * width_, channels), np.float32)
    mass = np.zeros(height_ * width_, np.float32)
    at = target.field[target.rows, target.columns]
    start, to = at // kw * width + at % kw, target.rows * width_ + target.columns
    weights = np.ones(len(at), np.float32) if weights is None else weights
    full = len(at) == target.field.size
    shape = target.field.shape
    for (dy, dx), g in np.ndenumerate(window(p, sigma)):
        if (g < 1e-3 and {dy, dx} - {0, p - 1}) or dy % every or dx % every:
            continue                 # though small, corners are all that reaches the picture's own corners
        share = weights * g
        value = pixels[start + (dy * width + dx)]
        value *= share[:, None]
        if full:
            view = (slice(dy, dy + shape[0]), slice(dx, dx + shape[1]))
            total.reshape(height_, width_, channels)[view] += value.reshape(*shape, channels)
            mass.reshape(height_, width_)[view] += share.reshape(shape)
        else:
            total[to + (dy * width_ + dx)] += value
            mass[to + (dy * width_ + dx)] += share
    total = _folded(total.reshape(height_, width_, channels), target)
    mass = _folded(mass.reshape(height_, width_), target)
    mean = total / np.maximum(mass, 1e-12)[..., None]
    return mean if colors is not None else np.where((target.change & (mass > 0))[..., None], mean, target.picture)


def _folded(sums: np.ndarray, target: Target) -> np.ndarray:
    """Adds what lies beyond a wrapped edge to the other side."""
    for axis, (n, wrap) in enumerate(zip(target.change.shape, target.wrap, strict=True)):
        if wrap:
            body, beyond = np.split(sums, [n], axis)
            while beyond.shape[axis]:                        # more than once, where the picture is below a patch
                part, beyond = np.split(beyond, [min(n, beyond.shape[axis])], axis)
                (body if axis == 0 else body.swapaxes(0, 1))[: part.shape[axis]] += (
                    part if axis == 0 else part.swapaxes(0, 1))
            sums = body
    return sums


def used_at(target: Target, source: Source, size: tuple[int, int], reach: int) -> np.ndarray:
    """bool over the grid of patches of a larger source, of `size` pixels: within `reach` of where matches point to."""
    grid = features.grid(size, source.basis.size)
    rows, columns = np.divmod(target.field[target.rows, target.columns], source.grid[1])
    used = np.zeros(source.grid, bool)
    used[rows, columns] = True
    steps = [n / m for n, m in zip(size, source.level.known.shape, strict=True)]
    used = ndimage.binary_dilation(used, np.ones((3, 3)), iterations=1 + -(-reach // int(max(1, min(steps)))))
    index = [np.clip((np.arange(n) / s).astype(int), 0, m - 1) for n, s, m in
             zip(grid, steps, source.grid, strict=True)]
    return used[np.ix_(*index)]


def carried(old: Target, old_source: Source, new: Target, new_source: Source) -> Target:
    """Matches of a coarser level, at a finer one; neighbors that continue each other still do."""
    (h, w), (_, kw) = old.field.shape, old_source.grid
    shift, index = [], []
    filled = old.field
    if (filled < 0).any():
        origin = features.nearest_true(filled >= 0)
        filled = filled[tuple(origin)]
    else:
        origin = np.indices(filled.shape)
    half = old_source.basis.size / 2
    for axis, (at, n) in enumerate(((new.rows, h), (new.columns, w))):
        fine = (at + half) * (old.change.shape[axis] / new.change.shape[axis]) - half
        i = np.rint(fine).astype(np.int64)
        i = i if old.wrap[axis] else np.clip(i, 0, n - 1)
        index.append(i)
    y, x = index
    found = filled[y % h, x % w]
    for axis, (s, i, n) in enumerate(((found // kw, y, h), (found % kw, x, w))):
        ratio = new_source.level.known.shape[axis] / old_source.level.known.shape[axis]
        # Over a wrapped edge the neighbor lies on the other side, a whole picture away.
        shift.append(np.rint((s - origin[axis][y % h, x % w] - (i - i % n)) * ratio).astype(np.int64))
    kh, kw = new_source.grid
    sy, sx = np.clip(new.rows + shift[0], 0, kh - 1), np.clip(new.columns + shift[1], 0, kw - 1)
    field = new.field.copy()
    field[new.rows, new.columns] = new_source.snap[sy * kw + sx]
    return new._replace(field=field)


def placed(target: Target, source: Source, origin: np.ndarray) -> Target:
    """Matches of patches whose middle pixels come from `origin`, int [H,W,2] rows and columns of the source."""
    half = source.basis.size // 2
    h, w = target.change.shape
    y, x = (target.rows + half) % h, (target.columns + half) % w
    kh, kw = source.grid
    sy, sx = np.clip(origin[y, x, 0] - half, 0, kh - 1), np.clip(origin[y, x, 1] - half, 0, kw - 1)
    field = target.field.copy()
    field[target.rows, target.columns] = np.where(origin[y, x, 0] < 0, -1, source.snap[sy * kw + sx])
    return target._replace(field=field)
