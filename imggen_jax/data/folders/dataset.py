"""Writes the chosen pictures as a TFDS dataset in array_record, which any reader of TFDS opens without this code."""
from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from imggen_jax.data.folders import worker
from imggen_jax.data.folders.layout import Plan
from imggen_jax.data.folders.notes import LEDGER, Kind, as_text
from imggen_jax.data.folders.store import Picture, Store

WORDS = "words.json"
_SHARD = 200 * 2**20  # bytes
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


class Form(NamedTuple):
    """What an example has besides the plan's labels, captions and attributes."""

    size: int      # side in pixels of every picture, 0 where each has its own
    license: str   # of pictures for which no table names one
    source: bool   # whether there is a feature `source`, the picture from which `image` is to be made
    mask: bool     # whether there is a feature `mask`
    domain: bool   # whether the sub-folders are the feature `domain` instead of `label`


def write(folder: Path, name: str, version: str, store: Store, plan: Plan, form: Form, words: tuple[str, ...]) -> None:
    """Writes the shards, features.json, dataset_info.json and words.json of a dataset into a folder, which is empty.

    An example has `image` uint8 [S,S,3], or [H,W,3] where pictures keep their own size; where there are, `source` of
    the same shape and `mask` uint8 [S,S,1]; `name`, `origin`, `license` and `consent` (text, "" where nothing is
    said); `label` or `domain`, `caption` and the attributes where there are any. The order is that of the pixels'
    sha256: as good as shuffled, so a part such as train[:90%] is a fair sample, and the same however the files are
    called. words.json holds the words of the captions in the split train, the most frequent first.
    """
    import tensorflow_datasets as tfds

    where = tfds.core.Path(folder)
    template = tfds.core.ShardedFileTemplate(data_dir=where, dataset_name=name, filetype_suffix="array_record",
                                             template=_TEMPLATE)
    lengths = _write_shards(folder, name, store, plan, form)
    splits = [tfds.core.SplitInfo(name=split, shard_lengths=lengths[split], num_bytes=plan.bytes[split],
                                  filename_template=template) for split in plan.splits]
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=tfds.features.FeaturesDict(_features(plan, form, tfds)),
        split_infos=splits, version=version, filename_template=template, check_data=False,
        supervised_keys=("image", label_name(form)) if plan.label else None,
        description="Pictures of one's own, ingested by imggen_jax; README.md and ingest.json tell from what.")
    if words:
        (folder / WORDS).write_text(json.dumps({"words": words}, ensure_ascii=False) + "\n", encoding="utf-8")


def label_name(form: Form) -> str:
    """The feature that sub-folders or a table's column label become."""
    return "domain" if form.domain else "label"


def _features(plan: Plan, form: Form, tfds: ModuleType) -> dict[str, Any]:
    def feature(kind: Kind):
        if kind.kind == "class":
            return tfds.features.ClassLabel(names=kind.names)
        return tfds.features.Scalar(np.float32) if kind.kind == "number" else tfds.features.Text()

    def picture(channels: int):
        side = form.size or None
        return tfds.features.Image(shape=(side, side, channels), encoding_format="png" if side else None)

    features = {"image": picture(3)} | ({"source": picture(3)} if form.source else {})
    features |= {"mask": picture(1)} if form.mask else {}
    features |= {key: tfds.features.Text() for key in ("name", *LEDGER)}
    features |= {label_name(form): feature(plan.label)} if plan.label else {}
    features |= {"caption": tfds.features.Text()} if plan.captions else {}
    return features | {key: feature(kind) for key, kind in plan.columns.items()}


def _write_shards(folder: Path, name: str, store: Store, plan: Plan, form: Form) -> dict[str, list[int]]:
    """Writes every split; how many examples each of its shards holds."""
    from array_record.python.array_record_module import ArrayRecordWriter

    serialize = _serializer(plan, form)
    shards = {split: min(1 + plan.bytes[split] // _SHARD, number) for split, number in plan.splits.items()}
    lengths = {split: [0] * number for split, number in shards.items()}
    written, writers = dict.fromkeys(shards, 0), {}
    for picture in store.chosen(pixels=True):
        split = plan.split(picture)
        shard = written[split] * shards[split] // plan.splits[split]
        if not lengths[split][shard]:
            if split in writers:
                writers[split].close()
            file = folder / f"{name}-{split}.array_record-{shard:05d}-of-{shards[split]:05d}"
            writers[split] = ArrayRecordWriter(str(file), "group_size:1")
        writers[split].write(serialize(picture))
        lengths[split][shard] += 1
        written[split] += 1
    for writer in writers.values():
        writer.close()
    return lengths


def fields(plan: Plan, form: Form) -> Callable[[Picture], Iterator[tuple[str, str | int | float]]]:
    """Picture -> (feature, value) of all its features but the pictures, in an order that is always the same."""
    encoders = {key: kind.encoder() for key, kind in plan.columns.items()}
    label = plan.label.encoder() if plan.label else None

    def values(picture: Picture) -> Iterator[tuple[str, str | int | float]]:
        yield "name", picture.name
        yield from ledger(picture, form.license).items()
        if label is not None:
            yield label_name(form), label(plan.label_of(picture))
        if plan.captions:
            yield "caption", picture.caption
        for key, encode in encoders.items():
            yield key, encode(picture.row.get(key))

    return values


def _serializer(plan: Plan, form: Form) -> Callable[[Picture], bytes]:
    """Picture -> a tf.train.Example, as TFDS would write it (its own encoder takes ten times as long)."""
    from tensorflow_datasets.proto import tf_example_pb2

    values = fields(plan, form)

    def serialize(picture: Picture) -> bytes:
        example = tf_example_pb2.Example()  # pyright: ignore[reportAttributeAccessIssue]  protobuf makes it on import
        pictures = {"image": picture.png} | ({"source": picture.source} if form.source else {})
        pictures |= {"mask": _gray(picture.mask)} if form.mask else {}
        for key, value in (*pictures.items(), *values(picture)):
            feature = example.features.feature[key]
            if isinstance(value, int):
                feature.int64_list.value.append(value)
            elif isinstance(value, float):
                feature.float_list.value.append(value)
            else:
                feature.bytes_list.value.append(value.encode() if isinstance(value, str) else value)
        return example.SerializeToString(deterministic=True)

    return serialize


def _gray(png: bytes) -> bytes:
    """A PNG of one channel."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        worker.save_png(picture.convert("L"), out)
    return out.getvalue()


def ledger(picture: Picture, license: str) -> dict[str, str]:
    """Origin, license and consent of a picture, "" where nothing is said. license: of those that state none."""
    told = {key: as_text(picture.row.get(key, "")) for key in LEDGER}
    return told | {"license": told["license"] or license}
