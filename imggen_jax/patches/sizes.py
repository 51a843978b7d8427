"""From pictures as people have them to what is worked with, and back: sizes, types, memory."""
from __future__ import annotations

import os

import numpy as np

from imggen_jax.patches import features, synthesis
from imggen_jax.patches.errors import PatchError
from imggen_jax.patches.matching import Settings
from imggen_jax.patches.pyramid import Level, reduce, resize, scaled, scales
from imggen_jax.patches.synthesis import Effort, Problem, Report, Solution, Start

QUALITIES = {"draft": 384, "normal": 768, "best": 1536}      # the longer side that is worked at, in pixels
MAX_PIXELS = 16 * 2**20
SMALLEST = 16                        # a side below it holds too few patches
SEEDS = 2**32
_DTYPES = np.dtype(np.uint8), np.dtype(np.uint16)


def quiet(share: float) -> None:
    """A report that is not shown."""


def entered(picture: np.ndarray, name: str = "the picture") -> np.ndarray:
    """A picture as it is worked with: float32 [H,W,C] in [0,1], colors multiplied by alpha.

    Raises:
      PatchError: it is not uint8 or uint16 [H,W] or [H,W,C] with C from 1 to 4, or too small or too large.
    """
    picture = np.asarray(picture)
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.dtype not in _DTYPES or picture.ndim != 3 or not 1 <= picture.shape[-1] <= 4:
        raise PatchError(f"{name} is {picture.dtype} {picture.shape}; uint8 or uint16 [H,W,C] with C from 1 to 4 is "
                         "needed")
    check_size(picture.shape[:2], name)
    out = picture.astype(np.float32) / np.float32(np.iinfo(picture.dtype).max)
    if picture.shape[-1] in (2, 4):
        out[..., :-1] *= out[..., -1:]
    return out


def left(result: np.ndarray, like: np.ndarray, kept: np.ndarray | None = None) -> np.ndarray:
    """A result in the type and shape of the picture it is made from.

    Args:
      result: float32 [H,W,C], colors multiplied by alpha.
      like: the picture as it was given.
      kept: bool [H,W]: pixels that are those of `like`, to the bit.
    """
    like, top = np.asarray(like), np.iinfo(like.dtype).max
    if result.shape[-1] in (2, 4):
        alpha = np.clip(result[..., -1:], 0, 1)
        result = np.concatenate([result[..., :-1] / np.maximum(alpha, 1 / top), alpha], -1)
    out = np.rint(np.clip(result, 0, 1) * np.float32(top)).astype(like.dtype)
    out = out[..., 0] if like.ndim == 2 else out
    if kept is not None:
        out[kept] = like[kept]
    return out


def check_size(size: tuple[int, int], name: str = "the result") -> None:
    """Raises PatchError for a height and width that hold no patches, or too many pixels for this package or machine."""
    height, width = size
    if min(size) < SMALLEST:
        raise PatchError(f"{name} is {width}x{height}; both sides must be at least {SMALLEST} pixels")
    possible = min(MAX_PIXELS, _fits_memory())
    if height * width > possible:
        shrink = (possible / (height * width)) ** 0.5
        raise PatchError(f"{name} is {width}x{height}, {height * width / 1e6:.1f} megapixels; at most "
                         f"{possible / 1e6:.1f} are possible here, as with {int(width * shrink)}x"
                         f"{int(height * shrink)}")


def _fits_memory() -> int:
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):            # not on every system
        return MAX_PIXELS
    return max(2**18, int((memory - 2**29) / BYTES_PER_PIXEL))


BYTES_PER_PIXEL = 100                # at full size: source, result and what is between, float32


def generator(seed: int) -> np.random.Generator:
    """Raises PatchError for a seed that is none."""
    if not 0 <= seed < SEEDS:
        raise PatchError(f"the seed is {seed}; it must be from 0 to {SEEDS - 1}")
    return np.random.default_rng(seed)


