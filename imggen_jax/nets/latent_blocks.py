"""The blocks of latent diffusion's networks (arXiv 2112.10752), which its U-Nets and its autoencoders share.

Parameters are named as in the weight files that diffusers writes: a module's name may hold dots, and the path to a
parameter, joined by dots, is the name of its tensor.
"""
from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.attention import attend
from imggen_jax.nets.conv import Conv
from imggen_jax.nets.transformer import rms_norm, wide

Array = jax.Array


class GroupNorm(nn.Module):
    """Channels in groups, each to mean 0 and variance 1 over the picture (arXiv 1803.08494); computed in float32.

    Attributes:
      groups: divides the channels.
      epsilon: added to the variance.
      dtype: of the result.

    Raises:
      ValueError: channels that the groups do not divide.
    """

    groups: int
    epsilon: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """float [B,H,W,C] -> [B,H,W,C]."""
        channels = x.shape[-1]
        if channels % self.groups:
            raise ValueError(f"{self.groups} groups do not divide {channels} channels; check norm_num_groups")
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))

        def over_groups(y: Array) -> Array:  # the mean over the picture and a group, for each channel
            each = jnp.mean(y, axis=(1, 2)).reshape(len(y), self.groups, -1)
            return jnp.repeat(jnp.mean(each, axis=-1), channels // self.groups, axis=-1)[:, None, None]

        centered = wide(x) - over_groups(wide(x))
        gain = jax.lax.rsqrt(over_groups(jnp.square(centered)) + self.epsilon) * wide(scale)
        return (centered * gain + wide(bias)).astype(self.dtype)


def normalized(x: Array, epsilon: float) -> Array:
    """Each vector along the last axis to mean 0 and variance 1: any dtype -> float32."""
    centered = wide(x) - jnp.mean(wide(x), axis=-1, keepdims=True)
    return centered * jax.lax.rsqrt(jnp.mean(jnp.square(centered), axis=-1, keepdims=True) + epsilon)


class LayerNorm(nn.Module):
    """Each vector to mean 0 and variance 1 (arXiv 1607.06450); computed in float32."""

    epsilon: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """float [...,C] -> [...,C]."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return (normalized(x, self.epsilon) * wide(scale) + wide(bias)).astype(self.dtype)


class RmsNorm(nn.Module):
    """Each vector to mean square 1 (arXiv 1910.07467), times a learned scale."""

    epsilon: float

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """float [...,C] -> the same dtype."""
        return rms_norm(x, self.epsilon) * self.param("scale", nn.initializers.ones, x.shape[-1:]).astype(x.dtype)


class Resnet(nn.Module):
    """x + f(x), f two 3x3 convolutions, each after normalization and SiLU; a time's vector is added between them.

    Attributes:
      features: channels of the result.
      groups, epsilon: of `GroupNorm`.
      dtype: of the computations.
    """

    features: int
    groups: int
    epsilon: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, time: Array | None = None) -> Array:
        """x float [B,H,W,C], time float [B,T] or None -> [B,H,W,features]."""
        y = nn.silu(GroupNorm(self.groups, self.epsilon, self.dtype, name="norm1")(x))
        y = Conv(self.features, 3, padding=1, dtype=self.dtype, name="conv1")(y)
        if time is not None:
            y = y + nn.Dense(self.features, dtype=self.dtype, name="time_emb_proj")(nn.silu(time))[:, None, None]
        y = nn.silu(GroupNorm(self.groups, self.epsilon, self.dtype, name="norm2")(y))
        y = Conv(self.features, 3, padding=1, dtype=self.dtype, name="conv2")(y)
        if x.shape[-1] != self.features:
            x = Conv(self.features, 1, padding=0, dtype=self.dtype, name="conv_shortcut")(x)
        return x + y


class Attention(nn.Module):
    """What each place takes from all places, or from each vector of a text.

    Attributes:
      heads: divides the width of x.
      bias: whether queries, keys and values have one.
      dtype: of the computations.
    """

    heads: int
    dtype: Any
    bias: bool = False

    @nn.compact
    def __call__(self, x: Array, text: Array | None = None) -> Array:
        """x float [B,N,C], text float [B,M,any width] or None, for x itself -> [B,N,C]."""
        width, seen = x.shape[-1], x if text is None else text
        if width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {width}; check attention_head_dim, which is "
                             "the number of heads")
        q, k, v = (nn.Dense(width, use_bias=self.bias, dtype=self.dtype, name=f"to_{name}")(each).reshape(
            *each.shape[:2], self.heads, width // self.heads) for name, each in (("q", x), ("k", seen), ("v", seen)))
        return nn.Dense(width, dtype=self.dtype, name="to_out.0")(attend(q, k, v).reshape(x.shape))


class TransformerBlock(nn.Module):
    """Attention to the picture, attention to the text, and dense layers with a gate (GEGLU, arXiv 2002.05202)."""

    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, text: Array) -> Array:
        """x float [B,N,C], text float [B,M,any width] -> [B,N,C]."""
        def norm(number: int, x: Array) -> Array:
            return LayerNorm(1e-5, self.dtype, name=f"norm{number}")(x)

        x = x + Attention(self.heads, self.dtype, name="attn1")(norm(1, x))
        x = x + Attention(self.heads, self.dtype, name="attn2")(norm(2, x), text)
        both = nn.Dense(8 * x.shape[-1], dtype=self.dtype, name="ff.net.0.proj")(norm(3, x))
        y, gate = jnp.split(both, 2, axis=-1)
        return x + nn.Dense(x.shape[-1], dtype=self.dtype, name="ff.net.2")(y * nn.gelu(gate, approximate=False))


class Transformer(nn.Module):
    """Places of a map that attend to one another and to a text, between two dense layers; added to the map.

    Attributes:
      layers: how many blocks.
      heads: of their attention; divides the channels.
      groups: of the normalization before them.
      dtype: of the computations.
    """

    layers: int
    heads: int
    groups: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, text: Array) -> Array:
        """x float [B,H,W,C], text float [B,M,any width] -> [B,H,W,C]."""
        channels = x.shape[-1]
        y = GroupNorm(self.groups, 1e-6, self.dtype, name="norm")(x).reshape(len(x), -1, channels)
        y = nn.Dense(channels, dtype=self.dtype, name="proj_in")(y)
        for i in range(self.layers):
            y = TransformerBlock(self.heads, self.dtype, name=f"transformer_blocks.{i}")(y, text)
        return x + nn.Dense(channels, dtype=self.dtype, name="proj_out")(y).reshape(x.shape)


def sinusoids(x: Array, channels: int, *, sines_first: bool = False, shift: int = 0) -> Array:
    """Sines and cosines of numbers (arXiv 1706.03762, section 3.5): float [n] -> float32 [n,channels].

    Args:
      x: such as times.
      channels: even.
      sines_first: whether sines stand before cosines.
      shift: of the frequencies: what their exponents are divided by is so much less than half the channels.
    """
    half = channels // 2
    frequencies = jnp.exp(-math.log(10000.0) * jnp.arange(half) / (half - shift))
    angles = wide(x)[:, None] * frequencies
    both = [jnp.sin(angles), jnp.cos(angles)]
    return jnp.concatenate(both if sines_first else both[::-1], axis=-1)


def doubled(x: Array, height: int, width: int) -> Array:
    """Each pixel of [B,h,w,C] as 2x2, cut to [B,height,width,C]."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)[:, :height, :width]
