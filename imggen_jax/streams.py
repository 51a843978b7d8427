"""Standard output and error of a command, whose readers may leave, be missing, or know fewer characters."""
from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TextIO


class ReaderGone(Exception):
    """Who read the standard output has left, as `head` does; the command ends without a word."""


class Lasting:
    """A text stream that drops what cannot be written, so that a run survives the reader of its progress."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes what can be written."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # ValueError: the stream is closed
            return len(text)

    def flush(self) -> None:
        """Flushes what can be flushed."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            pass


def prepare() -> None:
    """Makes both streams usable, whatever the command was started with; called once, by the process itself."""
    for descriptor in range(3):  # one that is closed would be given to the next file that is opened
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(errors="backslashreplace")
    sys.stderr = Lasting(sys.stderr)


def say(lines: Iterable[str]) -> None:
    """Print lines at once.

    Raises:
      ReaderGone: nobody reads the standard output any more.
    """
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGone from None


def finish() -> bool:
    """Flush the standard output before the process ends; False if nobody reads it any more."""
    try:
        sys.stdout.flush()
        return True
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        return False
