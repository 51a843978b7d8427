"""Further questions to a trained run: is it useful, how likely are held-out pictures, which modes does it find, does it
copy, is it balanced? Each is a function (model, settings, train set, test set, terms) -> JSON; ASK has them by name."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imggen_jax import data
from imggen_jax.config import Data, Settings
from imggen_jax.errors import RunError
from imggen_jax.evaluation import charts, classifier, likelihood
from imggen_jax.evaluation.score import CHUNK, CLASSIFIER, chunks, reconstruction, space_of
from imggen_jax.metrics import copying, counts, features
from imggen_jax.pictures import grids
from imggen_jax.training.heldout import evaluator

TRUNCATIONS = (0.4, 0.6, 0.8, 1.0)
PAIRS = 24                # on the page of closest pairs
LIKELIHOOD_BATCH = 20     # pictures, each with its samples
STACKED = ("red", "green", "blue")


class Terms(NamedTuple):
    """How a question is asked."""

    num: int        # pictures in a set
    seed: int       # of the first picture; the sets take seed, seed + 1, ...
    resamples: int  # sets, where an answer is the mean over several
    samples: int    # for the likelihood, of each picture
    space: str      # where distances are measured
    out: Path       # folder for pages and charts


def datasets(wanted: Data):
    """Training and held-out pictures of a run, with its label, in memory or streamed; None where none are held out."""
    common = dict(name=wanted.name, dir=wanted.dir, size=wanted.size, label=wanted.label, memory=wanted.memory)
    return (data.open_dataset(split=wanted.split, **common),
            data.open_dataset(split=wanted.test, **common) if wanted.test else None)


def answer(name: str, model, settings: Settings, train_set, test_set, terms: Terms) -> dict:
    """What ASK[name] finds, and under "recipe" all that it depends on beside the run."""
    found = ASK[name](model, settings, train_set, test_set, terms)
    asked = {"num": terms.num, "seed": terms.seed, "train_fingerprint": train_set.fingerprint,
             "held_out_fingerprint": test_set.fingerprint if test_set is not None else None}
    return {**found, "recipe": asked | found.get("recipe", {})}


def stem(name: str, terms: Terms) -> str:
    """What a stored answer is called: everything that it depends on beside the run is in the name."""
    more = {"likelihood": f"_k{terms.samples}", "copying": f"_{terms.space}"}.get(name, "")
    return f"{name}_{terms.num}x{terms.resamples}_seed{terms.seed}{more}"


def check(also, model, wanted: Data, test_set, terms: Terms) -> None:
    """Refuse what cannot be answered before anything is computed.

    Raises:
      RunError: saying why.
    """
    needs = {"likelihood", "copying", "usefulness"} & set(also)
    if needs and test_set is None:
        raise RunError(f"{min(needs)} needs held-out pictures, and config.data.test of this run is empty")
    if "likelihood" in also and model.game.importance is None:
        raise RunError("likelihood: this run's game has none; it is a VAE that has one")
    if "usefulness" in also and not model.spec.classes:
        raise RunError("usefulness needs generated pictures with labels; this run is not class-conditional")
    if "modes" in also and wanted.name != "stacked_mnist":
        raise RunError(f"modes are counted on stacked_mnist, not on {wanted.name}")
    if "likelihood" in also:
        likelihood.check_samples(terms.samples)
    if "copying" in also and min(terms.num, test_set.shape[0]) < copying.LEAST:
        raise RunError(f"copying needs at least {copying.LEAST} generated and {copying.LEAST} held-out pictures, not "
                       f"{terms.num} and {test_set.shape[0]}")
    labelled = {"balance", "usefulness", *(["copying"] if terms.space == CLASSIFIER else [])} & set(also)
    if labelled and not data.label_names(name=wanted.name, split=wanted.split, dir=wanted.dir):
        more = "; or choose another --space" if labelled == {"copying"} else ""
        raise RunError(f"{min(labelled)} needs a dataset with class labels, and {wanted.name} has none{more}")


def figures(model, settings: Settings, test_set) -> dict[str, float]:
    """Held-out figures of the game, and of reconstructions."""
    if test_set is None:
        return {}
    found = evaluator(model.game, test_set, settings.train.batch, settings.seed)(model.weights)
    return {name.removeprefix("test/"): value for name, value in found.items()} | reconstruction(
        model.game, model.spec, model.weights, test_set)


def _sample(model, num: int, seed: int, truncation: float = 1.0, labels=None) -> np.ndarray:
    made = [model.functions["sample"](model.weights, range(start, min(start + CHUNK, seed + num)),
                                      None if labels is None else labels[start - seed:start - seed + CHUNK], truncation)
            for start in range(seed, seed + num, CHUNK)]
    return np.concatenate(made)


def _labeller(wanted: Data) -> classifier.Labeller:
    return classifier.obtain(name=wanted.name, split=wanted.split, test=wanted.test, dir=wanted.dir, size=wanted.size)


def _over_sets(one: Callable[[int], Mapping[str, float]], terms: Terms) -> dict:
    """{figure: its mean over sets of pictures}, their standard deviations as "spread" and all values as "resamples";
    one(first seed) gives the figures of a set."""
    each = [one(terms.seed + k * terms.num) for k in range(terms.resamples)]
    values = {name: [float(found[name]) for found in each] for name in each[0]}
    return {**{name: float(np.mean(of)) for name, of in values.items()},
            "spread": {name: float(np.std(of, ddof=1)) for name, of in values.items()} if len(each) > 1 else {},
            "resamples": values}


def _likelihood(model, settings, train_set, test_set, terms) -> dict:
    """The importance-weighted bound on held-out pictures."""
    del settings, train_set
    return dict(likelihood.bound(model.game, model.weights, model.spec, test_set, samples=terms.samples,
                                 batch=LIKELIHOOD_BATCH, seed=terms.seed, number=terms.num))


def _usefulness(model, settings, train_set, test_set, terms) -> dict:
    """Classification accuracy score (Ravuri and Vinyals, arXiv 1905.10887): the accuracy on real held-out pictures of a
    classifier that has seen generated ones alone, beside that of the dataset's own, which has seen all real ones."""
    del train_set
    labels = np.arange(terms.num, dtype=np.int32) % model.spec.classes
    made = _sample(model, terms.num, terms.seed, labels=labels)
    spec = model.spec._replace(classes=(model.spec.classes,))
    weights = classifier.fit(spec, lambda rows: made[rows], labels[:, None], classifier.RECIPE,
                             "classifier of generated pictures")
    learnt = classifier.labeller_of(spec, ("label",), (model.label_names,), weights, classifier.RECIPE)
    predicted = np.concatenate([learnt.predict(images)[:, 0] for images in chunks(test_set)])
    right = predicted == test_set.read(np.arange(len(predicted)))[1]
    real = _labeller(settings.data)
    return {"accuracy_from_generated": float(np.mean(right)),
            "accuracy_from_generated_error": float(np.std(right) / len(right) ** 0.5),
            "accuracy_from_real": real.accuracy[settings.data.label],
            "pictures": terms.num, "held_out": len(right), "recipe": {"weights_sha256": real.sha256}}


