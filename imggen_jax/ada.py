"""The augmentations of ADA (arXiv 2006.06676, appendix B), each by a probability, differentiable in the images.

All geometry of an image is one affine map and all color is another, so that each is computed once. Images are resampled
between the interpolation and the decimation of an orthogonal wavelet: the identity is exact, and nothing aliases.
Every image of a batch draws its own random numbers.
"""
from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

POLICIES = ("geometry", "recolor", "erase")
# Ranges of the paper's appendix B; "recolor" half as often as the rest, and "erase", as in R3GAN's code
# (https://github.com/brownvc/R3GAN, train.py).
TRANSLATION = 1 / 8   # largest shift by whole pixels, and deviation of one by parts of them, as a share of the side
SCALE = 0.2           # deviations, in powers of two
CONTRAST = 0.5
SATURATION = 1.0
BRIGHTNESS = 0.2
RECOLOR = 0.5         # share of the strength
ERASED = 0.5          # side of what is erased, as a share of the image's
# The lowpass of the symlet of 12 taps (Daubechies, Ten Lectures on Wavelets, table 6.3): orthogonal to its even shifts.
SYM6 = np.array([0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
                 0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
                 -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148])
CENTER = float((np.arange(12) * SYM6).sum() / SYM6.sum())  # the tap that lies where the pixel does


def augment(images: Array, key: Array, policy: Sequence[str], strength: Array | float) -> Array:
    """Augment each image, by chance.

    Args:
      images: float [B,S,S,C] in [-1,1], of one or three channels.
      key: the same key gives the same augmentations, whatever the images.
      policy: names from `POLICIES`, applied in their order; () leaves the images alone.
      strength: in [0,1], the probability of each augmentation ("recolor": half of it).

    Returns:
      float [B,S,S,C]; color can leave [-1,1].

    Raises:
      ValueError: an unknown name.
    """
    steps = {"geometry": _geometry, "recolor": _recolor, "erase": _erase}
    for name in policy:
        if name not in steps:
            raise ValueError(f"unknown augmentation {name!r}; choose from {', '.join(POLICIES)}")
        images = steps[name](images, jax.random.fold_in(key, POLICIES.index(name)), strength)
    return images


def _draws(key: Array, n: int, strength: Array | float):
    """(uniform, normal, chosen), functions of a number: n fresh values, and whether each image is changed."""
    def fresh(kind):
        return lambda at, *shape: kind(jax.random.fold_in(key, at), (n, *shape))

    return fresh(jax.random.uniform), fresh(jax.random.normal), lambda at, share=strength: fresh(
        jax.random.uniform)(at) < share


def _geometry(x: Array, key: Array, strength: Array | float) -> Array:
    return resample(x, _maps(key, len(x), x.shape[1], strength))


def _maps(key: Array, n: int, side: int, strength: Array | float) -> Array:
    """float32 [n,3,3]: of each image, from a pixel of the result to one of the source, both from the middle."""
    uniform, normal, chosen = _draws(key, n, strength)
    # Half of the mirrored look as before, and a quarter of those turned.
    mirrored = jnp.where(chosen(0) & (uniform(1) < 0.5), -1.0, 1.0)
    quarters = jnp.where(chosen(2), jnp.floor(4 * uniform(3)), 0.0)
    whole = jnp.where(chosen(4)[:, None], jnp.round((2 * uniform(5, 2) - 1) * TRANSLATION * side), 0.0)
    scale = jnp.where(chosen(6), jnp.exp2(SCALE * normal(7)), 1.0)
    # Before and after the stretch: that either of them turns has the probability asked for.
    either = 1 - jnp.sqrt(1 - strength)
    first, last = (jnp.where(chosen(at, either), (2 * uniform(at + 1) - 1) * jnp.pi, 0.0) for at in (8, 10))
    stretch = jnp.where(chosen(12), jnp.exp2(SCALE * normal(13)), 1.0)
    parts = jnp.where(chosen(14)[:, None], normal(15, 2) * TRANSLATION * side, 0.0)
    steps = [_scaled(mirrored, 1.0), _turned(quarters * jnp.pi / 2), _moved(whole), _scaled(scale, scale),
             _turned(first), _scaled(stretch, 1 / stretch), _turned(last), _moved(parts)]
    return functools.reduce(jnp.matmul, steps)


def _matrix(rows: Sequence[Sequence[Array | float]]) -> Array:
    values = jnp.broadcast_arrays(*(jnp.asarray(value, jnp.float32) for row in rows for value in row))
    return jnp.stack(values, axis=-1).reshape(*values[0].shape, len(rows), len(rows[0]))


def _scaled(across: Array | float, down: Array | float) -> Array:
    return _matrix([[1 / jnp.asarray(across), 0, 0], [0, 1 / jnp.asarray(down), 0], [0, 0, 1]])


