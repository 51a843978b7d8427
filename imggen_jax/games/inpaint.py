"""Pictures with holes, completed: a translator from what is left and the mask, alone or against a discriminator.

The discriminator of patches sees the completed picture and its mask (as in GMCNN, arXiv 1810.08771, and DeepFill v2,
arXiv 1806.03589, section 3.3).
"""
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
    hole: float = 6.0,
    known: float = 1.0,
    adversary: float = 0.1,
    loss: str = "relativistic",
    r1: float = 1.0,
    r2: float = 1.0,
) -> Game:
    """The game of filling holes. Pixels outside the mask are returned as they were given.

    Args:
      spec: fields of an example: "image", "source", the same with the hole blanked, and "mask", 255 where there is
        something to fill; config.transforms.mask makes the last two.
      dtype: of the computations inside the networks, "float32" or "bfloat16".
      generator: `name`, a module of imggen_jax/nets with a `Translator`, and arguments of that class.
      discriminator: the same of a `Discriminator` of patches; {} to learn from the distances alone, which blurs.
      hole, known: weights of the mean absolute difference inside the hole and outside of it, each over its own pixels
        (arXiv 1804.07723, section 3.3: 6 and 1).
      adversary: weight of the discriminator's verdict.
      loss: of the two players: "relativistic", "least_squares", "non_saturating" or "hinge".
      r1, r2: gamma of the zero-centered gradient penalty of each patch, on real and on completed pictures; 0 for none.

    Raises:
      ValueError: a field is missing, or an unknown loss.
    """
    adversarial = losses.patchwise(loss)
    if missing := {"source", "mask"} - set(spec):
        raise ValueError(f"there is no field {min(missing)!r}; set config.transforms to {{'mask': {{}}}}, which makes "
                         "holes")
    height, width, channels = specs.image_shape(spec)
    g = network("Translator", dtype, channels=channels, **generator)
    d = network("Discriminator", dtype, **discriminator) if discriminator else None

    def init(key: Key, spec: Spec):
        del spec  # the same as above
        image = jnp.zeros((1, height, width, channels + 1))
        params = {"generator": g.init(key, image)["params"]}
        if d is not None:
            params["discriminator"] = d.init(key, image)["params"]
        return params, {}

    def condition(weights: Weights, fields: Mapping[str, Array]):
        """What is left, and where the holes are, 0 or 1: what stands in a hole is never seen."""
        del weights
        mask = (fields["mask"] >= 128).astype(jnp.float32)
        return {"source": to_float(fields["source"]) * (1 - mask), "mask": mask}

    def paint(weights: Weights, given: Condition):
        return g.apply({"params": weights["generator"]}, jnp.concatenate([given["source"], given["mask"]], axis=-1))

    def complete(made: Array, given: Condition):
        return jnp.where(given["mask"] > 0, made, given["source"])

    def deal(params: Params, batch: Batch):
        """What is given, real and made pictures, and who tells real from completed ones."""
        given = condition(params, batch)

        def judge(x: Array):
            assert d is not None, "only a game with a discriminator asks"
            return d.apply({"params": params["discriminator"]}, jnp.concatenate([x, given["mask"]], axis=-1))

        return given, to_float(batch["image"]), paint(params, given), judge

    def discriminator_loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        del clock, key
        given, real, made, judge = deal(params, batch)
        found = losses.judge_patches(adversarial, judge, real, complete(made, given), r1, r2)
        scalars = {name: jnp.mean(value) for name, value in found._asdict().items()}
        return scalars["loss"], (mutable, scalars)

    def generator_loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        del clock, key
        given, real, made, judge = deal(params, batch)
        inside, outside = _inside_and_outside(jnp.abs(made - real), given["mask"])
        value = hole * jnp.mean(inside) + known * jnp.mean(outside)
        if d is not None:
            value += adversary * jnp.mean(losses.deceive_patches(adversarial, judge, real, complete(made, given)))
        return value, (mutable, {"loss": value, "hole_l1": jnp.mean(inside), "known_l1": jnp.mean(outside)})

    def metrics(weights: Weights, batch: Batch, key: Key):
        del key
        given, real = condition(weights, batch), to_float(batch["image"])
        error, _ = _inside_and_outside(jnp.square(paint(weights, given) - real), given["mask"])
        return {"hole_psnr": losses.psnr(error)}

    def decode(weights: Weights, z: PyTree, given: Condition, options: Options):
        del z, options
        return complete(paint(weights, given), given)

    main = Generator(lambda key, n, given: (), decode, condition, needs=("source", "mask"))
    moves = (("discriminator", discriminator_loss),) if d is not None else ()
    return Game(init, (*moves, ("generator", generator_loss)),
                lambda params, mutable: {"generator": params["generator"]}, {"main": main}, metrics=metrics)


def _inside_and_outside(error: Array, mask: Array):
    """Means of errors [B,H,W,C] over the pixels where mask [B,H,W,1] is 1, and where it is 0: [B] each."""
    error = jnp.mean(error, axis=-1, keepdims=True)
    return tuple(jnp.sum(error * part, axis=(1, 2, 3)) / jnp.maximum(jnp.sum(part, axis=(1, 2, 3)), 1)
                 for part in (mask, 1 - mask))
