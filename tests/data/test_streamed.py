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
    asked = dict(name="tiny", split="train", dir=str(root), size=0, label="label") | change
    return data.load(**asked, cache=None), data.stream(**asked)


def same(resident, streamed, seed=3, batch=11, steps=60):
    """The facts, and the batches of every step and of each of two processes."""
    assert streamed.shape == resident.shape
    assert (streamed.classes, streamed.label_names, streamed.fingerprint) == (
        resident.classes, resident.label_names, resident.fingerprint)
    for step in range(steps):
        indices = data.batch_indices(resident.shape[0], seed=seed, step=step, batch=batch)
        one, other = data.gather(resident, indices), data.gather(streamed, indices)
        assert set(one) == set(other) == ({"image", "label"} if resident.classes else {"image"})
        for name in one:
            assert one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name])


@pytest.mark.parametrize("change", [dict(), dict(label=""), dict(size=4), dict(size=13), dict(split="test"),
                                    dict(split="train[100:117]"), dict(split="train[290:]+test[:5]")])
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
    steps = range(40)
    order = [data.batch_indices(300, seed=0, step=step, batch=32) for step in steps]
    made = data.ahead(lambda step: data.gather(streamed, order[step]), 0, 40, threads=8, buffer=40)
    for step, batch in zip(steps, made):
        assert np.array_equal(batch["image"], resident.images[order[step]])
        assert np.array_equal(batch["label"], resident.labels[order[step]])


def test_opening_reads_one_picture_at_most(tiny, monkeypatch):
    read = []
    decode = data.streamed.decoding.decode
    monkeypatch.setattr(data.streamed.decoding, "decode", lambda *words: read.append(words[1]) or decode(*words))
    streamed = data.stream(name="tiny", split="train", dir=str(tiny), size=0, label="")
    assert read == [0]
    data.gather(streamed, np.array([7, 7, 299]))
    assert read == [0, 7, 7, 299]


def test_a_broken_picture_is_named_when_its_turn_comes(make, png, tmp_path):
    good = png(np.zeros((8, 8, 3), np.uint8))
    make(tmp_path, {"train": [(good, 0)] * 20, "test": [(b"garbage", 0)]})
    streamed = data.stream(name="tiny", split="train+test", dir=str(tmp_path), size=0, label="label")
    assert data.gather(streamed, np.arange(20))["image"].shape == (20, 8, 8, 3)
    with pytest.raises(data.DataError, match=r"example 20 of tiny:1.0.0, split 'train\+test' cannot be read"):
        data.gather(streamed, np.array([3, 20, 4]))


def test_pictures_kept_as_they_are_must_be_of_one_size(make, png, tmp_path):
    features = {"image": tfds.features.Image(shape=(None, None, 3))}
    make(tmp_path, {f"s{side}": [{"image": io.BytesIO(png(np.zeros((side, side, 3), np.uint8)))}] for side in (8, 9)},
         features=features)
    streamed = data.stream(name="tiny", split="s8+s9", dir=str(tmp_path), size=0, label="")
    with pytest.raises(data.DataError, match="example 1 is 9x9, others 8x8; set data.size"):
        data.gather(streamed, np.arange(2))


@pytest.mark.parametrize("change", [dict(name="tinny"), dict(split="x"), dict(label="x"), dict(size=-1),
                                    dict(name="stacked_mnist"), dict(name="stacked_mnist", label="x"),
                                    dict(name="stacked_mnist/x"), dict(name="stacked_mnist", split="train+test")])
def test_what_cannot_be_loaded_cannot_be_streamed_for_the_same_reason(tiny, change):
    asked = dict(name="tiny", split="train", dir=str(tiny), size=0, label="") | change
    told = []
    for call in (data.load, data.stream):
        with pytest.raises(data.DataError) as caught:
            call(**asked)
        told.append(str(caught.value))
    assert told[0] == told[1]


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
        data.stream(name="tiny", split="train", dir=str(tmp_path), size=0, label="")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [dict(), dict(split="test[5:31]", label=""), dict(split="test[-3:]", size=28)])
def test_stacked_mnist_is_stacked_as_it_is_needed(real, real_cache, change):
    asked = dict(name="stacked_mnist", split="test", dir=real, size=0, label="label") | change
    same(data.load(**asked, cache=real_cache), data.stream(**asked), steps=3)


class TestTFRecord:
    """TFDS's default format, which has no index: read at any place all the same."""

    @pytest.fixture
    def converted(self, tiny, tmp_path):
        """`tiny` with its shards rewritten as TFRecord files, whose checksums are not looked at."""
        shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
        folder = tmp_path / "tiny" / "1.0.0"
        for split in ("train", "test"):
            source = sources.open_source(name="tiny", split=split, dir=str(tiny), label="")
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
        wanted = data.load(name="tiny", split=split, dir=str(tiny), size=0, label="label", cache=None)
        resident, streamed = both(converted, split=split)
        assert np.array_equal(resident.images, wanted.images) and np.array_equal(resident.labels, wanted.labels)
        same(resident, streamed, steps=6)

    def test_a_file_cut_short_is_named(self, converted):
        (shard,) = converted.glob("tiny/1.0.0/tiny-train.tfrecord*")
        os.truncate(shard, shard.stat().st_size - 1)
        for call in (data.load, data.stream):
            with pytest.raises(data.DataError, match="example 299 of tiny:1.0.0, split 'train'.*cut short"):
                call(name="tiny", split="train", dir=str(converted), size=0, label="")
