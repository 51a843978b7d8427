"""Augmentations: exact geometry, the same for equal keys, derivatives of first and second order."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imggen_jax import augment

POLICIES = [("color",), ("translation",), ("cutout",), augment.POLICIES]


def images(n=16, side=16, channels=3):
    return jax.random.uniform(jax.random.key(7), (n, side, side, channels), minval=-1.0)


def test_to_float_maps_bytes_to_both_ends():
    x = augment.to_float(jnp.array([0, 255, 51], jnp.uint8).reshape(1, 1, 3, 1))
    np.testing.assert_allclose(x.ravel(), [-1, 1, -0.6], atol=1e-6)
    assert x.dtype == jnp.float32
    np.testing.assert_array_equal(augment.to_float(x), x)


def test_random_flip_mirrors_some_whole_images_and_keeps_the_dtype():
    x = (images(64) * 100 + 100).astype(jnp.uint8)
    y = augment.random_flip(x, jax.random.key(0))
    same, mirrored = (np.array([np.array_equal(a, b) for a, b in zip(y, z)]) for z in (x, x[:, :, ::-1]))
    assert (same ^ mirrored).all() and 10 < mirrored.sum() < 54 and y.dtype == jnp.uint8


def test_translation_moves_each_image_as_numpy_does():
    x = images(81)
    by = np.stack(np.meshgrid(np.arange(-4, 5), np.arange(-4, 5)), axis=-1).reshape(81, 2)
    for image, shift, found in zip(np.asarray(x), by, augment._shift(x, jnp.asarray(by), reach=4)):
        expected = np.roll(np.pad(image, ((4, 4), (4, 4), (0, 0))), shift, axis=(0, 1))[4:-4, 4:-4]
        np.testing.assert_array_equal(found, expected)


def test_translation_reaches_an_eighth_both_ways_and_no_further():
    x = jnp.zeros((400, 16, 16, 1)).at[:, 8, 8].set(1)
    y = np.asarray(augment.diff_augment(x, jax.random.key(0), ("translation",)))
    _, rows, columns, _ = np.nonzero(y)
    assert set(rows) == set(columns) == {6, 7, 8, 9, 10} and len(rows) == 400


def test_cutout_blanks_a_box_of_at_most_half_the_side():
    y = np.asarray(augment.diff_augment(jnp.ones((400, 16, 16, 2)), jax.random.key(0), ("cutout",)))
    gone = 1 - y[..., 0]
    np.testing.assert_array_equal(y[..., 0], y[..., 1])
    heights, widths = gone.max(2).sum(1), gone.max(1).sum(1)
    np.testing.assert_array_equal(gone.sum((1, 2)), heights * widths)  # a full rectangle
    assert heights.max() == widths.max() == 8 and heights.min() == widths.min() == 4
    assert gone.mean(0).min() > 0.04  # every pixel has its turn


def test_color_ranges():
    gray = jnp.zeros((500, 4, 4, 3))
    shift = augment.diff_augment(gray, jax.random.key(0), ("color",))[:, 0, 0, 0]
    assert -0.5 <= shift.min() < -0.45 and 0.45 < shift.max() <= 0.5
    steps = gray.at[:, :2].set(1.0)  # its contrast is 1, its mean 1/2, it has no color
    contrast = jnp.ptp(augment.diff_augment(steps, jax.random.key(0), ("color",)), axis=(1, 2, 3))
    assert 0.5 <= contrast.min() < 0.55 and 1.45 < contrast.max() <= 1.5


@pytest.mark.parametrize("policy", POLICIES, ids="+".join)
def test_the_same_key_does_the_same_to_other_images(policy):
    """Every augmentation is affine in the images, so equal keys give equal maps, and images differ in theirs."""
    x, key = images(), jax.random.key(3)
    y, z = x[::-1], jnp.zeros_like(x)
    def f(x):
        return augment.diff_augment(x, key, policy)
    np.testing.assert_allclose(f(x + y) - f(y), f(x) - f(z), atol=1e-5)
    one = f(jnp.tile(x[:1], (16, 1, 1, 1)))
    assert not np.allclose(one, one[:1])


@pytest.mark.parametrize("policy", POLICIES, ids="+".join)
def test_second_derivatives_follow_the_chain_rule(policy):
    """For f affine with matrix A, the gradient of sum(f(x)^3)/6 along v, again along v, is sum(f(x) (A v)^2)."""
    x, v = images(4, 8), images(4, 8)[::-1]
    def f(x):
        return augment.diff_augment(x, jax.random.key(5), policy)
    def cubic(x):
        return jnp.sum(f(x) ** 3) / 6
    second = jax.grad(lambda x: jnp.vdot(jax.grad(cubic)(x), v))(x)
    np.testing.assert_allclose(jnp.vdot(second, v), jnp.sum(f(x) * (f(v) - f(0 * v)) ** 2), rtol=1e-3, atol=1e-3)


def test_no_policy_changes_nothing_and_an_unknown_one_is_named():
    x = images(2)
    assert augment.diff_augment(x, jax.random.key(0), ()) is x
    with pytest.raises(ValueError, match="'colour'; choose from color, translation, cutout"):
        augment.diff_augment(x, jax.random.key(0), ("colour",))
