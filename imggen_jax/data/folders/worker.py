"""Decoding in processes of its own, where a hostile picture can do no harm.

A worker gets bytes and gives back bytes: it opens no file, may write none, may use only so much memory and, for each
picture, only so much time of the processor. One that dies takes nothing with it but the picture in its hands, which is
then named as the cause. The workers run this module rather than being forked or spawned by multiprocessing: that is
safe beside the threads of JAX, and needs no `if __name__ == "__main__"` in the user's script.
"""
from __future__ import annotations

import io
import json
import os
import queue
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image

from imggen_jax.data.folders import jpeg, pixels, similar
from imggen_jax.data.folders.pixels import Facts, Refused, Wanted
from imggen_jax.errors import DataError

SECONDS = 20  # of the processor, for one picture
THUMB = 72    # pixels, of what is left out
# zlib's Z_RLE, which looks for repeats of the byte before and no others: as quick as level 1, and the files of 256x256
# photographs are a fifth smaller than at level 1, a twelfth smaller than at level 6 (measured).
PNG_LEVEL, PNG_TYPE = 1, 3
# Below these many bytes memory stays with the process. glibc's own thresholds give that of each picture back to the
# system, which then clears it for the next one: a fifth of the time at 256x256 (measured).
_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**24), "MALLOC_TRIM_THRESHOLD_": str(2**25)}

_PROGRAM = "from imggen_jax.data.folders import worker; worker.main()"
_READY = b"ready"
_LENGTHS = struct.Struct("<IIII")
_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP)  # exit codes that no picture causes
_SO_NOSIGPIPE = 0x1022  # of macOS, in place of MSG_NOSIGNAL
_PAUSES = (0.1, 1.0)  # seconds between tries to start a process


class Decoded(NamedTuple):
    """What became of a file's bytes."""

    reason: str          # why it is left out, "" if it is not
    detail: str
    facts: Facts | None  # None where it is left out
    hash: int            # `similar.perceptual_hash`
    png: bytes           # the picture, b"" where it is left out; a JPEG that is kept at its own size stays one
    thumb: bytes         # a JPEG of what is left out, b"" if nothing of it can be shown; of what keeps its own size too
    source: bytes = b""  # the left half of a file that holds two pictures
    digests: tuple[str, ...] = ()  # `pixels.digest` of the picture and of the left half


class Worker:
    """One process that decodes. Not for two threads at once."""

    def __init__(self, wanted: Wanted):
        self.wanted = wanted
        self._start()

    def _start(self) -> None:
        """Starts the process; raises RuntimeError where it does not come up."""
        package = Path(__file__).resolve().parents[3]
        path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process: subprocess.Popen[bytes] | None = None
        self.pipe, end = socket.socketpair()
        if sys.platform == "darwin":
            self.pipe.setsockopt(socket.SOL_SOCKET, _SO_NOSIGPIPE, 1)
        try:
            with end:
                self.process = subprocess.Popen(
                    # -P: the current folder may be the very one that is not trusted.
                    [sys.executable, "-P", "-c", _PROGRAM, json.dumps(self.wanted)],
                    env={**os.environ, **_MEMORY, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1",
                         "OMP_NUM_THREADS": "1"},
                    stdin=end.fileno(), stdout=end.fileno(), stderr=subprocess.DEVNULL)
            ready = _read(self.pipe, len(_READY))
        except (OSError, EOFError) as error:
            raise self._failed(error) from error
        if ready != _READY:
            raise self._failed(ready)

    def _failed(self, what: object) -> RuntimeError:
        code = None if self.process is None else self.process.wait()
        self.close()
        return RuntimeError(f"a process that decodes pictures ended at its start, with exit code {code} ({what!r}); "
                            f"see what `{sys.executable} -c '{_PROGRAM}'` says")

    def decode(self, data: bytes) -> Decoded:
        """Decodes one file's bytes; a picture that ends the process is left out, and a new process takes over.

        A process that something else ended, as the kernel does where memory runs out, gets a second try.
        """
        ended = self._once(data)
        if ended in _FROM_OUTSIDE:
            ended = self._once(data)
        if isinstance(ended, Decoded):
            return ended
        if ended == -signal.SIGXCPU:
            return _left_out("too slow", f"decoding takes more than {SECONDS} seconds")
        if ended is None:
            return _left_out("not decoded", "no process could be started to decode it; is memory short?")
        name = signal.Signals(-ended).name if ended < 0 else f"exit code {ended}"
        if ended in _FROM_OUTSIDE:
            return _left_out("not decoded", f"its decoder was killed twice ({name}); is memory short?")
        return _left_out("broken", f"it made the decoder crash ({name})")

    def _once(self, data: bytes) -> Decoded | int | None:
        """What became of the bytes, or the exit code of the process that ended over them, None if none started."""
        try:
            if self.process is None:
                self._start_patiently()
        except RuntimeError:
            return None
        try:
            _write(self.pipe, struct.pack("<Q", len(data)))
            _write(self.pipe, data)
            return _receive(self.pipe)
        except (ConnectionError, EOFError):  # BrokenPipeError is one
            assert self.process is not None, "a pipe without its process"
            code = self.process.wait()
            self.close()
            return code

    def _start_patiently(self) -> None:
        """Starts the process anew; what keeps it from starting, short memory above all, may pass."""
        for pause in _PAUSES:
            try:
                return self._start()
            except RuntimeError:
                time.sleep(pause)
        self._start()

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None
        self.pipe.close()


