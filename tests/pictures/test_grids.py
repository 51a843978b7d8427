"""Grids put each image where it belongs, pair by pair, and PNG files hold exactly the pixels given."""
import numpy as np
import pytest
from PIL import Image

from imggen_jax.pictures import grids


def _images(n, height=3, width=3, channels=3):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, height, width, channels), np.uint8)


def test_grid_places_images_row_by_row():
    images = _images(5)
    out = grids.grid(images, columns=3, pad=2, background=(1, 2, 3))
    assert out.shape == (2 * 5 + 2, 3 * 5 + 2, 3) and out.dtype == np.uint8
    for k, image in enumerate(images):
        top, left = 2 + 5 * (k // 3), 2 + 5 * (k % 3)
        np.testing.assert_array_equal(out[top:top + 3, left:left + 3], image)
    assert (out[:2] == (1, 2, 3)).all() and (out[:, 5:7] == (1, 2, 3)).all()
    assert (out[7:10, 12:15] == (1, 2, 3)).all()  # the place without an image


def test_grid_makes_grey_images_three_channels():
    images = _images(1, channels=1)
    np.testing.assert_array_equal(grids.grid(images, pad=0), images[0].repeat(3, axis=-1))


@pytest.mark.parametrize("n, height, width, shape", [
    (64, 4, 4, (8, 8)), (1, 4, 4, (1, 1)), (12, 4, 4, (3, 4)), (10, 4, 4, (2, 5)), (32, 8, 4, (4, 8)),
    (16, 8, 4, (2, 8)), (2, 4, 4, (1, 2)), (3, 1, 9, (3, 1)), (17, 4, 4, (3, 6)),
])
def test_grid_is_nearly_square_with_few_places_empty(n, height, width, shape):
    out = grids.grid(_images(n, height, width), pad=0)
    assert out.shape == (shape[0] * height, shape[1] * width, 3)


@pytest.mark.parametrize("images", [
    np.zeros((0, 4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8), np.zeros((2, 4, 4, 2), np.uint8),
    np.zeros((2, 4, 4, 3), np.float32),
])
def test_grid_refuses_what_is_no_batch_of_images(images):
    with pytest.raises(ValueError, match="uint8"):
        grids.grid(images)


def test_grid_refuses_no_columns():
    with pytest.raises(ValueError, match="column"):
        grids.grid(_images(2), columns=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_reconstructions_stand_under_their_originals(channels):
    originals, reconstructions = _images(4, channels=channels), 255 - _images(4, channels=channels)
    out = grids.reconstruction_grid(originals, reconstructions, columns=2, pad=4)
    for k in range(4):
        top, left = 4 + (7 + 4) * (k // 2), 4 + (3 + 4) * (k % 2)
        np.testing.assert_array_equal(out[top:top + 3, left:left + 3], originals[k] * np.ones(3, np.uint8))
        assert (out[top + 3, left:left + 3] == 255).all()
        np.testing.assert_array_equal(out[top + 4:top + 7, left:left + 3], reconstructions[k] * np.ones(3, np.uint8))


def test_reconstructions_need_as_many_originals():
    with pytest.raises(ValueError, match="paired"):
        grids.reconstruction_grid(_images(4), _images(3))


def test_upscale_repeats_pixels():
    image = _images(1)[0]
    out = grids.upscale(image, 2)
    assert out.shape == (6, 6, 3)
    for dy in (0, 1):
        for dx in (0, 1):
            np.testing.assert_array_equal(out[dy::2, dx::2], image)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_holds_the_same_pixels(tmp_path, channels):
    image = _images(1, 5, 4, channels)[0]
    path = tmp_path / "new" / "a.png"
    grids.write_png(path, image)
    np.testing.assert_array_equal(np.asarray(Image.open(path).convert("RGB")), image * np.ones(3, np.uint8))
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_png_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.png"
    image = _images(1)[0]
    grids.write_png(path, image)
    with pytest.raises(TypeError):
        grids.write_png(path, image.astype(np.complex64))
    np.testing.assert_array_equal(np.asarray(Image.open(path)), image)


def test_a_colour_picture_without_colour_takes_the_space_of_a_grey_one(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 1), np.uint8)
    grids.write_png(tmp_path / "grey.png", image)
    grids.write_png(tmp_path / "rgb.png", image.repeat(3, axis=-1))
    assert (tmp_path / "rgb.png").read_bytes() == (tmp_path / "grey.png").read_bytes()
