"""Datasets that fit in memory: decoded once, kept as uint8, drawn from by a function of (seed, step).

Decoding is what costs (6 s for MNIST, 10 s for CIFAR-10 on two busy cores), so the decoded arrays are kept in a
cache folder and a second start takes them from there in half a second. There is no iterator, hence no place in the data
to be saved.
"""
from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import logging
import math
import os
import re
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tqdm
from PIL import Image

from imggen_jax.data import resize as resizing
from imggen_jax.data import sources, stacked_mnist
from imggen_jax.data.sources import DataError, Source

# Below this many pixels Pillow spends its time in Python, where threads wait for each other (measured).
_PIXELS_WORTH_THREADS = 128 * 128
_EIGHT_BIT = {"1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"}

Arrays = tuple[np.ndarray, np.ndarray | None]  # images uint8 [N,S,S,C], labels int32 [N]


class Dataset(NamedTuple):
    """A dataset in memory."""

    images: np.ndarray            # uint8 [N,S,S,C], C 1 or 3, read-only
    labels: np.ndarray | None     # int32 [N] in [0, classes), read-only
    classes: int                  # 0 without labels
    label_names: tuple[str, ...]  # one a class
    fingerprint: str              # sha256 hex over what decides the pixels: source, version, split, size, resizing


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
    source, shape = _open(name=name, split=split, dir=dir, size=size, label=label)
    side = shape[1]
    fingerprint = _sha256(source.identity, side, resizing.RECIPE)
    file = _cache_file(source, fingerprint, cache)
    kept = _read_cache(file, shape, bool(label))
    if kept is None:
        kept = _decode_all(source, shape, crop=size > 0)
        _write_cache(file, *kept)
    return _dataset(*kept, source.label_names, fingerprint)


class Facts(NamedTuple):
    """What is known of a dataset before any picture is decoded."""

    size: int      # side in pixels
    channels: int  # 1 or 3
    classes: int   # 0 without labels


def peek(*, name: str, split: str, dir: str, size: int, label: str) -> Facts:
    """What `load` with the same arguments will give; raises its DataErrors but for pictures found broken in decoding.

    Takes a second or two, unless it is avatars' first use: they are drawn then.
    """
    if sources.parse_name(name).name == sources.STACKED_MNIST:
        base, start, stop = _check_stacked_mnist(name=name, split=split, size=size, label=label)
        with _explained():
            _open(name="mnist", split=base, dir=dir, size=28, label="label")
        return Facts(size or stacked_mnist.SIZE, 3, stacked_mnist.CLASSES if label else 0)
    source, shape = _open(name=name, split=split, dir=dir, size=size, label=label)
    return Facts(shape[1], shape[3], len(source.label_names))


def batch_indices(n: int, *, seed: int, step: int, batch: int) -> np.ndarray:
    """The examples of step `step`: int64 [batch] in [0, n), a function of the arguments alone.

    Every epoch is a fresh permutation drawn from (seed, epoch); batches run across the ends of epochs, so each image
    comes exactly once an epoch whatever the batch. Any step is reached at once; the last permutations are kept.
    """
    if n < 1 or batch < 1 or step < 0 or seed < 0:
        raise ValueError(f"batch_indices needs n and batch >= 1, step and seed >= 0; got {n=}, {batch=}, {step=}, "
                         f"{seed=}")
    epochs, places = np.divmod(np.arange(step * batch, (step + 1) * batch, dtype=np.int64), n)
    return np.concatenate([_permutation(n, seed, int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)])


def gather(dataset: Dataset, indices: np.ndarray) -> dict[str, np.ndarray]:
    """int [B] -> {"image": uint8 [B,S,S,C], "label": int32 [B]}; without "label" where the dataset has none."""
    batch = {"image": dataset.images[indices]}
    if dataset.labels is not None:
        batch["label"] = dataset.labels[indices]
    return batch


@functools.lru_cache(maxsize=4)
def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    """int64 [n]. Sorts raw bits, which never change between NumPy releases; Generator.permutation may (NEP 19)."""
    raw = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(n)
    permutation = np.argsort(raw, kind="stable")
    permutation.flags.writeable = False
    return permutation


def _dataset(images: np.ndarray, labels: np.ndarray | None, names: tuple[str, ...], fingerprint: str) -> Dataset:
    for array in (images, labels):
        if array is not None:
            array.flags.writeable = False
    return Dataset(images, labels, len(names), names, fingerprint)


def _open(*, name: str, split: str, dir: str, size: int, label: str) -> tuple[Source, tuple[int, int, int, int]]:
    """The source and the shape [N,S,S,C] that it will have in memory, after all checks that need no decoding."""
    _check_size(size)
    source = sources.open_source(name=name, split=split, dir=dir, label=label)
    side = size or _own_side(source)
    shape = (source.examples, side, side, source.channels)
    _check_memory(source.title, shape)
    return source, shape


