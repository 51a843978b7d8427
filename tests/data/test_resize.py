"""Resizing: known answers that hold for any area-correct filter, and exact ones at whole factors."""
import numpy as np
import pytest
from PIL import Image

from imggen_jax.data.resize import resize, square


@pytest.mark.parametrize("size", [1, 7, 16, 24, 32, 50])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_constant_stays_constant(size, channels):
    images = np.full((2, 32, 32, channels), 137, np.uint8)
    assert np.array_equal(resize(images, size), np.full((2, size, size, channels), 137, np.uint8))


@pytest.mark.parametrize("size", [4, 8, 16])
def test_a_whole_factor_takes_the_mean_of_each_area(size):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    block = 32 // size
    means = images.reshape(3, size, block, size, block, 3).mean((2, 4))
    assert np.abs(resize(images, size) - means).max() <= 1  # Pillow rounds after each of its two passes


@pytest.mark.parametrize("size", [10, 20, 27])
def test_reduction_keeps_the_mean(size):
    images = np.random.default_rng(1).integers(64, 192, (4, 32, 32, 1), np.uint8)
    assert abs(resize(images, size).mean() - images.mean()) < 2


@pytest.mark.parametrize("size", [16, 12, 9])
def test_a_checkerboard_goes_to_grey_and_not_to_aliases(size):
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[None, :, :, None]
    inner = resize(board, size)[:, 1:-1, 1:-1].astype(int)
    assert np.abs(inner - 127.5).max() < 6


def test_enlarging_keeps_a_ramp_monotonic():
    ramp = np.broadcast_to(np.arange(0, 256, 32, dtype=np.uint8), (8, 8))[None, :, :, None]
    wide = resize(ramp, 29)[0, :, :, 0].astype(int)
    assert wide.shape == (29, 29) and (np.diff(wide, axis=1) >= 0).all() and wide.max() - wide.min() > 200


@pytest.mark.parametrize("wide", [False, True])
def test_the_central_square_is_kept(wide):
    image = np.zeros((4, 10, 1), np.uint8)
    image[:, 3:7] = 200
    image = image if wide else image.transpose(1, 0, 2)
    assert (resize(image[None], 4) == 200).all()


def test_the_mode_is_kept():
    assert square(Image.new("L", (9, 5)), 3).mode == "L"
    assert square(Image.new("RGB", (9, 5)), 3).mode == "RGB"


@pytest.mark.parametrize("images", [np.zeros((1, 4, 4, 3)), np.zeros((4, 4, 3), np.uint8),
                                    np.zeros((1, 4, 4, 4), np.uint8)])
def test_other_arrays_are_refused(images):
    with pytest.raises(ValueError, match="uint8"):
        resize(images, 2)


def test_a_size_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        resize(np.zeros((1, 4, 4, 1), np.uint8), 0)
