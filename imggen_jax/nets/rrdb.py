"""ESRGAN's network of residual-in-residual dense blocks (Wang et al., arXiv 1809.00219, fig. 4), as in Real-ESRGAN."""
from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv
from imggen_jax.nets.pixels import fill_up, nearest, unshuffle

Array = jax.Array

SCALE = 0.2  # of every residual branch


def leaky(x: Array) -> Array:
    """max(x, 0.2 x)."""
    return nn.leaky_relu(x, 0.2)


class DenseBlock(nn.Module):
    """x + 0.2 f(x), with f five convolutions, each of which sees the results of all before it."""

    growth: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        seen = x
        for k in range(1, 5):
            seen = jnp.concatenate([seen, leaky(Conv(self.growth, name=f"conv_{k}")(seen))], axis=-1)
        return x + SCALE * Conv(x.shape[-1], name="conv_5")(seen)


class Block(nn.Module):
    """x + 0.2 f(x), with f three dense blocks; (x, nothing) -> (x, nothing), to be scanned over."""

    growth: int

    @nn.compact
    def __call__(self, x: Array, _: None) -> tuple[Array, None]:
        y = x
        for j in range(1, 4):
            y = DenseBlock(self.growth, name=f"dense_{j}")(y)
        return x + SCALE * y, None


class RRDBNet(nn.Module):
    """float32 [B,H,W,C] in [0,1] -> [B,sH,sW,channels], about [0,1], with s = 2^doublings / folded.

    Attributes:
      channels: of the result.
      width, growth, blocks: 64, 32, 23 of the published networks; 6 blocks of the one for drawings.
      doublings: number of times that the sides are doubled.
      folded: each block of so many by so many pixels enters as one pixel; a picture that does not divide is mirrored
        at its bottom and right, and the result cut.
    """

    channels: int
    width: int = 64
    growth: int = 32
    blocks: int = 23
    doublings: int = 2
    folded: int = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        height, width = (side * 2**self.doublings // self.folded for side in x.shape[1:3])
        x = unshuffle(fill_up(x, self.folded), self.folded)
        x = first = Conv(self.width, name="conv_first")(x)
        # One program for all blocks: compiled once, with the parameters of block i in row i.
        blocks = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=self.blocks)
        x, _ = blocks(self.growth, name="blocks")(x, None)
        x = first + Conv(self.width, name="conv_body")(x)
        for n in range(1, self.doublings + 1):
            x = leaky(Conv(self.width, name=f"conv_up{n}")(nearest(x, 2)))
        x = leaky(Conv(self.width, name="conv_hr")(x))
        return Conv(self.channels, name="conv_last")(x)[:, :height, :width]
