"""Genes: named directions in a model's space of pictures, and edits along them.

A gene "attribute=value" is learned from labels. In whitened coordinates u, where the prior is about N(0, I), a linear
boundary is fitted for each value against the others (InterFaceGAN, Shen et al., arXiv 1907.10786, section 3), and made
orthogonal to the boundaries of the other attributes (its section 3.3, conditional manipulation). Two kinds need no
labels: "sefa1", ... are the directions in which the first layer's weights stretch most (SeFa, Shen and Zhou, arXiv
2007.06600, equation 4), "pca1", ... those along which the space, or what it shows, varies most (GANSpace, Harkonen et
al., arXiv 2004.02546). Along a gene one goes by an amount; to a value without an amount, by `targets`.
"""
from __future__ import annotations

import difflib
import json
import os
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from imggen_jax import zoo
from imggen_jax.editing import firstlayer, targets
from imggen_jax.editing.space import check, moved, rows_of, show, take
from imggen_jax.errors import RunError, SaveError
from imggen_jax.evaluation import classifier
from imggen_jax.model import Model
from imggen_jax.sampling import Latents
from imggen_jax.storage import checkpoint
from imggen_jax.storage.cache import cache_folder
from imggen_jax.storage.files import write_atomic

FILE = "genes.npz"
FORMAT = 2
SAMPLES = 4096     # latents of the prior, of which the first are used
UNSUPERVISED = 8   # directions of each kind that needs no labels
NEWTON = 12        # steps of a logistic regression
RIDGE = 1e-3       # its penalty per example
NOISE = 0.25       # of an attribute's largest discriminant: a smaller one is not told from chance
FURTHEST = 6.0     # standard deviations; an edit further out leaves what a model has learned


class Attribute(NamedTuple):
    """What was learned of one label, in whitened coordinates u."""

    values: tuple[str, ...]
    directions: np.ndarray  # float32 [values,D], unit vectors: each value's boundary's normal, orthogonal to others'
    offsets: np.ndarray     # float32 [values]: normal.u + offset is a picture's signed distance from the boundary
    normals: np.ndarray     # float32 [values,D], unit vectors, before they were made orthogonal
    basis: np.ndarray       # float32 [D,k], orthonormal: the part of the space that decides the attribute


class Genes(NamedTuple):
    """The genes of one run."""

    weights: str                       # sha256 of the weights that they belong to
    attributes: Mapping[str, Attribute]
    guide: Any                         # `evaluation.classifier.Labeller`, by which targets are reached; or None
    directions: Mapping[str, np.ndarray]   # those without labels: name -> unit vector [D]
    measured: Mapping[str, Any]        # gene -> what `measure` found, JSON

    def names(self) -> list[str]:
        """Every gene's name: attribute=value, then those without labels."""
        return [f"{name}={value}" for name, one in self.attributes.items() for value in one.values] + list(
            self.directions)


def fingerprint(model: Model) -> str:
    """sha256 of the weights that pictures are made from."""
    return checkpoint.fingerprint(model.weights)


# ------------------------------------------------------------------------------------------------------------ learning


def boundaries(model: Model, w: np.ndarray, labels: np.ndarray, names: Sequence[str], values: Sequence[Sequence[str]],
               ) -> dict[str, Attribute]:
    """Linear boundaries in latent space, each attribute's made orthogonal to all the others'.

    Args:
      model: whose latents they are.
      w: float32 [N,D].
      labels: int32 [N,K], -1 where it is not known.
      names: of the K attributes.
      values: of each attribute, the names of its values.

    Returns:
      {name: Attribute}, of those attributes of which at least two values are among the labels.

    Raises:
      RunError: no attribute has two values.
    """
    there = model.space()
    u = ((np.asarray(w, np.float64) - there.mean) @ there.whiten)
    fitted = {}
    for k, name in enumerate(names):
        known = labels[:, k] >= 0
        present = np.unique(labels[known, k])
        if len(present) > 1:
            fitted[name] = _fit(u[known], labels[known, k], present), present, k
    if not fitted:
        raise RunError("no label has two values among the pictures; genes need pictures that differ in it")
    learned = {}
    for name, ((normals, offsets, basis), present, k) in fitted.items():
        others = [other[0][2] for one, other in fitted.items() if one != name]
        free = _complement(others, u.shape[1])
        kept = _orthonormal(free @ basis)
        directions = np.stack([_unit(free @ normal, normal) for normal in normals])
        learned[name] = Attribute(
            tuple(str(values[k][int(value)]) for value in present),
            *(each.astype(np.float32) for each in (directions, offsets, normals, kept)))
    return learned


