"""A small autoencoder for the latents of a large one (TAESD, github.com/madebyollin/taesd): diffusers' AutoencoderTiny.

Parameters are named as in the weight files that diffusers writes, where layers without any are counted too.
"""
from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv
from imggen_jax.nets.latent_blocks import doubled
from imggen_jax.nets.transformer import wide

Array = jax.Array
REACH = 3.0  # latents are squashed to so far from 0


class TinyEncoder(nn.Module):
    """A picture to latents.

    Attributes:
      latents: their channels.
      widths: channels at each resolution, from the highest down; each but the first halves the sides.
      blocks: residual blocks at each of them.
      dtype: of the computations; the result is float32.
    """

    latents: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    dtype: Any

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """images float [B,H,W,any channels] in [-1,1] -> float32 [B,h,w,latents]."""
        x, number = ((images + 1) / 2).astype(self.dtype), 0
        for level, (width, blocks) in enumerate(zip(self.widths, self.blocks)):
            x = Conv(width, 3, strides=2 if level else 1, padding=1, use_bias=not level, dtype=self.dtype,
                     name=f"encoder.layers.{number}")(x)
            for i in range(blocks):
                x = _block(x, self.dtype, f"encoder.layers.{number + 1 + i}")
            number += 1 + blocks
        return wide(Conv(self.latents, 3, padding=1, dtype=self.dtype, name=f"encoder.layers.{number}")(x))


class TinyDecoder(nn.Module):
    """Latents to a picture.

    Attributes:
      channels: of the picture.
      widths: channels at each resolution, from the lowest up; behind each but the last the sides are doubled.
      blocks: residual blocks at each of them.
      dtype: of the computations; the result is float32.
    """

    channels: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    dtype: Any

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """z float [B,h,w,any channels] -> float32 [B,H,W,channels], unbounded."""
        x = (REACH * jnp.tanh(z / REACH)).astype(self.dtype)
        x = nn.relu(Conv(self.widths[0], 3, padding=1, dtype=self.dtype, name="decoder.layers.0")(x))
        number, last = 2, len(self.widths) - 1  # behind a convolution and its activation
        for level, (width, blocks) in enumerate(zip(self.widths, self.blocks)):
            for i in range(blocks):
                x = _block(x, self.dtype, f"decoder.layers.{number + i}")
            number += blocks
            if level < last:
                x, number = doubled(x, 2 * x.shape[1], 2 * x.shape[2]), number + 1
            x = Conv(width if level < last else self.channels, 3, padding=1, use_bias=level == last, dtype=self.dtype,
                     name=f"decoder.layers.{number}")(x)
            number += 1
        return 2 * wide(x) - 1


def _block(x: Array, dtype: Any, name: str) -> Array:
    """x + f(x), f three 3x3 convolutions; to be called inside of a network."""
    y = x
    for number in (0, 2, 4):
        y = Conv(x.shape[-1], 3, padding=1, dtype=dtype, name=f"{name}.conv.{number}")(nn.relu(y) if number else y)
    return nn.relu(x + y)
