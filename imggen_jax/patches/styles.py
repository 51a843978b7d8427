"""The strokes and the palette of one picture on the content of another.

Elad, Milanfar: Style transfer via texture synthesis (2017): patches of the style are matched to the content from coarse
to fine, and the content is mixed in before each match.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imggen_jax.patches import fitting, matching, palettes, sizes, synthesis
from imggen_jax.patches.errors import PatchError
from imggen_jax.patches.matching import Settings
from imggen_jax.patches.pyramid import Level, reduce, resize, scaled, scales
from imggen_jax.patches.synthesis import Problem, Report, Solution

_FIT = 6                             # steps towards the distribution of the style's patches at strength 1
# With 1 faces are lost at strength 1.
_HOLD = 2.5                          # weight of the content at the coarsest level, where a patch's own is 1


def recolor(picture: np.ndarray, like: np.ndarray, *, strength: float = 1.0, seed: int = 0,
            report: Report = sizes.quiet) -> np.ndarray:
    """The picture with the palette of another; grain and edges stay. See `palettes.transfer`.

    Args:
      picture: uint8 or uint16 [H,W,C], C 3 or 4.
      like: the same, of any size.
      strength: 0 (the picture) to 1.
      seed: from 0 to 2^32-1.
      report: is called with the share that is done.

    Returns:
      the picture's shape and dtype.

    Raises:
      PatchError: arguments that cannot be worked with.
    """
    sizes.number(strength, "strength", 0, 1)
    full, other = sizes.entered(picture), sizes.entered(like, "the reference")
    if full.shape[-1] < 3 or other.shape[-1] < 3:
        raise PatchError("a gray picture has no palette; give pictures with 3 or 4 channels")
    if strength == 0:
        return np.array(picture)
    made = full.copy()
    made[..., :3] = palettes.transfer(full[..., :3], other[..., :3], sizes.generator(seed), strength=strength)
    if full.shape[-1] == 4:
        made[..., :3] = np.minimum(made[..., :3], full[..., 3:])
    report(1.0)
    return np.array(picture) if np.array_equal(made, full) else sizes.left(made, picture)


def stylize(picture: np.ndarray, styles: np.ndarray | Sequence[np.ndarray], *, weights: Sequence[float] | None = None,
            strength: float = 1.0, keep_colors: bool = False, scale: float = 1.0, seed: int = 0,
            quality: str = "normal", backend: str = "auto", report: Report = sizes.quiet) -> np.ndarray:
    """The content of a picture, painted with the strokes and the palette of others.

    Args:
      picture: uint8 or uint16 [H,W] or [H,W,C], C from 1 to 4.
      styles: one picture, or several; of any size.
      weights: of the styles, positive. Default: equal.
      strength: 0 (the picture) to 1.
      keep_colors: take over strokes only.
      scale: of the strokes, 0.25 to 4; above 1: larger.
      seed: from 0 to 2^32-1.
      quality: "draft", "normal" or "best".
      backend: see `search.nearest`.
      report: is called with the share that is done.

    Returns:
      the picture's shape and dtype. Of a picture that is its own style, the picture.

    Raises:
      PatchError: arguments that cannot be worked with.
    """
    styles = [styles] if isinstance(styles, np.ndarray) else list(styles)
    sizes.number(strength, "strength", 0, 1)
    sizes.number(scale, "scale", 0.25, 4)
    full = sizes.entered(picture)
    entered = [_as(sizes.entered(style, f"style {i + 1}"), full.shape[-1]) for i, style in enumerate(styles)]
    shares = _weights(weights, len(styles))
    if strength == 0 or all(np.array_equal(style, full) for style in entered) and scale == 1:
        return np.array(picture)
    rng = sizes.generator(seed)
    content, entered = _colored(full, entered, shares, keep_colors, rng)
    made = _painted(content, entered, shares, strength, scale, quality, backend, rng, report)
    # A weak style leaves more of the picture itself, down to all of it.
    made = full + np.float32(min(1.0, 2 * strength)) * (made - full)
    return sizes.left(np.concatenate([made[..., :-1], full[..., -1:]], -1) if full.shape[-1] in (2, 4) else made,
                      picture)


def _weights(weights: Sequence[float] | None, count: int) -> np.ndarray:
    found = np.ones(count) if weights is None else np.asarray(weights, float)
    if count == 0 or found.shape != (count,) or not (np.isfinite(found) & (found > 0)).all():
        raise PatchError(f"the weights are {list(np.atleast_1d(found))} for {count} styles; give one positive number "
                         "for each")
    return found / found.sum()


def _as(style: np.ndarray, channels: int) -> np.ndarray:
    """A style in the content's mode: gray or color, alpha over white."""
    color = style[..., :3] if style.shape[-1] >= 3 else style[..., :1]
    if style.shape[-1] in (2, 4):
        color = color + 1 - style[..., -1:]
    if channels in (1, 2):
        color = color.mean(-1, keepdims=True)
    elif color.shape[-1] == 1:
        color = np.repeat(color, 3, -1)
    return np.concatenate([color, np.ones_like(color[..., :1])], -1) if channels in (2, 4) else color