def _modes(model, settings, train_set, test_set, terms) -> dict:
    """Modes of stacked MNIST, and KL(generated || even), by a classifier of each of the three digits."""
    del train_set, test_set
    labeller = _labeller(settings.data)
    columns = [labeller.names.index(name) for name in STACKED]

    def one(seed):
        digits = labeller.predict(_sample(model, terms.num, seed))[:, columns]
        found = counts.modes(digits @ np.array([100, 10, 1]), 1000)
        return {"modes": found.found, "kl": found.kl}

    return _over_sets(one, terms) | {
        "pictures": terms.num, "classifier_accuracy": float(np.mean([labeller.accuracy[name] for name in STACKED])),
        "recipe": {"weights_sha256": labeller.sha256}}


def _copying(model, settings, train_set, test_set, terms) -> dict:
    """The data-copying test, and a page with the closest pairs of the first set."""
    space = space_of(terms.space, settings.data)
    real = [features.extract(space, chunks(each)).vectors for each in (train_set, test_set)]
    path = terms.out / f"closest_{model.images:09d}.png"

    def one(seed):
        made = _sample(model, terms.num, seed)
        found = copying.data_copying(*real, features.extract(space, [made]).vectors, seed=terms.seed)
        if seed == terms.seed:
            closest = np.argsort(found.distances, kind="stable")[:PAIRS]
            page = grids.reconstruction_grid(made[closest], train_set.read(found.nearest[closest])[0], columns=8)
            grids.write_png(path, grids.upscale(page, max(1, 64 // model.spec.size)))
        return {"statistic": found.statistic, "z": found.z, "nearer_than_held_out": found.nearer, "cells": found.cells}

    found = _over_sets(one, terms)
    return found | {"copies": found["z"] < copying.COPIES, "pictures": terms.num, "page": str(path),
                    "recipe": {"space": space.name, "weights_sha256": space.sha256, "resize": space.resize}}


def _balance(model, settings, train_set, test_set, terms) -> dict:
    """How often each value of each attribute occurs in generated pictures, beside real ones, by truncation.

    Both are counted by the same classifier, so that its errors do not look like the generator's; the real ones are held
    out where there are any, for it errs less on those that it has learnt.
    """
    labeller = _labeller(settings.data)
    real_set = train_set if test_set is None else test_set
    rows = np.sort(np.random.default_rng(0).permutation(real_set.shape[0])[:terms.num])
    real = np.concatenate([labeller.predict(images) for images in chunks(real_set, rows)])
    found: dict = {"truncations": list(TRUNCATIONS), "pictures": terms.num, "real": len(real), "attributes": {}}
    made = {truncation: labeller.predict(_sample(model, terms.num, terms.seed, truncation))
            for truncation in TRUNCATIONS}
    for k, (name, values) in enumerate(zip(labeller.names, labeller.values)):
        found["attributes"][name] = {
            "values": list(values), "classifier_accuracy": labeller.accuracy[name],
            "data": [one._asdict() for one in counts.shares(real[:, k], len(values))],
            "generated": [{
                "truncation": truncation,
                "shares": [one._asdict() for one in counts.shares(labels[:, k], len(values))],
                "total_variation": counts.total_variation(labels[:, k], real[:, k], len(values)),
                "by_chance": counts.total_variation_by_chance(labels[:, k], real[:, k], len(values), seed=terms.seed),
            } for truncation, labels in made.items()],
        }
    full = {name: each["generated"][-1] for name, each in found["attributes"].items()}
    worst = max(full, key=lambda name: full[name]["total_variation"] - full[name]["by_chance"])
    return found | {
        "worst_attribute": worst, "worst_total_variation": full[worst]["total_variation"],
        "chart": str(charts.balance(found, terms.out / f"balance_{model.images:09d}.png")),
        "recipe": {"weights_sha256": labeller.sha256}}


ASK = {"likelihood": _likelihood, "usefulness": _usefulness, "modes": _modes, "copying": _copying, "balance": _balance}
