"""A new word for a model, learned from a few pictures of one thing, and what of the dense layers must change for it.

The word's row of the text encoder's table is learned as in textual inversion (Gal et al., arXiv 2208.01618), together
with low-rank changes of the dense layers (Hu et al., arXiv 2106.09685). Half of each batch are pictures that the model
itself makes of captions without the word, so that it does not forget them (Ruiz et al., arXiv 2208.12242).
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from imggen_jax import adapters
from imggen_jax.adapters import TEXT, Adapter
from imggen_jax.data.text import tokenizer_of, words
from imggen_jax.errors import RunError
from imggen_jax.game import Clock, Pretrained, PyTree
from imggen_jax.model import Model
from imggen_jax.storage import checkpoint

MOST_PICTURES = 200
STEPS, BATCH, RANK = 400, 16, 4
RATE = 3e-3          # of Adam
ROWS = 10.0          # how much faster the word moves, since rows of the table are about as long as sqrt(width)
PRIOR = 64           # pictures of the model's own
AT_ONCE = 20         # steps of one call
TEMPLATES = ("{}", "a {}", "a {} person", "the picture shows a {}", "a picture of {}")


class Learned(NamedTuple):
    """What was learned, and how well."""

    adapter: Adapter
    # "pictures", "kept": the loss, in the game's unit, of the pictures under the word and of the model's own pictures,
    # before and after
    figures: Mapping[str, tuple[float, float]]


def learn(
    model: Model, images: np.ndarray, word: str, networks: Mapping[str, Pretrained], *,
    captions: Sequence[str] | None = None, prior: Sequence[str] = ("",), steps: int = STEPS, rank: int = RANK,
    seed: int = 0, report: Callable[[int, float], object] = lambda step, loss: None,
) -> Learned:
    """Teach a model a word.

    Args:
      model: a loaded VAE or flow that reads words.
      images: uint8 [n,H,W,C] of one thing, of the model's size; n from 1 to 200.
      word: a new one.
      networks: those that the model uses and does not train.
      captions: a text for each image, which says the word; None: "WORD", "a WORD" and their like.
      prior: captions without the word, of which pictures are made that are to stay as they are.
      steps: of Adam.
      rank: of the changes of dense layers; 0 for the word alone.
      seed: of all that is drawn.
      report: called now and then with the steps done and the loss.

    Raises:
      RunError: a model, word, number or picture that this cannot work with, or a loss that is not finite.
    """
    images = model.check_images(images)
    check(model, images, word, captions, steps, rank)
    start = np.asarray(_table(model).mean(0), np.float32)
    grown = adapters.with_words(model, {word: start}, networks)
    lesson = _lesson(grown, images, word, captions, prior, seed)
    trained = _start(grown, rank, seed)
    play, losses = _program(grown, rank)
    weights = jax.device_put(grown.weights, jax.local_devices()[0])
    before = losses(weights, trained[0], lesson)
    for done in range(0, steps, AT_ONCE):
        trained, loss = play(weights, trained, lesson, jax.random.fold_in(jax.random.key(seed), done))
        if not np.isfinite(loss):
            raise RunError(f"the loss is {float(loss)} after {done + AT_ONCE} steps; nothing was written. Choose fewer "
                           "steps or a lower rank")
        report(min(steps, done + AT_ONCE), float(loss))
    after, found = losses(weights, trained[0], lesson), jax.tree.map(np.asarray, trained[0])
    adapter = Adapter(checkpoint.fingerprint(model.weights), {word: start + ROWS * found["row"]}, found["down"],
                      found["up"], float(max(rank, 1)))
    figures = {name: (float(a), float(b)) for name, a, b in zip(("pictures", "kept"), before, after)}
    return Learned(adapter, figures)


def check(model: Model, images: np.ndarray, word: str, captions: Sequence[str] | None, steps: int, rank: int) -> None:
    """Raises RunError for what `learn` cannot work with."""
    if model.generator.needs != (TEXT,):
        raise RunError("a word is learned by models that are conditioned on a text and nothing else")
    _table(model)
    if word in model.spec[TEXT].names:
        raise RunError(f"the model knows the word {word!r} already; choose another")
    if len(model.game.moves) != 1:
        raise RunError("a word is learned by the loss of a lone player, and this game has several; use a VAE or a flow")
    if words(word) != [word]:
        raise RunError(f"the word {word!r} is not one word in small letters and digits, as zork is")
    if not len(images) <= MOST_PICTURES:
        raise RunError(f"{len(images)} pictures are given; 1 to {MOST_PICTURES} of one thing are taken")
    if steps < 1 or not 0 <= rank <= 64:
        raise RunError(f"steps are {steps} and rank is {rank}; give at least 1, and from 0 to 64")
    if captions is not None and (len(captions) != len(images) or any(word not in words(each) for each in captions)):
        raise RunError(f"captions are not one for each picture that says the word {word!r}")


def _table(model: Model) -> np.ndarray:
    """The text encoder's table, float32 [tokens,width]."""
    field = model.spec.get(TEXT)
    if field is None or not field.names:
        raise RunError("this model reads no words, so it can learn none")
    size = tokenizer_of(field).size
    found = [leaf for name, leaf in checkpoint.flatten(model.weights).items()
             if name.endswith(".words.embedding") and np.shape(leaf)[0] == size]
    if len(found) != 1:
        raise RunError(f"this model has {len(found)} tables of its words, and one is needed")
    return np.asarray(found[0])


