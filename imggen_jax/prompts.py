"""What a prompt says: its parts and their weights, and the prompts that one with alternatives stands for.

    expand("a {red, blue} hat")             # ["a red hat", "a blue hat"]
    parse("smiling::2 beard::-0.5")         # Mixture(("smiling", "beard"), (1.333..., -0.333...))

Pure functions of texts. The syntax is Midjourney's. A part ends with `::`, and a number right after it is its weight, 1
where none stands. Braces hold alternatives, separated by commas, also within one another. A backslash takes the meaning
from a brace, a comma, a colon or a backslash.
"""
from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from imggen_jax.errors import RunError

LONGEST = 2000       # characters of a prompt
MOST_PROMPTS = 64    # that one with braces may stand for
MOST_PARTS = 8
MOST_LINES = 1000    # of a file of prompts
FARTHEST = 10.0      # size of a part's share: further out a model knows nothing

_ESCAPED = re.compile(r"\\([{},:\\])")
_PART = re.compile(r"(?<!\\)::(?:([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?=\s|::|$))?")
_OPTION = re.compile(r"(?:^|\s)--[a-z][a-z-]*")


class Mixture(NamedTuple):
    """Several texts that condition one picture together."""

    texts: tuple[str, ...]      # "" says nothing
    shares: tuple[float, ...]   # one for each, of sum 1; negative: away from it


Text = str | Mixture            # what one picture is conditioned on


def parse(prompt: str) -> Text:
    """A prompt without alternatives, as a model is conditioned on it.

    Args:
      prompt: "a text", or "parts::2 with weights::-0.5".

    Returns:
      The text where there is one part; else a `Mixture`, whose shares are the weights over their sum.

    Raises:
      RunError: it is empty or too long, has an option or a part without words, too many parts, weights whose sum is
        not above 0, or a share beyond `FARTHEST`.
    """
    check(prompt)
    pieces = _PART.split(prompt)  # text, weight, text, weight, ..., text
    texts, weights = pieces[::2], [1.0 if each is None else float(each) for each in pieces[1::2]]
    if texts and not texts[-1].strip():
        texts.pop()  # nothing stands after the last weight
    weights += [1.0] * (len(texts) - len(weights))
    plain = [_ESCAPED.sub(r"\1", text).strip() for text in texts]
    if "" in plain:
        raise RunError(f"the prompt {_short(prompt)} has a weight without words before it; write the words, then "
                       ":: and their weight, as in smiling::2 beard::-0.5")
    if len(plain) == 1:
        if weights[0] <= 0:
            raise RunError(f"the prompt {_short(prompt)} has one part, of weight {weights[0]:g}; say also what the "
                           "picture shows")
        return plain[0]
    return mixture(plain, weights)


def check(prompt: str) -> None:
    """Raises RunError for a prompt that says nothing, is too long or holds options."""
    if not prompt.strip():
        raise RunError("the prompt is empty; say what the picture shows")
    if len(prompt) > LONGEST:
        raise RunError(f"the prompt has {len(prompt):,} characters; at most {LONGEST:,} are taken")
    if (found := _OPTION.search(prompt)) is not None:
        raise RunError(f"the prompt {_short(prompt)} holds the option {found.group().strip()}; give options beside the "
                       "prompt, not in it")


def mixture(texts: Sequence[str], weights: Sequence[float]) -> Mixture:
    """Texts by their weights, which are divided by their sum.

    Raises:
      RunError: no text, too many, or weights that cannot be shares.
    """
    if not 1 <= len(texts) <= MOST_PARTS:
        raise RunError(f"{len(texts)} parts are given; a prompt has 1 to {MOST_PARTS}")
    total = sum(weights)
    if not total > 0:
        raise RunError(f"the weights {', '.join(f'{w:g}' for w in weights)} have the sum {total:g}; it must be above 0")
    shares = tuple(weight / total for weight in weights)
    if not all(math.isfinite(share) and abs(share) <= FARTHEST for share in shares):
        raise RunError(f"the weights {', '.join(f'{w:g}' for w in weights)} nearly cancel each other, so that a part "
                       f"would count {max(map(abs, shares)):.3g} times; give smaller negative ones")
    return Mixture(tuple(texts), shares)


def of(text: Text) -> Mixture:
    """A text as a mixture of one."""
    return text if isinstance(text, Mixture) else Mixture((text,), (1.0,))


