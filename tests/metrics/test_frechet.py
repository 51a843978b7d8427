"""The Frechet distance: known answers, the references' figures, and moments that stream and merge."""
import numpy as np
import pytest
import reference_inputs as inputs

from imggen_jax.errors import MetricsError
from imggen_jax.metrics.frechet import Moments, accumulate, frechet_distance, frechet_distances, merge, moments


def gaussian(mean, covariance):
    """Moments as of infinitely many samples."""
    return Moments(10**9 + 1, np.asarray(mean, float), np.asarray(covariance, float) * 10**9)


def test_distance_between_gaussians_in_closed_form():
    a, b = np.array([4.0, 1.0, 0.25]), np.array([1.0, 9.0, 0.25])
    expected = 0.5**2 + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)  # of covariances that commute
    turn = np.linalg.qr(np.random.RandomState(0).randn(3, 3))[0]
    found = frechet_distance(gaussian([0, 0, 0], turn @ np.diag(a) @ turn.T),
                             gaussian([0.3, 0.4, 0], turn @ np.diag(b) @ turn.T))
    assert found == pytest.approx(expected, rel=1e-9)
    # In one dimension: (m1 - m2)^2 + (s1 - s2)^2.
    assert frechet_distance(gaussian([1.0], [[4.0]]), gaussian([3.0], [[9.0]])) == pytest.approx(5.0)


def test_singular_covariances_are_no_special_case():
    a, b = np.diag([1.0, 0.0, 0.0]), np.diag([0.0, 4.0, 0.0])
    assert frechet_distance(gaussian([0] * 3, a), gaussian([0] * 3, b)) == pytest.approx(5.0)
    x = inputs.features(1, 20, 64)
    assert 0 <= frechet_distance(moments(x), moments(x)) < 1e-4


@pytest.mark.parametrize(("number", "dims", "shift"), [(700, 64, 0.1), (2000, 512, 0.02)])
def test_it_is_that_of_pytorch_fid(number, dims, shift, golden):
    found = frechet_distance(moments(inputs.features(1, number, dims)),
                             moments(inputs.features(2, number + 50, dims, shift)))
    assert found == pytest.approx(golden[f"frechet_{dims}"], rel=1e-6)


def test_moments_do_not_depend_on_batches_or_order():
    x = inputs.features(3, 5000, 8, shift=100.0)
    whole = moments(x)
    assert np.allclose(whole.covariance, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-9)
    for parts in ([x], [x[:1], x[1:7], x[7:]], list(x[::-1].reshape(50, 100, 8))):
        found = accumulate(parts)
        assert found.count == 5000
        np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-12)
        np.testing.assert_allclose(found.scatter, whole.scatter, rtol=1e-9, atol=1e-6)
    left, right = merge(moments(x[:10]), moments(x[10:])), merge(moments(x[10:]), moments(x[:10]))
    np.testing.assert_allclose(left.scatter, right.scatter, rtol=1e-9, atol=1e-6)


def test_several_distances_are_those_of_each():
    a, *others = (moments(inputs.features(seed, 100, 8)) for seed in range(4))
    assert frechet_distances(a, others) == [frechet_distance(a, b) for b in others]


def test_what_has_no_distance_is_refused():
    one, two, broken = moments(np.ones((1, 3))), moments(np.eye(3)), moments(np.full((3, 3), np.nan))
    for pair, message in (((one, two), "at least 2 pictures"), ((two, moments(np.eye(4))), "3 and 4 dimensions"),
                          ((two, broken), "not finite")):
        with pytest.raises(MetricsError, match=message):
            frechet_distance(*pair)
    with pytest.raises(MetricsError, match="no pictures"):
        accumulate([])
