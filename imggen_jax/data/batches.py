"""Batches as a function of (seed, step), made ahead of the step that uses them.

Whether a dataset is in memory or on disk, step k of seed s gets the same examples and the same bytes. So there is no
iterator, and no position in the data to save: any step is reached at once, on any number of processes, each of which
reads its own rows and no others.
"""
from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from imggen_jax.data.dataset import Batch, Dataset


def batch_indices(n: int, *, seed: int, step: int, batch: int) -> np.ndarray:
    """The examples of step `step`: int64 [batch] in [0, n), a function of the arguments alone.

    Every epoch is a fresh permutation drawn from (seed, epoch); batches run across the ends of epochs, so each image
    comes exactly once an epoch whatever the batch. Any step is reached at once; the last permutations are kept.
    """
    if n < 1 or batch < 1 or step < 0 or seed < 0:
        raise ValueError(f"batch_indices needs n and batch >= 1, step and seed >= 0; got {n=}, {batch=}, {step=}, "
                         f"{seed=}")
    epochs, places = np.divmod(np.arange(step * batch, (step + 1) * batch, dtype=np.int64), n)
    parts = []
    for epoch in np.unique(epochs):
        parts.append(permutation(n, seed, int(epoch))[places[epochs == epoch]])
    return np.concatenate(parts).astype(np.int64)


def read_batch(dataset: Dataset, *, seed: int, step: int, batch: int, rows: slice = slice(None)) -> Batch:
    """The batch of step `step`: the fields of the dataset's spec, NumPy arrays [B, *shape].

    Which examples it holds and where their pictures are cropped is a function of (seed, step) and the row, whether the
    dataset is in memory or streamed, and however many processes read it.

    batch: examples in a batch of all processes. rows: those of this process; all by default.

    Raises DataError for an example that cannot be read.
    """
    indices = batch_indices(dataset.length, seed=seed, step=step, batch=batch)[rows]
    if not dataset.random:
        return dataset.read(indices)
    bits = np.random.PCG64(np.random.SeedSequence([seed, step, _CROPS])).random_raw(batch)
    return dataset.read(indices, bits[rows])


def ahead(
    make: Callable[[int], Any], start: int, stop: int, *, threads: int, buffer: int
) -> Generator[Any, None, None]:
    """make(start), make(start + 1), ... make(stop - 1), in this order, made by threads before they are asked for.

    threads: that call `make`. buffer: how many are made, or being made, while the caller is busy with the one before.
    An error of `make` is raised where its result would have come. Close the iterator to leave it early.
    """
    import grain  # here and not above: it takes a second, and not every program trains

    # A range has random access, so the place is `start`: grain's own iterator state is not needed.
    made = iter(grain.MapDataset.range(start, stop).map(make).to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer)))
    try:
        yield from made
    finally:
        made.close()


def permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    """int [n], of the smallest dtype: 0 ... n - 1 in an order drawn from (seed, epoch)."""
    with _one_at_a_time:  # or threads at the start of an epoch would each sort it
        return _permutation(n, seed, epoch)


_CROPS = 1  # tells the random bits of crops from other streams of the same seed
_one_at_a_time = threading.Lock()


@functools.lru_cache(maxsize=4)
def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    # Sorts raw bits, which never change between NumPy releases (NEP 19).
    raw = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(n)
    order = np.argsort(raw, kind="stable").astype(np.min_scalar_type(-n))
    order.flags.writeable = False
    return order
