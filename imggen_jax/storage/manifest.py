"""sha256 manifests: SHA256SUMS beside the files of a folder, as `sha256sum --check` reads it."""
from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from imggen_jax.storage.files import sync_folder, write_atomic

SUMS = "SHA256SUMS"


def write(folder: Path, *, sync: bool = False) -> None:
    """List every file of a folder; with `sync`, files and folders are on the disk when it returns. Raises OSError."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{sha256(path, sync=sync)}  {path.relative_to(folder)}\n" for path in files]
    write_atomic(folder / SUMS, "".join(lines), sync=sync)
    if sync:
        for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            sync_folder(path)


def read(folder: Path) -> dict[str, str] | None:
    """{name: sha256}; None where the manifest is missing, a line is not one, or the last one is cut. Raises OSError."""
    try:
        lines = (folder / SUMS).read_bytes().decode("utf-8").split("\n")
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    matches = [re.fullmatch(r"([0-9a-f]{64})  (.+)", line) for line in lines[:-1]]
    if lines[-1] or not matches or None in matches:
        return None
    return {match[2]: match[1] for match in matches if match}


def damage(folder: Path) -> str | None:
    """What is wrong with the listed files, in a few words that name one; None for nothing. Other files are ignored."""
    try:
        sums = read(folder)
        if sums is None:
            return f"{SUMS} cannot be read" if (folder / SUMS).is_file() else f"{SUMS} is missing"
        for name, expected in sorted(sums.items()):
            if not (folder / name).is_file():
                return f"{name} is missing"
            if sha256(folder / name) != expected:
                return f"{name} differs from its sha256"
    except OSError as error:
        return f"{error.filename or folder}: {error.strerror or error}"
    return None


def sha256(path: Path, sync: bool = False) -> str:
    """sha256 hex of a file; with `sync`, it is on the disk first."""
    with open(path, "rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
