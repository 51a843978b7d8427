"""Read the records of a split, in any order and by many threads, from array_record or TFRecord files."""
from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from imggen_jax.data.sources import Source
from imggen_jax.errors import DataError, brief

CHUNK = 256  # examples read at a time where all are read

Row = tuple[Any, ...]  # what is read of an example, in the order in which it is wanted
Records = Callable[[Sequence[int]], list[bytes]]


class Wanted(NamedTuple):
    """One feature of an example."""

    feature: str
    kind: str       # "image" or "text": bytes; "label": int
    classes: int = 0  # of a label


def open_rows(source: Source, wanted: Sequence[Wanted]) -> Callable[[Sequence[int]], list[Row]]:
    """A function from indices into the split to the wanted features of each example, encoded pictures as bytes.

    Nothing is read yet, except the lengths of the records of TFRecord files. Raises DataError, and so does the
    function, naming the first of its examples that cannot be read.
    """
    from tensorflow_datasets.proto import tf_example_pb2

    parse_example = tf_example_pb2.Example.FromString  # pyright: ignore[reportAttributeAccessIssue]: made at import
    read = _open_records(source)

    def parse(index: int, record: bytes) -> Row:
        try:
            feature = parse_example(record).features.feature
            row = tuple((feature[one.feature].int64_list if one.kind == "label" else feature[one.feature].bytes_list)
                        .value[0] for one in wanted)
        except Exception as error:  # protobuf's DecodeError, or an IndexError where a feature is missing
            raise broken(source, index, error) from error
        for one, value in zip(wanted, row):
            if one.kind == "label" and not 0 <= value < one.classes:
                raise DataError(f"example {index} of {source.title} has the {one.feature} {value}, outside "
                                f"[0, {one.classes}); choose another split or label")
        return row

    return lambda indices: [parse(index, record) for index, record in zip(indices, read(indices))]


def all_rows(source: Source, wanted: Sequence[Wanted]) -> Iterator[list[Row]]:
    """The wanted features of all examples, in their order and CHUNK at a time. Raises DataError as `open_rows`."""
    read = open_rows(source, wanted)
    for start in range(0, source.examples, CHUNK):
        yield read(range(start, min(start + CHUNK, source.examples)))


def broken(source: Source, index: int, error: Exception) -> DataError:
    """The error that names the example which cannot be read."""
    return DataError(f"example {index} of {source.title} cannot be read ({brief(error)}); "
                     f"repair or prepare again {source.files[0].parent}")


def _open_records(source: Source) -> Records:
    """A function from indices into the split to serialized tf.train.Example records."""
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
        if not len(indices):
            return []
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


def _open_tfrecords(source: Source) -> Records:
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
    spans, position, size = np.empty((part.skip + part.take, 2), np.int64), 0, os.path.getsize(part.filename)
    with open(part.filename, "rb") as file:
        for number in range(len(spans)):
            file.seek(position)
            header = file.read(12)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else 0
            if not length or position + length + 16 > size:
                raise broken(source, first + max(number - part.skip, 0), EOFError(
                    f"{part.filename} is damaged or cut short"))
            spans[number] = position + 12, length
            position += length + 16
    return spans[part.skip:]
