"""The U-Net of Stable Diffusion (`nets/unet_condition.py`) as a network of flows: diffusers loads what `imggen export
--format diffusers` writes of such a run.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.dit import check_patch
from imggen_jax.nets.text_encoder import Said
from imggen_jax.nets.unet_condition import UNetCondition

Array = jax.Array
NOTHING = 8  # width of the vector of zeros that is read where nothing is said


class Denoiser(nn.Module):
    """A noisy picture, or latents, to one of the same size, whose sides are multiples of 2^(len(widths) - 1).

    Attributes:
      channels: of the picture.
      widths: channels at each resolution, from the highest down; each but the last halves the sides.
      blocks: residual blocks at each of them on the way down; on the way up there is one more.
      layers: transformer blocks after each residual block, for each resolution; 0: no attention there.
      heads: of the attention; divides the widths.
      groups: of the group normalization; divides the widths.
      dtype: of the computations; the picture is float32.

    Raises:
      ValueError: sides that do not fit, or widths and layers that do not go together.
    """

    channels: int
    dtype: Any
    widths: Sequence[int] = (64, 128)
    blocks: int = 1
    layers: Sequence[int] = (0, 1)
    heads: int = 4
    groups: int = 8

    @nn.compact
    def __call__(self, x: Array, time: Array, said: Said | None) -> Array:
        """x float [B,H,W,channels], time float [B] in [0,1] -> float32 [B,H,W,channels]."""
        if len(self.widths) != len(self.layers) or not self.widths:
            raise ValueError(f"network unet_latent has {len(self.widths)} widths and {len(self.layers)} numbers of "
                             "layers; give one for each, and at least one")
        check_patch("unet_latent", x, 1 << len(self.widths) - 1)
        text = jnp.zeros((len(x), 1, NOTHING)) if said is None else (
            said.vector[:, None] if said.tokens is None else said.tokens)
        levels = len(self.widths)
        net = UNetCondition(
            self.channels, widths=tuple(self.widths), blocks=(self.blocks,) * levels, layers=tuple(self.layers),
            middle_layers=max(1, self.layers[-1]), heads=(self.heads,) * levels, groups=self.groups, epsilon=1e-5,
            sines_first=False, shift=0, padding=1, time_ids=0, guided=0, dtype=self.dtype, name="unet")
        return -net(x, 1000 * (1 - time), text)  # there, time is that of noise, and the velocity leads to it
