"""Streamed pictures are the resident ones to the bit: examples, labels, batches, fingerprints, and errors."""
import io
import json
import os
import shutil
import struct

import numpy as np
import pytest
import tensorflow_datasets as tfds

from imggen_jax import data
from imggen_jax.data import sources


def both(root, **change):
    asked = dict(name="tiny", split="train", dir=str(root), label="label", cache=None) | change
    return tuple(data.open_dataset(memory=memory, **asked) for memory in ("resident", "stream"))


def same(resident, streamed, seed=3, batch=11, steps=60):
    """All that is known of them, and the batches of every step."""
    assert (streamed.spec, streamed.length, streamed.title, streamed.fingerprints) == (
        resident.spec, resident.length, resident.title, resident.fingerprints)
    for step in range(steps):
        one, other = (data.read_batch(each, seed=seed, step=step, batch=batch) for each in (resident, streamed))
        assert sorted(one) == sorted(other) == list(resident.spec)
        for name in one:
            assert one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name])


@pytest.mark.parametrize("change", [dict(), dict(label=""), dict(size=4), dict(size=13), dict(split="test"),
                                    dict(split="train[100:117]"), dict(split="train[290:]+test[:5]"),
                                    dict(crop=5), dict(size=6, crop=3), dict(fields=("label",), label="")])
def test_streamed_batches_are_the_resident_ones(tiny, change):
    same(*both(tiny, **change), steps=6)