def _fit(u: np.ndarray, labels: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(unit normals [values,D], offsets [values], orthonormal basis [D,k] of the subspace that tells values apart)."""
    fits = [_logistic(u, labels == value) for value in present]
    lengths = np.array([np.linalg.norm(normal) for normal, _ in fits])
    normals = np.stack([normal for normal, _ in fits]) / lengths[:, None]
    offsets = np.array([offset for _, offset in fits]) / lengths
    return normals, offsets, _orthonormal(_discriminants(u, labels, present))


def _discriminants(u: np.ndarray, labels: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Fisher's linear discriminants [D,values-1]: S^-1 (mean of a value - mean), S the covariance within values."""
    means = np.stack([u[labels == value].mean(0) for value in present])
    within = sum(np.cov(u[labels == value], rowvar=False, bias=True) * np.mean(labels == value) for value in present)
    within = np.atleast_2d(within) + 1e-2 * np.eye(u.shape[1])
    return np.linalg.solve(within, (means - u.mean(0)).T)


def _logistic(u: np.ndarray, is_value: np.ndarray) -> tuple[np.ndarray, float]:
    """A logistic regression by Newton's method, both sides weighing as much: (normal [D], offset)."""
    x = np.concatenate([u, np.ones((len(u), 1))], axis=1)
    y = is_value.astype(np.float64)
    weight = np.where(is_value, 0.5 / max(y.sum(), 1), 0.5 / max((1 - y).sum(), 1))
    penalty = RIDGE * np.eye(x.shape[1])
    penalty[-1, -1] = 1e-8
    theta = np.zeros(x.shape[1])
    for _ in range(NEWTON):
        p = 1 / (1 + np.exp(-np.clip(x @ theta, -30, 30)))
        gradient = x.T @ (weight * (p - y)) + penalty @ theta
        curvature = (x * (weight * np.maximum(p * (1 - p), 1e-6))[:, None]).T @ x + penalty
        theta -= np.linalg.solve(curvature, gradient)
    return theta[:-1], theta[-1]


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """An orthonormal basis [D,k] of what the columns span, without directions much shorter than the longest."""
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, sizes > NOISE * sizes[0]] if sizes[0] > 0 else left[:, :0]


def _complement(bases: list[np.ndarray], size: int) -> np.ndarray:
    """The projection [D,D] onto what is orthogonal to all bases; nothing is left out where they span everything."""
    if not bases:
        return np.eye(size)
    left, sizes, _ = np.linalg.svd(np.concatenate(bases, axis=1), full_matrices=False)
    spanned = left[:, sizes > 1e-6]
    return np.eye(size) if spanned.shape[1] >= size else np.eye(size) - spanned @ spanned.T


def _unit(vector: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vector)
    return vector / length if length > 1e-3 else otherwise


def sefa(model: Model, number: int = UNSUPERVISED) -> dict[str, np.ndarray]:
    """{"sefa1": unit vector [D], ...}: eigenvectors of A^T A, A the first layer's weights, the largest first.

    Raises:
      RunError: the generator does not begin with a dense layer.
    """
    there = model.space()
    kernel = firstlayer.kernel(model.sampler.decode, model.weights, there.size, _any_condition(model, 1))
    kernel = there.spread @ np.asarray(kernel, np.float64)  # [D,outputs], of u
    _, vectors = np.linalg.eigh(kernel @ kernel.T)
    return _named("sefa", vectors[:, ::-1].T, number)


