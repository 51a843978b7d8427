"""Several processes, one run: each notices at once when another is lost, says which, and leaves.

A collective waits for a lost process until a time-out, in compiled code that no signal interrupts, and JAX's own
heartbeat then aborts with a stack trace. So the processes hold a connection to the first one, on which each sends a
byte a second. The kernel closes it with the process that held it, and a silence means a lost machine or network.
"""
from __future__ import annotations

import contextlib
import os
import secrets
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator

import jax
import numpy as np

from imggen_jax.errors import Diverged, Interrupted

LOST = 3  # the exit code
_ALIVE, _BYE, _GONE = b"+", b".", b"!"  # _GONE is followed by the number of the process that the first one has lost
_TOKEN, _NUMBER = 16, 4  # bytes: by which the processes of a run know each other, and of a process's number
_CONNECT = 60  # seconds
_EXPLANATION = 5  # seconds; a collective may fail a moment before the connection to the lost process does


@contextlib.contextmanager
def watch(heartbeat: int) -> Iterator[None]:
    """While the block runs, leave with exit code LOST as soon as another process of the run is lost.

    A process that comes to the end of its block says goodbye and may go; one that leaves it by an exception, or dies,
    is lost to the others. Every process must enter the block at about the same time.

    Args:
      heartbeat: seconds of silence after which a process is taken for lost. A killed one is noticed at once.
    """
    if jax.process_count() == 1:
        yield
        return
    try:
        links = _listen() if jax.process_index() == 0 else _connect()
    except OSError as error:
        print(f"note: process {jax.process_index()} cannot watch the others ({error}); if one is lost, JAX's own "
              "heartbeat ends this one", file=sys.stderr)
        links = {}
    done = threading.Event()
    for peer, link in links.items():
        threading.Thread(target=_follow, args=(peer, link, links, heartbeat, done), daemon=True).start()
    threading.Thread(target=_beat, args=(links, done), daemon=True).start()
    together = True
    try:
        yield
    except (Interrupted, Diverged):  # in all processes alike
        raise
    except BaseException as error:
        together = False
        if not type(error).__module__.startswith("imggen_jax"):
            time.sleep(_EXPLANATION)
        raise
    finally:
        done.set()
        for link in links.values():
            with contextlib.suppress(OSError):  # it is gone already
                if together:
                    link.sendall(_BYE)
                link.shutdown(socket.SHUT_WR)  # not close, which may throw away what was sent last


def _follow(peer: int, link: socket.socket, links: dict, heartbeat: int, done: threading.Event) -> None:
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
            return _leave(lost, "its connection was closed", links, done)
    _leave(peer, f"nothing was heard of it for {heartbeat} seconds", links, done)


def _leave(lost: int, why: str, links: dict, done: threading.Event) -> None:
    if done.is_set():  # this process is leaving by itself
        return
    print(f"\nerror: process {lost} of {jax.process_count()} was lost ({why}); its own output says more. The last "
          "checkpoint is intact: start all processes again, and they go on from there", file=sys.stderr, flush=True)
    for peer, link in links.items():
        if peer != lost:
            with contextlib.suppress(OSError):
                link.sendall(_GONE + lost.to_bytes(_NUMBER))
    os._exit(LOST)  # the main thread may be waiting in compiled code


def _beat(links: dict[int, socket.socket], done: threading.Event) -> None:
    while not done.wait(1):
        for link in links.values():
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
    """Of this machine, as others reach it: that of the interface towards the world. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]
    return "127.0.0.1"


def _exactly(link: socket.socket, number: int) -> bytes:
    read = b""
    while len(read) < number and (more := link.recv(number - len(read))):
        read += more
    return read
