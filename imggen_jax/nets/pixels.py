"""Pixels moved and repeated: what networks from picture to picture share, [B,H,W,C] throughout."""
from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array


def shuffle(x: Array, factor: int) -> Array:
    """[B,H,W,C r^2] -> [B,rH,rW,C]: channel c r^2 + r i + j becomes channel c of pixel (i, j) of each r x r block.

    Sub-pixel convolution, Shi et al., arXiv 1609.05158, eq. 4, with the order of channels that PyTorch uses.
    """
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, c // factor**2, factor, factor).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(b, h * factor, w * factor, c // factor**2)


def unshuffle(x: Array, factor: int) -> Array:
    """[B,rH,rW,C] -> [B,H,W,C r^2], the inverse of `shuffle`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // factor, factor, w // factor, factor, c).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(b, h // factor, w // factor, c * factor**2)


def nearest(x: Array, factor: int) -> Array:
    """[B,H,W,C] -> [B,rH,rW,C]: each pixel r x r times."""
    return x.repeat(factor, axis=1).repeat(factor, axis=2)


def reflect(x: Array, pixels: int) -> Array:
    """[B,H,W,C] -> [B,H+2n,W+2n,C], mirrored about the outermost pixels, which are not repeated."""
    return jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="reflect")


def fill_up(x: Array, multiple: int) -> Array:
    """Mirror the bottom and the right border until both sides are multiples, [B,H,W,C]; the border pixel is repeated,
    so that any picture, of one pixel too, can be filled up."""
    rows, columns = -x.shape[1] % multiple, -x.shape[2] % multiple
    return jnp.pad(x, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="symmetric") if rows or columns else x
