"""Pictures that words change: the latent stays, what it is conditioned on moves.

In a model that takes several texts by their shares, two words make a gene: towards the one, and as far from the other.
"""
from __future__ import annotations

import re

import numpy as np

from imggen_jax import prompts, texts
from imggen_jax.editing.operations import parts_of
from imggen_jax.editing.space import check
from imggen_jax.errors import RunError
from imggen_jax.game import SHARES
from imggen_jax.model import Model
from imggen_jax.prompts import Mixture, Text
from imggen_jax.sampling import Latents

TEXT = "text"      # the field
AGAINST = "|"      # between the two texts of a gene
GOAL = 1.0         # how far a gene of words goes without an amount
FARTHEST = 6.0


def say(model: Model, latents: Latents, text: Text) -> Latents:
    """The same latents under other words: the layout of a picture stays, as far as it is not what the words say.

    Args:
      model: that takes a text.
      latents: of n images.
      text: for all of them.

    Raises:
      RunError: the model takes no text, or no such.
    """
    _takes_text(model)
    latents = check(model, latents)
    given = {name: value for name, value in latents.given.items() if name not in (TEXT, f"{TEXT}{SHARES}")}
    given |= texts.fields_of(TEXT, text, None, model.spec[TEXT], len(latents.w), TEXT in model.generator.mixes)
    return latents._replace(given=given)


def lean(model: Model, latents: Latents, towards: str, against: str, amount: float) -> Latents:
    """The same latents, conditioned on their text and, by an amount, on one text against another.

    Args:
      model: that takes several texts by their shares.
      latents: of n images.
      towards, against: texts, as "glasses" and "no glasses".
      amount: their shares, amount and -amount.

    Raises:
      RunError: the model takes no text or only one, or an amount that is too large.
    """
    _takes_text(model)
    if TEXT not in model.generator.mixes:
        raise RunError("this model takes one text for a picture, so two words make no gene of it; use --prompt")
    if not np.isfinite(amount) or abs(amount) > FARTHEST:
        raise RunError(f"gene {towards}{AGAINST}{against} is to go {amount:g}; give a number from -{FARTHEST:g} to "
                       f"{FARTHEST:g}")
    latents = check(model, latents)
    tokens, shares = parts_of(latents.given, TEXT)
    number, field = len(tokens), model.spec[TEXT]
    more = texts.fields_of(TEXT, [towards, against], None, field, 2, True)[TEXT]
    added = np.tile(np.array([amount, -amount], np.float32), (number, 1))
    return latents._replace(given={
        **latents.given, TEXT: np.concatenate([tokens, np.tile(more, (number, 1, 1))], axis=1),
        f"{TEXT}{SHARES}": np.concatenate([shares, added], axis=1)})


def gene(name: str) -> tuple[str, str] | None:
    """The two texts of a gene of words, "glasses|no glasses"; None for another gene.

    Raises:
      RunError: one of them is missing.
    """
    if AGAINST not in name:
        return None
    towards, _, against = (each.strip() for each in name.partition(AGAINST))
    if not towards or not against or AGAINST in against:
        raise RunError(f"gene {name!r} is not of the form WORDS{AGAINST}WORDS, as in \"glasses|no glasses:+1\"")
    return towards, against


def swapped(text: Text, swap: str) -> Text:
    """A text with one word for another; swap as "smiling=sad".

    Raises:
      RunError: another form, or the word does not occur.
    """
    old, equals, new = (each.strip() for each in swap.partition("="))
    if not (old and equals):
        raise RunError(f"swap {swap!r} is not of the form WORD=WORD, as in smiling=sad")
    pattern = re.compile(rf"(?<!\w){re.escape(old)}(?!\w)", re.IGNORECASE)
    parts = prompts.of(text)
    if not any(pattern.search(part) for part in parts.texts):
        raise RunError(f"the word {old!r} is not in the prompt {prompts.show(text)!r:.200}; name one that is")
    found = tuple(pattern.sub(lambda _: new, part) for part in parts.texts)
    return Mixture(found, parts.shares) if isinstance(text, Mixture) else found[0]


def _takes_text(model: Model) -> None:
    if TEXT not in model.generator.needs:
        raise RunError("this model takes no text; words change only models that were trained with captions")
