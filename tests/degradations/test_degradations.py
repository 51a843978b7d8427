"""Degradations against Pillow's JPEG, SciPy's Bessel functions and filters, and what each is defined to do."""
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, special

from imggen_jax.degradations import handling, jpeg, kernels, real


def scene(side=64, channels=3):
    """Smooth colors with edges and some texture, uint8."""
    y, x = np.mgrid[:side, :side] / side
    picture = np.stack([np.sin(5 * x + 3 * y), np.cos(4 * y * x + 1), np.sin(9 * x * x)], -1) * 90 + 128
    picture[side // 4:side // 2, side // 3:] += 40
    picture += np.random.default_rng(0).normal(0, 8, picture.shape)
    return np.clip(picture, 0, 255).round().astype(np.uint8)[..., :channels]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [10, 50, 90])
def test_jpeg_loses_what_a_file_loses(quality, channels):
    picture, file = scene(72, channels), io.BytesIO()
    Image.fromarray(picture.squeeze()).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    theirs = np.asarray(Image.open(file), np.float64).reshape(picture.shape)
    ours = np.asarray(jpeg.compress(jnp.asarray(picture[None] / 255, jnp.float32), jnp.array([float(quality)])))[0]
    assert np.abs(255 * ours - theirs).mean() < 1  # libjpeg rounds in between
    errors = [np.square(each - picture).mean() for each in (255 * ours, theirs)]
    assert abs(10 * np.log10(errors[0] / errors[1])) < 0.1  # dB


def test_jpeg_takes_any_size_and_a_quality_for_each_image():
    pictures = jnp.asarray(np.stack([scene()[:30, :41]] * 2) / 255, jnp.float32)
    low, high = jpeg.compress(pictures, jnp.array([5.0, 95.0]))
    assert low.shape == (30, 41, 3)
    assert jnp.abs(low - pictures[0]).mean() > 2 * jnp.abs(high - pictures[0]).mean()


def test_kernels_are_gaussians_of_their_sigmas():
    one = jnp.ones(1)
    kernel = np.asarray(kernels.gaussian(jnp.array([21]), jnp.array([[2.0, 2.0]]), 0 * one, one, one < 0))[0]
    spike = np.zeros((21, 21))
    spike[10, 10] = 1
    wanted = ndimage.gaussian_filter(spike, 2.0, truncate=5)
    np.testing.assert_allclose(kernel, wanted / wanted.sum(), atol=1e-6)
    wide = np.asarray(kernels.gaussian(jnp.array([21]), jnp.array([[3.0, 1.0]]), 0 * one, one, one < 0))[0]
    assert wide[10, 14] > 10 * wide[14, 10]  # the first sigma is along x
    small = np.asarray(kernels.gaussian(jnp.array([7]), jnp.array([[2.0, 2.0]]), 0 * one, one, one < 0))[0]
    assert np.count_nonzero(small) == 49 and abs(small.sum() - 1) < 1e-6


def test_sinc_is_made_of_bessel_functions():
    cutoff = 2.0
    kernel = np.asarray(kernels.sinc(jnp.array([21]), jnp.array([cutoff])))[0]
    y, x = np.mgrid[-10:11, -10:11]
    r = np.hypot(y, x)
    r[10, 10] = 1
    wanted = cutoff * special.j1(cutoff * r) / (2 * np.pi * r)
    wanted[10, 10] = cutoff**2 / (4 * np.pi)
    np.testing.assert_allclose(kernel, wanted / wanted.sum(), atol=1e-5)


def test_each_image_is_filtered_by_its_own_kernel():
    rng = np.random.default_rng(0)
    images = rng.random((2, 24, 31, 3)).astype(np.float32)
    filters = rng.random((2, 21, 21)).astype(np.float32)
    made = np.asarray(kernels.blur(jnp.asarray(images), jnp.asarray(filters)))
    for image, kernel, out in zip(images, filters, made):
        for channel in range(3):
            wanted = ndimage.convolve(image[..., channel].astype(np.float64), kernel, mode="mirror")
            np.testing.assert_allclose(out[..., channel], wanted, rtol=1e-4, atol=1e-3)


def test_resizing_a_part_equals_resizing_it_alone():
    rng = np.random.default_rng(0)
    images = rng.random((3, 32, 32, 3)).astype(np.float32)
    old, new = jnp.array([32.0, 20.0, 20.0]), jnp.array([16.0, 40.0, 10.0])
    made = np.asarray(real._to(jnp.asarray(images), old, new, 48, jnp.array([0, 1, 0])))
    halved = images[0].reshape(16, 2, 16, 2, 3).mean((1, 3))
    np.testing.assert_allclose(made[0, :16, :16], halved, atol=1e-5)
    doubled = jax.image.resize(images[1, :20, :20], (40, 40, 3), "linear")
    np.testing.assert_allclose(made[1, :40, :40], doubled, atol=1e-5)
    np.testing.assert_allclose(made[2, :10, :10], images[2, :20, :20].reshape(10, 2, 10, 2, 3).mean((1, 3)), atol=1e-5)


def test_the_pipeline_damages_every_image_in_its_own_way():
    picture = jnp.asarray(scene() / 255, jnp.float32)
    degrade = jax.jit(real.degrade, static_argnums=2)
    made = np.asarray(degrade(jnp.stack([picture] * 6), jax.random.key(0), 2))
    assert made.shape == (6, 32, 32, 3) and 0 <= made.min() and made.max() <= 1
    np.testing.assert_allclose(made * 255, np.round(made * 255), atol=1e-3)
    means = np.asarray(picture).mean((0, 1))
    assert np.abs(made.mean((1, 2)) - means).max() < 0.05  # colors stay
    assert all(np.abs(made[i] - made[j]).mean() > 0.005 for i in range(6) for j in range(i))
    np.testing.assert_array_equal(made, degrade(jnp.stack([picture] * 6), jax.random.key(0), 2))


def test_handled_pictures_are_damaged_by_chance_and_gradients_pass_through_files():
    pictures = jnp.asarray(np.stack([scene(32)] * 8) / 255, jnp.float32)

    handle = jax.jit(lambda x, share: handling.handle(x, jax.random.key(0), share))
    handled = handle(pictures, 1.0)
    levels = np.asarray(handled) * 255
    assert np.abs(levels - levels.round()).max() < 1e-3 and levels.min() >= 0 and levels.max() <= 255
    damage = np.abs(handled - pictures).mean((1, 2, 3))
    assert damage.min() > 0.01 and len(set(damage.tolist())) == 8
    np.testing.assert_allclose(handle(pictures, 0.0), pictures, atol=1e-6)
    slopes = jax.grad(lambda x: handle(x, 1.0).sum())(pictures)
    assert np.all(np.abs(slopes).sum((1, 2, 3)) > 0)


def test_a_part_is_resized_to_the_whole_from_where_it_lies():
    rows = np.asarray(handling._resampling(16, jnp.array([0.5, 1.0]), jnp.array([1.0, 0.0]), jnp.ones(2)))
    lower_half = np.minimum(8 + (np.arange(16) + 0.5) / 2 - 0.5, 15)
    np.testing.assert_allclose(rows[0] @ np.arange(16.0), lower_half, atol=1e-5)
    np.testing.assert_allclose(rows[1], np.eye(16), atol=1e-6)
