"""The ways in which the reference implementations resize pictures for their networks, as matrices: y = R x R^T.

Which one was used moves scores more than most models do (Parmar et al., arXiv 2104.11222), so each has a name that is
stored with a score, and scores of two names do not compare.
"""
from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


def bilinear(old: int, new: int) -> np.ndarray:
    """Between the centres of the two nearest pixels, without antialiasing: float32 [new,old].

    As torch's interpolate(mode="bilinear", align_corners=False), which pytorch-fid uses.
    """
    at = np.maximum((np.arange(new) + 0.5) * (old / new) - 0.5, 0)
    return _between(at, old)


def bilinear_corner(old: int, new: int) -> np.ndarray:
    """As TensorFlow 1's resize_bilinear(align_corners=False), which takes pixels for points at their corners; so does
    torch-fidelity. float32 [new,old]."""
    return _between(np.arange(new) * (old / new), old)


def _between(at: np.ndarray, old: int) -> np.ndarray:
    low = np.minimum(np.floor(at).astype(int), old - 1)
    share = at - low
    matrix = np.zeros((len(at), old))
    rows = np.arange(len(at))
    np.add.at(matrix, (rows, low), 1 - share)
    np.add.at(matrix, (rows, np.minimum(low + 1, old - 1)), share)
    return matrix.astype(np.float32)


def bicubic(old: int, new: int) -> np.ndarray:
    """As Pillow's BICUBIC, a = -1/2, widened to the reduction and so antialiased: float32 [new,old]."""
    scale = max(old / new, 1.0)
    centre = (np.arange(new)[:, None] + 0.5) * (old / new)
    weights = _cubic((np.arange(old) + 0.5 - centre) / scale, -0.5)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def bicubic_border(old: int, new: int) -> np.ndarray:
    """As torch's interpolate(mode="bicubic", align_corners=False): a = -3/4, not antialiased, the border repeated.

    float32 [new,old]. The transformers package resizes DINOv2's position embeddings with it.
    """
    at = (np.arange(new) + 0.5) * (old / new) - 0.5
    first = np.floor(at).astype(int)
    matrix = np.zeros((new, old))
    for tap in range(-1, 3):
        np.add.at(matrix, (np.arange(new), np.clip(first + tap, 0, old - 1)), _cubic(at - first - tap, -0.75))
    return matrix.astype(np.float32)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Keys 1981, "Cubic convolution interpolation", eq. 4 with a free a."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def apply(x: Array, rows: np.ndarray, columns: np.ndarray, *, eight_bit: bool = False) -> Array:
    """Resize float [B,H,W,C] by rows [H',H] and columns [W',W]; eight_bit rounds to 0 to 255 after each of the two
    passes, columns first, as Pillow does."""
    x = jnp.einsum("vw,bhwc->bhvc", columns, x, precision=jax.lax.Precision.HIGHEST)
    x = _rounded(x) if eight_bit else x
    x = jnp.einsum("uh,bhvc->buvc", rows, x, precision=jax.lax.Precision.HIGHEST)
    return _rounded(x) if eight_bit else x


def _rounded(x: Array) -> Array:
    return jnp.clip(jnp.floor(x + 0.5), 0, 255)


def to_rgb(images: Array) -> Array:
    """uint8 [B,H,W,1 or 3] -> float32 [B,H,W,3] in 0 to 255; grey becomes three equal channels."""
    x = images.astype(jnp.float32)
    return jnp.broadcast_to(x, (*x.shape[:3], 3)) if x.shape[-1] == 1 else x


def covered(height: int, width: int, side: int) -> tuple[int, int]:
    """(height, width) whose shorter side is `side`, the aspect kept, as torchvision's Resize(side) makes it."""
    short = min(height, width)
    return math.floor(height * side / short), math.floor(width * side / short)
