"""SPAN, the swift parameter-free attention network (Wan et al., arXiv 2311.12770)."""
from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv
from imggen_jax.nets.pixels import shuffle

Array = jax.Array

BLOCKS = 6
MEAN = (0.4488, 0.4371, 0.4040)  # of the pictures that it was trained on, DIV2K
RANGE = 255.0


class Block(nn.Module):
    """x -> ((y + x) (sigmoid(y) - 1/2), the first layer's activation), with y three convolutions of x (eq. 5 to 7)."""

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        width = x.shape[-1]
        first = nn.silu(Conv(width, name="conv_1")(x))
        y = nn.silu(Conv(width, name="conv_2")(first))
        y = Conv(width, name="conv_3")(y)
        return (y + x) * (nn.sigmoid(y) - 0.5), first


class Span(nn.Module):
    """float32 [B,H,W,C] in [0,1] -> [B,sH,sW,channels], about [0,1].

    Attributes:
      channels: of the result.
      width: of every layer.
      scale: s.
      normalized: whether the input's mean is taken away and its range made 255.
    """

    channels: int
    width: int = 48
    scale: int = 4
    normalized: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.normalized:
            x = (x - jnp.array(MEAN)) * RANGE
        x = first = Conv(self.width, name="conv_first")(x)
        outputs, inside = [], x
        for i in range(1, BLOCKS + 1):
            x, inside = Block(name=f"block_{i}")(x)
            outputs.append(x)
        x = Conv(self.width, name="conv_body")(x)
        x = Conv(self.width, 1, name="conv_join")(jnp.concatenate([first, x, outputs[0], inside], axis=-1))
        return shuffle(Conv(self.channels * self.scale**2, name="conv_last")(x), self.scale)
