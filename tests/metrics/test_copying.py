"""The data-copying test on distributions whose answer is known."""
import numpy as np
import pytest

from imggen_jax.errors import MetricsError
from imggen_jax.metrics.copying import data_copying, mann_whitney


def normal(seed, number, dims=6):
    return np.random.RandomState(seed).randn(number, dims)


@pytest.mark.parametrize("cells", [0, 1, 5])
def test_copies_are_flagged_and_honest_samples_are_not(cells):
    train, held_out, honest = normal(0, 500), normal(1, 400), normal(2, 400)
    copies = train[np.random.RandomState(3).choice(500, 400)] + 0.05 * normal(4, 400)
    found = data_copying(train, held_out, copies, cells=cells)
    assert found.statistic < -10 and found.copies and found.nearer > 0.5
    found = data_copying(train, held_out, honest, cells=cells)
    assert abs(found.statistic) < 3 and not found.copies and found.nearer < 0.02


@pytest.mark.parametrize("cells", [1, 5, 10])
def test_z_has_a_deviation_of_one_for_honest_samples_whatever_the_cells(cells):
    found = [data_copying(*(normal(3 * seed + k, 400, 3) for k in range(3)), cells=cells) for seed in range(40)]
    assert np.std([one.z for one in found]) == pytest.approx(1, abs=0.3)
    if cells == 10:  # the mean over cells has less
        assert np.std([one.statistic for one in found]) < 0.5


def test_bad_pictures_are_farther_not_nearer():
    found = data_copying(normal(0, 500), normal(1, 400), 3 * normal(2, 400))
    assert found.statistic > 10 and not found.copies


def test_copies_of_one_kind_do_not_hide_behind_strangeness_of_another():
    """Half of the pictures are copies, half are far off; over all of space the distances would cancel."""
    left = np.array([20.0, 0, 0, 0, 0, 0])
    train = np.concatenate([normal(0, 400), normal(1, 400) + left])
    held_out = np.concatenate([normal(2, 300), normal(3, 300) + left])
    fake = np.concatenate([train[:300] + 1e-3, 2.5 * normal(4, 300) + left])
    apart, together = (data_copying(train, held_out, fake, cells=cells) for cells in (2, 1))
    assert apart.cells == 2 and abs(together.statistic) < abs(apart.statistic) + 10
    assert apart.nearer == pytest.approx(0.5, abs=0.02)


def test_the_nearest_training_picture_is_found():
    train = normal(0, 100)
    found = data_copying(train, normal(1, 50), train[[7, 3] * 20] + 1e-6)
    assert found.nearest[:2].tolist() == [7, 3] and found.distances.max() < 1e-4


def test_mann_whitney_is_the_textbooks():
    a, b = np.array([1.0, 2.0, 4.0]), np.array([3.0, 5.0, 6.0, 7.0])
    # a beats b in 1 of 12 pairs; U = 1, mean 6, deviation sqrt(3 * 4 * 8 / 12)
    assert mann_whitney(a, b) == pytest.approx((1 - 6) / np.sqrt(8))
    assert mann_whitney(np.ones(5), np.ones(6)) == 0.0
    assert mann_whitney(a, b) == -mann_whitney(b, a)


def test_too_few_pictures_are_refused():
    with pytest.raises(MetricsError, match="at least 20 held-out and 20 generated pictures, not 19 and 40"):
        data_copying(normal(0, 50), normal(1, 19), normal(2, 40))
