"""A small U-Net for flows: convolutions in which time and text modulate every block, and attention at the lowest
resolution, where pictures read a text's tokens (Stable Diffusion, arXiv 2112.10752, made small).

It enters and leaves in patches, as network vae does, so that nothing is convolved at full resolution.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv
from imggen_jax.nets.dit import Modulation, check_patch
from imggen_jax.nets.pixels import shuffle, unshuffle
from imggen_jax.nets.text_encoder import Said
from imggen_jax.nets.transformer import Attention, Mlp, grid, rms_norm

Array = jax.Array


class Block(nn.Module):
    """x + f(x), f two 3x3 convolutions of which a vector scales and shifts what enters; zero at the start."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Array, c: Array) -> Array:
        """x float [B,H,W,C], c float [B,any width]."""
        width = x.shape[-1]
        scale, shift = jnp.split(nn.Dense(2 * width, dtype=self.dtype, name="modulation")(c)[:, None, None], 2, -1)
        y = Conv(width, 3, dtype=self.dtype, name="conv1")(nn.silu(rms_norm(x)))
        y = nn.silu(rms_norm(y) * (1 + scale) + shift)
        return x + Conv(width, 3, dtype=self.dtype, kernel_init=nn.initializers.zeros, name="conv2")(y)


class Reading(nn.Module):
    """A map whose places attend to one another and to the tokens of a text, then dense layers."""

    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, said: Said | None) -> Array:
        """x float [B,H,W,C] -> the same."""
        y = x.reshape(x.shape[0], -1, x.shape[-1])
        tokens, seen = (None, None) if said is None else (said.tokens, said.seen)
        y = y + Attention(self.heads, self.dtype, name="attention")(rms_norm(y), tokens, seen, grid(*x.shape[1:3]))
        return (y + Mlp(self.dtype, name="mlp")(rms_norm(y))).reshape(x.shape)


class Denoiser(nn.Module):
    """A noisy picture to one of the same size, whose sides are multiples of patch 2^(len(widths) - 1).

    Attributes:
      channels: of the picture.
      patch: side in pixels of what the first convolution takes as one pixel.
      widths: channels at each resolution, from the highest down; the last one a multiple of 4 heads.
      blocks: residual blocks at each of them, on the way down and again on the way up.
      heads: of the attention at the lowest resolution.
      dtype: of the computations; the picture is float32.

    Raises:
      ValueError: sides that do not fit, or widths and blocks that do not go together.
    """

    channels: int
    dtype: Any
    patch: int = 2
    widths: Sequence[int] = (64, 128)
    blocks: Sequence[int] = (1, 2)
    heads: int = 4

    @nn.compact
    def __call__(self, x: Array, time: Array, said: Said | None) -> Array:
        """x float [B,H,W,channels], time float [B] in [0,1] -> float32 [B,H,W,channels], zero at the start."""
        if len(self.widths) != len(self.blocks) or not self.widths:
            raise ValueError(f"network unet_flow has {len(self.widths)} widths and {len(self.blocks)} numbers of "
                             "blocks; give one for each, and at least one")
        check_patch("unet_flow", x, self.patch << len(self.widths) - 1)
        c = Modulation(self.widths[-1], self.dtype, name="modulation")(time, said)
        x = Conv(self.widths[0], 3, dtype=self.dtype, name="enter")(unshuffle(x.astype(self.dtype), self.patch))
        sides = []
        for level, (width, blocks) in enumerate(zip(self.widths, self.blocks)):
            if level:
                sides.append(x)
                x = Conv(width, 1, dtype=self.dtype, name=f"down_{level}")(unshuffle(x, 2))
            for i in range(blocks):
                x = Block(self.dtype, name=f"in_{level}_{i}")(x, c)
        x = Reading(self.heads, self.dtype, name="reading")(x, said)
        for level in reversed(range(len(self.widths))):
            for i in range(self.blocks[level]):
                x = Block(self.dtype, name=f"out_{level}_{i}")(x, c)
            if level:
                x = shuffle(Conv(4 * self.widths[level - 1], 1, dtype=self.dtype, name=f"up_{level}")(x), 2)
                both = jnp.concatenate([x, sides.pop()], axis=-1)
                x = Conv(self.widths[level - 1], 1, dtype=self.dtype, name=f"join_{level}")(both)
        x = Conv(self.patch**2 * self.channels, 3, dtype=self.dtype, kernel_init=nn.initializers.zeros,
                 name="leave")(nn.silu(rms_norm(x)))
        return shuffle(x, self.patch).astype(jnp.float32)
