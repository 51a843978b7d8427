"""Prompts as Qwen3 takes them from FLUX.2 klein: as what a user says in a chat, before an answer without thoughts."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imggen_jax.data.dataset import sha256
from imggen_jax.data.text import Tokenizer, register
from imggen_jax.errors import DataError

LENGTH = 512  # tokens, with those around a prompt; what is longer is cut off at its end
BEFORE, BEHIND = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
MARKS = ("<|im_start|>", "<|im_end|>")
PAD = "<|endoftext|>"


class Vocabulary(NamedTuple):
    """One vocabulary of byte pairs."""

    backend: Any  # of the package tokenizers
    pad: int      # the token that fills up
    size: int
    digest: str   # of its file


def read(folder: Path) -> Vocabulary:
    """The vocabulary in a folder's tokenizer.json.

    Raises:
      DataError: the file is missing or damaged, is none of a chat in Qwen's form, or the package tokenizers is not
        there.
    """
    try:
        import tokenizers
    except ImportError:
        raise DataError("prompts of such a model are read by the package tokenizers; pip install 'imggen_jax[open]'"
                        ) from None
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise DataError(f"the tokenizer's file {path} is missing; get it with the model")
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:
        raise DataError(f"the tokenizer {path} cannot be read ({error}); get it again") from error
    backend.no_truncation()
    backend.no_padding()
    for mark in (*MARKS, PAD):
        if backend.token_to_id(mark) is None or len(backend.encode(mark, add_special_tokens=False).ids) != 1:
            raise DataError(f"{path} has no token {mark}; it is no tokenizer of Qwen3")
    pad = backend.token_to_id(PAD)
    assert pad is not None  # as was seen above
    return Vocabulary(backend, pad, max(backend.get_vocab().values()) + 1,
                      sha256(path.read_bytes()))


def field_names(vocabulary: Vocabulary) -> tuple[str, ...]:
    """The names of a text field that a vocabulary reads; `data.text.tokenizer_of` then finds its tokenizer.

    Tokens are int32 [1 + LENGTH]: how many there are, and they themselves, filled up behind.
    """
    names = ("qwen3", vocabulary.digest)

    def encode(texts: Sequence[str], length: int | None = None) -> tuple[np.ndarray, int]:
        del length
        each = [vocabulary.backend.encode(BEFORE + text + BEHIND, add_special_tokens=False).ids for text in texts]
        made = np.full((len(texts), 1 + LENGTH), vocabulary.pad, np.int32)
        for row, tokens in zip(made, each):
            row[0] = min(len(tokens), LENGTH)
            row[1:1 + row[0]] = tokens[:LENGTH]
        return made, sum(len(tokens) > LENGTH for tokens in each)

    def decode(tokens: np.ndarray) -> str:
        said = vocabulary.backend.decode([int(token) for token in tokens[1:1 + tokens[0]]], skip_special_tokens=False)
        return said.removeprefix(BEFORE).removesuffix(BEHIND)

    register(names, Tokenizer(2**31 - 1, encode, decode, lambda text: {}))
    return names
