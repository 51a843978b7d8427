"""A diffusion transformer: a picture's patches attend to one another and to a text (DiT, arXiv 2212.09748).

One modulation is shared by all blocks, each adding its own learned offset (PixArt-alpha, arXiv 2310.00426, section
2.3). Patches read the tokens of a text beside one another, under one softmax; the tokens are not changed by the blocks.
"""
from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.pixels import shuffle, unshuffle
from imggen_jax.nets.text_encoder import Said
from imggen_jax.nets.transformer import Attention, Mlp, grid, rms_norm, waves

Array = jax.Array

class Modulation(nn.Module):
    """Time, and what was said, as one vector: float32 [B,width]."""

    width: int
    dtype: Any

    @nn.compact
    def __call__(self, time: Array, said: Said | None) -> Array:
        """time float [B] in [0,1]; said: of the batch, or None."""
        x = nn.Dense(self.width, dtype=self.dtype, name="time1")(waves(time, 128, 0.01, 4.0))
        x = nn.Dense(self.width, dtype=self.dtype, name="time2")(nn.silu(x))
        if said is not None:
            x = x + nn.Dense(self.width, dtype=self.dtype, name="said")(said.vector)
        return nn.silu(x)


class Denoiser(nn.Module):
    """A noisy picture to one of the same size, of any size whose sides the patch divides.

    Attributes:
      channels: of the picture.
      patch: side of a patch in pixels.
      width: channels of a patch inside; a multiple of 4 heads.
      layers: blocks of attention and dense layers.
      heads: of the attention.
      dtype: of the computations; the picture is float32.

    Raises:
      ValueError: sides that the patch does not divide, or heads that do not divide the width.
    """

    channels: int
    dtype: Any
    patch: int = 4
    width: int = 192
    layers: int = 6
    heads: int = 3

    @nn.compact
    def __call__(self, x: Array, time: Array, said: Said | None) -> Array:
        """x float [B,H,W,channels], time float [B] in [0,1] -> float32 [B,H,W,channels], zero at the start."""
        check_patch("dit", x, self.patch)
        x = unshuffle(x.astype(self.dtype), self.patch)
        batch, height, width = x.shape[:3]
        places = grid(height, width)
        x = nn.Dense(self.width, dtype=self.dtype, name="patches")(x.reshape(batch, -1, x.shape[-1]))
        # Where in the picture, in shares of its sides: differences of places alone do not say what is the middle.
        where = waves((places + 0.5) / jnp.array([height, width]), 16, 0.1, 4.0).reshape(height * width, -1)
        x = x + nn.Dense(self.width, dtype=self.dtype, name="places")(where)
        c = Modulation(self.width, self.dtype, name="modulation")(time, said)
        shared = nn.Dense(6 * self.width, dtype=self.dtype, name="shared")(c).reshape(batch, 1, 6, self.width)
        tokens, seen = (None, None) if said is None else (said.tokens, said.seen)
        for i in range(self.layers):
            own = self.param(f"offset_{i}", nn.initializers.zeros, (6, self.width)).astype(self.dtype)
            shift1, scale1, gate1, shift2, scale2, gate2 = jnp.moveaxis(shared + own, 2, 0)
            y = Attention(self.heads, self.dtype, name=f"attention_{i}")(
                rms_norm(x) * (1 + scale1) + shift1, tokens, seen, places)
            x = x + (1 + gate1) * y
            x = x + (1 + gate2) * Mlp(self.dtype, name=f"mlp_{i}")(rms_norm(x) * (1 + scale2) + shift2)
        shift, scale = jnp.split(nn.Dense(2 * self.width, dtype=self.dtype, name="last")(c)[:, None], 2, axis=-1)
        x = rms_norm(x) * (1 + scale) + shift
        x = nn.Dense(self.patch**2 * self.channels, dtype=self.dtype, kernel_init=nn.initializers.zeros,
                     name="pixels")(x)
        return shuffle(x.reshape(batch, height, width, -1), self.patch).astype(jnp.float32)


def check_patch(network: str, x: Array, multiple: int) -> None:
    """Raises ValueError for pictures [B,H,W,C] whose sides are not multiples of a number."""
    height, width = x.shape[1:3]
    if height % multiple or width % multiple:
        raise ValueError(f"network {network} takes pictures, or latents, whose sides are multiples of {multiple}, not "
                         f"{width}x{height}; choose another game.network.patch, or set data.size")
