"""A part of a picture made anew: things removed, edges extended, collages joined."""
from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from imggen_jax.patches import blending, features, filling, fitting, matching, quilting, sizes, synthesis
from imggen_jax.patches.errors import PatchError
from imggen_jax.patches.matching import Settings
from imggen_jax.patches.pyramid import Level, resize, scaled
from imggen_jax.patches.synthesis import Effort, Problem, Report

_THIN = 4                            # pixels from a hole's edge to its middle, up to which it is thin
_MELT = 0.003                        # regions of different light are blended over about 1 / sqrt(it) pixels


def remove(picture: np.ndarray, mask: np.ndarray, *, use: np.ndarray | None = None, grow: int = 0, soften: int = 0,
           seed: int = 0, quality: str = "normal", backend: str = "auto", report: Report = sizes.quiet) -> np.ndarray:
    """Fills what is masked from the rest of the picture.

    Args:
      picture: uint8 or uint16 [H,W] or [H,W,C], C from 1 to 4.
      mask: bool, uint8 or float [H,W]; true or white: to be filled.
      use: the same; where patches may be taken from. Default: everywhere outside the mask.
      grow: pixels by which the mask is widened first; what lies outside the widened mask is returned to the bit.
      soften: pixels inside the mask over which the picture passes into the filling.
      seed: from 0 to 2^32-1.
      quality: "draft", "normal" or "best".
      backend: see `search.nearest`.
      report: is called with the share that is done.

    Returns:
      the picture, of the same shape and dtype.

    Raises:
      PatchError: arguments that cannot be worked with.
    """
    change = sizes.masked(mask, np.shape(picture))
    if grow:
        change = sizes.masked(ndimage.binary_dilation(change, iterations=int(sizes.number(grow, "grow", 0, 200))),
                              change.shape, "the widened mask")
    full = sizes.entered(picture)
    allowed = ~change if use is None else ~change & sizes.masked(use, change.shape, "the mask of what may be used")
    made = filled(full, change, allowed, seed=seed, quality=quality, backend=backend, report=report)
    made = _softened(made, full, change, soften)
    return sizes.left(made, picture, ~change)


def filled(full: np.ndarray, change: np.ndarray, allowed: np.ndarray, *, seed: int, quality: str, backend: str,
           report: Report, wrap: tuple[bool, bool] = (False, False), place: tuple[float, float] = (1.5, 0.1),
           ) -> np.ndarray:
    """`remove` on float32 [H,W,C]; see there. wrap: rows, columns; place: as in `Settings`."""
    thick = float(_depth(change, wrap).max())
    side = min(change.shape)
    settings = Settings(backend=backend, place=place, spread=0.5)
    problem = Problem(_level(full, allowed), _level(full, ~change), wrap)

    def start(target, source, rng):
        lies = matching.coordinates(target.change.shape)
        small = np.where(target.change[..., None], 0, target.picture)
        return [filling.peeled(target, source, lies, settings),
                target._replace(picture=blending.smooth(small, ~target.change))]

    made = sizes.worked_out(problem, quality=quality, base=max(24.0, min(side, 200.0, side * 6 / thick)), ratio=0.6,
                            settings=settings, effort=Effort(melt=_MELT), start=start, rng=sizes.generator(seed),
                            report=report, guide=5.0)
    return _fitted(_thinly(made, change), change, allowed, sizes.generator(seed))


