"""Where datasets come from: a name becomes a folder prepared by TFDS, and the folder becomes encoded examples.

A TFDS data_dir holds <name>/[<config>/]<version>/ with dataset_info.json, features.json and the shards. The folder
says all there is to know, so stock datasets and a user's own are read alike, without the code that made them, without
TensorFlow and without the network.
"""
from __future__ import annotations

import difflib
import json
import os
import re
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from imggen_jax.errors import DataError

CHUNK = 256  # examples read at a time
AVATARS = "avatars"
STACKED_MNIST = "stacked_mnist"
BUILT_IN = (AVATARS, STACKED_MNIST)

_NAME = re.compile(r"(?P<name>\w[\w.-]*)(/(?P<config>\w[\w.+=-]*))?(:(?P<version>\d+\.\d+\.\d+))?")
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")  # the last in files of old versions of TFDS
_VERSION = re.compile(r"\d+\.\d+\.\d+")


class Name(NamedTuple):
    """A dataset's name, taken apart: name[/config][:version]."""

    name: str
    config: str | None
    version: str | None


class Source(NamedTuple):
    """One split of a prepared dataset, checked, not yet read."""

    title: str                            # what to call it in a message: name[/config]:version, split
    builder: Any                          # tfds.core.ReadOnlyBuilder
    split: str                            # TFDS split expression
    examples: int                         # > 0
    image: str                            # name of the image feature
    shape: tuple[int | None, int | None]  # height and width, None where they differ from example to example
    channels: int                         # 1 or 3
    label: str                            # name of the ClassLabel feature, "" for none
    label_names: tuple[str, ...]
    files: tuple[Path, ...]               # the shards that hold the split
    identity: str                         # all that decides the bytes of the examples, cheap to compute


def parse_name(text: str) -> Name:
    """"name[/config][:version]" -> Name; raises DataError."""
    match = _NAME.fullmatch(text)
    if match is None:
        raise DataError(f"dataset name {text!r} is not of the form name[/config][:version], such as 'avatars/32x32' "
                        "or 'mnist:3.0.1'")
    return Name(**match.groupdict())


