"""Files that appear under their name whole or not at all."""
from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from imggen_jax.errors import RunError


def write_atomic(path: str | os.PathLike, content: str | bytes | Callable[[BinaryIO], object], *,
                 sync: bool = False) -> None:
    """Write a file beside `path` and rename it, so that readers see the old file or the new one and nothing between.

    Its folder must exist. Several processes and threads may write the same path; the last one to finish wins. On an
    error, what was at `path` is unchanged and nothing else is left behind.

    Args:
      path: of the file, which is replaced if it exists.
      content: text, written as UTF-8; bytes; or a function that writes to the open binary file it is called with,
        which can be read, too.
      sync: return only when file and name are on the disk and survive a power failure. Takes milliseconds.

    Raises:
      OSError: it cannot be written, as on a full disk. Exceptions of `content` pass too.
    """
    path = Path(path)
    part = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.part")
    try:
        with open(part, "w+b") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode("utf-8") if isinstance(content, str) else content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):  # of two errors the first says more
            part.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def sync_folder(folder: str | os.PathLike) -> None:
    """Put the names in a folder on the disk: a rename survives a power failure only after this."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def given_path(path: str | os.PathLike, what: str) -> Path:
    """A path that a user gives, with ~ for the home folder.

    Raises:
      RunError: it is empty, which `Path` would take for the current folder, or no file can be called so.
    """
    text = os.fsdecode(path)
    if not text:
        raise RunError(f"the path of {what} is empty; write . for the current folder")
    try:
        possible = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise RunError(f"the path of {what}, {ascii(text)}, is none that a file can have; give another")
    return Path(text).expanduser()


def disk_is_full(error: OSError) -> bool:
    """Whether an error means that the disk, or the user's share of it, is full: the same command works with more room.
    """
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
