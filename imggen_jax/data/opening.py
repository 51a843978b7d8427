"""Open a dataset, in memory or streamed from disk."""
from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from imggen_jax.data import (
    columns,
    combine,
    cropping,
    decoding,
    records,
    resident,
    scanning,
    sources,
    stacked_mnist,
    streamed,
)
from imggen_jax.data import resize as resizing
from imggen_jax.data import text as captions
from imggen_jax.data.dataset import Dataset, sha256
from imggen_jax.data.decoding import Request
from imggen_jax.errors import DataError, brief
from imggen_jax.spec import Field, Spec, make_spec
from imggen_jax.storage.files import given_path

MEMORY = ("auto", "resident", "stream")


def open_dataset(
    *, name: str, split: str, dir: str = "", size: int = 0, label: str = "", memory: str = "auto", text: str = "",
    crop: int = 0, fields: Sequence[str] = (), cache: str | None = "",
) -> Dataset:
    """Open a split of a dataset. No picture is decoded yet, and all that can be checked without is checked.

    Args:
      name: `name[/config][:version]` of a folder prepared by TFDS in `dir`; "avatars/64x64" or "avatars/32x32",
        which are drawn on the first use, in other styles with "_sketch" or "_night" at the end; or "stacked_mnist",
        which is made from mnist.
      split: a split expression, such as "train", "train[:90%]" or "(train+test)[95%:]".
      dir: TFDS data_dir; "" for TFDS's own ($TFDS_DATA_DIR, or ~/tensorflow_datasets).
      size: side in pixels that pictures are resized to, after they are cropped to their central squares; 0 to keep
        them as they are. Pictures of one example are treated alike.
      label: a class label, which is read as the field "label"; "" for none.
      memory: "resident" to decode everything at the first read and keep it, "stream" to decode what a batch needs when
        it needs it, "auto" to stream, and say so on stderr, only what would take more than half of the free memory.
        The values, their order and the fingerprint are the same.
      text: "bytes:LENGTH" or "words:LENGTH" to read captions as the field "text", int32 [LENGTH]; "" for none.
      crop: side in pixels of the part of a picture that is read: a random one by `read_batch`, else the central one.
        Where an example has pictures of several scales, it is the side of the field "image". 0 for whole pictures.
      fields: image features and class labels to read, each a field of its name, instead of "image" alone. "A|B" stands
        for the field "image", a picture of two side by side, which are read as the fields A (left) and B (right).
      cache: folder for decoded pictures; "" for $IMGGEN_JAX_CACHE or ~/.cache/imggen_jax/data; None for no cache.

    Returns:
      A dataset whose pictures are uint8 [H,W,C], with C 1 or 3, labels int32 [] and text int32 [T].

    Raises:
      DataError: no such dataset, split or feature, an argument out of range, pictures that do not fit in memory where
        they must, or are smaller than `crop`, or do not match each other.
    """
    _check(memory=memory, size=size, crop=crop, fields=fields)
    options: dict[str, Any] = dict(name=name, dir=dir, label=label, memory=memory, text=text, cache=cache)
    if sources.parse_name(name).name == sources.STACKED_MNIST:
        dataset = stacked_mnist.open_stacked(open_dataset, split=split, size=size, fields=fields, **options)
        return cropping.cropped(dataset, crop) if crop else dataset
    pairs = [field for field in fields if "|" in field]
    if pairs:
        if len(pairs) > 1 or "image" in fields:
            raise DataError(f"fields {tuple(fields)!r} use the picture more than once; write one pair, such as "
                            "('source|image',)")
        others = [field for field in fields if field not in pairs]
        return _side_by_side(pairs[0].split("|"), size, crop, open_dataset(
            split=split, size=0, fields=("image", *others), **options))
    return _open(split=split, size=size, crop=crop, fields=fields, **options)


