"""ADA's augmentations: exact where nothing is to change, known answers for each map, probabilities, derivatives."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imggen_jax import ada

KEY = jax.random.key(0)
augment, resample = jax.jit(ada.augment, static_argnums=2), jax.jit(ada.resample)


def waves(side=16, number=3, channels=3):
    """Smooth images, which resampling keeps."""
    at = np.arange(side) / side
    phases = np.random.default_rng(0).uniform(0, 6, (number, 1, 1, channels))
    return jnp.asarray(0.7 * np.sin(3 * at[None, :, None, None] + 5 * at[None, None, :, None] + phases), jnp.float32)


def map_of(*rows):
    return jnp.asarray([[*rows, (0, 0, 1)]] * 3, jnp.float32)


def test_the_filter_is_orthogonal_to_its_even_shifts():
    assert ada.SYM6.sum() == pytest.approx(np.sqrt(2), abs=1e-9)
    for shift in range(0, 12, 2):
        assert ada.SYM6[shift:] @ ada.SYM6[:12 - shift] == pytest.approx(float(shift == 0), abs=1e-9)


@pytest.mark.parametrize("policy", ada.POLICIES)
def test_without_strength_an_image_stays(policy):
    images = jax.random.uniform(KEY, (3, 16, 16, 3), minval=-1)
    np.testing.assert_allclose(augment(images, KEY, (policy,), 0.0), images, atol=2e-6)


def test_pixels_go_where_the_map_says():
    smooth = waves()
    for rows, expected in (
        (((-1, 0, 0), (0, 1, 0)), smooth[:, :, ::-1]),
        (((0, 1, 0), (-1, 0, 0)), jnp.rot90(smooth, -1, axes=(1, 2))),
        (((1, 0, -3), (0, 1, 0)), jnp.pad(smooth, ((0, 0), (0, 0), (3, 0), (0, 0)), mode="reflect")[:, :, :16]),
        (((1, 0, 0), (0, 1, 2)), jnp.pad(smooth, ((0, 0), (0, 2), (0, 0), (0, 0)), mode="reflect")[:, 2:]),
    ):
        np.testing.assert_allclose(resample(smooth, map_of(*rows))[:, 3:-3, 3:-3], expected[:, 3:-3, 3:-3],
                                   atol=0.02)


def test_half_a_pixel_lies_between_two():
    smooth = waves()
    found = resample(smooth, map_of((1, 0, -0.5), (0, 1, 0)))
    np.testing.assert_allclose(found[:, 4:-4, 4:-4], (smooth[:, 4:-4, 4:-4] + smooth[:, 4:-4, 3:-5]) / 2, atol=0.02)


def test_every_step_of_the_map_has_its_probability():
    maps = np.asarray(ada._maps(KEY, 4000, 32, 0.3))
    # Nothing at all changes where all seven do not, and of the mirrored half and the turned quarter look alike.
    still = np.all(np.abs(maps - np.eye(3)) < 1e-5, axis=(1, 2)).mean()
    assert still == pytest.approx((1 - 0.15) * (1 - 0.225) * 0.7**5, abs=0.02)
    shrunk = np.abs(np.linalg.det(maps[:, :2, :2]))
    assert np.mean(np.abs(shrunk - 1) > 1e-4) == pytest.approx(0.3, abs=0.03)     # scaled; all else keeps areas
    assert np.log2(shrunk[np.abs(shrunk - 1) > 1e-4]).std() == pytest.approx(0.4, abs=0.03)
    mirrored = np.linalg.det(maps[:, :2, :2]) < 0
    assert mirrored.mean() == pytest.approx(0.15, abs=0.02)


def test_colors_turn_around_gray_and_keep_what_they_should():
    matrix, offset = (np.asarray(part) for part in ada._colors(KEY, 4000, 1.0))
    gray = matrix.sum(-1)
    np.testing.assert_allclose(gray, gray[:, :1].repeat(3, 1), atol=1e-4)           # gray stays gray
    assert np.mean(gray[:, 0] < 0) == pytest.approx(0.5, abs=0.03)                  # and is flipped in half
    assert np.log2(np.abs(gray[:, 0])).std() == pytest.approx(ada.CONTRAST, abs=0.03)
    assert (offset / gray[:, :1]).std() == pytest.approx(ada.BRIGHTNESS, abs=0.02)
    images = jax.random.uniform(KEY, (5, 4, 4, 1), minval=-1)
    three = augment(images.repeat(3, -1), KEY, ("recolor",), 1.0)
    np.testing.assert_allclose(augment(images, KEY, ("recolor",), 1.0), three[..., :1], atol=1e-5)


def test_what_is_erased_is_a_square_of_half_the_side():
    found = np.asarray(augment(jnp.ones((2000, 8, 8, 1)), KEY, ("erase",), 0.5))[..., 0]
    share = (found == 0).mean((1, 2))
    assert np.mean(share > 0) == pytest.approx(0.5, abs=0.04) and share.max() == 0.25
    assert (found == 0).mean(0).min() > 0.03                                        # wherever it may be


def test_images_draw_apart_and_the_key_decides_alone():
    images = jnp.broadcast_to(waves()[:1], (8, 16, 16, 3))
    found = augment(images, KEY, ada.POLICIES, 0.9)
    assert len(np.unique(np.asarray(found).reshape(8, -1), axis=0)) == 8
    np.testing.assert_array_equal(found, augment(images, KEY, ada.POLICIES, 0.9))
    assert np.abs(found - augment(images, jax.random.key(1), ada.POLICIES, 0.9)).max() > 0.1
    with pytest.raises(ValueError, match="unknown augmentation 'blur'; choose from geometry"):
        augment(images, KEY, ("blur",), 0.9)


def test_derivatives_are_those_of_a_linear_map():
    images = waves(8, 2)

    @jax.jit
    def ways(x, step):
        def f(x):
            return ada.augment(x, KEY, ("geometry", "recolor"), 0.8)

        out, forward = jax.jvp(f, (x,), (step,))
        back = jax.vjp(f, x)[1](out)[0]
        return f(x + 0.5 * step) - f(x), forward, jnp.vdot(out, forward), jnp.vdot(back, step)

    moved, forward, there, back = ways(images, jnp.cos(3 * images))
    np.testing.assert_allclose(moved, 0.5 * forward, atol=1e-5)
    assert float(there) == pytest.approx(float(back), rel=1e-4)
