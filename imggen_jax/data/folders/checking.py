"""Whether an ingested dataset is still what was written: every file there, of its size, and with its sha256.

checksums.json beside the shards holds {file: [bytes, sha256 in hex]} of everything that training reads.
"""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imggen_jax.data.folders import identity
from imggen_jax.errors import DataError, brief

FILE = "checksums.json"
_ALSO = ("features.json", "dataset_info.json", identity.FILE, "words.json")

Stamp = dict[str, list[int]]  # file -> [bytes, time of its last change in nanoseconds]


class Damaged(DataError):
    """A dataset of which a file is missing or has changed."""


def write(folder: Path) -> None:
    """Writes checksums.json for the files that lie in a dataset's folder."""
    sums = {file.name: [file.stat().st_size, _sum(file)] for file in sorted(folder.iterdir())
            if file.name in _ALSO or "array_record" in file.name}
    (folder / FILE).write_text(json.dumps(sums, indent=1) + "\n")


def verify(folder: Path, *, known: Mapping[str, list[int]] | None = None, full: bool = False) -> Stamp:
    """Checks the files of an ingested dataset; what the disk says of them, to be given as `known` next time.

    The sizes are compared always, the sums unless sizes and times are those `known`, or with `full` in any case.

    Raises Damaged, a DataError: a file is missing, cut short or changed.
    """
    sums, stamp = _sizes(folder)
    if full or known is None or dict(known) != stamp:
        for name, (_, expected) in sums.items():
            if _sum(folder / name) != expected:
                raise Damaged(f"{folder / name} has changed since it was written")
    return stamp


def verify_sizes(folder: Path) -> None:
    """As `verify`, without reading the files: cheap enough for every use."""
    _sizes(folder)


def _sizes(folder: Path) -> tuple[dict[str, list[Any]], Stamp]:
    """What checksums.json says and what the disk does; raises Damaged where files are missing or of another size."""
    try:
        sums = _read(folder / FILE)
        if not {"features.json", "dataset_info.json", identity.FILE} <= sums.keys():
            raise ValueError("not all files are listed")
        card = _read(folder / "card.json")
        if "pictures" not in card:
            raise ValueError("not a card")
        stamp = {name: _stat(folder / name, size) for name, (size, _) in sums.items()}
    except Damaged:
        raise
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise Damaged(f"{folder} is damaged ({brief(error)})") from error
    return sums, stamp


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def _stat(file: Path, size: int) -> list[int]:
    try:
        told = file.stat()
    except FileNotFoundError:
        raise Damaged(f"{file} is missing") from None
    if told.st_size != size:
        raise Damaged(f"{file} has {told.st_size:,} bytes, not {size:,}")
    return [told.st_size, told.st_mtime_ns]


def _sum(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
