"""KID: the reference's figures, no bias, and its subsets."""
import numpy as np
import pytest
import reference_inputs as inputs

from imggen_jax.errors import MetricsError
from imggen_jax.metrics.kernel import draw_subsets, kid


def test_it_is_that_of_torch_fidelity_on_the_same_subsets(golden):
    rng = np.random.RandomState(3)
    subsets = [(rng.choice(400, 100, replace=False), rng.choice(450, 100, replace=False)) for _ in range(10)]
    found = kid(inputs.features(1, 400, 64), inputs.features(2, 450, 64, 0.1), subsets)
    np.testing.assert_allclose(found, golden["kid"], atol=1e-6)


def test_it_is_around_zero_for_two_samples_of_one_distribution_and_not_for_others():
    a, b = (np.random.RandomState(seed).randn(1000, 4) for seed in range(2))
    subsets = draw_subsets(1000, 1000, size=50, number=200)
    same, shifted = kid(a, b, subsets), kid(a, b + 0.5, subsets)
    assert abs(same.mean()) < 4 * same.std() / np.sqrt(200) + 0.02 and (same < 0).any()
    assert shifted.mean() > 0.2


def test_subsets_are_without_repetition_and_of_the_seed():
    drawn = draw_subsets(30, 40, size=20, number=3, seed=5)
    assert all(len(set(rows)) == len(set(columns)) == 20 and max(rows) < 30 for rows, columns in drawn)
    again, other = (draw_subsets(30, 40, size=20, number=3, seed=seed) for seed in (5, 6))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(drawn, again))
    assert not np.array_equal(drawn[0][0], other[0][0])


def test_too_few_pictures_are_refused():
    with pytest.raises(MetricsError, match="subsets of 1000 pictures, but there are 30 real and 40 fake ones"):
        draw_subsets(30, 40)
