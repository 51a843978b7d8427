"""Split expressions: parts of splits, parts of those parts, and several joined.

    split = name, "(" split ")", split "[" start ":" stop "]" or split "+" split

`start` and `stop` count examples or, with "%", percent, from the end where they are negative, as in TFDS
(https://www.tensorflow.org/datasets/splits), whose expressions mean the same here. Beyond TFDS, parts have parts:
`train[:5][:80%]` are the first four examples, and `(train+test)[95%:]` the last twentieth of both together.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from imggen_jax.errors import DataError

_TOKEN = re.compile(r"\s*(?P<name>[\w-]+)|\s*(?P<slice>\[[^\[\]]*\])|\s*(?P<sign>[()+])")
_SLICE = re.compile(r"\[\s*(?P<start>-?[\d_.]+%?)?\s*:\s*(?P<stop>-?[\d_.]+%?)?\s*\]")


class Part(NamedTuple):
    """Consecutive examples of one prepared split."""

    split: str
    start: int  # the first
    stop: int   # after the last; start < stop


def parse_split(text: str, lengths: Mapping[str, int], *, dataset: str = "the dataset") -> tuple[Part, ...]:
    """The parts that a split expression names, in its order; none is empty.

    lengths: the number of examples of each prepared split. dataset: what to call it in an error.

    Raises DataError: not such an expression, an unknown split, a bound outside it, or no example.
    """
    try:
        tokens = _tokens(text)
        parts = _joined(tokens, lengths)
        if tokens or not parts:
            raise ValueError
    except (ValueError, IndexError) as error:
        there = ", ".join(f"{key} ({length})" for key, length in lengths.items())
        raise DataError(f"{dataset} has no split {text!r}, or nothing is in it; splits are: {there}; parts of one are "
                        "written such as train[:90%]") from error
    return tuple(parts)


def format_split(parts: tuple[Part, ...]) -> str:
    """Parts as an expression that TFDS reads too: train[0:90]+test[5:10]."""
    return "+".join(f"{part.split}[{part.start}:{part.stop}]" for part in parts)


def sub_split(split: str, part: str) -> str:
    """The expression for a part of a split expression: sub_split("train+test", ":95%") -> "(train+test)[:95%]"."""
    return f"({split})[{part}]" if "+" in split else f"{split}[{part}]"


def _tokens(text: str) -> list[str]:
    """The tokens, last first, so that the next one is popped."""
    tokens, position, text = [], 0, text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError
        tokens.append(match.group().strip())
        position = match.end()
    return tokens[::-1]


def _joined(tokens: list[str], lengths: Mapping[str, int]) -> list[Part]:
    parts = _one(tokens, lengths)
    while tokens and tokens[-1] == "+":
        tokens.pop()
        parts = parts + _one(tokens, lengths)
    return parts


def _one(tokens: list[str], lengths: Mapping[str, int]) -> list[Part]:
    token = tokens.pop()
    if token == "(":
        parts = _joined(tokens, lengths)
        if tokens.pop() != ")":
            raise ValueError
    elif token in lengths:
        parts = [Part(token, 0, lengths[token])]
    elif token == "all":
        parts = [Part(key, 0, length) for key, length in lengths.items()]
    else:
        raise ValueError
    parts = [part for part in parts if part.start < part.stop]
    while tokens and tokens[-1].startswith("["):
        parts = _cut(parts, tokens.pop())
    return parts


def _cut(parts: list[Part], bounds: str) -> list[Part]:
    total = sum(part.stop - part.start for part in parts)
    start, stop = _bounds(bounds, total)
    cut, first = [], 0  # `first`: where the part begins in all of them
    for part in parts:
        low, high = (part.start + min(max(bound - first, 0), part.stop - part.start) for bound in (start, stop))
        cut += [Part(part.split, low, high)] if low < high else []
        first += part.stop - part.start
    return cut


def _bounds(text: str, total: int) -> tuple[int, int]:
    match = _SLICE.fullmatch(text)
    if match is None or not (match["start"] or match["stop"]):
        raise ValueError
    percent = "%" in text  # TFDS reads [10:20%] as [10%:20%]
    bounds = [_bound(match[key], total, percent, default) for key, default in (("start", 0), ("stop", total))]
    return bounds[0], bounds[1]


def _bound(text: str | None, total: int, percent: bool, default: int) -> int:
    if not text:
        return default
    if percent:
        bound = int(round(float(text.rstrip("%")) * total / 100.0))
    else:
        bound = int(text)
    if abs(bound) > total or percent and abs(float(text.rstrip("%"))) > 100:
        raise ValueError
    return bound + total if bound < 0 else bound
