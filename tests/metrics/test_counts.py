"""Modes and balance: known answers."""
import math

import numpy as np
import pytest

from imggen_jax.metrics import counts


def test_modes_and_kl_of_known_shares():
    even = np.arange(1000)
    assert counts.modes(even, 1000) == (1000, pytest.approx(0, abs=1e-12))
    assert counts.modes(even[:500], 1000) == (500, pytest.approx(math.log(2)))
    assert counts.modes(np.zeros(7, int), 10) == (1, pytest.approx(math.log(10)))
    assert counts.modes(np.array([0, 0, 0, 1]), 2, np.array([0.75, 0.25])).kl == pytest.approx(0, abs=1e-12)
    assert counts.modes(np.array([0, 1]), 2, np.array([1.0, 0.0])).kl == math.inf


def test_an_interval_holds_its_share_at_either_end():
    for number in (100, 500, 1000, 2000, 5000, 10_000):
        for count in (0, number):
            one = counts.share(count, number)
            assert one.low <= one.value <= one.high


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    for p, number in ((0.5, 40), (0.05, 200)):
        found = [counts.share(int(count), number) for count in rng.binomial(number, p, 2000)]
        assert np.mean([one.low <= p <= one.high for one in found]) == pytest.approx(0.95, abs=0.03)
    none = counts.share(0, 50)
    assert none.value == none.low == 0 and 0 < none.high < 0.1


def test_total_variation_between_sets_and_by_chance():
    a, b = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    assert counts.total_variation(a, b, 3) == 0.25
    rng = np.random.default_rng(1)
    even, other = rng.integers(0, 5, 2000), rng.integers(0, 5, 2000)
    chance = counts.total_variation_by_chance(even, other, 5)
    assert counts.total_variation(even, other, 5) < 1.2 * chance < 0.06
    skewed = rng.choice(5, 2000, p=[0.4, 0.15, 0.15, 0.15, 0.15])
    assert counts.total_variation(skewed, even, 5) > 3 * counts.total_variation_by_chance(skewed, even, 5)
    assert [round(one.value, 2) for one in counts.shares(np.array([0, 2, 2, 2]), 3)] == [0.25, 0, 0.75]
