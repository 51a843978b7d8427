"""The waves that the watermark is a sum of: where they lie, and what a picture says along them.

A picture is divided by its local variance, as is best for a known signal in noise of that variance, and whitened. The
phases of the waves are independent of any picture, so that the statistic of an unmarked one is a sum of independent
terms of mean 0 and known variance: a false-positive rate follows from it.
"""
# pyright: reportAttributeAccessIssue=false
# NumPy's types do not know that arrays of any dtype have a real and an imaginary part.
from __future__ import annotations

import functools
import hashlib
import math
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
from scipy import ndimage

from imggen_jax.provenance import coding

_fft: Any = scipy.fft            # whose types say nothing of what they return
_ndimage: Any = ndimage

WORK = 128               # side of the working size
REACHES = 20, 40, 56     # waves across a picture, at most, in small to large ones
_LOW = 4                 # at least
_SYNC = 0.4              # share of the waves that are always the same
_KEY = b"imggen_jax watermark 1"
_WINDOW, _FLOOR = 5, 1.5             # pixels over which variance is local; gray levels that are added to its root
_SMOOTH, _LIMIT = 7, 2.0             # waves over which a spectrum is smoothed; most that one counts, of their mean


class Pattern(NamedTuple):
    """The waves, as places in the half spectrum of the working size."""

    rows: np.ndarray     # int [n]
    columns: np.ndarray  # int [n]
    phases: np.ndarray   # complex64 [n], of size 1
    bits: np.ndarray     # int [n]: of the code, -1 for what is always the same
    ends: np.ndarray     # int: how many of them, the longest first, a mark of each reach holds


@functools.cache
def pattern() -> Pattern:
    """The waves that all marks of this project are made of."""
    rows, columns = np.meshgrid(np.fft.fftfreq(WORK, 1 / WORK).astype(int), np.arange(WORK // 2 + 1), indexing="ij")
    radius = np.hypot(rows, columns)
    inside = (radius >= _LOW) & (radius <= REACHES[-1]) & ((columns > 0) | (rows > 0))
    order = np.lexsort((columns[inside], rows[inside], radius[inside]))
    rows, columns = rows[inside][order], columns[inside][order]
    # Bits, and what is always the same, get their share of each octave.
    roles = np.r_[np.arange(coding.BITS), np.full(round(coding.BITS * _SYNC / (1 - _SYNC)), -1)]
    blocks = -(-len(rows) // len(roles))
    bits = roles[_words(b"roles", blocks * len(roles)).reshape(blocks, -1).argsort(1, kind="stable")]
    phases = np.exp(2j * np.pi * _words(b"phases", len(rows)) / 2**32).astype(np.complex64)
    ends = np.searchsorted(np.hypot(rows, columns), REACHES, side="right")
    return Pattern(rows, columns, phases, bits.reshape(-1)[:len(rows)], ends)


def _words(name: bytes, n: int) -> np.ndarray:
    """uint32 [n] from SHA-256; the streams of NumPy's generators may change with its version."""
    blocks = [hashlib.sha256(_KEY + name + k.to_bytes(4, "big")).digest() for k in range(-(-n // 8))]
    return np.frombuffer(b"".join(blocks), "<u4")[:n]


@functools.cache
def sync(end: int) -> np.ndarray:
    """Places among the first `end` waves of those that are always the same."""
    return np.flatnonzero(pattern().bits[:end] < 0)


def statistic(along: np.ndarray) -> float:
    """How many standard deviations a picture is above the mean of unmarked ones.

    Args:
      along: complex64 [n], `spectrum` turned back by the waves' phases.
    """
    waves = along[sync(len(along))]
    return float(waves.real.sum()) / deviation(waves)


def deviation(waves: np.ndarray) -> float:
    """The standard deviation of the sum of the waves' real parts, if their phases are random."""
    return math.sqrt(max(float(np.sum(waves.real**2 + waves.imag**2)) / 2, 1e-12))


def normalized(work: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture without its local mean, by its local variance; and the root of that in gray levels. float32 [H,W]."""
    detail = work - _local_mean(work)
    contrast = np.sqrt(_local_mean(detail * detail))
    return detail / (contrast + _FLOOR)**2, contrast


def _local_mean(values: np.ndarray) -> np.ndarray:
    """Over squares of _WINDOW pixels, mirrored at the edges. SciPy's filter takes three times as long."""
    height, width = values.shape
    around = values[_mirrored(height)]
    values = sum((around[k : k + height] for k in range(1, _WINDOW)), start=around[:height])
    around = values.take(_mirrored(width), 1)
    values = sum((around[:, k : k + width] for k in range(1, _WINDOW)), start=around[:, :width])
    return values * np.float32(1 / _WINDOW**2)


@functools.lru_cache(maxsize=256)
def _mirrored(n: int) -> np.ndarray:
    return np.pad(np.arange(n), _WINDOW // 2, mode="symmetric")


def spectrum(normal: np.ndarray, end: int | None = None) -> np.ndarray:
    """The first waves in a normalized picture, whitened, limited and turned back by their phases: complex64 [end].

    Args:
      normal: float32 [WORK,WORK], as `normalized` gives it.
      end: how many; None: all.
    """
    at, back = (each[:end] for each in _places())
    whole = _fft.rfft2(normal)
    power = _ndimage.uniform_filter(whole.real**2 + whole.imag**2, _SMOOTH, mode=("wrap", "nearest"))
    found = whole.take(at) / (np.sqrt(power.take(at)) + np.float32(1e-6))
    found *= back
    return found / np.maximum(1, np.abs(found) / _LIMIT)


@functools.cache
def _places() -> tuple[np.ndarray, np.ndarray]:
    """Of the waves in a half spectrum that is one row: int [n]; and the opposites of their phases, complex64 [n]."""
    plan = pattern()
    return plan.rows % WORK * (WORK // 2 + 1) + plan.columns, plan.phases.conj()


def summed(values: np.ndarray) -> np.ndarray:
    """float32 [WORK,WORK], of mean square 1: the sum of the first waves with these amplitudes and phases.

    Args:
      values: complex64 [n].
    """
    rows, columns = (each[:len(values)] for each in (pattern().rows, pattern().columns))
    half = np.zeros((WORK, WORK // 2 + 1), np.complex64)
    half[rows, columns] = values
    edge = columns == 0
    half[-rows[edge], 0] = values[edge].conj()
    added = _fft.irfft2(half, s=(WORK, WORK))
    return added / np.sqrt(np.mean(added**2))
