"""An autoencoder whose latents are a map: what is where in a picture stays where it is, at an eighth of the side, say.

As network vae it never convolves at full resolution: pictures enter and leave in 2x2 patches, each change of resolution
is a matmul over such patches, and residual branches end in zeros at the start.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv
from imggen_jax.nets.pixels import shuffle, unshuffle
from imggen_jax.nets.transformer import rms_norm
from imggen_jax.nets.translating import check_sides
from imggen_jax.nets.vae import Block

Array = jax.Array

WIDEST = 10.0  # of the log-variances, either way


class Encoder(nn.Module):
    """Picture to the mean and log-variance of each latent; sides are multiples of 2^len(widths).

    Attributes:
      latents: channels of the map.
      widths: channels at half the side, a quarter, ...; the last is that of the latents' map.
      blocks: residual blocks at each of them.
      dtype: of the computations; the result is float32.
    """

    latents: int
    widths: Sequence[int]
    blocks: Sequence[int]
    dtype: Any

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array]:
        """images float [B,H,W,C] in [-1,1] -> two float32 [B,h,w,latents]."""
        check(self.widths, self.blocks)
        check_sides("spatial", images, 1 << len(self.widths), 1 << len(self.widths))
        x = images.astype(self.dtype)
        for level, (width, blocks) in enumerate(zip(self.widths, self.blocks)):
            x = Conv(width, 1 if level else 3, dtype=self.dtype, name=f"down_{level}")(unshuffle(x, 2))
            for i in range(blocks):
                x = Block(self.dtype, name=f"block_{level}_{i}")(x)
        x = Conv(2 * self.latents, 3, dtype=self.dtype, name="latents")(nn.silu(rms_norm(x)))
        mean, log_variance = jnp.split(x.astype(jnp.float32), 2, axis=-1)
        return mean, jnp.clip(log_variance - 4.0, -WIDEST, WIDEST)  # little noise at the start, so that maps say much


class Decoder(nn.Module):
    """Map of latents to a picture: the encoder backwards.

    Attributes:
      channels: of the picture.
      The others are `Encoder`'s, `widths` and `blocks` in the same order.
    """

    channels: int
    widths: Sequence[int]
    blocks: Sequence[int]
    dtype: Any

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """z float [B,h,w,latents] -> float32 [B,H,W,channels], unbounded."""
        check(self.widths, self.blocks)
        x = Conv(self.widths[-1], 3, dtype=self.dtype, name="enter")(z)
        for level in reversed(range(len(self.widths))):
            for i in range(self.blocks[level]):
                x = Block(self.dtype, name=f"block_{level}_{i}")(x)
            if level:
                x = shuffle(Conv(4 * self.widths[level - 1], 1, dtype=self.dtype, name=f"up_{level}")(x), 2)
        x = Conv(4 * self.channels, 3, dtype=self.dtype, kernel_init=nn.initializers.zeros, name="leave")(nn.silu(x))
        return shuffle(x, 2).astype(jnp.float32)


def check(widths: Sequence[int], blocks: Sequence[int]) -> None:
    """Raises ValueError for lists of different lengths, or none."""
    if len(widths) != len(blocks) or not widths:
        raise ValueError(f"network spatial has {len(widths)} widths and {len(blocks)} numbers of blocks; give one for "
                         "each, and at least one")
