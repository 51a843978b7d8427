"""Which folders are splits and which are labels."""
import json

import pytest
from own import examples, made

from imggen_jax.data.folders import lines, splits

SPLITS = {f"{split}/{kind}/{i}.png": 100 * len(split) + 10 * (kind == "b") + i
          for split in ("train", "test") for kind in "ab" for i in range(2)}


@pytest.mark.parametrize("stray", ["x.png", "extra/deep/x.png", "../y.png"])
def test_a_stray_beside_splits_leaves_them_splits(stray, tmp_path):
    root = tmp_path / "in"
    got = made(root, {f"set/{name}": seed for name, seed in SPLITS.items()} | {
        f"set/{stray}".replace("set/../", ""): 7, "set/broken.png": b"\x89PNG\r\n\x1a\n"})
    assert got.card["splits"] == {"train": 4, "test": 4} and got.card["labels"] == {"a": 4, "b": 4}
    assert got.card["quarantined"] == {"broken": 1, "outside the splits": 1}
    (told,) = (entry for entry in json.loads((got.folder / "ingest.json").read_text())["left_out"]
               if entry["reason"] == "outside the splits")
    assert told["name"].endswith(".png") and "set/train and the folders beside it are splits" in told["detail"]


def test_folders_of_which_few_are_splits_are_labels(tmp_path):
    names = [f"{kind}/{i}.png" for kind in ("train", "test", "plane", "car", "boat", "bus") for i in range(2)]
    got = made(tmp_path / "in", {name: i for i, name in enumerate(names)})
    assert got.card["splits"] == {"train": 12} and len(got.card["labels"]) == 6 and "test" in got.card["labels"]


def test_a_class_that_is_the_only_one_is_kept_or_told(tmp_path):
    got = made(tmp_path / "in", {f"{split}/cat/{i}.png": 10 * len(split) + i for split in ("train", "test")
                                 for i in range(2)})
    assert got.card["labels"] == {"cat": 4} and dict(lines(got.card))["Labels"] == "1 from folders: cat 4"
    assert examples(got)["train/cat/0.png"]["label"] == 0
    got = made(tmp_path / "on", {"cat/1.png": 1, "cat/2.png": 2})
    assert got.card["labels"] == {} and dict(lines(got.card))["Labels"] == (
        "none (all pictures lie in one sub-folder, cat)")
    got = made(tmp_path / "at", {"1.png": 1, "metadata.csv": "file_name,label\n1.png,cat\n"})
    assert got.card["labels"] == {"cat": 1} and examples(got)["1.png"]["label"] == 0


def test_labels_are_one_however_their_accents_are_composed(tmp_path):
    got = made(tmp_path / "in", {"train/caf\u00e9/1.png": 1, "test/cafe\u0301/2.png": 2, "train/x/3.png": 3,
                                 "test/x/4.png": 4})
    assert got.card["labels"] == {"caf\u00e9": 2, "x": 2}


@pytest.mark.parametrize(("there", "expected"), [
    ({"train": 9, "test": 2, "validation": 1}, ("train", "test")),
    ({"train": 9, "validation": 1}, ("train", "validation")),
    ({"train": 9}, ("train[:90%]", "train[90%:]"))])
def test_what_is_held_out_is_the_users_own_test(there, expected):
    assert splits({"splits": there}) == expected