def test_photographs_of_many_sizes_are_cropped_and_resized_alike(make, png, tmp_path):
    rng = np.random.default_rng(0)
    pictures = [png(rng.integers(0, 256, (*shape, 3), np.uint8), kind) for shape, kind in
                [((130, 150), "JPEG"), ((200, 140), "PNG"), ((131, 131), "JPEG"), ((129, 300), "PNG")] * 3]
    features = {"image": tfds.features.Image(shape=(None, None, 3)), "label": tfds.features.ClassLabel(num_classes=2)}
    make(tmp_path, {"train": [(picture, i % 2) for i, picture in enumerate(pictures)]}, features=features)
    resident, streamed = both(tmp_path, size=32)
    same(resident, streamed, steps=4)
    assert streamed.threads == min(os.cpu_count(), 1 + 130 * 150 // 2048)


def test_several_threads_read_at_once(tiny):
    resident, streamed = both(tiny)
    made = data.ahead(lambda step: data.read_batch(streamed, seed=0, step=step, batch=32), 0, 40, threads=8, buffer=40)
    for step, batch in enumerate(made):
        wanted = data.read_batch(resident, seed=0, step=step, batch=32)
        assert np.array_equal(batch["image"], wanted["image"]) and np.array_equal(batch["label"], wanted["label"])


def test_opening_decodes_no_picture(tiny, monkeypatch):
    read = []
    decode = data.decoding.decode
    monkeypatch.setattr(data.decoding, "decode", lambda *words: read.append(words[2]) or decode(*words))
    streamed = data.open_dataset(name="tiny", split="train", dir=str(tiny), memory="stream", cache=None)
    assert read == []
    streamed.read(np.array([7, 7, 299]))
    assert read == [7, 7, 299]
    assert streamed.read(np.array([], np.int64))["image"].shape == (0, 8, 8, 3)


def test_a_broken_picture_is_named_when_its_turn_comes(make, png, tmp_path):
    good = png(np.zeros((8, 8, 3), np.uint8))
    make(tmp_path, {"train": [(good, 0)] * 20, "test": [(b"garbage", 0)]})
    streamed = data.open_dataset(name="tiny", split="train+test", dir=str(tmp_path), memory="stream", cache=None)
    assert streamed.read(np.arange(20))["image"].shape == (20, 8, 8, 3)
    with pytest.raises(data.DataError, match=r"example 20 of tiny:1.0.0, split 'train\+test' cannot be read"):
        streamed.read(np.array([3, 20, 4]))


class TestPicturesOfAnySize:
    """Pictures kept at their own sizes: read one by one, or cropped."""

    SHAPES = [(8, 8), (9, 12), (20, 10), (8, 8)]

    @pytest.fixture
    def photos(self, make, png, tmp_path):
        rng = np.random.default_rng(0)
        features = {"image": tfds.features.Image(shape=(None, None, 3))}
        make(tmp_path, {"train": [{"image": io.BytesIO(png(rng.integers(0, 256, (*shape, 3), np.uint8)))}
                                  for shape in self.SHAPES * 3]}, features=features)
        return tmp_path

    def test_whole_ones_are_read_one_by_one(self, photos):
        resident, streamed = both(photos, label="")
        assert resident.spec["image"].shape == (None, None, 3)
        pictures = [resident.read(np.array([i]))["image"] for i in range(12)]
        assert sorted(each.shape[1:3] for each in pictures) == sorted(self.SHAPES * 3)
        for i, picture in enumerate(pictures):
            assert np.array_equal(picture, streamed.read(np.array([i]))["image"])
        for dataset in (resident, streamed):
            with pytest.raises(data.DataError, match="differ in size: example .*; read them one by one, or set"):
                dataset.read(np.arange(12))

    def test_crops_are_the_same_resident_or_streamed(self, photos):
        resident, streamed = both(photos, label="", crop=6)
        assert resident.spec["image"].shape == (6, 6, 3)
        same(resident, streamed, steps=8)

    def test_they_come_from_the_cache_too(self, photos, tmp_path):
        kept = tmp_path / "cache"
        first, second = ([one.read(np.array([i]))["image"] for i in range(12)] for one in (
            both(photos, label="", cache=str(kept))[0] for _ in range(2)))
        assert all(np.array_equal(*each) for each in zip(first, second)) and len(list(kept.iterdir())) == 2

    def test_those_smaller_than_the_crop_are_counted_before_training(self, photos):
        for memory in ("resident", "stream"):
            with pytest.raises(data.DataError, match="9 pictures of tiny.* are smaller than the crop of 10x10, example "
                                                     r"\d+ is \d+x\d+; set data.crop to at most 8"):
                data.open_dataset(name="tiny", split="train", dir=str(photos), crop=10, memory=memory, cache=None)


@pytest.mark.parametrize("damage", ["cut", "gone", "garbage"])
def test_a_damaged_shard_is_named_before_training(tiny, tmp_path, damage):
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    (shard,) = tmp_path.glob("tiny/1.0.0/tiny-train.array_record*")
    if damage == "gone":
        shard.unlink()
    elif damage == "cut":
        os.truncate(shard, shard.stat().st_size // 2)
    else:
        shard.write_bytes(os.urandom(shard.stat().st_size))
    with pytest.raises(data.DataError, match="tiny:1.0.0, split 'train'") as caught:
        both(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [dict(), dict(split="test[5:31]", label=""), dict(split="test[-3:]", size=28)])
def test_stacked_mnist_is_stacked_as_it_is_needed(real, real_cache, change):
    same(*both(real, **dict(name="stacked_mnist", split="test", cache=real_cache) | change), steps=3)


class TestTFRecord:
    """TFDS's default format, which has no index: read at any place all the same."""

    @pytest.fixture
    def converted(self, tiny, tmp_path):
        """`tiny` with its shards rewritten as TFRecord files, whose checksums are not looked at."""
        shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
        folder = tmp_path / "tiny" / "1.0.0"
        for split in ("train", "test"):
            source = sources.open_source(name="tiny", split=split, dir=str(tiny), check=lambda *_: None)
            reader = source.builder.as_data_source(
                split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
            (shard,) = folder.glob(f"tiny-{split}.array_record*")
            with open(str(shard).replace("array_record", "tfrecord"), "wb") as out:
                for record in reader.__getitems__(list(range(source.examples))):
                    out.write(struct.pack("<QI", len(record), 0) + record + bytes(4))
            shard.unlink()
        info = folder / "dataset_info.json"
        info.write_text(info.read_text().replace("array_record", "tfrecord"))
        return tmp_path

    @pytest.mark.parametrize("split", ["train", "train[17:40]+test[2:9]"])
    def test_examples_and_batches_are_those_of_array_record(self, tiny, converted, split):
        assert json.loads((converted / "tiny/1.0.0/dataset_info.json").read_text())["fileFormat"] == "tfrecord"
        wanted, rows = both(tiny, split=split)[0], np.arange(30)
        resident, streamed = both(converted, split=split)
        for field in ("image", "label"):
            assert np.array_equal(resident.read(rows)[field], wanted.read(rows)[field])
        same(resident, streamed, steps=6)

    def test_a_file_cut_short_is_named(self, converted):
        (shard,) = converted.glob("tiny/1.0.0/tiny-train.tfrecord*")
        os.truncate(shard, shard.stat().st_size - 1)
        with pytest.raises(data.DataError, match="example 299 of tiny:1.0.0, split 'train'.*cut short"):
            both(converted)
