"""A compact fully convolutional trunk for super-resolution and restoration, fast on a CPU: 3x3 convolutions alone.

Residual blocks as in EDSR (arXiv 1707.02921), narrow. The last convolution starts at zero and adds to the bicubic
enlargement, so training starts from bicubic's figures.
"""
from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax import bicubic
from imggen_jax.nets.conv import Conv
from imggen_jax.nets.translating import check_sides

Array = jax.Array

# Blocks start close to the identity: EDSR scales what they add by 0.1.
SMALL = nn.initializers.variance_scaling(0.1, "fan_in", "truncated_normal")


class Block(nn.Module):
    """[B,H,W,C] -> the same: x + conv(silu(conv(x))), without normalization, which costs sharpness (EDSR)."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width = x.shape[-1]
        h = nn.silu(Conv(width, dtype=self.dtype)(x))
        return x + Conv(width, dtype=self.dtype, kernel_init=SMALL)(h)


class Restorer(nn.Module):
    """Float [B,h,w,C] in [-1,1] -> float32 [B,scale*h,scale*w,C], h and w multiples of `fold`; not clipped.

    `fold` pixels of each side become channels first (FFDNet, arXiv 1710.04026), so the trunk sees `fold` times as far
    and costs fold^2 times less: where the source has all its pixels, at scale 1, detail is not what is missing.
    Raises ValueError for other sides.
    """

    scale: int = 2
    width: int = 48
    blocks: int = 6
    fold: int = 1
    dtype: Any = jnp.float32

    @property
    def reach(self) -> int:
        """Source pixels to each side that an output pixel depends on."""
        return self.fold * (2 * self.blocks + 3) + self.fold - 1

    @nn.compact
    def __call__(self, source: Array) -> Array:
        channels = source.shape[-1]
        check_sides("restoration", source, self.fold, self.fold)
        x = space_to_depth(source.astype(self.dtype), self.fold)
        first = x = Conv(self.width, dtype=self.dtype)(x)
        for _ in range(self.blocks):
            x = Block(self.dtype)(x)
        x = Conv(self.width, dtype=self.dtype)(x) + first
        pixels = self.scale * self.fold
        x = Conv(channels * pixels**2, dtype=self.dtype, kernel_init=nn.initializers.zeros_init())(x)
        source = source.astype(jnp.float32)
        base = bicubic.enlarge(source, self.scale) if self.scale > 1 else source
        return base + depth_to_space(x.astype(jnp.float32), pixels)


def depth_to_space(x: Array, scale: int) -> Array:
    """Channels become pixels: [B,h,w,scale^2 C] -> [B,scale*h,scale*w,C] (Shi et al., arXiv 1609.05158)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, scale, scale, c // scale**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, scale * h, scale * w, c // scale**2)


def space_to_depth(x: Array, scale: int) -> Array:
    """Pixels become channels, the inverse of `depth_to_space`: [B,h,w,C] -> [B,h/scale,w/scale,scale^2 C]."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // scale, scale, w // scale, scale, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // scale, w // scale, c * scale**2)
