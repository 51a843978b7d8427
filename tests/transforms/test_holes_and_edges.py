"""Masks and line drawings that are made from pictures."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from imggen_jax.transforms import edges, mask

SPEC = tiny.spec_of(32, 3, 4)


def pictures(number=64):
    """Gray squares of different brightness on white, with labels."""
    image = np.full((number, 32, 32, 3), 255, np.uint8)
    for i in range(number):
        image[i, 8:24, 8:24] = 3 * i
    return {"image": image, "label": np.arange(number, dtype=np.int32) % 4}


def made(transform, batch, seed=0):
    found = jax.tree.map(np.asarray, jax.jit(transform.apply)(batch, jax.random.key(seed)))
    assert {name: (value.shape[1:], str(value.dtype)) for name, value in found.items()} == {
        name: (field.shape, field.dtype) for name, field in transform.spec.items()}
    for name in batch:
        np.testing.assert_array_equal(found[name], batch[name])
    return found


@pytest.mark.parametrize("kinds", [("box",), ("free",), ("box", "free")])
def test_holes_are_blanked_and_nothing_else_is(kinds):
    transform = mask.make(SPEC, kinds=kinds)
    found = made(transform, pictures())
    hole = found["mask"] == 255
    assert set(np.unique(found["mask"])) == {0, 255}
    np.testing.assert_array_equal(found["source"], np.where(hole, mask.BLANK, found["image"]))
    share = hole.mean(axis=(1, 2, 3))
    assert share.min() > 0 and share.max() < 0.6 and len(np.unique(share)) > 20
    assert len({one.tobytes() for one in hole}) == len(hole)  # each picture has a hole of its own
    assert not np.array_equal(hole, made(transform, pictures(), seed=1)["mask"] == 255)
    boxes = np.array([one.sum() == _extent(one) for one in hole[..., 0]])
    assert boxes.all() if kinds == ("box",) else boxes.mean() < 0.8


def _extent(hole):
    """Pixels of the smallest box around a hole."""
    rows, cols = np.nonzero(hole)
    return (np.ptp(rows) + 1) * (np.ptp(cols) + 1)


def test_lines_are_dark_where_brightness_changes_and_flat_areas_white():
    transform = edges.make(SPEC)
    found = made(transform, pictures())["source"][..., 0].astype(int)
    assert found[:, :4].min() > 250 and found[:, 14:18, 14:18].min() > 250
    border = found[:40, 12:20, 6:11].min(axis=-1)
    assert border.max() < 128  # of squares that are much darker than the paper
    assert np.mean((found > 20) & (found < 235)) > 0.002  # lines have soft edges


def test_between_colors_of_one_brightness_there_is_a_line():
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[:, :, :16, 0], image[:, :, 16:, 1] = 200, 102  # 0.299 of red is 0.587 of green
    drawn = made(edges.make(tiny.spec_of(32, 3)), {"image": image})["source"]
    assert drawn[0, :, 14:18].min() < 128


def test_thick_lines_are_thicker():
    images, thin, thick = jnp.asarray(pictures(8)["image"] / 127.5 - 1), jnp.full(8, 0.4), jnp.full(8, 1.5)
    light = [float(jnp.mean(edges.lines(images, sigma, jnp.full(8, 0.7), 12.0, 2.5, most=1.5)))
             for sigma in (thin, thick)]
    assert light[1] < light[0]


@pytest.mark.parametrize(("make", "options", "message"), [
    (mask.make, {"kinds": ("disk",)}, "kinds is .*disk.*; choose from box, free"),
    (mask.make, {"box": (0.5, 0.2)}, "box is"),
    (mask.make, {"brush": (0.0, 0.2)}, "brush is"),
    (mask.make, {"strokes": 0}, "strokes is 0"),
    (edges.make, {"sigma": (0.0, 1.0)}, "sigma is"),
    (edges.make, {"threshold": (0.5, 1.5)}, "threshold is"),
])
def test_options_out_of_range_are_named(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(SPEC, **options)
