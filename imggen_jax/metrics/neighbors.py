"""Scores from nearest neighbors: improved precision and recall, density and coverage.

A set of pictures is taken for the union of balls around its members, each as large as the distance to the k-th nearest
other member. Distances are computed a block of rows at a time, so memory is that of the features and one block.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from imggen_jax.errors import MetricsError

PRECISION_K, DENSITY_K = 3, 5  # neighbors: Kynkaanniemi et al., arXiv 1904.06991; Naeem et al., arXiv 2002.09797
BLOCK = 1024                   # rows


class Neighbors(NamedTuple):
    """Shares of pictures in [0,1]; density alone can be above 1."""

    precision: float  # of fakes inside a ball of a real picture: quality
    recall: float     # of reals inside a ball of a fake picture: variety
    density: float    # mean number of real balls around a fake, over k: quality, less moved by outliers
    coverage: float   # of reals with a fake in their own ball: variety


def neighbors(real: np.ndarray, fake: np.ndarray, k: int) -> Neighbors:
    """All four scores with k neighbors; as the `prdc` package computes them, comparisons being strict.

    Args:
      real, fake: features float [n,D] and [m,D]. The scores depend on n and m, so compare those of equal numbers.
      k: neighbors, not counting the picture itself.

    Raises:
      MetricsError: not more than k pictures on a side.
    """
    return several_neighbors(real, fake, (k,))[0]


def several_neighbors(real: np.ndarray, fake: np.ndarray, ks: Sequence[int]) -> list[Neighbors]:
    """`neighbors` for each k, from distances that are computed once."""
    k = max(ks)
    if min(len(real), len(fake)) <= k:
        raise MetricsError(f"{k} nearest neighbors need more than {k} pictures on each side, not {len(real)} real and "
                           f"{len(fake)} fake ones")
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    real_radii, fake_radii = radii(real, ks), radii(fake, ks)
    balls = np.zeros((len(ks), len(fake)))  # of reals around each fake
    recalled, covered = np.zeros((2, len(ks)), int)
    for rows, distances in _blocks(real, fake):
        for i in range(len(ks)):
            inside = distances < real_radii[rows, i, None]
            balls[i] += inside.sum(axis=0)
            recalled[i] += (distances < fake_radii[:, i]).any(axis=1).sum()
            covered[i] += inside.any(axis=1).sum()
    return [Neighbors(float((balls[i] > 0).mean()), int(recalled[i]) / len(real), float(balls[i].mean() / k),
                       int(covered[i]) / len(real)) for i, k in enumerate(ks)]


def radii(vectors: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """The squared distance of each picture to its k-th nearest other one, for each k: float64 [n,len(ks)]."""
    found = np.empty((len(vectors), len(ks)))
    for rows, distances in _blocks(vectors, vectors):
        distances[np.arange(len(distances)), np.arange(rows.start, rows.stop)] = 0.0  # itself, free of rounding
        found[rows] = np.partition(distances, sorted(set(ks)), axis=1)[:, list(ks)]
    return found


def nearest(queries: np.ndarray, to: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest member of `to` for each query: (row int64 [n], squared distance float64 [n])."""
    queries, to = np.asarray(queries, np.float64), np.asarray(to, np.float64)
    rows, squared = np.empty(len(queries), np.int64), np.empty(len(queries))
    for part, distances in _blocks(queries, to):
        rows[part] = distances.argmin(axis=1)
        squared[part] = distances[np.arange(len(distances)), rows[part]]
    return rows, squared


def _blocks(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """(rows of a, squared distances float64 [rows,len(b)] to all of b), a block of rows at a time."""
    lengths = np.einsum("nd,nd->n", b, b)
    for start in range(0, len(a), BLOCK):
        rows = slice(start, min(start + BLOCK, len(a)))
        part = a[rows]
        squared = np.einsum("nd,nd->n", part, part)[:, None] + lengths - 2 * (part @ b.T)
        yield rows, np.maximum(squared, 0, out=squared)
