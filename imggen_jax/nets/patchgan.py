"""PatchGAN: a discriminator that judges every patch of a picture (pix2pix, arXiv 1611.07004, section 3.3).

Published: width 64, three halvings and two more convolutions, 4x4 all, which see patches of 70 pixels; instance
normalization in CycleGAN. Here the last two are 3x3, which have a middle, and patches are of 54 pixels. Where gradient
penalties keep the logits in bounds, it needs no normalization.
"""
from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv
from imggen_jax.nets.translating import HE, normalize

Array = jax.Array


class Discriminator(nn.Module):
    """A picture, of any size, to a map of logits, one for each patch that a place of the map sees.

    Attributes:
      width: channels of the first convolution; they double with each further one, up to eightfold.
      halvings: convolutions of stride 2; each doubles the patch.
      norm: "instance" or "none"; the first convolution has none.
      dtype: of the computations; the logits are float32.

    Raises:
      ValueError: an unknown norm.
    """

    width: int
    dtype: Any
    halvings: int = 3
    norm: str = "none"

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """images float [B,H,W,C] -> float32 [B,H/2^halvings,W/2^halvings]."""
        x = images
        for i in range(self.halvings + 1):
            # The first convolution is not normalized; what a normalization subtracts needs no bias.
            norm, last = self.norm if i else "none", i == self.halvings
            x = Conv(self.width * min(8, 1 << i), 3 if last else 4, 1 if last else 2, use_bias=norm == "none",
                     dtype=self.dtype, kernel_init=HE)(x)
            x = nn.leaky_relu(normalize(x, norm), 0.2)
        return Conv(1, 3, dtype=self.dtype)(x)[..., 0].astype(jnp.float32)
