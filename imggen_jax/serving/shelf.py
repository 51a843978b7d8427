"""The service's own folder: uploads for as long as a request lasts, and pictures that are fetched by URL for an hour.

The folder belongs to one process, which holds its lock; what a killed one left behind is cleared by the next. Pictures
have random ids, and names from outside never become paths.
"""
from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from imggen_jax.errors import RunError
from imggen_jax.storage.cache import cache_folder

SECONDS = 3600.0
MOST = 4096              # pictures of all owners; the oldest leave
MOST_TEXTS = 1000        # of an owner
_ID = re.compile(r"[A-Za-z0-9_-]{32}")
_LOCK = "lock"


class Kept(NamedTuple):
    """A picture that can be fetched."""

    owner: str
    path: Path
    media: str           # its type
    until: float         # of `time.monotonic`


class Shelf:
    """Made by `opened`."""

    def __init__(self, folder: Path, *, seconds: float = SECONDS, most: int = MOST):
        self._folder, self._seconds, self._most = folder, seconds, most
        self._kept: dict[str, Kept] = {}         # the oldest first
        self._texts: dict[str, dict[str, str]] = {}     # owner -> texts of pictures by what stands for them
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def workplace(self) -> Iterator[Path]:
        """A folder that lasts as long as the block."""
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="work_") as place:
            yield Path(place)

    def remember(self, owner: str, texts: Mapping[str, str]) -> None:
        """Keep, in memory alone, the private texts that pictures of an owner were made from; the oldest leave."""
        with self._lock:
            known = self._texts.setdefault(owner, {})
            for name, text in texts.items():
                known.pop(name, None)
                known[name] = text
            for name in list(known)[:-MOST_TEXTS]:
                del known[name]

    def texts(self, owner: str) -> dict[str, str]:
        """What is remembered of an owner, as `provenance.private` keeps it beside pictures."""
        with self._lock:
            return dict(self._texts.get(owner, {}))

    def keep(self, owner: str, content: bytes, media: str) -> str:
        """Keep a picture for its owner; returns its id.

        Raises:
          OSError: it cannot be written.
        """
        name = secrets.token_urlsafe(24)
        path = self._folder / f"kept_{name}"
        try:
            path.write_bytes(content)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        with self._lock:
            self._kept[name] = Kept(owner, path, media, time.monotonic() + self._seconds)
            self._sweep()
        return name

    def find(self, owner: str, name: str) -> tuple[bytes, str] | None:
        """(content, type) of a picture of an owner; None for others', and for what is not there any more."""
        with self._lock:
            self._sweep()
            found = self._kept.get(name) if _ID.fullmatch(name) else None
        if found is None or not secrets.compare_digest(found.owner.encode(), owner.encode()):
            return None
        try:
            return found.path.read_bytes(), found.media
        except OSError:
            return None

    def drop(self, owner: str, name: str) -> bool:
        """Delete a picture of an owner; whether there was one."""
        with self._lock:
            found = self._kept.get(name)
            if found is None or not secrets.compare_digest(found.owner.encode(), owner.encode()):
                return False
            del self._kept[name]
        found.path.unlink(missing_ok=True)
        return True

    def _sweep(self) -> None:
        now = time.monotonic()
        for name, kept in list(self._kept.items()):
            if kept.until > now and len(self._kept) <= self._most:
                break
            del self._kept[name]
            kept.path.unlink(missing_ok=True)


@contextlib.contextmanager
def opened(*, seconds: float = SECONDS) -> Iterator[Shelf]:
    """The shelf of this process, which only its user can read; cleared at the end.

    Raises:
      RunError: there is no place for it.
    """
    root = cache_folder("service")
    try:
        root.mkdir(parents=True, exist_ok=True)
        _clear(root)
        folder = Path(tempfile.mkdtemp(dir=root, prefix="run_"))     # mode 700
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise RunError(f"the service cannot write to {root} ({error.strerror or error}); set IMGGEN_JAX_CACHE to "
                       "another folder") from error
    try:
        yield Shelf(folder, seconds=seconds)
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def _clear(root: Path) -> None:
    """Removes what killed processes left: folders of runs whose lock nobody holds."""
    for folder in root.glob("run_*"):
        with contextlib.suppress(OSError):
            lock = os.open(folder / _LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
