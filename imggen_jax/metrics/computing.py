"""Scores of one set of pictures against another, wherever they come from."""
from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import cast

import jax
import numpy as np

from imggen_jax.errors import MetricsError
from imggen_jax.metrics import features, pictures, scores, spaces
from imggen_jax.metrics.features import Features, Space
from imggen_jax.metrics.pictures import Pictures
from imggen_jax.metrics.scores import Report

Images = np.ndarray | Iterable[np.ndarray] | str | os.PathLike | Pictures


def compute(real: Images, fake: Images, *, space: str | Space = "inception", seed: int = 0,
            resamples: int = scores.RESAMPLES) -> Report:
    """Compute all scores of a feature space: FID or Frechet distance, KID, Inception Score, precision, recall, ...

        report = imggen_jax.metrics.compute("photos", model.sample(5000))
        report.scores["fid"].value

    Args:
      real, fake: each is one of
        an array, uint8 [N,H,W,C], C 1 or 3;
        an iterable of pictures uint8 [H,W,C] or batches of them [n,H,W,C], read once and never held as a whole;
        the path of a folder of pictures or of a .npz file, see `pictures.read`;
        a `pictures.Pictures`.
        H, W and C are the same for both sets; N may differ, and must exceed the number of dimensions of the space.
      space: a name of `spaces.NAMES`, whose weight file must be on this machine, or a Space. Its dimensions: 2048 for
        "inception", 768 for "dinov2-vitb14", 1024 for "dinov2-vitl14".
      seed: of the subsets and halves that are drawn.
      resamples: random halves of `fake`, at least 3, over which each score's standard deviation is estimated.

    Returns:
      Report: scores with their standard deviations, and the recipe, by which `scores.compare` tells whether two reports
      are comparable.

    Raises:
      MetricsError: pictures that cannot be read, are of other sizes or dtypes, or too few; an unknown space.
      WeightsError: the weight file of the space is missing, damaged, or another one.
    """
    scores.check_resamples(resamples)
    space = spaces.load(space) if isinstance(space, str) else space
    sets = [_open(what, title) for what, title in ((real, "real"), (fake, "fake"))]
    # What is known of the sets without reading them is checked first.
    _check_shapes(*((each.title, each.shape) for each in sets if each.shape))
    scores.check_counts(space.name, space.dims, {each.title: each.count for each in sets if each.count is not None})
    vectors = [each.extract(space) for each in sets]
    _check_shapes(*((each.title, each.shape) for each in sets if each.shape))
    scores.check_counts(space.name, space.dims, {each.title: each.count for each in sets if each.count is not None})
    found = scores.measure(space, vectors[0], [vectors[1]], seed=seed, resamples=resamples)
    first, second = sets
    assert first.count is not None and second.count is not None and first.fingerprint is not None, "known once read"
    recipe = scores.recipe(space, real=first.count, fake=second.count, fingerprint=first.fingerprint)
    about = {"real": first.title, "fake": second.title, "fake_fingerprint": second.fingerprint, "seeds": [seed],
             "spread": f"over {resamples} random halves"}
    return Report(found, recipe, about, {"jax": jax.__version__})


class _Set:
    """Pictures of which count, shape and fingerprint are known at the latest when they have been read."""

    def __init__(self, title: str, batches: Iterable[np.ndarray], known: Pictures | None = None):
        self.title, self._batches, self._known = title, batches, known
        self.count = known.count if known else None
        self.shape: tuple[int, int, int] | None = known.shape if known else None
        self.fingerprint = known.fingerprint if known else None

    def extract(self, space: Space) -> Features:
        if self._known:
            return features.extract(space, self._known.batches())
        return features.extract(space, self._counted())

    def _counted(self) -> Iterator[np.ndarray]:
        digest, self.count = hashlib.sha256(), 0
        for batch in features.blocks(self._batches, pictures.BATCH):
            self.shape = cast(tuple[int, int, int], batch.shape[1:])
            self.count += len(batch)
            digest.update(np.ascontiguousarray(batch).data)
            yield batch
        digest.update(repr(self.shape).encode())  # as of a folder with the same pictures
        self.fingerprint = digest.hexdigest()


def _open(images: Images, title: str) -> _Set:
    if isinstance(images, (str, os.PathLike)):
        images = pictures.read(images)
    elif hasattr(images, "shape") and not isinstance(images, Pictures):
        images = pictures.of_array(np.asarray(images), title)
    if isinstance(images, Pictures):
        return _Set(images.title, (), images)
    if not isinstance(images, Iterable):
        raise MetricsError(f"{title} is a {type(images).__name__}; give an array uint8 [N,H,W,C], an iterable of "
                           "such batches, or the path of a folder or .npz file")
    return _Set(title, images)


def _check_shapes(*sets: tuple[str, tuple[int, int, int]]) -> None:
    if len({shape for _, shape in sets}) > 1:
        listed = ", ".join(f"{title} {width}x{height} {'gray' if channels == 1 else 'RGB'}"
                           for title, (height, width, channels) in sets)
        raise MetricsError(f"the pictures of the two sets differ: {listed}; bring them to one size and one number of "
                           "channels first")
