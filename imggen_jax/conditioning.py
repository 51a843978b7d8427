"""How a label and a text enter a game: the fields that it needs, their network, and examples without them."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax.game import SHARES, Array, Key, PyTree, Spec
from imggen_jax.nets.text_encoder import Conditions, Said

FIELDS = ("label", "text")
_FIRST_WORD = 2  # before it come padding and an unknown word; of bytes, padding alone: data/text.py
_BYTES = 257

Fields = Mapping[str, Array]  # "label" int32 [B], "text" int32 [B,T]; other fields are not read


class Conditioning(NamedTuple):
    """Pure functions around the network of what pictures are conditioned on."""

    needs: tuple[str, ...]  # of FIELDS, those that the examples have
    # Values of a label without a text: networks that read one vector then have tables of their own, and no parameters
    # stand here. Else 0.
    table: int
    zeros: Fields                                 # a batch of one
    init: Callable[[Key], PyTree]                 # -> parameters of the network
    said: Callable[[PyTree, Fields], Said]        # (parameters, fields) -> what a network reads, [B,...]
    # (parameters, fields) -> what a network reads that has no attention: None, with a table a label int32 [B], else the
    # vector of `said`; of several texts, the vectors' sum by their shares
    brief: Callable[[PyTree, Fields], Array | None]
    # (fields, key, share) -> fields, a share of whose rows says nothing, and others less than they did: see `parts`
    drop: Callable[[Fields, Key, float], Fields]
    nothing: Callable[[Fields], Fields]           # (fields) -> as many rows that say nothing


def make(spec: Spec, *, dtype: str, width: int = 64, layers: int = 2, heads: int = 2,
         parts: float = 0.0) -> Conditioning:
    """The conditioning of a spec with "label", "text", both or neither.

    Args:
      spec: fields of an example.
      dtype: of the computations inside the network.
      width: of the vectors of a text or class.
      layers, heads: of the text encoder; heads divide width.
      parts: share of the texts of which `drop` keeps some consecutive words alone, as many as chance wants, so that
        short texts are understood where the captions of a dataset say everything.

    Raises:
      ValueError: parts is no share.
    """
    if not 0 <= parts <= 1:
        raise ValueError(f"condition.parts is {parts}; it is a share of the texts, from 0 to 1")
    needs = tuple(name for name in FIELDS if name in spec)
    classes = spec["label"].classes if "label" in spec else 0
    zeros: dict[str, Any] = {name: np.zeros((1, *(side or 1 for side in spec[name].shape)), np.int32) for name in needs}
    net = Conditions(words(spec), width, layers, heads, jnp.dtype(dtype), classes)

    def apply(params: PyTree, fields: Fields) -> Said:
        said: Any = net.apply({"params": params}, fields.get("label"), fields.get("text"))
        return said

    def init(key: Key) -> PyTree:
        return net.init(key, zeros.get("label"), zeros.get("text"))["params"] if needs else {}

    def brief(params: PyTree, fields: Fields) -> Array | None:
        if "text" not in needs:
            return fields.get("label")
        each, shares = apart(fields)
        return together(apply(params, each).vector, shares)

    def without(fields: Fields, gone: Array) -> Fields:
        changed = {name: fields[name] for name in needs}
        return {**fields, **{name: jnp.where(gone.reshape(-1, *(1,) * (value.ndim - 1)), empty[name], value)
                             for name, value in changed.items()}}

    def drop(fields: Fields, key: Key, share: float) -> Fields:
        if not needs:
            return fields
        if parts and "text" in needs:
            fields = {**fields, "text": some_words(fields["text"], jax.random.fold_in(key, 1), parts)}
        return without(fields, jax.random.bernoulli(key, share, fields[needs[0]].shape[:1]))

    def nothing(fields: Fields) -> Fields:
        return without(fields, jnp.ones(fields[needs[0]].shape[:1], bool)) if needs else fields

    empty = {"label": classes, "text": 0}
    return Conditioning(needs, 0 if "text" in needs else classes, zeros, init, apply, brief, drop, nothing)


def some_words(text: Array, key: Key, share: float) -> Array:
    """int32 [B,T] -> int32 [B,T]: of a share of the texts a run of consecutive tokens, its length and place uniform."""
    key_which, key_length, key_start = jax.random.split(key, 3)
    rows, most = text.shape
    length = jnp.sum(text > 0, axis=1)
    kept = 1 + jnp.floor(jax.random.uniform(key_length, (rows,)) * length).astype(jnp.int32)
    kept = jnp.minimum(kept, length)
    start = jnp.floor(jax.random.uniform(key_start, (rows,)) * (length - kept + 1)).astype(jnp.int32)
    places = jnp.arange(most)
    run = jnp.take_along_axis(text, jnp.minimum(start[:, None] + places, most - 1), axis=1)
    run = jnp.where(places < kept[:, None], run, 0)
    return jnp.where(jax.random.bernoulli(key_which, share, (rows, 1)), run, text)


def apart(fields: Fields) -> tuple[Fields, Array | None]:
    """(fields with a row for each of several texts, [n*K,...]; their shares float32 [n,K], None for one text alone)."""
    shares = fields.get(f"text{SHARES}")
    if shares is None:
        return fields, None
    return {name: value.reshape(-1, *value.shape[2:]) if name == "text" else jnp.repeat(value, shares.shape[1], axis=0)
            for name, value in fields.items() if name != f"text{SHARES}"}, shares


def together(rows: Array, shares: Array | None) -> Array:
    """What was found for each of several texts, [n*K,...], as their sum by shares, [n,...]."""
    if shares is None:
        return rows
    return jnp.einsum("nk,nk...->n...", shares, rows.reshape(*shares.shape, *rows.shape[1:]))


def words(spec: Spec) -> int:
    """Tokens of the text of a spec are in [0, words); 0 without a text."""
    if "text" not in spec:
        return 0
    return _FIRST_WORD + len(spec["text"].names) if spec["text"].names else _BYTES