def _left_out(reason: str, detail: str) -> Decoded:
    return Decoded(reason, detail, None, 0, b"", b"")


def _write(pipe: socket.socket, data: bytes) -> None:
    """Writes everything; where the other end is gone that raises BrokenPipeError, whatever SIGPIPE does here."""
    pipe.sendall(data, getattr(socket, "MSG_NOSIGNAL", 0))


def _read(pipe: socket.socket, length: int) -> bytes:
    """So many bytes; raises EOFError where fewer come."""
    data = bytearray(length)
    view = memoryview(data)
    while view:
        got = pipe.recv_into(view)
        if not got:
            raise EOFError
        view = view[got:]
    return bytes(data)


@contextmanager
def crew(number: int, wanted: Wanted) -> Iterator[queue.SimpleQueue[Worker]]:
    """A queue of `number` workers, or of those that could be started: get one, use it, put it back.

    Raises DataError where not one could.
    """
    workers: list[Worker] = []
    idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    try:
        for _ in range(number):
            try:
                workers.append(Worker(wanted))
            except RuntimeError as error:
                if workers:
                    break
                raise DataError(f"no process could be started to decode pictures; is memory short? ({error})"
                                ) from error
            idle.put(workers[-1])
        yield idle
    finally:
        for worker in workers:
            worker.close()


# ------------------------------------------------------------------------------------------------ inside the process


def main() -> None:
    """Decodes what comes on standard input until it ends; the command line holds `Wanted` as JSON."""
    read, write = sys.stdin.buffer, sys.stdout.buffer
    wanted = Wanted(*json.loads(sys.argv[1]))
    wanted = wanted._replace(background=tuple(wanted.background))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    Image.MAX_IMAGE_PIXELS = None          # wanted.max_pixels counts instead
    _confine(wanted.max_pixels)
    write.write(_READY)
    write.flush()
    while header := read.read(8):
        data = read.read(*struct.unpack("<Q", header))
        _allow_time()
        _send(write, decode(data, wanted))


def decode(data: bytes, wanted: Wanted) -> Decoded:
    """What a worker does with one file's bytes."""
    try:
        pictures, facts = pixels.fitted(data, wanted)
    except Refused as error:
        return Decoded(error.reason, str(error), None, 0, b"", pixels.thumbnail(data, THUMB, wanted.max_pixels) or b"")
    digests = tuple(pixels.digest(picture) for picture in pictures)
    png, source = (*(_packed(picture, data, wanted) for picture in pictures), b"")[:2]
    thumb = b"" if wanted.size else _thumb(pictures[0])
    return Decoded("", "", facts, similar.perceptual_hash(pictures[0]), png, thumb, source, digests)


def _packed(picture: Image.Image, data: bytes, wanted: Wanted) -> bytes:
    """A PNG; of a picture that is kept as it is, the JPEG that it came as, which is a fifth as large."""
    if not (wanted.size or wanted.halves) and (kept := jpeg.bare(data, picture)):
        return kept
    file = io.BytesIO()
    save_png(picture, file)
    return file.getvalue()


def _thumb(picture: Image.Image) -> bytes:
    """A small JPEG of a picture that may be large, for the page and the search for near duplicates."""
    small, file = picture.copy(), io.BytesIO()
    small.thumbnail((THUMB, THUMB))
    small.save(file, "JPEG", quality=90)
    return file.getvalue()


def save_png(picture: Image.Image, file: BinaryIO) -> None:
    picture.save(file, "PNG", compress_level=PNG_LEVEL, compress_type=PNG_TYPE)


def _confine(max_pixels: int) -> None:
    """Limits that hold for the rest of the process's life."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        memory = 2 * 2**30 + 24 * max_pixels
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    except (ValueError, OSError):  # macOS knows this limit but does not set it
        return


def _allow_time() -> None:
    """SECONDS more of the processor; then the kernel ends the process with SIGXCPU, whatever it is doing."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used + SECONDS, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _send(pipe: BinaryIO, decoded: Decoded) -> None:
    head = json.dumps([decoded.reason, decoded.detail, decoded.facts, decoded.hash, decoded.digests]).encode()
    parts = (head, decoded.png, decoded.thumb, decoded.source)
    pipe.write(_LENGTHS.pack(*map(len, parts)))
    for part in parts:
        pipe.write(part)
    pipe.flush()


def _receive(pipe: socket.socket) -> Decoded:
    head, png, thumb, source = (_read(pipe, length) for length in _LENGTHS.unpack(_read(pipe, _LENGTHS.size)))
    reason, detail, facts, hash, digests = json.loads(head)
    if facts is not None:
        format, mode, width, height, notes = facts
        facts = Facts(format, mode, width, height, tuple(notes))
    return Decoded(reason, detail, facts, hash, png, thumb, source, tuple(digests))
