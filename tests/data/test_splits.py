"""Split expressions: those of TFDS mean what they mean there, and parts have parts."""
import random
from types import SimpleNamespace

import pytest
import tensorflow_datasets as tfds

from imggen_jax import data
from imggen_jax.data.splits import Part, format_split

LENGTHS = {"train": 300, "test": 10, "valid": 77}


def of_tfds(text, lengths):
    infos = {key: SimpleNamespace(num_examples=length) for key, length in lengths.items()}
    return tuple(Part(part.splitname, part.from_ or 0, lengths[part.splitname] if part.to is None else part.to)
                 for part in tfds.core.ReadInstruction.from_spec(text).to_absolute(infos))


@pytest.mark.parametrize("text", ["train", "train[10:25]", "train[-10%:]", "train[290:]+test", "test[:3]+train[:1%]",
                                  "all", "train[-5:-2]", "valid[33%:66%]", "valid[:12.5%]", "train + test"])
def test_expressions_of_tfds_mean_the_same(text):
    assert data.parse_split(text, LENGTHS) == of_tfds(text, LENGTHS)


def test_any_part_is_that_of_tfds():
    chance = random.Random(0)
    for _ in range(300):
        lengths = {"train": chance.randrange(1, 5000)}
        start, stop = sorted(chance.choices(range(101), k=2))
        text = f"train[{start}%:{stop}%]"
        wanted = of_tfds(text, lengths)
        if wanted[0].start < wanted[0].stop:
            assert data.parse_split(text, lengths) == wanted


@pytest.mark.parametrize("text, parts", [
    ("train[:5][:80%]", [("train", 0, 4)]),
    ("train[100:200][50:][:10]", [("train", 150, 160)]),
    ("(train+test)[95%:]", [("train", 294, 300), ("test", 0, 10)]),
    ("(train+test)[:95%]", [("train", 0, 294)]),
    ("(train[:10]+test)[5:15]", [("train", 5, 10), ("test", 0, 5)]),
    ("((train))[-1:]", [("train", 299, 300)]),
    ("all[-80:]", [("test", 7, 10), ("valid", 0, 77)]),
])
def test_parts_have_parts(text, parts):
    found = data.parse_split(text, LENGTHS)
    assert found == tuple(Part(*part) for part in parts)
    assert data.parse_split(format_split(found), LENGTHS) == found == of_tfds(format_split(found), LENGTHS)


@pytest.mark.parametrize("split", ["train", "train[:40]", "train+test", "train[10:]+test[:5]", "(train+test)[:50%]"])
def test_a_held_out_part_and_the_rest_are_the_whole(split):
    whole, kept, held_out = (data.parse_split(each, LENGTHS) for each in (
        split, data.sub_split(split, ":95%"), data.sub_split(split, "95%:")))

    def examples(parts):
        return [(part.split, i) for part in parts for i in range(part.start, part.stop)]

    assert examples(kept) + examples(held_out) == examples(whole) and examples(held_out)


@pytest.mark.parametrize("text", ["", "trian", "train[5:5]", "train[9:5]", "train[:301]", "train[", "train]", "train[]",
                                  "train[:]", "train[5]", "train+", "+train", "(train", "train)", "train test",
                                  "train[:x]", "train[:1.5]", "train[:120%]", "train[::2]", "train[:5][5:]",
                                  "train[:10%][:40]"])
def test_mistakes_are_named(text):
    with pytest.raises(data.DataError) as caught:
        data.parse_split(text, LENGTHS, dataset="tiny:1.0.0")
    assert str(caught.value) == (
        f"tiny:1.0.0 has no split {text!r}, or nothing is in it; splits are: train (300), test (10), valid (77); parts "
        "of one are written such as train[:90%]")
