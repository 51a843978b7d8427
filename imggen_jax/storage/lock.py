"""One run at a time in a folder: a lock of the operating system's, which ends with the process that holds it."""
from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from imggen_jax.errors import RunError

NAME = ".lock"
_held: set[str] = set()  # by this process: fcntl's locks tell processes apart, not the threads of one


@contextlib.contextmanager
def hold(workdir: Path) -> Iterator[None]:
    """Keep other runs out of a folder, which is made if needed, and removed at the end if it was and is still empty.

    The lock is fcntl's: it works over NFS too, and one that a killed process leaves behind does not block. The file
    says who holds it; it is removed at the end. Where the file system knows no locks, a line says so and the run
    goes on.

    Raises:
      RunError: another run holds it, naming its process and host; or the folder cannot be written to.
    """
    made = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
    path = workdir / NAME
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        key = str(workdir.resolve())
        if key in _held:
            raise RunError(_refusal(workdir, f"process {os.getpid()}, this one,"))
        file = _acquire(workdir, path)
    except OSError as error:
        raise RunError(f"cannot write to the workdir {workdir} ({error.strerror or error}); choose another --workdir"
                       ) from error
    _held.add(key)
    try:
        yield
    finally:
        _held.discard(key)
        with contextlib.suppress(OSError):  # what is left behind does no harm
            path.unlink()
        file.close()
        for folder in made:
            with contextlib.suppress(OSError):  # not empty: a run is in it
                folder.rmdir()


def _acquire(workdir: Path, path: Path):
    """The open file that is locked."""
    while True:
        file = open(path, "a+", encoding="utf-8")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # either, says POSIX
            file.seek(0)
            who = file.read().strip() or "another process"
            file.close()
            raise RunError(_refusal(workdir, who)) from error
        except OSError as error:
            print(f"note: {workdir} cannot be locked ({error.strerror}); take care that no other run uses it",
                  file=sys.stderr)
            return file
        # The one before may have removed the file between the two calls: then this lock keeps nobody out.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
                file.flush()
                return file
        file.close()


def _refusal(workdir: Path, who: str) -> str:
    return f"{workdir} is in use by {who}; wait for it, stop it, or choose another --workdir"
