"""Crops: central ones, and random ones by given bits."""
import numpy as np
import pytest

from imggen_jax import data

PLACES = np.arange(6 * 8, dtype=np.uint8).reshape(1, 6, 8, 1)  # each pixel says where it is


def corners(batch):
    return [tuple(divmod(int(each[0, 0, 0]), 8)) for each in batch["image"]]


def test_without_bits_it_is_the_center():
    dataset = data.cropped(data.from_arrays(image=PLACES), 2)
    assert dataset.spec["image"].shape == (2, 2, 1) and dataset.random
    batch = dataset.read(np.array([0, 0]))
    assert np.array_equal(batch["image"], np.repeat(PLACES[:, 2:4, 3:5], 2, axis=0))


def test_random_crops_are_even_over_all_places():
    dataset = data.cropped(data.from_arrays(image=PLACES), 3)
    number = 4800
    found = corners(data.read_batch(dataset, seed=0, step=0, batch=number))
    counts = {corner: found.count(corner) for corner in set(found)}
    assert set(counts) == {(y, x) for y in range(4) for x in range(6)}
    expected = number / 24
    assert max(abs(count - expected) for count in counts.values()) < 5 * np.sqrt(expected)


def test_they_are_a_function_of_seed_step_and_row():
    dataset = data.cropped(data.from_arrays(image=PLACES), 3)
    first = corners(data.read_batch(dataset, seed=5, step=7, batch=16))
    assert first == corners(data.read_batch(dataset, seed=5, step=7, batch=16))
    assert first[4:9] == corners(data.read_batch(dataset, seed=5, step=7, batch=16, rows=slice(4, 9)))
    assert len({tuple(corners(data.read_batch(dataset, seed=seed, step=step, batch=16)))
                for seed in (5, 6) for step in (7, 8)}) == 4


def test_they_are_those_of_every_release():
    dataset = data.cropped(data.from_arrays(image=PLACES), 3)
    assert corners(data.read_batch(dataset, seed=0, step=0, batch=6)) == [
        (2, 4), (0, 1), (3, 2), (3, 2), (3, 4), (1, 3)]


def test_pairs_are_cropped_alike_and_unaligned_ones_are_not():
    one = data.from_arrays(image=np.repeat(PLACES, 20, axis=0))
    other = data.select(one, ["image"], {"image": "source"})
    together = data.read_batch(data.cropped(data.zipped(one, other), 3), seed=0, step=0, batch=20)
    assert np.array_equal(together["image"], together["source"])
    apart = data.read_batch(data.unaligned(data.cropped(one, 3), data.cropped(other, 3)), seed=0, step=0, batch=20)
    assert not np.array_equal(apart["image"], apart["source"])


def test_scales_come_from_the_spec():
    large = data.from_arrays(image=np.kron(PLACES, np.ones((1, 2, 2, 1), np.uint8)))
    pairs = data.zipped(large, data.select(data.from_arrays(image=PLACES), ["image"], {"image": "source"}))
    batch = data.read_batch(data.cropped(pairs, 4), seed=0, step=0, batch=9)
    assert batch["image"].shape == (9, 4, 4, 1) and batch["source"].shape == (9, 2, 2, 1)
    assert np.array_equal(batch["image"][:, ::2, ::2], batch["source"])


def test_a_crop_of_a_crop_is_one_of_the_whole():
    dataset = data.cropped(data.cropped(data.from_arrays(image=PLACES), 5), 2)
    found = corners(data.read_batch(dataset, seed=0, step=0, batch=2000))
    assert set(found) == {(y, x) for y in range(5) for x in range(7)}


@pytest.mark.parametrize("side, message", [
    (0, "give a side of at least 1"),
    (7, "example 0 of the arrays is 8x6, smaller than the crop of 7x7; .* at most 6"),
])
def test_mistakes_are_named(side, message):
    with pytest.raises(data.DataError, match=message):
        data.cropped(data.from_arrays(image=PLACES), side)


def test_labels_alone_cannot_be_cropped():
    with pytest.raises(data.DataError, match="it has no pictures"):
        data.cropped(data.from_arrays(label=np.arange(3)), 2)
