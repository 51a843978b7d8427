"""The Frechet distance between Gaussians fitted to features: FID in the `inception` space, FD in any other.

    d^2 = |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2))        Dowson and Landau 1982; Heusel et al., arXiv 1706.08500

Moments are summed in float64 and merge, so that the features themselves never need to be in memory.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from imggen_jax.errors import MetricsError


class Moments(NamedTuple):
    """What a Gaussian is fitted from."""

    count: int           # pictures
    mean: np.ndarray     # float64 [D]
    scatter: np.ndarray  # float64 [D,D], the sum over pictures of (x - mean)(x - mean)^T

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased, float64 [D,D]; needs two pictures."""
        return self.scatter / (self.count - 1)


def moments(vectors: np.ndarray) -> Moments:
    """Moments of feature vectors, float [n,D] with n > 0."""
    vectors = np.asarray(vectors, np.float64)
    mean = vectors.mean(axis=0)
    centered = vectors - mean
    return Moments(len(vectors), mean, centered.T @ centered)


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of both sets of pictures together (Chan et al. 1979, "Updating formulae", eq. 1.5)."""
    count = a.count + b.count
    difference = b.mean - a.mean
    mean = a.mean + difference * (b.count / count)
    scatter = a.scatter + b.scatter + np.outer(difference, difference) * (a.count * b.count / count)
    return Moments(count, mean, scatter)


ROWS = 2048  # features gathered before a merge, which costs as much as D more of them


def accumulate(batches: Iterable[np.ndarray]) -> Moments:
    """Moments of a stream of batches, float [n,D]. Memory: ROWS + 3 D vectors, however long the stream.

    Raises:
      MetricsError: an empty stream.
    """
    total, kept, count = None, [], 0

    def add(total):
        found = moments(np.concatenate(kept))
        return found if total is None else merge(total, found)

    for batch in batches:
        for start in range(0, len(batch), ROWS):
            kept.append(batch[start:start + ROWS])
            count += len(kept[-1])
            if count >= ROWS:
                total, kept, count = add(total), [], 0
    if count:
        total = add(total)
    if total is None:
        raise MetricsError("no pictures; a score needs some")
    return total


def frechet_distance(a: Moments, b: Moments) -> float:
    """The squared Frechet distance between two Gaussians, at least 0: FID. See `frechet_distances`."""
    return frechet_distances(a, [b])[0]


def frechet_distances(a: Moments, others: Sequence[Moments]) -> list[float]:
    """The squared Frechet distance of each of the others to `a`; what depends on `a` alone is computed once.

    The trace of (S1 S2)^(1/2) is the sum of the square roots of the eigenvalues of S1^(1/2) S2 S1^(1/2), which is
    symmetric; no square root of a matrix that is not symmetric is ever taken, so singular covariances are no special
    case.

    Raises:
      MetricsError: fewer than two pictures, another number of dimensions, or features that are not finite.
    """
    for b in (a, *others):
        if b.count < 2:
            raise MetricsError(f"a Frechet distance needs at least 2 pictures on each side, not {b.count}")
        if a.mean.shape != b.mean.shape:
            raise MetricsError(f"features of {len(a.mean)} and {len(b.mean)} dimensions cannot be compared")
        if not (np.isfinite(b.mean).all() and np.isfinite(b.scatter).all()):
            raise MetricsError("features are not finite; the pictures or the weights of the feature network are broken")
    values, axes = np.linalg.eigh(a.covariance)
    root = axes * np.sqrt(np.maximum(values, 0))            # S1 = root root^T
    return [_distance(a, root, b) for b in others]


def _distance(a: Moments, root: np.ndarray, b: Moments) -> float:
    shared = root.T @ b.covariance @ root                   # has the eigenvalues of S1^(1/2) S2 S1^(1/2)
    shared_root = np.sqrt(np.maximum(np.linalg.eigvalsh(shared), 0)).sum()
    traces = np.trace(a.scatter) / (a.count - 1) + np.trace(b.scatter) / (b.count - 1)
    squared = np.sum((a.mean - b.mean) ** 2) + traces - 2 * shared_root
    return max(float(squared), 0.0)  # of equal Gaussians, rounding may leave -1e-12
