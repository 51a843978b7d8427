"""Matching and voting: the rules that the verbs rest on."""
import numpy as np
import pytest

from imggen_jax.patches import blending, matching, quilting, sizes
from imggen_jax.patches.matching import Settings
from imggen_jax.patches.pyramid import Level, reduce, scales
from imggen_jax.patches.synthesis import Problem, Solution

EXACT = Settings(patch=5, dims=None, backend="tree", eps=0.0, coherence=0.0)


def level(picture):
    return Level(picture.astype(np.float32) / 255, np.ones(picture.shape[:2], bool))


def whole(picture):
    return np.ones(picture.shape[:2], bool)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("wrap", [(False, False), (True, True), (False, True)])
def test_a_picture_is_voted_from_itself(stones, rng, wrap):
    source = matching.source(level(stones), EXACT, rng)
    target = matching.target(source.level.picture, whole(stones), 5, wrap)
    target, distances = matching.rematch(target, source, EXACT, rng, search=1.0)
    made = matching.vote(target, source, None, 1.0)
    inside = (slice(5, -5), slice(5, -5))
    np.testing.assert_allclose(made[inside], source.level.picture[inside], atol=1e-6)
    assert np.median(distances) == 0


def test_both_backends_match_alike_on_the_exact_setting(stones, rng):
    noisy = np.clip(stones + rng.normal(0, 20, stones.shape), 0, 255)
    fields = []
    for backend in ("exact", "tree"):
        settings = EXACT._replace(backend=backend)
        source = matching.source(level(stones), settings, np.random.default_rng(0))
        target = matching.target(level(noisy).picture, whole(stones), 5)
        fields.append(matching.rematch(target, source, settings, np.random.default_rng(0), search=1.0)[0].field)
    assert (fields[0] == fields[1]).mean() > 0.999           # but for ties in the last bit


def test_patches_that_hold_unknown_pixels_are_not_used(stones, rng):
    known = whole(stones)
    known[20:40, 20:50] = False
    source = matching.source(Level(level(stones).picture, known), EXACT, rng)
    target = matching.target(level(stones).picture, whole(stones), 5)
    target, distances = matching.rematch(target, source, EXACT, rng, search=1.0)
    used = np.unravel_index(target.field.ravel(), source.grid)
    assert all(known[y : y + 5, x : x + 5].all() for y, x in zip(*used, strict=True))
    assert (distances < matching.FAR).all()


def test_spread_uses_more_of_the_source(stones, rng):
    flat = np.full_like(stones, 128)
    used = []
    for spread in (0.0, 1.0):
        settings = EXACT._replace(spread=spread, dims=6)
        source = matching.source(level(stones), settings, rng)
        target = matching.target(level(flat).picture, whole(flat), 5)
        for _ in range(6):
            target, _ = matching.rematch(target, source, settings, rng, search=1.0)
        used.append(len(np.unique(target.field)))
    assert used[1] > 10 * used[0]


@pytest.mark.parametrize("wrap", [(False, False), (True, True)])
def test_matches_that_continue_each_other_still_do_at_twice_the_size(stones, rng, wrap):
    large = level(stones)
    small = reduce(large, (32, 40))
    settings = EXACT._replace(patch=7)
    coarse, fine = (matching.source(one, settings, rng) for one in (small, large))
    target = matching.target(small.picture, whole(small.picture), 7, wrap)
    shifted = np.stack(np.meshgrid(np.arange(32), np.arange(40), indexing="ij"), -1)
    target = matching.placed(target, coarse, shifted)
    carried = matching.carried(target, coarse, matching.target(large.picture, whole(stones), 7, wrap), fine)
    rows, columns = carried.field // fine.grid[1], carried.field % fine.grid[1]
    e = 8 if wrap[0] else 0                                  # there patches lie over the edge, where the source ends
    at = (slice(e, 58 - e), slice(e, 74 - e))
    y, x = np.indices(carried.field.shape)
    np.testing.assert_array_equal(rows[at], y[at])
    np.testing.assert_array_equal(columns[at], x[at])


def test_full_size_detail_is_copied(stones, rng):
    """Matched to itself at half the size, a picture comes back at full size, though half of it had no such detail."""
    large = level(stones)
    small = reduce(large, (32, 40))
    source = matching.source(small, EXACT, rng)
    target = matching.target(small.picture, whole(small.picture), 5)
    target, _ = matching.rematch(target, source, EXACT, rng, search=1.0)
    canvas = Level(np.zeros_like(large.picture), np.zeros(stones.shape[:2], bool))
    made = sizes.enlarged(Solution(target, source, small.picture, 0.0), Problem(large, canvas), band=10)
    np.testing.assert_allclose(made, large.picture, atol=1e-5)


def test_a_level_is_the_mean_of_what_is_known():
    picture = np.zeros((8, 8, 1), np.float32)
    known = np.ones((8, 8), bool)
    known[:, 3] = False
    picture[:, 3] = np.nan
    small = reduce(Level(np.where(known[..., None], 0.5, picture), known), (4, 4))
    np.testing.assert_allclose(small.picture, 0.5)
    assert small.known.all()
    known[:, 2] = False
    assert (~reduce(Level(picture, known), (4, 4)).known).sum() == 4


def test_scales_end_at_the_wanted_size():
    found = scales(1000, 30, 500, 0.5)
    assert found == [0.03125, 0.0625, 0.125, 0.25, 0.5]
    assert scales(20, 30, 500, 0.5) == [1.0]


def test_poisson_finds_the_picture_from_its_gradients(stones):
    picture = level(stones).picture
    change = np.zeros(stones.shape[:2], bool)
    change[10:30, 20:50] = True
    gray = np.where(change[..., None], 0.5, picture)
    made = blending.poisson(gray, blending.differences(picture), change, (False, False), weight=1e-6, steps=400)
    np.testing.assert_allclose(made, picture, atol=2e-3)
    np.testing.assert_array_equal(made[~change], picture[~change])


def test_smooth_interpolates():
    line = np.broadcast_to(np.linspace(0, 1, 40, dtype=np.float32)[None, :, None], (30, 40, 1))
    known = np.ones((30, 40), bool)
    known[:, 12:20] = False
    assert np.abs(blending.smooth(line, known) - line).max() < 0.05


def test_the_best_seam_follows_the_least_error():
    error = np.ones((6, 7))
    path = [3, 4, 5, 4, 3, 2]
    error[np.arange(6), path] = 0
    np.testing.assert_array_equal(quilting.seam(error), path)


def test_quilts_are_made_of_the_source_and_keep_what_is_known(stones, rng):
    source = level(stones)
    canvas = Level(np.zeros((90, 100, 3), np.float32), np.zeros((90, 100), bool))
    canvas.picture[30:50, 30:60], canvas.known[30:50, 30:60] = 0.25, True
    made, origin = quilting.quilt(source, canvas, (24, 24), 8, rng, wrap=(True, True))
    np.testing.assert_array_equal(made[canvas.known], 0.25)
    y, x = origin[~canvas.known].T
    np.testing.assert_array_equal(made[~canvas.known], source.picture[y, x])
