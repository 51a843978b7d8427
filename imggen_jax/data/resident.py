"""Datasets that fit in memory: decoded once and kept as uint8.

Decoding is what costs (6 s for MNIST, 10 s for CIFAR-10 on two busy cores), so the decoded arrays are kept in a
cache folder and a second start takes them from there in half a second.
"""
from __future__ import annotations

import logging
import math
import os
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tqdm

from imggen_jax.data import decoding, sources, stacked_mnist
from imggen_jax.data import resize as resizing
from imggen_jax.data.decoding import Arrays, Pictures, sha256
from imggen_jax.data.sources import Source
from imggen_jax.errors import DataError


class Dataset(NamedTuple):
    """A dataset in memory."""

    images: np.ndarray            # uint8 [N,S,S,C], C 1 or 3, read-only
    labels: np.ndarray | None     # int32 [N] in [0, classes), read-only
    classes: int                  # 0 without labels
    label_names: tuple[str, ...]  # one a class
    fingerprint: str              # sha256 hex over what decides the pixels: source, version, split, size, resizing

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N,S,S,C"""
        return self.images.shape

    @property
    def threads(self) -> int:
        """That read faster than one; copying does not."""
        return 1

    def read(self, indices: np.ndarray) -> Arrays:
        """int [B] -> images uint8 [B,S,S,C] and labels int32 [B] or None."""
        return self.images[indices], None if self.labels is None else self.labels[indices]


def load(*, name: str, split: str, dir: str, size: int, label: str, cache: str | None = "") -> Dataset:
    """Loads a dataset into memory: from the cache if it was decoded before, else decoding it.

    name:  "name[/config][:version]" of a folder prepared by TFDS in `dir`, "avatars/64x64" or "avatars/32x32", which
           are drawn on the first use, or "stacked_mnist", which is made from mnist
    split: TFDS split expression, such as "train" or "train[:90%]"
    dir:   TFDS data_dir; "" for TFDS's own ($TFDS_DATA_DIR, or ~/tensorflow_datasets)
    size:  side of the pictures in pixels; 0 to keep them as they are, which needs square pictures of one size
    label: feature of type ClassLabel, or "" for none
    cache: folder for decoded pictures; "" for $IMGGEN_JAX_CACHE or ~/.cache/imggen_jax/data; None for no cache

    Raises DataError, before anything is decoded wherever that is possible.
    """
    if sources.parse_name(name).name == sources.STACKED_MNIST:
        return _load_stacked_mnist(name=name, split=split, dir=dir, size=size, label=label, cache=cache)
    pictures = decoding.open_pictures(name=name, split=split, dir=dir, size=size, label=label)
    check_memory(pictures.source.title, pictures.shape)
    file = _cache_file(pictures.source, pictures.fingerprint, cache)
    kept = _read_cache(file, pictures.shape, bool(label))
    if kept is None:
        kept = _decode_all(pictures)
        _write_cache(file, *kept)
    return _dataset(*kept, pictures.source.label_names, pictures.fingerprint)


def check_memory(title: str, shape: tuple[int, ...]) -> None:
    """Raises DataError where decoded pictures uint8 `shape` are more than half of the free memory."""
    if not fits(shape):
        raise DataError(f"{title} {too_large(shape)}; set data.memory to 'stream', or take a smaller data.size or a "
                        "part such as train[:10%]")


def fits(shape: tuple[int, ...]) -> bool:
    """Whether decoded pictures uint8 `shape` take at most half of the free memory."""
    return math.prod(shape) <= _free_memory() // 2


def too_large(shape: tuple[int, ...]) -> str:
    """Says of pictures that do not fit why."""
    return (f"decoded to {shape[1]}x{shape[2]} takes {math.prod(shape) / 2**30:.1f} GiB, more than half of the "
            f"{_free_memory() / 2**30:.1f} GiB of free memory")


def _dataset(images: np.ndarray, labels: np.ndarray | None, names: tuple[str, ...], fingerprint: str) -> Dataset:
    for array in (images, labels):
        if array is not None:
            array.flags.writeable = False
    return Dataset(images, labels, len(names), names, fingerprint)


def _load_stacked_mnist(*, name: str, split: str, dir: str, size: int, label: str, cache: str | None) -> Dataset:
    part = stacked_mnist.part(name=name, split=split, size=size, label=label)
    check_memory(f"stacked_mnist, split {split!r}", part.shape)
    with stacked_mnist.explained():
        digits = load(name="mnist", split=part.base, dir=dir, size=28, label="label", cache=cache)
    chosen = stacked_mnist.choose(len(digits.images), stacked_mnist.EXAMPLES[part.base], split=part.base)
    images, labels = stacked_mnist.stack(digits.images, digits.labels, chosen[part.start:part.stop])
    if part.shape[1] != stacked_mnist.SIZE:
        images = resizing.resize(images, part.shape[1])
    fingerprint = part.fingerprint(digits.fingerprint)
    if not label:
        return _dataset(images, None, (), fingerprint)
    return _dataset(images, labels, stacked_mnist.LABEL_NAMES, fingerprint)


def _decode_all(pictures: Pictures) -> Arrays:
    """Decodes, crops and resizes the whole split."""
    source, images = pictures.source, np.empty(pictures.shape, np.uint8)
    labels = np.empty(len(images), np.int32)

    def put(index: int, data: bytes, label: int) -> int:
        picture = decoding.decode(source, index, data)
        images[index], labels[index] = decoding.fit(pictures, index, picture), label
        return picture.width * picture.height

    start, large = 0, False
    progress = tqdm.tqdm(total=len(images), desc=f"decoding {source.title}", unit=" images", delay=2, mininterval=1,
                         leave=False, disable=None)
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress:
        for chunk in sources.examples(source):
            numbered = range(start, start + len(chunk)), *zip(*chunk)
            pixels = list((pool.map if large else map)(put, *numbered))
            large = pixels[0] >= decoding.PIXELS_WORTH_THREADS
            start += len(chunk)
            progress.update(len(chunk))
    return images, labels if source.label else None


def _free_memory() -> int:
    """Bytes of memory that can be had: what Linux calls available, elsewhere all there is."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        found = re.search(r"MemAvailable:\s*(\d+) kB", meminfo.read_text())
        if found:
            return int(found.group(1)) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cache_file(source: Source, fingerprint: str, cache: str | None) -> Path | None:
    """Where the decoded arrays are kept; another file as soon as a shard is written anew."""
    if cache is None:
        return None
    folder = Path(cache or os.environ.get("IMGGEN_JAX_CACHE") or "~/.cache/imggen_jax/data").expanduser()
    stamps = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in source.files if file.is_file()]
    return folder / f"{source.builder.info.name}-{sha256(fingerprint, source.label, stamps)[:32]}.npz"


def _read_cache(file: Path | None, shape: tuple[int, ...], labelled: bool) -> Arrays | None:
    """The kept (images, labels), or None if there are none or they are damaged (a zip file has checksums)."""
    if file is None or not file.is_file():
        return None
    try:
        with np.load(file) as kept:
            images, labels = kept["images"], kept["labels"] if labelled else None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        logging.warning("decoding again: the kept %s is damaged (%s)", file, error)
        return None
    right = images.shape == shape and images.dtype == np.uint8
    right &= not labelled or (labels.shape == shape[:1] and labels.dtype == np.int32)
    return (images, labels) if right else None


def _write_cache(file: Path | None, images: np.ndarray, labels: np.ndarray | None) -> None:
    """Keeps the arrays for the next start; the file appears whole or not at all."""
    if file is None:
        return
    partial = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as out:
                np.savez(out, images=images, **({} if labels is None else {"labels": labels}))
            os.replace(partial, file)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        logging.warning("cannot keep decoded pictures in %s (%s); they are decoded again next time", file.parent, error)
