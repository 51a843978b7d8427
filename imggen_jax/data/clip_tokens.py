"""Prompts as CLIP's text encoders take them: tokens of its own vocabulary with weights, in chunks of 77.

A prompt may hold weights as users of Stable Diffusion write them: `(word)` counts 1.1 times, `((word))` 1.21 times,
`[word]` 1/1.1 times and `(word:1.3)` 1.3 times; a backslash takes the meaning from a bracket. A prompt of more than 75
tokens fills several chunks, each with a start and an end of its own.
"""
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imggen_jax.data.dataset import sha256
from imggen_jax.data.text import Tokenizer, register
from imggen_jax.errors import DataError

LENGTH = 77  # tokens of a chunk, with its start and its end
MOST_CHUNKS = 16
LOUDER = 1.1
_PIECE = re.compile(r"\\[\\()\[\]]|\(|\[|:\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*\)|\)|\]|[^\\()\[\]:]+|.", re.DOTALL)
_WORD = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class Bpe(NamedTuple):
    """One vocabulary of byte pairs."""

    backend: Any  # of the package tokenizers
    start: int    # tokens
    end: int
    pad: int
    size: int
    digest: str   # of its files
    longer: Mapping[str, str] = {}  # word of textual inversion -> the names of its tokens


def read(folder: Path, pad: str | None = None) -> Bpe:
    """The vocabulary in a folder: vocab.json and merges.txt.

    Args:
      folder: of a tokenizer.
      pad: the token that fills up; None: as tokenizer_config.json and special_tokens_map.json have it.

    Raises:
      DataError: a file is missing or damaged, or the package tokenizers is not there.
    """
    try:
        import tokenizers
    except ImportError:
        raise DataError("prompts of such a model are read by the package tokenizers; pip install 'imggen_jax[open]'"
                        ) from None
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    if missing := [path for path in (vocabulary, merges) if not path.is_file()]:
        raise DataError(f"the tokenizer's file {missing[0]} is missing; get it with the model")
    try:
        known, pairs = tokenizers.models.BPE.read_file(str(vocabulary), str(merges))
        model = tokenizers.models.BPE(known, pairs, continuing_subword_prefix="", end_of_word_suffix="</w>",
                                      fuse_unk=False, unk_token="<|endoftext|>")
        start, end = (known[f"<|{name}oftext|>"] for name in ("start", "end"))
    except Exception as error:
        raise DataError(f"the tokenizer in {folder} cannot be read ({error}); get it again") from error
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = tokenizers.normalizers.Sequence([
        tokenizers.normalizers.NFC(), tokenizers.normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
        tokenizers.normalizers.Lowercase()])
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Split(tokenizers.Regex(_WORD), behavior="removed", invert=True),
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)])
    pad = pad or _padding(folder)
    if pad not in known:
        raise DataError(f"the tokenizer in {folder} fills up with {pad!r}, which is not in its vocabulary")
    # As in transformers, what fills up is a token of its own also within a prompt: SDXL's "!".
    backend.add_special_tokens(["<|startoftext|>", "<|endoftext|>", pad])
    return Bpe(backend, start, end, known[pad], max(known.values()) + 1,
               sha256(vocabulary.read_bytes(), merges.read_bytes(), pad))


def _padding(folder: Path) -> str:
    """The token that fills up: "!" for Stable Diffusion 2 and SDXL's second tokenizer. As in transformers, old configs,
    which do not list the tokens that were added, count less than the map of special tokens."""
    import json

    found = None
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (path := folder / name).is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                found = content.get("pad_token") or found
            except (OSError, ValueError, AttributeError) as error:
                raise DataError(f"{path} cannot be read ({error}); get it again") from error
            if found and "added_tokens_decoder" in content:
                break
    return found["content"] if isinstance(found, dict) else str(found or "<|endoftext|>")


def with_words(bpe: Bpe, words: Sequence[str]) -> Bpe:
    """The same with a further word that stands for several tokens, as textual inversion has it.

    Args:
      bpe: the vocabulary.
      words: the names of the tokens; in a prompt, the first one stands for all of them.
    """
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Backend

    backend = Backend.from_str(bpe.backend.to_str())
    backend.add_tokens([AddedToken(word, normalized=False) for word in words])
    return bpe._replace(backend=backend, size=bpe.size + len(words), digest=sha256(bpe.digest, words),
                        longer={**bpe.longer, words[0]: " ".join(words)})