def _colored(content, styles, weights, keep_colors, rng):
    """Content and styles with one palette: the styles', or the content's."""
    if content.shape[-1] < 3:
        return content, styles

    def to(picture, like):
        colors = palettes.transfer(picture[..., :3], like[..., :3], rng)
        return np.concatenate([colors, picture[..., 3:]], -1)

    if keep_colors:
        return content, [to(style, content) for style in styles]
    moved = [to(content, style) for style in styles]
    return np.asarray(sum(np.float32(w) * m for w, m in zip(weights, moved, strict=True))), styles


def _painted(content: np.ndarray, styles, weights, strength, scale, quality, backend, rng, report) -> np.ndarray:
    if quality not in sizes.QUALITIES:
        raise PatchError(f"quality is {quality!r}; choose one of {', '.join(sizes.QUALITIES)}")
    shrink = min(1.0, sizes.QUALITIES[quality] / max(content.shape[:2]))
    atlas, bias, share = _atlas(styles, weights, scale)
    settings = Settings(backend=backend, coherence=1.0, spread=0.1, eps=1.0, place=(1.0, 0.0))
    problem = Problem(atlas, Level(content, np.zeros(content.shape[:2], bool)))
    small = [synthesis.guided(reduce(Level(level.picture, known), scaled(known.shape, shrink)), 3.0)
             for level, known in ((atlas, atlas.known), (problem.canvas, np.ones_like(problem.canvas.known)))]
    side = min(small[1].known.shape)
    levels = scales(side, 60, side, 0.6)
    levels = [s for s in levels if min(small[0].known.shape) * s >= 3 * settings.patch] or levels[-1:]
    now = None
    for i, s in enumerate(levels):
        now = _stroked(now, small, s, bias, settings, _HOLD * 0.6**i / strength, i == len(levels) - 1, rng)
        report(0.95 * s * s / sum(t * t for t in levels))
    assert now is not None           # there is at least one level
    channels = content.shape[-1]
    share = np.where(small[0].known, np.maximum(resize(share, small[0].known.shape), 0), 0)
    now = now._replace(picture=fitting.fitted(
        now.picture[..., :channels], np.ones(now.target.change.shape, bool), small[0].picture[..., :channels], share,
        rng, steps=round(_FIT * strength)))
    return now.picture[..., :channels] if shrink == 1 else sizes.enlarged(now, problem)


def _stroked(before, small, scale, bias, settings, hold, last, rng) -> Solution:
    style, content = (reduce(level, scaled(level.known.shape, scale)) for level in small)
    place = np.zeros((*style.known.shape, 2), np.float32)
    place[..., 0] = resize(bias, style.known.shape)
    source = matching.source(style, settings, rng, place)
    nowhere = np.zeros((*content.known.shape, 2), np.float32)
    target = matching.target(content.picture, np.ones(content.known.shape, bool), settings.patch)
    if before is not None:
        target = matching.carried(before.target, before.source, target, source)
        target = target._replace(picture=resize(before.picture, content.known.shape))
    rounds = 5 if before is None else 3
    for k in range(rounds):
        held = (target.picture + np.float32(hold) * content.picture) / np.float32(1 + hold)
        searched = len(source.usable) <= synthesis.SEARCHED
        target, found = matching.rematch(target._replace(picture=held), source, settings, rng, place=nowhere,
                                         search=1.0 if before is None else 0.25 * searched)
        weights = np.exp(-found / (2 * np.percentile(found, 75) + 1e-9)) + np.float32(1e-6)
        sharp = last and k == rounds - 1
        target = target._replace(picture=matching.vote(target, source, weights, 1.0 if sharp else settings.patch / 4,
                                                       every=1 if sharp else 2))
    return Solution(target, source, target.picture, float(found.mean()))


def _atlas(styles, weights, scale) -> tuple[Level, np.ndarray, np.ndarray]:
    """All styles side by side; what a patch of each costs, 0 for the heaviest; its share: float32 [H,W] each."""
    grown = [np.clip(resize(style, scaled(style.shape[:2], scale)), 0, 1) for style in styles]
    gap = 16
    height, width = max(g.shape[0] for g in grown), sum(g.shape[1] + gap for g in grown) - gap
    picture = np.zeros((height, width, grown[0].shape[-1]), np.float32)
    known, x = np.zeros((height, width), bool), 0
    bias, share = np.zeros((2, height, width), np.float32)
    for style, weight in zip(grown, weights, strict=True):
        at = slice(0, style.shape[0]), slice(x, x + style.shape[1])
        picture[at], known[at] = style, True
        # The square of it is added to squared distances, which are in units of the patch's variance.
        bias[at] = np.sqrt(-np.log(weight / weights.max())) * style.std()
        share[at] = weight / style[..., 0].size
        x += style.shape[1] + gap
    return Level(picture, known), bias, share
