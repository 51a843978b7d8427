"""Resizing: Pillow's own pixels, and rows that sum to one."""
import numpy as np
import pytest
import reference_inputs as inputs
from PIL import Image

from imggen_jax.metrics import resize
from imggen_jax.weights import dinov2

EVERY = [resize.bilinear, resize.bilinear_corner, resize.bicubic, dinov2.bicubic]


@pytest.mark.parametrize("matrix", EVERY)
@pytest.mark.parametrize(("old", "new"), [(32, 299), (300, 224), (7, 7)])
def test_a_constant_stays_and_the_same_size_changes_nothing(matrix, old, new):
    found = matrix(old, new)
    assert found.shape == (new, old) and found.dtype == np.float64
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)
    if old == new:
        np.testing.assert_allclose(found, np.eye(old), atol=1e-12)


def test_bilinear_lies_between_pixel_centres_or_corners():
    np.testing.assert_allclose(resize.bilinear(2, 4), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    np.testing.assert_allclose(resize.bilinear_corner(2, 4), [[1, 0], [0.5, 0.5], [0, 1], [0, 1]])


@pytest.mark.parametrize(("old", "new"), [((44, 44), (90, 90)), ((44, 44), (17, 17)), ((32, 32), (224, 224)),
                                          ((48, 64), (224, 298)), ((400, 300), (298, 224))])
def test_eight_bit_bicubic_gives_pillows_pixels(old, new):
    images = inputs.pictures(3, 2, *old)
    images[1] = np.random.default_rng(0).integers(0, 256, images[1].shape)
    found = resize.apply(images.astype(np.float32), *map(resize.bicubic, old, new), eight_bit=True)
    theirs = [np.asarray(Image.fromarray(image).resize(new[::-1], Image.Resampling.BICUBIC)) for image in images]
    np.testing.assert_array_equal(found, theirs)


def test_the_shorter_side_is_covered():
    assert resize.covered(32, 32, 224) == (224, 224)
    assert resize.covered(300, 400, 224) == (224, 298)