def components(model: Model, number: int = UNSUPERVISED, samples: int = 1024) -> dict[str, np.ndarray]:
    """{"pca1": unit vector [D], ...}: principal components, the largest first.

    Of w, where there is a mapping network. A prior N(0, I) has none; there they are those of the pictures, and the
    latents are regressed on them (GANSpace, section 2.2).
    """
    there = model.space()
    if not there.gaussian:
        # In u all directions are alike; the axes of the covariance of w are what they were before whitening.
        _, vectors = np.linalg.eigh(there.spread)
        return _named("pca", vectors[:, ::-1].T, number)
    w = np.asarray(model.sampler.prior(model.weights, jax.random.key(2), n=SAMPLES, fields={}))[:samples]
    images = show(model, moved(w, _any_condition(model, len(w))))
    pixels = images.shape[1] * images.shape[2]
    images = images.reshape(len(w), -1)[:, ::max(1, pixels // 1024)]
    images = images - images.mean(0)
    # The scores of pictures on components are the eigenvectors of their Gram matrix, which is small.
    _, scores = np.linalg.eigh(images @ images.T)
    scores = scores[:, ::-1][:, :min(number, there.size)]
    scores = scores / np.maximum(scores.std(0), 1e-9)  # pictures that are all alike have components without any spread
    return _named("pca", scores.T @ w / len(w), number)


def _any_condition(model: Model, n: int) -> dict[str, np.ndarray]:
    """The first label for n images of a conditional model; directions that need no labels need some condition.

    Raises:
      RunError: the model is conditioned on something else than labels.
    """
    needs = model.generator.needs
    if other := [name for name in needs if not model.spec[name].classes]:
        raise RunError(f"this model is conditioned on {other[0]!r}; directions without labels are for models that are "
                       "conditioned on labels or on nothing")
    return {name: np.zeros(n, np.int32) for name in needs}


def _named(kind: str, vectors: np.ndarray, number: int) -> dict[str, np.ndarray]:
    number = min(number, len(vectors))
    found = {}
    for k, vector in enumerate(vectors[:number], 1):
        vector = vector / max(np.linalg.norm(vector), 1e-12)
        # A direction has no sign; the largest part is made positive, so that learning again gives the same.
        found[f"{kind}{k}"] = (vector * np.sign(vector[np.argmax(np.abs(vector))])).astype(np.float32)
    return found


# ------------------------------------------------------------------------------------------------------------- editing


def edit(model: Model, latents: Latents, amounts: Mapping[str, float | None], genes: Genes) -> Latents:
    """Move latents along genes.

    Args:
      model: the one that the genes were learned on.
      latents: of n images.
      amounts: gene -> how far to go along its direction, in standard deviations of the prior; or None to go to its
        target, see `targets`. Taken in the order given.
      genes: as `load` gives them.

    Returns:
      Latents of n images, conditioned as before.

    Raises:
      RunError: an unknown gene, an amount that is not a number, a target of a gene without one, or genes of another
        model.
    """
    latents = check(model, latents)
    if genes.weights != fingerprint(model):
        raise RunError("the genes belong to other weights than this model's; learn them again with genes --learn")
    for name, amount in amounts.items():
        latents = _move(model, latents, name, amount, genes)
    return latents


def _move(model: Model, latents: Latents, name: str, amount: float | None, genes: Genes) -> Latents:
    attribute, value = _find(name, genes)
    if amount is None:
        if attribute is None:
            raise RunError(f"gene {name} has no target; say how far to go, as in --gene {name}:+1.5")
        label, _, wanted = name.partition("=")
        return targets.guide_to(model, genes.guide, latents, label, wanted, attribute.directions[value])
    if not np.isfinite(amount) or abs(amount) > FURTHEST:
        raise RunError(f"gene {name} is to go {amount:g}; give a number from -{FURTHEST:g} to {FURTHEST:g}")
    direction = genes.directions[name] if attribute is None else attribute.directions[value]
    n = len(latents.w)
    return moved(latents.w + amount * direction @ model.space().spread, rows_of(latents.given, np.arange(n)))


def _find(name: str, genes: Genes) -> tuple[Attribute | None, int]:
    """(attribute, place of its value), or (None, 0) for a gene without labels; raises RunError for an unknown one."""
    if name in genes.directions:
        return None, 0
    attribute, _, value = name.partition("=")
    if attribute in genes.attributes and value in genes.attributes[attribute].values:
        return genes.attributes[attribute], genes.attributes[attribute].values.index(value)
    known = genes.names()
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise RunError(f"unknown gene {name!r}; {hint}known are {', '.join(known)}")


def subspace(name: str, genes: Genes) -> np.ndarray:
    """Orthonormal rows [k,D], in u, of an attribute or of a gene without labels: what `breed` lets children inherit."""
    if name in genes.attributes:
        return genes.attributes[name].basis.T
    if name in genes.directions:
        return genes.directions[name][None]
    raise RunError(f"unknown attribute {name!r}; known are {', '.join([*genes.attributes, *genes.directions])}")


# ----------------------------------------------------------------------------------------------------------- measuring


def measure(model: Model, latents: Latents, genes: Genes, labeller) -> dict[str, dict]:
    """What each gene does to pictures, in the eyes of a classifier trained on real ones.

    Args:
      model: a loaded model.
      latents: the images to edit; 500 random ones, say.
      genes: of the model.
      labeller: the classifier, as `learning.labeller_of` gives it.

    Returns:
      {gene: {"faces": n, "reached": share, "kept": {other attribute: share}}}. For each attribute every picture is led
      to one value that it does not have, drawn evenly, so `faces` is about the number of pictures over that of values;
      `reached` is the share of them that has it after the edit; `kept` the share in which another attribute stays. A
      gene without labels has no target: it is moved by +2, and `kept` tells what stays.
    """
    before = labeller.predict(show(model, latents))
    found = {}
    for k, name in enumerate(labeller.names):
        if name in genes.attributes:
            found |= _measure(model, latents, genes, labeller, k, before)
    for gene in genes.directions:
        after = labeller.predict(show(model, edit(model, latents, {gene: 2.0}, genes)))
        found[gene] = {"faces": len(latents.w), "kept": _kept(after == before, labeller.names)}
    return found


def _measure(model, latents, genes, labeller, k: int, before) -> dict[str, dict]:
    """`measure` of one attribute: every picture is led to one other value, drawn evenly."""
    names, values = labeller.names, list(labeller.values[k])
    rng, known = np.random.default_rng(k), genes.attributes[names[k]].values
    target = np.array([rng.choice([values.index(one) for one in known if values[had] != one]) for had in before[:, k]])
    found = {}
    for value in known:
        rows, gene = np.flatnonzero(target == values.index(value)), f"{names[k]}={value}"
        if not len(rows):
            continue
        after = labeller.predict(show(model, edit(model, take(latents, rows), {gene: None}, genes)))
        kept = _kept(after == before[rows], names)
        del kept[names[k]]
        reached = round(float(np.mean(after[:, k] == target[rows])), 4)
        found[gene] = {"faces": len(rows), "reached": reached, "kept": kept}
    return found


def _kept(same: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    return {name: round(float(share), 4) for name, share in zip(names, same.mean(axis=0), strict=True)}


def change(model: Model, latents: Latents, gene: str, genes: Genes) -> dict:
    """How much a gene without labels changes pictures: {"faces": n, "kept": {}, "change": RMS in gray levels of +2}."""
    before, after = (show(model, edit(model, latents, {gene: amount}, genes)).astype(np.float32)
                     for amount in (0.0, 2.0))
    return {"faces": len(latents.w), "kept": {}, "change": round(float(np.sqrt(np.mean(np.square(after - before)))), 2)}


# ------------------------------------------------------------------------------------------------------------- keeping


def place(folder: str | os.PathLike) -> Path:
    """The file of a model's genes: in its folder, or in the cache for one that ships, whose folder stays as it is."""
    folder = Path(folder)
    return (cache_folder("genes") / folder.name if zoo.ships(folder) else folder) / FILE


def save(workdir: str | os.PathLike, genes: Genes) -> Path:
    """Write a model's genes to their `place`; the file appears whole or not at all.

    Raises:
      SaveError: it cannot be written.
    """
    path = place(workdir)
    arrays, facts = {}, {"format": FORMAT, "weights": genes.weights, "measured": genes.measured,
                         "attributes": {name: one.values for name, one in genes.attributes.items()},
                         "directions": list(genes.directions)}
    for i, one in enumerate(genes.attributes.values()):
        arrays |= {f"{i}.{field}": getattr(one, field) for field in Attribute._fields if field != "values"}
    for i, vector in enumerate(genes.directions.values()):
        arrays[f"direction.{i}"] = vector
    if genes.guide is not None:
        facts["guide"], weights = classifier.pack(genes.guide)
        arrays |= {f"guide.{name}": leaf for name, leaf in weights.items()}
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    try:
        if zoo.ships(Path(workdir)):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda file: np.savez(file, **arrays))
    except OSError as error:
        raise SaveError(f"genes cannot be written to {path} ({error.strerror or error})") from error
    return path


def load(workdir: str | os.PathLike, model: Model) -> Genes:
    """The genes that were learned on a run.

    Raises:
      RunError: none were learned, the file is damaged, or the run was trained further since.
    """
    path = place(workdir)
    if not path.is_file():
        name = Path(workdir).name if zoo.ships(Path(workdir)) else workdir
        raise RunError(f"{name} has no genes yet; learn them: genes --workdir {shlex.quote(str(name))} --learn")
    try:
        with np.load(path, allow_pickle=False) as kept:
            genes = _read(dict(kept))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{path} is damaged ({type(error).__name__}); learn the genes again with genes --learn"
                       ) from error
    if genes.weights != fingerprint(model):
        raise RunError(f"the genes in {path} were learned on other weights than the run has now; learn them again with "
                       "genes --learn")
    return genes


def _read(kept: dict[str, np.ndarray]) -> Genes:
    facts = json.loads(kept["facts"].tobytes())
    if facts["format"] != FORMAT:
        raise ValueError(f"format {facts['format']}")
    fields = [field for field in Attribute._fields if field != "values"]
    attributes = {name: Attribute(tuple(values), *(kept[f"{i}.{field}"] for field in fields))
                  for i, (name, values) in enumerate(facts["attributes"].items())}
    directions = {name: kept[f"direction.{i}"] for i, name in enumerate(facts["directions"])}
    guide = None
    if "guide" in facts:
        weights = {name.removeprefix("guide."): leaf for name, leaf in kept.items() if name.startswith("guide.")}
        guide = classifier.unpack(facts["guide"], weights)
    return Genes(facts["weights"], attributes, guide, directions, facts["measured"])
