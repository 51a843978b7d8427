"""Keep what takes long to read of a dataset (decoded pictures, labels, sizes) in files, for the next start."""
from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imggen_jax.data.dataset import sha256
from imggen_jax.data.sources import Source
from imggen_jax.storage.cache import cache_folder
from imggen_jax.storage.files import write_atomic

Arrays = Mapping[str, np.ndarray]


def folder(cache: str) -> Path:
    """The folder of the files; "" for `storage.cache`'s."""
    return Path(cache).expanduser() if cache else cache_folder("data")


def file_of(source: Source, cache: str | None, *what: object) -> Path | None:
    """The file of something read of a split; another one as soon as a shard is written anew. None: none is kept."""
    if cache is None:
        return None
    stamps = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in source.files if file.is_file()]
    return folder(cache) / f"{source.builder.info.name}-{sha256(source.identity, stamps, *what)[:32]}.npz"


def read(file: Path | None, right: Callable[[Arrays], bool]) -> dict[str, np.ndarray] | None:
    """The kept arrays, or None where there are none, or they are damaged (a zip file has checksums) or not `right`."""
    if file is None or not file.is_file():
        return None
    try:
        with np.load(file) as kept:
            arrays = {name: kept[name] for name in kept.files}
        if right(arrays):
            return arrays
        problem = "its arrays are not those expected"
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        problem = str(error)
    logging.warning("reading the dataset again: the cached %s is damaged (%s)", file, problem)
    return None


def write(file: Path | None, arrays: Arrays) -> None:
    """Keeps the arrays; the file appears whole or not at all. Where it cannot be written, a warning says so."""
    if file is None:
        return
    named: dict[str, Any] = dict(arrays)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, lambda out: np.savez(out, **named))
    except OSError as error:
        logging.warning("cannot keep what was read of the dataset in %s (%s); it is read again next time",
                        file.parent, error)


def remember(file: Path | None, right: Callable[[Arrays], bool], make: Callable[[], Arrays]) -> Arrays:
    """The kept arrays, else those that `make` returns, which are kept from then on."""
    arrays = read(file, right)
    if arrays is None:
        arrays = make()
        write(file, arrays)
    return arrays
