"""The classifier of a dataset: trained once by the project's own step, then kept and taken from there.

Scores need a network that has seen pictures like those they judge. Where no weight file of a large one is at hand, this
one is trained in minutes on the labels that the dataset has: on all of them, each with its own answer.
"""
from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from imggen_jax import augment, data, devices, optim, step
from imggen_jax.errors import RunError
from imggen_jax.game import Classifier, Game, PyTree, Spec
from imggen_jax.games import classifier as classifier_game
from imggen_jax.metrics import features
from imggen_jax.storage import checkpoint

# How it is trained. Change a value, and every dataset's classifier is trained anew.
RECIPE = {
    "version": 2,
    "network": {"name": "classifier", "widths": (32, 64, 128), "blocks": (1, 1, 1), "features": 256},
    "augment": ("translation",),
    "images": 256_000,
    "batch": 64,
    "optimizer": {"optimizer": "adamw", "learning_rate": 2e-3, "b2": 0.99, "weight_decay": 0.05, "warmup": 10_000,
                  "decay": "cosine", "final": 0.01, "clip": 1.0},
    "ema": {"halflife": 5_000, "rampup": 0.05},
    "seed": 0,
}
# Of a second one, which is as good and errs otherwise: what it leads to, the first one can judge.
GUIDE_SEED = 1
PER_CALL = 8       # rounds in one call
CHUNK = 1024       # pictures labelled at a time
HELD_OUT = "95%"   # of the training split is learnt where a dataset has no test split; the rest tells the accuracy


