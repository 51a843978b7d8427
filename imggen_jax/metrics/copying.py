"""Whether a generator copies its training pictures.

Meehan et al., arXiv 2004.05675: a generator that copies is nearer to the training pictures than held-out pictures are,
which come from the same distribution and could not be copied. Distances are between features.
"""
from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np

from imggen_jax.errors import MetricsError
from imggen_jax.metrics import neighbors

COPIES = -3.0       # a z below it counts as copying: of honest generators one in 700 gets there
LEAST = 20          # generated and held-out pictures in a cell that counts; the normal approximation needs some
ITERATIONS = 25     # of k-means


class Copying(NamedTuple):
    """Result of the comparison of distances to the nearest training picture."""

    statistic: float      # C_T, the mean z of the cells: below 0 nearer than held-out pictures, above 0 farther
    z: float              # the same in its own standard deviations, of which a mean of many cells has less than one
    nearer: float         # share of generated pictures nearer to a training picture than any held-out picture is
    cells: int            # that had pictures enough to count
    nearest: np.ndarray   # int64 [n], the row of each generated picture's nearest training picture
    distances: np.ndarray  # float64 [n], to it

    @property
    def copies(self) -> bool:
        return self.z < COPIES


def data_copying(
    train: np.ndarray, held_out: np.ndarray, fake: np.ndarray, *, cells: int = 0, seed: int = 0
) -> Copying:
    """The data-copying test, and the nearest training picture of each generated one.

    Args:
      train, held_out, fake: features float [n,D].
      cells: parts of the space, by k-means on the training pictures, that are tested apart, so that a generator cannot
        hide copies of some kinds behind strangeness of others; 0 for one for every 200 of the smaller of the two
        sets that are compared, at most 20.
      seed: of k-means.

    Raises:
      MetricsError: too few pictures for a single cell.
    """
    least = min(len(held_out), len(fake))
    if least < LEAST:
        raise MetricsError(f"the test for copying needs at least {LEAST} held-out and {LEAST} generated pictures, not "
                           f"{len(held_out)} and {len(fake)}")
    cells = cells or max(1, min(20, least // 200))
    nearest, near_fake = neighbors.nearest(fake, train)
    _, near_held_out = neighbors.nearest(held_out, train)
    centers = _k_means(np.asarray(train, np.float64), cells, seed)
    cell_fake, cell_held_out = (neighbors.nearest(each, centers)[0] for each in (fake, held_out))
    found, shares = [], []
    for cell in range(len(centers)):
        a, b = near_fake[cell_fake == cell], near_held_out[cell_held_out == cell]
        if min(len(a), len(b)) >= LEAST:
            found.append(mann_whitney(a, b))
            shares.append(len(b))  # C_T's weights: the cells' shares of the held-out pictures
    if not found:
        return data_copying(train, held_out, fake, cells=1, seed=seed)
    nearer = float(np.mean(near_fake < near_held_out.min()))
    # Cells are independent, and each z has a deviation of 1: their weighted sum has that of the weights' length.
    total = float(np.dot(shares, found))
    return Copying(total / sum(shares), total / float(np.linalg.norm(shares)), nearer, len(found), nearest,
                   np.sqrt(near_fake))


def mann_whitney(a: np.ndarray, b: np.ndarray) -> float:
    """The z-score of Mann and Whitney's U (1947), with a correction for ties: below 0 where a is smaller than b."""
    n, m = len(a), len(b)
    values, place, counts = np.unique(np.concatenate([a, b]), return_inverse=True, return_counts=True)
    del values
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    u = ranks[:n].sum() - n * (n + 1) / 2
    ties = float((counts.astype(np.float64) ** 3 - counts).sum()) / ((n + m) * (n + m - 1))
    deviation = math.sqrt(n * m / 12 * (n + m + 1 - ties))
    return (u - n * m / 2) / deviation if deviation else 0.0


def _k_means(vectors: np.ndarray, cells: int, seed: int) -> np.ndarray:
    """Centres, float64 [cells,D], from random members (Lloyd 1982)."""
    from scipy.cluster.vq import kmeans2

    centers = vectors[np.random.default_rng([seed, 4]).choice(len(vectors), min(cells, len(vectors)), replace=False)]
    if cells == 1:
        return centers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cells that became empty, whose centers stay
        return kmeans2(vectors, centers, iter=ITERATIONS, minit="matrix")[0]
