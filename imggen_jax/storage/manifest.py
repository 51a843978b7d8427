"""sha256 manifests: SHA256SUMS beside the files of a folder, as `sha256sum --check` reads it."""
from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from imggen_jax.storage.files import write_atomic

SUMS = "SHA256SUMS"


def write(folder: Path, names: Sequence[str], *, sync: bool = False) -> None:
    """List files of a folder; with `sync`, they and the manifest are on the disk when it returns. Raises OSError."""
    lines = [f"{sha256(folder / name, sync=sync)}  {name}\n" for name in names]
    write_atomic(folder / SUMS, "".join(lines), sync=sync)


def damage(folder: Path, required: Sequence[str] = ()) -> str | None:
    """What is wrong with the files of a folder, in a few words that name one; None for nothing.

    Only files that the manifest lists are judged, so what a file manager leaves behind does no harm.

    Args:
      folder: with a manifest.
      required: files that the manifest must list.
    """
    try:
        if not any(folder.iterdir()):
            return "it is empty"
        if not (folder / SUMS).is_file():
            return f"{SUMS} is missing"
        sums = _read((folder / SUMS).read_bytes())
        if sums is None:
            return f"{SUMS} cannot be read"
        if unlisted := [name for name in required if name not in sums]:
            return f"{SUMS} does not list {unlisted[0]}"
        for name in sorted(sums):
            if not (folder / name).is_file():
                return f"{name} is missing"
            if sha256(folder / name) != sums[name]:
                return f"{name} differs from its sha256"
    except OSError as error:
        return f"{error.filename or folder}: {error.strerror or error}"
    return None


def _read(content: bytes) -> dict[str, str] | None:
    """{name: sha256}, None where a line is not one or the last one is cut."""
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return None
    matches = [re.fullmatch(r"([0-9a-f]{64})  (.+)", line) for line in lines[:-1]]
    if lines[-1] or not matches or None in matches:
        return None
    return {match[2]: match[1] for match in matches if match}


def sha256(path: Path, *, sync: bool = False) -> str:
    """sha256 hex of a file; with `sync`, the file is on the disk first."""
    with open(path, "rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
