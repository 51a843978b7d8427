"""The ways in which the reference implementations resize pictures for their networks, as matrices: y = R x R^T.

Which one was used moves scores more than most models do (Parmar et al., arXiv 2104.11222), so each has a name that is
stored with a score, and scores of two names are not comparable. Matrices are float64.
"""
from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


def bilinear(old: int, new: int) -> np.ndarray:
    """Between the centers of the two nearest pixels, without antialiasing: [new,old].

    As torch's interpolate(mode="bilinear", align_corners=False), which pytorch-fid uses.
    """
    at = np.maximum((np.arange(new) + 0.5) * (old / new) - 0.5, 0)
    return _between(at, old)


def bilinear_corner(old: int, new: int) -> np.ndarray:
    """As TensorFlow 1's resize_bilinear(align_corners=False), which takes pixels for points at their corners; so does
    torch-fidelity. [new,old]."""
    return _between(np.arange(new) * (old / new), old)


def _between(at: np.ndarray, old: int) -> np.ndarray:
    low = np.minimum(np.floor(at).astype(int), old - 1)
    share = at - low
    matrix = np.zeros((len(at), old))
    rows = np.arange(len(at))
    np.add.at(matrix, (rows, low), 1 - share)
    np.add.at(matrix, (rows, np.minimum(low + 1, old - 1)), share)
    return matrix


def bicubic(old: int, new: int) -> np.ndarray:
    """As Pillow's BICUBIC, a = -1/2, widened to the reduction and so antialiased: [new,old]."""
    scale = max(old / new, 1.0)
    center = (np.arange(new)[:, None] + 0.5) * (old / new)
    weights = _cubic((np.arange(old) + 0.5 - center) / scale)
    return weights / weights.sum(axis=1, keepdims=True)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys 1981, "Cubic convolution interpolation", eq. 4 with a = -1/2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = -0.5 * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def apply(x: Array, rows: np.ndarray, columns: np.ndarray, *, eight_bit: bool = False) -> Array:
    """Resize float [B,H,W,C] by rows [H',H] and columns [W',W].

    With eight_bit, pixels are 0 to 255 and come out as Pillow's do: columns first, as it does where the aspect is kept,
    and rounded to whole levels by each of the two passes.
    """
    pass_of = _pillow if eight_bit else _weighted
    return pass_of("uh,bhvc->buvc", rows, pass_of("vw,bhwc->bhvc", columns, x))


def _weighted(equation: str, matrix: np.ndarray, x: Array) -> Array:
    return jnp.einsum(equation, matrix.astype(np.float32), x, precision=jax.lax.Precision.HIGHEST)


def _pillow(equation: str, matrix: np.ndarray, x: Array) -> Array:
    """Pillow's arithmetic to the bit: weights in units of 2^-22, sums in int32, half up (libImaging/Resample.c).

    A float32 holds whole numbers up to 2^24 only, so the upper and the lower 11 bits of the weights are applied apart.
    """
    units = np.trunc(matrix * 2**22 + np.copysign(0.5, matrix))
    upper, lower = (_weighted(equation, part, x).astype(jnp.int32) for part in np.divmod(units, 2**11))
    return jnp.clip((upper * 2**11 + lower + 2**21) >> 22, 0, 255).astype(jnp.float32)


def to_rgb(images: Array) -> Array:
    """uint8 [B,H,W,1 or 3] -> float32 [B,H,W,3] in 0 to 255; gray becomes three equal channels."""
    x = images.astype(jnp.float32)
    return jnp.broadcast_to(x, (*x.shape[:3], 3)) if x.shape[-1] == 1 else x


def covered(height: int, width: int, side: int) -> tuple[int, int]:
    """(height, width) whose shorter side is `side`, the aspect kept, as torchvision's Resize(side) makes it."""
    short = min(height, width)
    return math.floor(height * side / short), math.floor(width * side / short)
