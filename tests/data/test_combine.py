"""Datasets made of datasets."""
import io

import numpy as np
import pytest
import tensorflow_datasets as tfds

from imggen_jax import data
from imggen_jax.spec import Field


def numbered(number, height=4, width=4, channels=3, first=0, **more):
    """Pictures whose value is their number."""
    values = np.arange(first, first + number)
    images = np.broadcast_to(values.astype(np.uint8)[:, None, None, None], (number, height, width, channels))
    return data.from_arrays(title=f"{number} pictures", image=images, label=values % 3, names={"label": "abc"}, **more)


def values(dataset, indices, field="image"):
    batch = dataset.read(np.array(indices))
    assert sorted(batch) == list(dataset.spec)
    for name, each in batch.items():
        assert each.shape == (len(indices), *dataset.spec[name].shape) and each.dtype == dataset.spec[name].dtype
    return batch[field].reshape(len(indices), -1)[:, 0].tolist()


def test_arrays():
    dataset = numbered(5)
    assert dataset.length == 5 and dataset.spec["label"] == Field((), "int32", ("a", "b", "c"))
    assert values(dataset, [4, 0, 4]) == [4, 0, 4] and values(dataset, [4, 0], "label") == [1, 0]
    assert data.from_arrays(label=np.array([0, 2], np.uint8)).spec["label"] == Field((), "int32", ("0", "1", "2"))
    assert dataset.fingerprint == numbered(5).fingerprint != numbered(5, first=1).fingerprint
    for wrong in (dict(), dict(a=np.zeros(3), b=np.zeros(4)), dict(a=np.zeros(0))):
        with pytest.raises(data.DataError, match="must have one length, at least 1"):
            data.from_arrays(**wrong)


@pytest.mark.parametrize("chosen, left", [(slice(2, 7), [2, 3, 4, 5, 6]), (slice(None, None, -4), [9, 5, 1]),
                                          (np.array([3, 3, 0]), [3, 3, 0])])
def test_take(chosen, left):
    part = data.take(numbered(10), chosen)
    assert part.length == len(left) and values(part, range(len(left))) == left
    assert part.fingerprint != numbered(10).fingerprint


@pytest.mark.parametrize("chosen", [slice(3, 3), np.array([10]), np.array([-1]), np.array([0.5]),
                                    np.zeros((1, 1), int)])
def test_what_is_not_there_cannot_be_taken(chosen):
    with pytest.raises(data.DataError, match=r"nothing is taken of 10 pictures, or examples outside \[0, 10\)"):
        data.take(numbered(10), chosen)


def test_concatenate():
    joined = data.concatenate(numbered(3), numbered(4, first=10), numbered(2, first=20))
    assert joined.length == 9 and values(joined, range(9)) == [0, 1, 2, 10, 11, 12, 13, 20, 21]
    assert values(joined, [8, 0, 3, 3, 2]) == [21, 0, 10, 10, 2]
    assert joined.read(np.array([], int))["image"].shape == (0, 4, 4, 3)
    with pytest.raises(data.DataError, match=r"cannot be joined: .*uint8\[4, 4, 3\].* and .*uint8\[4, 5, 3\]"):
        data.concatenate(numbered(3), numbered(3, width=5))


def test_select():
    chosen = data.select(numbered(5), ["image"], {"image": "source"})
    assert list(chosen.spec) == ["source"] and values(chosen, [3], "source") == [3]
    assert data.select(numbered(5), ["label", "image"]).fingerprint == numbered(5).fingerprint
    with pytest.raises(data.DataError, match="has no field 'mask'; it has image, label"):
        data.select(numbered(5), ["mask"])
    with pytest.raises(data.DataError, match="must have different names"):
        data.select(numbered(5), ["image", "label"], {"image": "label"})


def pair(one, other):
    return data.select(one, ["image"], {"image": "source"}), data.select(other, ["image"])


def test_aligned_pairs():
    pairs = data.zipped(*pair(numbered(5, first=10), numbered(5, height=8, width=8)))
    assert pairs.length == 5 and values(pairs, [4, 1]) == [4, 1] and values(pairs, [4, 1], "source") == [14, 11]


