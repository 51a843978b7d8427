"""Copies of one picture: everything said about them is kept, and where they disagree the strictest counts."""
import json

import pytest
from own import examples, made

from imggen_jax.data.folders import lines, merging
from imggen_jax.data.folders.merging import Copy, merge

CSV = "file_name,consent,license,source,text,label,age\n"


def test_copies_are_merged_and_their_conflicts_listed(tmp_path):
    table = CSV + "a.png,yes,CC0,,,,3\nb.png,no,CC BY-NC 4.0,http://b,a caption,cat,4\n"
    got = made(tmp_path / "in", {"a.png": 1, "b.png": 1, "c.png": 2, "metadata.csv": table})
    example = examples(got)["a.png"]
    assert {key: example[key].decode() for key in ("consent", "license", "origin", "caption")} == {
        "consent": "no", "license": "CC BY-NC 4.0", "origin": "http://b", "caption": "a caption"}
    assert example["label"] == 0 and example["age"] == 3 and got.card["labels"] == {"cat": 1, "unknown": 1}
    assert got.card["conflicts"] == {"age": 1, "consent": 1, "license": 1}
    told = json.loads((got.folder / "ingest.json").read_text())["conflicts"]
    assert {"name": "b.png", "other": "a.png", "field": "consent", "kept": "no", "dropped": "yes"} in told
    assert dict(lines(got.card))["Copies disagree"].startswith("in age 1, consent 1, license 1; of consent and license")
    assert "consent: no <span>of</span> b.png" in (got.folder / "ingest.html").read_text()


def test_a_caption_or_label_of_a_dropped_copy_is_kept(tmp_path):
    got = made(tmp_path / "in", {"a.png": 1, "b.png": 1, "b.txt": "by name", "cat/x.png": 3, "zoo/x.png": 4,
                                 "cat/y.png": 5, "zoo/y.png": 6, "lone.png": 5, "z.png": 9})
    assert examples(got)["a.png"]["caption"] == b"by name" and got.card["conflicts"] == {}
    assert {name for name in examples(got)} == {"a.png", "z.png", "cat/x.png", "cat/y.png", "zoo/x.png", "zoo/y.png"}
    assert got.card["labels"] == {"cat": 2, "zoo": 2, "unknown": 2}


def test_a_copy_in_test_is_not_trained_on(tmp_path):
    got = made(tmp_path / "in", {"val/0.png": 1, "train/0.png": 1, "train/1.png": 2, "test/0.png": 2, "train/2.png": 3})
    assert got.card["splits"] == {"train": 1, "validation": 1, "test": 1} and got.card["conflicts"] == {"split": 2}
    assert set(examples(got, "train")) == {"train/2.png"}


@pytest.mark.parametrize("order", [1, -1])
def test_the_strictest_counts_in_any_order(order):
    consents = ["no", "ask me", "yes"]
    licenses = ["All rights reserved", "my own terms", "CC BY-NC-ND 4.0", "CC BY-NC-SA", "cc-by-nc-2.0", "CC BY-ND",
                "Attribution-ShareAlike", "CC-BY-4.0", "CC0"]
    for key, values in (("consent", consents), ("license", licenses)):
        for i in range(len(values) - 1):
            pair = values[i:i + 2][::order]
            copies = [Copy(str(n), "", {key: value}) for n, value in enumerate(pair)]
            assert merge(copies)[1] == {key: values[i]}, pair


def test_what_is_not_said_is_no_conflict():
    copies = [Copy("a", "", {}), Copy("b", "one", {"consent": True, "n": 0}), Copy("c", "one", {"text": ""})]
    assert merge(copies) == ("one", {"consent": True, "n": 0}, [])
    assert merging.consent_rank("False") == 0 and merging.license_rank("") == 1
