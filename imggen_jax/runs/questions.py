"""Further questions to a trained run: is it useful, how likely are held-out pictures, which modes does it find, does it
copy, is it balanced? Each is a function (model, settings, train set, test set, ...) -> JSON; ASK has them by name."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from imggen_jax import data
from imggen_jax.metrics import copying, counts, features
from imggen_jax.runs import charts, classifier, likelihood, pictures
from imggen_jax.runs.config import Data, Settings
from imggen_jax.runs.errors import RunError
from imggen_jax.runs.evaluate import evaluator
from imggen_jax.runs.score import CHUNK, chunks, reconstruction, space_of

TRUNCATIONS = (0.4, 0.6, 0.8, 1.0)
PAIRS = 24                # on the page of closest pairs
LIKELIHOOD_BATCH = 20     # pictures, each with its samples
STACKED = ("red", "green", "blue")


def datasets(wanted: Data):
    """Training and held-out pictures of a run, with its label, in memory or streamed; None where none are held out."""
    common = dict(name=wanted.name, dir=wanted.dir, size=wanted.size, label=wanted.label, memory=wanted.memory)
    return (data.open_dataset(split=wanted.split, **common),
            data.open_dataset(split=wanted.test, **common) if wanted.test else None)


def check(also, model, wanted: Data, test_set) -> None:
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


def _likelihood(model, settings, train_set, test_set, *, num, seed, samples, out) -> dict:
    """The importance-weighted bound on held-out pictures."""
    del train_set, out
    return dict(likelihood.bound(model.game, model.weights, model.spec, test_set, samples=samples,
                                 batch=LIKELIHOOD_BATCH, seed=seed, number=num))


def _usefulness(model, settings, train_set, test_set, *, num, seed, samples, out) -> dict:
    """Classification accuracy score (Ravuri and Vinyals, arXiv 1905.10887): the accuracy on real held-out pictures of a
    classifier that has seen generated ones alone, beside that of the dataset's own, which has seen all real ones."""
    del train_set, samples, out
    labels = np.arange(num, dtype=np.int32) % model.spec.classes
    made = _sample(model, num, seed, labels=labels)
    spec = model.spec._replace(classes=(model.spec.classes,))
    weights = classifier.fit(spec, lambda rows: made[rows], labels[:, None], classifier.RECIPE,
                             "classifier of generated pictures")
    learnt = classifier.labeller_of(spec, ("label",), (model.label_names,), weights, classifier.RECIPE)
    predicted = np.concatenate([learnt.predict(images)[:, 0] for images in chunks(test_set)])
    right = predicted == test_set.read(np.arange(len(predicted)))[1]
    return {"accuracy_from_generated": float(np.mean(right)),
            "accuracy_from_real": _labeller(settings.data).accuracy[settings.data.label],
            "pictures": num, "held_out": test_set.shape[0]}


def _modes(model, settings, train_set, test_set, *, num, seed, samples, out) -> dict:
    """Modes of stacked MNIST, and KL(generated || even), by a classifier of each of the three digits."""
    del train_set, test_set, samples, out
    labeller = _labeller(settings.data)
    digits = labeller.predict(_sample(model, num, seed))[:, [labeller.names.index(name) for name in STACKED]]
    found = counts.modes(digits @ np.array([100, 10, 1]), 1000)
    return {"modes": found.found, "kl": found.kl, "pictures": num,
            "classifier_accuracy": float(np.mean([labeller.accuracy[name] for name in STACKED]))}


def _copying(model, settings, train_set, test_set, *, num, seed, samples, out) -> dict:
    """The data-copying test in the classifier's features, and a page with the closest pairs."""
    del samples
    space = space_of("classifier", settings.data)
    made = _sample(model, num, seed)
    vectors = [features.extract(space, source).vectors for source in (chunks(train_set), chunks(test_set), [made])]
    found = copying.data_copying(*vectors, seed=seed)
    closest = np.argsort(found.distances, kind="stable")[:PAIRS]
    page = pictures.reconstruction_grid(made[closest], train_set.read(found.nearest[closest])[0], columns=8)
    path = Path(out) / f"closest_{model.images:09d}.png"
    pictures.write_png(path, pictures.upscale(page, max(1, 64 // model.spec.size)))
    return {"statistic": found.statistic, "copies": found.copies, "nearer_than_held_out": found.nearer,
            "cells": found.cells, "pictures": num, "page": str(path)}


def _balance(model, settings, train_set, test_set, *, num, seed, samples, out) -> dict:
    """How often each value of each attribute occurs in generated pictures, beside the data, by truncation.

    Both are counted by the same classifier, so that its errors do not look like the generator's.
    """
    del test_set, samples
    labeller = _labeller(settings.data)
    rows = np.sort(np.random.default_rng(0).permutation(train_set.shape[0])[:num])
    real = np.concatenate([labeller.predict(images) for images in chunks(train_set, rows)])
    found: dict = {"truncations": list(TRUNCATIONS), "pictures": num, "attributes": {}}
    made = {truncation: labeller.predict(_sample(model, num, seed, truncation)) for truncation in TRUNCATIONS}
    for k, (name, values) in enumerate(zip(labeller.names, labeller.values)):
        found["attributes"][name] = {
            "values": list(values), "classifier_accuracy": labeller.accuracy[name],
            "data": [one._asdict() for one in counts.shares(real[:, k], len(values))],
            "generated": [{
                "truncation": truncation,
                "shares": [one._asdict() for one in counts.shares(labels[:, k], len(values))],
                "total_variation": counts.total_variation(labels[:, k], real[:, k], len(values)),
                "by_chance": counts.total_variation_by_chance(labels[:, k], real[:, k], len(values), seed=seed),
            } for truncation, labels in made.items()],
        }
    worst = {name: each["generated"][-1]["total_variation"] for name, each in found["attributes"].items()}
    found["worst_attribute"] = max(worst, key=worst.get)
    found["worst_total_variation"] = max(worst.values())
    found["chart"] = str(charts.balance(found, Path(out) / f"balance_{model.images:09d}.png"))
    return found


ASK = {"likelihood": _likelihood, "usefulness": _usefulness, "modes": _modes, "copying": _copying, "balance": _balance}
