"""Bicubic resampling as MATLAB's `imresize` computes it, which super-resolution is measured with.

Keys' cubic kernel with a = -1/2; downward it is as much wider as the image becomes smaller, against aliasing; beyond
the borders their pixels go on, as in the releases of MATLAB that made the published test images (later ones mirror
the image). Separable, so each direction is one matrix.
"""
from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def taps(old: int, new: int, scale: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What each new pixel of one direction is made of: indices int [new,k] of old pixels, weights float64 [new,k].

    Args:
      old, new: lengths in pixels, at least 1.
      scale: of the coordinates, new over old; None for new / old, another where `new` was rounded.
    """
    scale = new / old if scale is None else scale
    stretch = min(scale, 1.0)
    width = 4 / stretch
    center = (np.arange(new) + 0.5) / scale - 0.5
    first = np.floor(center - width / 2).astype(int)
    index = first[:, None] + np.arange(math.ceil(width) + 2)
    weights = stretch * _cubic(stretch * (center[:, None] - index))
    used = (weights != 0).any(0)
    return np.clip(index[:, used], 0, old - 1), weights[:, used] / weights.sum(1, keepdims=True)


def matrix(old: int, new: int, scale: float | None = None) -> np.ndarray:
    """`taps` as a matrix, float64 [new, old]; rows sum to 1."""
    out = np.zeros((new, old))
    index, weights = taps(old, new, scale)
    np.add.at(out, (np.arange(new)[:, None], index), weights)
    return out


def resize(images, height: int, width: int, scale: float | None = None):
    """Float images [..., H,W,C], NumPy or JAX -> the same, [..., height,width,C], of the input's dtype; not clipped."""
    rows, columns = (matrix(old, new, scale).astype(images.dtype) for old, new in
                     zip(images.shape[-3:-1], (height, width)))
    channels_first = images.swapaxes(-1, -2).swapaxes(-2, -3)  # [...,C,H,W]: two products of matrices
    return (rows @ channels_first @ columns.T).swapaxes(-3, -2).swapaxes(-2, -1)


def resize_uint8(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [H,W,C] -> uint8 [height,width,C], to the bit as MATLAB, which rounds after each direction: rows first."""
    def rounded(values):
        return np.clip(np.floor(values + 0.5), 0, 255)

    rows, columns = matrix(image.shape[0], height), matrix(image.shape[1], width)
    down = rounded(np.einsum("ih,hwc->iwc", rows, image.astype(np.float64)))
    return rounded(np.einsum("jw,iwc->ijc", columns, down)).astype(np.uint8)


def shrink(images: jax.Array, factors: jax.Array, height: int, width: int) -> jax.Array:
    """Each image smaller by a factor of its own, as `resize` makes it: of its upper left what then has this size.

    Args:
      images: JAX, float [B,H,W,C].
      factors: float32 [B], at least 1; factors times height and width are at most H and W.

    Returns: [B,height,width,C], not clipped.
    """
    def weights(new: int, old: int):
        factor = factors[:, None, None]
        center = (jnp.arange(new)[:, None] + 0.5) * factor - 0.5
        values = _cubic((center - jnp.arange(old)) / factor, jnp)
        return values / values.sum(-1, keepdims=True)

    rows, columns = weights(height, images.shape[1]), weights(width, images.shape[2])
    return jnp.einsum("bih,bhwc,bjw->bijc", rows, images, columns)


def enlarge(images: jax.Array, scale: int) -> jax.Array:
    """JAX images float [B,h,w,C] -> [B,scale*h,scale*w,C], as `resize`; each pixel sees sixteen, and no others."""
    for axis in (1, 2):
        side = images.shape[axis]
        pads = [(2, 2) if each == axis else (0, 0) for each in range(images.ndim)]
        padded = jnp.pad(images, pads, mode="edge")
        phases = []
        for phase in range(scale):
            center = (phase + 0.5) / scale - 0.5
            first = math.floor(center) - 1
            weights = _cubic(center - first - np.arange(4))
            starts = [2 + first + k for k in range(4)]
            phases.append(sum(float(weight) * jax.lax.slice_in_dim(padded, start, start + side, axis=axis)
                              for start, weight in zip(starts, weights)))
        images = jnp.stack(phases, axis + 1).reshape(*images.shape[:axis], scale * side, *images.shape[axis + 1:])
    return images


def _cubic(x: Any, numpy: Any = np) -> Any:
    """Keys, "Cubic convolution interpolation for digital image processing" (1981), eq. 15, with a = -1/2."""
    x = numpy.abs(x)
    outer = numpy.where(x <= 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0.0)
    return numpy.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, outer)
