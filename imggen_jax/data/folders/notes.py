"""What is said about pictures beside them: NAME.txt, metadata.csv and metadata.jsonl (the imagefolder convention).

A table has a column file_name, relative to the folder it lies in. `text`, `caption` and `description` hold captions;
`origin` (or `source`), `license` (or `licence`) and `consent` go to the ledger; `label` is the label; every other
column becomes an attribute: a class label where its values repeat, else a number or text.
"""
from __future__ import annotations

import csv
import json
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, NamedTuple

from imggen_jax.data.folders.members import marked, printable, text_of
from imggen_jax.errors import DataError, brief

TABLES = ("metadata.csv", "metadata.jsonl")
LEDGER = ("origin", "license", "consent")
CAPTION, LABEL = "caption", "label"
MOST_TEXT = 64 * 1024   # bytes of a caption file
MOST_CLASSES = 10_000   # of one column
UNKNOWN = "unknown"     # the class of pictures for which nothing is said

_SAME = {"text": CAPTION, "captions": CAPTION, "description": CAPTION, "source": "origin",
         "licence": "license"}
# Bytes that mean the same character wherever accented letters are one byte each.
_EUROPEAN = ("latin-1", "iso8859-2", "iso8859-9", "iso8859-15", "cp1250", "cp1252", "cp1254")
_AGREED = bytes(byte for byte in range(256) if len({bytes([byte]).decode(name, "replace") for name in _EUROPEAN}) == 1)
_HIGH_RUN = re.compile(rb"[\x80-\xff]{2}")  # as in Cyrillic, Greek and the encodings of Asia
_TAKEN = {"image", "mask", "domain", "name", "split"}  # features of the dataset that come from elsewhere

Value = str | bool | int | float


def rows(name: str, file: IO[bytes]) -> Iterator[tuple[str, dict[str, Value]]]:
    """A table -> (the picture's name within the place, {column: value}); empty values are left out.

    Raises DataError, naming the table, the line and what is wrong.
    """
    folder = posixpath.dirname(name)
    read = _csv if name.lower().endswith(".csv") else _jsonl
    try:
        for number, row in read(name, text_of(file)):
            target = row.pop("file_name", None)
            if not isinstance(target, str) or not target.strip():
                raise DataError(f"{name}, line {number}: there is no file_name; each row names its picture in that "
                                "column")
            target = printable(target.strip().replace("\\", "/"))
            yield posixpath.normpath(posixpath.join(folder, target)), _columns(name, number, row)
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except UnicodeError as error:  # UTF-16 that ends too early
        raise DataError(f"{name} is not text ({brief(error)}); save it as UTF-8") from error


def _csv(name: str, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line on which the row begins, row). An unclosed quote runs on to the end of the table, so the line on which the
    reader stumbles is not the one to mend."""
    reader, begin = csv.reader(lines, strict=True), 1
    try:
        header = next(reader, [])
        if "file_name" not in header:
            raise DataError(f"{name} has no column file_name, only {clean(', '.join(header)) or 'nothing'}; its "
                            "first line names the columns, separated by commas")
        begin = reader.line_num + 1
        for row in reader:
            if len(row) > len(header):
                raise DataError(f"{name}, line {begin}: it has more values than there are columns; put values with "
                                "commas in quotes")
            if row:
                yield begin, dict(zip(header, row))
            begin = reader.line_num + 1
    except csv.Error as error:
        more = f", at line {reader.line_num}" if reader.line_num > begin else ""
        raise DataError(f"{name}, line {begin}: not CSV ({error}{more}); look at the quotes in that line") from error


def _jsonl(name: str, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{name}, line {number}: not JSON ({brief(error)})") from error
            if not isinstance(row, dict):
                raise DataError(f"{name}, line {number}: not a JSON object; each line is one, with a file_name")
            yield number, row


def _columns(name: str, number: int, row: dict[str, Any]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for key, value in row.items():
        value = _value(value)
        if value is None:
            continue
        key = re.sub(r"\W+", "_", key.strip()).strip("_") or "column"
        key = _SAME.get(key.lower(), key.lower() if key.lower() in (*LEDGER, CAPTION, LABEL) else key)
        key = f"column_{key}" if key in _TAKEN else key
        if key in found and key != CAPTION:
            raise DataError(f"{name}, line {number}: two columns are called {key}; rename one")
        found.setdefault(key, value)
    return found


def _value(value: object) -> Value | None:
    """A cell; None where it is empty. Lists and objects are kept as JSON text."""
    if isinstance(value, str):
        return clean(value) or None
    if value is None or isinstance(value, bool | int | float):
        return value
    return clean(json.dumps(value, ensure_ascii=False))


def clean(text: str) -> str:
    """One line, without lone surrogates, which no encoding takes, and in Unicode's composed form (NFC)."""
    return " ".join(unicodedata.normalize("NFC", text.encode(errors="replace").decode()).split())


def caption_text(data: bytes) -> str | None:
    """The text of a caption file, in one line; None where its encoding is not certain.

    Certain are UTF-8, what begins with a byte order mark, and text in which every accented letter stands alone among
    ASCII and is the same one in all the usual encodings of Europe (é, ü, ç; but è of Latin-1 is č in Latin-2).
    """
    try:
        return clean(data.decode(marked(data[:4]) or "utf-8"))
    except UnicodeError:
        alone = not marked(data[:4]) and b"\0" not in data and not _HIGH_RUN.search(data)
        return clean(data.decode("latin-1")) if alone and not data.translate(None, _AGREED) else None


# ----------------------------------------------------------------------------------------------------------- columns


class Kind(NamedTuple):
    """What a column becomes. kind: "class", "number" or "text"; names: of the classes."""

    kind: str
    names: tuple[str, ...] = ()

    def encoder(self) -> Callable[[Value | None], int | float | str]:
        """How a cell is stored: as a class's number, a float (NaN for none), or text ("" for none)."""
        if self.kind == "class":
            numbers = {name: number for number, name in enumerate(self.names)}
            return lambda value: numbers[UNKNOWN if value is None else as_text(value)]
        if self.kind == "number":
            return lambda value: float("nan") if value is None else float(value)
        return lambda value: "" if value is None else as_text(value)


def as_text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class Column:
    """The values of a column, seen one by one; memory is bounded."""

    def __init__(self):
        self.present = 0
        self.numbers = self.whole = True
        self.distinct: set[str] = set()

    def see(self, value: Value) -> None:
        self.present += 1
        number = None if isinstance(value, bool) else _number(value)
        self.numbers &= number is not None
        self.whole &= number is not None and number == int(number)
        if len(self.distinct) <= MOST_CLASSES:
            self.distinct.add(as_text(value))

    def kind(self, pictures: int, *, label: bool = False) -> Kind:
        """A class label if every value comes twice on average (a label always), else a number or text."""
        few = len(self.distinct) <= MOST_CLASSES and (label or 2 * len(self.distinct) <= self.present)
        if few and (label or not self.numbers or self.whole):
            names = sorted(self.distinct, key=lambda name: (_number(name) if self.numbers else 0, name))
            return Kind("class", tuple(names if self.present == pictures else [
                *(name for name in names if name != UNKNOWN), UNKNOWN]))
        return Kind("number" if self.numbers else "text")


def _number(value: Value) -> float | None:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None  # neither inf nor nan
