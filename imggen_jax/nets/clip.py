"""CLIP's text encoder (arXiv 2103.00020), which Stable Diffusion reads; and OpenCLIP's, of which SDXL reads two."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.attention import attend
from imggen_jax.nets.latent_blocks import LayerNorm

Array = jax.Array


def _quick_gelu(x: Array) -> Array:
    return x * jax.nn.sigmoid(1.702 * x)


def _gelu(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=False)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"quick_gelu": _quick_gelu, "gelu": _gelu}


class Read(NamedTuple):
    """What is known of a text."""

    last: Array       # float [B,T,width], normalized
    hidden: tuple[Array, ...]  # float [B,T,width] before each layer and after the last one, not normalized
    vector: Array     # float [B,projection or width]: of the whole text


class ClipText(nn.Module):
    """Tokens to vectors; each token sees those before it.

    Attributes:
      words: tokens are in [0, words).
      places: the longest text, in tokens.
      width: of the vectors.
      inner: of the dense layers between.
      layers: how many.
      heads: of the attention; divides width.
      activation: a name of `ACTIVATIONS`.
      epsilon: of the normalization.
      projection: of the text's vector; 0: it is not projected.
      end: the token whose vector is the text's; None: the greatest one.
      dtype: of the computations.
    """

    words: int
    places: int
    width: int
    inner: int
    layers: int
    heads: int
    activation: str
    epsilon: float
    projection: int
    end: int | None
    dtype: Any

    @nn.compact
    def __call__(self, text: Array) -> Read:
        """int32 [B,T], T at most `places`."""
        def embedded(name: str, number: int) -> Array:
            init = nn.initializers.normal(0.02)
            return self.param(f"text_model.embeddings.{name}.embedding", init, (number, self.width))

        x = jnp.take(embedded("token_embedding", self.words), text, axis=0)
        x = (x + embedded("position_embedding", self.places)[:text.shape[1]]).astype(self.dtype)
        hidden = [x]
        for i in range(self.layers):
            x = self._layer(x, f"text_model.encoder.layers.{i}")
            hidden.append(x)
        last = LayerNorm(self.epsilon, self.dtype, name="text_model.final_layer_norm")(x)
        place = jnp.argmax(text if self.end is None else text == self.end, axis=1)
        vector = jnp.take_along_axis(last, place[:, None, None], axis=1)[:, 0]
        if self.projection:
            vector = nn.Dense(self.projection, use_bias=False, dtype=self.dtype, name="text_projection")(vector)
        return Read(last, tuple(hidden), vector)

    def _layer(self, x: Array, place: str) -> Array:
        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, dtype=self.dtype, name=f"{place}.{name}")

        y = LayerNorm(self.epsilon, self.dtype, name=f"{place}.layer_norm1")(x)
        q, k, v = (dense(self.width, f"self_attn.{each}_proj")(y).reshape(
            *y.shape[:2], self.heads, self.width // self.heads) for each in "qkv")
        x = x + dense(self.width, "self_attn.out_proj")(attend(q, k, v, causal=True).reshape(x.shape))
        y = LayerNorm(self.epsilon, self.dtype, name=f"{place}.layer_norm2")(x)
        return x + dense(self.width, "mlp.fc2")(ACTIVATIONS[self.activation](dense(self.inner, "mlp.fc1")(y)))
