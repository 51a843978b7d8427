"""Kernel Inception Distance: the squared maximum mean discrepancy under a cubic kernel, unbiased.

Binkowski et al., arXiv 1801.01401, section 4: k(x, y) = (x.y / D + 1)^3, averaged over subsets of both sets.
"""
from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from imggen_jax.errors import MetricsError

SUBSET, SUBSETS = 1000, 100  # size and number, those of the paper's code and of torch-fidelity


def kid(real: np.ndarray, fake: np.ndarray, subsets: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The estimate on each pair of subsets.

    Args:
      real, fake: features float [n,D] and [m,D].
      subsets: pairs of equally many rows of `real` and of `fake`, such as `draw_subsets` gives.

    Returns:
      float64 [number of subsets]. Unbiased: around 0, and as often below it, for two samples of one distribution.
    """
    return np.array([_mmd(np.asarray(real[rows], np.float64), np.asarray(fake[columns], np.float64))
                     for rows, columns in subsets])


def _mmd(x: np.ndarray, y: np.ndarray) -> float:
    m = len(x)
    xx, yy, xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    # Gretton et al. 2012, lemma 6, the unbiased estimate: pairs of a picture with itself are left out.
    within = (xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


def draw_subsets(
    real: int, fake: int, *, size: int = SUBSET, number: int = SUBSETS, seed: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random rows of `real` and of `fake` pictures, each subset without repetition.

    Raises:
      MetricsError: there are fewer pictures than a subset has.
    """
    if min(real, fake) < size or size < 2:
        raise MetricsError(f"KID takes subsets of {size} pictures, but there are {real} real and {fake} fake ones; "
                           "give more pictures, or a smaller subset of at least 2")
    rng = np.random.default_rng([seed, 1])
    return [(rng.choice(real, size, replace=False), rng.choice(fake, size, replace=False)) for _ in range(number)]
