"""What is done to a picture last: seams evened, thin holes bent over, patches moved to where others are distributed."""
import numpy as np
from scipy import ndimage

from imggen_jax.patches import blending, fitting, measures, patch_distance, seam, textures


def clouds(seed=0, shape=(48, 64)):
    noise = np.random.default_rng(seed).standard_normal((*shape, 3))
    field = ndimage.gaussian_filter(noise, (1.5, 1.5, 0))
    return (0.5 + 0.12 * field / field.std()).clip(0, 1).astype(np.float32)


def bits(picture):
    return np.rint(picture * 255).astype(np.uint8)


def test_a_closed_picture_is_cut_at_an_ordinary_line():
    picture = bits(clouds())
    cut = textures.cut_where_ordinary(picture)
    assert max(seam(picture)) > 1.3 and all(0.95 < s < 1.05 for s in seam(cut))
    np.testing.assert_array_equal(np.sort(cut.ravel()), np.sort(picture.ravel()))
    assert measures.gradients(picture, 0)[-1] == seam(picture)[0]
    assert (measures.gradients(np.zeros((20, 20)), 1) == 1).all()


def test_seams_are_evened_whether_rough_or_smooth():
    rough = clouds()
    smooth = rough.copy()
    smooth[0], smooth[-1] = 0.6 * rough[0] + 0.4 * rough[-1], 0.4 * rough[0] + 0.6 * rough[-1]
    change = np.zeros(rough.shape[:2], bool)
    change[:6] = change[-6:] = True
    for picture in (rough, smooth):
        made = picture
        for _ in range(3):
            made = blending.evened(made, change, 0, 5)
        assert abs(np.log(seam(bits(made))[0])) < min(0.25, abs(np.log(seam(bits(picture))[0])))
        np.testing.assert_array_equal(made[~change], picture[~change])


def test_thin_holes_are_bent_over():
    y, x = np.mgrid[:20, :30] / 30
    picture = np.stack([y**2, x * y, x], -1).astype(np.float32)
    change = np.zeros((20, 30), bool)
    change[8:11, 4:26] = change[0, 3] = True
    made = blending.bent(np.where(change[..., None], 0, picture), change)
    assert np.abs(made - picture)[8:11].max() < 0.002                         # means of both sides are 0.01 off
    np.testing.assert_array_equal(made[~change], picture[~change])


def test_patches_are_moved_to_where_others_are():
    picture, other = clouds(1), 1 - 0.6 * clouds(2)
    change = np.zeros(picture.shape[:2], bool)
    change[10:40, 10:50] = True
    made = fitting.fitted(picture, change, other, np.ones(other.shape[:2], bool), np.random.default_rng(0), steps=4)
    near = [patch_distance(bits(p), bits(other), first_mask=change, samples=500) for p in (picture, made)]
    assert near[1] < 0.5 * near[0]
    np.testing.assert_array_equal(made[~change], picture[~change])
    nothing = np.zeros(other.shape[:2], bool)
    assert fitting.fitted(picture, change, other, nothing, np.random.default_rng(0)) is picture


def test_a_filling_is_moved_no_farther_than_needed():
    picture = clouds(3)
    change = np.zeros(picture.shape[:2], bool)
    change[15:35, 20:44] = True
    ring = ndimage.binary_dilation(change, iterations=8) & ~change
    odd = np.where(change[..., None], 0.4 * picture, picture)                 # too dark
    made = fitting.fitted_into(odd, [picture], change, ring, np.random.default_rng(0))
    assert 0.01 < np.abs(made - odd).max() <= 0.0201
    same = fitting.fitted_into(picture, [odd], change, ring, np.random.default_rng(0))
    assert same is picture                                                    # near enough


def test_moved_patches_leave_no_lattice():
    """Where few patches are moved, none of the waves of their distance stands out."""
    picture, other = clouds(1, (96, 96)), 1 - clouds(2, (96, 96))
    everywhere = np.ones((96, 96), bool)
    made = fitting.fitted(picture, everywhere, other, everywhere, np.random.default_rng(0), steps=6, samples=500)
    waves = np.abs(np.fft.fft2((made - picture).mean(-1)))
    for row, column in ((0, 24), (24, 0), (24, 24), (0, 48), (48, 0), (48, 48)):    # periods of 4 and 2 pixels
        near = np.roll(waves, (4 - row, 4 - column), (0, 1))[:9, :9]
        assert near[4, 4] < 6 * np.median(near)
