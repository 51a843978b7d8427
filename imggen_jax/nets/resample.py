"""Twofold resampling with the binomial filter [1,3,3,1]/8, as sums of shifted slices.

R3GAN (arXiv 2501.05441; `Resamplers.py` of its code) interpolates with [1,2,1] convolved with [1,1]: bilinear. What
lies outside the image is zero, as there. The same values as a depthwise convolution, which is slow on a CPU in both
directions; a slice and an addition are fast under any number of derivatives.
"""
from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array


def upsample(x: Array) -> Array:
    """[B,H,W,C] -> [B,2H,2W,C]: each new pixel is 3/4 of the old pixel that it lies in and 1/4 of the next one."""
    return _up(_up(x, 1), 2)


def downsample(x: Array) -> Array:
    """[B,2H,2W,C] -> [B,H,W,C]: each new pixel sums 1/8, 3/8, 3/8, 1/8 of the four nearest old ones in each direction.

    Raises:
      ValueError: an odd height or width.
    """
    if x.shape[1] % 2 or x.shape[2] % 2:
        raise ValueError(f"cannot halve feature maps of {x.shape[1]}x{x.shape[2]}; both sides must be even")
    return _down(_down(x, 1), 2)


def _neighbours(x: Array, axis: int) -> tuple[Array, Array]:
    """The pixel before and the pixel after each one, zero beyond the ends."""
    pads = [(0, 0)] * x.ndim
    pads[axis] = (1, 1)
    padded, side = jnp.pad(x, pads), x.shape[axis]
    return (jax.lax.slice_in_dim(padded, 0, side, axis=axis), jax.lax.slice_in_dim(padded, 2, side + 2, axis=axis))


def _up(x: Array, axis: int) -> Array:
    before, after = _neighbours(x, axis)
    # y[2i] = (x[i-1] + 3 x[i]) / 4, y[2i+1] = (3 x[i] + x[i+1]) / 4
    y = jnp.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis=axis + 1)
    return y.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1:])


def _down(x: Array, axis: int) -> Array:
    pairs = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1:])
    even, odd = (jax.lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
    # y[i] = (x[2i-1] + 3 x[2i] + 3 x[2i+1] + x[2i+2]) / 8
    return 0.375 * (even + odd) + 0.125 * (_neighbours(odd, axis)[0] + _neighbours(even, axis)[1])
