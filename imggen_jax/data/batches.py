"""Batches as a function of (seed, step), made ahead of the step that takes them.

Whether a dataset is in memory or on disk, step k of seed s asks for the same examples and gets the same bytes. So there
is no iterator, and no place in the data to be saved: any step is reached at once, on any number of processes, each of
which reads its own rows and no others.
"""
from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


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
        with _one_at_a_time:  # or threads at the start of an epoch would each sort it
            permutation = _permutation(n, seed, int(epoch))
        parts.append(permutation[places[epochs == epoch]])
    return np.concatenate(parts).astype(np.int64)


def gather(dataset: Any, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Examples of a `Dataset` or `Streamed`, int [B] -> {"image": uint8 [B,S,S,C], "label": int32 [B]}.

    Without "label" where the dataset has none. Raises DataError for a streamed picture that cannot be read.
    """
    images, labels = dataset.read(np.asarray(indices))
    return {"image": images} if labels is None else {"image": images, "label": labels}


def read_batch(dataset, *, seed: int, step: int, batch: int, rows: slice = slice(None)) -> dict[str, np.ndarray]:
    return dataset.read(batch_indices(dataset.length, seed=seed, step=step, batch=batch)[rows])


def ahead(make: Callable[[int], Any], start: int, stop: int, *, threads: int, buffer: int) -> Iterator[Any]:
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


_one_at_a_time = threading.Lock()


@functools.lru_cache(maxsize=4)
def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    """int [n], of the smallest dtype. Sorts raw bits, which never change between NumPy releases (NEP 19)."""
    raw = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(n)
    permutation = np.argsort(raw, kind="stable").astype(np.min_scalar_type(-n))
    permutation.flags.writeable = False
    return permutation
