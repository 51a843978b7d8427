"""The Inception Score between its two ends, and the reference's figures."""
import numpy as np
import pytest
import reference_inputs as inputs

from imggen_jax.errors import MetricsError
from imggen_jax.metrics.inception_score import inception_score


def test_it_is_that_of_torch_fidelity(golden):
    found = inception_score(3 * inputs.features(5, 500, 20), 10)
    np.testing.assert_allclose([found.mean(), found.std()], golden["inception_score"], rtol=1e-6)


def test_sure_and_even_is_the_number_of_classes_and_unsure_is_one():
    sure = np.where(np.eye(5)[np.arange(100) % 5] > 0, 1000.0, -1000.0)  # probabilities of exactly 0
    np.testing.assert_allclose(inception_score(sure, 4), 5.0)
    np.testing.assert_allclose(inception_score(np.zeros((100, 5)), 4), 1.0)
    np.testing.assert_allclose(inception_score(sure[np.zeros(100, int)], 4), 1.0)


def test_too_few_pictures_are_refused():
    with pytest.raises(MetricsError, match="over 10 parts needs as many pictures, not 9"):
        inception_score(np.zeros((9, 3)))
