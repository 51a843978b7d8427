"""The autoencoder of latent diffusion (`nets/autoencoder_kl.py`) as a network of game autoencoder: diffusers loads what
`imggen export --format diffusers` writes of such a run.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets import autoencoder_kl
from imggen_jax.nets.autoencoder_kl import Shape
from imggen_jax.nets.translating import check_sides

Array = jax.Array
LEAST, MOST = -30.0, 20.0  # of the log-variances, as in diffusers


class Encoder(nn.Module):
    """Picture to the mean and log-variance of each latent; sides are multiples of 2^(len(widths) - 1).

    Attributes:
      latents: channels of the map.
      widths: channels at each resolution, from the highest down; each but the last halves the sides.
      blocks: residual blocks at each of them.
      groups: of the group normalization; divides the widths.
      attention: whether the lowest resolution has it.
      dtype: of the computations; the result is float32.
    """

    latents: int
    widths: Sequence[int]
    dtype: Any
    blocks: int = 1
    groups: int = 8
    attention: bool = True

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array]:
        """images float [B,H,W,C] in [-1,1] -> two float32 [B,h,w,latents]."""
        check_sides("latent_kl", images, 1 << len(self.widths) - 1, 1 << len(self.widths) - 1)
        net = autoencoder_kl.Encoder(self.latents, shape_of(self), name="kl")
        mean, log_variance = jnp.split(net(images), 2, axis=-1)
        return mean, jnp.clip(log_variance, LEAST, MOST)


class Decoder(nn.Module):
    """Map of latents to a picture. Attributes are `Encoder`'s, and `channels` of the picture."""

    channels: int
    widths: Sequence[int]
    dtype: Any
    blocks: int = 1
    groups: int = 8
    attention: bool = True

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """z float [B,h,w,latents] -> float32 [B,H,W,channels], unbounded."""
        return autoencoder_kl.Decoder(self.channels, shape_of(self), name="kl")(z)


def shape_of(net: Encoder | Decoder) -> Shape:
    """What a network is made of, without convolutions at the latents."""
    return Shape(tuple(net.widths), net.blocks, net.groups, net.attention, False, net.dtype)
