"""Bicubic resampling against the weights of MATLAB's `imresize`; experiments/restore compares whole test images."""
import jax.numpy as jnp
import numpy as np
import pytest

from imggen_jax import bicubic


def test_weights_are_those_of_the_widened_kernel():
    rows = bicubic.matrix(16, 8)
    inner = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
    np.testing.assert_allclose(rows[3, 3:11], inner, atol=1e-12)
    np.testing.assert_allclose(rows[0, :5], [128 / 256, 111 / 256, 29 / 256, -9 / 256, -3 / 256], atol=1e-12)
    np.testing.assert_allclose(bicubic.matrix(8, 16)[6, 1:5], np.array([-3, 29, 111, -9]) / 128, atol=1e-12)


@pytest.mark.parametrize(("old", "new"), [(12, 4), (12, 12), (5, 20), (7, 3), (1, 4)])
def test_a_constant_stays_one(old, new):
    np.testing.assert_allclose(bicubic.matrix(old, new).sum(1), 1)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_enlarging_equals_the_matrices(scale):
    images = np.random.default_rng(0).normal(size=(2, 5, 9, 3)).astype(np.float32)
    np.testing.assert_allclose(bicubic.enlarge(jnp.asarray(images), scale),
                               bicubic.resize(images, 5 * scale, 9 * scale), atol=1e-5)


def test_shrinking_by_factors_equals_the_matrices():
    images = np.random.default_rng(0).normal(size=(2, 24, 36, 3)).astype(np.float32)
    made = np.asarray(bicubic.shrink(jnp.asarray(images), jnp.asarray([2.0, 1.5]), 12, 18))
    whole = bicubic.resize(images[:1], 12, 18)[0], bicubic.resize(images[1:], 16, 24)[0, :12, :18]
    for one, wanted in zip(made, whole):                     # borders, where pixels go on, aside
        np.testing.assert_allclose(one[2:-2, 2:-2], wanted[2:-2, 2:-2], atol=1e-5)


def test_halving_equals_weights_applied_by_hand():
    image = np.random.default_rng(1).normal(size=(8, 12, 2))
    rows, columns = bicubic.matrix(8, 4), bicubic.matrix(12, 6)
    np.testing.assert_allclose(bicubic.resize(image, 4, 6), np.einsum("ih,hwc,jw->ijc", rows, image, columns))
