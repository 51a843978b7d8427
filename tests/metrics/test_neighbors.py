"""Precision, recall, density and coverage: the reference's figures, a plain computation, and published ones."""
import numpy as np
import pytest
import reference_inputs as inputs

from imggen_jax.errors import MetricsError
from imggen_jax.metrics import neighbors as module
from imggen_jax.metrics.neighbors import nearest, neighbors, several_neighbors


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("block", [64, 1024])
def test_they_are_those_of_prdc_whatever_the_block(k, block, golden, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    found = neighbors(inputs.features(1, 300, 32), inputs.features(2, 350, 32, 0.15), k)
    assert found._asdict() == pytest.approx(golden[f"prdc_{k}"], abs=1e-15)


def test_several_numbers_of_neighbors_share_their_distances():
    sets = inputs.features(1, 200, 8), inputs.features(2, 220, 8, 0.2)
    assert several_neighbors(*sets, (5, 3)) == [neighbors(*sets, 5), neighbors(*sets, 3)]


def test_they_do_not_depend_on_the_order():
    a, b = inputs.features(1, 200, 8), inputs.features(2, 220, 8, 0.2)
    assert neighbors(a[::-1], np.random.RandomState(0).permutation(b), 3) == pytest.approx(neighbors(a, b, 3))


def test_the_same_pictures_are_as_good_and_others_have_nothing_in_common():
    a = inputs.features(1, 50, 8)
    same = neighbors(a, a, 3)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    assert neighbors(a, a + 100, 3) == (0, 0, 0, 0)


def test_nearest_is_that_of_a_plain_search():
    a, b = inputs.features(1, 30, 5), inputs.features(2, 40, 5)
    squared = np.square(a[:, None].astype(float) - b[None]).sum(-1)
    rows, found = nearest(a, b)
    assert np.array_equal(rows, squared.argmin(1))
    np.testing.assert_allclose(found, squared.min(1), atol=1e-9)


def test_too_few_pictures_are_refused():
    with pytest.raises(MetricsError, match="5 nearest neighbors need more than 5 pictures"):
        neighbors(np.zeros((5, 2)), np.zeros((9, 2)), 5)


@pytest.mark.slow
def test_the_published_figures_of_two_normal_samples():
    """Naeem et al., arXiv 2002.09797, table 1 of the code's README: N(0, I), 10,000 samples of 1,000 dimensions.

    They are of one draw. Over five draws the standard deviations were 0.014, 0.011, 0.11 and 0.012: with so many
    dimensions a few real pictures are near to most fakes, and density counts them each time.
    """
    real, fake = (np.random.RandomState(seed).randn(10_000, 1_000).astype(np.float32) for seed in range(2))
    found = neighbors(real, fake, 5)
    np.testing.assert_array_less(np.abs(np.subtract(found, [0.477, 0.471, 1.056, 0.974])), [0.04, 0.035, 0.33, 0.036])
