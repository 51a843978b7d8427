"""Resizing: Pillow's own pixels, and rows that sum to one."""
import numpy as np
import pytest
import reference_inputs as inputs
from PIL import Image

from imggen_jax.metrics import resize

EVERY = [resize.bilinear, resize.bilinear_corner, resize.bicubic, resize.bicubic_border]


@pytest.mark.parametrize("matrix", EVERY)
@pytest.mark.parametrize(("old", "new"), [(32, 299), (300, 224), (7, 7)])
def test_a_constant_stays_and_the_same_size_changes_nothing(matrix, old, new):
    found = matrix(old, new)
    assert found.shape == (new, old) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    if old == new:
        np.testing.assert_allclose(found, np.eye(old), atol=1e-6)


def test_bilinear_lies_between_pixel_centres_or_corners():
    np.testing.assert_allclose(resize.bilinear(2, 4), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    np.testing.assert_allclose(resize.bilinear_corner(2, 4), [[1, 0], [0.5, 0.5], [0, 1], [0, 1]])


@pytest.mark.parametrize("new", [90, 41, 17])
def test_eight_bit_bicubic_is_pillows_to_a_rounding(new):
    images = inputs.pictures(3, 2, 44, 44)
    found = resize.apply(images.astype(np.float32), *[resize.bicubic(44, new)] * 2, eight_bit=True)
    theirs = np.stack([np.asarray(Image.fromarray(image).resize((new, new), Image.Resampling.BICUBIC))
                       for image in images])
    difference = np.abs(np.asarray(found) - theirs)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.001


def test_the_shorter_side_is_covered():
    assert resize.covered(32, 32, 224) == (224, 224)
    assert resize.covered(300, 400, 224) == (224, 298)