def _load_stacked_mnist(*, name: str, split: str, dir: str, size: int, label: str, cache: str | None) -> Dataset:
    base, start, stop = _check_stacked_mnist(name=name, split=split, size=size, label=label)
    with _explained():
        digits = load(name="mnist", split=base, dir=dir, size=28, label="label", cache=cache)
    chosen = stacked_mnist.choose(len(digits.images), stacked_mnist.EXAMPLES[base], split=base)[start:stop]
    images, labels = stacked_mnist.stack(digits.images, digits.labels, chosen)
    side = size or stacked_mnist.SIZE
    if side != stacked_mnist.SIZE:
        images = resizing.resize(images, side)
    fingerprint = _sha256(stacked_mnist.RECIPE, digits.fingerprint, start, stop, side, resizing.RECIPE)
    if not label:
        return _dataset(images, None, (), fingerprint)
    return _dataset(images, labels, stacked_mnist.LABEL_NAMES, fingerprint)


def _check_stacked_mnist(*, name: str, split: str, size: int, label: str) -> tuple[str, int, int]:
    """The split of mnist and the first and last (excluded) picture that are asked for; raises DataError."""
    _check_size(size)
    if name != sources.STACKED_MNIST:
        raise DataError(f"dataset {name!r}: stacked_mnist has no configs or versions; name it 'stacked_mnist'")
    if label not in ("", "label"):
        raise DataError(f"label {label!r} of stacked_mnist is not there; class labels are: label")
    parts = sources.part_of(name, split, stacked_mnist.EXAMPLES)
    if len(parts) > 1:
        raise DataError(f"split {split!r} of stacked_mnist joins several; take train, test or a part of one")
    ((base, start, stop),) = parts
    side = size or stacked_mnist.SIZE
    _check_memory(f"stacked_mnist, split {split!r}", (stop - start, side, side, 3))
    return base, start, stop


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Says in an error about mnist why it is wanted."""
    try:
        yield
    except DataError as error:
        raise DataError(f"stacked_mnist is made from mnist: {error}") from error


def _check_size(size: int) -> None:
    if size < 0:
        raise DataError(f"data size {size} is negative; give the side in pixels, or 0 to keep the pictures' own")


def _own_side(source: Source) -> int:
    """The side of the dataset's pictures, which are to be kept as they are; raises DataError if not square."""
    height, width = source.shape
    if height is None or width is None:
        data, _ = next(sources.examples(source))[0]
        width, height = _decode(source, 0, data).size
    if height != width:
        raise DataError(f"pictures of {source.title} are {width}x{height}, not square; set data.size, to which their "
                        "central squares are resized")
    return height


def _decode_all(source: Source, shape: tuple[int, ...], *, crop: bool) -> Arrays:
    """Decodes, crops and resizes the whole split."""
    images = np.empty(shape, np.uint8)
    labels = np.empty(len(images), np.int32)
    side = shape[1]

    def put(index: int, data: bytes, label: int) -> int:
        picture = _decode(source, index, data)
        if not crop and picture.size != (side, side):
            raise DataError(f"pictures of {source.title} differ in size: example {index} is {picture.width}x"
                            f"{picture.height}, others {side}x{side}; set data.size, to which they are resized")
        images[index], labels[index] = resizing.as_array(resizing.square(picture, side)), label
        return picture.width * picture.height

    start, large = 0, False
    progress = tqdm.tqdm(total=len(images), desc=f"decoding {source.title}", unit=" images", delay=2, mininterval=1,
                         leave=False, disable=None)
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress:
        for chunk in sources.examples(source):
            numbered = range(start, start + len(chunk)), *zip(*chunk)
            pixels = list((pool.map if large else map)(put, *numbered))
            large = pixels[0] >= _PIXELS_WORTH_THREADS
            start += len(chunk)
            progress.update(len(chunk))
    if start != len(images):
        raise DataError(f"{source.title} has {start} examples instead of {len(images)}; prepare the dataset again")
    return images, labels if source.label else None


def _decode(source: Source, index: int, data: bytes) -> Image.Image:
    """An encoded picture -> mode L (one channel) or RGB, transparency over white, of an animation the first frame."""
    try:
        picture = Image.open(io.BytesIO(data))
        if picture.mode not in _EIGHT_BIT:
            raise ValueError(f"mode {picture.mode} is not 8-bit")
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        mode = "L" if source.channels == 1 else "RGB"
        if picture.mode != mode:
            picture = picture.convert(mode)
        picture.load()
    except Exception as error:  # for broken files Pillow raises OSError, SyntaxError, struct.error, EOFError and others
        raise sources.broken(source, index, error) from error
    declared = source.shape
    if (declared[0] or picture.height, declared[1] or picture.width) != (picture.height, picture.width):
        raise sources.broken(source, index, ValueError(
            f"it is {picture.width}x{picture.height} and the dataset says {declared[1]}x{declared[0]}"))
    return picture


def _check_memory(title: str, shape: tuple[int, ...]) -> None:
    need, free = math.prod(shape), _free_memory()
    if need > free // 2:
        raise DataError(f"{title} decoded to {shape[1]}x{shape[2]} takes {need / 2**30:.1f} GiB, more than half of the "
                        f"{free / 2**30:.1f} GiB of free memory; take a smaller data.size or a part such as "
                        "train[:10%]")


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
    return folder / f"{source.builder.info.name}-{_sha256(fingerprint, source.label, stamps)[:32]}.npz"


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


def _sha256(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
