"""Tiles together are the function of the whole picture, to 1e-5, and what is measured of a function is what it is."""
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imggen_jax.nets.conv import conv
from imggen_jax.pictures import tiling
from imggen_jax.pictures.tiling import Sight


def kernel(side, inner, outer):
    return np.random.default_rng(0).normal(size=(side, side, inner, outer)).astype(np.float32) / side


def convolutions(weights, x):
    """Sees 2 + 1 pixels; zero padding, a bias and a ReLU between, so that the border is not like the rest."""
    x = jax.nn.relu(conv(x, kernel(5, 2, 3)) + weights)
    return conv(x, kernel(3, 3, 2))


def larger(weights, x):
    """Three times as large; sees one pixel."""
    x = conv(x, kernel(3, 2, 9)) + weights
    n, h, w, _ = x.shape
    return x.reshape(n, h, w, 3, 3, 1).transpose(0, 1, 3, 2, 4, 5).reshape(n, 3 * h, 3 * w, 1)


def pooled(weights, x):
    """Commutes with shifts by 4 only."""
    low = x.reshape(x.shape[0], x.shape[1] // 4, 4, x.shape[2] // 4, 4, 2).max((2, 4))
    return x + (conv(low, kernel(3, 2, 2)) + weights).repeat(4, 1).repeat(4, 2)


def far(weights, x):
    """Sees 66 pixels, further than the first strips show."""
    return x + weights * (jnp.pad(x, ((0, 0), (0, 66), (0, 0), (0, 0)))[:, 66:]
                          + jnp.pad(x, ((0, 0), (0, 0), (0, 66), (0, 0)))[:, :, 66:])


def everywhere(weights, x):
    return x - x.mean((1, 2), keepdims=True) + weights


WEIGHTS = np.float32(0.3)
measured = functools.cache(lambda program: tiling.measure(program, WEIGHTS, 2))


@pytest.mark.parametrize("program, scale, period, radius", [
    (convolutions, 1, 1, 3), (larger, 3, 1, 1), (pooled, 1, 4, 4), (far, 1, 1, 66), (everywhere, 1, 1, None)])
def test_what_a_function_sees(program, scale, period, radius):
    found = measured(program)
    assert (found.scale, found.period, found.radius) == (scale, period, radius)


@pytest.mark.parametrize("program, height, width, area", [
    (convolutions, 67, 131, 32 * 32), (convolutions, 1, 100, 32 * 32), (convolutions, 40, 32, 64 * 64),
    (convolutions, 5, 3, 32 * 32), (larger, 33, 90, 32 * 32), (pooled, 64, 132, 32 * 32), (far, 90, 200, 160 * 160),
    (everywhere, 50, 40, 32 * 32)])
def test_tiled_equals_whole(program, height, width, area):
    sight = measured(program)
    image = np.random.default_rng(0).normal(size=(1, height, width, 2)).astype(np.float32)
    covered = tiling.plan(sight, height, width, area)
    compiled = jax.jit(functools.partial(program, WEIGHTS))
    out = np.full(program(WEIGHTS, image).shape, np.nan, np.float32)
    shapes, s = set(), sight.scale
    def apply(x):
        shapes.add(x.shape)
        return compiled(x)

    for rows, columns, part in tiling.tiles(apply, lambda r, c: image[:, r, c], covered, s):
        out[:, s * rows.start : s * rows.stop, s * columns.start : s * columns.stop] = part
    np.testing.assert_allclose(out, program(WEIGHTS, jnp.asarray(image)), atol=1e-5)
    assert shapes == {(1, covered.height, covered.width, 2)}


def test_one_pixel_less_of_overlap_would_show():
    """The measured radius is no larger than it must be."""
    image = np.random.default_rng(0).normal(size=(1, 40, 100, 2)).astype(np.float32)
    sight = measured(convolutions)._replace(radius=2)
    covered = tiling.plan(sight, 40, 100, 32 * 32)
    made = list(tiling.tiles(functools.partial(convolutions, WEIGHTS), lambda r, c: image[:, r, c], covered, 1))
    whole = np.asarray(convolutions(WEIGHTS, jnp.asarray(image)))
    assert max(np.abs(part - whole[:, rows, columns]).max() for rows, columns, part in made) > 1e-3


@pytest.mark.parametrize("radius", [0, 1, 7, 20, 60])
@pytest.mark.parametrize("period", [1, 8])
def test_every_pixel_is_covered_once_by_a_tile_that_knows_it(radius, period):
    sight = Sight(2, radius, 100, period)
    for side in (*range(1, 70), 97, 255, 256, 257, 700, 1001, 4000):
        covered = tiling.plan(sight, side, side, 256**2)
        assert covered.height * covered.width <= 256**2 or radius > 50
        for tile, spans in ((covered.height, covered.rows), (covered.width, covered.columns)):
            assert spans[0].keep[0] == 0
            for span, following in zip(spans, [*spans[1:], None]):
                assert span.start % period == 0
                assert span.keep[0] == 0 or span.keep[0] >= span.start + radius
                if following is None:
                    assert span.keep[1] == side and side <= span.start + tile < side + period
                else:
                    assert span.keep[1] == following.keep[0] <= span.start + tile - radius


def test_large_pictures_take_few_shapes_and_waste_little():
    sight = Sight(2, 12, 1000)
    shapes = set()
    for height, width in ((3000, 4000), (3024, 4032), (2999, 4001), (1080, 1920), (1000, 1003), (20000, 700)):
        covered = tiling.plan(sight, height, width, tiling.largest(sight))
        computed = len(covered.rows) * len(covered.columns) * covered.height * covered.width
        assert computed < 1.25 * height * width
        shapes.add((covered.height, covered.width))
    assert {side for shape in shapes for side in shape} <= set(tiling.SIDES)
    assert tiling.largest(sight._replace(bytes_per_pixel=100_000)) == tiling.MEMORY // 100_000


def test_a_function_that_makes_no_whole_multiple_is_refused():
    with pytest.raises(ValueError, match="no whole multiple"):
        tiling.measure(lambda weights, x: x[:, ::2, ::2], WEIGHTS, 2)
    with pytest.raises(ValueError, match="only some sizes"):
        tiling.measure(lambda weights, x: x + np.zeros((1, 48, 48, 2), np.float32), WEIGHTS, 2)


def test_sides_that_a_function_takes():
    def pyramid(weights, x):
        """A picture whose sides are multiples of 8, from 16 on."""
        if x.shape[1] % 8 or x.shape[2] % 8 or min(x.shape[1:3]) < 16:
            raise ValueError("multiples of 8, 16 or more")
        return x + weights * jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))[:, 2:, 2:]

    sight = tiling.measure(pyramid, WEIGHTS, 2)
    assert (sight.period, sight.least, sight.radius) == (8, 16, 1)
    covered = tiling.plan(sight, 5, 17, 32 * 32)
    assert (covered.height, covered.width, covered.rows[0].keep) == (16, 24, (0, 5))


def test_what_is_masked_and_what_is_not_are_tried_together():
    def fill(weights, x):
        hole = x[..., 2:]
        given = jnp.where(hole > 0, 0, x[..., :2])
        return jnp.where(hole > 0, conv(given, kernel(5, 2, 2)), given)

    assert tiling.measure(fill, WEIGHTS, 3, masks=1).radius == 2


def test_what_is_not_wanted_is_not_computed():
    calls = []

    def apply(x):
        calls.append(x.shape)
        return jnp.asarray(x)

    covered = tiling.plan(Sight(1, 1, 1), 64, 100, 32 * 32)
    image = np.zeros((1, 64, 100, 1), np.float32)
    parts = list(tiling.tiles(apply, lambda r, c: image[:, r, c], covered, 1,
                              wanted=lambda r, c: r.start == 0 == c.start))
    assert len(calls) == 1 and sum(part is not None for *_, part in parts) == 1
