"""Latents of a generator's images: z, or w where a generator has an edit space, one float32 vector an image.

Everything in this package is written against `Model` and its sampler, so it works for every generator.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from imggen_jax.errors import RunError
from imggen_jax.model import MOST_SEEDS, Model
from imggen_jax.sampling import Fields, Latents, at_rows


def seeds(
    model: Model, numbers: Sequence[int], *, given: Mapping | None = None, truncation: float = 1.0
) -> Latents:
    """The latents of seeds, those from which `Model.sample` and `generate` make images.

    Args:
      model: as `imggen_jax.load` gives it.
      numbers: seeds, 0 to 2^32-1 each.
      given: what the images are conditioned on; a label that is not given is drawn from each seed.
      truncation: 0 to 1; below 1 nearer the mean, with less variety and fewer failures.

    Returns:
      Latents of n images.

    Raises:
      RunError: a seed, field or truncation out of range.
    """
    return model.latents(numbers, given, truncation=truncation)


def fresh(model: Model, seed: int, num: int, *, given: Mapping | None = None, truncation: float = 1.0) -> Latents:
    """New latents, of numbers drawn from seed, seed + 1, ...: unrelated to those that `seeds` gives for any of these.

    Raises:
      RunError: as `seeds`.
    """
    if not 0 <= seed <= MOST_SEEDS - num:
        raise RunError(f"seed is {seed}; for {num} images it must be from 0 to {MOST_SEEDS - num}")
    numbers = [int(np.random.SeedSequence([seed + k, 1]).generate_state(1)[0]) for k in range(num)]
    return seeds(model, numbers, given=given, truncation=truncation)


def take(latents: Latents, rows) -> Latents:
    """The latents of these rows, in this order, each made at the place that it had."""
    return Latents(latents.w[rows], rows_of(latents.given, rows), latents.places[rows])


def join(each: Sequence[Latents], *, keep_places: bool = True) -> Latents:
    """Several latents as one, the rows of the first before those of the second: the inverse of `take`.

    Args:
      each: at least one, of one model and conditioned on the same fields.
      keep_places: make each image at the place that it had, which keeps its last bit; False to place it at its row,
        which takes fewer calls of the generator where many latents share a place.

    Raises:
      RunError: no latents, or such that do not fit together.
    """
    if not each:
        raise RunError("no latents are given to be joined; give at least one")
    kinds = {(one.w.shape[1:], *((name, value.shape[1:]) for name, value in sorted(one.given.items()))) for one in each}
    if len(kinds) > 1:
        raise RunError("latents that differ in size, or in the fields that they are conditioned on, cannot be joined")
    w = np.concatenate([one.w for one in each])
    given = {name: np.concatenate([one.given[name] for one in each]) for name in each[0].given}
    return Latents(w, given, np.concatenate([one.places for one in each])) if keep_places else moved(w, given)


def rows_of(given: Fields, rows) -> Fields:
    """Fields of these rows."""
    return {name: value[rows] for name, value in given.items()}


def moved(w: np.ndarray, given: Fields) -> Latents:
    """Latents that no seed has: float32 [n,D] and fields [n,...]."""
    return at_rows(np.asarray(w, np.float32), given)


def show(model: Model, latents: Latents, **options: float) -> np.ndarray:
    """Images of latents: uint8 [n,H,W,C].

    Raises:
      RunError: latents or options that this model does not take.
    """
    return model.sampler.show(model.weights, check(model, latents), model.check_options(options))


def render(model: Model, latents: Latents) -> np.ndarray:
    """`show` before it is rounded to 8 bits: float32 [n,H,W,C] in [-1,1]."""
    return model.sampler.render(model.weights, check(model, latents))


def check(model: Model, latents: Latents) -> Latents:
    """The latents, with w as float32 [n,D] and the fields that the model needs.

    Raises:
      RunError: they do not fit the model.
    """
    w = model.check_latents(latents.w)
    given = model.check_given(latents.given, len(w))
    places = np.asarray(latents.places)
    if places.shape != (len(w),) or places.min() < 0:
        raise RunError(f"places are {places.shape}; latents have one for each image, from 0 up")
    return Latents(w, given, places)


def distance(model: Model, w: np.ndarray) -> np.ndarray:
    """How far from the prior latents [n,D] lie: float32 [n], Mahalanobis' distance over sqrt(D); about 1 is typical."""
    there = model.space()
    return np.sqrt(np.mean(np.square((np.asarray(w, np.float32) - there.mean) @ there.whiten), axis=-1))
