"""Whether a generator copies its training images: the data-copying test, and a page with the closest pairs."""
from __future__ import annotations

import numpy as np

from imggen_jax.errors import RunError
from imggen_jax.evaluation import scores, store
from imggen_jax.evaluation.context import (
    Context,
    Terms,
    batches,
    generate,
    image_shape,
    over_sets,
    require_classifier,
    require_held_out,
)
from imggen_jax.metrics import copying, features
from imggen_jax.pictures import grids
from imggen_jax.provenance import publishing

PAIRS, COLUMNS, SIDE = 24, 8, 64  # on the page of closest pairs; SIDE: pixels that a small image is scaled up to


def check(context: Context) -> None:
    """Raises RunError for too few images, generated or held out, or data that the feature space does not suit."""
    num, held_out = context.terms.num, require_held_out(context, "copying").length
    if min(num, held_out) < copying.LEAST:
        raise RunError(f"copying needs at least {copying.LEAST} generated and {copying.LEAST} held-out images, not "
                       f"{num} and {held_out}")
    image_shape(context.model.spec)
    if context.terms.space == scores.CLASSIFIER:
        require_classifier(context, "copying", "; or choose another --space")


def evaluate(context: Context) -> dict:
    """C_T of Meehan et al. (arXiv 2004.05675) as `statistic`, its `z`, and whether it `copies`; see metrics.copying."""
    model, terms, train_set = context.model, context.terms, context.train_set
    space = scores.load_space(terms.space, context.settings)
    real, held_out = (features.extract(space, batches(each)).vectors
                      for each in (train_set, require_held_out(context, "copying")))
    page, origin = None, publishing.Origin("evaluate", composite=True)

    def one(seed):
        nonlocal page
        images = generate(context, terms.num, seed)
        tested = copying.data_copying(real, held_out, features.extract(space, [images]).vectors, seed=terms.seed)
        if seed == terms.seed:
            closest = np.argsort(tested.distances, kind="stable")[:PAIRS]
            pairs = grids.reconstruction_grid(
                images[closest], train_set.read(tested.nearest[closest])["image"], columns=COLUMNS)
            scale = max(1, SIDE // max(image_shape(model.spec)[:2]))
            page = store.write_page(terms.out, f"closest_{model.images_seen:09d}.png",
                                    lambda path: publishing.write_png(path, grids.upscale(pairs, scale), origin))
        return {"statistic": tested.statistic, "z": tested.z, "nearer_than_held_out": tested.nearer,
                "cells": tested.cells}

    results = over_sets(one, terms)
    return results | {"copies": results["z"] < copying.COPIES, "pictures": terms.num, "page": page,
                      "recipe": {"space": space.name, "weights_sha256": space.sha256, "resize": space.resize}}


def stem(terms: Terms) -> str:
    """What a result depends on beside num, resamples and seed."""
    return terms.space
