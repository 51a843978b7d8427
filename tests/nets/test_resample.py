"""Resampling is the published filter: the same as an explicit depthwise convolution, and adjoint to itself."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from imggen_jax.nets.resample import downsample, upsample

# arXiv 2501.05441's code: [1,2,1] convolved with [1,1], as an outer product with sum one.
FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def image(*shape):
    return jax.random.normal(jax.random.key(0), shape)


def depthwise(x, kernel, **how):
    c = x.shape[-1]
    kernel = jnp.tile(jnp.asarray(kernel, x.dtype)[:, :, None, None], (1, 1, 1, c))
    return lax.conv_general_dilated(x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=c, **how)


def test_downsample_is_a_strided_depthwise_convolution():
    x = image(2, 8, 6, 3)
    expected = depthwise(x, FILTER, window_strides=(2, 2), padding=((1, 1), (1, 1)))
    np.testing.assert_allclose(downsample(x), expected, atol=1e-6)


def test_upsample_is_a_transposed_depthwise_convolution():
    x = image(2, 4, 7, 3)
    expected = depthwise(x, 4 * FILTER, window_strides=(1, 1), padding=((2, 2), (2, 2)), lhs_dilation=(2, 2))
    np.testing.assert_allclose(upsample(x), expected, atol=1e-6)


def test_constants_are_preserved_inside_and_fade_at_the_border():
    ones = jnp.ones((1, 8, 8, 1))
    np.testing.assert_allclose(upsample(ones)[:, 1:-1, 1:-1], 1, rtol=1e-6)
    np.testing.assert_allclose(downsample(ones)[:, 1:-1, 1:-1], 1, rtol=1e-6)
    np.testing.assert_allclose(upsample(ones)[0, 0, 5, 0], 0.75)  # the neighbour outside is zero
    np.testing.assert_allclose(downsample(ones)[0, 0, 2, 0], 0.875)


def test_downsample_is_a_quarter_of_the_adjoint_of_upsample():
    x, y = image(1, 4, 4, 2), image(1, 8, 8, 2)
    np.testing.assert_allclose(jnp.vdot(upsample(x), y), 4 * jnp.vdot(x, downsample(y)), rtol=1e-4)


def test_second_derivative():
    x, v = image(1, 4, 4, 2), jnp.cos(image(1, 4, 4, 2))
    for f in (upsample, downsample):
        def cubic(x):
            return jnp.sum(f(x) ** 3) / 6

        second = jax.grad(lambda x: jnp.vdot(jax.grad(cubic)(x), v))(x)
        np.testing.assert_allclose(jnp.vdot(second, v), jnp.sum(f(x) * f(v) ** 2), rtol=1e-4, atol=1e-5)


def test_odd_maps_cannot_be_halved():
    with pytest.raises(ValueError, match="7x8"):
        downsample(image(1, 7, 8, 1))
