"""Captions as numbers: bytes, or words of a vocabulary that is learned from a dataset and kept with it.

    tokenizer = tokenizer_of(dataset.spec["text"])
    tokens, cut = tokenizer.encode(["a red house"])   # int32 [1,T], and how many captions were too long

A text field is int32 [T]. 0 is padding, which follows the text. Of bytes, 1 + b stands for the byte b of the text in
UTF-8. Of words, 1 stands for a word outside the vocabulary and 2 + i for `Field.names[i]`. Before words are compared,
text is normalized to NFC and case-folded. A word is a run of letters, marks and digits of any script, with apostrophes
inside; where a script writes no spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese), it is a single character.
"""
from __future__ import annotations

import difflib
import functools
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from imggen_jax.data.dataset import sha256
from imggen_jax.errors import DataError
from imggen_jax.spec import Field

KINDS = ("bytes", "words")
MOST_WORDS = 8192
_UNKNOWN = 1
_FIRST_WORD = 2

# Scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana, Han.
_SINGLE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff" \
          "\U00020000-\U0003ffff"


Encode = Callable[[list[str]], np.ndarray]  # captions [n] -> int32 [n,T]


class Tokenizer(NamedTuple):
    """Pure functions between texts and tokens."""

    size: int          # tokens are in [0, size)
    # (texts [n], length = that of the field) -> (int32 [n,length], how many texts were cut)
    encode: Callable[..., tuple[np.ndarray, int]]
    decode: Callable[[np.ndarray], str]  # int [T] -> text; of words, joined by spaces, an unknown one as "?"
    # text -> {word that is not known: the nearest known ones, at most 3}; {} for bytes
    unknown: Callable[[str], Mapping[str, tuple[str, ...]]]


class Wanted(NamedTuple):
    """What config.data.text says."""

    kind: str    # of KINDS
    length: int  # tokens of an example


def parse_text(text: str) -> Wanted | None:
    """"bytes:128" or "words:32" -> what it says; None for "". Raises DataError for anything else."""
    if not text:
        return None
    kind, _, length = text.partition(":")
    if kind not in KINDS:
        close = difflib.get_close_matches(kind, KINDS, 1)
        raise DataError(f"data.text {text!r} names no tokenizer: " + (f"did you mean {close[0]!r}? " if close else "")
                        + "write bytes:128 for 128 bytes of UTF-8, words:32 for 32 words, or '' for no text")
    if not (length.isascii() and length.isdigit() and int(length)):
        raise DataError(f"data.text {text!r} needs a length after the colon, at least 1, such as {kind}:32")
    return Wanted(kind, int(length))


def text_field(wanted: Wanted, vocabulary: Sequence[str] = ()) -> Field:
    """The field of a text. vocabulary: for words, the most frequent first."""
    return Field((wanted.length,), "int32", tuple(vocabulary) if wanted.kind == "words" else ())


_registered: dict[tuple[str, ...], Tokenizer] = {}


def register(names: tuple[str, ...], tokenizer: Tokenizer) -> None:
    """Have `tokenizer_of` find another's tokenizer for a field with these names, which are no words."""
    _registered[names] = tokenizer


def tokenizer_of(field: Field) -> Tokenizer:
    """The tokenizer of a text field; one for bytes where the field has no names."""
    if field.names in _registered:
        return _registered[field.names]
    return _words_tokenizer(field) if field.names else _bytes_tokenizer(field)


def same_text(one: Field, other: Field) -> None:
    """Raises DataError where two text fields number their tokens differently: a model of one cannot read the other."""
    kinds = ["words" if field.names else "bytes" for field in (one, other)]
    if kinds[0] != kinds[1]:
        raise DataError(f"one text is made of {kinds[0]} and the other of {kinds[1]}; set data.text alike for both")
    if one.names != other.names:
        missing = sorted(set(other.names) - set(one.names))[:3] or sorted(set(one.names) - set(other.names))[:3]
        what = f"; {', '.join(map(repr, missing))} are in one of them only" if missing else " in their order"
        raise DataError(f"two texts have different vocabularies, of {len(one.names)} and {len(other.names)} words"
                        f"{what}: the tokenizer belongs to another dataset; use captions of the dataset that the "
                        "model was trained on, or set data.text to bytes:LENGTH")


def words(text: str) -> list[str]:
    """The words of a text, normalized. What counts as a word stands at the top of this module."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).replace("\u2019", "'")
    return (_ASCII if folded.isascii() else _pattern()).findall(folded)


def learn(texts: Iterable[str], most: int = MOST_WORDS) -> tuple[str, ...]:
    """The vocabulary of texts: their `most` most frequent words, the most frequent first, else by the alphabet."""
    counts = Counter(word for text in texts for word in words(text))
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:most])


def identity(field: Field) -> str:
    """sha256 hex over all that decides the tokens of a text."""
    return sha256(field.shape, field.names)


_ASCII = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")


@functools.cache
def _pattern() -> re.Pattern[str]:
    # `re` does not count combining marks as letters, though words of many scripts are written with them.
    marks = "".join(re.escape(chr(code)) for code in range(0x300, sys.maxunicode + 1)
                    if unicodedata.category(chr(code))[0] == "M")
    letter = rf"(?:[^\W_{_SINGLE}]|[{marks}])"
    return re.compile(rf"[{_SINGLE}][{marks}]*|{letter}+(?:'{letter}+)*")


def _bytes_tokenizer(field: Field) -> Tokenizer:
    def encode(texts: Sequence[str], length: int = field.shape[0] or 0) -> tuple[np.ndarray, int]:
        tokens, cut = np.zeros((len(texts), length), np.int32), 0
        for row, text in zip(tokens, texts):
            data = text.encode("utf-8", "replace")
            if len(data) > length:  # not within a character
                data, cut = data[:length].decode("utf-8", "ignore").encode(), cut + 1
            row[:len(data)] = np.frombuffer(data, np.uint8)
            row[:len(data)] += 1
        return tokens, cut

    def decode(tokens: np.ndarray) -> str:
        return bytes(int(token) - 1 for token in np.asarray(tokens) if 1 <= token <= 256).decode("utf-8", "replace")

    return Tokenizer(257, encode, decode, lambda text: {})


def _words_tokenizer(field: Field) -> Tokenizer:
    known = {word: number for number, word in enumerate(field.names, _FIRST_WORD)}

    def encode(texts: Sequence[str], length: int = field.shape[0] or 0) -> tuple[np.ndarray, int]:
        tokens, cut = np.zeros((len(texts), length), np.int32), 0
        for row, text in zip(tokens, texts):
            numbers = [known.get(word, _UNKNOWN) for word in words(text)]
            cut += len(numbers) > length
            row[:len(numbers)] = numbers[:length]
        return tokens, cut

    def decode(tokens: np.ndarray) -> str:
        return " ".join("?" if token == _UNKNOWN else field.names[int(token) - _FIRST_WORD]
                        for token in np.asarray(tokens) if token)

    def unknown(text: str) -> Mapping[str, tuple[str, ...]]:
        return {word: tuple(difflib.get_close_matches(word, field.names)) for word in words(text) if word not in known}

    return Tokenizer(_FIRST_WORD + len(known), encode, decode, unknown)
