"""Inception Score: how sure a classifier is of each picture, and how evenly its classes occur. No real pictures needed.

Salimans et al., arXiv 1606.03498, section 4: exp(E KL(p(y|x) || p(y))).
"""
from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

from imggen_jax.errors import MetricsError

SPLITS = 10  # as in the paper's code


def inception_score(logits: np.ndarray, splits: int = SPLITS) -> np.ndarray:
    """The score of each of `splits` consecutive parts: float64 [splits], each from 1 to the number of classes.

    Args:
      logits: float [n,K] in a random order, n >= splits.
      splits: parts; p(y) is the mean within a part.

    Raises:
      MetricsError: fewer pictures than parts.
    """
    logits = np.asarray(logits, np.float64)
    if len(logits) < splits or splits < 1:
        raise MetricsError(f"an Inception Score over {splits} parts needs as many pictures, not {len(logits)}")
    log_p = log_softmax(logits, axis=-1)
    edges = [i * len(log_p) // splits for i in range(splits + 1)]
    return np.array([_part(log_p[a:b]) for a, b in zip(edges, edges[1:])])


def _part(log_p: np.ndarray) -> float:
    p = np.exp(log_p)
    # A class of probability 0 in every picture adds 0 log 0 = 0, not NaN.
    log_mean = np.log(np.maximum(p.mean(axis=0), np.finfo(np.float64).tiny))
    return float(np.exp((p * (log_p - log_mean)).sum(axis=-1).mean()))
