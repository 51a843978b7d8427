"""A picture as it is thought to be while its model is at work."""
from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax import sampling
from imggen_jax.errors import RunError
from imggen_jax.model import Model
from imggen_jax.pipelines import solving
from imggen_jax.pipelines.opening import Recipe, module_of, recipe_of, with_decoder
from imggen_jax.schedules import SAMPLERS

EVERY = 5               # steps between two looks
KNOWN = ("ddim", "euler", "flow_euler")  # samplers whose only memory is z


def previews(
    model: Model, given: Mapping[str, Any], *, seed: int = 0, every: int = EVERY,
    decoder: str | os.PathLike[str] | None = None, **options: float,
) -> Iterator[tuple[int, np.ndarray]]:
    """The picture of a seed, seen after every few steps; the last one is what `Model.sample` makes, up to rounding.

    Args:
      model: of `load`, with sampler ddim, euler or that of flows.
      given: what it is conditioned on, as {"text": ...}; without a source.
      seed: of the picture.
      every: steps between two looks, at least 1.
      decoder: folder of a small one (`with_decoder`) for all looks but the last.
      **options: of the model.

    Yields:
      (steps that are done, uint8 [H,W,C]).

    Raises:
      RunError: another sampler, or a source, field or option that cannot be.
      WeightsError: the decoder cannot be read.
    """
    recipe = recipe_of(model)
    chosen = {name: option.default for name, option in model.generator.options.items()} | model.check_options(options)
    sampler = SAMPLERS[int(chosen["sampler"])] if "sampler" in chosen else recipe.trained.sampler
    if sampler not in KNOWN:
        raise RunError(f"the sampler {sampler} remembers more than a picture shows; looks are for {', '.join(KNOWN)}")
    if "source" in given or every < 1:
        raise RunError("a picture is looked at every step or more seldom, and without a source; leave it out")
    small = model if decoder is None else with_decoder(model, decoder)
    fields = model.check_given(given, 1)
    noise = model.latents([seed], given).w.reshape(1, *_shape(model))
    static = tuple(sorted((name, int(value)) for name, value in chosen.items()
                          if isinstance(model.generator.options[name].default, int)))
    dynamic = {name: np.float32(value) for name, value in chosen.items() if name not in dict(static)}
    return _looks(model, small, recipe, fields, jnp.asarray(noise), static, dynamic, every)


def _looks(model: Model, small: Model, recipe: Recipe, fields: sampling.Fields, noise: jax.Array,
           static: tuple[tuple[str, int], ...], dynamic: Mapping[str, Any], every: int
           ) -> Iterator[tuple[int, np.ndarray]]:
    count, z = dict(static)["steps"], noise
    condition = _conditioned(model.generator.condition)(model.weights, fields)
    for first in range(0, count, every):
        last = min(first + every, count)
        z, x = _glimpse(recipe, static)(model.weights, z, condition, dynamic, first, last)
        one = model if last == count else small
        yield last, np.asarray(_decoded(recipe_of(one))(one.weights, z if last == count else x))[0]


def _shape(model: Model) -> tuple[int, ...]:
    return jax.eval_shape(lambda key: model.generator.prior(key, 1, None), jax.random.key(0)).shape[1:]


@functools.lru_cache(maxsize=4)
def _conditioned(condition):
    return jax.jit(condition)


@functools.lru_cache(maxsize=4)
def _glimpse(recipe: Recipe, static: tuple[tuple[str, int], ...]):
    @jax.jit
    def run(weights, z, condition, dynamic, first, last):
        steps, denoise = module_of(recipe).way(recipe, weights, z, condition, {**dynamic, **dict(static)})
        begin = jnp.where(first == 0, steps.start, 1.0) * z
        return solving.glimpse(steps, denoise, begin, first, last)

    return run


@functools.lru_cache(maxsize=4)
def _decoded(recipe: Recipe):
    return jax.jit(lambda weights, z: sampling.to_uint8(module_of(recipe).pictures(recipe, weights, z)))
