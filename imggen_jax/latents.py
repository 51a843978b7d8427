"""Where a game makes its pictures: in pixels, or in the latents of a trained autoencoder, standardized."""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from imggen_jax.game import Array, Clock, Mutable, Params, Pretrained, Weights

NAME = "autoencoder"  # of the pretrained network
LEAST = 1e-3  # of the standard deviations, so that a dead channel can be divided by


class Space(NamedTuple):
    """Pictures float [B,H,W,C] in [-1,1], and what they are in this space: x float [B,*shape], about standard normal.

    `params` and `weights` hold the autoencoder's own under its name, and of the game's `weights` what `start` gives.
    """

    shape: tuple[int, ...]
    start: Callable[[], Mutable]  # -> what is measured while training: each channel's mean and mean square
    # (params, mutable, pictures, clock) -> (x, the new mutable)
    measure: Callable[[Params, Mutable, Array, Clock], tuple[Array, Mutable]]
    enter: Callable[[Weights, Array], Array]  # (weights, pictures) -> x
    leave: Callable[[Weights, Array], Array]  # (weights, x) -> pictures


def pixels(shape: tuple[int, int, int]) -> Space:
    """The space of pixels as they are."""
    return Space(shape, dict, lambda params, mutable, images, clock: (images, mutable), lambda weights, images: images,
                 lambda weights, x: jnp.clip(x, -1, 1))


def of(image: tuple[int, int, int], network: Pretrained | None) -> Space:
    """The space of an autoencoder's latents, each channel with mean 0 and variance 1; that of pixels without one.

    Latents that are vectors [n,d] are maps [n,1,1,d] here.

    Args:
      image: (H,W,C) of the pictures.
      network: a trained model with `encode` and `decode`, conditioned on nothing.

    Raises:
      ValueError: it has none, or its latents are neither maps nor vectors.
    """
    if network is None:
        return pixels(image)
    if not {"encode", "decode"} <= set(network.apply):
        raise ValueError(f"config.pretrained.{NAME} has no encoder and decoder; name the run of an autoencoder or VAE")
    found = jax.eval_shape(lambda x: network.apply["encode"](network.weights, x, None),
                           jax.ShapeDtypeStruct((1, *image), jnp.float32))
    if getattr(found, "ndim", 0) not in (2, 4):
        raise ValueError(f"config.pretrained.{NAME} has latents {getattr(found, 'shape', 'of several arrays')}, and "
                         "maps [n,h,w,c] or vectors [n,d] are needed; train the config avatars_vae_64, or its like")
    shape = found.shape[1:] if found.ndim == 4 else (1, 1, found.shape[1])

    def encode(weights: Weights, images: Array) -> Array:
        return network.apply["encode"](weights[NAME], images, None).reshape(-1, *shape)

    def start() -> Mutable:
        return {"latents": {"mean": jnp.zeros(shape[-1]), "square": jnp.ones(shape[-1])}}

    def scale(measured: Mutable) -> tuple[Array, Array]:
        mean, square = measured["latents"]["mean"], measured["latents"]["square"]
        return mean, jnp.sqrt(jnp.maximum(square - mean**2, LEAST**2))

    def measure(params: Params, mutable: Mutable, images: Array, clock: Clock) -> tuple[Array, Mutable]:
        x = jax.lax.stop_gradient(encode(params, images))
        now = {"mean": jnp.mean(x, axis=(0, 1, 2)), "square": jnp.mean(x**2, axis=(0, 1, 2))}
        # The mean over all batches so far, which settles, so that what is learned stays true.
        rate = 1 / (clock.step + 1)
        mutable = {"latents": jax.tree.map(lambda old, new: old + rate * (new - old), mutable["latents"], now)}
        mean, deviation = scale(mutable)
        return (x - mean) / deviation, mutable

    def enter(weights: Weights, images: Array) -> Array:
        mean, deviation = scale(weights)
        return (encode(weights, images) - mean) / deviation

    def leave(weights: Weights, x: Array) -> Array:
        mean, deviation = scale(weights)
        z = (x * deviation + mean).reshape(-1, *found.shape[1:])
        return jnp.clip(network.apply["decode"](weights[NAME], z, None, {}), -1, 1)

    return Space(shape, start, measure, enter, leave)
