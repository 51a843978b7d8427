"""Real-ESRGAN's compact network, SRVGGNetCompact (Wang et al., github.com/xinntao/Real-ESRGAN, v0.2.5)."""
from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv
from imggen_jax.nets.pixels import nearest, shuffle

Array = jax.Array


class Compact(nn.Module):
    """float32 [B,H,W,C] in [0,1] -> [B,sH,sW,C], about [0,1]: 3x3 convolutions at the low resolution only.

    Attributes:
      width: of every layer.
      layers: convolutions between the first and the last one.
      scale: s.
    """

    width: int = 64
    layers: int = 16
    scale: int = 4

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = x
        for i in range(self.layers + 1):
            y = Conv(self.width, name=f"conv_{i}")(y)
            slope = self.param(f"slope_{i}", nn.initializers.constant(0.25), (self.width,))
            y = jnp.where(y < 0, slope * y, y)
        y = Conv(x.shape[-1] * self.scale**2, name="conv_last")(y)
        return shuffle(y, self.scale) + nearest(x, self.scale)
