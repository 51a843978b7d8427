"""What is found out about all examples of a split before any is decoded: identity, sizes and vocabulary."""
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import numpy as np
import tqdm

from imggen_jax.data import cache, decoding, records, sources, text
from imggen_jax.data.columns import Column
from imggen_jax.data.dataset import sha256
from imggen_jax.data.decoding import Request
from imggen_jax.data.records import Row
from imggen_jax.data.sources import Source
from imggen_jax.errors import DataError, brief

# In the folder of a dataset:
_WORDS = "words.json"        # {"words": [...]}, the most frequent first
_IDENTITY = "identity.json"  # {"pixels": sha256, "fields": {feature: sha256}}, of all splits


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


def identities(source: Source, features: Iterable[str]) -> dict[str, str]:
    """{feature: sha256 hex over what decides its values and the order of the examples}; no record is read.

    A stock dataset is what its version says. An ingested one is its contents, of which ingestion left the sums in
    identity.json: the same pictures are the same, whatever the folder was called, what else lay in it, and what else is
    known of them.

    Raises DataError where that file is damaged.
    """
    file, known = source.folder / _IDENTITY, {}
    if file.is_file():
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            known = {"image": str(stored["pixels"])} | {key: str(value) for key, value in stored["fields"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{file} cannot be read ({brief(error)}); ingest the folder again") from error
    return {feature: sha256(known[feature], source.parts) if feature in known else sha256(source.identity, feature)
            for feature in features}


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


def _rows(request: Request, doing: str) -> Iterator[Row]:
    source = request.source
    with tqdm.tqdm(total=source.examples, desc=f"{doing} {source.title}", unit=" examples", delay=2, mininterval=1,
                   leave=False, disable=None) as progress:
        for chunk in records.all_rows(source, request.wanted):
            yield from chunk
            progress.update(len(chunk))