def _thinly(made: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Where a hole is thinner than a patch both sides are seen at once: the mean with a smooth filling is nearer."""
    labeled: Any = ndimage.label(change, np.ones((3, 3)))
    parts, count = labeled
    deep = np.zeros(count + 1)
    np.maximum.at(deep, parts[change], _distance(change)[change])
    thin = change & (deep <= _THIN)[parts]
    return (made + blending.bent(made, thin)) / 2 if thin.any() else made


def _fitted(made: np.ndarray, change: np.ndarray, allowed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colors only, and at most at the size of normal quality: above it, what that changes there is added."""
    size = scaled(change.shape, min(1.0, sizes.QUALITIES["normal"] / max(change.shape)))
    hole = resize(change.astype(np.float32), size) > 0.5
    ring = _distance(~hole) <= max(12, 0.12 * min(size))
    ring &= (resize(allowed.astype(np.float32), size) > 0.99) & ~hole
    colors = made.shape[-1] - (made.shape[-1] in (2, 4))     # alpha stays as it is filled: whole where all is whole
    small = np.clip(resize(made[..., :colors], size), 0, 1)
    if not hole.any():               # too thin to show at this size
        return made
    plain = [blending.smooth(small, ~hole), small[tuple(features.nearest_true(~hole))]]
    fitted = fitting.fitted_into(small, plain, hole, ring, rng)
    if fitted is not small:
        made = made.copy()
        made[change, :colors] += resize(fitted - small, change.shape)[change]
    return made


def _depth(change: np.ndarray, wrap: tuple[bool, bool]) -> np.ndarray:
    """How far each changing pixel lies from what is known."""
    pad = [(n if w else 0,) * 2 for n, w in zip(change.shape, wrap, strict=True)]
    depth = _distance(np.pad(change, pad, mode="wrap"))
    return depth[tuple(slice(a, a + n) for (a, _), n in zip(pad, change.shape, strict=True))]


def _distance(mask: np.ndarray) -> np.ndarray:
    """How far each true pixel lies from the nearest false one, in pixels; 0 for the false ones."""
    return np.asarray(ndimage.distance_transform_edt(mask))


def _level(full: np.ndarray, known: np.ndarray) -> Level:
    return Level(np.where(known[..., None], full, 0).astype(np.float32), known)


def _softened(made: np.ndarray, full: np.ndarray, change: np.ndarray, soften: int) -> np.ndarray:
    if not soften:
        return made
    share = np.clip(_distance(change) / (sizes.number(soften, "soften", 0, 200) + 1), 0, 1)
    return full + share[..., None].astype(np.float32) * (made - full)


def outpaint(picture: np.ndarray, *, left: int = 0, right: int = 0, top: int = 0, bottom: int = 0, seed: int = 0,
             quality: str = "normal", backend: str = "auto", report: Report = sizes.quiet) -> np.ndarray:
    """Continues a picture beyond its edges.

    Args:
      picture: uint8 or uint16 [H,W] or [H,W,C], C from 1 to 4.
      left, right, top, bottom: pixels to add at each side.
      seed, quality, backend, report: as for `remove`.

    Returns:
      [top + H + bottom, left + W + right, C]; the picture is in it to the bit.

    Raises:
      PatchError: arguments that cannot be worked with.
    """
    if min(left, right, top, bottom) < 0 or not left + right + top + bottom:
        raise PatchError(f"left, right, top and bottom are {left}, {right}, {top}, {bottom}; none may be negative and "
                         "one must be above 0")
    height, width = sizes.entered(picture).shape[:2]
    sizes.check_size((top + height + bottom, left + width + right))
    # Columns first: what is level, as a horizon, goes on in strips of the whole height.
    steps = [each for each in (((0, 0), (left, right)), ((top, bottom), (0, 0))) if any(sum(each, ()))]
    for k, (rows, columns) in enumerate(steps):
        picture = _extended(picture, rows, columns, (False, False), seed, quality, backend,
                            lambda share, k=k: report((k + share) / len(steps)))
    return picture


def panorama(picture: np.ndarray, width: int, *, wrap: bool = False, seed: int = 0, quality: str = "normal",
             backend: str = "auto", report: Report = sizes.quiet) -> np.ndarray:
    """Widens a picture on both sides alike.

    Args:
      picture: uint8 or uint16 [H,W] or [H,W,C], C from 1 to 4.
      width: of the result, above W.
      wrap: closes it: its right side goes on at its left.
      seed, quality, backend, report: as for `remove`.

    Returns:
      [H,width,C]; the picture is in its middle to the bit.

    Raises:
      PatchError: arguments that cannot be worked with.
    """
    more = int(width) - np.shape(picture)[1]
    if more <= 0:
        raise PatchError(f"the width is {width} and the picture's {np.shape(picture)[1]}; it must be wider")
    return _extended(picture, (0, 0), (more // 2, more - more // 2), (False, wrap), seed, quality, backend, report)


def _extended(picture, rows, columns, wrap, seed, quality, backend, report):
    full = sizes.entered(picture)
    height, width = full.shape[:2]
    size = height + sum(rows), width + sum(columns)
    sizes.check_size(size)
    inside = slice(rows[0], rows[0] + height), slice(columns[0], columns[0] + width)
    known = np.zeros(size, bool)
    known[inside] = True
    canvas = np.zeros((*size, full.shape[-1]), np.float32)
    canvas[inside] = full
    settings = Settings(backend=backend, place=(1.0, 0.0), spread=0.1)
    problem = Problem(Level(full, np.ones((height, width), bool)), Level(canvas, known), wrap, (rows[0], columns[0]))

    def start(target, source, rng):
        small = source.level.known.shape
        # Strips of the whole height keep the horizon; where rows are added, pieces in both directions.
        piece = (target.change.shape[0] if not any(rows) else small[0] // 2, max(8, small[1] // 3))
        made, origin = quilting.quilt(source.level, Level(target.picture, ~target.change), piece,
                                      max(4, min(piece) // 3), rng, wrap=wrap)
        target = target._replace(picture=made)
        return [matching.placed(target, source, origin)]

    made = sizes.worked_out(problem, quality=quality, base=min(100.0, min(size)), ratio=0.6, settings=settings,
                            effort=Effort(first=6, melt=_MELT), start=start, rng=sizes.generator(seed), report=report,
                            guide=4.0)
    for axis in (0, 1):
        for _ in range(3 * wrap[axis]):
            made = blending.evened(made, ~known, axis, max(2, (size[axis] - full.shape[axis]) // 12))
    out = sizes.left(made, picture)
    out[inside] = picture
    return out


def edit(picture: np.ndarray, paint: np.ndarray, *, seed: int = 0, quality: str = "normal", backend: str = "auto",
         reach: float = 0.03, report: Report = sizes.quiet) -> np.ndarray:
    """Makes a rough edit of a picture, cut, pasted or painted, look like the picture.

    Args:
      picture: uint8 or uint16 [H,W] or [H,W,C], C from 1 to 4.
      paint: the same shape and dtype, edited; what differs is made of the picture's patches.
      seed, quality, backend, report: as for `remove`.
      reach: how far beyond the edit the picture may change, as a share of its shorter side.

    Returns:
      the same shape and dtype; what lies farther from the edit than `reach` is the picture to the bit.

    Raises:
      PatchError: arguments that cannot be worked with, as where nothing differs.
    """
    if np.shape(paint) != np.shape(picture) or np.asarray(paint).dtype != np.asarray(picture).dtype:
        raise PatchError(f"the edit is {np.asarray(paint).dtype} {np.shape(paint)} and the picture "
                         f"{np.asarray(picture).dtype} {np.shape(picture)}; they must be alike")
    full, painted = sizes.entered(picture), sizes.entered(paint, "the edit")
    differs = np.abs(full - painted).max(-1) > 0.02
    if not differs.any():
        raise PatchError("the edit does not differ from the picture; paint or paste something into a copy of it")
    radius = max(4, round(sizes.number(reach, "reach", 0, 1) * min(differs.shape)))
    change = _distance(~differs) <= radius
    settings = Settings(backend=backend, coherence=0.7)
    problem = Problem(Level(full, np.ones(change.shape, bool)), _level(full, ~change))

    def start(target, source, rng):
        return [_roughly(target, painted, 1.0)]

    made = sizes.worked_out(problem, quality=quality, base=96.0, ratio=0.6, settings=settings,
                            effort=Effort(first=6, melt=_MELT), start=start, rng=sizes.generator(seed), report=report,
                            guide=1.0)
    return sizes.left(made, picture, ~change)


def mix(first: np.ndarray, second: np.ndarray, mask: np.ndarray | None = None, *, seed: int = 0,
        quality: str = "normal", backend: str = "auto", report: Report = sizes.quiet) -> np.ndarray:
    """One picture of two: the second where the mask says, joined so that the seam does not show.

    Args:
      first: uint8 or uint16 [H,W] or [H,W,C], C from 1 to 4.
      second: the same dtype and channels; another size is fitted to the first's, its middle kept.
      mask: [H,W] as for `remove`, true: the second picture. Default: the right part, from the best seam on.
      seed, quality, backend, report: as for `remove`.

    Returns:
      the first's shape and dtype.

    Raises:
      PatchError: arguments that cannot be worked with.
    """
    one, two = sizes.entered(first, "the first picture"), sizes.entered(second, "the second picture")
    if one.shape[-1] != two.shape[-1] or np.asarray(first).dtype != np.asarray(second).dtype:
        raise PatchError(f"the pictures have {one.shape[-1]} and {two.shape[-1]} channels, {np.asarray(first).dtype} "
                         f"and {np.asarray(second).dtype}; they must be alike")
    height, width = one.shape[:2]
    two = _covering(two, (height, width))
    if mask is None:
        inside = _right_part(one, two)
    else:
        inside = sizes.masked(mask, one.shape)
    collage = np.where(inside[..., None], two, one)
    edge = np.minimum(_distance(inside), 1e9) + _distance(~inside)
    change = edge <= max(6, 0.04 * min(height, width))
    gap = np.zeros((height, 8, one.shape[-1]), np.float32)   # no patch lies across both
    both = np.concatenate([one, gap, two], 1)
    known = np.concatenate([np.ones_like(inside), np.zeros((height, 8), bool), np.ones_like(inside)], 1)
    settings = Settings(backend=backend, coherence=0.7)

    def start(target, source, rng):
        return [_roughly(target, collage, 3.0)]

    made = sizes.worked_out(Problem(Level(both, known), _level(collage, ~change)), quality=quality, base=96.0,
                            ratio=0.6, settings=settings, effort=Effort(first=6, melt=_MELT), start=start,
                            rng=sizes.generator(seed), report=report, guide=3.0)
    return sizes.left(made, np.asarray(first))


def _roughly(target, picture: np.ndarray, guide: float):
    """The target, its changing pixels taken from a picture. guide: weight of `synthesis.guided`."""
    rough = resize(picture, target.change.shape)
    rough = synthesis.guided(Level(rough, np.ones(target.change.shape, bool)), guide).picture
    return target._replace(picture=np.where(target.change[..., None], rough, target.picture))


def _covering(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    scale = max(n / m for n, m in zip(size, picture.shape, strict=False))
    height, width = (max(n, round(m * scale)) for n, m in zip(size, picture.shape, strict=False))
    grown = resize(picture, (height, width))
    top, left_ = ((m - n) // 2 for n, m in zip(size, grown.shape, strict=False))
    return np.clip(grown[top : top + size[0], left_ : left_ + size[1]], 0, 1)


def _right_part(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    width = one.shape[1]
    low, high = width // 4, width - width // 4
    error = ndimage.gaussian_filter(np.square(one - two).sum(-1)[:, low:high], 2)
    return np.arange(width)[None] >= low + quilting.seam(error)[:, None]
