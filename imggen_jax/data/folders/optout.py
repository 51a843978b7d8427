"""Pictures that must not be trained on: a list of sums and of files, honored when a folder is ingested, and counted.

One entry a line, # begins a comment:

    9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08     sha256 of a file, or of pixels (ledger.csv)
    withdrawn/portrait.jpg                                               a picture, or a folder of pictures

A sum leaves out the very same file. A picture also leaves out what has the same pixels in another file, and what looks
nearly the same, such as a copy that was resized or saved again: of two that look alike, both are left out.
"""
from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from imggen_jax.data.folders.worker import Decoded, Worker
from imggen_jax.errors import DataError

VARIABLE = "IMGGEN_JAX_OPT_OUT"
REASON = "opted out"
NEAR = 5                 # bits of 64 in which the perceptual hashes of a picture and its copy may differ
_MOST = 200_000_000      # bytes of the list, and of a picture on it


class OptOut(NamedTuple):
    """What a list says."""

    sums: frozenset[bytes] = frozenset()     # sha256 of files, those of the pictures among them, or of pixels
    pictures: tuple[Path, ...] = ()

    def digest(self) -> str:
        """Of what the list leaves out, whatever its files are called; "" for nothing."""
        return hashlib.sha256(b"".join(sorted(self.sums))).hexdigest() if self.sums else ""


class Looks(NamedTuple):
    """How the pictures on a list look, decoded as those of the folder are."""

    pixels: frozenset[bytes] = frozenset()   # sha256
    hashes: tuple[int, ...] = ()             # perceptual


def read(path: str | os.PathLike[str]) -> OptOut:
    """A list; "" for the one that $IMGGEN_JAX_OPT_OUT names, and nothing where it names none.

    Raises:
      DataError: the list, or a picture on it, is not there or cannot be read; a line is neither sum nor picture.
    """
    name = os.fspath(path) or os.environ.get(VARIABLE, "")
    if not name:
        return OptOut()
    file = Path(name).expanduser()
    try:
        with open(file, encoding="utf-8") as opened:
            lines = opened.read(_MOST).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the list {file} of pictures that must not be trained on cannot be read "
                        f"({getattr(error, 'strerror', None) or 'no text'}); name a text file, one entry a line"
                        ) from error
    sums, pictures = set(), []
    for number, line in enumerate(lines, 1):
        entry = line.partition("#")[0].strip()
        if re.fullmatch(r"[0-9a-fA-F]{64}", entry):
            sums.add(bytes.fromhex(entry))
        elif entry:
            pictures += _files(file, number, entry)
    return OptOut(frozenset(sums | {_sum(picture, file) for picture in pictures}), tuple(pictures))


def _files(file: Path, number: int, entry: str) -> Iterator[Path]:
    place = file.parent / Path(entry).expanduser()
    if place.is_dir():
        yield from sorted(each for each in place.rglob("*") if each.is_file())
    elif place.is_file():
        yield place
    else:
        raise DataError(f"line {number} of {file} names {place}, which is not there; write a sha256 of 64 digits, or "
                        "the path of a picture or folder, from where the list lies")


def _sum(picture: Path, file: Path) -> bytes:
    return hashlib.sha256(_bytes(picture, file)).digest()


def _bytes(picture: Path, file: Path | str) -> bytes:
    try:
        return picture.read_bytes() if picture.stat().st_size <= _MOST else b""
    except OSError as error:
        raise DataError(f"{picture}, on the list {file}, cannot be read ({error.strerror or error})") from error


def looks(out: OptOut, idle: SimpleQueue[Worker]) -> Looks:
    """Decodes the pictures of a list; what is no picture has only its sum."""
    decoder = idle.get()
    try:
        decoded = [decoder.decode(_bytes(picture, "")) for picture in out.pictures]
    finally:
        idle.put(decoder)
    seen = [each for each in decoded if not each.reason]
    pixels = frozenset(bytes.fromhex(digest) for each in seen for digest in each.digests)
    return Looks(pixels, tuple(dict.fromkeys(each.hash for each in seen)))


def names(out: OptOut, looked: Looks, sha: bytes, decoded: Decoded) -> str:
    """Why a picture is on a list, in words; "" where it is not.

    Args:
      sha: sha256 of its file.
      decoded: what became of its file.
    """
    pixels = {bytes.fromhex(digest) for digest in decoded.digests}
    if sha in out.sums:
        return "its file is on the list of those that must not be trained on"
    if pixels & (out.sums | looked.pixels):
        return "its pixels are on the list of those that must not be trained on"
    if not decoded.reason and any((decoded.hash ^ each).bit_count() <= NEAR for each in looked.hashes):
        return "it looks like one on the list of those that must not be trained on"
    return ""
