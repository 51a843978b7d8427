"""Similarity of pairs of pictures, such as reconstructions and originals: PSNR and SSIM. NumPy, float64."""
from __future__ import annotations

import math

import numpy as np

from imggen_jax.errors import MetricsError

SIGMA, REACH = 1.5, 5  # pixels: the window of Wang et al. is a Gaussian, 11 pixels wide
K1, K2, RANGE = 0.01, 0.03, 255.0


def psnr(originals: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each pair, 10 log10(255^2 / mean squared error): float64 [n], dB.

    Args:
      originals, reconstructions: uint8 [n,H,W,C] of one shape.

    Returns:
      float64 [n]; infinity for equal pictures.

    Raises:
      MetricsError: other shapes or dtypes.
    """
    _check(originals, reconstructions)
    errors = [np.square(x.astype(np.float64) - y).mean() for x, y in zip(originals, reconstructions)]
    return np.array([10 * math.log10(RANGE**2 / e) if e else math.inf for e in errors])


def ssim(originals: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Structural similarity of each pair (Wang et al. 2004, "Image quality assessment", eq. 13): float64 [n] in [-1,1].

    Gaussian window of sigma 1.5 and 11 pixels, population covariances, C1 = (0.01 255)^2, C2 = (0.03 255)^2; the mean
    over all places where the window fits, and over channels.

    Args:
      originals, reconstructions: uint8 [n,H,W,C] of one shape, H and W at least 11.

    Raises:
      MetricsError: other shapes or dtypes, or pictures smaller than the window.
    """
    _check(originals, reconstructions)
    height, width = originals.shape[1:3]
    if min(height, width) < 2 * REACH + 1:
        raise MetricsError(f"SSIM needs pictures of at least {2 * REACH + 1} pixels on each side, not {width}x{height}")
    return np.array([_ssim(x.astype(np.float64), y.astype(np.float64)) for x, y in zip(originals, reconstructions)])


def _ssim(x: np.ndarray, y: np.ndarray) -> float:
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
    found = (2 * mean_x * mean_y + c1) * (2 * covariance + c2) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return float(found.mean())


def _blur(x: np.ndarray) -> np.ndarray:
    """[H,W,C] -> [H-10,W-10,C], the Gaussian window's mean wherever it fits."""
    window = np.exp(-0.5 * (np.arange(-REACH, REACH + 1) / SIGMA) ** 2)
    window /= window.sum()
    rows = np.asarray(sum(w * x[i:len(x) - 2 * REACH + i] for i, w in enumerate(window)))
    return np.asarray(sum(w * rows[:, i:rows.shape[1] - 2 * REACH + i] for i, w in enumerate(window)))


def _check(x: np.ndarray, y: np.ndarray) -> None:
    if x.shape != y.shape or x.ndim != 4 or x.dtype != np.uint8 or y.dtype != np.uint8 or not len(x):
        raise MetricsError(f"pictures are compared as uint8 [n,H,W,C] of one shape, not {x.dtype} {list(x.shape)} with "
                           f"{y.dtype} {list(y.shape)}")
