"""Grids of images that a run writes while it trains: samples of fixed seeds, and reconstructions of held-out images."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from imggen_jax import data, sampling
from imggen_jax.config import Settings
from imggen_jax.game import Generator, Spec
from imggen_jax.pictures import grids
from imggen_jax.training.build import Built

SHOWN = 64          # images in a grid
RECONSTRUCTED = 16  # pairs in a grid


def shower(settings: Settings, built: Built, held_out: data.Dataset, log) -> Callable:
    """A function (average, step) that writes the grids of every generator of the game.

    Args:
      settings, built: of the run.
      held_out: transformed examples, whose fields condition the samples, and whose images are reconstructed.
      log: from `open_log`; grids are called "samples" and "reconstructions", with the model's name where it is not
        "main".
    """
    makers = [_grids(name, generator, built.spec, held_out)
              for name, generator in built.game.models.items() if isinstance(generator, Generator)]

    def show(average, step):
        weights = {**average, **built.pretrained}
        for make in makers:
            for name, image in make(weights):
                log.picture(name=name, image=image, step=step, images=step * settings.train.batch)

    return show


def _grids(name: str, generator: Generator, spec: Spec, held_out: data.Dataset) -> Callable:
    sampler, suffix = sampling.sampler(generator, spec), "" if name == "main" else f"_{name}"
    classes = spec["label"].classes if "label" in generator.needs else 0
    columns = classes if 4 <= classes <= 16 else 8
    number = columns * (SHOWN // columns)
    others = [field for field in generator.needs if not spec[field].classes]
    if any(spec[field].is_image for field in others):  # each source once
        number = min(number, held_out.length)
    shown = held_out.read(np.arange(min(number, held_out.length)))
    given = {field: shown[field][np.arange(number) % len(shown[field])] for field in others}
    if classes == columns:
        given["label"] = np.arange(number, dtype=np.int32) % columns
    sources = next((given[field] for field in others if spec[field].is_image), None)

    def make(weights):
        samples = sampler.sample(weights, range(number), given)
        rows = [samples] if sources is None else [_as_large(sources, samples), samples]
        yield f"samples{suffix}", grids.stacked_grid(rows, columns=min(columns, number), pad=2 * len(rows))
        if generator.encode is not None:
            rows = slice(0, RECONSTRUCTED)
            fields = {field: shown[field][rows] for field in generator.needs}
            again = sampling.reconstruct(sampler, weights, shown["image"][rows], fields)
            yield f"reconstructions{suffix}", grids.reconstruction_grid(shown["image"][rows], again)

    return make


def _as_large(sources: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Sources [n,h,w,C] with each pixel as a square, if a whole number of them makes a sample; else cut to its size."""
    factor = max(1, samples.shape[1] // sources.shape[1])
    large = sources.repeat(factor, axis=1).repeat(factor, axis=2)
    return np.pad(large, [(0, 0), *[(0, max(0, a - b)) for a, b in zip(samples.shape[1:3], large.shape[1:3])], (0, 0)]
                  )[:, :samples.shape[1], :samples.shape[2]]
