"""More of one material, and pictures that tile."""
from __future__ import annotations

import numpy as np
from scipy import fft

from imggen_jax.patches import blending, matching, measures, quilting, sizes
from imggen_jax.patches.matching import Settings
from imggen_jax.patches.pyramid import Level
from imggen_jax.patches.synthesis import Effort, Problem, Report


def texture(picture: np.ndarray, size: tuple[int, int], *, tileable: bool = False, seed: int = 0,
            quality: str = "normal", backend: str = "auto", piece: float = 0.4, report: Report = sizes.quiet,
            ) -> np.ndarray:
    """A larger piece of the same material.

    Args:
      picture: uint8 or uint16 [H,W] or [H,W,C], C from 1 to 4.
      size: height and width of the result.
      tileable: its sides fit each other.
      seed: from 0 to 2^32-1.
      quality: "draft", "normal" or "best".
      backend: see `search.nearest`.
      piece: side of the pieces that it starts with, as a share of the picture's shorter side, 0.1 to 0.9. Larger ones
        keep larger structures and repeat more.
      report: is called with the share that is done.

    Returns:
      [*size, C], of the picture's dtype.

    Raises:
      PatchError: arguments that cannot be worked with.
    """
    full = sizes.entered(picture)
    sizes.check_size(size)
    sizes.number(piece, "piece", 0.1, 0.9)
    wrap = (tileable, tileable)
    settings = Settings(backend=backend, coherence=0.3, spread=0.3)
    canvas = Level(np.zeros((*size, full.shape[-1]), np.float32), np.zeros(size, bool))

    def start(target, source, rng):
        side = max(8, int(min(source.level.known.shape) * piece))
        made, origin = quilting.quilt(source.level, Level(target.picture, ~target.change), (side, side),
                                      max(4, side // 3), rng, wrap=wrap)
        return [matching.placed(target, source, origin)._replace(picture=made)]

    # The source should be about 128 pixels at the coarsest level: thin lines still show, pieces are cheap.
    base = 128 * min(size) / min(full.shape[:2])
    made = sizes.worked_out(Problem(Level(full, np.ones(full.shape[:2], bool)), canvas, wrap), quality=quality,
                            base=base, ratio=0.5, settings=settings, effort=Effort(4, 3, 2, 0.15), start=start,
                            rng=sizes.generator(seed), report=report)
    out = sizes.left(made, np.zeros((1, 1) if np.ndim(picture) == 2 else (1, 1, 1), np.asarray(picture).dtype))
    return cut_where_ordinary(out) if tileable else out


def cut_where_ordinary(picture: np.ndarray) -> np.ndarray:
    """A closed picture, moved around so that the gradients across its edges are nearest to those beside them.

    A closed picture has no edge of its own, and may be cut anywhere.

    Args:
      picture: [H,W] or [H,W,C].

    Returns:
      the same, its rows and columns rolled.
    """
    for axis in (0, 1):
        last = np.abs(np.log(np.maximum(measures.gradients(picture, axis), 1e-9))).argmin()
        picture = np.roll(picture, -1 - int(last), axis)
    return picture


def tile(picture: np.ndarray, *, band: float = 0.12, seed: int = 0, quality: str = "normal", backend: str = "auto",
         report: Report = sizes.quiet) -> np.ndarray:
    """The picture, changed as little as needed so that its sides fit each other.

    Light that differs between opposite sides is evened out (Moisan: Periodic plus smooth image decomposition, 2011),
    and a band along the edges is filled anew.

    Args:
      picture: uint8 or uint16 [H,W] or [H,W,C], C from 1 to 4.
      band: width of what is filled at each edge, as a share of the shorter side, 0.03 to 0.4.
      seed, quality, backend, report: as for `texture`.

    Returns:
      the same shape and dtype.

    Raises:
      PatchError: arguments that cannot be worked with.
    """
    full = sizes.entered(picture)
    periodic = np.clip(full - smooth_part(full), 0, 1)
    width = max(4, round(sizes.number(band, "band", 0.03, 0.4) * min(full.shape[:2])))
    change = np.ones(full.shape[:2], bool)
    change[width:-width, width:-width] = False
    canvas = Level(np.where(change[..., None], 0, periodic).astype(np.float32), ~change)

    def start(target, source, rng):
        side = max(8, round(3 * width * target.change.shape[0] / full.shape[0]))
        made, origin = quilting.quilt(source.level, Level(target.picture, ~target.change), (side, side),
                                      max(4, side // 3), rng, wrap=(True, True))
        return [matching.placed(target._replace(picture=made), source, origin)]

    made = sizes.worked_out(Problem(Level(periodic, np.ones(change.shape, bool)), canvas, (True, True)),
                            quality=quality, base=min(128.0, min(change.shape)), ratio=0.5,
                            settings=Settings(backend=backend, coherence=0.3, spread=0.3),
                            effort=Effort(4, 3, 2, 0.15, melt=0.003), start=start, rng=sizes.generator(seed),
                            report=report)
    for _ in range(3):               # corners lie at both seams
        for axis in (0, 1):
            made = blending.evened(made, change, axis, max(2, width // 3))
    return sizes.left(made, picture)


def smooth_part(picture: np.ndarray) -> np.ndarray:
    """What a picture less its periodic part is: smooth inside, with the jumps between opposite edges.

    Args:
      picture: float32 [H,W,C].

    Returns:
      float32 [H,W,C], of mean 0.
    """
    height, width = picture.shape[:2]
    jumps = np.zeros_like(picture, np.float64)
    for axis in (0, 1):
        moved = np.moveaxis(jumps, axis, 0)
        lines = np.moveaxis(picture.astype(np.float64), axis, 0)
        moved[0] += lines[-1] - lines[0]
        moved[-1] += lines[0] - lines[-1]
    slope = (2 * np.cos(2 * np.pi * np.arange(height) / height)[:, None]
             + 2 * np.cos(2 * np.pi * fft.rfftfreq(width))[None] - 4)
    slope[0, 0] = 1
    out = fft.rfft2(jumps, axes=(0, 1)) / slope[..., None]
    out[0, 0] = 0
    return np.asarray(fft.irfft2(out, (height, width), axes=(0, 1))).astype(np.float32)
