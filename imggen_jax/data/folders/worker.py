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
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from imggen_jax.data.folders import pixels, similar
from imggen_jax.data.folders.pixels import Facts, Refused, Wanted

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
_LENGTHS = struct.Struct("<III")


class Decoded(NamedTuple):
    """What became of a file's bytes."""

    reason: str          # why it is left out, "" if it is not
    detail: str
    facts: Facts | None  # None where it is left out
    hash: int            # `similar.perceptual_hash`
    png: bytes           # the picture, b"" where it is left out
    thumb: bytes         # a JPEG of what is left out, b"" if nothing of it can be shown


class Worker:
    """One process that decodes. Not for two threads at once."""

    def __init__(self, wanted: Wanted):
        self.wanted = wanted
        self.process = self._start()

    def _start(self) -> subprocess.Popen:
        package = Path(__file__).resolve().parents[3]
        path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            # -P: the current folder may be the very one that is not trusted.
            [sys.executable, "-P", "-c", _PROGRAM, json.dumps(self.wanted)],
            env={**os.environ, **_MEMORY, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if process.stdout.read(len(_READY)) != _READY:
            raise RuntimeError("a process that decodes pictures ended at its start, with exit code "
                               f"{process.wait()}; see what `{sys.executable} -c '{_PROGRAM}'` says")
        return process

    def decode(self, data: bytes) -> Decoded:
        """Decodes one file's bytes; a picture that kills the process is left out, and a new process takes over."""
        try:
            self.process.stdin.write(struct.pack("<Q", len(data)))
            self.process.stdin.write(data)
            self.process.stdin.flush()
            return _receive(self.process.stdout)
        except (BrokenPipeError, EOFError):
            code = self.process.wait()
            self.close()
            self.process = self._start()
            if code == -signal.SIGXCPU:
                return Decoded("too slow", f"decoding takes more than {SECONDS} seconds", None, 0, b"", b"")
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return Decoded("broken", f"it made the decoder crash ({name})", None, 0, b"", b"")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:  # bytes that the process did not live to read
                continue


@contextmanager
def crew(number: int, wanted: Wanted) -> Iterator[queue.SimpleQueue]:
    """A queue of `number` workers: get one, use it, put it back."""
    workers: list[Worker] = []
    idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    try:
        for _ in range(number):
            workers.append(Worker(wanted))
            idle.put(workers[-1])
        yield idle
    finally:
        for worker in workers:
            worker.close()


# ------------------------------------------------------------------------------------------------ inside the process


def main() -> None:
    """Decodes what comes on standard input until it ends; the command line holds `Wanted` as JSON."""
    read, write = sys.stdin.buffer, sys.stdout.buffer
    size, fit, background, min_side, max_pixels = json.loads(sys.argv[1])
    wanted = Wanted(size, fit, tuple(background), min_side, max_pixels)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    pixels.Image.MAX_IMAGE_PIXELS = None          # wanted.max_pixels counts instead
    _confine(max_pixels)
    write.write(_READY)
    write.flush()
    while header := read.read(8):
        data = read.read(*struct.unpack("<Q", header))
        _allow_time()
        _send(write, decode(data, wanted))


def decode(data: bytes, wanted: Wanted) -> Decoded:
    """What a worker does with one file's bytes."""
    try:
        picture, facts = pixels.square(data, wanted)
    except Refused as error:
        return Decoded(error.reason, str(error), None, 0, b"",
                       pixels.thumbnail(data, THUMB, wanted.max_pixels) or b"")
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=PNG_LEVEL, compress_type=PNG_TYPE)
    return Decoded("", "", facts, similar.perceptual_hash(picture), out.getvalue(), b"")


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
    head = json.dumps([decoded.reason, decoded.detail, decoded.facts, decoded.hash]).encode()
    pipe.write(_LENGTHS.pack(len(head), len(decoded.png), len(decoded.thumb)))
    pipe.write(head + decoded.png + decoded.thumb)
    pipe.flush()


def _receive(pipe: BinaryIO) -> Decoded:
    def read(length: int) -> Any:
        data = pipe.read(length)
        if len(data) < length:
            raise EOFError
        return data

    head, png, thumb = (read(length) for length in _LENGTHS.unpack(read(_LENGTHS.size)))
    reason, detail, facts, hash = json.loads(head)
    if facts is not None:
        *plain, notes = facts
        facts = Facts(*plain, tuple(notes))
    return Decoded(reason, detail, facts, hash, png, thumb)