def number(value: float, name: str, low: float, high: float) -> float:
    """The value, if it lies in [low, high]; else a PatchError."""
    if not low <= value <= high:
        raise PatchError(f"{name} is {value:g}; it must be from {low:g} to {high:g}")
    return value


def masked(mask: np.ndarray, shape: tuple[int, ...], name: str = "the mask") -> np.ndarray:
    """A mask as bool [H,W]: true where it is at least half of white.

    Args:
      mask: bool, uint8, uint16 or float in [0,1]; [H,W], or [H,W,C] of which the brightest channel counts.
      shape: of the picture.
      name: in messages.

    Raises:
      PatchError: another size, or nothing, or everything, is marked.
    """
    mask = np.asarray(mask)
    if mask.ndim == 3:
        mask = mask.max(-1)
    if mask.shape != tuple(shape[:2]):
        raise PatchError(f"{name} is {mask.shape[1]}x{mask.shape[0]} and the picture {shape[1]}x{shape[0]}; they must "
                         "be of one size" if mask.ndim == 2 else f"{name} is {mask.shape}; it must be [H,W]")
    if mask.dtype != bool:
        mask = mask >= (0.5 if mask.dtype.kind == "f" else np.iinfo(mask.dtype).max / 2)
    if not mask.any():
        raise PatchError(f"{name} marks no pixel to be changed; white means change, or say that it means keep")
    if mask.all():
        raise PatchError(f"{name} marks every pixel to be changed, so that nothing is left to take patches from; white "
                         "means change, or say that it means keep")
    return mask


def worked_out(problem: Problem, *, quality: str, base: float, ratio: float, settings: Settings, effort: Effort,
               start: Start, rng: np.random.Generator, report: Report, guide: float = 3.0,
               bound: float | None = None) -> np.ndarray:
    """Solves a problem at the size that `quality` bounds, and takes the detail over from the source at full size.

    Args:
      problem: at full size, colors only.
      quality: one of QUALITIES.
      base: shorter side of the canvas at the coarsest level, in pixels.
      ratio: between the sizes of neighboring levels.
      settings, effort, start, rng, report: as for `synthesis.solve`.
      guide: weight of the channels that `synthesis.guided` adds.
      bound: longer side, instead of quality's.

    Returns:
      float32 [H,W,C].

    Raises:
      PatchError: an unknown quality, or a source in which no patch is whole.
    """
    if quality not in QUALITIES:
        raise PatchError(f"quality is {quality!r}; choose one of {', '.join(QUALITIES)}")
    size = problem.canvas.known.shape
    scale = min(1.0, (bound or QUALITIES[quality]) / max(size))
    small = problem._replace(
        source=synthesis.guided(reduce(problem.source, scaled(problem.source.known.shape, scale)), guide),
        canvas=synthesis.guided(reduce(problem.canvas, scaled(size, scale), least=0.999), guide),  # thin holes stay
        offset=tuple(o * scale for o in problem.offset))
    levels = scales(min(small.canvas.known.shape), base, min(small.canvas.known.shape), ratio)
    levels = [s for s in levels if min(small.source.known.shape) * s >= 2 * settings.patch] or levels[-1:]
    _check_source(small.source, levels, settings.patch)
    channels = problem.source.picture.shape[-1]
    solution = synthesis.solve(small, levels, settings, effort, start, rng, lambda s: report(s * 0.97), channels)
    made = solution.picture[..., :channels] if scale == 1 else enlarged(solution, problem)
    report(1.0)
    return made


def _check_source(source: Level, levels: list[float], patch: int) -> None:
    for s in levels:
        level = reduce(source._replace(picture=source.picture[..., :1]), scaled(source.known.shape, s))
        if min(level.known.shape) < patch or not features.whole(level.known, patch).any():
            raise PatchError(f"too little is left to take patches from: no {patch}x{patch} pixels together at "
                             f"{level.known.shape[1]}x{level.known.shape[0]}; mark less, or give a larger picture")


