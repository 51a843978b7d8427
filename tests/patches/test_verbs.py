"""What each verb promises, and what it says of input that it cannot take."""
import numpy as np
import pytest

from imggen_jax import patches
from imggen_jax.patches import PatchError

QUICK = dict(quality="draft")


@pytest.fixture(scope="module")
def hole(stones):
    mask = np.zeros(stones.shape[:2], bool)
    mask[24:38, 30:46] = True
    return mask


def test_what_lies_outside_the_mask_is_returned_to_the_bit(stones, hole):
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 65536, (*hole.shape, 4), dtype=np.uint16)          # noise, with alpha, in 16 bits
    made = patches.remove(wide, hole, **QUICK)
    assert made.dtype == np.uint16 and made.shape == wide.shape
    np.testing.assert_array_equal(made[~hole], wide[~hole])
    grown = patches.remove(stones, hole, grow=3, soften=2, **QUICK)
    changed = (grown != stones).any(-1)
    assert not changed[:21].any() and not changed[41:].any() and changed[22:24].any()


def test_scratches_thinner_than_a_coarse_pixel_are_filled(stones, monkeypatch):
    from imggen_jax.patches import sizes

    monkeypatch.setitem(sizes.QUALITIES, "draft", 40)
    mask = np.zeros(stones.shape[:2], bool)
    mask[30, 10:70] = True
    spoiled = np.where(mask[..., None], 255, stones).astype(np.uint8)
    made = patches.remove(spoiled, mask, **QUICK)
    assert np.abs(made.astype(int) - stones)[mask].mean() < 25               # white would be 130 off


def test_a_regular_picture_is_completed(stripes):
    mask = np.zeros(stripes.shape[:2], bool)
    mask[20:40, 28:48] = True
    spoiled = np.where(mask[..., None], 128, stripes).astype(np.uint8)
    made = patches.remove(spoiled, mask, **QUICK)
    assert np.abs(made.astype(int) - stripes)[mask].mean() < 40               # gray would be 100 off


def test_patches_come_from_where_they_may(stones, hole):
    two = np.concatenate([stones, np.full_like(stones, 255)], 1)              # its tone is blended into the rest
    mask, use = np.zeros(two.shape[:2], bool), np.zeros(two.shape[:2], bool)
    mask[:, :80], use[:, 90:] = hole, True
    made, plain = (patches.remove(two, mask, use=u, **QUICK)[mask].astype(int) for u in (use, None))
    assert made.mean() > plain.mean() + 10                                    # the last touch moves either by up to 5
    assert np.abs(np.diff(made[:256].reshape(-1, 16, 3), axis=1)).mean() < 10  # smooth, as white is


@pytest.mark.parametrize("dtype, shape", [(np.uint8, ()), (np.uint16, (1,)), (np.uint8, (2,)), (np.uint8, (4,))])
def test_texture_of_every_kind(stones, dtype, shape):
    top = np.iinfo(dtype).max
    gray = (stones[..., :1].astype(np.float32) / 255 * top).astype(dtype)
    alpha = np.full_like(gray, top)
    picture = {(): gray[..., 0], (1,): gray, (2,): np.concatenate([gray, alpha], -1),
               (4,): np.concatenate([gray, gray, gray, alpha], -1)}[shape]
    made = patches.texture(picture, (70, 100), **QUICK)
    assert made.dtype == dtype and made.shape == (70, 100, *shape)
    colors = made if made.ndim == 2 else made[..., 0]
    assert 0.7 < colors.std() / gray.std() < 1.4                              # not washed out
    if shape in ((2,), (4,)):
        assert made[..., -1].min() > 0.98 * top


def test_same_seed_same_picture(stones):
    one, again, other = (patches.texture(stones, (64, 64), seed=s, **QUICK) for s in (5, 5, 6))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_the_exact_search_serves_a_verb_as_well(stones):
    made = patches.texture(stones[:40, :40], (48, 48), backend="exact", **QUICK)
    assert made.shape == (48, 48, 3) and 0.6 < made.std() / stones[:40, :40].std() < 1.5


