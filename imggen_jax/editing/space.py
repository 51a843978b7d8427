"""The space that pictures are edited in, as plain vectors: z, or w where a generator has a mapping network.

Everything in this package is written against `Generator` and `api.Model` alone, so it works for every game. A latent
that is a tree of arrays is laid out as one vector; pictures are decoded in programs of one fixed size, so that a
vector, a label and a place among sixteen give the same bits each time.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from imggen_jax import sampling
from imggen_jax.api import Model
from imggen_jax.errors import RunError
from imggen_jax.game import Game, PyTree, Spec

BLOCK = 16       # pictures of one program, fewer than of `sample`'s: an edit is often one picture
SAMPLES = 4096   # latents from which the space's mean and covariance are measured
RIDGE = 1e-4     # share of the mean variance that is added to each, so that a flat direction can be divided by


class Points(NamedTuple):
    """Latents of pictures, one a row."""

    w: np.ndarray              # float32 [n,D]
    labels: np.ndarray | None  # int32 [n]; None where the model knows no classes

    def take(self, rows) -> Points:
        """The points of these rows, in this order."""
        return Points(self.w[rows], None if self.labels is None else self.labels[rows])


class Space(NamedTuple):
    """Where the prior puts latents."""

    size: int            # D
    gaussian: bool       # the prior is N(0, I), measured by its first four moments
    mean: np.ndarray     # float32 [D]
    spread: np.ndarray   # float32 [D,D], symmetric: mean + spread u is distributed like the prior for u ~ N(0, I)
    whiten: np.ndarray   # float32 [D,D], its inverse


class Functions(NamedTuple):
    """What is compiled once for a game, whatever its weights."""

    draw: Callable   # (weights, seeds uint32 [BLOCK], labels int32 [BLOCK], truncation) -> (w [BLOCK,D], labels)
    show: Callable   # (weights, w [BLOCK,D], labels) -> uint8 [BLOCK,S,S,C]
    paint: Callable  # (weights, w [n,D], labels) -> float32 [n,S,S,C] in [-1,1], to differentiate; not compiled
    render: Callable # the same, compiled, of BLOCK
    place: Callable  # (weights, z tree with n first) -> w [n,D]
    many: Callable   # (weights, key) -> w [SAMPLES,D] from the prior


@functools.lru_cache(maxsize=8)
def functions(game: Game, spec: Spec) -> Functions:
    """The compiled functions of a game; a Game is a tuple of functions, so it is its own key."""
    generator = game.generator
    example = jax.eval_shape(lambda: generator.prior(jax.random.key(0), 1))
    mapping = generator.mapping or (lambda weights, z: z)

    def flat(tree: PyTree) -> jax.Array:
        return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(tree)], axis=-1)

    def tree(weights, w: jax.Array) -> PyTree:
        shapes = jax.eval_shape(mapping, weights, example)
        leaves, structure = jax.tree.flatten(shapes)
        ends = np.cumsum([int(np.prod(leaf.shape[1:])) for leaf in leaves])
        parts = jnp.split(w, ends[:-1], axis=-1)
        return jax.tree.unflatten(structure, [
            part.reshape(-1, *leaf.shape[1:]).astype(leaf.dtype) for part, leaf in zip(parts, leaves)])

    def paint(weights, w, labels):
        return (generator.synthesis or generator.decode)(weights, tree(weights, w), labels)

    def draw(weights, seeds, labels, truncation):
        keys = jax.vmap(jax.random.key)(seeds)
        return flat(sampling.latents(generator, weights, keys, truncation)), sampling.drawn_labels(keys, labels, spec)

    return Functions(
        draw=jax.jit(draw),
        show=jax.jit(lambda weights, w, labels: sampling.to_uint8(paint(weights, w, labels))),
        paint=paint,
        render=jax.jit(paint),
        place=jax.jit(lambda weights, z: flat(mapping(weights, z))),
        many=jax.jit(lambda weights, key: flat(mapping(weights, generator.prior(key, SAMPLES)))),
    )


def space(model: Model) -> Space:
    """Measures where the prior puts the latents of a model; takes milliseconds once compiled."""
    w = np.asarray(functions(model.game, model.spec).many(model.weights, jax.random.key(1)), np.float64)
    mean, size = w.mean(0), w.shape[1]
    covariance = np.cov(w, rowvar=False).reshape(size, size)
    covariance += RIDGE * np.trace(covariance) / size * np.eye(size)
    values, vectors = np.linalg.eigh(covariance)
    moments = np.mean(w), np.std(w), np.mean(w**3), np.mean(w**4)
    # N(0, 1) has 0, 1, 0, 3; the standard errors of these sums are below a hundredth and 0.2 for a single dimension.
    gaussian = model.game.generator.mapping is None and bool(
        np.all(np.abs(np.subtract(moments, (0, 1, 0, 3))) < (0.1, 0.1, 0.2, 0.6)))
    if gaussian:
        return Space(size, True, np.zeros(size, np.float32), *[np.eye(size, dtype=np.float32)] * 2)
    spread, whiten = ((vectors * values**power) @ vectors.T for power in (0.5, -0.5))
    return Space(size, False, *(each.astype(np.float32) for each in (mean, spread, whiten)))


def seeds(
    model: Model, numbers: Sequence[int], *, label: int | str | None = None, truncation: float = 1.0
) -> Points:
    """The latents of seeds, those of `Model.sample` and `generate`.

    Args:
      model: as `imggen_jax.load` gives it.
      numbers: seeds, 0 to 2^32-1 each.
      label: class for all of them, a number or a name; None draws one for each from its seed.
      truncation: 0 to 1; below 1 nearer the mean, with less variety and fewer failures.

    Returns:
      Points of n latents.

    Raises:
      RunError: a seed, label or truncation that cannot be.
    """
    numbers = [int(number) for number in numbers]
    if not numbers:
        raise RunError("no seed is given; give at least one")
    if wrong := [number for number in numbers if not 0 <= number < 2**32]:
        raise RunError(f"seed is {wrong[0]}; it must be from 0 to {2**32 - 1}")
    if not (np.isfinite(truncation) and truncation >= 0):
        raise RunError(f"truncation is {truncation}; it must be a number from 0 up, as a rule at most 1")
    number = model.label_number(label)
    labels = np.full(len(numbers), -1 if number is None else number, np.int32)
    found = _in_blocks(
        lambda weights, s, l: functions(model.game, model.spec).draw(weights, s, l, np.float32(truncation)),
        model.weights, np.array(numbers, np.uint32), labels)
    return Points(found[0], found[1] if model.spec.classes else None)


def fresh(model: Model, seed: int, num: int, *, truncation: float = 1.0) -> Points:
    """New latents, of numbers drawn from seed, seed + 1, ...: unrelated to those that `seeds` gives for any of these.

    Raises:
      RunError: as `seeds`.
    """
    if not 0 <= seed <= 2**32 - num:
        raise RunError(f"seed is {seed}; for {num} pictures it must be from 0 to {2**32 - num}")
    numbers = [int(np.random.SeedSequence([seed + k, 1]).generate_state(1)[0]) for k in range(num)]
    return seeds(model, numbers, truncation=truncation)


def show(model: Model, points: Points) -> np.ndarray:
    """Pictures of latents: uint8 [n,S,S,C]. Picture k is made at place k mod 16; see `show_at`.

    Raises:
      RunError: latents or labels that this model cannot take.
    """
    return _pictures(functions(model.game, model.spec).show, model, points)


def render(model: Model, points: Points) -> np.ndarray:
    """`show` before it is rounded to 8 bits: float32 [n,S,S,C] in [-1,1]."""
    return _pictures(functions(model.game, model.spec).render, model, points)


def _pictures(compiled: Callable, model: Model, points: Points) -> np.ndarray:
    points = check(model, points)
    labels = np.zeros(len(points.w), np.int32) if points.labels is None else points.labels

    def run(weights, w, l):
        return (compiled(weights, w, l if model.spec.classes else None),)

    return _in_blocks(run, model.weights, points.w, labels)[0]


def show_at(model: Model, points: Points, places: Sequence[int]) -> np.ndarray:
    """`show` of each latent at a given place, 0 to 15, of its program: the very bits that were made there before."""
    images = []
    for row, place in enumerate(places):
        one = points.take(np.full(BLOCK, row))
        images.append(show(model, one)[place])
    return np.stack(images)


def check(model: Model, points: Points) -> Points:
    """The points as float32 and int32 arrays.

    Raises:
      RunError: they do not fit the model.
    """
    w = np.asarray(points.w, np.float32)
    size = jax.eval_shape(functions(model.game, model.spec).many, model.weights, jax.random.key(0)).shape[1]
    if w.ndim != 2 or w.shape[1] != size or not len(w):
        raise RunError(f"latents are {w.shape}; this model takes (n, {size}) with n > 0")
    if not np.isfinite(w).all():
        raise RunError("latents are not all finite numbers")
    if not model.spec.classes:
        if points.labels is not None:
            raise RunError("labels are given, but this model was trained without labels")
        return Points(w, None)
    if points.labels is None or len(points.labels) != len(w):
        raise RunError(f"this model is class-conditional: give {len(w)} labels, one for each picture")
    labels = np.asarray(points.labels, np.int32)
    if labels.min() < 0 or labels.max() >= model.spec.classes:
        raise RunError(f"labels must be from 0 to {model.spec.classes - 1}")
    return Points(w, labels)


def distance(model: Model, w: np.ndarray) -> np.ndarray:
    """How far from the prior latents [n,D] lie: float32 [n], Mahalanobis' distance over sqrt(D); about 1 is typical."""
    there = space(model)
    return np.sqrt(np.mean(np.square((np.asarray(w, np.float32) - there.mean) @ there.whiten), axis=-1))


def _in_blocks(run: Callable, weights, first: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """run(weights, rows of first, rows of labels) over blocks of BLOCK rows, the last one filled up by its last row."""
    weights = jax.device_put(weights, jax.local_devices()[0])
    made = []
    for start in range(0, len(first), BLOCK):
        rows = np.minimum(np.arange(start, start + BLOCK), len(first) - 1)
        made.append(run(weights, first[rows], labels[rows]))
    return [np.concatenate([np.asarray(part) for part in parts])[:len(first)] if parts[0] is not None else None
            for parts in zip(*made)]