def _turned(angle: Array) -> Array:
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _matrix([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def _moved(by: Array) -> Array:
    return _matrix([[1, 0, -by[..., 0]], [0, 1, -by[..., 1]], [0, 0, 1]])


def resample(x: Array, maps: Array) -> Array:
    """Move the pixels of images by affine maps; beyond the border the image is mirrored.

    Args:
      x: float [B,S,S,C].
      maps: float32 [B,3,3], from (right, down, 1) of the result to that of the source, in pixels from the middle.

    Returns:
      float [B,S,S,C].
    """
    side = x.shape[1]
    up, down, places, first = _filters(side)
    fine = jnp.einsum("ih,bhwc,jw->bijc", up, x, up)
    middle = (side - 1) / 2
    right, below = jnp.meshgrid(places - middle, places - middle)
    result = jnp.stack([right.ravel(), below.ravel(), jnp.ones(right.size)])           # [3, n*n]
    source = jnp.einsum("bij,jn->bin", maps[:, :2], result) + middle                    # [B,2,n*n], in pixels
    lowest, highest = first, side - 1 - first
    mirrored = jnp.abs((source + side - 1) % (2 * side - 2) - (side - 1))
    source = jnp.where((source < lowest) | (source > highest), mirrored, source)
    at = jnp.clip(2 * (source - first), 0, len(up) - 1.001)                             # where `fine` is read
    moved = _bilinear(fine, at[:, 0], at[:, 1]).reshape(*x.shape[:1], len(places), len(places), -1)
    return jnp.einsum("hi,bijc,wj->bhwc", down, moved, down)


@functools.cache
def _filters(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """(interpolation [N,S], decimation [S,n], where its n samples lie, in pixels, where the first of the N lies)."""
    taps = len(SYM6)
    numbers = np.arange(-taps, 2 * side + taps)          # of fine samples, two a pixel
    up = np.zeros((len(numbers), side), np.float32)
    for pixel in range(-2 * taps, side + 2 * taps):
        # The border's pixels are not repeated: ... 2 1 | 0 1 2 ...
        mirrored = abs((pixel + side - 1) % (2 * side - 2) - (side - 1))
        for tap in range(taps):
            row = 2 * pixel + tap - numbers[0]
            if 0 <= row < len(numbers):
                up[row, mirrored] += np.sqrt(2) * SYM6[tap]
    read = np.arange(2 * side - 2 + taps)
    down = np.zeros((side, len(read)), np.float32)
    for pixel in range(side):
        down[pixel, 2 * pixel:2 * pixel + taps] = SYM6 / np.sqrt(2)
    return up, down, ((read - CENTER) / 2).astype(np.float32), float((numbers[0] - CENTER) / 2)


def _bilinear(x: Array, column: Array, row: Array) -> Array:
    """x [B,H,W,C] between its samples, at [B,n] places: [B,n,C]."""
    left, top = jnp.floor(column), jnp.floor(row)
    along, below = (column - left)[..., None], (row - top)[..., None]
    flat, first = x.reshape(len(x), -1, x.shape[-1]), (top * x.shape[2] + left).astype(jnp.int32)
    corner = [jnp.take_along_axis(flat, (first + step)[..., None], axis=1)
              for step in (0, 1, x.shape[2], x.shape[2] + 1)]
    return ((corner[0] * (1 - along) + corner[1] * along) * (1 - below)
            + (corner[2] * (1 - along) + corner[3] * along) * below)


def _recolor(x: Array, key: Array, strength: Array | float) -> Array:
    matrix, offset = _colors(key, len(x), RECOLOR * strength)
    if x.shape[-1] == 1:  # a gray image is one of three equal channels
        return x * matrix.sum(-1).mean(-1)[:, None, None, None] + offset.mean(-1)[:, None, None, None]
    return jnp.einsum("bij,bhwj->bhwi", matrix, x) + offset[:, None, None]


def _colors(key: Array, n: int, strength: Array | float) -> tuple[Array, Array]:
    """(float32 [n,3,3], [n,3]): of each image, the affine map of its colors."""
    uniform, normal, chosen = _draws(key, n, strength)
    gray = jnp.full((3, 3), 1 / 3)                                    # onto the axis of equal channels
    brighter = jnp.where(chosen(0), BRIGHTNESS * normal(1), 0.0)
    contrast = jnp.where(chosen(2), jnp.exp2(CONTRAST * normal(3)), 1.0)
    flipped = jnp.where(chosen(4) & (uniform(5) < 0.5), 2.0, 0.0)
    hue = jnp.where(chosen(6), (2 * uniform(7) - 1) * jnp.pi, 0.0)
    saturation = jnp.where(chosen(8), jnp.exp2(SATURATION * normal(9)), 1.0)
    each = lambda values: values[:, None, None]  # noqa: E731
    turn = (jnp.cos(each(hue)) * (jnp.eye(3) - gray) + gray
            + jnp.sin(each(hue)) / jnp.sqrt(3.0) * jnp.array([[0., -1, 1], [1, 0, -1], [-1, 1, 0]]))
    matrix = turn @ (jnp.eye(3) - each(flipped) * gray) * each(contrast)
    matrix = (gray + each(saturation) * (jnp.eye(3) - gray)) @ matrix
    # Brighter comes first, along the gray axis, which turns and saturation leave alone.
    return matrix, ((contrast * (1 - flipped)) * brighter)[:, None] * jnp.ones(3)


def _erase(x: Array, key: Array, strength: Array | float) -> Array:
    uniform, _, chosen = _draws(key, len(x), strength)
    center, there = uniform(1, 2), chosen(0)
    inside = []
    for axis, side in enumerate(x.shape[1:3]):
        places = (jnp.arange(side) + 0.5) / side
        inside.append(jnp.abs(places - center[:, axis, None]) < ERASED / 2)
    rows, columns = inside
    erased = there[:, None, None] & rows[:, :, None] & columns[:, None, :]
    return jnp.where(erased[..., None], 0, x)
