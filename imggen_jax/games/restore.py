"""Restoration and super-resolution: p(image | source), where the source is smaller or damaged."""
from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from imggen_jax import losses
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
    Pretrained,
    PyTree,
    Spec,
    Weights,
)
from imggen_jax.nets.translating import network as make_network


def make(
    spec: Spec,
    *,
    dtype: str,
    pretrained: Mapping[str, Pretrained] | None = None,
    network: Mapping[str, Any],
    scale: int = 2,
    frequency: float = 0.0,
    adversary: Mapping[str, Any] = {},
    adversarial: float = 0.1,
    perceptual: float = 1.0,
    r1: float = 0.1,
) -> Game:
    """The game of a "restorer" that makes `image` of `source`; with an adversary, of a "discriminator" too.

    Alone it minimizes the mean absolute error, which PSNR rewards. An adversary and a distance in the feature space of
    a pretrained network called "features" (SRGAN, arXiv 1609.04802; Real-ESRGAN, arXiv 2107.10833) trade it for detail.

    Args:
      spec: fields of an example, with "image" and "source", which a transform may add: transforms/degrade.py.
      dtype: of the computations inside the networks, "float32" or "bfloat16".
      pretrained: {"features": ...} adds the perceptual distance; else there is none.
      network: `name`, a module of imggen_jax/nets, and keyword arguments of its Restorer.
      scale: side of the image over side of the source; 1 for denoising and the like.
      frequency: weight of the mean absolute error between Fourier transforms (SAFMN, arXiv 2302.13800, eq. 8).
      adversary: `name`, a module of imggen_jax/nets, and keyword arguments of its Discriminator, which is one of
        patches; {} for none.
      adversarial: weight of what the adversary says.
      perceptual: weight of the distance of features.
      r1: gamma of the zero-centered gradient penalty of each patch, on real and fake images.

    Raises:
      ValueError: a missing field, or images that are not `scale` times their sources.
    """
    for name in ("image", "source"):
        if name not in spec:
            raise ValueError(f"restoration needs the field {name!r}; add config.transforms.degrade, or use pairs")
    image, source = spec["image"].shape, spec["source"].shape
    if any(a is not None and b is not None and a != scale * b for a, b in zip(image[:2], source[:2])):
        raise ValueError(f"game.scale is {scale}, but images have {image[:2]} pixels and sources {source[:2]}; set "
                         "transforms.degrade.scale alike")
    net, channels = make_network("Restorer", dtype, scale=scale, **network), image[2]
    judge = make_network("Discriminator", dtype, **adversary) if adversary else None
    features = (pretrained or {}).get("features")

    def init(key: Key, spec: Spec) -> tuple[Params, Mutable]:
        key_r, key_d = jax.random.split(key)
        params = {"restorer": net.init(key_r, jnp.zeros((1, 8, 8, channels)))["params"]}
        if judge:
            params["discriminator"] = judge.init(key_d, jnp.zeros((1, *spec["image"].shape)))["params"]
        return params, {}

    def restore(params: Params, source: Array):
        return net.apply({"params": params["restorer"]}, source)

    def critic(params: Params):
        assert judge is not None, "only a game with an adversary asks"
        apply = judge.apply
        return lambda images: apply({"params": params["discriminator"]}, images)

    def restorer_loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        del clock, key
        real, made = to_float(batch["image"]), restore(params, to_float(batch["source"]))
        scalars = {"l1": jnp.mean(jnp.abs(made - real))}
        value = scalars["l1"]
        if frequency:
            gap = jnp.fft.rfft2(made, axes=(1, 2)) - jnp.fft.rfft2(real, axes=(1, 2))
            scalars["frequency"] = jnp.mean(jnp.abs(gap.real) + jnp.abs(gap.imag))
            value += frequency * scalars["frequency"]
        if features:
            see = functools.partial(features.apply["features"], params["features"])
            scalars["perceptual"] = jnp.mean(losses.feature_distance(see, made, real))
            value += perceptual * scalars["perceptual"]
        if judge:
            scalars["adversarial"] = jnp.mean(losses.deceive_patches(losses.relativistic, critic(params), real, made))
            value += adversarial * scalars["adversarial"]
        return value, (mutable, {"loss": value, **scalars})

    def discriminator_loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        del clock, key
        real, made = to_float(batch["image"]), restore(params, to_float(batch["source"]))
        found = losses.judge_patches(losses.relativistic, critic(params), real, made, r1, r1)
        scalars = {name: jnp.mean(value) for name, value in found._asdict().items()}
        return scalars["loss"], (mutable, scalars)

    def metrics(weights: Weights, batch: Batch, key: Key):
        del key
        error = jnp.clip(restore(weights, to_float(batch["source"])), -1, 1) - to_float(batch["image"])
        return {"psnr": -10 * jnp.log10(jnp.mean(jnp.square(error / 2), axis=(1, 2, 3)) + 1e-10)}

    def condition(weights: Weights, fields: Mapping[str, Array]):
        del weights
        return to_float(fields["source"])

    def decode(weights: Weights, z: PyTree, condition: Condition, options: Options):
        del z, options
        return jnp.clip(restore(weights, condition), -1, 1)

    moves = (("discriminator", discriminator_loss),) * bool(judge) + (("restorer", restorer_loss),)
    main = Generator(lambda key, n, condition: (), decode, condition, needs=("source",))
    return Game(init, moves, lambda params, mutable: {"restorer": params["restorer"]}, {"main": main}, metrics)
