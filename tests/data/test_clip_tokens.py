"""Prompts as tokens with weights, in chunks."""
import numpy as np
import pytest
import reference_pipelines as reference

pytest.importorskip("tokenizers")

from imggen_jax.data import clip_tokens
from imggen_jax.data.text import tokenizer_of
from imggen_jax.errors import DataError
from imggen_jax.spec import Field


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    reference.write_tokenizer(folder)
    return clip_tokens.read(folder)


@pytest.mark.parametrize("prompt, pieces", [
    ("a cat", [("a cat", 1.0)]), ("a (red) cat", [("a ", 1.0), ("red", 1.1), (" cat", 1.0)]),
    ("((red))", [("red", 1.1 * 1.1)]), ("[red]", [("red", 1 / 1.1)]), ("(red:1.3) hat", [("red", 1.3), (" hat", 1.0)]),
    ("(red: 0.5 )", [("red", 0.5)]), ("(a (b:2) c:0.5)", [("a ", 0.5), ("b", 1.0), (" c", 0.5)]),
    (r"a \(red\)", [("a (red)", 1.0)]), ("16:9", [("16:9", 1.0)]), ("a (cat", [("a (cat", 1.0)]),
    ("a) cat]", [("a) cat]", 1.0)]), ("(a:1.5) (b", [("a", 1.5), (" (b", 1.0)]), ("", []), ("(x:-1)", [("x", -1.0)])])
def test_weights_of_a_prompt(prompt, pieces):
    found = clip_tokens.weighted(prompt)
    assert [text for text, _ in found] == [text for text, _ in pieces]
    np.testing.assert_allclose([weight for _, weight in found], [weight for _, weight in pieces])


def unpacked(bpe, texts):
    tokens, cut = tokenizer_of(Field((None,), "int32", clip_tokens.field_names([bpe]))).encode(texts)
    ids, bits = clip_tokens.unpack(tokens, 1)
    return ids[0], bits[0].view(np.float32), cut


def test_a_prompt_has_a_start_an_end_and_weights(bpe):
    ids, weights, cut = unpacked(bpe, ["The (CAT:1.5)"])
    the, cat = (bpe.backend.token_to_id(f"{word}</w>") for word in ("the", "cat"))
    assert ids.shape == weights.shape == (1, 1, 77) and ids.dtype == np.int32 and cut == 0
    assert ids[0, 0, :5].tolist() == [998, the, cat, 999, 999] and set(ids[0, 0, 4:]) == {999}
    assert weights[0, 0, :4].tolist() == [1, 1, 1.5, 1]


def test_long_prompts_fill_chunks_and_short_ones_are_filled_up(bpe):
    ids, weights, _ = unpacked(bpe, ["cat " * 80, "cat"])
    cat = bpe.backend.token_to_id("cat</w>")
    assert ids.shape == (2, 2, 77) and (weights == 1).all()
    assert ids[0, 0].tolist() == [998, *[cat] * 75, 999]
    assert ids[0, 1, :7].tolist() == [998, *[cat] * 5, 999] and ids[1, 1, :2].tolist() == [998, 999]
    assert unpacked(bpe, ["cat " * 75 * 17])[2] == 1


def test_words_of_textual_inversion_are_single_tokens(bpe):
    known = clip_tokens.with_words(bpe, ["<cat-toy>", "<cat-toy>_1"])
    ids, _, _ = unpacked(known, ["a <cat-toy> tree"])
    assert known.size == 1002 and ids[0, 0, 2:4].tolist() == [1000, 1001] and ids[0, 0, 4] != 1001
    assert 1000 not in unpacked(bpe, ["a <cat-toy> tree"])[0]


def test_what_fills_up_is_what_transformers_takes(tmp_path):
    """Of old configs, as that of Stable Diffusion 2.1, the map of special tokens; of today's the config."""
    reference.write_tokenizer(tmp_path)
    known = clip_tokens.read(tmp_path).backend.token_to_id
    (tmp_path / "special_tokens_map.json").write_text('{"pad_token": {"content": "!"}}')
    assert clip_tokens.read(tmp_path).pad == known("!")
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "<|endoftext|>", "added_tokens_decoder": {}}')
    assert clip_tokens.read(tmp_path).pad == known("<|endoftext|>")
    assert clip_tokens.read(tmp_path, "!").pad == known("!")


def test_files_that_are_missing_or_wrong_are_named(tmp_path):
    reference.write_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "<pad>"}')
    with pytest.raises(DataError, match="fills up with '<pad>', which is not in its vocabulary"):
        clip_tokens.read(tmp_path)
    (tmp_path / "merges.txt").write_text("a b c\n")
    with pytest.raises(DataError, match="cannot be read"):
        clip_tokens.read(tmp_path)
    (tmp_path / "vocab.json").unlink()
    with pytest.raises(DataError, match="vocab.json is missing"):
        clip_tokens.read(tmp_path)
