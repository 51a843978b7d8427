"""Tokenizers: bytes and words of any script."""
import numpy as np
import pytest

from imggen_jax import data
from imggen_jax.data import text
from imggen_jax.spec import Field

WORDS = Field((5,), "int32", ("a", "red", "house", "café"))
BYTES = Field((8,), "int32")


@pytest.mark.parametrize("line, words", [
    ("A red house, isn't it?", ["a", "red", "house", "isn't", "it"]),
    ("CAFE\u0301 cafe\u0301 Café", ["café"] * 3),                        # NFC and NFD are the same
    ("Straße STRASSE", ["strasse"] * 2),
    ("l’été", ["l'été"]),
    ("snake_case 3x4", ["snake", "case", "3x4"]),
    ("Дом, красный!", ["дом", "красный"]),
    ("हिन्दी में", ["हिन्दी", "में"]),                                           # vowel signs belong to the word
    ("北京の夜", ["北", "京", "の", "夜"]),                                # no spaces: characters
    ("ABC東京", ["abc", "東", "京"]),
    ("...", []), ("", []),
])
def test_words(line, words):
    assert text.words(line) == words


def test_a_vocabulary_is_the_most_frequent_words_in_a_fixed_order():
    lines = ["b a c", "C a", "c d"]
    assert text.learn(lines) == ("c", "a", "b", "d") == text.learn(reversed(lines))
    assert text.learn(lines, 2) == ("c", "a")


def test_words_are_numbered_padded_and_cut():
    tokenizer = data.tokenizer_of(WORDS)
    tokens, cut = tokenizer.encode(["a blue HOUSE", "", "a a a a a red", "cafe\u0301"])
    assert tokens.dtype == np.int32 and cut == 1 and tokenizer.size == 6
    assert tokens.tolist() == [[2, 1, 4, 0, 0], [0] * 5, [2] * 5, [5, 0, 0, 0, 0]]
    assert [tokenizer.decode(each) for each in tokens] == ["a ? house", "", "a a a a a", "café"]
    assert tokenizer.encode(["a red"], 1)[0].tolist() == [[2]]


def test_unknown_words_come_with_the_nearest_known():
    assert data.tokenizer_of(WORDS).unknown("a hause, Reed zzz") == {"hause": ("house",), "reed": ("red",), "zzz": ()}
    assert data.tokenizer_of(BYTES).unknown("anything") == {}


def test_bytes_are_numbered_padded_and_not_cut_within_a_character():
    tokenizer = data.tokenizer_of(BYTES)
    tokens, cut = tokenizer.encode(["abc", "", "ééééé", "ab€€€"])
    assert tokens[0].tolist() == [98, 99, 100, 0, 0, 0, 0, 0] and tokenizer.size == 257 and cut == 2
    assert [tokenizer.decode(each) for each in tokens] == ["abc", "", "éééé", "ab€€"]
    every = bytes(range(256)).decode("latin-1")
    assert tokenizer.decode(tokenizer.encode([every], 400)[0][0]) == every


def test_lone_surrogates_do_no_harm():
    assert data.tokenizer_of(BYTES).encode(["a\ud800b"])[0][0, :4].tolist() == [98, 64, 99, 0]
    assert text.words("a\ud800b") == ["a", "b"]


@pytest.mark.parametrize("asked, kind, length", [("bytes:128", "bytes", 128), ("words:32", "words", 32)])
def test_what_a_config_says(asked, kind, length):
    assert data.parse_text(asked) == (kind, length) and data.parse_text("") is None
    assert text.text_field(data.parse_text(asked), ("a",)) == Field((length,), "int32", ("a",) * (kind == "words"))


@pytest.mark.parametrize("asked, message", [
    ("word:32", "did you mean 'words'"), ("clip:77", "names no tokenizer"), ("words", "needs a length"),
    ("words:", "needs a length"), ("bytes:0", "at least 1"), ("bytes:-3", "at least 1"), ("bytes:x", "bytes:32"),
])
def test_mistakes_are_named(asked, message):
    with pytest.raises(data.DataError, match=message):
        data.parse_text(asked)


@pytest.mark.parametrize("other, message", [
    (BYTES, "one text is made of words and the other of bytes"),
    (WORDS._replace(names=("a", "red", "horse", "café")), "different vocabularies, of 4 and 4 words; 'horse' are"),
    (WORDS._replace(names=("red", "a", "house", "café")), "in their order: the tokenizer belongs to another dataset"),
])
def test_a_tokenizer_of_another_dataset_is_refused(other, message):
    with pytest.raises(data.DataError, match=message):
        data.same_text(WORDS, other)
    data.same_text(WORDS, WORDS._replace(shape=(9,)))
