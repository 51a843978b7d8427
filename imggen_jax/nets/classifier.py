"""A small residual ConvNet that names what is in a picture; like network vae, it never convolves at full resolution.

Its last feature maps are not averaged but enter a dense layer whole: where a part lies says what it is (a moustache, a
fringe), and at these sizes the dense layer costs next to nothing.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv
from imggen_jax.nets.vae import Block, to_patches

Array = jax.Array

SIDES = (16, 256)  # least and largest side of a picture


class Classifier(nn.Module):
    """Image to features, and from them to the logits of each label.

    Attributes:
      size, channels: side and channels of the images.
      classes: number of values of each label.
      widths: channels at size/2, size/4, ...
      blocks: residual blocks at each of them.
      features: length of the feature vector.
      dtype: of the computations; what comes out is float32.

    Raises:
      ValueError: a size that the network does not have, or widths and blocks that do not go together.
    """

    size: int
    channels: int
    classes: tuple[int, ...]
    widths: Sequence[int]
    blocks: Sequence[int]
    features: int
    dtype: Any

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, tuple[Array, ...]]:
        """images float [B,size,size,channels] in [-1,1] -> (features [B,features], logits of each label [B,classes])"""
        self._check()
        x = images.astype(self.dtype)
        for level, (width, blocks) in enumerate(zip(self.widths, self.blocks)):
            x = Conv(width, 1 if level else 3, dtype=self.dtype)(to_patches(x))
            for _ in range(blocks):
                x = Block(self.dtype)(x)
        x = nn.Dense(self.features, dtype=self.dtype)(nn.silu(x).reshape(x.shape[0], -1))
        x = nn.silu(x).astype(jnp.float32)
        # Zeros: every class is as likely as the others at the start, and the first loss is the log of their number.
        heads = [nn.Dense(n, kernel_init=nn.initializers.zeros, name=f"head_{i}") for i, n in enumerate(self.classes)]
        return x, tuple(head(x) for head in heads)

    def _check(self) -> None:
        if not SIDES[0] <= self.size <= SIDES[1]:
            raise ValueError(f"network classifier cannot see {self.size}x{self.size} images; set data.size to "
                             f"{SIDES[0]} to {SIDES[1]}")
        if len(self.widths) != len(self.blocks) or not self.widths:
            raise ValueError(f"network classifier has {len(self.widths)} widths and {len(self.blocks)} numbers of "
                             "blocks; give one for each, and at least one")
