"""Prompts as a U-Net of Stable Diffusion reads them, from the tokens and weights of their chunks."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax.data.clip_tokens import unpack
from imggen_jax.game import Array, PyTree
from imggen_jax.nets.clip import ClipText, Read
from imggen_jax.nets.transformer import wide


class Said(NamedTuple):
    """What a prompt says."""

    text: Array    # float32 [n,T,width]: each token, chunk after chunk
    vector: Array  # float32 [n,P]: the whole first chunk; of the last encoder


def say(nets: Sequence[ClipText], weights: Mapping[str, PyTree], tokens: Array, *, before_last: bool) -> Said:
    """A prompt through its encoders.

    Args:
      nets: one, or SDXL's two.
      weights: theirs, by `names`.
      tokens: int32 [n,T], as data/clip_tokens.py makes them.
      before_last: whether what stands before the last layer is read, as of SDXL, in place of what it gives.
    """
    said, vector = [], None
    for name, net, ids, bits in zip(names(nets), nets, *unpack(tokens, len(nets))):
        count, chunks, length = ids.shape
        read = cast(Read, net.apply({"params": weights[name]}, ids.reshape(-1, length)))
        hidden = wide(read.hidden[-2] if before_last else read.last)
        factors = jax.lax.bitcast_convert_type(bits, jnp.float32).reshape(count, chunks * length)
        said.append(_emphasized(hidden.reshape(count, chunks * length, -1), factors))
        vector = wide(read.vector).reshape(count, chunks, -1)[:, 0]
    assert vector is not None, "there is an encoder"
    return Said(jnp.concatenate(said, axis=-1), vector)


def names(nets: Sequence[Any]) -> tuple[str, ...]:
    """What the encoders are called, in their order."""
    return ("text_encoder", "text_encoder_2")[:len(nets)]


def _emphasized(hidden: Array, factors: Array) -> Array:
    """Tokens float [n,T,W] by factors [n,T], and then all of a prompt by one that gives it back its mean."""
    louder = hidden * factors[..., None]
    means = [jnp.mean(each, axis=(1, 2), keepdims=True) for each in (hidden, louder)]
    same = jnp.all(factors == 1, axis=1)[:, None, None] | (means[1] == 0)
    return louder * jnp.where(same, 1.0, means[0] / jnp.where(same, 1.0, means[1]))


def alike(one: Said, other: Said, blank: Said) -> tuple[Said, Said]:
    """Both as long as the longer one: the other is filled up with chunks in which nothing is said."""
    def filled(said: Said, length: int) -> Said:
        missing = (length - said.text.shape[1]) // blank.text.shape[1]
        more = jnp.broadcast_to(jnp.tile(blank.text, (1, missing, 1)), (len(said.text), length - said.text.shape[1],
                                                                        blank.text.shape[2]))
        return said._replace(text=jnp.concatenate([said.text, more], axis=1))

    length = max(one.text.shape[1], other.text.shape[1])
    return filled(one, length), filled(other, length)


def blank(tokens: Sequence[int]) -> np.ndarray:
    """The tokens of an empty prompt, int32 [1,T]."""
    return np.array([tokens], np.int32)
