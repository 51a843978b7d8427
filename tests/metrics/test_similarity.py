"""PSNR and SSIM: the reference's figures and known answers."""
import math

import numpy as np
import pytest
import reference_inputs as inputs

from imggen_jax.errors import MetricsError
from imggen_jax.metrics.similarity import psnr, ssim


@pytest.fixture
def pair():
    a = inputs.pictures(1, 3, 40, 33)
    return a, np.clip(a + np.random.RandomState(4).randint(-25, 25, a.shape), 0, 255).astype(np.uint8)


def test_they_are_those_of_scikit_image(pair, golden):
    np.testing.assert_allclose(psnr(*pair), golden["psnr"], rtol=1e-9)
    np.testing.assert_allclose(ssim(*pair), golden["ssim"], rtol=1e-9)


def test_equal_pictures_and_a_known_error(pair):
    a, _ = pair
    assert psnr(a, a).tolist() == [math.inf] * 3
    np.testing.assert_allclose(ssim(a, a), 1.0)
    gray = np.full((1, 16, 16, 1), 100, np.uint8)
    assert psnr(gray, gray + np.uint8(10))[0] == pytest.approx(20 * math.log10(25.5))
    # Of two even grays, SSIM is its first factor.
    c = (0.01 * 255) ** 2
    assert ssim(gray, gray + np.uint8(10))[0] == pytest.approx((2 * 100 * 110 + c) / (100**2 + 110**2 + c))


def test_what_cannot_be_compared_is_refused(pair):
    a, b = pair
    for x, y, message in ((a, b[:2], "of one shape"), (a.astype(float), b, "uint8"), (a[:0], b[:0], "uint8")):
        with pytest.raises(MetricsError, match=message):
            psnr(x, y)
    with pytest.raises(MetricsError, match="at least 11 pixels on each side, not 33x8"):
        ssim(a[:, :8], b[:, :8])