def data_dir(dir: str) -> Path:
    """The folder of prepared datasets: `dir`, or for "" TFDS's own, $TFDS_DATA_DIR or ~/tensorflow_datasets."""
    if "://" in dir:
        raise DataError(f"data dir {dir!r} is not a local folder; copy the prepared dataset to a disk first")
    return Path(dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def prepared(root: Path) -> list[str]:
    """Names of the datasets prepared in `root`, as name or name/config, sorted."""
    names = []
    for folder in _folders(root):
        names += [folder.name] if _versions(folder) else []
        names += [f"{folder.name}/{config.name}" for config in _folders(folder) if _versions(config)]
    return names


def open_source(*, name: str, split: str, dir: str, label: str) -> Source:
    """Finds the dataset, its newest version unless one is named, and checks all that needs no example to be read.

    Avatars that are not prepared yet are drawn now. Nothing here touches the network. Raises DataError.
    """
    wanted, root = parse_name(name), data_dir(dir)
    folder = find_prepared(wanted, root)
    if folder is None and wanted.name == AVATARS:
        folder = draw_avatars(wanted, root, split=split, label=label)
    if folder is None:
        raise _not_found(name, wanted, root, dir)
    import tensorflow_datasets as tfds  # here and not above: half a second that not every program needs

    try:
        _refuse_code(folder)
        builder = tfds.builder_from_directory(folder)
        info, features = builder.info, builder.info.features
    except DataError:
        raise
    except Exception as error:  # whatever a damaged JSON file makes the parsers inside TFDS raise
        raise DataError(f"dataset_info.json or features.json in {folder} cannot be read ({brief(error)}); "
                        "prepare the dataset again") from error
    called = info.full_name.rsplit("/", 1)
    called = f"{called[0]}:{called[1]}"
    if info.file_format is None or info.file_format.value not in ("array_record", "tfrecord"):
        raise DataError(f"{called} is stored as {info.file_format and info.file_format.value}; prepare it as "
                        "array_record")
    image = _image_feature(called, features, tfds)
    label_names = _label_names(called, features, label, tfds)
    height, width, channels = features[image].shape
    span = _span(called, info.splits, split)
    # The same avatars are drawn everywhere, but packed by each machine's own zlib.
    stored = () if info.name == AVATARS else [
        (key, info.splits[key].num_bytes, info.splits[key].shard_lengths) for key in sorted(info.splits)]
    return Source(
        title=f"{called}, split {split!r}", builder=builder, split=split, examples=span.num_examples, image=image,
        shape=(height, width), channels=1 if channels == 1 else 3, label=label, label_names=label_names,
        files=tuple(Path(part.filename) for part in span.file_instructions),
        identity=repr((called, split, span.num_examples, image, (height, width, channels), stored)))


def examples(source: Source) -> Iterator[list[tuple[bytes, int]]]:
    """Lists of (encoded picture, label) in the order of the split; the label is -1 where none is asked for.

    Raises DataError naming the first example that cannot be read.
    """
    read = open_reader(source)
    for start in range(0, source.examples, CHUNK):
        yield read(range(start, min(start + CHUNK, source.examples)))


def open_reader(source: Source) -> Callable[[Sequence[int]], list[tuple[bytes, int]]]:
    """A function from places in the split, in any order, to a list of (encoded picture, label); for many threads.

    Nothing is read yet, but for the lengths of the records of TFRecord files. Raises DataError, and so does the
    function, naming the first of its examples that cannot be read.
    """
    from tensorflow_datasets.proto import tf_example_pb2

    read = _open_records(source)

    def parse(index: int, record: bytes) -> tuple[bytes, int]:
        try:
            feature = tf_example_pb2.Example.FromString(record).features.feature
            label = feature[source.label].int64_list.value[0] if source.label else -1
            data = feature[source.image].bytes_list.value[0]
        except Exception as error:  # protobuf's DecodeError, or an IndexError where a feature is missing
            raise broken(source, index, error) from error
        if source.label and not 0 <= label < len(source.label_names):
            raise DataError(f"example {index} of {source.title} has the {source.label} {label}, outside "
                            f"[0, {len(source.label_names)}); choose another split or label")
        return data, label

    return lambda indices: [parse(index, record) for index, record in zip(indices, read(indices))]


def class_labels(source: Source) -> dict[str, tuple[str, ...]]:
    """{feature of type ClassLabel: the names of its values}, in the order of the names, without those of one value."""
    import tensorflow_datasets as tfds

    return {key: tuple(feature.names) for key, feature in sorted(source.builder.info.features.items())
            if isinstance(feature, tfds.features.ClassLabel) and (feature.num_classes or 0) > 1}


def attributes(source: Source, names: Sequence[str]) -> np.ndarray:
    """Several labels of every example, without decoding a picture: int32 [N,len(names)].

    Raises DataError naming the first example that cannot be read, or has a label outside its range.
    """
    from tensorflow_datasets.proto import tf_example_pb2

    known, read, rows = class_labels(source), _open_records(source), []
    for start in range(0, source.examples, CHUNK):
        for index, record in enumerate(read(range(start, min(start + CHUNK, source.examples))), start):
            try:
                feature = tf_example_pb2.Example.FromString(record).features.feature
                row = [feature[name].int64_list.value[0] for name in names]
            except Exception as error:  # as in `open_reader`
                raise broken(source, index, error) from error
            for name, label in zip(names, row):
                if not 0 <= label < len(known[name]):
                    raise DataError(f"example {index} of {source.title} has the {name} {label}, outside "
                                    f"[0, {len(known[name])}); choose another split or label")
            rows.append(row)
    return np.array(rows, np.int32).reshape(len(rows), len(names))


def broken(source: Source, index: int, error: Exception) -> DataError:
    """The error that names the example which cannot be read."""
    return DataError(f"example {index} of {source.title} cannot be read ({brief(error)}); "
                     f"repair or prepare again {source.files[0].parent}")


def find_prepared(wanted: Name, root: Path) -> Path | None:
    """The folder of the prepared version that is wanted, or None; raises DataError where the name leaves a choice."""
    folder = root / wanted.name / (wanted.config or "")
    versions = _versions(folder)
    if not versions and wanted.config is None and wanted.name != AVATARS:
        configs = [config for config in _folders(folder) if _versions(config)]
        if len(configs) > 1:
            raise DataError(f"dataset {wanted.name!r} in {root} has several configs; name one: "
                            + ", ".join(f"{wanted.name}/{config.name}" for config in configs))
        versions = _versions(configs[0]) if configs else []
    if wanted.version and versions and wanted.version not in [version.name for version in versions]:
        raise DataError(f"dataset {wanted.name!r} is prepared in {root} as version "
                        + ", ".join(version.name for version in versions) + f", not as {wanted.version}")
    chosen = [version for version in versions if wanted.version in (None, version.name)]
    return chosen[-1] if chosen else None


def draw_avatars(wanted: Name, root: Path, *, split: str, label: str) -> Path:
    """Prepares avatars in `root`, after checking that they have such a split and label; returns their folder."""
    import tensorflow_datasets as tfds

    from imggen_jax.data import avatars

    if wanted.config is None:
        raise DataError("dataset 'avatars' comes in several sizes; name one, such as avatars/32x32 or avatars/64x64")
    try:
        builder = avatars.builder(wanted.config, str(root))
    except ValueError as error:
        raise DataError(str(error)) from error
    if wanted.version not in (None, str(builder.version)):
        raise DataError(f"avatars/{wanted.config} has the version {builder.version}, not {wanted.version}")
    config = builder.builder_config
    part_of(f"avatars/{config.name}", split, {"train": config.train, "test": config.test})
    _label_names(f"avatars/{config.name}", builder.info.features, label, tfds)
    print(f"drawing avatars/{config.name} into {root}: once, about a minute", file=sys.stderr, flush=True)
    try:
        builder.download_and_prepare(file_format="array_record")
    except OSError as error:
        if find_prepared(wanted, root) is None:  # otherwise another process was quicker, which is as good
            raise DataError(f"cannot write avatars/{config.name} into {root} ({brief(error)}); "
                            "set data.dir to a folder that can be written") from error
    return Path(builder.data_dir)


def _refuse_code(folder: Path) -> None:
    """TFDS imports whatever module features.json names as the class of a feature; only its own are let through."""
    def names(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            yield from (part[key] for key in _CLASS_KEYS if isinstance(part.get(key), str))
        for child in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            yield from names(child)

    for name in names(json.loads((folder / "features.json").read_text(encoding="utf-8"))):
        if not name.startswith("tensorflow_datasets.core.features."):
            raise DataError(f"features.json in {folder} names code, {name!r}, which would be run; only TFDS's own "
                            "features are read: prepare the dataset again with those")


def part_of(called: str, split: str, lengths: dict[str, int]) -> list[tuple[str, int, int]]:
    """A TFDS split expression over splits of known lengths -> [(split, start, stop)]; raises DataError."""
    import tensorflow_datasets as tfds

    infos = {key: SimpleNamespace(num_examples=length) for key, length in lengths.items()}
    try:
        parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
    except (ValueError, AttributeError) as error:  # an AttributeError where shards are asked for: there are none yet
        raise _no_such_split(called, split, lengths) from error
    spans = [(part.splitname, part.from_ or 0, lengths[part.splitname] if part.to is None else part.to)
             for part in parts]
    if any(start >= stop for _, start, stop in spans):
        raise _no_such_split(called, split, lengths)
    return spans


def _no_such_split(called: str, split: str, lengths: dict[str, int]) -> DataError:
    there = ", ".join(f"{key} ({length})" for key, length in lengths.items())
    return DataError(f"{called} has no split {split!r}, or nothing is in it; splits are: {there}; parts of one are "
                     "written such as train[:90%]")


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []


def _versions(folder: Path) -> list[Path]:
    """Prepared versions in `folder`, oldest first; what a killed preparation left is named otherwise."""
    complete = [child for child in _folders(folder) if _VERSION.fullmatch(child.name)
                and (child / "features.json").is_file() and (child / "dataset_info.json").is_file()]
    return sorted(complete, key=lambda child: tuple(int(part) for part in child.name.split(".")))


def _not_found(name: str, wanted: Name, root: Path, dir: str) -> DataError:
    import tensorflow_datasets as tfds

    here = prepared(root)
    if wanted.name in tfds.list_builders(with_community_datasets=False):
        where = f" --dir {dir}" if dir else ""
        return DataError(f"dataset {name!r} is not prepared in {root}; prepare it once: "
                         f"python -m imggen_jax.main prepare --name {name}{where}")
    close = difflib.get_close_matches(name, here + [f"{AVATARS}/32x32", f"{AVATARS}/64x64", STACKED_MNIST])
    hint = f"did you mean {' or '.join(close)}?" if close else f"prepared there: {', '.join(here) or 'nothing'}"
    return DataError(f"dataset {name!r} is not in {root}, not built in and not known to TFDS; {hint}")


def _image_feature(called: str, features: Any, tfds: Any) -> str:
    """The feature "image", or the only one that holds a picture."""
    images = sorted(key for key, feature in features.items() if isinstance(feature, tfds.features.Image))
    if "image" not in images and len(images) != 1:
        raise DataError(f"{called} has {len(images) or 'no'} image features"
                        + (f" ({', '.join(images)}) and none named 'image'" if images else "")
                        + f"; its features are {', '.join(sorted(features))}")
    image = "image" if "image" in images else images[0]
    if features[image].np_dtype != "uint8":
        raise DataError(f"{called} has pictures of {features[image].np_dtype}; only 8-bit pictures can be read")
    return image


def _label_names(called: str, features: Any, label: str, tfds: Any) -> tuple[str, ...]:
    if not label:
        return ()
    labels = {key: feature for key, feature in features.items()
              if isinstance(feature, tfds.features.ClassLabel) and feature.num_classes}
    if label not in labels:
        kind = "is not a class label" if label in features else "is not there"
        raise DataError(f"label {label!r} of {called} {kind}; class labels are: {', '.join(labels) or 'none'}")
    return tuple(labels[label].names)


def _span(called: str, splits: Any, split: str) -> Any:
    """The part of the dataset that a split expression names; raises DataError."""
    lengths = {key: splits[key].num_examples for key in splits}
    try:
        span = splits[split]
        takes = [part.take for part in span.file_instructions]
    except Exception as error:  # KeyError, ValueError or AssertionError, by the kind of mistake
        raise _no_such_split(called, split, lengths) from error
    if not takes or min(takes) <= 0:  # train[10:5] is -5 examples to TFDS
        raise _no_such_split(called, split, lengths)
    return span


def _open_records(source: Source) -> Callable[[Sequence[int]], list[bytes]]:
    """A function from places in the split to serialised tf.train.Example records."""
    import tensorflow_datasets as tfds

    missing = [file for file in source.files if not file.is_file()]
    if missing:
        raise DataError(f"{source.title}: the file {missing[0]} is missing; prepare the dataset again")
    if source.builder.info.file_format.value == "tfrecord":
        return _open_tfrecords(source)
    try:
        reader = source.builder.as_data_source(source.split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
    except Exception as error:  # array_record raises errors of many types for a damaged shard
        raise broken(source, 0, error) from error

    def read(indices: Sequence[int]) -> list[bytes]:
        try:
            return reader.__getitems__(list(indices))
        except Exception as error:
            raise broken(source, _first_broken(reader, indices), error) from error

    return read


def _first_broken(reader: Any, indices: Sequence[int]) -> int:
    for index in indices:
        try:
            reader[index]
        except Exception:  # noqa: BLE001 - of the many types of error above
            return index
    return indices[0]


def _open_tfrecords(source: Source) -> Callable[[Sequence[int]], list[bytes]]:
    """Reads TFRecord files, TFDS's default format: uint64 length, uint32 CRC, the record, uint32 CRC, little-endian.

    https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
    There is no index, so the lengths are read first, each from where the one before it says.
    """
    parts = source.builder.info.splits[source.split].file_instructions
    takes = [part.take for part in parts]
    file_of = np.repeat(np.arange(len(parts)), takes)  # of each example
    firsts = np.cumsum([0, *takes])
    spans = np.concatenate([_tfrecord_spans(source, part, first) for part, first in zip(parts, firsts)])
    files = [open(part.filename, "rb", buffering=0) for part in parts]  # open as long as the reader is

    def read(indices: Sequence[int]) -> list[bytes]:
        records = []
        for index in indices:
            start, length = spans[index]
            record = os.pread(files[file_of[index]].fileno(), length, start)
            if len(record) != length:
                raise broken(source, index, EOFError(f"{files[file_of[index]].name} is damaged or cut short"))
            records.append(record)
        return records

    return read


def _tfrecord_spans(source: Source, part: Any, first: int) -> np.ndarray:
    """Where the records of a file's part lie, example `first` and on: int64 [take,2] of start and length in bytes."""
    spans, place, size = np.empty((part.skip + part.take, 2), np.int64), 0, os.path.getsize(part.filename)
    with open(part.filename, "rb") as file:
        for number in range(len(spans)):
            file.seek(place)
            header = file.read(12)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else 0
            if not length or place + length + 16 > size:
                raise broken(source, first + max(number - part.skip, 0), EOFError(
                    f"{part.filename} is damaged or cut short"))
            spans[number] = place + 12, length
            place += length + 16
    return spans[part.skip:]


def brief(error: Exception) -> str:
    """The type and the first line of an error, for a message of one line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"[:200]