@pytest.mark.parametrize("other, message", [
    (numbered(6), "5 pictures has 5 examples and 6 pictures 6; aligned pairs need equally many"),
    (numbered(5, height=6, width=6), "do not match: image 6x6, source 4x4"),
    (numbered(5, height=8), "do not match: image 4x8, source 4x4"),
])
def test_pairs_that_do_not_match_are_refused(other, message):
    with pytest.raises(data.DataError, match=message):
        data.zipped(*pair(numbered(5), other))
    with pytest.raises(data.DataError, match="the field 'image' of 5 pictures is there already; rename it"):
        data.zipped(numbered(5), numbered(5))


@pytest.mark.parametrize("number, others", [(10, 3), (3, 10), (4, 4), (1, 5)])
def test_unaligned_pairs(number, others):
    pairs = data.unaligned(*pair(numbered(number), numbered(others)))
    assert pairs.length == max(number, others)
    every = range(pairs.length)
    assert values(pairs, every, "source") == [i % number for i in every]
    partners = values(pairs, every)
    for start in range(0, pairs.length - others + 1, others):  # each pass has every partner once
        assert sorted(partners[start:start + others]) == list(range(others))
    assert values(pairs, every[::-1]) == partners[::-1]
    if (number, others) == (10, 3):
        assert partners[:3] != partners[3:6] or partners[:3] != partners[6:9]


def test_side_by_side():
    wide = np.concatenate([np.full((3, 4, 5, 3), 1, np.uint8), np.full((3, 4, 5, 3), 2, np.uint8)], axis=2)
    dataset = data.from_arrays(title="facades", image=wide, label=np.arange(3))
    pairs = data.side_by_side(dataset)
    assert pairs.spec["image"].shape == pairs.spec["source"].shape == (4, 5, 3)
    assert values(pairs, [0, 2], "source") == [1, 1] and values(pairs, [0, 2]) == [2, 2]
    assert values(pairs, [0, 2], "label") == [0, 2]
    assert values(data.side_by_side(dataset, ("image", "source")), [0]) == [1]
    with pytest.raises(data.DataError, match="pictures of facades are 5 pixels wide, which are not two"):
        data.side_by_side(data.from_arrays(title="facades", image=wide[:, :, :5]))
    with pytest.raises(data.DataError, match="the halves of facades need two names"):
        data.side_by_side(dataset, ("source", "label"))


def test_resized():
    dataset = data.resized(numbered(5, height=8, width=12), 4)
    assert dataset.spec["image"].shape == (4, 4, 3) and values(dataset, [3, 1]) == [3, 1]
    assert dataset.fingerprint != data.resized(numbered(5, height=8, width=12), 2).fingerprint


def test_fingerprints_follow_what_is_made():
    base = numbered(6)
    made = [base, data.take(base, slice(3)), data.concatenate(base, base), data.resized(base, 2), data.cropped(base, 2),
            data.select(base, ["image"]), data.side_by_side(base), data.zipped(*pair(base, base)),
            data.unaligned(*pair(base, base))]
    assert len({each.fingerprint for each in made}) == len(made)


