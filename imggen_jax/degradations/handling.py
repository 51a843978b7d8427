"""What pictures go through between hands: crops, other sizes, blur, brightness, contrast, noise and JPEG, by chance.

Differentiable in the pictures, but for the rounding to eight bits and JPEG, whose gradient is taken for that of the
identity (arXiv 2101.00973).
"""
from __future__ import annotations

import jax
import jax.numpy as jnp

from imggen_jax.degradations.jpeg import compress

Array = jax.Array
Key = jax.Array

CROP = 0.75             # least share of both sides that is left
BLUR = 3.0              # most pixels to each side that a pixel is made of: as after a third of the size, and back
LIGHT = 0.6, 1.5        # factors of brightness and of contrast
NOISE = 8.0             # largest standard deviation, in levels of 255
QUALITY = 40.0, 95.0    # of JPEG


def handle(images: Array, key: Key, share: Array | float = 0.5) -> Array:
    """Pictures after being handled.

    Args:
      images: float32 [B,S,S,1 or 3] in [0,1].
      key: each picture draws its own numbers from it.
      share: the probability of each kind of handling.

    Returns:
      float32 [B,S,S,C], multiples of 1/255 in [0,1].
    """
    n = len(images)
    drawn = lambda at, *shape: jax.random.uniform(jax.random.fold_in(key, at), (n, *shape))  # noqa: E731
    between = lambda at, low, high, *shape: low + (high - low) * drawn(at, *shape)  # noqa: E731
    chosen = lambda at: drawn(at) < share  # noqa: E731
    one = (1, 1, 1)
    side = jnp.where(chosen(0), between(1, CROP, 1.0), 1.0)
    reach = jnp.where(chosen(2), between(3, 1.0, BLUR), 1.0)
    rows, columns = (_resampling(images.shape[1], side, place, reach) for place in drawn(4, 2).T)
    x = jnp.einsum("bih,bhwc,bjw->bijc", rows, images, columns)
    x = x * jnp.where(chosen(5), between(6, *LIGHT), 1.0).reshape(n, *one)
    middle = jnp.mean(x, axis=(1, 2, 3), keepdims=True)
    x = middle + (x - middle) * jnp.where(chosen(7), between(8, *LIGHT), 1.0).reshape(n, *one)
    sigma = jnp.where(chosen(9), between(10, 0.0, NOISE / 255), 0.0).reshape(n, *one)
    x = jnp.clip(x + sigma * jax.random.normal(jax.random.fold_in(key, 11), x.shape), 0, 1)
    kept = jnp.where(chosen(12).reshape(n, *one), compress(x, between(13, *QUALITY)), jnp.round(x * 255) / 255)
    return x + jax.lax.stop_gradient(kept - x)


def _resampling(size: int, side: Array, place: Array, reach: Array) -> Array:
    """Matrices float32 [B,size,size] of one direction: a part of it at the size of the whole, by triangle filters.

    side: of the part, as a share; place: where it lies, from 0 to 1; reach: half the filter's width in pixels; all [B].
    """
    pixels = jnp.arange(size, dtype=jnp.float32)
    start = place * (1 - side) * size
    center = start[:, None] + (pixels + 0.5) * side[:, None] - 0.5
    weights = jnp.maximum(0, 1 - jnp.abs(center[..., None] - pixels) / reach[:, None, None])
    return weights / weights.sum(-1, keepdims=True)
