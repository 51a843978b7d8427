"""JPEG's losses without its bytes: color conversion, 4:2:0 chroma, and quantized cosine transforms of 8x8 blocks."""
from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

# Recommendation ITU-T T.81, tables K.1 and K.2.
LUMINANCE = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99]], np.float32)
CHROMINANCE = np.full((8, 8), 99, np.float32)
CHROMINANCE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
# JFIF 1.02: Y, Cb, Cr of R, G, B.
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
TO_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32)


def compress(images: Array, quality: Array) -> Array:
    """Images as they come back from a JPEG file of libjpeg's quality, with chroma at half the size.

    Args:
      images: float32 [B,H,W,1 or 3] in [0,1].
      quality: float32 [B], 1 to 100.

    Returns:
      float32 [B,H,W,C], multiples of 1/255 in [0,1]. Nothing of it has a useful derivative.
    """
    height, width, channels = images.shape[1:]
    unit = 16 if channels == 3 else 8
    pads = [(0, 0), (0, -height % unit), (0, -width % unit), (0, 0)]
    pixels = jnp.pad(jnp.round(images * 255), pads, mode="edge")
    # libjpeg, jcparam.c: how a quality scales the tables.
    percent = jnp.floor(jnp.where(quality < 50, 5000 / quality, 200 - 2 * quality))[:, None, None]
    tables = [jnp.clip(jnp.floor((table * percent + 50) / 100), 1, 255) for table in (LUMINANCE, CHROMINANCE)]
    if channels == 1:
        out = _coded(pixels[..., 0] - 128, tables[0])[..., None] + 128
    else:
        planes = jnp.round(pixels @ TO_YCC.T)
        luma = _coded(planes[..., 0] - 128, tables[0]) + 128
        chroma = [_doubled(_coded(_halved(planes[..., i]), tables[1])) for i in (1, 2)]
        out = jnp.stack([jnp.clip(jnp.round(luma), 0, 255), *chroma], -1) @ TO_RGB.T
    return jnp.clip(jnp.round(out[:, :height, :width]), 0, 255) / 255


def _coded(plane: Array, table: Array) -> Array:
    """[B,H,W] about zero -> the same, each 8x8 block's cosine coefficients rounded to multiples of the table's."""
    b, height, width = plane.shape
    blocks = plane.reshape(b, height // 8, 8, width // 8, 8).swapaxes(2, 3)
    table = table[:, None, None]
    coefficients = jnp.round(COSINES @ blocks @ COSINES.T / table) * table
    return jnp.matmul(jnp.matmul(COSINES.T, coefficients), COSINES).swapaxes(2, 3).reshape(b, height, width)


def _halved(plane: Array) -> Array:
    """Means of 2x2 pixels, rounded."""
    b, height, width = plane.shape
    return jnp.round(plane.reshape(b, height // 2, 2, width // 2, 2).mean((2, 4)))


def _doubled(plane: Array) -> Array:
    """Twice the size by the triangle filter, 3/4 and 1/4 in each direction, as libjpeg's "fancy upsampling"."""
    for axis in (1, 2):
        side = plane.shape[axis]
        before = jnp.take(plane, np.maximum(np.arange(side) - 1, 0), axis)
        after = jnp.take(plane, np.minimum(np.arange(side) + 1, side - 1), axis)
        pairs = jnp.stack([0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after], axis + 1)
        plane = pairs.reshape(*plane.shape[:axis], 2 * side, *plane.shape[axis + 1:])
    return jnp.clip(jnp.round(plane), -128, 127)


def _cosines() -> np.ndarray:
    """The orthonormal DCT-II of 8 values."""
    k, n = np.mgrid[:8, :8]
    out = math.sqrt(2 / 8) * np.cos(math.pi * (2 * n + 1) * k / 16)
    out[0] /= math.sqrt(2)
    return out.astype(np.float32)


COSINES = _cosines()
