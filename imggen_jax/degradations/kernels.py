"""Blur kernels that differ from image to image, and blurring with them."""
from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

SIDE = 21  # of the largest kernel, in pixels
_Y, _X = (np.mgrid[:SIDE, :SIDE] - SIDE // 2).astype(np.float32)
_R = np.hypot(_Y, _X)


def gaussian(sizes: Array, sigma: Array, angle: Array, power: Array, plateau: Array) -> Array:
    """Generalized Gaussians exp(-q^power / 2), or plateaus 1 / (1 + q^power) (Real-ESRGAN, arXiv 2107.10833, 3.2).

    Args:
      sizes: int32 [B], odd sides, at most SIDE; outside a kernel is zero.
      sigma: float32 [B,2], standard deviations in pixels along the kernel's axes.
      angle: float32 [B], of the first axis, in radians.
      power: float32 [B]; 1 gives a Gaussian.
      plateau: bool [B].

    Returns:
      float32 [B,SIDE,SIDE] of sum 1.
    """
    cos, sin = jnp.cos(angle)[:, None, None], jnp.sin(angle)[:, None, None]
    along = (cos * _X + sin * _Y) / sigma[:, :1, None]
    across = (cos * _Y - sin * _X) / sigma[:, 1:, None]
    q = (along**2 + across**2 + 1e-12) ** power[:, None, None]
    return _cut(jnp.where(plateau[:, None, None], 1 / (1 + q), jnp.exp(-q / 2)), sizes)


def sinc(sizes: Array, cutoff: Array) -> Array:
    """Ideal circular low-pass filters, which ring: float32 [B,SIDE,SIDE] of sum 1.

    cutoff: float32 [B], radians a pixel, in (0, pi]. omega J1(omega r) / (2 pi r) (Real-ESRGAN, eq. 7).
    """
    omega = cutoff[:, None, None]
    r = jnp.where(_R == 0, 1.0, _R)
    values = jnp.where(_R == 0, omega**2 / (4 * jnp.pi), omega * _bessel(omega * r) / (2 * jnp.pi * r))
    return _cut(values, sizes)


def blur(images: Array, kernels: Array) -> Array:
    """Image i [H,W,C] filtered by kernel i [SIDE,SIDE], mirrored at the borders: [B,H,W,C] -> the same."""
    height, width = images.shape[1:3]
    reach = SIDE // 2
    padded = jnp.pad(images, [(0, 0), (reach, reach), (reach, reach), (0, 0)], mode="reflect")
    shape = padded.shape[1:3]
    spectrum = jnp.fft.rfft2(padded, axes=(1, 2)) * jnp.fft.rfft2(kernels, shape, axes=(1, 2))[..., None]
    whole = jnp.fft.irfft2(spectrum, shape, axes=(1, 2))  # circular: right from SIDE - 1 on
    return whole[:, SIDE - 1:SIDE - 1 + height, SIDE - 1:SIDE - 1 + width]


def sharpen(images: Array, weight: float, reach: int = 25, threshold: float = 10 / 255) -> Array:
    """An unsharp mask, where images have contrast: float32 [B,H,W,C] in [0,1] -> the same.

    So does Real-ESRGAN treat what it learns to make (its public training code); the ranges are those there.

    Args:
      images: to be sharpened.
      weight: of what a Gaussian takes away, which is added again; 0.5 there.
      reach: of the Gaussian, in pixels; its standard deviation is OpenCV's for 2 reach + 1 taps.
      threshold: of the difference from the blurred image, from which on pixels and those near them are sharpened.
    """
    soft = _softened(images, reach)
    rest = images - soft
    chosen = _softened((jnp.abs(rest) > threshold).astype(jnp.float32), reach)
    return images + chosen * (jnp.clip(images + weight * rest, 0, 1) - images)


def _softened(images: Array, reach: int) -> Array:
    """Through a Gaussian, mirrored at the borders."""
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (0.3 * (reach - 1) + 0.8)) ** 2)
    rows, columns = (np.stack([np.convolve(np.pad(line, reach, mode="reflect"), taps / taps.sum(), "valid")
                               for line in np.eye(side)], 1).astype(np.float32) for side in images.shape[1:3])
    return jnp.einsum("ih,bhwc,jw->bijc", rows, images, columns)


def _cut(values: Array, sizes: Array) -> Array:
    inside = np.maximum(np.abs(_Y), np.abs(_X)) <= (sizes[:, None, None] // 2)
    values = jnp.where(inside, values, 0.0)
    return values / values.sum((1, 2), keepdims=True)


def _bessel(x: Array) -> Array:
    """J1, by the midpoint rule on its integral over [0, pi], which converges exponentially."""
    t = (np.arange(64, dtype=np.float32) + 0.5) * np.float32(np.pi / 64)
    return jnp.mean(jnp.cos(t - x[..., None] * jnp.sin(t)), axis=-1)