def weighted(prompt: str) -> list[tuple[str, float]]:
    """The pieces of a prompt and their weights; brackets that do not match are letters like others."""
    found: list[tuple[str, float]] = []
    opened: list[tuple[str, int]] = []  # the bracket, and the piece that it stands before

    def close(bracket: str, factor: float, letters: str) -> None:
        if opened and opened[-1][0] == bracket:
            start = opened.pop()[1]
            found[start:] = [(text, weight * factor) for text, weight in found[start:]]
        else:
            found.append((letters, 1.0))

    for match in _PIECE.finditer(prompt):
        letters = match.group()
        if letters in "([":
            opened.append((letters, len(found)))
        elif match.group(1) is not None and opened and opened[-1][0] == "(":
            close("(", float(match.group(1)), letters)
        elif letters == ")":
            close("(", LOUDER, letters)
        elif letters == "]":
            close("[", 1 / LOUDER, letters)
        else:
            found.append((letters[1:] if letters[0] == "\\" and len(letters) == 2 else letters, 1.0))
    for bracket, place in reversed(opened):
        found.insert(place, (bracket, 1.0))
    return _joined(found)


def _joined(pieces: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    made: list[tuple[str, float]] = []
    for text, weight in pieces:
        if made and made[-1][1] == weight:
            made[-1] = (made[-1][0] + text, weight)
        else:
            made.append((text, weight))
    return made


_known: dict[tuple[str, ...], tuple[Bpe, ...]] = {}


def vocabularies_of(names: tuple[str, ...]) -> tuple[Bpe, ...]:
    """The vocabularies behind the names that `field_names` gave."""
    return _known[names]


def field_names(vocabularies: Sequence[Bpe]) -> tuple[str, ...]:
    """The names of a text field that these vocabularies read; `data.text.tokenizer_of` then finds its tokenizer.

    Tokens are int32 [T], T = 154 E C for E vocabularies and C chunks: of each chunk, for each vocabulary, 77 tokens and
    the bits of their 77 weights float32. `unpack` takes them apart.
    """
    names = ("clip", *(one.digest for one in vocabularies))
    _known[names] = tuple(vocabularies)

    def encode(texts: Sequence[str], length: int | None = None) -> tuple[np.ndarray, int]:
        del length
        each = [[_chunks(text, one) for one in vocabularies] for text in texts]
        most = min(max((len(chunks) for row in each for chunks in row), default=1), MOST_CHUNKS)
        cut = sum(max(len(chunks) for chunks in row) > most for row in each)
        rows = [_packed([(chunks + [_chunk([], one)] * most)[:most] for chunks, one in zip(row, vocabularies)])
                for row in each]
        return np.stack(rows) if rows else np.zeros((0, 2 * LENGTH * len(vocabularies)), np.int32), cut

    def decode(tokens: np.ndarray) -> str:
        ids, _ = unpack(np.asarray(tokens)[None], len(vocabularies))
        words = vocabularies[0].backend.decode([int(token) for token in ids[0][0].ravel()])
        return " ".join(words.replace("</w>", " ").split())

    register(names, Tokenizer(2**31 - 1, encode, decode, lambda text: {}))
    return names


def unpack(tokens: Any, vocabularies: int) -> tuple[list[Any], list[Any]]:
    """int32 [n,T] -> for each vocabulary, tokens int32 [n,C,77] and the bits of their weights, alike."""
    parts = tokens.reshape(len(tokens), -1, vocabularies, 2, LENGTH)
    return [parts[:, :, i, 0] for i in range(vocabularies)], [parts[:, :, i, 1] for i in range(vocabularies)]


def _chunks(prompt: str, bpe: Bpe) -> list[tuple[list[int], list[float]]]:
    for word, names in bpe.longer.items():
        prompt = prompt.replace(word, names)
    known = [(token, weight) for text, weight in weighted(prompt)
             for token in bpe.backend.encode(text, add_special_tokens=False).ids]
    room = LENGTH - 2
    return [_chunk(known[start:start + room], bpe) for start in range(0, max(len(known), 1), room)]


def _chunk(known: Sequence[tuple[int, float]], bpe: Bpe) -> tuple[list[int], list[float]]:
    tokens = [bpe.start, *(token for token, _ in known), bpe.end]
    weights = [1.0, *(weight for _, weight in known), 1.0]
    fill = LENGTH - len(tokens)
    return tokens + [bpe.pad] * fill, weights + [1.0] * fill


def _packed(each: Sequence[Sequence[tuple[list[int], list[float]]]]) -> np.ndarray:
    parts = [np.stack([np.array(tokens, np.int32), np.array(weights, np.float32).view(np.int32)])
             for chunks in zip(*each) for tokens, weights in chunks]
    return np.concatenate(parts).ravel()
