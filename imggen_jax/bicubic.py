"""Bicubic resampling as MATLAB's `imresize` computes it, which super-resolution is measured with.

Keys' cubic kernel with a = -1/2; downward it is as much wider as the image becomes smaller, against aliasing; beyond
the borders their pixels go on, as in the releases of MATLAB that made the published test images (later ones mirror
the image). Separable, so each direction is one matrix.
"""
from __future__ import annotations

import math

import numpy as np


def matrix(old: int, new: int, scale: float | None = None) -> np.ndarray:
    """Weights float64 [new, old] of one direction; rows sum to 1.

    Args:
      old, new: lengths in pixels, at least 1.
      scale: of the coordinates, new over old; None for new / old, another where `new` was rounded.
    """
    scale = new / old if scale is None else scale
    stretch = min(scale, 1.0)
    width = 4 / stretch
    center = (np.arange(new) + 0.5) / scale - 0.5
    first = np.floor(center - width / 2).astype(int)
    taps = first[:, None] + np.arange(math.ceil(width) + 2)
    weights = stretch * _cubic(stretch * (center[:, None] - taps))
    weights /= weights.sum(1, keepdims=True)
    out = np.zeros((new, old))
    np.add.at(out, (np.arange(new)[:, None], np.clip(taps, 0, old - 1)), weights)
    return out


def resize(images, height: int, width: int, scale: float | None = None):
    """Float images [..., H,W,C], NumPy or JAX -> the same, [..., height,width,C], of the input's dtype; not clipped."""
    rows, columns = (matrix(old, new, scale).astype(images.dtype) for old, new in
                     zip(images.shape[-3:-1], (height, width)))
    channels_first = images.swapaxes(-1, -2).swapaxes(-2, -3)  # [...,C,H,W]: two products of matrices
    return (rows @ channels_first @ columns.T).swapaxes(-3, -2).swapaxes(-2, -1)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys, "Cubic convolution interpolation for digital image processing" (1981), eq. 15, with a = -1/2."""
    x = np.abs(x)
    return np.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x <= 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0.0))
