"""Writes the chosen pictures as a TFDS dataset in array_record, which any reader of TFDS opens without this code."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from imggen_jax.data.folders import layout
from imggen_jax.data.folders.layout import Plan
from imggen_jax.data.folders.notes import LEDGER, Kind, as_text
from imggen_jax.data.folders.store import Picture, Store

VERSION = "1.0.0"
_SHARD = 200 * 2**20  # bytes
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


def write(folder: Path, name: str, store: Store, plan: Plan, options: dict) -> None:
    """Writes the shards, features.json and dataset_info.json of dataset `name` into `folder`, which is empty.

    An example has `image` uint8 [S,S,3], `name`, `source`, `licence` and `consent` (text, "" where nothing is said),
    `label`, `caption` and the attributes where there are any. The order is that of the files' sha256: as good as
    shuffled, so a part such as train[:90%] is a fair sample, and the same however the ingestion went.
    """
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(data_dir=folder, dataset_name=name, filetype_suffix="array_record",
                                             template=_TEMPLATE)
    lengths = _write_shards(folder, name, store, plan, options)
    splits = [tfds.core.SplitInfo(name=split, shard_lengths=lengths[split], num_bytes=plan.bytes[split],
                                  filename_template=template) for split in plan.splits]
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=tfds.features.FeaturesDict(_features(plan, options["size"], tfds)),
        split_infos=splits, version=VERSION, filename_template=template, check_data=False,
        supervised_keys=("image", "label") if plan.label else None,
        description="Pictures of one's own, ingested by imggen_jax; README.md and ingest.json tell from what.")


def _features(plan: Plan, size: int, tfds) -> dict:
    def feature(kind: Kind):
        if kind.kind == "class":
            return tfds.features.ClassLabel(names=kind.names)
        return tfds.features.Scalar(np.float32) if kind.kind == "number" else tfds.features.Text()

    features = {"image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                **{key: tfds.features.Text() for key in ("name", *LEDGER)}}
    features |= {"label": feature(plan.label)} if plan.label else {}
    features |= {"caption": tfds.features.Text()} if plan.captions else {}
    return features | {key: feature(kind) for key, kind in plan.columns.items()}


def _write_shards(folder: Path, name: str, store: Store, plan: Plan, options: dict) -> dict[str, list[int]]:
    """Writes every split; how many examples each of its shards holds."""
    from array_record.python.array_record_module import ArrayRecordWriter

    serialise = _serialiser(plan, options["licence"])
    shards = {split: min(1 + plan.bytes[split] // _SHARD, number) for split, number in plan.splits.items()}
    lengths = {split: [0] * number for split, number in shards.items()}
    written, writers = dict.fromkeys(shards, 0), {}
    for picture in store.chosen(pixels=True):
        split = plan.split(picture.name)
        shard = written[split] * shards[split] // plan.splits[split]
        if not lengths[split][shard]:
            if split in writers:
                writers[split].close()
            file = folder / f"{name}-{split}.array_record-{shard:05d}-of-{shards[split]:05d}"
            writers[split] = ArrayRecordWriter(str(file), "group_size:1")
        writers[split].write(serialise(picture))
        lengths[split][shard] += 1
        written[split] += 1
    for writer in writers.values():
        writer.close()
    return lengths


def _serialiser(plan: Plan, licence: str) -> Callable[[Picture], bytes]:
    """Picture -> a tf.train.Example, as TFDS would write it (its own encoder takes ten times as long)."""
    from tensorflow_datasets.proto import tf_example_pb2

    encoders = {key: kind.encoder() for key, kind in plan.columns.items()}
    label = plan.label.encoder() if plan.label else None

    def values(picture: Picture) -> Iterator[tuple[str, bytes | str | int | float]]:
        yield "image", picture.png
        yield "name", picture.name
        yield from ledger(picture, licence).items()
        if label is not None:
            yield "label", label(plan.label_of(picture))
        if plan.captions:
            yield "caption", layout.caption(picture)
        for key, encode in encoders.items():
            yield key, encode(picture.row.get(key))

    def serialise(picture: Picture) -> bytes:
        example = tf_example_pb2.Example()
        for key, value in values(picture):
            feature = example.features.feature[key]
            if isinstance(value, int):
                feature.int64_list.value.append(value)
            elif isinstance(value, float):
                feature.float_list.value.append(value)
            else:
                feature.bytes_list.value.append(value.encode() if isinstance(value, str) else value)
        return example.SerializeToString(deterministic=True)

    return serialise


def ledger(picture: Picture, licence: str) -> dict[str, str]:
    """Source, licence and consent of a picture, "" where nothing is said. licence: of those that state none."""
    told = {key: as_text(picture.row.get(key, "")) for key in LEDGER}
    return told | {"licence": told["licence"] or licence}
