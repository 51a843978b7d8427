"""From coarse to fine: a picture, or the missing part of one, of patches of a source."""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from imggen_jax.patches import blending, matching
from imggen_jax.patches.matching import Settings, Source, Target
from imggen_jax.patches.pyramid import Level, reduce, resize, scaled

SEARCHED = 150_000                   # source patches up to which a level is searched; above, matches are carried over
ALL_AT_A_TIME = 10_000               # patches up to which all look among all of the source's in every first round
Report = Callable[[float], None]     # share of the work that is done, 0 to 1


class Problem(NamedTuple):
    """What is to be made, at the size that it is worked out at."""

    source: Level                    # [Hs,Ws,C]: colors first, then channels that only guide the matching
    canvas: Level                    # [H,W,C]: known pixels are kept, unknown ones made
    wrap: tuple[bool, bool] = (False, False)
    offset: tuple[float, float] = (0.0, 0.0)  # of the source in the canvas, rows and columns, for Settings.place


class Solution(NamedTuple):
    """A finished level."""

    target: Target
    source: Source
    picture: np.ndarray              # float32 [H,W,C]
    energy: float                    # mean squared distance of its patches to those they are matched to


class Effort(NamedTuple):
    """How much is done at each level."""

    first: int = 12                  # rounds of matching and voting at the coarsest level
    rounds: int = 4                  # at those that are searched
    last: int = 2                    # at those above
    share: float = 0.3               # of the patches that look among all, at each level but the coarsest
    melt: float = 0.0                # weight of colors against gradients in the blending of regions; 0: no blending


# (target without matches, source) -> the same with pictures or with matches; of several the best is gone on with
Start = Callable[[Target, Source, np.random.Generator], list[Target]]


def solve(problem: Problem, scales: list[float], settings: Settings, effort: Effort, start: Start,
          rng: np.random.Generator, report: Report = lambda share: None, colors: int = 3) -> Solution:
    """Works a problem out.

    Args:
      problem: at full size, which is scale 1.
      scales: coarse to fine.
      settings: of matching; `place` halves with each level.
      effort: rounds.
      start: what the coarsest level starts with.
      rng: all that is drawn.
      report: called with the share that is done.
      colors: channels that are colors.
    """
    now, costs = None, np.cumsum([s * s + 0.01 for s in scales])
    for i, scale in enumerate(scales):
        level = reduce(problem.source, scaled(problem.source.known.shape, scale))
        canvas = reduce(problem.canvas, scaled(problem.canvas.known.shape, scale))
        if canvas.known.all() and scale < scales[-1]:        # holes too thin to show at this level
            continue
        here = settings._replace(place=tuple(w * 0.5**i for w in settings.place))
        places = _places(problem, scale, level, canvas)
        near = None
        if now is not None and level.known.size > SEARCHED:
            near = matching.used_at(now.target, now.source, level.known.shape, 4 * effort.last)
        source = matching.source(level, here, rng, places[0], near)
        target = matching.target(canvas.picture, ~canvas.known, here.patch, problem.wrap)
        starts = start(target, source, rng) if now is None else [_continue(now, target, source)]
        tried = [_level(one, source, here, effort, rng, now is None, i == len(scales) - 1, places[1], colors)
                 for one in starts]
        now = min(tried, key=lambda one: one.energy)
        report(costs[i] / costs[-1])
    assert now is not None           # the last scale is never passed over
    return now


def _places(problem: Problem, scale: float, level: Level, canvas: Level) -> tuple[np.ndarray, np.ndarray]:
    size = level.known.shape
    offset = problem.offset[0] * scale, problem.offset[1] * scale
    return matching.coordinates(size), matching.coordinates(canvas.known.shape, offset, size)


def _continue(before: Solution, target: Target, source: Source) -> Target:
    target = matching.carried(before.target, before.source, target, source)
    grown = resize(before.picture, target.change.shape)
    target = target._replace(picture=np.where(target.change[..., None], grown, target.picture))
    return target._replace(picture=matching.vote(target, source, None, source.basis.size / 4, every=2))


def _level(target: Target, source: Source, settings: Settings, effort: Effort, rng: np.random.Generator, first: bool,
           last: bool, place: np.ndarray, colors: int) -> Solution:
    searched = first or source.level.known.size <= SEARCHED
    small = len(target.rows) <= ALL_AT_A_TIME
    rounds = effort.first if first and small else effort.rounds if searched else effort.last
    wide = settings.patch / 4
    weights = None
    for k in range(rounds):
        share = 1.0 if first and (small or k == 0) else effort.share if searched and k < rounds - 1 else 0.0
        target, found = matching.rematch(target, source, settings, rng, search=share, place=place)
        weights = np.exp(-found / (2 * np.percentile(found, 75) + 1e-12)) + np.float32(1e-6)
        sharp = last and k == rounds - 1
        picture = matching.vote(target, source, weights, 1.0 if sharp else wide, every=1 if sharp else 2)
        if effort.melt and (first or k >= rounds - 2):
            picture = _melted(target._replace(picture=picture), source, weights, effort.melt, colors, target.picture)
        target = target._replace(picture=picture)
    return Solution(target, source, target.picture, float(found.mean()))


def _melted(target: Target, source: Source, weights: np.ndarray, weight: float, colors: int,
            start: np.ndarray) -> np.ndarray:
    gradients = blending.differences(source.level.picture[..., :colors])
    wanted = matching.vote(target, source, weights, 1.0, gradients)
    picture = target.picture.copy()
    picture[..., :colors] = blending.poisson(picture[..., :colors], wanted, target.change, target.wrap, weight=weight,
                                             start=start[..., :colors])
    return picture


def guided(level: Level, weight: float, window: int = 5) -> Level:
    """A level with two more channels: the mean slopes of its luminance along rows and columns, times `weight`.

    They keep smooth patches from being matched to textured ones (Newson et al.: Video inpainting of complex scenes,
    2014).
    """
    if not weight:
        return level
    luminance = level.picture.mean(-1)
    known = ndimage.binary_erosion(level.known, np.ones((3, 3)), border_value=1)
    share = ndimage.uniform_filter(known.astype(np.float32), window)
    slopes = [np.abs(np.diff(luminance, axis=a, append=np.take(luminance, [-1], a))) * known for a in (1, 0)]
    mean = [ndimage.uniform_filter(s, window) / np.maximum(share, 1e-3) for s in slopes]
    more = np.where(level.known[..., None], weight * np.stack(mean, -1), 0)
    return level._replace(picture=np.concatenate([level.picture, more], -1).astype(np.float32))
