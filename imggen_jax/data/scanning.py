"""What is found out about all examples of a split before any is decoded: sizes, contents and vocabulary."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import numpy as np
import tqdm

from imggen_jax.data import cache, decoding, records, sources, text
from imggen_jax.data.columns import Column
from imggen_jax.data.decoding import Request
from imggen_jax.data.sources import Source
from imggen_jax.errors import DataError, brief

_WORDS = "words.json"  # in the folder of a dataset: {"words": [...]}, the most frequent first


def picture_sizes(request: Request, kept: str | None) -> dict[str, np.ndarray]:
    """Height and width of every picture that comes out: {field: int32 [N,2]}, or [1,2] where all have one size.

    Where the dataset does not say, the headers of all pictures are read, once. kept: as `cache.folder`.

    Raises DataError: a picture that cannot be read, or pictures of an example that do not match.
    """
    sizes = {}
    for field, column in request.images.items():
        if request.side:
            sizes[field] = np.full((1, 2), request.side, np.int32)
        elif None not in column.shape:
            sizes[field] = np.array([column.shape], np.int32)
        else:
            sizes[field] = _scanned(request.source, column, kept)
        if (sizes[field] == sizes[field][0]).all():
            sizes[field] = sizes[field][:1]
    if len(sizes) > 1:
        _check_aligned(request.source.title, sizes)
    return sizes


def _check_aligned(title: str, sizes: dict[str, np.ndarray]) -> None:
    """Raises DataError where the pictures of an example are not of one size, or of the same whole multiples."""
    scales = decoding.scales(title, {field: tuple(each[0].tolist()) for field, each in sizes.items()}, 0)
    units = np.stack(np.broadcast_arrays(*(each / scales[field] for field, each in sizes.items())))
    wrong = np.flatnonzero((units != units[0]).any(axis=(0, 2)))
    if len(wrong):
        index = int(wrong[0])
        found = {field: tuple(each[index % len(each)].tolist()) for field, each in sizes.items()}
        told = ", ".join(f"{field} {width}x{height}" for field, (height, width) in sorted(found.items()))
        raise DataError(f"the pictures of example {index} of {title} do not match: {told}; aligned pictures have one "
                        "size, or one is the same whole multiple of the other in all examples")


def contents(request: Request, kept: str | None) -> dict[str, str]:
    """{field: sha256 hex over the stored values of all examples in their order}; all records are read, once."""
    files = {field: cache.file_of(request.source, kept, "contents", column.feature)
             for field, column in request.columns.items()}
    found = {field: cache.read(file, lambda arrays: set(arrays) == {"sha256"}) for field, file in files.items()}
    missing = {field: request.columns[field] for field, each in found.items() if each is None}
    if missing:
        sums = {field: hashlib.sha256() for field in missing}
        for row in _rows(request._replace(columns=missing), "comparing"):
            for one, value in zip(sums.values(), row):
                data = value if isinstance(value, bytes) else str(value).encode()
                one.update(b"%d:%b" % (len(data), data))
        for field, one in sums.items():
            found[field] = {"sha256": np.frombuffer(one.digest(), np.uint8)}
            cache.write(files[field], found[field])
    return {field: each["sha256"].tobytes().hex() for field, each in found.items()}


def vocabulary(source: Source, column: Column, kept: str | None) -> tuple[str, ...]:
    """The words of a dataset's captions: those stored beside it, else learned from its split train, or its largest.

    All splits of a dataset share one vocabulary. Raises DataError: a damaged file of words, or no words at all.
    """
    file = source.folder / _WORDS
    if file.is_file():
        try:
            known = tuple(json.loads(file.read_text(encoding="utf-8"))["words"])
            if not all(isinstance(word, str) for word in known) or len(set(known)) < len(known):
                raise ValueError("not a list of different words")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file} cannot be read ({brief(error)}); prepare the dataset again") from error
    else:
        known = _learned(source, column, kept)
    if not known:
        raise DataError(f"the captions of {source.title} have no words; set data.text to '' or to bytes:LENGTH")
    return known


def _learned(source: Source, column: Column, kept: str | None) -> tuple[str, ...]:
    infos = source.builder.info.splits
    base = "train" if "train" in infos else max(infos, key=lambda key: infos[key].num_examples)
    whole = sources.whole(source, base)

    def learn() -> dict[str, np.ndarray]:
        rows = _rows(Request(whole, {"text": column}, 0), "reading the captions of")
        known = text.learn(data.decode("utf-8", "replace") for (data,) in rows)
        return {"words": np.frombuffer("\n".join(known).encode(), np.uint8)}

    file = cache.file_of(whole, kept, "words", column.feature, text.MOST_WORDS)
    arrays = cache.remember(file, lambda arrays: set(arrays) == {"words"}, learn)
    return tuple(arrays["words"].tobytes().decode().split("\n")) if len(arrays["words"]) else ()


def _scanned(source: Source, column: Column, kept: str | None) -> np.ndarray:
    def scan() -> dict[str, np.ndarray]:
        rows = _rows(Request(source, {"image": column}, 0), "reading the sizes of")
        found = [decoding.size_of(source, index, data) for index, (data,) in enumerate(rows)]
        return {"sizes": np.array(found, np.int32)}

    file = cache.file_of(source, kept, "sizes", column.feature)
    return cache.remember(file, lambda arrays: arrays["sizes"].shape == (source.examples, 2), scan)["sizes"]


def _rows(request: Request, doing: str) -> Iterator[tuple]:
    source = request.source
    with tqdm.tqdm(total=source.examples, desc=f"{doing} {source.title}", unit=" examples", delay=2, mininterval=1,
                   leave=False, disable=None) as progress:
        for chunk in records.all_rows(source, request.wanted):
            yield from chunk
            progress.update(len(chunk))
