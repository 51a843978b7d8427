"""Counts of the classes that a classifier finds in pictures: modes, and the balance of attributes."""
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

CONFIDENCE = 1.959963984540054  # standard deviations on each side of a 95% interval


class Modes(NamedTuple):
    found: int     # classes that occur at least once
    kl: float      # KL(pictures || data) over classes, nats


def modes(labels: np.ndarray, classes: int, expected: np.ndarray | None = None) -> Modes:
    """Classes that pictures fall into (Srivastava et al., arXiv 1705.07761, section 4).

    labels: int [n] in [0, classes). expected: shares of the classes in the data, float [classes]; None for even ones.
    """
    share = np.bincount(labels, minlength=classes) / len(labels)
    expected = np.full(classes, 1 / classes) if expected is None else np.asarray(expected, np.float64)
    there = share > 0
    if (expected[there] == 0).any():
        return Modes(int(there.sum()), math.inf)
    return Modes(int(there.sum()), float(np.sum(share[there] * np.log(share[there] / expected[there]))))


class Share(NamedTuple):
    """How often something occurs, with a 95% interval."""

    value: float
    low: float
    high: float


def share(count: int, number: int) -> Share:
    """Wilson's interval (1927) for a share, which never leaves [0,1] and does not vanish at 0 or 1."""
    p, z2 = count / number, CONFIDENCE**2
    middle = (p + z2 / (2 * number)) / (1 + z2 / number)
    reach = CONFIDENCE / (1 + z2 / number) * math.sqrt(p * (1 - p) / number + z2 / (4 * number**2))
    # At 0 and at 1 a bound is the share itself, which rounding would pass by a little.
    return Share(p, min(p, max(0.0, middle - reach)), max(p, min(1.0, middle + reach)))


def shares(labels: np.ndarray, classes: int) -> list[Share]:
    """Of each class: labels int [n] in [0, classes)."""
    return [share(int(count), len(labels)) for count in np.bincount(labels, minlength=classes)]


def total_variation(labels: np.ndarray, others: np.ndarray, classes: int) -> float:
    """Half the sum of differences between two sets' shares of the classes, from 0 to 1."""
    a, b = (np.bincount(each, minlength=classes) / len(each) for each in (labels, others))
    return float(0.5 * np.abs(a - b).sum())


def total_variation_by_chance(labels: np.ndarray, others: np.ndarray, classes: int, *, seed: int = 0,
                              draws: int = 1000) -> float:
    """The total variation that two samples as large exceed once in twenty times if both are of one population."""
    both = np.concatenate([labels, others])
    p = np.bincount(both, minlength=classes) / len(both)
    rng = np.random.default_rng([seed, 5])
    a, b = (rng.multinomial(len(each), p, size=draws) / len(each) for each in (labels, others))
    return float(np.quantile(0.5 * np.abs(a - b).sum(axis=1), 0.95))
