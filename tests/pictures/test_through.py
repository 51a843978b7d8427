"""Pictures of every kind through a model: what a tile gives is what the whole gives, and what a picture had stays."""
import functools

import jax
import numpy as np
import pytest

from imggen_jax.nets.conv import conv
from imggen_jax.pictures import resize, through, tiling
from imggen_jax.pictures.files import Picture
from imggen_jax.pictures.through import Tiled

KERNEL = np.random.default_rng(0).normal(size=(3, 3, 3, 12)).astype(np.float32) / 20


def twice(weights, x):
    """[n,h,w,3] -> [n,2h,2w,3], with a border of its own."""
    y = jax.nn.relu(conv(x, KERNEL) + weights)
    n, h, w, _ = x.shape
    y = y.reshape(n, h, w, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, 3)
    return 0.7 * x.repeat(2, 1).repeat(2, 2) + y - 0.3


def gray_twice(weights, x):
    return twice(weights, x.repeat(3, -1))[..., :1]


def colored(weights, x):
    return twice(weights, x.repeat(3, -1))


def filled(weights, x):
    """A constant where the mask is, [n,h,w,3 + 1] -> [n,h,w,3]."""
    hole = x[..., 3:]
    return x[..., :3] * (1 - hole) + weights * hole


@functools.cache
def tiled(function, channels, made, masked=False):
    weights = np.float32(0.1)
    program = functools.partial(jax.jit(function), weights)
    return Tiled(program, channels, made, masked, tiling.measure(function, weights, channels, masks=masked), "it")


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def result(picture, model, **options):
    made = through.translated(Picture(picture), model, **options)
    pixels = through.collected(made)
    assert pixels.shape == made.shape and pixels.dtype == picture.dtype
    return pixels


def by_hand(color, function):
    """The whole picture at once: uint8 or uint16 [H,W,3] -> [2H,2W,3]."""
    half = np.iinfo(color.dtype).max / 2
    made = np.asarray(function(np.float32(0.1), (color / half - 1).astype(np.float32)[None]))[0]
    return np.clip(np.rint((made + 1) * half), 0, 2 * half).astype(color.dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(70, 45), (1, 90), (90, 1), (2, 2), (64, 64)])
def test_tiled_is_whole(shape, dtype):
    picture = noise(*shape, 3, dtype=dtype)
    made = result(picture, tiled(twice, 3, 3), tile=32)
    assert np.abs(made.astype(int) - by_hand(picture, twice)).max() <= (1 if dtype == np.uint8 else 2)


def test_gray_stays_gray_and_color_goes_through_a_gray_model():
    gray = noise(20, 30, 1)
    made = result(gray, tiled(twice, 3, 3))
    assert np.abs(made.astype(int) - by_hand(gray.repeat(3, -1), twice).mean(-1, keepdims=True)).max() <= 1
    color = noise(20, 30, 3)
    each = [result(color[..., k : k + 1], tiled(gray_twice, 1, 1)) for k in range(3)]
    np.testing.assert_array_equal(result(color, tiled(gray_twice, 1, 1)), np.concatenate(each, -1))
    assert result(color, tiled(colored, 1, 3)).shape == result(gray, tiled(colored, 1, 3)).shape == (40, 60, 3)


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_enlarged_apart(channels):
    picture = noise(40, 50, channels)
    picture[..., -1] |= 1                                    # nothing is hidden altogether
    made = result(picture, tiled(twice, 3, 3), tile=32)
    np.testing.assert_array_equal(made[..., :-1], result(picture[..., :-1], tiled(twice, 3, 3)))
    smooth = resize.enlarged(picture[..., -1:], 2, slice(0, 40), slice(0, 50))
    np.testing.assert_array_equal(made[..., -1:], np.clip(np.rint(smooth), 0, 255).astype(np.uint8))


def test_hidden_colors_leave_no_fringe():
    """Red on transparent black is as red at its edge as red on transparent red."""
    disc = np.hypot(*(np.indices((60, 60)) - 30)) < 20
    alpha = (255 * disc)[..., None].astype(np.uint8)
    red = np.full((60, 60, 3), (200, 10, 10), np.uint8)
    black = red * disc[..., None]
    seen = disc.repeat(2, 0).repeat(2, 1)
    made = [result(np.concatenate([color, alpha], -1), tiled(twice, 3, 3))[seen] for color in (red, black)]
    np.testing.assert_array_equal(*made)


def test_strength():
    picture = noise(20, 30, 3)
    plain = resize.enlarged(picture, 2, slice(0, 20), slice(0, 30))
    np.testing.assert_array_equal(result(picture, tiled(twice, 3, 3), strength=0), np.clip(np.rint(plain), 0, 255))
    half, full = (result(picture, tiled(twice, 3, 3), strength=s, tile=32).astype(float) for s in (0.5, 1))
    inside = (full > 0) & (full < 255) & (plain > 0) & (plain < 255)
    assert np.abs(half - (full + plain) / 2)[inside].max() <= 1


def test_what_lies_outside_the_mask_is_the_picture_to_the_bit():
    picture, mask = noise(70, 80, 4, dtype=np.uint16), np.zeros((70, 80), bool)
    mask[40:50, 3:9] = True
    made = result(picture, tiled(filled, 4, 3, True), mask=mask, tile=32)
    np.testing.assert_array_equal(made[~mask], picture[~mask])
    assert set(made[mask][:, :3].ravel()) == {round(1.1 * 32767.5)}
    np.testing.assert_array_equal(made[..., 3], picture[..., 3])


def test_bands_come_from_the_top_and_progress_rises():
    seen = []
    made = through.translated(Picture(noise(70, 80, 3)), tiled(twice, 3, 3), tile=32, report=seen.append)
    heights = [len(band) for band in made.bands]
    assert sum(heights) == 140 and len(heights) > 1
    assert seen == sorted(seen) and seen[-1] == 1


def test_memory_grows_with_a_band_and_not_with_the_result():
    model = tiled(twice, 3, 3)
    small, large = (Picture(np.broadcast_to(np.uint8(0), (side, 1000, 3))) for side in (1000, 20000))
    needed = [through.memory(p, model, through.covered(p, model), held=False) for p in (small, large)]
    assert needed[1] - needed[0] < 3 * large.pixels.nbytes
    assert through.memory(large, model, through.covered(large, model), held=True) > needed[1] + 4 * large.pixels.nbytes
