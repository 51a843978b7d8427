"""What every evaluator is given, and the images that it looks at."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imggen_jax import data
from imggen_jax import spec as specs
from imggen_jax.config import Settings
from imggen_jax.errors import RunError
from imggen_jax.evaluation import classifier
from imggen_jax.game import Generator, Spec
from imggen_jax.model import Model

CHUNK = 512  # images that are read or generated at a time


class Terms(NamedTuple):
    """How much is evaluated, and from which seeds."""

    num: int          # images in a set
    seed: int         # of the first image; the sets take seed, seed + 1, ...
    resamples: int    # sets, where a result is the mean over several
    samples: int      # latents for each image, for the likelihood
    space: str        # feature space in which distances are measured
    out: Path | None  # folder for reports, pages and charts; None for nowhere


class Context(NamedTuple):
    """What an evaluator may use. Nothing is decoded before it is read."""

    model: Model
    settings: Settings             # the run's, with the dataset that a folder of images was made into
    train_set: data.Dataset
    test_set: data.Dataset | None  # held-out examples, if the run has any
    terms: Terms


def batches(dataset: data.Dataset, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Images of a dataset, those of `rows` or all: uint8 [n,H,W,C] with n at most CHUNK."""
    rows = np.arange(dataset.length) if rows is None else rows
    for start in range(0, len(rows), CHUNK):
        yield dataset.read(rows[start:start + CHUNK])["image"]


def fingerprint(dataset: data.Dataset) -> str:
    """Of its images alone: what else is read of an example does not change a score."""
    return dataset.fingerprints["image"]


def generate(context: Context, num: int, seed: int, *, truncation: float = 1.0, given: Mapping | None = None
             ) -> np.ndarray:
    """Images of the seeds seed, seed + 1, ...: uint8 [num,H,W,C].

    Args:
      context: whose model generates.
      num, seed: how many, and the seed of the first.
      truncation: as for `Model.sample`.
      given: fields [num,...]. Labels that are left out are drawn from each seed; other fields are those of training
        examples.
    """
    model, made = context.model, []
    for start in range(0, num, CHUNK):
        seeds = range(seed + start, seed + min(start + CHUNK, num))
        fields = {name: value[start:start + CHUNK] for name, value in (given or {}).items()}
        fields |= {name: value for name, value in
                   example_fields(model.generator, model.spec, context.train_set, seeds).items() if name not in fields}
        made.append(model.sampler.sample(model.weights, seeds, fields, truncation))
    return np.concatenate(made)


def example_fields(generator: Generator, spec: Spec, train_set: data.Dataset, seeds: Sequence[int]) -> dict:
    """What a generator needs beside labels, {field: [n,...]}: seed s takes it from training example s modulo N."""
    needs = [name for name in generator.needs if not spec[name].classes]
    if not needs:
        return {}
    examples = train_set.read(np.asarray(seeds, np.int64) % train_set.length)
    return {name: examples[name] for name in needs}


def labeller(context: Context) -> classifier.Labeller:
    """The classifier of the run's dataset; trained now if it never was."""
    return classifier.dataset_classifier(**dataset_of(context.settings))


def dataset_of(settings: Settings) -> dict:
    """The arguments of `classifier.dataset_classifier` for a run's dataset."""
    wanted = settings.data
    return dict(name=wanted.name, split=wanted.split, held_out=wanted.test, dir=wanted.dir, size=wanted.size)


def over_sets(one: Callable[[int], Mapping[str, float]], terms: Terms) -> dict:
    """{name: mean over the sets of images}, with the standard deviations as "spread" and all values as "resamples".

    one: (seed of the first image) -> the values of a set.
    """
    each = [one(terms.seed + k * terms.num) for k in range(terms.resamples)]
    values = {name: [float(results[name]) for results in each] for name in each[0]}
    return {**{name: float(np.mean(of)) for name, of in values.items()},
            "spread": {name: float(np.std(of, ddof=1)) for name, of in values.items()} if len(each) > 1 else {},
            "resamples": values}


# Checks that several evaluators make.

def require_held_out(context: Context, what: str) -> data.Dataset:
    """The held-out examples. Raises RunError for a run without them."""
    if context.test_set is None:
        raise RunError(f"{what} needs held-out images, and config.data.test of this run is empty")
    return context.test_set


def require_classifier(context: Context, what: str, remedy: str = "") -> None:
    """Raises RunError for a dataset without labels, or with images that its classifier does not take."""
    wanted = context.settings.data
    try:
        data.class_labels(name=wanted.name, split=wanted.split, dir=wanted.dir)
    except data.DataError:
        raise RunError(f"{what} needs a dataset with class labels, and {wanted.name} has none{remedy}") from None
    classifier.check_images(context.train_set.spec["image"])


def image_shape(spec: Spec) -> tuple[int, int, int]:
    """(H,W,C). Raises RunError for images of any size, whose scores would not compare."""
    try:
        return specs.image_shape(spec)
    except ValueError as error:
        raise RunError(f"these images cannot be evaluated: {error}; set config.data.size or config.data.crop") from None