def open_folder(folder: str | os.PathLike[str], *, split: str, **options: Any) -> Dataset:
    """A split of a prepared dataset by its own folder, such as `ingest(...).folder`.

    Args:
      folder: DATA_DIR/NAME[/CONFIG]/VERSION, with dataset_info.json in it.
      split, **options: as for `open_dataset`, but for `name` and `dir`.

    Raises:
      DataError: no prepared dataset is there, it was moved, or as for `open_dataset`.
      RunError: the path is empty.
    """
    path = given_path(folder, "the dataset").absolute()
    try:
        facts = json.loads((path / "dataset_info.json").read_text(encoding="utf-8"))
        parts = [str(facts[key]) for key in ("name", "configName", "version") if key != "configName" or facts.get(key)]
    except FileNotFoundError:
        raise DataError(f"{path} is not the folder of a prepared dataset: it has no dataset_info.json; give "
                        "DATA_DIR/NAME/VERSION, or make a dataset of pictures with imggen_jax.ingest") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path / 'dataset_info.json'} cannot be read ({brief(error)}); prepare the dataset again"
                        ) from error
    if list(path.parts[-len(parts):]) != parts:
        raise DataError(f"{path} was moved: it holds {'/'.join(parts)}, and must lie in folders of these names")
    return open_dataset(name=f"{'/'.join(parts[:-1])}:{parts[-1]}", dir=str(path.parents[len(parts) - 1]), split=split,
                        **options)


def class_labels(*, name: str, split: str = "train", dir: str = "") -> dict[str, tuple[str, ...]]:
    """The class labels of a dataset: {feature: the names of its values}, in the order of the names.

    Left out are those with a single value, and one called "label" that only repeats another.

    Raises DataError: no such dataset or split, or no class label with two values or more.
    """
    if sources.parse_name(name).name == sources.STACKED_MNIST:
        return dict(stacked_mnist.DIGITS)
    source = sources.open_source(name=name, split=split, dir=dir, check=lambda title, features: None)
    labels = columns.class_labels(source.features)
    known = {key: names for key, names in labels.items() if len(names) > 1}
    if not known:
        single = "".join(f"; its {key} has the value {names[0]!r} only" for key, names in labels.items())
        raise DataError(f"dataset {name!r} has no class labels with two values or more{single}; name one that has")
    twins = [key for key, names in known.items() if key != "label" and names == known.get("label")]
    if twins:
        rows = [records.Wanted(key, "label", len(known[key])) for key in ("label", *twins)]
        values = np.array([row for chunk in records.all_rows(source, rows) for row in chunk])
        if any(np.array_equal(values[:, 0], values[:, k]) for k in range(1, len(rows))):
            del known["label"]
    return known


def square_side(dataset: Dataset, field: str = "image") -> int:
    """The side in pixels of pictures that are square and of one size; raises DataError where they are not."""
    height, width, _ = dataset.spec[field].shape
    remedy = "set data.size, to which their central squares are resized, or data.crop, for random crops"
    if height is None or width is None:
        raise DataError(f"pictures of {dataset.title} differ in size; {remedy}")
    if height != width:
        raise DataError(f"pictures of {dataset.title} are {width}x{height}, not square; {remedy}")
    return height


def _check(*, memory: str, size: int, crop: int, fields: Sequence[str]) -> None:
    if memory not in MEMORY:
        raise DataError(f"unknown data.memory {memory!r}; choose one of {', '.join(MEMORY)}")
    for key, value, what in (("size", size, "keep the pictures' own"), ("crop", crop, "read whole pictures")):
        if value < 0:
            raise DataError(f"data {key} {value} is negative; give the side in pixels, or 0 to {what}")
    if size and crop > size:
        raise DataError(f"data.crop {crop} is larger than data.size {size}, to which pictures are resized; set it to "
                        f"at most {size}")
    if isinstance(fields, str) or len(set(fields)) < len(fields):
        raise DataError(f"fields {fields!r} must be a tuple of different names")


def _open(*, name: str, split: str, dir: str, size: int, label: str, memory: str, text: str, crop: int,
          fields: Sequence[str], cache: str | None) -> Dataset:
    wanted = captions.parse_text(text)

    def choose(title: str, features: Mapping[str, Any]) -> dict[str, columns.Column]:
        return columns.choose(title, features, label=label, text=wanted is not None, fields=fields)

    source = sources.open_source(name=name, split=split, dir=dir, check=choose)
    request = Request(source, choose(source.title, source.features), size)
    (first,) = records.open_rows(source, request.wanted)([0])  # damage shows before anything long starts
    sizes = scanning.picture_sizes(request, cache)
    scales = _scales(sizes)
    if crop:
        _check_crop(source.title, sizes, scales, crop)
    spec = _spec(request, sizes, wanted, cache)
    encode = _encoder(source, spec["text"], wanted) if wanted else lambda texts: np.empty((len(texts), 0), np.int32)
    bytes = resident.needed(request, sizes, wanted.length if wanted else 0)
    if _in_memory(memory, request, sizes, bytes):
        read, threads = resident.reader(request, sizes, encode, cache, bytes), 1
    else:
        read = streamed.reader(request, spec, encode)
        threads = streamed.threads(decoding.pixels_of(request, first)) if request.images else 1
    dataset = Dataset(spec, source.examples, read, _fingerprints(request, sizes, spec), threads, source.title)
    return cropping.cropped(dataset, crop, scales) if crop else dataset


