"""Locks between processes and threads; the operating system releases those of a process that ends.

The locks are fcntl's: they work over NFS too, and the file that a killed process leaves behind does not block.
"""
from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from imggen_jax.errors import RunError, SaveError
from imggen_jax.storage.files import disk_is_full

NAME = ".lock"
# By this process: fcntl's locks exclude other processes, not the threads of one, and closing any descriptor of a locked
# file releases the lock.
_held: set[str] = set()
_changed = threading.Condition()


class Locked(RunError):
    """Another process or thread holds the lock."""

    def __init__(self, path: Path, holder: str):
        super().__init__(f"{path} is held by {holder}")
        self.holder = holder  # "process 12 on host"


@contextlib.contextmanager
def exclusive(path: Path, *, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold a lock file while the block runs.

    The file says which process holds it, and is removed at the end. Where the file system has no locks, a line on
    stderr says so and the block runs.

    Args:
      path: of the lock file. Its folder is created if needed.
      waiting: called with the holder ("process 12 on host") before waiting for another one to release the lock; None
        raises Locked instead of waiting.

    Raises:
      Locked: it is held, and `waiting` is None.
      OSError: the file cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    key = str(path.resolve())
    with _changed:
        if key in _held:
            holder = f"process {os.getpid()}, this one,"
            if waiting is None:
                raise Locked(path, holder)
            waiting(holder)
            _changed.wait_for(lambda: key not in _held)
        _held.add(key)
    try:
        with _acquire(path, waiting) as file:
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # a file that is left behind does no harm
                    if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                        path.unlink()
    finally:
        with _changed:
            _held.discard(key)
            _changed.notify_all()


@contextlib.contextmanager
def hold(workdir: Path) -> Iterator[None]:
    """Keep other runs out of a folder, which is created if needed, and removed at the end if it was and is still empty.

    Raises:
      RunError: another run holds it, naming its process and host; or the folder cannot be written to.
      SaveError: the disk is full.
    """
    made = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
    try:
        with contextlib.ExitStack() as stack:
            _enter(stack, workdir)
            yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # not empty: a run is in it
                folder.rmdir()


def _enter(stack: contextlib.ExitStack, workdir: Path) -> None:
    try:
        stack.enter_context(exclusive(workdir / NAME))
    except Locked as error:
        raise RunError(f"{workdir} is in use by {error.holder}; wait for it, stop it, or choose another --workdir"
                       ) from error
    except OSError as error:
        message = f"cannot write to the workdir {workdir} ({error.strerror or error});"
        if disk_is_full(error):
            raise SaveError(f"{message} make room, then run the same command again") from error
        raise RunError(f"{message} choose another --workdir") from error


def _acquire(path: Path, waiting: Callable[[str], None] | None) -> BinaryIO:
    """Open the file and lock it; it stays unlocked on file systems without locks."""
    while True:
        file = open(path, "ab+", buffering=0)
        try:
            if not _lock(file, path, waiting):
                return file
            # The holder before may have removed the file between the two calls: such a lock excludes nobody.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                    file.truncate(0)
                    file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                    return file
        except BaseException:
            file.close()
            raise
        file.close()
        waiting = waiting and _silent


def _lock(file: BinaryIO, path: Path, waiting: Callable[[str], None] | None) -> bool:
    """False where there are no locks."""
    try:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # POSIX allows both
            file.seek(0)
            holder = file.read(200).decode(errors="replace").strip() or "another process"
            if waiting is None:
                raise Locked(path, holder) from None
            waiting(holder)
            fcntl.lockf(file, fcntl.LOCK_EX)
    except OSError as error:
        print(f"note: {path} cannot be locked ({error.strerror}); make sure that no other process uses it",
              file=sys.stderr)
        return False
    return True


def _silent(holder: str) -> None:
    del holder
