"""Genes learned from a run's own dataset: its labels, a classifier of them, and latents that have both."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imggen_jax import data
from imggen_jax.editing import genes as genetics
from imggen_jax.editing.genes import Genes
from imggen_jax.editing.space import fresh, seeds, show, take
from imggen_jax.errors import RunError
from imggen_jax.model import Model
from imggen_jax.training.dataset import of_run

METHODS = ("labels", "sefa", "pca")
SAMPLES = 8_000     # pictures of the model's own that a classifier labels
PICTURES = 20_000   # of the dataset that are encoded, where there is an encoder
FACES = 200         # random pictures on which genes are measured


def learn(
    workdir: str | Path,
    model: Model,
    *,
    method: str = "labels",
    labels: Sequence[str] | None = None,
    samples: int = SAMPLES,
    faces: int = FACES,
    labeller=None,
    guide=None,
) -> tuple[Genes, list[str]]:
    """Genes of a run. Those of other methods that are there stay, if the weights are still the same.

    With labels: a classifier is trained on the dataset's real pictures (once, then kept) and labels the model's own;
    a model with an encoder learns from the dataset's pictures and their true labels too. A second classifier, from
    another seed, leads latents to their goals; the first one judges where they got.

    Args:
      workdir, model: the run.
      method: "labels", "sefa" or "pca".
      labels: names of the dataset's labels to learn; None for all.
      samples: pictures of the model's own to learn from.
      faces: random pictures on which each gene is measured.
      labeller, guide: None to take `evaluation.classifier.dataset_classifier`'s.

    Returns:
      The genes, measured, and lines on how they were learned.

    Raises:
      RunError: an unknown method, or a dataset without labels.
    """
    if method not in METHODS:
        raise RunError(f"unknown method {method!r}; choose {', '.join(METHODS)}")
    if samples < 100 or faces < 1:
        raise RunError(f"{samples} samples and {faces} faces; genes need at least 100 and 1")
    kept = _kept(workdir, model)
    if method != "labels":
        found = genetics.sefa(model) if method == "sefa" else genetics.components(model)
        others = {name: one for name, one in kept.directions.items() if not name.startswith(method)}
        genes = kept._replace(directions={**others, **found})
        measured = {name: genetics.change(model, seeds(model, range(faces)), name, genes) for name in found}
        return genes._replace(measured={**_of(kept, genes), **measured}), []
    labeller = labeller_of(model, labels) if labeller is None else labeller
    guide = guide_of(model, labels) if guide is None else guide
    w, truth = _labelled(model, labeller, samples)
    said = [f"learned from {samples} of the model's pictures, labelled by a classifier"]
    if model.sampler.encode is not None:
        more_w, more = _encoded(model, labeller.names)
        w, truth = np.concatenate([w, more_w]), np.concatenate([truth, more])
        said[0] += f", and {len(more)} of the dataset's, encoded"
    said += [f"the classifier is right in {share:.1%} of {name}" for name, share in labeller.accuracy.items()]
    attributes = genetics.boundaries(model, w, truth, labeller.names, labeller.values)
    genes = kept._replace(attributes=attributes, guide=guide)
    measured = genetics.measure(model, seeds(model, range(faces)), genes, labeller)
    return genes._replace(measured=measured), said


def _kept(workdir: str | Path, model: Model) -> Genes:
    """The genes that are there, or none."""
    if genetics.place(workdir).is_file():
        try:
            return genetics.load(workdir, model)
        except RunError:  # damaged, or of other weights: they are learned anew
            pass
    return Genes(genetics.fingerprint(model), {}, None, {}, {})


def _of(kept: Genes, genes: Genes) -> dict:
    return {name: one for name, one in kept.measured.items() if name in genes.names()}


def labeller_of(model: Model, labels: Sequence[str] | None = None, *, seed: int = 0):
    """The classifier of a run's dataset, `evaluation.classifier.Labeller`; trained now if it never was.

    Its `predict` takes images uint8 [n,H,W,C] and returns the likeliest value of each of its K labels, int32 [n,K];
    `names`, `values` and `accuracy` describe the labels.

    Args:
      model: a loaded run.
      labels: names of the labels to learn; None for all that the dataset has.
      seed: of its training; classifiers of two seeds make different errors.

    Raises:
      DataError: the dataset is not there any more.
      RunError: the dataset has no labels.
    """
    from imggen_jax.evaluation import classifier

    wanted = of_run(model.config, model.data).data
    where = {"name": wanted.name, "dir": wanted.dir, "split": wanted.split}
    try:
        data.class_labels(**where)
    except data.DataError as error:
        raise RunError(f"{error}; genes that need no labels: genes --learn --method sefa, or --method pca") from error
    return classifier.dataset_classifier(held_out=wanted.test, size=wanted.size, labels=labels,
                                         recipe={**classifier.RECIPE, "seed": seed}, **where)


def guide_of(model: Model, labels: Sequence[str] | None = None):
    """The second classifier of a run's dataset, that guides edits to their targets."""
    from imggen_jax.evaluation import classifier

    return labeller_of(model, labels, seed=classifier.GUIDE_SEED)


def _labelled(model: Model, labeller, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """(w [n,D], labels int32 [n,K]) of the model's own pictures, by the classifier."""
    latents = fresh(model, 2**31, samples)
    found = [labeller.predict(show(model, take(latents, np.arange(i, min(i + 512, samples)))))
             for i in range(0, samples, 512)]
    return latents.w, np.concatenate(found)


def _encoded(model: Model, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(w [n,D], labels int32 [n,K]) of the dataset's images, by the encoder."""
    dataset = _dataset(model, "split", names)
    number, found, truth = min(PICTURES, dataset.length), [], []
    for i in range(0, number, 500):
        batch = dataset.read(np.minimum(np.arange(i, i + 500), number - 1))
        given = {name: batch[name] for name in model.generator.needs}
        found.append(model.encode(batch["image"], given))
        truth.append(np.stack([batch[name] for name in names], axis=-1))
    return np.concatenate(found)[:number], np.concatenate(truth)[:number]


def _dataset(model: Model, split: str, names: Sequence[str]) -> data.Dataset:
    """A split of the dataset that a run was trained on, with these label fields too."""
    wanted = of_run(model.config, model.data).data
    return data.open_dataset(name=wanted.name, dir=wanted.dir, split=getattr(wanted, split), size=wanted.size,
                             label=wanted.label, memory=wanted.memory, fields=("image", *names))


def held_out(model: Model, number: int, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Images that a run was not trained on: the first ones of its test split.

    Args:
      model: a loaded run.
      number: how many; fewer where the split has fewer.
      names: of the K label fields to read.

    Returns:
      (images uint8 [n,H,W,C], their true labels int32 [n,K]).

    Raises:
      DataError: the dataset is not there any more, or has no such label.
      RunError: the run holds no images out, or a number below 1.
    """
    if number < 1:
        raise RunError(f"number is {number}; it must be at least 1")
    if not of_run(model.config, model.data).data.test:
        raise RunError("this run holds no images out (its config.data.test is empty); train one that does, such as "
                       "with --config.data.split=train[:90%] --config.data.test=train[90%:]")
    dataset = _dataset(model, "test", names)
    batch = dataset.read(np.arange(min(number, dataset.length)))
    labels = [batch[name] for name in names]
    return batch["image"], np.stack(labels, axis=-1) if labels else np.empty((len(batch["image"]), 0), np.int32)
