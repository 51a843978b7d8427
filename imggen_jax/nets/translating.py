"""What the networks from pictures to pictures share: normalization, paddings and changes of resolution."""
from __future__ import annotations

import importlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array

NORMS = ("instance", "none")
# He et al. (arXiv 1502.01852), eq. 10, for ReLU; nearly right for leaky ReLU of slope 0.2 too.
HE = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def instance_norm(x: Array, epsilon: float = 1e-5) -> Array:
    """Each channel of each picture to mean 0 and variance 1 (arXiv 1607.08022), without learned scale and shift.

    x: float [B,H,W,C]; statistics are float32. A map of one pixel is returned as it is, since nothing of it would be
    left. What comes out of one place depends on the whole picture, so a picture must not be cut into tiles.
    """
    if x.shape[1] * x.shape[2] == 1:
        return x
    wide = x.astype(jnp.float32)
    mean = jnp.mean(wide, axis=(1, 2), keepdims=True)
    variance = jnp.mean(jnp.square(wide - mean), axis=(1, 2), keepdims=True)
    gain = jax.lax.rsqrt(variance + epsilon)
    return x * gain.astype(x.dtype) - (mean * gain).astype(x.dtype)


def normalize(x: Array, norm: str) -> Array:
    """`instance_norm`, or nothing. Raises ValueError for a norm that there is not."""
    if norm not in NORMS:
        raise ValueError(f"unknown norm {norm!r}; choose from {', '.join(NORMS)}")
    return instance_norm(x) if norm == "instance" else x


def reflect(x: Array, pixels: int) -> Array:
    """[B,H,W,C] -> [B,H+2p,W+2p,C], mirrored at the borders, where zeros would show."""
    return jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="reflect")


def double(x: Array) -> Array:
    """[B,H,W,C] -> [B,2H,2W,C], each pixel four times.

    A convolution after it sees every place alike; a transposed one of stride 2 leaves a checkerboard (Odena et al.,
    2016, distill.pub/2016/deconv-checkerboard).
    """
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


def check_sides(network: str, x: Array, multiple: int, least: int) -> None:
    """Raises ValueError for pictures [B,H,W,C] whose sides are not multiples of a number, or are smaller than least."""
    height, width = x.shape[1:3]
    if height % multiple or width % multiple or min(height, width) < least:
        raise ValueError(f"network {network} takes pictures whose sides are multiples of {multiple}, {least} or more, "
                         f"not {width}x{height}; set data.size or data.crop to one")


def network(role: str, dtype: str, *, name: str, **keys: Any) -> Any:
    """A network by its name in a config.

    Args:
      role: "Translator" or "Discriminator", the class.
      dtype: of the computations.
      name: the module of imggen_jax/nets.
      keys: arguments of the class.

    Raises:
      ModuleNotFoundError, AttributeError, TypeError: there is no such network, or it does not take these arguments.
    """
    return getattr(importlib.import_module(f"imggen_jax.nets.{name}"), role)(dtype=jnp.dtype(dtype), **keys)
