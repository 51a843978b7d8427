"""Several processes, one run: each notices at once when another is lost, and says which.

A collective waits for a lost process until a time-out, in compiled code that no signal interrupts, and JAX's own
heartbeat then aborts with a stack trace. So the processes keep a connection to the first one, on which each sends a
byte a second. The kernel closes it with the process that holds it, and silence means a lost machine or network.
"""
from __future__ import annotations

import contextlib
import secrets
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np

from imggen_jax.errors import Diverged, ImggenError, Interrupted, RunError

LOST = 3  # the exit code
_ALIVE, _BYE, _GONE = b"+", b".", b"!"  # _GONE is followed by the number of the process that the first one has lost
_TOKEN, _NUMBER = 16, 4  # bytes: of the secret by which the processes of a run know each other, of a process's number
_CONNECT = 60  # seconds
_EXPLANATION = 5  # seconds; a collective may fail a moment before the connection to the lost process does


class _Links:
    """The connections of this process and what they reported."""

    def __init__(self, sockets: dict[int, socket.socket], leave: Callable[[int], object] | None):
        self.sockets, self.leave = sockets, leave
        self.done = threading.Event()  # this process is leaving by itself
        self.lost = ""                 # the error, once another process is lost


@contextlib.contextmanager
def watch(heartbeat: int, leave: Callable[[int], object] | None = None) -> Iterator[None]:
    """While the block runs, watch the other processes of the run.

    When one is lost, a line says which. The main thread may then be waiting in compiled code: with `leave` the process
    ends at once with exit code LOST; without, RunError is raised when the collective fails, and if it does not, JAX's
    own heartbeat ends the process, `heartbeat` + 30 seconds after the loss (`devices.connect`).

    A process that comes to the end of its block says goodbye and may go; one that leaves it by an exception, or dies,
    is lost to the others. Every process must enter the block at about the same time.

    Args:
      heartbeat: seconds of silence after which a process counts as lost. A killed one is noticed at once.
      leave: ends the process with an exit code, from any thread: `os._exit`. None where a library must not.

    Raises:
      RunError: another process was lost, naming it.
    """
    if jax.process_count() == 1:
        yield
        return
    links = _Links(_open_links(), leave)
    for peer, link in links.sockets.items():
        threading.Thread(target=_follow, args=(peer, link, links, heartbeat), daemon=True).start()
    threading.Thread(target=_beat, args=(links,), daemon=True).start()
    together = True
    try:
        yield
    except (Interrupted, Diverged):  # in all processes alike
        raise
    except BaseException as error:
        together = False
        if isinstance(error, Exception) and not isinstance(error, ImggenError):
            time.sleep(_EXPLANATION)
            if links.lost:
                raise RunError(links.lost) from error
        raise
    finally:
        links.done.set()
        for link in links.sockets.values():
            with contextlib.suppress(OSError):  # it is gone already
                if together:
                    link.sendall(_BYE)
                link.shutdown(socket.SHUT_WR)  # not close, which may throw away what was sent last


def _open_links() -> dict[int, socket.socket]:
    try:
        return _listen() if jax.process_index() == 0 else _connect()
    except OSError as error:
        print(f"note: process {jax.process_index()} cannot watch the others ({error}); if one is lost, JAX's own "
              "heartbeat ends this one", file=sys.stderr)
        return {}


def _follow(peer: int, link: socket.socket, links: _Links, heartbeat: int) -> None:
    """Read one connection until it says goodbye or breaks."""
    silent = 0
    # Counted in waits of a second each and not by the clock, which runs on while a machine is suspended.
    while silent < heartbeat:
        if not select.select([link], [], [], 1)[0]:
            silent += 1
            continue
        silent = 0
        try:
            read = link.recv(1)
            lost = int.from_bytes(_exactly(link, _NUMBER)) if read == _GONE else peer
        except OSError:
            read, lost = b"", peer
        if read == _BYE:
            return
        if read != _ALIVE:
            return _report(lost, "its connection was closed", links)
    _report(peer, f"it was silent for {heartbeat} seconds", links)


def _report(lost: int, why: str, links: _Links) -> None:
    if links.done.is_set() or links.lost:
        return
    links.lost = (f"process {lost} of {jax.process_count()} was lost ({why}); its own output says more. The last "
                  "checkpoint is intact: start all processes again, and they continue from there")
    print(f"\nerror: {links.lost}", file=sys.stderr, flush=True)
    for peer, link in links.sockets.items():
        if peer != lost:
            with contextlib.suppress(OSError):
                link.sendall(_GONE + lost.to_bytes(_NUMBER))
    if links.leave is not None:
        links.leave(LOST)


def _beat(links: _Links) -> None:
    while not links.done.wait(1):
        for link in links.sockets.values():
            with contextlib.suppress(OSError):  # noticed by who reads it
                link.sendall(_ALIVE)


def _listen() -> dict[int, socket.socket]:
    """{process: connection} of the first process to all others."""
    with socket.create_server(("", 0), backlog=jax.process_count()) as server:
        token = secrets.token_bytes(_TOKEN)
        _share(token + f"{_address()}:{server.getsockname()[1]}".encode())
        server.settimeout(_CONNECT)
        links: dict[int, socket.socket] = {}
        while len(links) < jax.process_count() - 1:
            link = server.accept()[0]
            link.settimeout(_CONNECT)
            hello = _exactly(link, _TOKEN + _NUMBER)
            if not secrets.compare_digest(hello[:_TOKEN], token):
                link.close()  # a stranger
                continue
            links[int.from_bytes(hello[_TOKEN:])] = link
    return links


def _connect() -> dict[int, socket.socket]:
    message = _share(b"")
    token, address = message[:_TOKEN], message[_TOKEN:].decode()
    host, _, port = address.rpartition(":")
    link = socket.create_connection((host, int(port)), timeout=_CONNECT)
    link.sendall(token + jax.process_index().to_bytes(_NUMBER))
    return {0: link}


def _share(message: bytes) -> bytes:
    """The first process's message, in all of them."""
    from jax.experimental import multihost_utils

    padded = np.zeros(256, np.uint8)
    padded[:len(message)] = np.frombuffer(message, np.uint8)
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded))).rstrip(b"\0")


def _address() -> str:
    """This machine's address as others reach it: that of its default route. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]
    return "127.0.0.1"


def _exactly(link: socket.socket, number: int) -> bytes:
    read = b""
    while len(read) < number and (more := link.recv(number - len(read))):
        read += more
    return read
