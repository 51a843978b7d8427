"""Ports of this computer: a socket that listens, or who has the port and which one is free."""
from __future__ import annotations

import contextlib
import os
import re
import socket
from pathlib import Path

from imggen_jax.errors import RunError

TRIED = 50               # ports after one that is taken
WAITING = 1024           # connections that wait to be accepted


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; connections wait until somebody accepts them.

    Args:
      host: an address of this computer, or a name of one.
      port: 0 for any that is free.

    Raises:
      RunError: the host is none of this computer; or the port is taken, with its holder and the next free one.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise RunError(f"--host {host} is no address of this computer ({error}); give 127.0.0.1, or 0.0.0.0 for all"
                       ) from error
    try:
        return _bound(family, address)
    except PermissionError as error:
        raise RunError(f"port {port} is for the administrator alone; choose one from 1024, as --port 8000") from error
    except OSError as error:
        free = next((other for other in range(port + 1, min(port + TRIED, 65536)) if _is_free(family, address, other)),
                    None)
        if free is None:
            raise RunError(f"cannot listen at {host}:{port} ({error.strerror or error}); choose another --host or "
                           "--port") from error
        raise RunError(f"port {port} is taken by {holder(port) or 'another program'}; choose another: --port {free}"
                       ) from error


def _bound(family: int, address: tuple) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)    # only what is in TIME_WAIT is reused
        bound.bind(address)
        bound.listen(WAITING)
    except BaseException:
        bound.close()
        raise
    return bound


def _is_free(family: int, address: tuple, port: int) -> bool:
    try:
        _bound(family, (address[0], port, *address[2:])).close()
    except OSError:
        return False
    return True


def holder(port: int) -> str | None:
    """Which process of this user listens at a port, "python (process 12)"; None where that cannot be seen (proc(5))."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                part = line.split()
                if part[3] == "0A" and int(part[1].rpartition(":")[2], 16) == port:    # 0A: it listens
                    inodes.add(part[9])
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for link in (folder / "fd").iterdir():
                found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link))
                if found and found[1] in inodes:
                    return f"{(folder / 'comm').read_text().strip()} (process {folder.name})"
    return None
