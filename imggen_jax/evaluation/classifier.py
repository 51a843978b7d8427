"""The classifier of a dataset: trained once by the project's own step, then kept and read from there.

Scores need a network that was trained on images like those that they judge. Where the weight file of a large one is not
at hand, this one is trained in minutes on all class labels of the dataset.
"""
from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from imggen_jax import augment, data, devices, optim, step
from imggen_jax import spec as specs
from imggen_jax.data.splits import sub_split
from imggen_jax.errors import MetricsError, RunError
from imggen_jax.game import Classifier, Field, Game, PyTree, Spec, make_spec
from imggen_jax.games import classifier as classifier_game
from imggen_jax.metrics import features
from imggen_jax.storage import checkpoint
from imggen_jax.storage.cache import cache_folder
from imggen_jax.storage.files import write_atomic
from imggen_jax.storage.lock import exclusive

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
# Of a second one, which is as good and makes other errors: the first one can judge what the second one guides to.
GUIDE_SEED = 1
PER_CALL = 8       # steps in one call
CHUNK = 1024       # images classified at a time
HELD_OUT = "95%"   # of the training split is learned where a dataset has no test split; the rest gives the accuracy
RESIZE = "none: pictures have the dataset's own size"  # as recipes of scores say it


class Labeller(NamedTuple):
    """A trained classifier of a dataset's labels."""

    names: tuple[str, ...]               # of the K labels
    values: tuple[tuple[str, ...], ...]  # for each label, the names of its values
    accuracy: Mapping[str, float]        # of each label, on images that it was not trained on
    spec: Spec                           # "image", and a field for each label
    space: features.Space                # its features; their class logits are those of the first label
    classifier: Classifier
    weights: PyTree
    recipe: Mapping                      # as RECIPE

    @property
    def shifted(self) -> bool:
        """Whether it was trained on images that were shifted by a few pixels."""
        return "translation" in self.recipe["augment"]

    @property
    def sha256(self) -> str:
        """Over the weights."""
        return self.space.sha256

    def logits(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        """The logarithms of each label's probabilities: uint8 [n,S,S,C] -> for each label float32 [n,values]."""
        space = self.space._replace(apply=_answers(self.classifier, self.shifted))
        joined = np.concatenate([each.vectors for each in features.stream(space, [images])])
        return tuple(np.split(joined, np.cumsum([len(one) for one in self.values])[:-1], axis=-1))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The likeliest value of each label: uint8 [n,S,S,C] -> int32 [n,K]."""
        return np.stack([np.argmax(each, axis=-1) for each in self.logits(images)], axis=-1).astype(np.int32)


def dataset_classifier(
    *, name: str, split: str, held_out: str, dir: str, size: int, labels: Sequence[str] | None = None,
    recipe: Mapping | None = None,
) -> Labeller:
    """The classifier of a dataset, from the cache if it was trained before, else trained now: minutes on a CPU.

    Args:
      name, split, dir, size: as for `data.open_dataset`.
      held_out: split on which its accuracy is measured; "" takes the last part of `split`.
      labels: names of the labels to learn; None for all that the dataset has, without one that only repeats another.
      recipe: as RECIPE, which None takes.

    Raises:
      DataError: no such dataset or split, or none with labels.
      MetricsError: images that the network does not take.
      RunError: training did not work.
    """
    recipe = RECIPE if recipe is None else recipe
    if not held_out:
        split, held_out = sub_split(split, f":{HELD_OUT}"), sub_split(split, f"{HELD_OUT}:")
    chosen = tuple(data.class_labels(name=name, split=split, dir=dir)) if labels is None else tuple(labels)
    # Both splits, before anything long starts. Each is decoded when it is first read.
    examples, others = (data.open_dataset(name=name, split=each, dir=dir, size=size, label="", memory="auto",
                                          fields=("image", *chosen)) for each in (split, held_out))
    check_images(examples.spec["image"])
    weights, file = _trained(name, examples, recipe)
    labeller = make_labeller(examples.spec, weights, recipe)
    return labeller._replace(accuracy=_accuracy(labeller, others, file))


def check_images(field: Field) -> None:
    """Refuse images that the classifier does not take, before it is trained.

    Raises:
      MetricsError: they are of any size, not square, too small or too large.
    """
    try:
        label = Field((), "int32", ("0", "1"))
        _shape(make_spec(image=field, label=label), RECIPE)
    except ValueError as error:
        raise MetricsError(f"the feature space classifier does not suit these images: {error}; or choose another "
                           "--space") from None


def _trained(name: str, examples: data.Dataset, recipe: Mapping) -> tuple[PyTree, Path]:
    """The weights, from the file or into it."""
    names = specs.labels(examples.spec)
    # Of the images and the labels by their names: what else is known of an example makes no other classifier.
    identity = [examples.fingerprint, names, [examples.spec[each].names for each in names], recipe]
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    file = cache_folder("classifiers") / f"{name.replace('/', '_').replace(':', '_')}-{key[:32]}.npz"
    shape = _shape(examples.spec, recipe)
    weights = _read(file, shape)
    if weights is None:
        with _alone(file, name):
            weights = _read(file, shape) if file.is_file() else None  # by another process, in the meantime
            if weights is None:
                weights = train_classifier(examples.spec, examples.read, examples.length, recipe,
                                           title=f"classifier of {name}")
                _write(file, lambda out: np.savez(out, **checkpoint.flatten(weights)))
    return weights, file


def _accuracy(labeller: Labeller, held_out: data.Dataset, file: Path) -> dict[str, float]:
    """{label: share of held-out images that are classified right}; measured once and kept beside the weights."""
    key = hashlib.sha256(json.dumps([labeller.sha256, held_out.fingerprint]).encode()).hexdigest()
    kept = file.with_name(f"{file.stem}.accuracy-{key[:16]}.json")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # none is kept, or it is damaged
        content = json.loads(kept.read_text(encoding="utf-8"))
        return {name: float(content[name]) for name in labeller.names}
    right = []
    for rows in np.array_split(np.arange(held_out.length), -(-held_out.length // CHUNK)):
        examples = held_out.read(rows)
        truth = np.stack([examples[name] for name in labeller.names], axis=-1)
        right.append(labeller.predict(examples["image"]) == truth)
    shares = np.mean(np.concatenate(right), axis=0)
    accuracy = {name: float(share) for name, share in zip(labeller.names, shares)}
    _write(kept, json.dumps(accuracy) + "\n")
    return accuracy


def _game(spec: Spec, recipe: Mapping) -> Game:
    return _made(spec, json.dumps([recipe["network"], recipe["augment"]]))


@functools.lru_cache(maxsize=8)
def _made(spec: Spec, text: str) -> Game:
    """One game for each kind of classifier, so that what is compiled for it serves all of the kind."""
    network, policy = json.loads(text)
    return classifier_game.make(spec, dtype="float32", network=network, augment=policy)


def _classifier(spec: Spec, recipe: Mapping) -> Classifier:
    main = _game(spec, recipe).main
    assert isinstance(main, Classifier)
    return main


def _shape(spec: Spec, recipe: Mapping) -> PyTree:
    game = _game(spec, recipe)
    return jax.eval_shape(lambda: game.weights(*game.init(jax.random.key(0), spec)))


def make_labeller(spec: Spec, weights: PyTree, recipe: Mapping) -> Labeller:
    """A labeller from trained weights, whose accuracy is not known."""
    classifier, names = _classifier(spec, recipe), specs.labels(spec)
    images = np.zeros((1, *specs.image_shape(spec)), np.float32)
    dims = jax.eval_shape(classifier.features, weights, images).shape[-1]
    space = features.Space(name="classifier", dims=dims, resize=RESIZE, sha256=checkpoint.fingerprint(weights),
                           apply=_vectors(classifier), weights=weights)
    return Labeller(names, tuple(spec[name].names for name in names), {}, spec, space, classifier, weights, recipe)


def pack(labeller: Labeller) -> tuple[dict, dict[str, np.ndarray]]:
    """(JSON, arrays by name) of a labeller, to be kept elsewhere; its accuracy is left out."""
    return ({"spec": specs.to_json(labeller.spec), "recipe": dict(labeller.recipe)},
            checkpoint.flatten(labeller.weights))


def unpack(facts: Mapping, arrays: Mapping[str, np.ndarray]) -> Labeller:
    """The labeller that `pack` was given.

    Raises:
      KeyError, TypeError, ValueError: it is not whole.
    """
    spec, recipe = specs.from_json(facts["spec"]), facts["recipe"]
    shape = _shape(spec, recipe)
    flat = {name: arrays[name] for name in checkpoint.flatten(shape)}
    if any(flat[name].shape != leaf.shape for name, leaf in checkpoint.flatten(shape).items()):
        raise ValueError("weights of another network")
    return make_labeller(spec, jax.tree.unflatten(jax.tree.structure(shape), list(flat.values())), recipe)


@functools.lru_cache(maxsize=8)
def _vectors(classifier: Classifier) -> Callable:
    def apply(weights, images):
        images = augment.to_float(images)
        return classifier.features(weights, images), classifier.logits(weights, images)[0]

    return apply


@functools.lru_cache(maxsize=8)
def _answers(classifier: Classifier, shifted: bool) -> Callable:
    def apply(weights, images):
        each = log_probabilities(classifier, weights, augment.to_float(images), shifted)
        return jnp.concatenate(each, axis=-1), None

    return apply


def log_probabilities(classifier: Classifier, weights: PyTree, images: jax.Array, shifted: bool) -> list[jax.Array]:
    """The logarithms of the probabilities that a classifier gives to the values of each label.

    One that was trained on shifted images sees each image five times, as it is and shifted along the diagonals. The
    mean of the five probabilities is right more often than any of them.

    Args:
      classifier, weights, shifted: of a labeller.
      images: float32 [n,S,S,C] in [-1,1].

    Returns:
      For each label the logarithm of the mean probabilities, float32 [n,values].
    """
    far = shift_distance(images.shape[1])
    ways = [(down, right) for down in (-far, far) for right in (-far, far)] if shifted else []
    shown = [images, *(shift(images, *way) for way in ways)]
    each = [[jax.nn.softmax(label) for label in classifier.logits(weights, copy)] for copy in shown]
    return [jnp.log(sum(copies) / len(shown) + 1e-9) for copies in zip(*each)]


def shift_distance(side: int) -> int:
    """The pixels by which images are shifted to be seen again: half as far as in training."""
    return max(1, side // 16)


def shift(images: jax.Array, down: int | jax.Array, right: int | jax.Array) -> jax.Array:
    """Images [n,S,S,C] shifted by at most `shift_distance` pixels either way, zeros coming in, as the augmentation
    does; but all by as much, which is one slice."""
    far = shift_distance(images.shape[1])
    padded = jnp.pad(images, ((0, 0), (far, far), (far, far), (0, 0)))
    return jax.lax.dynamic_slice(padded, (0, far - down, far - right, 0), images.shape)


def train_classifier(spec: Spec, read: Callable, length: int, recipe: Mapping, title: str) -> PyTree:
    """Train a classifier; a function of its arguments alone.

    Args:
      spec: "image" and one or more labels.
      read: rows int [B] in [0, length) -> examples of `spec`.
      length: number of examples.
      recipe: as RECIPE.
      title: for the progress bar.

    Returns:
      The averaged weights, as NumPy arrays.

    Raises:
      RunError: the loss is not finite.
    """
    game = _game(spec, recipe)
    images, batch, seed = recipe["images"], recipe["batch"], recipe["seed"]
    optimizers = {"classifier": optim.make(images=images, batch=batch, accumulate=1, **recipe["optimizer"])}
    chosen = jax.local_devices()
    chosen = chosen[:max(n for n in range(1, len(chosen) + 1) if batch % n == 0)]

    def play(axis):
        return functools.partial(step.play, functools.partial(
            step.train_step, game, optimizers, optim.average_rate(**recipe["ema"]), augment.unchanged, axis=axis))

    engine = devices.make("jit", chosen, play)
    state = engine.put_state(jax.jit(lambda: step.init_state(game, optimizers, jax.random.key(seed), spec))())
    pretrained = engine.put_state({})
    key, steps = jax.random.key(seed), max(1, images // batch)
    calls = -(-steps // PER_CALL)
    with tqdm.tqdm(total=calls * PER_CALL * batch, desc=f"training the {title}, once", unit=" images", unit_scale=True,
                   delay=2, mininterval=1, leave=False, disable=None) as progress:
        for call in range(calls):
            rows = [data.batch_indices(length, seed=seed, step=i, batch=batch)
                    for i in range(call * PER_CALL, (call + 1) * PER_CALL)]
            examples = [read(each) for each in rows]
            batches = {name: np.stack([each[name] for each in examples]) for name in spec}
            state, logs = engine.run(state, engine.put_batches(batches), key, pretrained)
            progress.update(PER_CALL * batch)
    if not bool(engine.fetch(state.finite)):
        raise RunError(f"the {title} did not train: its loss is {float(engine.fetch(logs)['loss'][-1, 0])}; check the "
                       "dataset's images and labels")
    return engine.fetch(state.average)


@contextlib.contextmanager
def _alone(file: Path, name: str) -> Iterator[None]:
    """Two processes that need the same classifier: one trains it, the other waits. Without a place for a lock, both do.
    """
    def wait(holder: str) -> None:
        logging.warning("waiting for %s, which is training the classifier of %s", holder, name)

    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(exclusive(file.with_suffix(".lock"), waiting=wait))
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


def _write(file: Path, content) -> None:
    """Keep something for the next time."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, content)
    except OSError as error:
        logging.warning("cannot keep the classifier in %s (%s); it is computed again next time", file.parent, error)
