"""Batches as a function of (seed, step), and made ahead of time in that order."""
import random
import threading
import time

import numpy as np
import pytest

from imggen_jax import data


def test_batches_depend_on_seed_and_step_alone():
    first = [data.batch_indices(100, seed=3, step=step, batch=7) for step in range(40)]
    again = [data.batch_indices(100, seed=3, step=step, batch=7) for step in reversed(range(40))][::-1]
    assert np.array_equal(first, again) and first[0].dtype == np.int64
    assert not np.array_equal(first[0], data.batch_indices(100, seed=4, step=0, batch=7))


@pytest.mark.parametrize("n, batch", [(10, 3), (10, 10), (10, 25), (7, 1), (1, 4)])
def test_each_image_comes_exactly_once_an_epoch(n, batch):
    run = np.concatenate([data.batch_indices(n, seed=0, step=step, batch=batch) for step in range(4 * n)])
    epochs = run[:len(run) // n * n].reshape(-1, n)
    assert (np.sort(epochs, axis=1) == np.arange(n)).all()
    assert n == 1 or len(np.unique(epochs, axis=0)) > 1


def test_the_order_does_not_depend_on_the_batch():
    small = [data.batch_indices(50, seed=1, step=step, batch=5) for step in range(24)]
    large = [data.batch_indices(50, seed=1, step=step, batch=40) for step in range(3)]
    assert np.array_equal(np.concatenate(small), np.concatenate(large))


def test_the_order_is_the_one_of_every_release():
    assert data.batch_indices(10, seed=0, step=0, batch=12).tolist() == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9, 7, 4]


def test_a_far_step_is_reached_at_once():
    far = data.batch_indices(1000, seed=0, step=10**12, batch=64)
    assert far.shape == (64,) and 0 <= far.min() and far.max() < 1000


@pytest.mark.parametrize("change", [dict(n=0), dict(batch=0), dict(step=-1), dict(seed=-1)])
def test_impossible_batches_are_refused(change):
    with pytest.raises(ValueError, match="needs n and batch >= 1"):
        data.batch_indices(**dict(n=5, seed=0, step=0, batch=2) | change)


def test_a_batch_holds_the_fields_of_the_spec(tiny):
    for label in ("", "label"):
        dataset = data.open_dataset(name="tiny", split="train", dir=str(tiny), label=label, cache=None)
        batch = data.read_batch(dataset, seed=3, step=2, batch=8)
        wanted = dataset.read(data.batch_indices(300, seed=3, step=2, batch=8))
        assert sorted(batch) == list(dataset.spec) == sorted(["image", "label"] if label else ["image"])
        assert batch["image"].shape == (8, 8, 8, 3) and batch["image"].dtype == np.uint8
        assert all(np.array_equal(batch[field], wanted[field]) for field in wanted)


def test_each_process_reads_its_rows(tiny):
    for crop in (0, 5):
        dataset = data.open_dataset(name="tiny", split="train", dir=str(tiny), crop=crop, cache=None)
        whole = data.read_batch(dataset, seed=0, step=4, batch=12)["image"]
        parts = [data.read_batch(dataset, seed=0, step=4, batch=12, rows=slice(start, start + 4))["image"]
                 for start in (0, 4, 8)]
        assert np.array_equal(whole, np.concatenate(parts))


def test_threads_share_the_permutation_of_an_epoch():
    """Whichever of many threads comes first, all get the order that one alone gets."""
    wanted = [data.batch_indices(997, seed=5, step=step, batch=64) for step in range(60)]
    made = list(data.ahead(lambda step: data.batch_indices(997, seed=5, step=step, batch=64), 0, 60, threads=8,
                           buffer=16))
    assert np.array_equal(made, wanted)


@pytest.mark.parametrize("threads, buffer", [(1, 1), (1, 4), (4, 2), (8, 32)])
def test_what_is_made_ahead_comes_in_order_whoever_is_quickest(threads, buffer):
    chance = random.Random(0)
    waits = [chance.uniform(0, 0.003) for _ in range(40)]

    def make(i):
        time.sleep(waits[i])
        return i

    assert list(data.ahead(make, 7, 40, threads=threads, buffer=buffer)) == list(range(7, 40))
    assert list(data.ahead(make, 5, 5, threads=threads, buffer=buffer)) == []


def test_no_more_is_made_ahead_than_asked_for():
    begun = []
    made = data.ahead(lambda i: begun.append(i) or i, 0, 1000, threads=2, buffer=5)
    assert [next(made) for _ in range(3)] == [0, 1, 2]
    made.close()
    assert len(begun) <= 3 + 5


def test_an_error_is_raised_in_its_turn_and_leaving_early_ends_the_threads():
    def make(i):
        if i == 3:
            raise data.DataError("example 3 is broken")
        return i

    made, got = data.ahead(make, 0, 100, threads=2, buffer=8), []
    with pytest.raises(data.DataError, match="example 3 is broken"):
        for each in made:
            got.append(each)
    assert got == [0, 1, 2]
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("grain-prefetch")]
    for thread in ours:
        thread.join(5)
    assert not any(thread.is_alive() for thread in ours)
