"""The U-Net translator of pix2pix (arXiv 1611.07004, appendix 6.1): down to few pixels and up, with the maps of the way
down beside those of the way up.

Unlike there, the first maps have the picture's own resolution, so that single pixels can be kept, and pictures grow by
a resize and a convolution. The dropout that stands there for noise is left out: that paper found it to change little.
"""
from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv
from imggen_jax.nets.translating import HE, check_sides, double, normalize

Array = jax.Array


class Translator(nn.Module):
    """A picture to a picture of the same size, whose sides are multiples of 2^(len(widths) - 1).

    Attributes:
      channels: of the picture made.
      widths: channels at each resolution, from the picture's own down; each has half the side of the one before.
      norm: "instance" or "none".
      dtype: of the computations; the picture is float32.

    Raises:
      ValueError: no widths, an unknown norm, or sides that do not fit.
    """

    channels: int
    widths: Sequence[int]
    dtype: Any
    norm: str = "instance"

    def setup(self):
        if not self.widths:
            raise ValueError("network unet needs one width at least")
        # What a normalization subtracts needs no bias.
        conv = functools.partial(Conv, use_bias=self.norm == "none", dtype=self.dtype, kernel_init=HE)
        self.stem = Conv(self.widths[0], 3, dtype=self.dtype, kernel_init=HE)
        self.down = [conv(width, 4, 2) for width in self.widths[1:]]
        self.up = [conv(width, 3) for width in self.widths[-2::-1]]
        self.paint = Conv(self.channels, 3, dtype=self.dtype, kernel_init=nn.initializers.lecun_normal())

    def maps(self, x: Array) -> tuple[Array, ...]:
        """Feature maps of a picture float [B,H,W,C]: one at each resolution, the last being the lowest."""
        check_sides("unet", x, 1 << len(self.widths) - 1, 1)
        found = [nn.leaky_relu(self.stem(x.astype(self.dtype)), 0.2)]
        for conv in self.down:
            found.append(nn.leaky_relu(normalize(conv(found[-1]), self.norm), 0.2))
        return tuple(found)

    def __call__(self, x: Array) -> Array:
        """float [B,H,W,C] -> float32 [B,H,W,channels] in (-1,1)."""
        *sides, x = self.maps(x)
        for conv, side in zip(self.up, reversed(sides)):
            x = nn.relu(normalize(conv(jnp.concatenate([double(x), side], axis=-1)), self.norm))
        return jnp.tanh(self.paint(x).astype(jnp.float32))
