"""A picture's caption, by a model's own likelihood of the picture under texts.

A model that was trained to explain pictures by texts says, of each text, how well it explains a picture (Li et al.,
arXiv 2303.16203): by the bound on the likelihood of a VAE, by the error of a flow's velocity. The best of many captions
is improved word by word, each by those that stand between the same neighbors in other captions.
"""
from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax import data
from imggen_jax.data.text import tokenizer_of
from imggen_jax.editing.sources import open_picture
from imggen_jax.errors import DataError, RunError
from imggen_jax.game import Classifier
from imggen_jax.loading import load
from imggen_jax.model import Model
from imggen_jax.training.dataset import of_run, open_split

TEXT = "text"
CAPTIONS = 2048      # of the dataset that are read
TRIED = 512          # of them that are tried, spread evenly
KEPT = 3             # the best of these are improved
ROUNDS = 6           # of improvements
AT_ONCE = 32         # texts of one program
SAMPLES = 2          # random numbers under which all texts are compared
LIKE = 12            # words that are tried in the place of one


class Described(NamedTuple):
    """What a picture shows."""

    caption: str
    # word of the caption -> (the best of the words that could stand in its place, by how much the score is worse then);
    # those without an alternative are left out
    certain: Mapping[str, tuple[str, float]]
    score: float     # of the caption: the higher, the better; in the unit of the model's own metric
    tried: int       # texts


def describe(model: Model, image: np.ndarray, captions: Sequence[str] | None = None, *,
             given: Mapping[str, Any] = {}) -> Described:
    """A caption of a picture.

    Args:
      model: a loaded generator that takes a text, of a game with metrics of held-out examples.
      image: uint8 [H,W,C], of the model's size.
      captions: sentences such as the model was trained with, which give the words; None: those of its dataset.
      given: other fields that the model is conditioned on.

    Raises:
      RunError: a model or picture that this cannot work with, or no captions.
      DataError: the dataset is not there any more.
    """
    generator, field = model.generator, model.spec.get(TEXT)
    if TEXT not in generator.needs or field is None:
        raise RunError("this model was trained without captions, so it has no words for a picture; give a classifier")
    (image,) = model.check_images(np.asarray(image)[None])
    others = {name: value for name, value in model.check_given({**given, TEXT: ""}, 1).items() if name != TEXT}
    tokens = _tokens(model, captions)
    score = _Scores(model, image, others)
    chosen = tokens[np.linspace(0, len(tokens) - 1, min(TRIED, len(tokens))).astype(int)]
    best = chosen[np.argsort(-score(chosen), kind="stable")[:KEPT]]
    alternatives = _alternatives(tokens) if field.names else (lambda text: np.zeros((0, len(text)), np.int32))
    text = max((_improved(each, alternatives, score) for each in best), key=lambda each: score(each[None])[0])
    tokenizer = tokenizer_of(field)
    return Described(tokenizer.decode(text), _certain(text, alternatives, score, tokenizer.decode),
                     float(score(text[None])[0]), len(score.known))


def describe_file(model: str | os.PathLike[str], file: str, captions: Sequence[str] | None = None, *,
                  given: Mapping[str, Any] = {}) -> tuple[Described, list[str]]:
    """`describe` of a picture's file by a model that `load` takes, and notes on what was converted."""
    loaded = load(model)
    image, notes = open_picture(loaded, file)
    return describe(loaded, image, captions, given=given), list(notes)


def classify_file(classifier: str | os.PathLike[str], file: str) -> tuple[dict[str, tuple[str, float]], list[str]]:
    """What a trained classifier sees in a picture's file: {target: (its likeliest value, the probability)}, and notes.

    Raises:
      RunError: the model is no classifier, or the picture cannot be read.
    """
    loaded = load(classifier)
    if not isinstance(loaded.part, Classifier):
        raise RunError(f"{classifier} is a generator and names nothing that it sees; give the run of a classifier")
    image, notes = open_picture(loaded, file)
    each = loaded.part.logits(loaded.weights, jnp.asarray(image[None], jnp.float32) / 127.5 - 1)
    found = {}
    for target, logits in zip(loaded.part.targets, each, strict=True):
        shares = np.asarray(jax.nn.softmax(logits[0]))
        found[target] = loaded.spec[target].names[int(shares.argmax())], float(shares.max())
    return found, list(notes)


def _tokens(model: Model, captions: Sequence[str] | None) -> np.ndarray:
    """int32 [n,T], each once."""
    field = model.spec[TEXT]
    if captions is None:
        return dataset_tokens(model)
    if not captions:
        raise RunError("no caption is given; give some that the model could have been trained with")
    return _once(tokenizer_of(field).encode(list(captions), *field.shape)[0])


