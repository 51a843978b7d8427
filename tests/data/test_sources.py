"""Finding a dataset and reading its examples: what is refused, and by which line."""
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from imggen_jax import data
from imggen_jax.data import records, sources


def load(root, **change):
    """All examples of a dataset in memory."""
    asked = dict(name="tiny", split="train", dir=str(root), label="label", memory="resident", cache=None) | change
    dataset = data.open_dataset(**asked)
    return dataset.read(np.arange(dataset.length))


@pytest.mark.parametrize("text, name", [("mnist", ("mnist", None, None)), ("avatars/32x32", ("avatars", "32x32", None)),
                                        ("mnist:3.0.1", ("mnist", None, "3.0.1")), ("a/b:1.0.0", ("a", "b", "1.0.0"))])
def test_names_are_taken_apart(text, name):
    assert sources.parse_name(text) == name


@pytest.mark.parametrize("text", ["", "a/b/c", "mnist:3", "../mnist", "a/", "a b", None, 3])
def test_other_names_are_refused(text):
    with pytest.raises(data.DataError, match="is not of the form"):
        sources.parse_name(text)


def test_the_data_dir_is_the_one_of_tfds(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert sources.data_dir("") == tmp_path
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert sources.data_dir("") == tmp_path / "tensorflow_datasets"
    assert sources.data_dir("/x") == sources.Path("/x")


def test_every_example_comes_once_with_its_label(tiny):
    dataset = load(tiny)
    value = dataset["image"][:, 0, 0, 0]
    assert dataset["image"].shape == (300, 8, 8, 3)
    assert sorted(value.tolist()) == sorted(i % 256 for i in range(300))
    assert np.array_equal(value % 2, dataset["label"])


def test_parts_of_splits(tiny):
    whole, test = load(tiny), load(tiny, split="test")
    assert np.array_equal(load(tiny, split="train[10:25]")["image"], whole["image"][10:25])
    assert np.array_equal(load(tiny, split="train[-10%:]")["image"], whole["image"][270:])
    both = load(tiny, split="train[290:]+test")
    assert np.array_equal(both["image"], np.concatenate([whole["image"][290:], test["image"]]))
    part = load(tiny, split="(train[290:]+test)[5:][:50%]")
    assert np.array_equal(part["image"], both["image"][5:13])


@pytest.mark.parametrize("change, message", [
    (dict(split="trian"), r"tiny:1.0.0 has no split 'trian'.*train \(300\), test \(10\)"),
    (dict(split="train[5:5]"), "nothing is in it"),
    (dict(split="train[9:5]"), "nothing is in it"),
    (dict(split="train[:301]"), "no split 'train.:301.'"),
    (dict(split="train["), "no split 'train.'"),
    (dict(label="colour"), "label 'colour' of tiny:1.0.0 is not there; class labels are: label"),
    (dict(label="image"), "label 'image' of tiny:1.0.0 is not a class label; class labels are: label"),
    (dict(name="tinny"), "'tinny' is not in .* did you mean tiny?"),
    (dict(name="qqqq"), "prepared there: tiny"),
    (dict(name="tiny:2.0.0"), "prepared in .* as version 1.0.0, not as 2.0.0"),
    (dict(name="cifar10"), "'cifar10' is not prepared in .*; prepare it once: .*main prepare --name cifar10 --dir"),
    (dict(name="avatars"), "several sizes; name one, such as avatars/32x32"),
    (dict(name="avatars/33x33"), "no config '33x33'"),
    (dict(name="avatars/32x32", label="hat"), "label 'hat'.*glasses"),
    (dict(name="avatars/32x32", split="valid"), r"no split 'valid'.*train \(20000\)"),
    (dict(dir="gs://bucket/tfds"), "not a local folder"),
    (dict(size=-1), "data size -1 is negative"),
    (dict(crop=-1), "data crop -1 is negative"),
    (dict(size=4, crop=5), "data.crop 5 is larger than data.size 4"),
    (dict(fields="image"), "must be a tuple"),
    (dict(fields=("image", "source")), "tiny:1.0.0 has no picture and no class label 'source'; its pictures are: "
                                       "image; its class labels: label"),
    (dict(text="words"), "needs a length"),
    (dict(text="words:8"), "tiny:1.0.0 has no captions: no text feature named text or caption.* image, label"),
])
def test_mistakes_are_named(tiny, change, message):
    with pytest.raises(data.DataError, match=message) as caught:
        load(tiny, **change)
    assert "\n" not in str(caught.value)
    assert not (tiny / "avatars").exists()  # nothing long was started


def test_the_newest_version_is_taken_unless_one_is_named(make, png, tmp_path):
    for version, value in (("1.0.0", 1), ("10.0.0", 3), ("9.0.0", 2)):
        make(tmp_path, {"train": [(png(np.full((8, 8, 3), value, np.uint8)), 0)]}, version=version)
    (tmp_path / "tiny/11.0.0.incompleteABC").mkdir()
    (tmp_path / "tiny/12.0.0").mkdir()
    assert load(tmp_path)["image"][0, 0, 0, 0] == 3
    assert load(tmp_path, name="tiny:9.0.0")["image"][0, 0, 0, 0] == 2


def test_one_config_is_found_and_several_must_be_named(make, png, tmp_path):
    one = [(png(np.full((8, 8, 3), 5, np.uint8)), 1)]
    make(tmp_path, {"train": one}, config="small")
    assert load(tmp_path)["image"][0, 0, 0, 0] == 5
    make(tmp_path, {"train": one}, config="large")
    with pytest.raises(data.DataError, match="several configs; name one: tiny/large, tiny/small"):
        load(tmp_path)
    assert load(tmp_path, name="tiny/large:1.0.0")["label"].tolist() == [1]


@pytest.mark.parametrize("features, example, message", [
    ({"text": tfds.features.Text()}, {"text": "x"}, "no image features; its features are text"),
    ({"a": tfds.features.Image(), "b": tfds.features.Image()}, {"a": None, "b": None}, r"2 image features \(a, b\)"),
    ({"image": tfds.features.Image(shape=(8, 8, 1), dtype=np.uint16)}, {"image": None}, "pictures of uint16"),
])
def test_datasets_without_a_picture_to_read(make, png, tmp_path, features, example, message):
    picture = png(np.zeros((8, 8, 3), np.uint8))
    example = {key: value or io.BytesIO(picture) for key, value in example.items()}
    make(tmp_path, {"train": [example]}, features=features)
    with pytest.raises(data.DataError, match=message):
        load(tmp_path, label="")


def test_a_lone_image_feature_of_another_name_is_found(make, png, tmp_path):
    features = {"photo": tfds.features.Image(shape=(8, 8, 3)), "note": tfds.features.Text()}
    make(tmp_path, {"train": [{"photo": io.BytesIO(png(np.full((8, 8, 3), 9, np.uint8))), "note": "nine"}]},
         features=features)
    dataset = load(tmp_path, label="")
    assert dataset["image"][0, 0, 0, 0] == 9 and set(dataset) == {"image"}


@pytest.mark.parametrize("bad, message", [
    (b"garbage", "UnidentifiedImageError"),
    (b"", "cannot be read"),
    ("cut", "cannot be read"),
    ("small", "it is 4x4 and the dataset says 8x8"),
    ("16-bit", "not 8-bit"),
])
def test_a_broken_picture_is_named(make, png, tmp_path, bad, message):
    good = png(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
    bad = {"cut": good[:-60], "small": png(np.zeros((4, 4, 3), np.uint8)),
           "16-bit": png(np.zeros((8, 8), np.uint16))}.get(bad, bad)
    make(tmp_path, {"train": [(good, 0)], "test": [(bad, 0)]})
    with pytest.raises(data.DataError, match="example 0 of tiny:1.0.0, split 'test' cannot be read") as caught:
        load(tmp_path, split="test", size=8)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert len(load(tmp_path)["image"]) == 1


def test_the_index_of_a_broken_picture_is_its_place_in_the_split(make, png, tmp_path):
    examples = [(png(np.full((8, 8, 3), i, np.uint8)), 0) for i in range(6)]
    examples[3] = (b"garbage", 1)
    make(tmp_path, {"train": examples})
    source = sources.open_source(name="tiny", split="train", dir=str(tmp_path), check=lambda *_: None)
    (chunk,) = records.all_rows(source, [records.Wanted("label", "label", 2)])
    place = chunk.index((1,))
    with pytest.raises(data.DataError, match=f"example {place} of"):
        load(tmp_path)


def test_an_unlabelled_example_is_named(make, png, tmp_path):
    make(tmp_path, {"train": [(png(np.zeros((8, 8, 3), np.uint8)), -1)]})
    with pytest.raises(data.DataError, match=r"example 0 .* has the label -1, outside \[0, 2\)"):
        load(tmp_path)
    assert len(load(tmp_path, label="")["image"]) == 1


@pytest.mark.parametrize("damage", ["cut", "gone", "garbage"])
def test_a_damaged_shard_is_named(tiny, tmp_path, damage):
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    (shard,) = tmp_path.glob("tiny/1.0.0/tiny-train.array_record*")
    if damage == "gone":
        shard.unlink()
    elif damage == "cut":
        os.truncate(shard, shard.stat().st_size // 2)
    else:
        shard.write_bytes(os.urandom(shard.stat().st_size))
    with pytest.raises(data.DataError, match="tiny:1.0.0, split 'train'") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name", "type"])
def test_code_that_a_dataset_names_is_not_run(tiny, tmp_path, monkeypatch, key):
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    (tmp_path / "hostile.py").write_text("print('run')\nraise SystemExit('it was run')")
    monkeypatch.syspath_prepend(tmp_path)
    features = tmp_path / "tiny/1.0.0/features.json"
    content = json.loads(features.read_text())
    label = content["featuresDict"]["features"]["label"]
    label.pop("pythonClassName")
    label[key] = "hostile.Feature"
    features.write_text(json.dumps(content))
    with pytest.raises(data.DataError, match="names code, 'hostile.Feature', which would be run"):
        load(tmp_path)


def test_damaged_metadata_is_named(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tiny/1.0.0/features.json").write_text("{")
    with pytest.raises(data.DataError, match="features.json in .* cannot be read"):
        load(tmp_path)


def test_importing_the_package_imports_neither_tfds_nor_jax():
    code = "import sys, imggen_jax.data; print({'jax', 'tensorflow', 'tensorflow_datasets'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
