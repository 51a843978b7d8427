"""Datasets larger than memory: every picture is read from disk and decoded when a batch asks for it.

The values are those of `resident`, so a run is the same to the bit either way. The price is that a picture is decoded
each time it is used, and that a broken picture is found only when its turn comes.
"""
from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from imggen_jax.data import decoding, records
from imggen_jax.data.dataset import Batch
from imggen_jax.data.decoding import Request
from imggen_jax.data.text import Encode
from imggen_jax.spec import Spec

# A picture takes 90 us in Python, where threads wait for each other, and 40 ns a pixel outside it (PNG, measured).
_PIXELS_A_THREAD = 2048


def reader(request: Request, spec: Spec, encode: Encode) -> Callable[..., Batch]:
    """`Dataset.read` of a split on disk."""
    fetch, title = records.open_rows(request.source, request.wanted), request.source.title

    def read(indices: np.ndarray) -> Batch:
        numbers = np.asarray(indices).tolist()
        made = [decoding.cells(request, index, row) for index, row in zip(numbers, fetch(numbers))]
        batch = {}
        for field, column in request.columns.items():
            values = [each[field] for each in made]
            if column.kind == "text":
                batch[field] = encode(values)
            elif column.kind == "label":
                batch[field] = np.array(values, np.int32)
            elif values:
                batch[field] = decoding.stack(title, indices, values)
            else:
                batch[field] = np.empty((0, *(side or 0 for side in spec[field].shape)), np.uint8)
        return batch

    return read


def threads(pixels: int) -> int:
    """How many threads decode faster than fewer, by the pixels of a picture on disk or in a batch."""
    return min(os.cpu_count() or 1, 1 + pixels // _PIXELS_A_THREAD)
