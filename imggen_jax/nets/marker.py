"""A network that hides bits in a picture: what it adds, made at a fraction of the picture's resolution.

As in HiDDeN (arXiv 1807.09937, section 3.1) the bits meet the picture's features at every place; unlike there, each
cell of a coarse grid has a layer of its own for them, so that a cell need not say all of them.
"""
from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv
from imggen_jax.nets.restoration import Block, depth_to_space, space_to_depth
from imggen_jax.nets.translating import check_sides

Array = jax.Array


class Marker(nn.Module):
    """A picture and bits to what is added to the picture.

    Attributes:
      width: channels.
      blocks: residual blocks.
      dtype: of the computations; what comes out is float32.
      fold: pixels of each side that become channels.
      cells: of each side of the grid for the bits; the picture's sides are multiples of fold * cells.

    Raises:
      ValueError: sides that are not.
    """

    width: int
    blocks: int
    dtype: Any
    fold: int = 4
    cells: int = 8

    @nn.compact
    def __call__(self, images: Array, bits: Array) -> Array:
        """images float [B,H,W,C] in [-1,1], bits float [B,N] of -1 and 1 -> float32 [B,H,W,C] in (-1,1)."""
        check_sides("marker", images, self.fold * self.cells, self.fold * self.cells)
        batch, channels = images.shape[0], images.shape[-1]
        x = Conv(self.width, dtype=self.dtype)(space_to_depth(images.astype(self.dtype), self.fold))
        message = nn.Dense(self.cells**2 * self.width, dtype=self.dtype)(bits)
        message = message.reshape(batch, self.cells, self.cells, self.width)
        rows, columns = (side // self.cells for side in x.shape[1:3])
        x = nn.silu(x + message.repeat(rows, axis=1).repeat(columns, axis=2))
        for _ in range(self.blocks):
            x = Block(self.dtype)(x)
        x = Conv(channels * self.fold**2, dtype=self.dtype)(x)
        return jnp.tanh(depth_to_space(x.astype(jnp.float32), self.fold))
