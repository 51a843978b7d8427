"""A third layer, where it is asked for: a log of robust hashes of the pictures that were made, kept on this computer.

A fingerprint is the signs of the 256 lowest frequencies of a picture's luma at 32x32, against their median (C. Zauner,
Implementation and benchmarking of perceptual image hash functions, 2010). It changes little with size, compression,
brightness, blur and noise, and nothing is put into the picture for it; a crop or a turned picture has another one.
"""
from __future__ import annotations

import datetime
import functools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
from PIL import Image

from imggen_jax.errors import RunError
from imggen_jax.provenance.overview import Overview

BITS = 256
NEAR = 36                # bits by which a picture may differ from one in the log that it is taken for
_SIDE = 32
_FIELDS = ("file", "verb", "model", "record", "time")


class Match(NamedTuple):
    """A picture in a log that another one is taken for."""

    distance: int            # bits that differ, of BITS
    mirrored: bool           # it is the mirror image that is near
    made: Mapping[str, str]  # what the log says of it: file, verb, model, record, time


class Seen:
    """The fingerprint of a picture that comes in bands."""

    def __init__(self, height: int, width: int):
        self._overview = Overview(height, width)

    def add(self, band: np.ndarray) -> None:
        """The next rows: uint8 or uint16 [rows,W,C]."""
        self._overview.add(band)

    def bits(self) -> np.ndarray:
        """Of all rows: bool [BITS]."""
        small = Image.fromarray(self._overview.luma()).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        waves = np.asarray(scipy.fft.dctn(np.asarray(small, np.float64), norm="ortho"))[_lowest()]
        return waves > np.median(waves)


@functools.cache
def _lowest() -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the lowest frequencies without the mean, in a fixed order."""
    rows, columns = np.divmod(np.arange(_SIDE * _SIDE), _SIDE)
    order = np.lexsort((rows, rows + columns))[1:BITS + 1]
    return rows[order], columns[order]


def fingerprint(pixels: np.ndarray) -> np.ndarray:
    """bool [BITS] of a picture, uint8 or uint16 [H,W,C] of any size."""
    seen = Seen(*pixels.shape[:2])
    seen.add(pixels)
    return seen.bits()


def add(log: str | Path, bits: np.ndarray, made: Mapping[str, str]) -> None:
    """Add a line to a log, which is made for its owner alone (mode 600); several processes may add to it.

    Raises:
      OSError: it cannot be written.
    """
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    line = json.dumps({"fingerprint": np.packbits(bits).tobytes().hex(), **made, "time": time}) + "\n"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        file.write(line.encode())


def check(log: str | Path) -> None:
    """Raises RunError where a log cannot be written to; makes it where it is not there."""
    try:
        os.close(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    except OSError as error:
        raise RunError(f"the fingerprint log {log} cannot be written to ({error.strerror or error}); name another file"
                       ) from error


class Log(NamedTuple):
    """What a log holds."""

    bits: np.ndarray                       # uint8 [n, BITS / 8], packed
    made: tuple[Mapping[str, str], ...]    # of each

    def whose(self, pixels: np.ndarray, most: int = 5) -> list[Match]:
        """The pictures that one is taken for, the nearest first.

        Args:
          pixels: uint8 or uint16 [H,W,C].
          most: how many of them.
        """
        found: list[Match] = []
        for mirrored in (False, True):
            asked = np.packbits(fingerprint(pixels[:, ::-1] if mirrored else pixels))
            distances = np.bitwise_count(self.bits ^ asked).sum(1, dtype=int)
            near = [int(k) for k in np.argsort(distances, kind="stable")[:most] if distances[k] <= NEAR]
            found += [Match(int(distances[k]), mirrored, self.made[k]) for k in near]
        return sorted(found, key=lambda one: one.distance)[:most]


def read(log: str | Path) -> Log:
    """The fingerprints in a log; damaged lines are left out.

    Raises:
      RunError: it cannot be read, or holds no fingerprint.
    """
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            lines = list(_lines(file))
    except OSError as error:
        raise RunError(f"the fingerprint log {log} cannot be read ({error.strerror or error}); name the file that "
                       "--fingerprints was given") from error
    if not lines:
        raise RunError(f"{log} holds no fingerprint; name the file that --fingerprints was given")
    return Log(np.stack([bits for bits, _ in lines]), tuple(made for _, made in lines))


def _lines(file) -> Iterator[tuple[np.ndarray, dict[str, str]]]:
    for line in file:
        try:
            said: Any = json.loads(line)
            bits = np.frombuffer(bytes.fromhex(said["fingerprint"]), np.uint8)
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        if len(bits) == BITS // 8:
            yield bits, {name: str(said[name])[:400] for name in _FIELDS if name in said}