def _lesson(model: Model, images: np.ndarray, word: str, captions: Sequence[str] | None, prior: Sequence[str], seed: int
            ) -> dict[str, Any]:
    """Pictures and texts, and the model's own: {"image", "text", "own_image", "own_text"}, with a first axis each."""
    tokenizer, (length,) = tokenizer_of(model.spec[TEXT]), model.spec[TEXT].shape
    if captions is None:
        known = [each for each in (one.format(word) for one in TEMPLATES) if not tokenizer.unknown(each)]
        texts = [known[row % len(known)] for row in range(max(len(images), len(known)))]
        images = images[np.arange(len(texts)) % len(images)]
    else:
        texts = list(captions)
    rng = np.random.default_rng([seed, 4])
    own = [prior[place] for place in rng.integers(0, len(prior), PRIOR)]
    made = model.sample([int(each) for each in rng.integers(0, 2**32, PRIOR)], {TEXT: own})
    return {"image": images, TEXT: tokenizer.encode(texts, length)[0], "own_image": made,
            f"own_{TEXT}": tokenizer.encode(own, length)[0]}


def _start(model: Model, rank: int, seed: int) -> tuple[PyTree, PyTree]:
    """(what is trained, the optimizer's state)."""
    (player, _), = model.game.moves
    kernels = {name: np.shape(leaf) for name, leaf in checkpoint.flatten(model.weights).items()
               if name.startswith(f"{player}.") and name.endswith(adapters.KERNEL) and np.ndim(leaf) == 2
               and min(np.shape(leaf)) > rank > 0}
    rng = np.random.default_rng([seed, 5])
    down = {name: rng.normal(0, shape[0] ** -0.5, (rank, shape[0])).astype(np.float32)
            for name, shape in kernels.items()}
    up = {name: np.zeros((shape[1], rank), np.float32) for name, shape in kernels.items()}
    trained = {"row": np.zeros(_table(model).shape[1], np.float32), "down": down, "up": up}
    return trained, optax.adam(RATE).init(trained)


@functools.lru_cache(maxsize=4)
def _compiled(loss: Callable, player: str, mutable_names: tuple[str, ...], others: tuple[str, ...]):
    """(a function of several steps, one of both losses), of a game's loss."""
    optimizer = optax.adam(RATE)

    def value(weights, trained, batch, key):
        weights = adapters.changed(_with_row(weights, trained["row"]), trained["down"], trained["up"], 1.0)
        params = {name: weights[name] for name in (player, *others)}
        mutable = {name: weights[name] for name in mutable_names}
        clock = Clock(jnp.int32(2**30), jnp.float32(1e12))  # warm-ups are over, and what was measured stays
        return loss(params, mutable, batch, clock, key)[0]

    def drawn(lesson, key):
        one, two = (jax.random.randint(each, (BATCH // 2,), 0, len(lesson[name]))
                    for each, name in zip(jax.random.split(key), ("image", "own_image")))
        return {name: jnp.concatenate([lesson[name][one], lesson[f"own_{name}"][two]]) for name in ("image", TEXT)}

    @jax.jit
    def play(weights, state, lesson, key):
        def step(state, key):
            trained, moments = state
            key_batch, key_loss = jax.random.split(key)
            batch = drawn(lesson, key_batch)

            def twice(trained):  # what is differentiated, and what is told
                found = value(weights, trained, batch, key_loss)
                return found, found

            slope, loss = jax.grad(twice, has_aux=True)(trained)
            updates, moments = optimizer.update(slope, moments)
            return (cast(PyTree, optax.apply_updates(trained, updates)), moments), loss

        state, found = jax.lax.scan(step, state, jax.random.split(key, AT_ONCE))
        return state, found[-1]

    @jax.jit
    def losses(weights, trained, lesson):
        key = jax.random.key(7)
        return (value(weights, trained, {"image": lesson["image"], TEXT: lesson[TEXT]}, key),
                value(weights, trained, {"image": lesson["own_image"], TEXT: lesson[f"own_{TEXT}"]}, key))

    return play, losses


def _program(model: Model, rank: int):
    (player, loss), = model.game.moves
    networks = tuple(sorted(set(model.weights) - set(adapters.shapes(model.game, model.spec))))
    mutable = tuple(sorted(set(model.weights) - set(networks) - {player}))
    return _compiled(loss, player, mutable, networks)


def _with_row(weights: PyTree, row: jax.Array) -> PyTree:
    """Weights whose last word has moved."""
    leaves = checkpoint.flatten(weights)
    for name, leaf in leaves.items():
        if name.endswith(".words.embedding"):
            leaves[name] = leaf.at[-1].add(ROWS * row)
    return jax.tree.unflatten(jax.tree.structure(weights), list(leaves.values()))