def dataset_tokens(model: Model) -> np.ndarray:
    """Captions of the dataset that a model was trained on, each once: int32 [n,T], n at most `CAPTIONS`.

    Raises:
      DataError: the dataset is not there any more.
    """
    settings, field = of_run(model.config, model.data), model.spec[TEXT]
    if settings.data.name.startswith("avatars/"):  # which would be drawn, for many minutes, where they were not before
        from imggen_jax.data import avatars  # here and not above: it needs tensorflow_datasets

        return _once(tokenizer_of(field).encode(avatars.captions(CAPTIONS), *field.shape)[0])
    try:
        dataset = open_split(dataclasses.replace(settings, data=dataclasses.replace(settings.data, memory="stream")),
                             settings.data.split)
    except DataError as error:
        raise DataError(f"{error}; or give captions that the model could have been trained with, one a line, with "
                        "--captions") from error
    dataset = data.select(dataset, [TEXT])
    rows = np.unique(np.linspace(0, dataset.length - 1, CAPTIONS).astype(int))
    return _once(dataset.read(rows)[TEXT])


def _once(tokens: np.ndarray) -> np.ndarray:
    return np.unique(tokens[tokens.any(-1)], axis=0)


class _Scores:
    """How well texts explain a picture; each is asked for once."""

    def __init__(self, model: Model, image: np.ndarray, others: Mapping[str, np.ndarray]):
        if model.game.metrics is None:
            raise RunError("the game of this model has no metrics of its pictures, so it cannot say which text "
                           "explains one; use a VAE or a flow, or a classifier")
        self._program = _program(model.game.metrics)
        self._arguments = jax.device_put((model.weights, image, dict(others)), jax.local_devices()[0])
        self.known: dict[bytes, float] = {}

    def __call__(self, tokens: np.ndarray) -> np.ndarray:
        """int32 [n,T] -> float64 [n], the higher the better."""
        new = _once(np.array([row for row in tokens if row.tobytes() not in self.known], np.int32).reshape(
            -1, tokens.shape[1]))
        for start in range(0, len(new), AT_ONCE):
            rows = new[np.minimum(np.arange(start, start + AT_ONCE), len(new) - 1)]
            for row, value in zip(rows, np.asarray(self._program(*self._arguments, rows))):
                self.known[row.tobytes()] = float(value)
        return np.array([self.known[row.tobytes()] for row in tokens])


@functools.lru_cache(maxsize=4)
def _program(metrics: Callable[..., Mapping[str, jax.Array]]) -> Callable[..., jax.Array]:
    """A compiled function (weights, image uint8 [H,W,C], other fields of one, tokens int32 [B,T]) -> float32 [B]."""
    @jax.jit
    def scores(weights, image, others, tokens):
        def one(text, key):
            found = metrics(weights, {"image": image[None], TEXT: text[None], **others}, key)
            losses = [value for name, value in found.items() if name.endswith("_loss")]
            return (found["elbo"] if "elbo" in found else -losses[0])[0]

        keys = jax.random.split(jax.random.key(0), SAMPLES)  # the same for all texts, whose differences alone count
        return jnp.mean(jax.vmap(lambda key: jax.vmap(one, (0, None))(tokens, key))(keys), axis=0)

    return scores


def _alternatives(tokens: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function of a text int32 [T]: itself with single words changed to such as stand between the same neighbors."""
    between: dict[tuple[int, int], dict[int, int]] = {}
    for row in tokens:
        ends = np.concatenate([[0], row, [0]])
        for before, word, after in zip(ends, row, ends[2:]):
            if word > 1:
                counts = between.setdefault((int(before), int(after)), {})
                counts[int(word)] = counts.get(int(word), 0) + 1

    def changed(text: np.ndarray) -> np.ndarray:
        found, ends = [], np.concatenate([[0], text, [0]])
        for place, word in enumerate(text):
            counts = between.get((int(ends[place]), int(ends[place + 2])), {}) if word else {}
            for other in sorted(counts, key=lambda each: -counts[each])[:LIKE]:
                if other != word:
                    found.append(np.where(np.arange(len(text)) == place, other, text))
        return np.array(found, np.int32).reshape(-1, len(text))

    return changed


def _improved(text: np.ndarray, alternatives: Callable[[np.ndarray], np.ndarray], score: _Scores) -> np.ndarray:
    """A text whose words are changed while that explains the picture better: all that help at once, or the best one."""
    for _ in range(ROUNDS):
        others = alternatives(text)
        gains = score(others) - score(text[None])[0] if len(others) else np.zeros(0)
        if not (gains > 0).any():
            break
        together = text.copy()
        for row in np.argsort(gains)[gains[np.argsort(gains)] > 0]:  # the best of each place comes last
            place = np.flatnonzero(others[row] != text)[0]
            together[place] = others[row][place]
        best = others[gains.argmax()]
        text = together if score(together[None])[0] > score(best[None])[0] else best
    return text


def _certain(text: np.ndarray, alternatives: Callable[[np.ndarray], np.ndarray], score: _Scores,
             decode: Callable[[np.ndarray], str]) -> dict[str, tuple[str, float]]:
    found: dict[str, tuple[str, float]] = {}
    own, others = float(score(text[None])[0]), alternatives(text)
    for other, value in zip(others, score(others) if len(others) else ()):
        place = np.flatnonzero(other != text)
        word, instead, gap = decode(text[place]), decode(other[place]), own - float(value)
        if word not in found or gap < found[word][1]:
            found[word] = instead, gap
    return found
