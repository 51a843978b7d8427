"""Datasets that fit in memory: decoded once, at the first read, and kept as they come out.

Decoding is what takes time (6 s for MNIST, 10 s for CIFAR-10 on two busy cores), so the decoded arrays are kept in a
cache folder too, and a second start takes them from there in half a second.
"""
from __future__ import annotations

import dataclasses
import functools
import math
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tqdm

from imggen_jax.data import cache, decoding, memory, records
from imggen_jax.data import resize as resizing
from imggen_jax.data.columns import Column
from imggen_jax.data.dataset import Batch
from imggen_jax.data.decoding import Request
from imggen_jax.data.records import Row
from imggen_jax.data.text import Encode

Sizes = Mapping[str, np.ndarray]   # field -> height and width of its pictures, int32 [N,2], or [1,2] if all are equal


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Pictures of many sizes, one after the other."""

    flat: np.ndarray    # uint8
    starts: np.ndarray  # int64 [N], of each picture
    shapes: np.ndarray  # int32 [N,3]: H,W,C

    def __getitem__(self, index: int) -> np.ndarray:
        """uint8 [H,W,C]"""
        start, shape = self.starts[index], self.shapes[index]
        return self.flat[start:start + math.prod(shape.tolist())].reshape(shape)


def reader(request: Request, sizes: Sizes, encode: Encode, kept: str | None, size: int) -> Callable[..., Batch]:
    """`Dataset.read` of a split in memory; nothing is decoded before its first call.

    sizes: as `scanning.picture_sizes` returns them. kept: as `cache.folder`.
    size: what it takes, as `needed`.
    """
    held = _Held(functools.partial(_load, request, sizes, encode, kept), size)

    def read(indices: np.ndarray) -> Batch:
        return {field: _take(request.source.title, values, indices) for field, values in held.get().items()}

    return read


def needed(request: Request, sizes: Sizes, tokens: int) -> int:
    """Bytes that the split takes in memory. tokens: of each caption."""
    number = request.source.examples
    pictures = sum(int(each.prod(axis=1, dtype=np.int64).sum()) * (number // len(each)) * column.channels
                   for column, each in ((request.columns[field], each) for field, each in sizes.items()))
    labels = sum(column.kind == "label" for column in request.columns.values())
    return pictures + 4 * number * (labels + tokens)


def available() -> int:
    """Bytes that datasets may take: half of the free memory, less what opened datasets will take once they are read."""
    return (memory.free_memory() - sum(each.bytes for each in _waiting)) // 2


def too_large(request: Request, sizes: Sizes, size: int) -> str:
    """Says why a split that takes `size` bytes does not fit."""
    fixed = {field: each[0] for field, each in sizes.items() if len(each) == 1}
    shapes = ", ".join(sorted({f"{width}x{height}" for height, width in fixed.values()}))
    decoded = f" to {shapes}" if shapes and len(fixed) == len(sizes) else ""
    return (f"{request.source.title} decoded{decoded} takes {size / 2**30:.1f} GiB, more than half of the "
            f"{max(0, available()) * 2 / 2**30:.1f} GiB of free memory")


class _Held:
    """The columns of a split, read under a lock when they are first asked for."""

    def __init__(self, load: Callable[[], dict[str, np.ndarray | Pixels]], size: int):
        self.load, self.bytes = load, size
        self.lock, self.columns = threading.Lock(), None
        _waiting.add(self)

    def get(self) -> dict[str, np.ndarray | Pixels]:
        if self.columns is None:
            with self.lock:
                if self.columns is None:
                    self.columns = self.load()
                    _waiting.discard(self)
        return self.columns


_waiting: weakref.WeakSet[_Held] = weakref.WeakSet()


def _take(title: str, values: np.ndarray | Pixels, indices: np.ndarray) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values[indices]
    return decoding.stack(title, indices, [values[index] for index in indices])


def _load(request: Request, sizes: Sizes, encode: Encode, kept: str | None) -> dict[str, np.ndarray | Pixels]:
    """All columns: from the cache where they are there, else read and decoded."""
    number, aligned = request.source.examples, sorted(column.feature for column in request.images.values())
    files = {field: _file(request, column, aligned, kept) for field, column in request.columns.items()}
    found: dict[str, cache.Arrays] = {}
    for field, file in files.items():
        arrays = cache.read(file, functools.partial(_right, request.columns[field], number, sizes.get(field)))
        found |= {field: arrays} if arrays is not None else {}
    missing = {field: column for field, column in request.columns.items() if field not in found}
    if missing:
        for field, arrays in _read_all(request._replace(columns=missing), sizes).items():
            cache.write(files[field], arrays)
            found[field] = arrays
    columns = {field: _held(column, found[field], sizes.get(field), encode)
               for field, column in request.columns.items()}
    for values in columns.values():
        (values if isinstance(values, np.ndarray) else values.flat).flags.writeable = False
    return columns


def _file(request: Request, column: Column, aligned: list[str], kept: str | None) -> Path | None:
    """Pictures are stored once, whatever else is read of examples; those of several features are checked together."""
    if column.kind != "image":
        return cache.file_of(request.source, kept, column.kind, column.feature)
    return cache.file_of(request.source, kept, column, request.side, resizing.RECIPE, aligned[1:] and aligned)


def _right(column: Column, number: int, sizes: np.ndarray | None, arrays: cache.Arrays) -> bool:
    if sizes is not None:
        wanted = number * math.prod(sizes[0].tolist()) if len(sizes) == 1 else sizes.prod(axis=1, dtype=np.int64).sum()
        return arrays["pixels"].dtype == np.uint8 and arrays["pixels"].shape == (wanted * column.channels,)
    if column.kind == "label":
        return arrays["labels"].dtype == np.int32 and arrays["labels"].shape == (number,)
    return arrays["lengths"].shape == (number,) and arrays["bytes"].shape == (arrays["lengths"].sum(),)


def _held(column: Column, arrays: cache.Arrays, sizes: np.ndarray | None, encode: Encode) -> np.ndarray | Pixels:
    """Stored arrays -> what is read from: pictures uint8 [N,H,W,C] or Pixels, labels int32 [N], text int32 [N,T]."""
    if sizes is not None:
        return _pixels(arrays["pixels"], sizes, column.channels)
    if column.kind == "label":
        return arrays["labels"]
    stops = np.cumsum(arrays["lengths"]).tolist()
    data = arrays["bytes"].tobytes()
    return encode([data[start:stop].decode("utf-8", "replace") for start, stop in zip([0, *stops], stops)])


def _pixels(flat: np.ndarray, sizes: np.ndarray, channels: int) -> np.ndarray | Pixels:
    if len(sizes) == 1:
        return flat.reshape(-1, *sizes[0].tolist(), channels)
    shapes = np.concatenate([sizes, np.full((len(sizes), 1), channels, np.int32)], axis=1)
    lengths = shapes.prod(axis=1, dtype=np.int64)
    return Pixels(flat, np.cumsum(lengths) - lengths, shapes)


def _read_all(request: Request, sizes: Sizes) -> dict[str, cache.Arrays]:
    """Reads, decodes and resizes the whole split; the arrays to store, by field."""
    source = request.source
    number = source.examples
    flats = {field: np.empty(needed(request._replace(columns={field: column}), {field: sizes[field]}, 0), np.uint8)
             for field, column in request.images.items()}
    pictures = {field: _pixels(flat, sizes[field], request.columns[field].channels) for field, flat in flats.items()}
    labels = {field: np.empty(number, np.int32) for field, column in request.columns.items() if column.kind == "label"}
    texts = {field: [b""] * number for field, column in request.columns.items() if column.kind == "text"}

    def put(index: int, row: Row) -> None:
        for field, value in decoding.cells(request, index, row).items():
            if field in pictures:
                pictures[field][index][...] = value
            elif field in labels:
                labels[field][index] = value
            else:
                texts[field][index] = value.encode("utf-8", "replace")

    _for_all(request, put)
    made: dict[str, cache.Arrays] = {field: {"pixels": flat} for field, flat in flats.items()}
    made |= {field: {"labels": values} for field, values in labels.items()}
    return made | {field: {"bytes": np.frombuffer(b"".join(values), np.uint8), "lengths": np.array([*map(len, values)])}
                   for field, values in texts.items()}


def _for_all(request: Request, put: Callable[[int, Row], None]) -> None:
    """Calls put(index, row) for every example, in threads where its pictures are large."""
    source, start, large = request.source, 0, False
    progress = tqdm.tqdm(total=source.examples, desc=f"decoding {source.title}", unit=" images", delay=2, mininterval=1,
                         leave=False, disable=None)
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress:
        for chunk in records.all_rows(source, request.wanted):
            if start == 0 and request.images:
                large = decoding.pixels_of(request, chunk[0]) >= decoding.PIXELS_WORTH_THREADS
            list((pool.map if large else map)(put, range(start, start + len(chunk)), chunk))
            start += len(chunk)
            progress.update(len(chunk))