def combine(each: Sequence[Text], weights: Sequence[float]) -> Text:
    """Texts and mixtures as one, by weights of sum 1: what is said twice is added up, and what counts 0 is left out.

    Raises:
      RunError: more parts than a prompt has, or a share that is too large.
    """
    found: dict[str, float] = {}
    for one, weight in zip(each, weights, strict=True):
        for text, share in zip(*of(one)):
            found[text] = found.get(text, 0.0) + weight * share
    found = {text: share for text, share in found.items() if abs(share) > 1e-9}
    if len(found) == 1:
        return next(iter(found))
    return mixture(tuple(found), tuple(found.values()))


def show(text: Text) -> str:
    """A text as a prompt that `parse` reads again."""
    if isinstance(text, str):
        return _escape(text)
    return " ".join(f"{_escape(part)}::{share:g}" for part, share in zip(*text))


def expand(prompt: str) -> list[str]:
    """All prompts that one with alternatives stands for, the first alternatives first; each alternative may be empty.

    Raises:
      RunError: braces that do not match or hold nothing, or more than `MOST_PROMPTS`.
    """
    check(prompt)
    sequence, end = _sequence(prompt, 0, 0)
    assert end == len(prompt), "a sequence outside of braces ends with the prompt"
    if (number := _count(sequence)) > MOST_PROMPTS:
        many = f"{number:,}" if number < 10**6 else "more than a million"
        raise RunError(f"the prompt {_short(prompt)} stands for {many} prompts; at most {MOST_PROMPTS} are made at "
                       "once: leave out some alternatives")
    return [" ".join(text.split()) if "{" in prompt else text for text in _all(sequence)]


def read_lines(content: str, title: str) -> list[str]:
    """The prompts of a file: one a line, without empty lines and those that begin with #.

    Raises:
      RunError: there are none, or too many.
    """
    lines = [line.strip() for line in content.removeprefix("\ufeff").splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not 1 <= len(found) <= MOST_LINES:
        raise RunError(f"{title} holds {len(found) or 'no'} prompts; write 1 to {MOST_LINES:,}, one a line")
    return found


# A sequence is a list of texts and of alternatives, each of which is a tuple of sequences.

def _sequence(prompt: str, start: int, depth: int) -> tuple[list, int]:
    """(the sequence from a place on, where it ends: at a comma or brace of the alternatives that it belongs to)."""
    found: list = [""]
    place = start
    while place < len(prompt):
        letter = prompt[place]
        if letter == "\\" and place + 1 < len(prompt):
            found[-1] += prompt[place:place + 2]
            place += 2
        elif letter == "{":
            alternatives, place = _alternatives(prompt, place, depth + 1)
            found += [alternatives, ""]
        elif letter in ",}" and depth:
            break
        elif letter == "}":
            raise _unmatched(prompt, place, "no { before it")
        else:
            found[-1] += letter
            place += 1
    return found, place


def _alternatives(prompt: str, start: int, depth: int) -> tuple[tuple, int]:
    """(the alternatives in the braces that open at a place, the place after them)."""
    if depth > 8:
        raise RunError(f"the prompt {_short(prompt)} has braces within braces, more than 8 deep")
    found, place = [], start
    while True:
        sequence, place = _sequence(prompt, place + 1, depth)
        found.append(sequence)
        if place >= len(prompt):
            raise _unmatched(prompt, start, "no } after it")
        if prompt[place] == "}":
            break
    if len(found) == 1 and found[0] == [""]:
        raise RunError(f"the prompt {_short(prompt)} has empty braces; write alternatives, as in {{red, blue}}")
    return tuple(found), place + 1


def _unmatched(prompt: str, place: int, what: str) -> RunError:
    return RunError(f"the prompt {_short(prompt)} has a brace, character {place + 1}, with {what}; write "
                    f"\\{prompt[place]} for the brace itself")


def _count(sequence: list) -> int:
    return math.prod(sum(map(_count, part)) for part in sequence if isinstance(part, tuple))


def _all(sequence: list) -> list[str]:
    texts = [""]
    for part in sequence:
        options = [part] if isinstance(part, str) else [each.strip() for one in part for each in _all(one)]
        texts = [text + option for text in texts for option in options]
    return texts


def _escape(text: str) -> str:
    return re.sub(r"([{}\\]|::)", lambda found: "".join("\\" + letter for letter in found.group()), text)


def _short(prompt: str) -> str:
    return repr(prompt if len(prompt) <= 60 else prompt[:57] + "...")
