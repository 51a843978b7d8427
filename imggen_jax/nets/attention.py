"""Attention as published transformers have it: softmax of scaled products, fused where the device has it fused."""
from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from imggen_jax.nets.transformer import wide

Array = jax.Array

# Products of queries and keys that a CPU holds at once: those of all heads if they are no more than the first, else of
# some queries of one head, which fit into its cache.
WHOLE, IN_CACHE = 2**20, 2**18
LANES = 16  # numbers side by side over which a CPU reduces: along a row alone, it would take them one by one
WIDEST_FUSED = 128  # channels of a head in cuDNN's kernel


def attend(q: Array, k: Array, v: Array, *, causal: bool = False, lengths: Array | None = None) -> Array:
    """softmax(q k^T / sqrt(D)) v, for each head (arXiv 1706.03762, eq. 1).

    Args:
      q: float [B,N,heads,D].
      k, v: float [B,M,heads,D], or of fewer heads, each of which several of the queries' use (arXiv 2305.13245).
      causal: whether place n sees places 0 to n alone.
      lengths: int32 [B], how many of the M places are seen, at least 1; None: all.

    Returns:
      [B,N,heads,D], dtype of v. The softmax is computed in float32.
    """
    fits = q.dtype in (jnp.bfloat16, jnp.float16) and q.shape[-1] % 8 == 0 and q.shape[-1] <= WIDEST_FUSED
    # Where no GPU is, cuDNN cannot be asked for, not even to lower a program for one.
    implementation = "cudnn" if fits and jax.default_backend() == "gpu" else "xla"

    def fused(q: Array, k: Array, v: Array, *lengths: Array) -> Array:
        return jax.nn.dot_product_attention(q, k, v, is_causal=causal, implementation=implementation,
                                            key_value_seq_lengths=lengths[0] if lengths else None)

    return jax.lax.platform_dependent(q, k, v, *(() if lengths is None else (lengths,)), default=fused,
                                      cpu=functools.partial(_in_parts, causal=causal))


def _in_parts(q: Array, k: Array, v: Array, *lengths: Array, causal: bool) -> Array:
    """As `attend`, for some queries of a head at a time, unless all together are few."""
    batch, length, heads, width = q.shape
    places = k.shape[1]
    if k.shape[2] < heads:
        k, v = (jnp.repeat(each, heads // each.shape[2], axis=2) for each in (k, v))
    q, k, v = (jnp.swapaxes(each, 1, 2) for each in (q, k, v))  # [B,heads,N,D]: matrices that lie together
    seen = jnp.full(batch, places) if not lengths else lengths[0]

    def part(start: Array | int, q: Array, k: Array, v: Array, seen: Array) -> Array:  # seen: [...,1,1]
        logits = wide(q @ jnp.swapaxes(k, -1, -2)) / math.sqrt(width)
        if causal:
            logits = jnp.where(jnp.arange(places) <= (start + jnp.arange(q.shape[-2]))[:, None], logits, -jnp.inf)
        if lengths:
            logits = jnp.where(jnp.arange(places) < seen, logits, -jnp.inf)
        weights = jnp.exp(logits - jax.lax.stop_gradient(_along_rows(jnp.max, logits)))  # any shift gives the same
        return ((weights.astype(v.dtype) @ v) / _along_rows(jnp.sum, weights)).astype(v.dtype)

    if q.size // width * places <= WHOLE:
        return jnp.swapaxes(part(0, q, k, v, seen[:, None, None, None]), 1, 2)
    parts = -(-length // max(1, IN_CACHE // places))
    rows = -(-length // parts)
    filled = jnp.pad(q, ((0, 0), (0, 0), (0, parts * rows - length), (0, 0)))

    def head(each: tuple[Array, ...]) -> Array:
        q, k, v, seen = each
        return jax.lax.map(lambda piece: part(piece[0], piece[1], k, v, seen),
                           (rows * jnp.arange(parts), q.reshape(parts, rows, width)))

    apart = (each.reshape(batch * heads, -1, width) for each in (filled, k, v))
    made = jax.lax.map(head, (*apart, jnp.repeat(seen, heads)[:, None, None]))
    return jnp.swapaxes(made.reshape(filled.shape)[:, :, :length], 1, 2)


def _along_rows(reduce: Callable[..., Array], x: Array) -> Array:
    """The largest, or the sum, of each row: [...,M] -> [...,1]."""
    if x.shape[-1] % LANES == 0:
        x = reduce(x.reshape(*x.shape[:-1], -1, LANES), axis=-2)
    return reduce(x, axis=-1, keepdims=True)
