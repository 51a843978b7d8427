"""What a picture is to show, as vectors: a small transformer over the tokens of a text, and a table of classes.

Both are trained with what reads them. Token 0 is padding, and a text of padding alone is no text: then only the start
token is seen, and its vectors are those of "nothing was said", as guidance and dropped captions need.
"""
from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from imggen_jax.nets.transformer import Attention, Mlp, rms_norm

Array = jax.Array


class Said(NamedTuple):
    """What a network reads of a text, a label or both."""

    vector: Array         # float32 [B,width]: all of it
    tokens: Array | None  # float32 [B,T+1,width]: each token of the text, after a start token; None without a text
    seen: Array | None    # bool [B,T+1]: those that are not padding


class TextEncoder(nn.Module):
    """Tokens to vectors: embeddings of tokens and of their places, then layers of attention and dense layers.

    Attributes:
      words: tokens are in [0, words).
      width: of the vectors.
      layers: how many.
      heads: of the attention; divides width.
      dtype: of the computations; what comes out is float32.
    """

    words: int
    width: int
    layers: int
    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, text: Array) -> tuple[Array, Array, Array]:
        """int32 [B,T] -> (float32 [B,T+1,width], bool [B,T+1] of those that are not padding, the first float32
        [B,width])."""
        init = nn.initializers.normal(1.0)
        x = nn.Embed(self.words, self.width, embedding_init=init, name="words")(text)
        start = self.param("start", init, (1, 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(start, (len(text), 1, self.width)), x], axis=1)
        x = (x + 0.5 * self.param("places", init, x.shape[1:])).astype(self.dtype)
        seen = jnp.concatenate([jnp.ones((len(text), 1), bool), text > 0], axis=1)
        for i in range(self.layers):
            x = x + Attention(self.heads, self.dtype, name=f"attention_{i}")(rms_norm(x), mask=seen)
            x = x + Mlp(self.dtype, name=f"mlp_{i}")(rms_norm(x))
        x = rms_norm(x).astype(jnp.float32)
        # At the start nothing flows between tokens, so the mean stands beside the start token.
        share = seen[..., None] / jnp.sum(seen, axis=1)[:, None, None]
        pooled = nn.Dense(self.width, name="pooled")(jnp.concatenate([x[:, 0], jnp.sum(share * x, axis=1)], axis=-1))
        return x, seen, pooled


class Conditions(TextEncoder):
    """A label, a text or both to `Said`. All is `TextEncoder`'s, but for:

    Attributes:
      words: 0 without a text.
      classes: values of the label, or 0 without one; a label of `classes` or above is no label.
    """

    classes: int = 0

    @nn.compact
    def __call__(self, label: Array | None, text: Array | None) -> Said:
        """label int32 [B] or None, text int32 [B,T] or None."""
        vector, tokens, seen = jnp.float32(0), None, None
        if self.words:
            encoder = TextEncoder(self.words, self.width, self.layers, self.heads, self.dtype, name="text")
            assert text is not None, "words without a text"
            tokens, seen, vector = encoder(text)
        if self.classes:
            assert label is not None, "classes without a label"
            init = nn.initializers.normal(1.0)
            table = nn.Embed(self.classes, self.width, embedding_init=init, name="label")
            none = self.param("no_label", init, (self.width,))
            known = (label < self.classes)[:, None]
            vector = vector + jnp.where(known, table(jnp.minimum(label, self.classes - 1)), none)
        return Said(vector, tokens, seen)


def embedded(condition: Array | None, classes: int, features: int, init: nn.initializers.Initializer, dtype: Any,
             gain: float = 1.0) -> Array:
    """A condition as a layer's features, float [B,features]; to be called inside of a network.

    Args:
      condition: a label int32 [B], for which there is a table, or a vector float [B,width] of `Said`, which one dense
        layer takes.
      classes: values of the label.
      features: how many are wanted.
      init: of the table.
      dtype: of the computations.
      gain: standard deviation of the features of a vector, at the start.
    """
    assert condition is not None, "classes without a label"
    if classes:
        return nn.Embed(classes, features, dtype=dtype, embedding_init=init)(condition)
    kernel_init = nn.initializers.variance_scaling(gain**2, "fan_in", "normal")
    return nn.Dense(features, dtype=dtype, kernel_init=kernel_init, name="condition")(condition)