def test_textures_that_tile(stones):
    made = patches.texture(stones, (64, 96), tileable=True, **QUICK)
    plain = patches.texture(stones, (64, 96), **QUICK)
    assert max(patches.seam(made)) < 1.5 < max(patches.seam(plain))


def test_tile_closes_the_picture_and_keeps_its_middle(stones):
    made = patches.tile(stones, band=0.15, **QUICK)
    assert made.shape == stones.shape and max(patches.seam(stones)) > 2
    assert max(patches.seam(made)) < 1.5
    ramp = (np.linspace(40, 200, 80)[:, None] + np.random.default_rng(0).normal(0, 5, (64, 80, 3))).astype(np.uint8)
    assert patches.seam(patches.tile(ramp, **QUICK))[1] < 3 < patches.seam(ramp)[1]


def test_variations_differ_and_do_not_depend_on_their_number(stones):
    three = patches.variations(stones, 3, strength=0.6, **QUICK)
    np.testing.assert_array_equal(three[1], patches.variations(stones, 1, strength=0.6, seed=1, **QUICK)[0])
    assert patches.diversity(three) > 0.2
    np.testing.assert_array_equal(patches.variations(stones, 1, strength=0)[0], stones)


def test_retarget(stripes):
    made = patches.retarget(stripes, (64, 120), **QUICK)
    assert made.shape == (64, 120, 3)
    steps = np.flatnonzero(np.abs(np.diff(made[32, :, 0].astype(int))) > 60)
    assert np.median(np.diff(steps)) == 4                                     # stripes are as wide as before
    np.testing.assert_array_equal(patches.retarget(stripes, (64, 80)), stripes)


def test_outpaint_and_panorama_hold_the_picture(stones):
    made = patches.outpaint(stones, left=16, bottom=20, **QUICK)
    assert made.shape == (84, 96, 3)
    np.testing.assert_array_equal(made[:64, 16:], stones)
    around = patches.panorama(stones, 128, wrap=True, **QUICK)
    np.testing.assert_array_equal(around[:, 24:104], stones)
    assert patches.seam(around)[1] < 2


def test_a_horizon_goes_on_at_its_height_when_rows_are_added_too(stones):
    """Waves below it, as bright as the sky in places, would otherwise rise above it."""
    rng = np.random.default_rng(0)
    scene = np.full((64, 96, 3), 200, np.uint8)
    scene[:24] += rng.integers(0, 8, (24, 96, 1), dtype=np.uint8)
    scene[24:] = np.where(rng.random((40, 96, 1)) < np.linspace(0.1, 0.9, 40)[:, None, None], 60, 200)
    made = patches.outpaint(scene, left=24, top=10, **QUICK)
    assert made[:32].min() > 150 and (made[36:, :24] < 100).mean() > 0.3
    shares = []
    patches.outpaint(stones, left=4, top=4, **QUICK, report=shares.append)
    assert shares == sorted(shares) and abs(shares[-1] - 1) < 1e-6


def test_stylize(stones, stripes):
    np.testing.assert_array_equal(patches.stylize(stones, stripes, strength=0), stones)
    np.testing.assert_array_equal(patches.stylize(stones, stones, **QUICK), stones)
    distances = [patches.patch_distance(patches.stylize(stones, stripes, strength=s, **QUICK), stripes, samples=2000)
                 for s in (0.0, 0.3, 1.0)]
    assert distances[0] > 1.05 * distances[1] > 1.05**2 * distances[2]
    gray = stripes[..., 0]
    assert patches.stylize(stones, [gray, stones], weights=[1, 2], keep_colors=True, **QUICK).shape == stones.shape


def test_recolor(stones):
    np.testing.assert_array_equal(patches.recolor(stones, stones), stones)
    np.testing.assert_array_equal(patches.recolor(stones, stones[::-1], strength=0), stones)
    blue = (stones * [0.3, 0.5, 1.0]).astype(np.uint8)
    made = patches.recolor(stones, blue)
    before, after = (np.abs(np.sort(a.reshape(-1, 3), 0).astype(int) - np.sort(blue.reshape(-1, 3), 0)).mean()
                     for a in (stones, made))
    assert after < before / 4
    assert np.corrcoef(made.mean(-1).ravel(), stones.mean(-1).ravel())[0, 1] > 0.9


