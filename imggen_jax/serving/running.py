"""The process of the service: models, port, signals, and what is said when it starts."""
from __future__ import annotations

import contextlib
import ctypes
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import uvicorn

from imggen_jax import loading, ports
from imggen_jax.errors import RunError
from imggen_jax.model import Model
from imggen_jax.provenance import policy
from imggen_jax.serving import app, models, shelf
from imggen_jax.serving.app import Service
from imggen_jax.serving.batches import Batches, Seeds
from imggen_jax.serving.guards import LOOPBACK, Limits, is_loopback
from imggen_jax.serving.keys import Keys, default_file
from imggen_jax.serving.models import Models
from imggen_jax.serving.monitoring import Metrics
from imggen_jax.serving.verbs import Verbs
from imggen_jax.serving.worker import SECONDS, WAITING, Worker

HOST, PORT = "127.0.0.1", 8000
OPEN = 1024              # connections at a time
GRACE = 10               # seconds for requests that are under way at the end
LARGE = 4_000_000        # bytes of a block of memory that goes back to the system when it is freed


class Wanted(NamedTuple):
    """What a service is started with."""

    host: str = HOST
    port: int = PORT                     # 0: any that is free
    models: str | None = None            # as `models.parse` reads it
    keys: str | None = None              # file; None: the user's own where others reach the service, else no keys
    allow: Sequence[str] = ()            # further names by which the service may be called
    memory: float | None = None          # bytes of weights
    waiting: int = WAITING
    seconds: float = SECONDS             # of a request
    limits: Limits = Limits()


def serve(wanted: Wanted, say: Callable[[str], object], *,
          started: Callable[[uvicorn.Server, int], object] | None = None,
          load: Callable[[str], Model] = loading.load) -> None:
    """Serve until a signal ends it, or `started` has called its server to exit.

    Args:
      wanted: see `Wanted`.
      say: is called with lines for the user.
      started: is called with the server and its port, before the first request.
      load: what loads a model.

    Raises:
      RunError: a host, port, model, key file or policy that cannot be used.
    """
    paths = models.parse(wanted.models)
    keys = _keys(wanted)
    _return_memory()
    with contextlib.closing(ports.listening(wanted.host, wanted.port)) as bound, shelf.opened() as place:
        port = bound.getsockname()[1]
        found = Models(paths, load=load,
                       memory=None if wanted.memory is None else int(wanted.memory))
        for name in found.ids:
            policy.in_force(found.entry(name).folder)        # one that cannot be read stops here
        metrics = Metrics()
        worker = Worker(waiting=wanted.waiting, each=None if keys is None else max(1, wanted.waiting // 2),
                        seconds=wanted.seconds)
        seeds = Seeds()
        batches, verbs = Batches(found, place, seeds, metrics.made), Verbs(found, place, seeds)
        service = Service(found, worker, place, batches, verbs, metrics, keys, wanted.limits, _hosts(wanted))
        worker.start()
        worker.submit("", batches.warming(), lambda event: None)
        logging.getLogger("python_multipart").setLevel(logging.CRITICAL)   # it tells of every form that is none
        config = uvicorn.Config(app.make(service), log_level="error", access_log=False, server_header=False,
                                proxy_headers=False, http="h11", ws="none", loop="asyncio", limit_concurrency=OPEN,
                                timeout_keep_alive=10, timeout_graceful_shutdown=GRACE)
        server = uvicorn.Server(config)
        shown = f"[{wanted.host}]" if ":" in wanted.host else wanted.host
        say(f"Serving {', '.join(found.ids)} at http://{shown}:{port}/v1 (reference: http://{shown}:{port}/docs); "
            f"{'everybody needs a key' if keys else 'for this computer alone, without keys'}. Ctrl-C stops it.")
        if started is not None:
            started(server, port)
        try:
            with _own_signals():
                server.run(sockets=[bound])
        finally:
            worker.stop()


def _return_memory() -> None:
    """Large blocks, as programs compute in, go back to the system when they are freed (mallopt(3), M_MMAP_THRESHOLD).

    By default glibc learns from the first of them that is freed to keep the next ones, in an arena for each of several
    threads: the service would grow by their size now and then, without using it.
    """
    with contextlib.suppress(OSError, AttributeError):     # another C library
        ctypes.CDLL(None).mallopt(-3, LARGE)


def _keys(wanted: Wanted) -> Keys | None:
    if wanted.keys is None and is_loopback(wanted.host):
        return None
    file = default_file() if wanted.keys is None else Path(wanted.keys)
    try:
        return Keys(file)
    except RunError as error:
        if is_loopback(wanted.host):
            raise
        raise RunError(f"--host {wanted.host} is reached by others, so that keys are needed: {error}") from error


def _hosts(wanted: Wanted) -> frozenset[str]:
    """Names by which the service may be called."""
    own = set() if is_loopback(wanted.host) else {socket.gethostname().lower(), wanted.host.lower().strip("[]"), "*"}
    return frozenset({*LOOPBACK, *own, *(name.lower() for name in wanted.allow)})


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """uvicorn raises the signal that ended it once more; here the end is in order."""
    try:
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:                        # not in the main thread, which has the signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
