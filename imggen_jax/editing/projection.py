"""Find the latents of images that a model did not make."""
from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from imggen_jax import inversion
from imggen_jax.editing.space import distance, moved, show
from imggen_jax.errors import RunError
from imggen_jax.metrics.similarity import psnr
from imggen_jax.model import Model
from imggen_jax.sampling import Latents


class Projection(NamedTuple):
    """What was found for n images."""

    latents: Latents
    images: np.ndarray    # uint8 [n,H,W,C], made from them
    psnr: np.ndarray      # float64 [n], dB, of the 8-bit images
    distance: np.ndarray  # float32 [n], from the prior: about 1 is typical, see `space.distance`


def project(
    model: Model, images: np.ndarray, *, given: Mapping | None = None, steps: int | None = None, seed: int = 0
) -> Projection:
    """The latents whose images are nearest to given ones, in mean squared error.

    By the encoder where the model has one, else by optimization: `inversion.invert`.

    Args:
      model: a loaded model.
      images: uint8 [n,H,W,C].
      given: what the images are conditioned on.
      steps: of the optimizer; None for 300, or none where there is an encoder.
      seed: of the optimizer's starts.

    Raises:
      RunError: images, fields or steps that this model does not take.
    """
    if steps is not None and steps < 0:
        raise RunError(f"steps is {steps}; it must be at least 0")
    images = model.check_images(images)
    fields = model.check_given(given, len(images))
    encodes = model.sampler.encode is not None
    steps = (0 if encodes else inversion.STEPS) if steps is None else steps
    w = model.encode(images, given) if encodes else None
    if steps or w is None:
        w = inversion.invert(model.sampler, model.weights, images, fields, model.space(), guess=w, steps=steps,
                             seed=seed)
    latents = moved(w, fields)
    again = show(model, latents)
    return Projection(latents, again, psnr(images, again), distance(model, latents.w))