def test_edit_changes_the_picture_near_the_edit_only(stones):
    paint = stones.copy()
    paint[10:20, 10:26] = stones[40:50, 50:66]
    made = patches.edit(stones, paint, **QUICK)
    np.testing.assert_array_equal(made[30:, 36:], stones[30:, 36:])
    inside = (slice(10, 20), slice(10, 26))
    assert np.abs(made[inside].astype(int) - paint[inside]).mean() < np.abs(
        stones[inside].astype(int) - paint[inside]).mean()


def test_mix(stones, stripes):
    mask = np.zeros(stones.shape[:2], bool)
    mask[:, 40:] = True
    made = patches.mix(stones, stripes, mask, **QUICK)
    np.testing.assert_array_equal(made[:, :30], stones[:, :30])
    np.testing.assert_array_equal(made[:, 50:], stripes[:, 50:])
    assert patches.mix(stones, stripes[:48, :64], **QUICK).shape == stones.shape


def test_one_flat_color(stones):
    flat = np.full((40, 50, 3), 77, np.uint8)
    hole = np.zeros((40, 50), bool)
    hole[10:20, 10:20] = True
    for made in (patches.texture(flat, (60, 60), **QUICK), patches.tile(flat, **QUICK),
                 patches.remove(flat, hole, **QUICK), patches.variations(flat, 1, **QUICK)[0],
                 patches.stylize(stones, flat, **QUICK)):
        assert np.abs(made.astype(int) - 77).max() <= 1
    assert patches.seam(flat) == (1.0, 1.0)


@pytest.mark.parametrize("call, says", [
    (lambda p, m: patches.remove(p, m[:-1]), "must be of one size"),
    (lambda p, m: patches.remove(p, m & False), "marks no pixel"),
    (lambda p, m: patches.remove(p, m | True), "marks every pixel"),
    (lambda p, m: patches.remove(p, m, seed=-1), "the seed is -1"),
    (lambda p, m: patches.remove(p, m, quality="great"), "draft, normal, best"),
    (lambda p, m: patches.remove(p, np.indices(m.shape).sum(0) % 5 > 0), "too little is left"),
    (lambda p, m: patches.remove(p.astype(np.float32), m), "uint8 or uint16"),
    (lambda p, m: patches.texture(p[:8], (64, 64)), "at least 16 pixels"),
    (lambda p, m: patches.texture(p, (50_000, 40_000)), r"at most .* are possible here, as with \d+x\d+"),
    (lambda p, m: patches.texture(p, (64, 64), piece=2), "piece is 2"),
    (lambda p, m: patches.panorama(p, 50), "must be wider"),
    (lambda p, m: patches.outpaint(p), "one must be above 0"),
    (lambda p, m: patches.edit(p, p), "does not differ"),
    (lambda p, m: patches.edit(p, p[:-1]), "must be alike"),
    (lambda p, m: patches.mix(p, p[..., 0]), "must be alike"),
    (lambda p, m: patches.stylize(p, [p, p], weights=[1]), "one positive number for each"),
    (lambda p, m: patches.stylize(p, p, strength=1.5), "strength is 1.5"),
    (lambda p, m: patches.recolor(p[..., 0], p), "no palette"),
    (lambda p, m: patches.variations(p, 0), "num is 0"),
])
def test_one_clear_line(stones, hole, call, says):
    with pytest.raises(PatchError, match=says) as caught:
        call(stones, hole)
    assert "\n" not in str(caught.value)


def test_progress_rises_to_the_end(stones, hole):
    seen = []
    patches.remove(stones, hole, report=seen.append, **QUICK)
    assert seen == sorted(seen) and seen[-1] == 1.0 and len(seen) > 1


def test_a_large_picture_is_worked_at_a_bounded_size(stones, monkeypatch):
    """Bounded to 40 pixels the result is still made of full-size detail: as sharp as the picture."""
    from imggen_jax.patches import sizes

    monkeypatch.setitem(sizes.QUALITIES, "draft", 64)
    made = patches.texture(stones, (128, 128), quality="draft")
    slope = [np.abs(np.diff(p.astype(int), axis=0)).mean() for p in (made, stones)]
    assert slope[0] > 0.8 * slope[1]
