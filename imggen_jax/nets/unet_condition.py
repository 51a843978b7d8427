"""The U-Net of Stable Diffusion 1, 2 and XL (arXiv 2112.10752, 2307.01952): diffusers' UNet2DConditionModel."""
from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.conv import Conv
from imggen_jax.nets.latent_blocks import GroupNorm, Resnet, Transformer, doubled, sinusoids
from imggen_jax.nets.transformer import wide

Array = jax.Array


class UNetCondition(nn.Module):
    """Noisy latents, a time and a text to what the model was trained to predict.

    Attributes:
      out_channels: of the result.
      widths: channels at each resolution, from the highest down.
      blocks: residual blocks at each of them on the way down; on the way up there is one more.
      layers: transformer blocks after each residual block, for each resolution; 0: no attention there.
      heads: of the attention, for each resolution.
      groups, epsilon: of the group normalization.
      sines_first: whether sines stand before cosines in the time's waves.
      shift: of the frequencies of the waves.
      padding: of the convolutions that halve the sides.
      time_ids: 0, or for SDXL the waves of each number that is given beside the text's vector.
      guided: 0, or the waves of the guidance, of which models are told that learned what it does (arXiv 2310.04378).
      dtype: of the computations; the result is float32.
    """

    out_channels: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    layers: tuple[int, ...]
    middle_layers: int
    heads: tuple[int, ...]
    groups: int
    epsilon: float
    sines_first: bool
    shift: int
    padding: int
    time_ids: int
    guided: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, time: Array, text: Array, vector: Array | None = None, sizes: Array | None = None,
                 guidance: Array | None = None) -> Array:
        """Predict.

        Args:
          x: float [B,h,w,any channels]: latents, and for inpainting the mask and the masked picture's latents.
          time: float [B], of the training's steps, 0 to 999.
          text: float [B,M,any width].
          vector: float [B,any width], of the whole text; SDXL alone.
          sizes: float [B,6]: original size, corner of the crop, wanted size; SDXL alone.
          guidance: float [B]; of models that are `guided` alone.

        Returns:
          float32 [B,h,w,out_channels].
        """
        c, text = self._time(time, vector, sizes, guidance), text.astype(self.dtype)
        x = Conv(self.widths[0], 3, padding=1, dtype=self.dtype, name="conv_in")(x.astype(self.dtype))
        skips, last = [x], len(self.widths) - 1
        for level in range(len(self.widths)):
            for i in range(self.blocks[level]):
                x = self._step(x, c, text, level, f"down_blocks.{level}", i)
                skips.append(x)
            if level < last:
                x = Conv(self.widths[level], 3, strides=2, padding=self.padding, dtype=self.dtype,
                         name=f"down_blocks.{level}.downsamplers.0.conv")(x)
                skips.append(x)
        x = self._resnet(last, "mid_block.resnets.0")(x, c)
        x = self._transformer(last, self.middle_layers, "mid_block.attentions.0")(x, text)
        x = self._resnet(last, "mid_block.resnets.1")(x, c)
        for number, level in enumerate(reversed(range(len(self.widths)))):
            for i in range(self.blocks[level] + 1):
                x = jnp.concatenate([x, skips.pop()], axis=-1)
                x = self._step(x, c, text, level, f"up_blocks.{number}", i)
            if level:
                x = Conv(self.widths[level], 3, padding=1, dtype=self.dtype,
                         name=f"up_blocks.{number}.upsamplers.0.conv")(doubled(x, *skips[-1].shape[1:3]))
        x = nn.silu(GroupNorm(self.groups, self.epsilon, self.dtype, name="conv_norm_out")(x))
        return wide(Conv(self.out_channels, 3, padding=1, dtype=self.dtype, name="conv_out")(x))

    def _step(self, x: Array, c: Array, text: Array, level: int, place: str, number: int) -> Array:
        x = self._resnet(level, f"{place}.resnets.{number}")(x, c)
        if not self.layers[level]:
            return x
        return self._transformer(level, self.layers[level], f"{place}.attentions.{number}")(x, text)

    def _resnet(self, level: int, name: str) -> Resnet:
        return Resnet(self.widths[level], self.groups, self.epsilon, self.dtype, name=name)

    def _transformer(self, level: int, layers: int, name: str) -> Transformer:
        return Transformer(layers, self.heads[level], self.groups, self.dtype, name=name)

    def _time(self, time: Array, vector: Array | None, sizes: Array | None, guidance: Array | None) -> Array:
        """The time, and what else is known of the whole picture, as one vector float [B,4 widths[0]]."""
        def mlp(x: Array, name: str) -> Array:
            for number in (1, 2):
                x = nn.silu(x) if number == 2 else x
                x = nn.Dense(4 * self.widths[0], dtype=self.dtype, name=f"{name}.linear_{number}")(x)
            return x

        waves = self._waves(time, self.widths[0]).astype(self.dtype)
        if self.guided:
            assert guidance is not None, "a model that learned guidance is told of it"
            told = _of_guidance(guidance, self.guided).astype(self.dtype)
            waves = waves + nn.Dense(self.widths[0], use_bias=False, dtype=self.dtype,
                                     name="time_embedding.cond_proj")(told)
        c = mlp(waves, "time_embedding")
        if not self.time_ids:
            return c
        assert vector is not None and sizes is not None, "SDXL is told of the whole text and of sizes"
        known = self._waves(sizes.reshape(-1), self.time_ids).reshape(len(sizes), -1)
        return c + mlp(jnp.concatenate([vector.astype(self.dtype), known.astype(self.dtype)], -1), "add_embedding")

    def _waves(self, x: Array, channels: int) -> Array:
        return sinusoids(x, channels, sines_first=self.sines_first, shift=self.shift)


def _of_guidance(guidance: Array, channels: int) -> Array:
    """Sines and cosines of 1000 (guidance - 1): float [n] -> float32 [n,channels].

    As `sinusoids`, but for the order of the operations: angles of thousands show how frequencies are rounded.
    """
    frequencies = jnp.exp(jnp.arange(channels // 2) * -(math.log(10000.0) / (channels // 2 - 1)))
    angles = 1000 * wide(guidance - 1)[:, None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