def _side_by_side(names: Sequence[str], size: int, crop: int, dataset: Dataset) -> Dataset:
    made = combine.side_by_side(dataset, names)
    made = combine.resized(made, size) if size else made
    return cropping.cropped(made, crop) if crop else made


def _in_memory(memory: str, request: Request, sizes: resident.Sizes, bytes: int) -> bool:
    """Whether a split is kept in memory; raises DataError where it must be and does not fit."""
    if memory == "stream" or bytes <= resident.available():
        return memory != "stream"
    if memory == "resident":
        raise DataError(f"{resident.too_large(request, sizes, bytes)}; set data.memory to 'stream', or take a smaller "
                        "data.size or a part such as train[:10%]")
    print(f"{resident.too_large(request, sizes, bytes)}: its pictures are read and decoded as they are needed "
          "(data.memory)", file=sys.stderr, flush=True)
    return False


def _scales(sizes: resident.Sizes) -> dict[str, int]:
    """How many times larger the pictures of each field are than the smallest; alike in all examples."""
    return decoding.scales("", {field: tuple(each[0].tolist()) for field, each in sizes.items()}, 0) if sizes else {}


def _check_crop(title: str, sizes: resident.Sizes, scales: Mapping[str, int], crop: int) -> None:
    sides = cropping.sides(title, crop, scales)
    for field, each in sizes.items():
        small = np.flatnonzero(each.min(axis=1) < sides[field])
        if len(small):
            height, width = each[small[0]]
            raise DataError(f"{len(small)} pictures of {title} are smaller than the crop of {sides[field]}x"
                            f"{sides[field]}, example {small[0]} is {width}x{height}; set data.crop to at most "
                            f"{each.min() * crop // sides[field]}")


def _spec(request: Request, sizes: resident.Sizes, wanted: captions.Wanted | None, cache: str | None) -> Spec:
    spec = {}
    for field, column in request.columns.items():
        if column.kind == "image":
            shape = tuple(sizes[field][0].tolist()) if len(sizes[field]) == 1 else (None, None)
            spec[field] = Field((*shape, column.channels), "uint8")
        elif column.kind == "label":
            spec[field] = Field((), "int32", column.names)
        elif wanted is not None:
            words = scanning.vocabulary(request.source, column, cache) if wanted.kind == "words" else ()
            spec[field] = captions.text_field(wanted, words)
    return make_spec(**spec)


def _encoder(source: sources.Source, field: Field, wanted: captions.Wanted) -> captions.Encode:
    """list of captions -> int32 [n,T]; says once on stderr that captions are cut, where some are."""
    tokenizer, lock, told = captions.tokenizer_of(field), threading.Lock(), []

    def encode(texts: list[str]) -> np.ndarray:
        tokens, cut = tokenizer.encode(texts)
        if cut and not told:
            with lock:
                if not told:
                    told.append(True)
                    number = f"{'' if len(texts) == source.examples else 'the first '}{len(texts):,}"
                    print(f"{source.title}: {cut:,} of {number} captions are longer than "
                          f"{wanted.length} {wanted.kind}; their ends are cut off (data.text)", file=sys.stderr,
                          flush=True)
        return tokens

    return encode


def _fingerprints(request: Request, sizes: resident.Sizes, spec: Spec) -> dict[str, str]:
    """For each field a sha256 hex over what decides its values and their order."""
    known = scanning.identities(request.source, {column.feature for column in request.columns.values()})
    marks = {}
    for field, column in request.columns.items():
        more: tuple[object, ...] = ()
        if column.kind == "image":  # the same whether pictures are resized to their own size or kept
            more = (column.channels, sizes[field].tolist() if len(sizes[field]) == 1 else None, resizing.RECIPE)
        elif column.kind == "text":
            more = (captions.identity(spec[field]),)
        marks[field] = sha256(known[column.feature], column.kind, *more)
    return marks
