"""Near duplicates: pictures that look alike though their files differ, such as a copy that was resized or saved again.

Each picture gets a 64-bit perceptual hash: the signs of its lowest frequencies about their median (pHash; Zauner 2010,
"Implementation and Benchmarking of Perceptual Image Hash Functions", section 3.2.1). Copies differ in a few bits. Pairs
are found without comparing all with all, by multi-index hashing (Norouzi et al. 2012, "Fast Search in Hamming Space
with Multi-Index Hashing", arXiv 1307.2982): if two hashes differ in at most 7 bits, then in one of their four 16-bit
parts they differ in at most 1.
"""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

_SIDE, _KEPT, _PARTS = 32, 8, 4
FURTHEST = 7              # bits; the search finds every pair up to here
_AT_ONCE = 1 << 21        # candidates compared at a time
_FLIPS = np.array([0, *(1 << bit for bit in range(16))], np.uint16)

# Orthonormal DCT-II, the first rows: c_k cos(pi (2 n + 1) k / 2 N)
_DCT = np.sqrt(2 / _SIDE) * np.cos(
    np.pi * (2 * np.arange(_SIDE) + 1) * np.arange(_KEPT)[:, None] / (2 * _SIDE)).astype(np.float64)
_DCT[0] /= np.sqrt(2)


def perceptual_hash(picture: Image.Image) -> int:
    """A picture of mode L or RGB -> its hash, in [0, 2**64)."""
    gray = np.asarray(picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), np.float64)
    low = (_DCT @ gray @ _DCT.T).ravel()
    bits = low > np.median(low[1:])  # without the mean, which says how bright the picture is
    bits[0] = False
    # A frequency that a picture does not have would be decided by rounding.
    bits &= np.abs(low) > 0.5
    return int(np.packbits(bits).view(">u8")[0])


def near_pairs(hashes: np.ndarray, distance: int, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of hashes that differ in at most `distance` bits, without repeats.

    hashes: uint64 [N], all different. distance: at most FURTHEST. most: comparisons made at most; then the rest of the
    pairs is left out. Yields index arrays (i, j), int64, with i < j.
    """
    if not 0 <= distance <= FURTHEST:
        raise ValueError(f"near_pairs finds pairs up to {FURTHEST} bits apart, not {distance}")
    parts = np.stack([(hashes >> np.uint64(16 * part)).astype(np.uint16) for part in range(_PARTS)])
    for part in range(_PARTS):
        order = np.argsort(parts[part], kind="stable")
        ranked = parts[part][order]
        for flip in _FLIPS:
            first = np.searchsorted(ranked, parts[part] ^ flip, "left")
            count = np.searchsorted(ranked, parts[part] ^ flip, "right") - first
            for i, place in _expand(first, count):
                most -= len(i)
                if most < 0:
                    return
                j = order[place]
                near = i < j
                i, j = i[near], j[near]
                near = np.bitwise_count(hashes[i] ^ hashes[j]) <= distance
                i, j = i[near], j[near]
                # A pair that an earlier part or flip of this search has found is not told again.
                new = np.bitwise_count(parts[:part, i] ^ parts[:part, j]).min(axis=0, initial=16) > 1
                yield i[new], j[new]


def _expand(first: np.ndarray, count: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row r paired with first[r], ..., first[r] + count[r] - 1: (rows, places), about _AT_ONCE at a time."""
    ends = np.cumsum(count)
    start = 0
    while start < len(count):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _AT_ONCE, "right")))
        rows = np.repeat(np.arange(start, stop), count[start:stop])
        offsets = np.arange(len(rows)) - np.repeat(ends[start:stop] - count[start:stop] - done, count[start:stop])
        yield rows, first[rows] + offsets
        start = stop


def groups(pairs: Iterator[tuple[int, int]]) -> list[list[int]]:
    """Pairs -> the sets of what hangs together, each sorted, in the order of their first members."""
    parent: dict[int, int] = {}

    def root(x: int) -> int:
        while (above := parent.setdefault(x, x)) != x:
            parent[x] = x = parent[above]
        return x

    for i, j in pairs:
        a, b = root(i), root(j)
        parent[max(a, b)] = min(a, b)
    found: dict[int, list[int]] = {}
    for member in sorted(parent):
        found.setdefault(root(member), []).append(member)
    return [found[first] for first in sorted(found)]
