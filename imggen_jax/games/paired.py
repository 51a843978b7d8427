"""From a picture to its partner, learned from pairs: pix2pix (Isola et al., arXiv 1611.07004)."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from imggen_jax import losses
from imggen_jax import spec as specs
from imggen_jax.augment import to_float
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
    PyTree,
    Spec,
    Weights,
)
from imggen_jax.nets.translating import network


def make(
    spec: Spec,
    *,
    dtype: str,
    generator: Mapping[str, Any],
    discriminator: Mapping[str, Any] = {},
    l1: float = 100.0,
    loss: str = "relativistic",
    r1: float = 1.0,
    r2: float = 1.0,
) -> Game:
    """The game of a translator, alone or against a discriminator of patches that sees source and picture together.

    Published is loss="non_saturating" with r1 = r2 = 0, l1=100 and norm="batch".

    Args:
      spec: fields of an example: a "source", and the "image" that is made of it, of one size.
      dtype: of the computations inside the networks, "float32" or "bfloat16".
      generator: `name`, a module of imggen_jax/nets with a `Translator`, and arguments of that class.
      discriminator: the same of a `Discriminator` of patches; {} to learn from the L1 distance alone, which blurs what
        the source leaves open.
      l1: weight of the mean absolute difference, in units of [-1,1].
      loss: of the two players: "relativistic", "least_squares", "non_saturating" or "hinge".
      r1, r2: gamma of the zero-centered gradient penalty of each patch, on real and on made pictures; 0 for none.

    Raises:
      ValueError: no source, a source of another size, or an unknown loss.
    """
    adversarial = losses.patchwise(loss)
    _, _, channels = shape = specs.image_shape(spec)
    source_shape = check_source(spec)
    g = network("Translator", dtype, channels=channels, **generator)
    d = network("Discriminator", dtype, **discriminator) if discriminator else None

    def init(key: Key, spec: Spec):
        del spec  # the same as above
        source, image = jnp.zeros((1, *source_shape)), jnp.zeros((1, *shape))
        params = {"generator": g.init(key, source)["params"]}
        if d is not None:
            params["discriminator"] = d.init(key, jnp.concatenate([source, image], axis=-1))["params"]
        return params, {}

    def translate(weights: Weights, source: Array):
        return g.apply({"params": weights["generator"]}, source)

    def deal(params: Params, batch: Batch):
        """Real and made pictures, and who tells them apart."""
        source, real = to_float(batch["source"]), to_float(batch["image"])

        def judge(x: Array):
            assert d is not None, "only a game with a discriminator asks"
            return d.apply({"params": params["discriminator"]}, jnp.concatenate([source, x], axis=-1))

        return real, translate(params, source), judge

    def discriminator_loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        del clock, key
        real, made, judge = deal(params, batch)
        found = losses.judge_patches(adversarial, judge, real, made, r1, r2)
        scalars = {name: jnp.mean(value) for name, value in found._asdict().items()}
        return scalars["loss"], (mutable, scalars)

    def generator_loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        del clock, key
        real, made, judge = deal(params, batch)
        distance = jnp.mean(jnp.abs(made - real))
        value = l1 * distance
        if d is not None:
            value += jnp.mean(losses.deceive_patches(adversarial, judge, real, made))
        return value, (mutable, {"loss": value, "l1": distance})

    def metrics(weights: Weights, batch: Batch, key: Key):
        del key
        return losses.distances(translate(weights, to_float(batch["source"])), to_float(batch["image"]))

    def decode(weights: Weights, z: PyTree, condition: Condition, options: Options):
        del z, options
        return translate(weights, condition)

    main = Generator(lambda key, n, condition: (), decode, lambda weights, fields: to_float(fields["source"]),
                     needs=("source",))
    moves = (("discriminator", discriminator_loss),) if d is not None else ()
    return Game(init, (*moves, ("generator", generator_loss)),
                lambda params, mutable: {"generator": params["generator"]}, {"main": main}, metrics=metrics)


def check_source(spec: Spec) -> tuple[int, int, int]:
    """The shape of the sources. Raises ValueError where there are none, or they are of another size than the images."""
    if "source" not in spec:
        raise ValueError("there is no field 'source' to make pictures from; set config.data.pairs for a folder of "
                         "pairs, config.data.source for another dataset, or config.transforms")
    source, image = specs.image_shape(spec, "source"), specs.image_shape(spec)
    if source[:2] != image[:2]:
        raise ValueError(f"sources are {source[1]}x{source[0]} and images {image[1]}x{image[0]}; this game needs one "
                         "size")
    return source
