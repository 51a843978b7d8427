"""The autoencoder of latent diffusion (arXiv 2112.10752, appendix G): diffusers' AutoencoderKL."""
from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv
from imggen_jax.nets.latent_blocks import Attention, GroupNorm, Resnet, doubled

Array = jax.Array
EPSILON = 1e-6  # of every normalization


class Encoder(nn.Module):
    """A picture to means and log-variances of its latents, a map at a fraction of its sides.

    Attributes:
      latents: channels of the map.
      widths: channels at each resolution, from the highest down; each but the last halves the sides.
      blocks: residual blocks at each of them.
      groups: of the group normalization.
      attention: whether the lowest resolution has it.
      conv: whether a 1x1 convolution comes last.
      dtype: of the computations; the result is float32.
    """

    latents: int
    widths: tuple[int, ...]
    blocks: int
    groups: int
    attention: bool
    conv: bool
    dtype: Any

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """images float [B,H,W,any channels] in [-1,1] -> float32 [B,h,w,2*latents]."""
        x = Conv(self.widths[0], 3, padding=1, dtype=self.dtype, name="encoder.conv_in")(images.astype(self.dtype))
        for level, width in enumerate(self.widths):
            place = f"encoder.down_blocks.{level}"
            for i in range(self.blocks):
                x = Resnet(width, self.groups, EPSILON, self.dtype, name=f"{place}.resnets.{i}")(x)
            if level + 1 < len(self.widths):
                x = Conv(width, 3, strides=2, padding=((0, 1), (0, 1)), dtype=self.dtype,
                         name=f"{place}.downsamplers.0.conv")(x)
        x = _middle("encoder", x, self.groups, self.attention, self.dtype)
        x = _last("encoder", x, 2 * self.latents, self.groups, self.dtype)
        if self.conv:
            x = Conv(2 * self.latents, 1, padding=0, dtype=self.dtype, name="quant_conv")(x)
        return x.astype(jnp.float32)


class Decoder(nn.Module):
    """Latents to a picture.

    Attributes:
      channels: of the picture.
      conv: whether a 1x1 convolution comes first.
      The others are `Encoder`'s, `widths` in the same order; here each resolution has one block more.
    """

    channels: int
    widths: tuple[int, ...]
    blocks: int
    groups: int
    attention: bool
    conv: bool
    dtype: Any

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """z float [B,h,w,any channels] -> float32 [B,H,W,channels], unbounded."""
        x = z.astype(self.dtype)
        if self.conv:
            x = Conv(x.shape[-1], 1, padding=0, dtype=self.dtype, name="post_quant_conv")(x)
        x = Conv(self.widths[-1], 3, padding=1, dtype=self.dtype, name="decoder.conv_in")(x)
        x = _middle("decoder", x, self.groups, self.attention, self.dtype)
        for number, width in enumerate(reversed(self.widths)):
            place = f"decoder.up_blocks.{number}"
            for i in range(self.blocks + 1):
                x = Resnet(width, self.groups, EPSILON, self.dtype, name=f"{place}.resnets.{i}")(x)
            if number + 1 < len(self.widths):
                x = doubled(x, 2 * x.shape[1], 2 * x.shape[2])
                x = Conv(width, 3, padding=1, dtype=self.dtype, name=f"{place}.upsamplers.0.conv")(x)
        return _last("decoder", x, self.channels, self.groups, self.dtype).astype(jnp.float32)


def _middle(side: str, x: Array, groups: int, attention: bool, dtype: Any) -> Array:
    """The lowest resolution; to be called inside of a network."""
    def resnet(number: int) -> Resnet:
        return Resnet(x.shape[-1], groups, EPSILON, dtype, name=f"{side}.mid_block.resnets.{number}")

    x = resnet(0)(x)
    if attention:
        name = f"{side}.mid_block.attentions.0"
        y = GroupNorm(groups, EPSILON, dtype, name=f"{name}.group_norm")(x).reshape(len(x), -1, x.shape[-1])
        x = x + Attention(1, dtype, bias=True, name=name)(y).reshape(x.shape)
    return resnet(1)(x)


def _last(side: str, x: Array, features: int, groups: int, dtype: Any) -> Array:
    """What stands behind the last block; to be called inside of a network."""
    x = nn.silu(GroupNorm(groups, EPSILON, dtype, name=f"{side}.conv_norm_out")(x))
    return Conv(features, 3, padding=1, dtype=dtype, name=f"{side}.conv_out")(x)
