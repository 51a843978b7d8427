"""Texts as a generator takes them: tokens int32 [n,T], or [n,K,T] and the shares of several; what it cannot read."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from imggen_jax import prompts
from imggen_jax.data.text import tokenizer_of
from imggen_jax.errors import RunError
from imggen_jax.game import SHARES, Field
from imggen_jax.prompts import Mixture, Text


def fields_of(name: str, value: Any, shares: Any, field: Field, n: int, mixes: bool) -> dict[str, np.ndarray]:
    """The fields of n images that are conditioned on a text.

    Args:
      name: of the field.
      value: a text or `Mixture` for all of them, or one for each; or tokens, int32.
      shares: of tokens [n,K,T], float32 [n,K]; else None.
      field: of the texts that the model was trained on.
      n: number of images.
      mixes: whether the model takes several texts for one image.

    Returns:
      {name: int32 [n,T]}; with several texts {name: int32 [n,K,T], name + SHARES: float32 [n,K]}, filled up with texts
      of share 0.

    Raises:
      RunError: a value that is none of these, or several texts for a model that takes one.
    """
    if isinstance(value, np.ndarray) and value.dtype == np.int32:
        return _tokens(name, value, shares, field)
    one = isinstance(value, str | Mixture)
    values: list[Any] = [value] if one else list(value) if np.iterable(value) else [value]
    if wrong := [each for each in values if not isinstance(each, str | Mixture)]:
        raise RunError(f"{name} {wrong[0]!r:.100} is not a text; give a str, or one for each image")
    if not values:
        raise RunError(f"0 values of {name!r} are given for {n} images; give one for each, or one for all")
    several = any(isinstance(each, Mixture) for each in values)
    if several and not mixes:
        raise RunError(f"several texts are given as one {name}, by weights; this model takes one {name} for a picture")
    found = _encoded(name, [prompts.of(each) for each in values], field)
    if not several:
        found = {name: found[name][:, 0]}
    return {key: np.broadcast_to(made, (n, *made.shape[1:])) for key, made in found.items()} if one else found


def _encoded(name: str, each: Sequence[Mixture], field: Field) -> dict[str, np.ndarray]:
    most = max(len(one.texts) for one in each)
    encode, (length,) = tokenizer_of(field).encode, field.shape
    texts = [text for one in each for text in (*one.texts, *[""] * (most - len(one.texts)))]
    shares = [(*one.shares, *[0.0] * (most - len(one.shares))) for one in each]
    return {name: encode(texts, length)[0].reshape(len(each), most, -1),
            f"{name}{SHARES}": np.array(shares, np.float32)}


def _tokens(name: str, value: np.ndarray, shares: Any, field: Field) -> dict[str, np.ndarray]:
    several = shares is not None
    fits = value.ndim == 2 + several and value.shape[-1:] == field.shape and value.size
    if not fits or value.min() < 0 or value.max() >= tokenizer_of(field).size:
        sizes = "n, K" if several else "n"
        raise RunError(f"{name} is {value.shape}; this model takes tokens int32 ({sizes}, {field.shape[0]}) of its own "
                       "text")
    if not several:
        return {name: value}
    shares = np.asarray(shares, np.float32)
    if shares.shape != value.shape[:2] or not np.allclose(shares.sum(-1), 1, atol=1e-3):
        raise RunError(f"the shares of {name} are {shares.shape}; give float32 {value.shape[:2]}, each row of sum 1")
    return {name: value, f"{name}{SHARES}": shares}


def notes(text: Text, field: Field, what: str = "the prompt") -> list[str]:
    """What a model cannot read of a text: words that it never saw, with the nearest that it knows, and what is cut off.

    Of a model that reads bytes only the latter is known: to it no letter is new.

    Args:
      text: a text or several.
      field: of the texts that the model was trained on.
      what: how the text is called.
    """
    tokenizer, found = tokenizer_of(field), []
    unknown = {word: near for part in prompts.of(text).texts for word, near in tokenizer.unknown(part).items()}
    for word, near in unknown.items():
        known = f"; the nearest that it knows: {', '.join(near)}" if near else "; it knows none like it"
        found.append(f"the model never saw the word {word!r} of {what}{known}")
    (length,) = field.shape
    if any(tokenizer.encode([part], length)[1] for part in prompts.of(text).texts):
        found.append(f"{what} is longer than the {length} {'words' if field.names else 'bytes'} that the model reads; "
                     "the rest is cut off")
    return found
