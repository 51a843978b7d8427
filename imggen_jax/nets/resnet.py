"""The residual translator of Johnson et al. (arXiv 1603.08155) and CycleGAN (arXiv 1703.10593, appendix 7.2).

Published: width 64, two halvings, nine blocks (six below 256 pixels), instance normalization, mirrored borders. Here
pictures grow again by a resize and a convolution instead of a transposed convolution, which leaves checkerboards.
"""
from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv
from imggen_jax.nets.translating import HE, check_sides, double, normalize, reflect

Array = jax.Array


class Block(nn.Module):
    """x + a residual of two 3x3 convolutions; [B,H,W,C] -> the same."""

    norm: str
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = nn.relu(normalize(self._conv(x), self.norm))
        return x + normalize(self._conv(y), self.norm)

    def _conv(self, x: Array) -> Array:
        return Conv(x.shape[-1], 3, padding="VALID", use_bias=self.norm == "none", dtype=self.dtype,
                    kernel_init=HE)(reflect(x, 1))


class Translator(nn.Module):
    """A picture to a picture of the same size, whose sides are multiples of 2^halvings.

    Attributes:
      channels: of the picture made.
      width: channels at full resolution; they double with every halving.
      halvings: how often the sides are halved before the blocks.
      blocks: residual blocks at the lowest resolution.
      norm: "instance" or "none".
      dtype: of the computations; the picture is float32.

    Raises:
      ValueError: an unknown norm, or sides that do not fit.
    """

    channels: int
    width: int
    halvings: int
    blocks: int
    dtype: Any
    norm: str = "instance"

    def setup(self):
        width, last = self.width, self.width << self.halvings
        # What a normalization subtracts needs no bias.
        conv = functools.partial(Conv, use_bias=self.norm == "none", dtype=self.dtype, kernel_init=HE)
        self.stem = conv(width, 7, padding="VALID")
        self.down = [conv(2 * width << i, 3, 2) for i in range(self.halvings)]
        self.body = [Block(self.norm, self.dtype) for _ in range(self.blocks)]
        self.up = [conv(last >> i + 1, 3) for i in range(self.halvings)]
        self.paint = Conv(self.channels, 7, padding="VALID", dtype=self.dtype,
                          kernel_init=nn.initializers.lecun_normal())

    def maps(self, x: Array) -> tuple[Array, ...]:
        """Feature maps of a picture float [B,H,W,C], those that CUT compares (arXiv 2007.15651, appendix C.2): the
        picture itself, each halving before it is normalized, the first block and the middle one."""
        return self._encode(x)[1]

    def _encode(self, x: Array) -> tuple[Array, tuple[Array, ...]]:
        check_sides("resnet", x, 1 << self.halvings, 4 << self.halvings)
        x = x.astype(self.dtype)
        found, x = [x], nn.relu(normalize(self.stem(reflect(x, 3)), self.norm))
        for conv in self.down:
            found.append(conv(x))
            x = nn.relu(normalize(found[-1], self.norm))
        for number, block in enumerate(self.body, start=1):
            x = block(x)
            if number in (1, (self.blocks + 1) // 2):
                found.append(x)
        return x, tuple(found)

    def __call__(self, x: Array) -> Array:
        """float [B,H,W,C] -> float32 [B,H,W,channels] in (-1,1)."""
        x, _ = self._encode(x)
        for conv in self.up:
            x = nn.relu(normalize(conv(double(x)), self.norm))
        return jnp.tanh(self.paint(reflect(x, 3)).astype(jnp.float32))