class Labeller(NamedTuple):
    """A trained classifier of a dataset's labels."""

    names: tuple[str, ...]               # of the K labels
    values: tuple[tuple[str, ...], ...]  # for each label, the names of its values
    accuracy: Mapping[str, float]        # of each label, on pictures that it was not trained on
    spec: Spec
    space: features.Space                # its features; their class logits are those of the first label
    classifier: Classifier
    weights: PyTree
    recipe: Mapping                      # as RECIPE

    @property
    def moved(self) -> bool:
        """Whether it has learnt from pictures that were moved by a few pixels."""
        return "translation" in self.recipe["augment"]

    @property
    def sha256(self) -> str:
        """Over the weights."""
        return self.space.sha256

    def logits(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        """uint8 [n,S,S,C] -> for each label float32 [n,values], the logarithms of their probabilities."""
        answers = list(features.stream(self.space._replace(apply=_answers(self.classifier, self.moved)), [images]))
        joined = np.concatenate([answer.vectors for answer in answers])
        return tuple(np.split(joined, np.cumsum([len(one) for one in self.values])[:-1], axis=-1))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """What it takes pictures for: uint8 [n,S,S,C] -> int32 [n,K], the likeliest value of each label."""
        return np.stack([np.argmax(each, axis=-1) for each in self.logits(images)], axis=-1).astype(np.int32)


def obtain(
    *, name: str, split: str, test: str, dir: str, size: int, labels: Sequence[str] | None = None,
    recipe: Mapping | None = None,
) -> Labeller:
    """The classifier of a dataset, from the cache if it was trained before, else trained now: minutes on a CPU.

    Args:
      name, split, dir, size: of the dataset, as for `data.load`.
      test: held-out split, on which its accuracy is measured; "" takes the last part of `split`.
      labels: names of the labels to learn; None for all that the dataset has.
      recipe: as RECIPE, which None takes.

    Raises:
      DataError: no such dataset, or none with labels.
      RunError: training did not work.
    """
    recipe = RECIPE if recipe is None else recipe
    if not test:
        split, test = f"{split}[:{HELD_OUT}]", f"{split}[{HELD_OUT}:]"
    where = dict(name=name, dir=dir)
    learnt = data.load_attributes(split=split, names=labels, **where)
    pictures = data.open_dataset(split=split, size=size, label="", memory="auto", **where)
    spec = Spec(pictures.shape[1], pictures.shape[3], tuple(len(one) for one in learnt.values))
    identity = [pictures.fingerprint, learnt.names, learnt.values, recipe]
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    file = _folder() / f"{name.replace('/', '_').replace(':', '_')}-{key[:32]}.npz"
    shape = _shape(spec, recipe)
    weights = _read(file, shape)
    if weights is None:
        with _alone(file, name):
            weights = _read(file, shape) if file.is_file() else None  # by another process, in the meantime
            if weights is None:
                weights = fit(spec, lambda rows: pictures.read(rows)[0], learnt.labels, recipe,
                              title=f"classifier of {name}")
                _write(file, weights)
    labeller = labeller_of(spec, learnt.names, learnt.values, weights, recipe)
    held_out = data.open_dataset(split=test, size=size, label="", memory="auto", **where)
    truth = data.load_attributes(split=test, names=learnt.names, **where).labels
    rows = np.array_split(np.arange(len(truth)), -(-len(truth) // CHUNK))
    right = np.mean(np.concatenate([labeller.predict(held_out.read(part)[0]) for part in rows]) == truth, axis=0)
    return labeller._replace(accuracy={one: float(share) for one, share in zip(learnt.names, right)})


def _game(spec: Spec, recipe: Mapping) -> Game:
    return _made(spec, json.dumps([recipe["network"], recipe["augment"]]))


@functools.lru_cache(maxsize=8)
def _made(spec: Spec, text: str) -> Game:
    """One game for each kind of classifier, so that what is compiled for it serves all of the kind."""
    network, augment = json.loads(text)
    return classifier_game.make(spec, dtype="float32", network=network, augment=augment)


def _shape(spec: Spec, recipe: Mapping) -> PyTree:
    game = _game(spec, recipe)
    return jax.eval_shape(lambda: game.weights(*game.init(jax.random.key(0), None)))


def labeller_of(spec: Spec, names: tuple[str, ...], values: tuple, weights: PyTree, recipe: Mapping) -> Labeller:
    """A labeller from trained weights, whose accuracy is not known."""
    game = _game(spec, recipe)
    images = np.zeros((1, spec.size, spec.size, spec.channels), np.float32)
    dims = jax.eval_shape(game.classifier.features, weights, images).shape[-1]
    space = features.Space(
        name="classifier", dims=dims, resize="none: pictures have the dataset's own size",
        sha256=checkpoint.fingerprint(weights), apply=_vectors(game.classifier), weights=weights)
    return Labeller(names, values, {}, spec, space, game.classifier, weights, recipe)


def pack(labeller: Labeller) -> tuple[dict, dict[str, np.ndarray]]:
    """(what is JSON, arrays by name) of a labeller, to be kept elsewhere; its accuracy is left out."""
    facts = {"size": labeller.spec.size, "channels": labeller.spec.channels, "names": labeller.names,
             "values": labeller.values, "recipe": dict(labeller.recipe)}
    return facts, checkpoint.flatten(labeller.weights)


def unpack(facts: Mapping, arrays: Mapping[str, np.ndarray]) -> Labeller:
    """What `pack` gave, as a labeller again.

    Raises:
      KeyError, TypeError, ValueError: it is not whole.
    """
    values = tuple(tuple(each) for each in facts["values"])
    spec, recipe = Spec(facts["size"], facts["channels"], tuple(len(each) for each in values)), facts["recipe"]
    shape = _shape(spec, recipe)
    flat = {name: arrays[name] for name in checkpoint.flatten(shape)}
    if any(flat[name].shape != leaf.shape for name, leaf in checkpoint.flatten(shape).items()):
        raise ValueError("weights of another network")
    weights = jax.tree.unflatten(jax.tree.structure(shape), list(flat.values()))
    return labeller_of(spec, tuple(facts["names"]), values, weights, recipe)


@functools.lru_cache(maxsize=8)
def _vectors(classifier: Classifier) -> Callable:
    def apply(weights, images):
        images = augment.to_float(images)
        return classifier.features(weights, images), classifier.logits(weights, images)[0]

    return apply


@functools.lru_cache(maxsize=8)
def _answers(classifier: Classifier, moved: bool) -> Callable:
    def apply(weights, images):
        return jnp.concatenate(look(classifier, weights, augment.to_float(images), moved), axis=-1), None

    return apply


def look(classifier: Classifier, weights: PyTree, images: jax.Array, moved: bool) -> list[jax.Array]:
    """What a classifier makes of pictures.

    One that has learnt from moved pictures looks five times: at each one, and at it moved along the diagonals. The mean
    of the five probabilities is right more often than any of them.

    Args:
      classifier, weights, moved: of a labeller.
      images: float32 [n,S,S,C] in [-1,1].

    Returns:
      For each label the logarithm of the mean probabilities, float32 [n,values].
    """
    far = reach(images.shape[1])
    ways = [(down, right) for down in (-far, far) for right in (-far, far)] if moved else []
    shown = [images, *(move(images, *way) for way in ways)]
    each = [[jax.nn.softmax(label) for label in classifier.logits(weights, copy)] for copy in shown]
    return [jnp.log(sum(copies) / len(shown) + 1e-9) for copies in zip(*each)]


def reach(side: int) -> int:
    """The pixels by which pictures are moved to be looked at again: half as far as in training."""
    return max(1, side // 16)


def move(images: jax.Array, down: int | jax.Array, right: int | jax.Array) -> jax.Array:
    """Pictures [n,S,S,C] moved by at most `reach` pixels either way, zeros coming in, as the augmentation does; but all
    by as much, which is one slice."""
    far = reach(images.shape[1])
    padded = jnp.pad(images, ((0, 0), (far, far), (far, far), (0, 0)))
    return jax.lax.dynamic_slice(padded, (0, far - down, far - right, 0), images.shape)


def fit(spec: Spec, read: Callable, labels: np.ndarray, recipe: Mapping, title: str) -> PyTree:
    """Train a classifier; a function of its arguments alone.

    Args:
      spec: with a tuple of classes.
      read: rows int [B] in [0, N) -> pictures uint8 [B,S,S,C].
      labels: int32 [N,K].
      recipe: as RECIPE.
      title: for the progress bar.

    Returns:
      The averaged weights, as NumPy arrays.

    Raises:
      RunError: the loss is not finite.
    """
    game = _game(spec, recipe)
    length, batch, seed = recipe["images"], recipe["batch"], recipe["seed"]
    optimizers = {"classifier": optim.make(images=length, batch=batch, accumulate=1, **recipe["optimizer"])}
    chosen = jax.local_devices()
    chosen = chosen[:max(n for n in range(1, len(chosen) + 1) if batch % n == 0)]

    def play(axis):
        return functools.partial(step.play, functools.partial(
            step.train_step, game, optimizers, optim.average_rate(**recipe["ema"]), lambda batch, key: batch,
            axis=axis))

    engine = devices.make("jit", chosen, play)
    state = engine.put_state(jax.jit(lambda: step.init_state(game, optimizers, jax.random.key(seed), None))())
    key, rounds = jax.random.key(seed), max(1, length // batch)
    calls = -(-rounds // PER_CALL)
    with tqdm.tqdm(total=calls * PER_CALL * batch, desc=f"training the {title}, once", unit=" images", unit_scale=True,
                   delay=2, mininterval=1, leave=False, disable=None) as progress:
        for call in range(calls):
            rows = [data.batch_indices(len(labels), seed=seed, step=i, batch=batch)
                    for i in range(call * PER_CALL, (call + 1) * PER_CALL)]
            batches = {"image": np.stack([read(each) for each in rows]),
                       "label": np.stack([labels[each] for each in rows])}
            state, logs = engine.run(state, engine.put_batches(batches), key)
            progress.update(PER_CALL * batch)
    if not bool(engine.fetch(state.healthy)):
        raise RunError(f"the {title} did not train: its loss is {float(engine.fetch(logs)['loss'][-1, 0])}; check the "
                       "dataset's pictures and labels")
    return engine.fetch(state.average)


def _folder() -> Path:
    return Path(os.environ.get("IMGGEN_JAX_CACHE") or "~/.cache/imggen_jax").expanduser() / "classifiers"


@contextlib.contextmanager
def _alone(file: Path, name: str) -> Iterator[None]:
    """Two processes that want the same classifier: one trains it, the other waits. Where no lock is to be had, both do.
    """
    with contextlib.ExitStack() as stack:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(open(file.with_suffix(".lock"), "w", encoding="utf-8"))
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # either, says POSIX
                logging.warning("waiting for another process, which is training the classifier of %s", name)
                fcntl.lockf(lock, fcntl.LOCK_EX)
        except OSError:
            pass
        yield


def _read(file: Path, shape: PyTree) -> PyTree | None:
    """The kept weights; None if there are none or they are damaged (a zip file has checksums)."""
    if not file.is_file():
        return None
    try:
        with np.load(file) as kept:
            flat = {name: kept[name] for name in checkpoint.flatten(shape)}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        logging.warning("training again: the kept %s is damaged (%s)", file, error)
        return None
    if any(flat[name].shape != leaf.shape for name, leaf in checkpoint.flatten(shape).items()):
        logging.warning("training again: the kept %s is of another network", file)
        return None
    return jax.tree.unflatten(jax.tree.structure(shape), list(flat.values()))


def _write(file: Path, weights: PyTree) -> None:
    """Keep the weights; the file appears whole or not at all."""
    partial = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as out:
                np.savez(out, **checkpoint.flatten(weights))
            os.replace(partial, file)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        logging.warning("cannot keep the classifier in %s (%s); it is trained again next time", file.parent, error)