def enlarged(solution: Solution, problem: Problem, band: int = 128) -> np.ndarray:
    """A solution at the full size of its problem.

    Each full-size pixel takes what the source has there beyond the solution's resolution, from where the four matches
    around it point to, and mixes the four as in bilinear interpolation: where they continue each other, as nearly
    everywhere, this copies the source.

    Args:
      solution: at a smaller size.
      problem: at full size.
      band: rows that are worked on at a time, for the memory.

    Returns:
      float32 [H,W,C].
    """
    target, source = solution.target, solution.source
    (height, width), (h, w) = problem.canvas.known.shape, target.change.shape
    (full_h, full_w), (small_h, small_w) = problem.source.known.shape, source.level.known.shape
    channels = problem.source.picture.shape[-1]
    detail = problem.source.picture - resize(source.level.picture[..., :channels], (full_h, full_w))
    detail *= problem.source.known[..., None]
    out = resize(np.ascontiguousarray(solution.picture[..., :channels]), (height, width))
    rows, columns = _middles(target, source)
    moved = [(np.rint((s - at) * (f / n))).astype(np.int32) for s, at, f, n in
             ((rows, np.arange(h)[:, None], full_h, small_h), (columns, np.arange(w)[None], full_w, small_w))]
    x = (np.arange(width) + 0.5) * (w / width) - 0.5
    for top in range(0, height, band):
        y = np.arange(top, min(top + band, height))
        if problem.canvas.known[y].all():
            continue
        fine = (y + 0.5) * (h / height) - 0.5
        total = np.zeros((len(y), width, channels), np.float32)
        for dy in (0, 1):
            for dx in (0, 1):
                i, j = np.floor(fine).astype(int) + dy, np.floor(x).astype(int) + dx
                weight = (1 - np.abs(fine - i))[:, None] * (1 - np.abs(x - j))[None]
                i, j = (a % n if wrap else np.clip(a, 0, n - 1)
                        for a, n, wrap in zip((i, j), (h, w), target.wrap, strict=True))
                at = np.ix_(i, j)
                sy = np.clip(y[:, None] + moved[0][at], 0, full_h - 1)
                sx = np.clip(np.arange(width)[None] + moved[1][at], 0, full_w - 1)
                total += weight[..., None].astype(np.float32) * detail[sy, sx]
        out[y] += total
    return np.where(problem.canvas.known[..., None], problem.canvas.picture, out)


def _middles(target, source) -> tuple[np.ndarray, np.ndarray]:
    """Where in the source each pixel of a solution comes from: rows and columns, int [h,w] each."""
    p, half = source.basis.size, source.basis.size // 2
    (h, w), field = target.change.shape, target.field
    if (field < 0).any():
        near = features.nearest_true(field >= 0)
    else:
        near = np.indices(field.shape)
    index = []
    for axis, (n, wrap) in enumerate(zip((h, w), target.wrap, strict=True)):
        at = np.arange(n) - half
        index.append(at % n if wrap else np.clip(at, 0, field.shape[axis] - 1))
    ny, nx = near[0][np.ix_(*index)], near[1][np.ix_(*index)]
    found = field[ny, nx]
    rows, columns = found // source.grid[1] + half, found % source.grid[1] + half
    # The patch asked may lie a little off, at an edge or where none changes.
    off = [np.arange(n).reshape(-1, 1)[:: 1] if a == 0 else np.arange(n)[None] for a, n in enumerate((h, w))]
    for axis, (values, at) in enumerate(((rows, ny), (columns, nx))):
        gap = off[axis] - half - at
        n = (h, w)[axis]
        if target.wrap[axis]:
            gap = (gap + n // 2) % n - n // 2
        values += np.where(np.abs(gap) <= 4 * p, gap, 0)
    return rows, columns
