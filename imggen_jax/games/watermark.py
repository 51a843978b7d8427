"""A learned watermark: bits hidden in pictures, and read after what pictures go through (HiDDeN, arXiv 1807.09937).

An encoder and a decoder are one player, since both want the bits to be read. Between them pictures are cropped,
resized, compressed and the like. The mark is strong at first, and weakened for as long as it is read; the weaker it
gets, the more it counts how much of it is seen.
"""
from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from imggen_jax import losses
from imggen_jax import spec as specs
from imggen_jax.augment import to_float
from imggen_jax.degradations.handling import handle
from imggen_jax.game import (
    Array,
    Batch,
    Clock,
    Condition,
    Game,
    Generator,
    Key,
    Mutable,
    Options,
    Params,
    Spec,
    Weights,
)
from imggen_jax.nets.translating import network as make_network

FLAT, WINDOW = 0.4, 5        # share of its strength that a mark has where nothing hides it; pixels that are looked at
HIDDEN = 16.0                # gray levels of contrast from which on it has all of it


def make(
    spec: Spec,
    *,
    dtype: str,
    encoder: Mapping[str, Any],
    decoder: Mapping[str, Any],
    bits: int = 32,
    strength: Sequence[float] = (24.0, 4.0),
    weaker: float = 3e-4,
    target: float = 0.85,
    visible: float = 0.5,
    handled: float = 0.5,
) -> Game:
    """The game of a "marker". Its model makes a marked picture of a `source` and of bits, its latent, and reads them.

    Args:
      spec: fields of an example: a "source" of a fixed size, which config.transforms.degrade adds at scale 1.
      dtype: of the computations inside the networks, "float32" or "bfloat16".
      encoder: `name`, a module of imggen_jax/nets, and arguments of its Marker.
      decoder: `name`, a module of imggen_jax/nets, and arguments of its Classifier.
      bits: how many are hidden.
      strength: most that a pixel changes, in gray levels of 255: at first, and at least.
      weaker: share of its strength that a mark loses with each image, while it is read.
      target: share of right bits, after handling, from which on a mark is called read.
      visible: weight of the mean square of a mark, where 1 is as strong as it may be everywhere; none at first.
      handled: probability of each kind of handling.

    Raises:
      ValueError: no source, one that is not square, or strengths that do not fall.
    """
    if "source" not in spec:
        raise ValueError("there is no field 'source' to hide bits in; set config.transforms to "
                         "{'degrade': {'scale': 1}}")
    if len(strength) != 2 or not 0 < strength[1] <= strength[0]:
        raise ValueError(f"strength is {tuple(strength)}; give what it is at first and at least, above 0")
    size, shape = specs.square(spec)[0], specs.image_shape(spec, "source")
    if shape[:2] != (size, size):
        raise ValueError(f"sources are {shape[1]}x{shape[0]} and images {size}x{size}; set transforms.degrade.scale "
                         "to 1")
    hide = make_network("Marker", dtype, **encoder)
    read_net = _decoder(dtype, size, shape[-1], bits, **decoder)

    def init(key: Key, spec: Spec):
        del spec  # the same as above
        key_e, key_d = jax.random.split(key)
        zeros = jnp.zeros((1, *shape))
        params = {"encoder": hide.init(key_e, zeros, jnp.zeros((1, bits)))["params"],
                  "decoder": read_net.init(key_d, zeros)["params"]}
        return {"marker": params}, {"strength": jnp.float32(strength[0])}

    def added(weights: Weights, source: Array, z: Array):
        """float32 [B,H,W,C]: the mark, of 1 where it is as strong as it may be."""
        return _limit(source) * hide.apply({"params": weights["marker"]["encoder"]}, source, z)

    def logits(weights: Weights, images: Array):
        return read_net.apply({"params": weights["marker"]["decoder"]}, images)[1][0]

    def deal(weights: Weights, limit: Array, source: Array, key: Key):
        """Of drawn bits: the mark, the marked pictures, and of handled ones cross-entropy and share of right bits, [B].
        """
        key_z, key_h = jax.random.split(key)
        z = prior(key_z, len(source), None)
        mark = added(weights, source, z)
        marked = jnp.clip(source + limit * 2 / 255 * mark, -1, 1)
        said = logits(weights, 2 * handle(marked / 2 + 0.5, key_h, handled) - 1)
        entropy = jnp.mean(optax.sigmoid_binary_cross_entropy(said, (z > 0).astype(jnp.float32)), axis=-1)
        return mark, marked, entropy, jnp.mean((said > 0) == (z > 0), axis=-1, dtype=jnp.float32)

    def loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        del clock
        limit = mutable["strength"]
        mark, _, entropy, right = deal(params, limit, to_float(batch["source"]), key)
        accuracy, seen = jnp.mean(right), jnp.mean(jnp.square(mark))
        late = jnp.log(strength[0] / limit) / max(math.log(strength[0] / strength[1]), 1e-6)
        value = jnp.mean(entropy) + visible * late * seen
        less = jnp.maximum(limit * (1 - weaker * len(mark)), strength[1])
        scalars = {"loss": value, "accuracy": accuracy, "seen": seen, "strength": limit}
        return value, ({"strength": jnp.where(accuracy >= target, less, limit)}, scalars)

    def metrics(weights: Weights, batch: Batch, key: Key):
        source = to_float(batch["source"])
        _, marked, entropy, right = deal(weights, weights["strength"], source, key)
        return {"cross_entropy": entropy, "accuracy": right, "psnr": losses.distances(marked, source)["psnr"]}

    def prior(key: Key, n: int, condition: Condition):
        del condition
        return 2 * jax.random.bernoulli(key, shape=(n, bits)).astype(jnp.float32) - 1

    def decode(weights: Weights, z: Array, condition: Condition, options: Options):
        del options
        return jnp.clip(condition + weights["strength"] * 2 / 255 * added(weights, condition, z), -1, 1)

    def encode(weights: Weights, images: Array, condition: Condition):
        """The bits as they are expected, float32 [n,bits] in (-1,1)."""
        del condition
        return jnp.tanh(logits(weights, images) / 2)

    main = Generator(prior, decode, lambda weights, fields: to_float(fields["source"]), needs=("source",),
                     encode=encode)
    return Game(init, (("marker", loss),), lambda params, mutable: {"marker": params["marker"], **mutable},
                {"main": main}, metrics=metrics)


def _limit(source: Array) -> Array:
    """float32 [B,H,W,1] in [FLAT,1]: how strong a mark may be in images [B,H,W,C] in [-1,1], by their contrast."""
    luma = 127.5 * jnp.mean(source, axis=-1, keepdims=True)
    mean = _local_mean(luma)
    contrast = jnp.sqrt(jnp.maximum(_local_mean(jnp.square(luma)) - jnp.square(mean), 0))
    return jnp.clip(FLAT + (1 - FLAT) * contrast / HIDDEN, 0, 1)


def _local_mean(x: Array) -> Array:
    """Over squares of WINDOW pixels, mirrored at the edges: float32 [B,H,W,1] -> the same."""
    edge = WINDOW // 2
    x = jnp.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)), mode="symmetric")
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, WINDOW, WINDOW, 1), (1, 1, 1, 1), "VALID") / WINDOW**2


def _decoder(dtype: str, size: int, channels: int, bits: int, *, name: str, **keys: Any):
    module = importlib.import_module(f"imggen_jax.nets.{name}")
    return module.Classifier(size=size, channels=channels, classes=(bits,), dtype=jnp.dtype(dtype), **keys)
