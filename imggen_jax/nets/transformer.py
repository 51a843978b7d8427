"""The parts of the transformers: attention whose queries and keys are normalized, dense layers, places in a picture."""
from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array

LONGEST = 100.0  # of the wavelengths of `rotate`, over 2 pi, in patches


def wide(x: Array) -> Array:
    """Numbers as float32, or as float64 where they are."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def rms_norm(x: Array, epsilon: float = 1e-6) -> Array:
    """Each vector along the last axis to mean square 1 (arXiv 1910.07467), computed in float32; any dtype -> the same.
    """
    gain = jax.lax.rsqrt(jnp.mean(jnp.square(wide(x)), axis=-1, keepdims=True) + epsilon)
    return x * gain.astype(x.dtype)


class Attention(nn.Module):
    """What each of N places takes from all N places and, beside them, from a text's tokens, under one softmax.

    Queries and keys have length sqrt(width/heads) times a learned scale (QK-norm, arXiv 2302.05442), so that logits
    cannot grow without bound.

    Attributes:
      heads: divides the width of x; for places, 4 heads divide it.
      dtype: of the computations.

    Raises:
      ValueError: a width that the heads do not divide.
    """

    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, tokens: Array | None = None, mask: Array | None = None,
                 places: Array | None = None) -> Array:
        """Attend.

        Args:
          x: float [B,N,width].
          tokens: float [B,T,any width], or None for none; they are read, and do not attend.
          mask: bool, of the keys that may be seen: [B,T] with tokens, else [B,N]; None for all.
          places: float [N,2], the row and column of each x, for `rotate`; None for none.

        Returns:
          [B,N,width], zero at the start.
        """
        width = x.shape[-1]
        if width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {width}; choose a multiple")
        scales = [self.param(name, nn.initializers.ones, (width // self.heads,)) for name in ("q_scale", "k_scale")]

        def split(y: Array) -> Array:
            return y.reshape(*y.shape[:2], self.heads, width // self.heads)

        q, k, v = (split(each) for each in jnp.split(nn.Dense(3 * width, dtype=self.dtype, name="qkv")(x), 3, -1))
        q, k = (rms_norm(each) * scale.astype(each.dtype) for each, scale in zip((q, k), scales))
        if places is not None:
            q, k = rotate(q, places), rotate(k, places)
        seen = mask
        if tokens is not None:
            said = nn.Dense(2 * width, dtype=self.dtype, name="kv")(tokens)
            more_k, more_v = (split(each) for each in jnp.split(said, 2, -1))
            k = jnp.concatenate([rms_norm(more_k) * scales[1].astype(k.dtype), k], axis=1)
            v = jnp.concatenate([more_v, v], axis=1)
            if mask is not None:
                seen = jnp.concatenate([mask, jnp.ones(x.shape[:2], bool)], axis=1)
        logits = jnp.einsum("bnhd,bmhd->bhnm", q, k).astype(jnp.float32) / math.sqrt(width // self.heads)
        if seen is not None:
            logits = jnp.where(seen[:, None, None, :], logits, -1e9)
        weights = jax.nn.softmax(logits).astype(v.dtype)
        y = jnp.einsum("bhnm,bmhd->bnhd", weights, v).reshape(x.shape)
        return nn.Dense(width, dtype=self.dtype, kernel_init=nn.initializers.zeros, name="out")(y)


class Mlp(nn.Module):
    """Two dense layers with `ratio` times the width between them, the same for every place; zero at the start."""

    dtype: Any
    ratio: int = 4

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width = x.shape[-1]
        y = nn.silu(nn.Dense(self.ratio * width, dtype=self.dtype, name="fc1")(x))
        return nn.Dense(width, dtype=self.dtype, kernel_init=nn.initializers.zeros, name="fc2")(y)


def grid(height: int, width: int) -> Array:
    """Row and column of each place of a map, row by row: float32 [height width, 2]."""
    rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    return jnp.stack([rows.reshape(-1), columns.reshape(-1)], axis=-1).astype(jnp.float32)


def rotate(x: Array, places: Array) -> Array:
    """Turn queries or keys by angles that grow with their place, so that logits depend on differences of places alone.

    Rotary positions (arXiv 2104.09864) in two dimensions: the first half of the channels turns with the row, the second
    with the column.

    Args:
      x: float [B,N,heads,d], d a multiple of 4.
      places: float [N,2].

    Raises:
      ValueError: d is no multiple of 4.
    """
    if x.shape[-1] % 4:
        raise ValueError(f"a head has {x.shape[-1]} channels; choose width and heads so that 4 divides it")
    frequencies = LONGEST ** -jnp.linspace(0.0, 1.0, x.shape[-1] // 4)
    return turn(x, (places[:, :, None] * frequencies).reshape(len(places), -1))


def turn(x: Array, angles: Array, *, halves: bool = False) -> Array:
    """Pairs of channels turned by angles (arXiv 2104.09864, eq. 34).

    Args:
      x: float [B,N,heads,d], d even.
      angles: float [N,d/2].
      halves: whether channel i has its partner at i + d/2; else channels 2i and 2i + 1 are a pair.
    """
    cos, sin = (function(angles)[:, None].astype(x.dtype) for function in (jnp.cos, jnp.sin))
    a, b = jnp.split(x, 2, axis=-1) if halves else (x[..., 0::2], x[..., 1::2])
    both = a * cos - b * sin, a * sin + b * cos
    return jnp.concatenate(both, axis=-1) if halves else jnp.stack(both, axis=-1).reshape(x.shape)


def waves(x: Array, channels: int, shortest: float, longest: float) -> Array:
    """Cosines and sines of numbers: float [...] -> float32 [..., channels], of geometrically spaced wavelengths.

    As the positions of arXiv 1706.03762, section 3.5. channels is even.
    """
    ramp = jnp.linspace(0.0, 1.0, channels // 2)
    angles = x.astype(jnp.float32)[..., None] * (2 * math.pi / (shortest * (longest / shortest) ** ramp))
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
