"""Holes: what a game of inpainting trains on. Adds "mask", 255 where there is something to fill, and "source"."""
from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from imggen_jax import spec as specs
from imggen_jax.game import Array, Batch, Field, Key, Spec
from imggen_jax.transforms import Transform

KINDS = ("box", "free")
BLANK = 128  # what stands in a hole of "source": the middle, 0 in [-1,1]


def make(
    spec: Spec, *, kinds: Sequence[str] = KINDS, box: Sequence[float] = (0.2, 0.5), strokes: int = 4, joints: int = 6,
    brush: Sequence[float] = (0.04, 0.12)
) -> Transform:
    """A hole in each picture, of a kind that is drawn for each: a box, or strokes of a brush.

    Free-form masks are those of DeepFill v2 (arXiv 1806.03589, section 3.4 and its algorithm 1): broken lines with
    round ends whose directions turn a little at each joint.

    Args:
      spec: fields of an example: an "image" of one size.
      kinds: of "box" and "free".
      box: the shortest and the longest side of a box, as shares of the picture's.
      strokes, joints: how many broken lines at most, at least one, and of how many pieces each.
      brush: the smallest and the largest width of a line, as shares of the shorter side.

    Raises:
      ValueError: an unknown kind, or a share out of range.
    """
    if not kinds or set(kinds) - set(KINDS):
        raise ValueError(f"transform mask: kinds is {tuple(kinds)!r}; choose from {', '.join(KINDS)}")
    for name, pair in (("box", box), ("brush", brush)):
        if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= 1:
            raise ValueError(f"transform mask: {name} is {tuple(pair)!r}; give the least and the most, above 0 and at "
                             "most 1")
    if strokes < 1 or joints < 1:
        raise ValueError(f"transform mask: strokes is {strokes} and joints {joints}; both must be 1 or more")
    height, width, channels = specs.image_shape(spec)
    rows, cols = jnp.arange(height) + 0.5, jnp.arange(width) + 0.5

    def boxes(key: Key, number: int):  # bool [B,H,W]
        share, place = jax.random.uniform(key, (2, number, 2, 1))
        sides = (box[0] + (box[1] - box[0]) * share) * jnp.array([height, width])[:, None]
        start = place * (jnp.array([height, width])[:, None] - sides)

        def inside(axis: int, at: Array):
            return (at >= start[:, axis]) & (at < start[:, axis] + jnp.maximum(sides[:, axis], 1))

        return inside(0, rows)[:, :, None] & inside(1, cols)[:, None, :]

    def free(key: Key, number: int):  # bool [B,H,W]
        short = min(height, width)
        keys = jax.random.split(key, 6)
        start = jax.random.uniform(keys[0], (number, strokes, 1, 2)) * jnp.array([height, width])
        turn = jax.random.uniform(keys[1], (number, strokes, joints), minval=-1.0)
        angle = jnp.cumsum(turn.at[..., 0].multiply(jnp.pi), axis=-1)
        length = short * jax.random.uniform(keys[2], (number, strokes, joints), minval=0.04, maxval=0.2)
        steps = length[..., None] * jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1)
        ends = start + jnp.cumsum(steps, axis=2)
        thick = short / 2 * jax.random.uniform(keys[3], (number, strokes, 1), minval=brush[0], maxval=brush[1])
        drawn = jnp.arange(strokes) < jax.random.randint(keys[4], (number, 1), 1, strokes + 1)
        thick = jnp.where(drawn[..., None], jnp.maximum(thick, 0.75), -1.0)

        def piece(hole: Array, part: tuple[Array, Array, Array]):
            a, step, radius = part  # [B,2], [B,2], [B]
            p = rows[:, None] - a[:, 0, None, None], cols - a[:, 1, None, None]
            s = step[:, 0, None, None], step[:, 1, None, None]
            t = jnp.clip((p[0] * s[0] + p[1] * s[1]) / jnp.maximum(s[0] ** 2 + s[1] ** 2, 1e-6), 0, 1)
            away = jnp.square(p[0] - t * s[0]) + jnp.square(p[1] - t * s[1])
            r = radius[:, None, None]
            return hole | ((away <= jnp.square(r)) & (r > 0)), None

        def many(x: Array):  # [B,strokes,joints,...] -> [strokes joints,B,...]
            return jnp.moveaxis(x.reshape(number, strokes * joints, *x.shape[3:]), 1, 0)

        parts = many(ends - steps), many(steps), many(jnp.broadcast_to(thick, length.shape))
        hole, _ = jax.lax.scan(piece, jnp.zeros((number, height, width), bool), parts)
        # A stroke that runs out of the picture would leave it whole.
        return hole | (boxes(keys[5], number) & ~jnp.any(hole, axis=(1, 2), keepdims=True))

    def apply(batch: Batch, key: Key):
        image = batch["image"]
        key_kind, key_box, key_free = jax.random.split(key, 3)
        made = {"box": lambda: boxes(key_box, len(image)), "free": lambda: free(key_free, len(image))}
        holes = jnp.stack([made[kind]() for kind in kinds])
        which = jax.random.randint(key_kind, (len(image),), 0, len(kinds))
        hole = jnp.take_along_axis(holes, which[None, :, None, None], axis=0)[0, ..., None]
        blank = jnp.asarray(BLANK if image.dtype == jnp.uint8 else 0, image.dtype)
        return {**batch, "mask": hole.astype(jnp.uint8) * jnp.uint8(255), "source": jnp.where(hole, blank, image)}

    return Transform(Spec({**spec, "mask": Field((height, width, 1), "uint8"),
                           "source": Field((height, width, channels), "uint8")}), apply)
