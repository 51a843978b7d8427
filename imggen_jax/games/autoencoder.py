"""Autoencoders with a map of latents, in which a flow can take place: 64x64x3 numbers as 8x8x8, and back.

A VAE whose KL weighs next to nothing, with a distance in the feature space of a pretrained network and an adversary of
patches where wanted (latent diffusion, arXiv 2112.10752, appendix G).
"""
from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from typing import Any

import jax
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
    Pretrained,
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
    latents: int = 8,
    kl: float = 1e-3,
    perceptual: float = 1.0,
    discriminator: Mapping[str, Any] = {},
    adversarial: float = 0.1,
    begin: int = 0,
    r1: float = 0.1,
) -> Game:
    """The game of an "autoencoder", who minimizes the mean absolute error, and of a "discriminator" where there is one.

    Args:
      spec: fields of an example: an "image" of fixed size.
      dtype: of the computations inside the networks, "float32" or "bfloat16".
      pretrained: {"features": ...} adds the perceptual distance; else there is none.
      network: `name`, a module of imggen_jax/nets, and arguments of its Encoder and Decoder.
      latents: channels of the map of latents.
      kl: weight of the KL to N(0, I), a mean over the latents in nats.
      perceptual: weight of the distance of features.
      discriminator: `name`, a module of imggen_jax/nets, and arguments of its Discriminator of patches; {} for none.
      adversarial: weight of what it says.
      begin: images after which it has a say; until then it only learns.
      r1: gamma of its zero-centered gradient penalty on real and made pictures, for each patch.

    Raises:
      ValueError: sides that the network cannot halve as often as it has to.
    """
    shape = specs.image_shape(spec)
    encoder, decoder = _networks(dtype, latents, shape[-1], **network)
    judge_net = make_network("Discriminator", dtype, **discriminator) if discriminator else None
    features = (pretrained or {}).get("features")
    zeros = jnp.zeros((1, *shape))
    size = jax.eval_shape(lambda: encoder.init_with_output(jax.random.key(0), zeros)[0][0]).shape[1:]

    def init(key: Key, spec: Spec):
        del spec  # the same as above
        key_e, key_d, key_j = jax.random.split(key, 3)
        params = {"autoencoder": {"encoder": encoder.init(key_e, zeros)["params"],
                                  "decoder": decoder.init(key_d, jnp.zeros((1, *size)))["params"]}}
        if judge_net is not None:
            params["discriminator"] = judge_net.init(key_j, zeros)["params"]
        return params, {}

    def posterior(params: Params, images: Array):
        return encoder.apply({"params": params["autoencoder"]["encoder"]}, images)

    def output(params: Params, z: Array):
        return decoder.apply({"params": params["autoencoder"]["decoder"]}, z)

    def judge(params: Params):
        assert judge_net is not None
        apply = judge_net.apply
        return lambda images: apply({"params": params["discriminator"]}, images)

    def deal(params: Params, batch: Batch, key: Key):
        """Real pictures, what is made of them, and the KL, a mean over the latents, [B]."""
        real = to_float(batch["image"])
        mean, log_variance = posterior(params, real)
        z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
        return real, output(params, z), jnp.mean(losses.gaussian_kl(mean, log_variance), axis=(1, 2, 3))

    def autoencoder_loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        real, made, divergence = deal(params, batch, key)
        scalars = {"l1": jnp.mean(jnp.abs(made - real)), "kl": jnp.mean(divergence)}
        value = scalars["l1"] + kl * scalars["kl"]
        if features is not None:
            see = functools.partial(features.apply["features"], params["features"])
            scalars["perceptual"] = jnp.mean(losses.feature_distance(see, made, real))
            value += perceptual * scalars["perceptual"]
        if judge_net is not None:
            scalars["adversarial"] = jnp.mean(losses.deceive_patches(losses.relativistic, judge(params), real, made))
            value += jnp.where(clock.images_seen >= begin, adversarial, 0.0) * scalars["adversarial"]
        return value, (mutable, {"loss": value, **scalars})

    def discriminator_loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        del clock
        real, made, _ = deal(params, batch, key)
        found = losses.judge_patches(losses.relativistic, judge(params), real, made, r1, r1)
        scalars = {name: jnp.mean(value) for name, value in found._asdict().items()}
        return scalars["loss"], (mutable, scalars)

    def metrics(weights: Weights, batch: Batch, key: Key):
        real, made, divergence = deal(weights, batch, key)
        return {**losses.distances(jnp.clip(made, -1, 1), real), "kl": divergence}

    def prior(key: Key, n: int, condition: Condition):
        del condition
        return jax.random.normal(key, (n, *size))

    def decode(weights: Weights, z: Array, condition: Condition, options: Options):
        del condition, options
        return jnp.clip(output(weights, z), -1, 1)

    def encode(weights: Weights, images: Array, condition: Condition):
        del condition
        return posterior(weights, images)[0]

    moves = (("discriminator", discriminator_loss),) * bool(discriminator) + (("autoencoder", autoencoder_loss),)
    return Game(init, moves, lambda params, mutable: {"autoencoder": params["autoencoder"]},
                {"main": Generator(prior, decode, encode=encode)}, metrics=metrics)


def _networks(dtype: str, latents: int, channels: int, *, name: str, **keys: Any):
    module = importlib.import_module(f"imggen_jax.nets.{name}")
    return (module.Encoder(latents=latents, dtype=jnp.dtype(dtype), **keys),
            module.Decoder(channels=channels, dtype=jnp.dtype(dtype), **keys))
