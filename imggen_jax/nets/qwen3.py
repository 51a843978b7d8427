"""Qwen3 (arXiv 2505.09388) as a text encoder: what stands between its layers, which FLUX.2 klein reads.

Parameters are named as in the weight files that transformers writes.
"""
from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.attention import attend
from imggen_jax.nets.latent_blocks import RmsNorm
from imggen_jax.nets.transformer import turn, wide

Array = jax.Array


class Qwen3(nn.Module):
    """Tokens to vectors; each token sees those before it. Layers behind the last one that is read are not there.

    Attributes:
      words: tokens are in [0, words).
      width: of the vectors between layers.
      inner: of the dense layers.
      heads: of the queries.
      fewer: heads of keys and values; divides `heads`.
      head: channels of a head.
      theta: base of the frequencies by which places turn queries and keys.
      epsilon: of the normalization.
      read: numbers of the layers, from 1, whose results are read.
      dtype: of the computations.
    """

    words: int
    width: int
    inner: int
    heads: int
    fewer: int
    head: int
    theta: float
    epsilon: float
    read: tuple[int, ...]
    dtype: Any

    @nn.compact
    def __call__(self, text: Array, lengths: Array) -> Array:
        """int32 [B,T], filled up behind; lengths int32 [B] without that -> [B,T,len(read) width]."""
        table = self.param("model.embed_tokens.embedding", nn.initializers.normal(0.02), (self.words, self.width))
        x, found = jnp.take(table, text, axis=0).astype(self.dtype), {}
        frequencies = self.theta ** -(jnp.arange(0, self.head, 2) / self.head)
        angles = jnp.arange(text.shape[1], dtype=float)[:, None] * frequencies
        for i in range(max(self.read)):
            x = self._layer(x, angles, lengths, f"model.layers.{i}")
            found[i + 1] = x
        return jnp.concatenate([found[number] for number in self.read], axis=-1)

    def _layer(self, x: Array, angles: Array, lengths: Array, place: str) -> Array:
        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, use_bias=False, dtype=self.dtype, name=f"{place}.{name}")

        def norm(name: str) -> RmsNorm:
            return RmsNorm(self.epsilon, name=f"{place}.{name}")

        def turned(y: Array, name: str) -> Array:
            return turn(wide(norm(f"self_attn.{name}")(y)), angles, halves=True).astype(self.dtype)

        y = norm("input_layernorm")(x)
        q, k, v = (dense(heads * self.head, f"self_attn.{name}_proj")(y).reshape(*y.shape[:2], heads, self.head)
                   for name, heads in (("q", self.heads), ("k", self.fewer), ("v", self.fewer)))
        y = attend(turned(q, "q_norm"), turned(k, "k_norm"), v, causal=True, lengths=lengths)
        x = x + dense(self.width, "self_attn.o_proj")(y.reshape(*y.shape[:2], -1))
        y = norm("post_attention_layernorm")(x)
        y = nn.silu(dense(self.inner, "mlp.gate_proj")(y)) * dense(self.inner, "mlp.up_proj")(y)
        return x + dense(self.width, "mlp.down_proj")(y)
