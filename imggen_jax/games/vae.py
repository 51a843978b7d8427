"""Variational autoencoders (Kingma and Welling, arXiv 1312.6114): one player, encoder and decoder together."""
from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from imggen_jax import conditioning, losses
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

LIKELIHOODS = ("bernoulli", "gaussian", "logistic_mixture")
STEP = 1 / 127.5  # distance between two neighbors of the 256 values in [-1, 1]


def make(
    spec: Spec,
    *,
    dtype: str,
    network: Mapping[str, Any],
    latent: int = 64,
    likelihood: str = "gaussian",
    mixtures: int = 5,
    beta: float = 1.0,
    free_bits: float = 0.0,
    warmup: int = 0,
    importance_samples: int = 1,
    condition: Mapping[str, Any] = {},
    drop: float = 0.1,
) -> Game:
    """The game of a lone player, "vae", who maximizes E log p(x|z) - beta KL(q(z|x) || p(z)) with p(z) = N(0, I).

    The ELBO is a bound on the log-probability of discrete data under every likelihood, in nats per image: of binary
    pixels, drawn again from the gray values each time (bernoulli); of 8-bit pixels (logistic_mixture); of 8-bit pixels
    with uniform noise of one step, whose density per unit of [-1,1] times 1/127.5 is a probability (gaussian, with
    one learned sigma for all pixels; Theis et al., arXiv 1511.01844, section 3.1).
    Bits per dimension = -ELBO / (D ln 2), with D = H W C.

    With `importance_samples` k above 1 the player maximizes the importance-weighted bound instead (Burda et al., arXiv
    1509.00519, eq. 8), log 1/k sum_i p(x|z_i) (p(z_i) / q(z_i|x))^beta, which is tighter as k grows.

    Args:
      spec: fields of an example: a square "image"; a "label", a "text" or both condition the model.
      network: `name`, a module of imggen_jax/nets, and keyword arguments of its Encoder and Decoder.
      dtype: of the computations inside the networks, "float32" or "bfloat16".
      latent: length of z.
      likelihood: "bernoulli", "gaussian" or "logistic_mixture".
      mixtures: logistics per pixel; read by "logistic_mixture" alone.
      beta: final weight of the KL; 1 maximizes the ELBO.
      free_bits: nats per latent dimension under which the KL costs the same.
      warmup: images over which the KL's weight rises from 0 to beta; 0 for beta from the start.
      importance_samples: z drawn for each image, k; 1 maximizes the ELBO.
      condition: arguments of `conditioning.make`, read with a "text": width, layers and heads of the text encoder.
      drop: share of examples that are trained without their text.

    Raises:
      ValueError: an unknown likelihood, a size that the network does not have, or free bits without a KL to free.
    """
    if likelihood not in LIKELIHOODS:
        raise ValueError(f"unknown likelihood {likelihood!r}; choose from {', '.join(LIKELIHOODS)}")
    if importance_samples < 1:
        raise ValueError(f"importance_samples is {importance_samples}; it must be at least 1")
    if importance_samples > 1 and free_bits:
        raise ValueError("free_bits needs the KL, which importance_samples above 1 does not have; set one of them to "
                         "0 or 1")
    size, channels = specs.square(spec)
    given = conditioning.make(spec, dtype=dtype, **condition)
    outputs = losses.mixture_parameters(channels, mixtures) if likelihood == "logistic_mixture" else channels
    encoder, decoder = _networks(size, channels, given.table, jnp.dtype(dtype), latent, outputs, **network)
    pixels, texts = size**2 * channels, "text" in spec

    def init(key: Key, spec: Spec):
        key_e, key_d = jax.random.split(key)
        mine = {"text": given.init(jax.random.fold_in(key, 1))} if texts else {}
        said = condition_of({"vae": mine}, given.zeros)
        images = jnp.zeros((1, *specs.image_shape(spec)))
        mine |= {
            "encoder": encoder.init(key_e, images, said)["params"],
            "decoder": decoder.init(key_d, jnp.zeros((1, latent)), said)["params"],
        }
        if likelihood == "gaussian":
            # About where training ends: from sigma 1, Adam would take thousands of rounds to get here, and until then
            # the pictures would be told to be blurred.
            mine["log_sigma"] = jnp.full((), -2.0)
        return {"vae": mine}, {}

    def posterior(mine: Mapping[str, PyTree], images: Array, said: Array | None):
        return encoder.apply({"params": mine["encoder"]}, images, said)

    def output(mine: Mapping[str, PyTree], z: Array, said: Array | None):
        return decoder.apply({"params": mine["decoder"]}, z, said)

    def condition_of(weights: Weights, fields: Mapping[str, Array]):
        return given.brief(weights["vae"].get("text"), fields)

    def some_without(batch: Batch, key: Key):
        return given.drop(batch, jax.random.fold_in(key, 1), drop) if texts else batch

    def observe(images: Array, key: Key):
        """What the model explains: binary pixels in {-1, 1}, dequantised or 8-bit ones, from float [-1,1]."""
        if likelihood == "bernoulli":
            return jnp.where(jax.random.uniform(key, images.shape) < (images + 1) / 2, 1.0, -1.0)
        if likelihood == "gaussian":
            return images + STEP * jax.random.uniform(key, images.shape, minval=-0.5, maxval=0.5)
        return images

    def log_likelihood(mine: Mapping[str, PyTree], out: Array, x: Array):
        if likelihood == "bernoulli":
            return losses.bernoulli(out, (x + 1) / 2)
        if likelihood == "gaussian":
            return losses.gaussian(out, mine["log_sigma"], x) + pixels * math.log(STEP)
        return losses.logistic_mixture(out, x)

    def terms(mine: Mapping[str, PyTree], batch: Batch, key: Key):
        """(log p(x|z) [B], KL [B,latent]) with one z from the posterior of each image."""
        key_x, key_z = jax.random.split(key)
        x, said = observe(to_float(batch["image"]), key_x), condition_of({"vae": mine}, batch)
        mean, log_variance = posterior(mine, x, said)
        z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key_z, mean.shape)
        return log_likelihood(mine, output(mine, z, said), x), losses.gaussian_kl(mean, log_variance)

    def figures(reconstruction: Array, kl: Array):
        elbo = reconstruction - kl
        return {"elbo": elbo, "reconstruction": reconstruction, "kl": kl,
                "bits_per_dim": -elbo / (pixels * math.log(2))}

    def kl_weight(clock: Clock):
        return beta * jnp.minimum(1.0, clock.images_seen / warmup) if warmup else beta

    def loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        reconstruction, kl = terms(params["vae"], some_without(batch, key), key)
        value = jnp.mean(kl_weight(clock) * losses.free_bits(kl, free_bits) - reconstruction)
        scalars = {"loss": value, **figures(reconstruction, jnp.sum(kl, axis=-1))}
        return value, (mutable, jax.tree.map(jnp.mean, scalars))

    def importance_loss(params: Params, mutable: Mutable, batch: Batch, clock: Clock, key: Key):
        key, key_z = jax.random.split(key)
        draw = drawer(params["vae"], some_without(batch, key), key)
        reconstruction, ratio = jax.vmap(draw)(jax.random.split(key_z, importance_samples))  # [k,B] each
        bound = losses.importance_bound(reconstruction + kl_weight(clock) * ratio)
        value = -jnp.mean(bound)
        # The sampled ELBO and KL, whose means over many z are those that have a formula.
        scalars = {"loss": value, "bound": bound, **figures(jnp.mean(reconstruction, 0), -jnp.mean(ratio, 0))}
        return value, (mutable, jax.tree.map(jnp.mean, scalars))

    def drawer(mine: Mapping[str, PyTree], batch: Batch, key: Key):
        """Of fixed pictures, a function key -> (log p(x|z), log p(z) - log q(z|x)), float32 [B] each."""
        x, said = observe(to_float(batch["image"]), key), condition_of({"vae": mine}, batch)
        mean, log_variance = posterior(mine, x, said)

        def draw(key: Key):
            noise = jax.random.normal(key, mean.shape)
            z = mean + jnp.exp(0.5 * log_variance) * noise
            ratio = 0.5 * jnp.sum(noise**2 + log_variance - z**2, axis=-1)
            return log_likelihood(mine, output(mine, z, said), x), ratio

        return draw

    def metrics(weights: Weights, batch: Batch, key: Key):
        reconstruction, kl = terms(weights["vae"], batch, key)
        return figures(reconstruction, jnp.sum(kl, axis=-1))

    def importance(weights: Weights, batch: Batch, key: Key):
        draw = drawer(weights["vae"], batch, key)
        def one(key: Key):
            likelihood, ratio = draw(key)
            return likelihood + ratio

        return one

    def prior(key: Key, n: int, condition: Condition):
        del condition
        return jax.random.normal(key, (n, latent))  # float32 [n,latent]

    def decode(weights: Weights, z: Array, condition: Condition, options: Options):
        del options
        out = output(weights["vae"], z, condition)
        if likelihood == "bernoulli":
            return 2 * jax.nn.sigmoid(out) - 1
        return jnp.clip(out, -1, 1) if likelihood == "gaussian" else losses.logistic_mixture_mean(out, channels)

    def encode(weights: Weights, images: Array, condition: Condition):
        return posterior(weights["vae"], images, condition)[0]

    def weights(params: Params, mutable: Mutable):
        return {"vae": params["vae"]}

    moves = (("vae", loss if importance_samples == 1 else importance_loss),)
    model = Generator(prior, decode, condition_of, needs=given.needs, encode=encode,
                      mixes=("text",) if texts else ())
    return Game(init, moves, weights, {"main": model}, metrics=metrics, importance=importance)


def _networks(size: int, channels: int, classes: int, dtype: jnp.dtype, latent: int, outputs: int, *, name: str,
              **keys: Any):
    module = importlib.import_module(f"imggen_jax.nets.{name}")
    encoder = module.Encoder(size=size, channels=channels, classes=classes, latent=latent, dtype=dtype, **keys)
    return encoder, module.Decoder(size=size, channels=outputs, classes=classes, dtype=dtype, **keys)
