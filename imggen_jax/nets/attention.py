"""Attention as published transformers have it: softmax of scaled products, fused where the device has it fused."""
from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from imggen_jax.nets.transformer import wide

Array = jax.Array

ON_CPU = 2**24  # products that are held at once on a CPU: more no longer fit into its caches, and memory grows
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
    """As `attend`, for a part of the queries at a time."""
    batch, length, heads, width = q.shape
    if k.shape[2] < heads:
        k, v = (jnp.repeat(each, heads // each.shape[2], axis=2) for each in (k, v))
    rows = max(1, ON_CPU // (batch * heads * k.shape[1]))
    parts = next(n for n in range(-(-length // rows), length + 1) if length % n == 0)
    turned = tuple(jnp.swapaxes(each, 1, 2) for each in (q, k, v))  # [B,heads,N,D]: matrices that lie together

    def part(start: Array, q: Array) -> Array:
        logits = wide(q @ jnp.swapaxes(turned[1], 2, 3)) / math.sqrt(width)
        places = jnp.arange(k.shape[1])
        if causal:
            logits = jnp.where(places <= (start + jnp.arange(q.shape[2]))[:, None], logits, -jnp.inf)
        if lengths:
            logits = jnp.where(places < lengths[0][:, None, None, None], logits, -jnp.inf)
        return jax.nn.softmax(logits).astype(v.dtype) @ turned[2]

    if parts == 1:
        return jnp.swapaxes(part(jnp.int32(0), turned[0]), 1, 2)
    pieces = jnp.moveaxis(turned[0].reshape(batch, heads, parts, length // parts, width), 2, 0)
    starts = jnp.arange(parts) * (length // parts)
    made = jax.lax.map(lambda each: part(*each), (starts, pieces))  # [parts,B,heads,rows,D]
    return jnp.moveaxis(made, (0, 3), (1, 2)).reshape(batch, length, heads, width)