@pytest.mark.parametrize("memory", ["resident", "stream"])
class TestOnDisk:
    """Several pictures of one example, read from files."""

    def dataset(self, make, png, root, sides, **shape):
        rng = np.random.default_rng(0)

        def picture(side, channels=3):
            return io.BytesIO(png(rng.integers(0, 256, (side, side, channels)[:2 if channels == 1 else 3], np.uint8)))

        features = {"image": tfds.features.Image(shape=shape.get("image", (None, None, 3))),
                    "source": tfds.features.Image(shape=shape.get("source", (None, None, 3))),
                    "mask": tfds.features.Image(shape=shape.get("mask", (None, None, 1)))}
        make(root, {"train": [{"image": picture(image), "source": picture(source), "mask": picture(image, 1)}
                              for image, source in sides]}, features=features)

    def opened(self, root, memory, **change):
        return data.open_dataset(**dict(name="tiny", split="train", dir=str(root), memory=memory, cache=None,
                                        fields=("image", "source", "mask")) | change)

    def test_all_of_one_size(self, make, png, tmp_path, memory):
        self.dataset(make, png, tmp_path, [(8, 4)] * 3)
        batch = self.opened(tmp_path, memory).read(np.arange(3))
        assert {field: each.shape for field, each in batch.items()} == {
            "image": (3, 8, 8, 3), "source": (3, 4, 4, 3), "mask": (3, 8, 8, 1)}
        assert set(self.opened(tmp_path, memory, fields=()).spec) == {"image"}
        small = self.opened(tmp_path, memory, size=2).read(np.arange(3))
        assert {each.shape[1:3] for each in small.values()} == {(2, 2)}

    def test_crops_are_of_the_same_place_at_every_scale(self, make, png, tmp_path, memory):
        self.dataset(make, png, tmp_path, [(16, 8), (24, 12), (12, 6), (20, 10)])
        dataset, whole = self.opened(tmp_path, memory, crop=6), self.opened(tmp_path, memory)
        assert {field: each.shape for field, each in dataset.spec.items()} == {
            "image": (6, 6, 3), "source": (3, 3, 3), "mask": (6, 6, 1)}
        found = set()
        for step in range(6):
            batch = data.read_batch(dataset, seed=1, step=step, batch=4)
            for row, index in enumerate(data.batch_indices(4, seed=1, step=step, batch=4)):
                example = whole.read(np.array([index]))
                size = example["source"].shape[1]
                (corner,) = [(y, x) for y in range(size - 2) for x in range(size - 2)
                             if np.array_equal(example["source"][0, y:y + 3, x:x + 3], batch["source"][row])]
                y, x = 2 * corner[0], 2 * corner[1]
                assert np.array_equal(example["image"][0, y:y + 6, x:x + 6], batch["image"][row])
                assert np.array_equal(example["mask"][0, y:y + 6, x:x + 6], batch["mask"][row])
                found.add(corner)
        assert len(found) > 8
        with pytest.raises(data.DataError, match="set data.crop to a multiple of 2"):
            self.opened(tmp_path, memory, crop=5)

    def test_pairs_of_unequal_size_are_refused(self, make, png, tmp_path, memory):
        self.dataset(make, png, tmp_path, [(8, 8), (8, 7), (8, 8)])
        for change in (dict(), dict(size=4)):
            with pytest.raises(data.DataError, match=r"example \d of tiny:1.0.0, split 'train' do not match: image "
                                                     "8x8, mask 8x8, source 7x7; aligned pictures have one size"):
                self.opened(tmp_path, memory, **change).read(np.arange(3))

    def test_pairs_of_another_scale_than_the_others_are_refused(self, make, png, tmp_path, memory):
        self.dataset(make, png, tmp_path, [(8, 4), (8, 4), (8, 8)])
        with pytest.raises(data.DataError, match="do not match.*the same whole multiple of the other in all examples"):
            self.opened(tmp_path, memory)

    def test_declared_sizes_that_do_not_match_are_refused(self, make, png, tmp_path, memory):
        self.dataset(make, png, tmp_path, [(8, 6)], image=(8, 8, 3), source=(6, 6, 3), mask=(8, 8, 1))
        with pytest.raises(data.DataError, match="do not match: image 8x8, mask 8x8, source 6x6"):
            self.opened(tmp_path, memory)

    @pytest.mark.parametrize("change", [dict(), dict(size=4), dict(crop=5), dict(size=6, crop=4)])
    def test_side_by_side_in_one_file(self, make, png, tmp_path, memory, change):
        left, right = np.full((8, 8, 3), 50, np.uint8), np.full((8, 8, 3), 200, np.uint8)
        make(tmp_path, {"train": [(png(np.concatenate([left, right], axis=1)), i % 2) for i in range(3)]},
             features={"image": tfds.features.Image(shape=(None, None, 3)),
                       "label": tfds.features.ClassLabel(num_classes=2)})
        dataset = self.opened(tmp_path, memory, fields=("source|image",), label="label", **change)
        batch = data.read_batch(dataset, seed=0, step=0, batch=3)
        side = change.get("crop") or change.get("size") or 8
        assert {field: each.shape[1:] for field, each in batch.items()} == {
            "source": (side, side, 3), "image": (side, side, 3), "label": ()}
        assert (batch["source"] == 50).all() and (batch["image"] == 200).all()

    def test_the_halves_are_all_that_is_read_of_a_file(self, make, png, tmp_path, memory):
        make(tmp_path, {"train": [(png(np.zeros((8, 8, 3), np.uint8)), 0)]})
        for fields in (("image", "a|b"), ("a|b", "c|d")):
            with pytest.raises(data.DataError, match="use the picture more than once; write one pair"):
                self.opened(tmp_path, memory, fields=fields)
