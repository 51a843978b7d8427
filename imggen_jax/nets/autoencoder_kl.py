"""The autoencoder of latent diffusion (arXiv 2112.10752, appendix G): diffusers' AutoencoderKL, also that of FLUX.2."""
from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv
from imggen_jax.nets.latent_blocks import Attention, GroupNorm, Resnet, doubled
from imggen_jax.nets.transformer import wide

Array = jax.Array
EPSILON = 1e-6  # of every normalization


class Shape(NamedTuple):
    """What an encoder and a decoder are made of."""

    widths: tuple[int, ...]  # channels at each resolution, from the highest down; each but the last halves the sides
    blocks: int              # residual blocks at each of them; of a decoder one more
    groups: int              # of the group normalization
    attention: bool          # whether the lowest resolution has it
    conv: bool               # whether a 1x1 convolution stands at the latents
    dtype: Any               # of the computations


class Encoder(nn.Module):
    """A picture to means and log-variances of its latents, a map at a fraction of its sides.

    Attributes:
      latents: channels of the map.
      shape: of the network; the result is float32.
    """

    latents: int
    shape: Shape

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """images float [B,H,W,any channels] in [-1,1] -> float32 [B,h,w,2*latents]."""
        widths, dtype = self.shape.widths, self.shape.dtype
        x = Conv(widths[0], 3, padding=1, dtype=dtype, name="encoder.conv_in")(images.astype(dtype))
        for level, width in enumerate(widths):
            place = f"encoder.down_blocks.{level}"
            for i in range(self.shape.blocks):
                x = Resnet(width, self.shape.groups, EPSILON, dtype, name=f"{place}.resnets.{i}")(x)
            if level + 1 < len(widths):
                x = Conv(width, 3, strides=2, padding=((0, 1), (0, 1)), dtype=dtype,
                         name=f"{place}.downsamplers.0.conv")(x)
        x = _last("encoder", _middle("encoder", x, self.shape), 2 * self.latents, self.shape)
        if self.shape.conv:
            x = Conv(2 * self.latents, 1, padding=0, dtype=dtype, name="quant_conv")(x)
        return wide(x)


class Decoder(nn.Module):
    """Latents to a picture.

    Attributes:
      channels: of the picture.
      shape: of the network, `widths` in the order of the encoder's.
    """

    channels: int
    shape: Shape

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """z float [B,h,w,any channels] -> float32 [B,H,W,channels], unbounded."""
        dtype = self.shape.dtype
        x = z.astype(dtype)
        if self.shape.conv:
            x = Conv(x.shape[-1], 1, padding=0, dtype=dtype, name="post_quant_conv")(x)
        x = Conv(self.shape.widths[-1], 3, padding=1, dtype=dtype, name="decoder.conv_in")(x)
        x = _middle("decoder", x, self.shape)
        for number, width in enumerate(reversed(self.shape.widths)):
            place = f"decoder.up_blocks.{number}"
            for i in range(self.shape.blocks + 1):
                x = Resnet(width, self.shape.groups, EPSILON, dtype, name=f"{place}.resnets.{i}")(x)
            if number + 1 < len(self.shape.widths):
                x = doubled(x, 2 * x.shape[1], 2 * x.shape[2])
                x = Conv(width, 3, padding=1, dtype=dtype, name=f"{place}.upsamplers.0.conv")(x)
        return wide(_last("decoder", x, self.channels, self.shape))


class LatentNorm(nn.Module):
    """Channels of latents to mean 0 and variance 1 by statistics of the training, as FLUX.2 has its latents.

    Attributes:
      epsilon: added to the variances.
    """

    epsilon: float

    @nn.compact
    def __call__(self, z: Array, back: bool = False) -> Array:
        """z float32 [B,h,w,C] -> the same, normalized; back: as it was before."""
        mean = self.param("bn.running_mean", nn.initializers.zeros, z.shape[-1:])
        deviation = jnp.sqrt(self.param("bn.running_var", nn.initializers.ones, z.shape[-1:]) + self.epsilon)
        return z * deviation + mean if back else (z - mean) / deviation


def _middle(side: str, x: Array, shape: Shape) -> Array:
    """The lowest resolution; to be called inside of a network."""
    def resnet(number: int) -> Resnet:
        return Resnet(x.shape[-1], shape.groups, EPSILON, shape.dtype, name=f"{side}.mid_block.resnets.{number}")

    x = resnet(0)(x)
    if shape.attention:
        name = f"{side}.mid_block.attentions.0"
        y = GroupNorm(shape.groups, EPSILON, shape.dtype, name=f"{name}.group_norm")(x)
        y = y.reshape(len(x), -1, x.shape[-1])
        x = x + Attention(1, shape.dtype, bias=True, name=name)(y).reshape(x.shape)
    return resnet(1)(x)


def _last(side: str, x: Array, features: int, shape: Shape) -> Array:
    """What stands behind the last block; to be called inside of a network."""
    x = nn.silu(GroupNorm(shape.groups, EPSILON, shape.dtype, name=f"{side}.conv_norm_out")(x))
    return Conv(features, 3, padding=1, dtype=shape.dtype, name=f"{side}.conv_out")(x)
