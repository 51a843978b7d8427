"""Bicubic resizing in parts: those of the whole, that fit together, and rows that come in one by one."""
import numpy as np

from imggen_jax import bicubic
from imggen_jax.pictures import resize


def test_parts_are_those_of_the_whole():
    picture = np.random.default_rng(0).normal(size=(9, 11, 3)).astype(np.float32)
    made = resize.enlarged(picture, 2, slice(1, 9), slice(0, 4))
    np.testing.assert_allclose(made, bicubic.resize(picture, 18, 22)[2:, :8], atol=1e-5)
    reduced = resize.Reduced(3, 11, 3, 3)
    reduced.add(picture.repeat(3, 1))
    np.testing.assert_allclose(reduced.pixels, bicubic.resize(picture.repeat(3, 1), 3, 11), atol=1e-5)


def test_a_smooth_picture_survives_being_halved_and_doubled():
    y, x = np.mgrid[:40, :64] / 10
    smooth = (np.stack([np.sin(x), np.cos(y)], -1) * 100 + 128).astype(np.float32)
    reduced = resize.Reduced(20, 32, 2, 2)
    for start, stop in ((0, 1), (1, 7), (7, 40)):
        reduced.add(smooth[start:stop])
    again = resize.enlarged(reduced.pixels, 2, slice(0, 20), slice(0, 32))
    assert np.abs(again - smooth)[4:-4, 4:-4].max() < 0.5


def test_parts_fit_together():
    picture = np.random.default_rng(0).integers(0, 65536, (9, 11, 3), dtype=np.uint16)
    whole = resize.enlarged(picture, 3, slice(0, 9), slice(0, 11))
    np.testing.assert_array_equal(resize.enlarged(picture, 3, slice(2, 5), slice(4, 11)), whole[6:15, 12:33])


def test_a_picture_of_one_pixel():
    one = np.full((1, 1, 1), 7, np.uint8)
    np.testing.assert_allclose(resize.enlarged(one, 4, slice(0, 1), slice(0, 1)), 7, rtol=1e-6)
