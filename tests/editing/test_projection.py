"""Latents of pictures that a model did not make."""
import linear
import numpy as np
import pytest

from imggen_jax import editing
from imggen_jax.editing.projection import psnr
from imggen_jax.errors import RunError


def test_psnr_of_known_pictures():
    black = np.zeros((2, 4, 4, 3), np.uint8)
    other = black.copy()
    other[0], other[1, :2] = 255, 25
    np.testing.assert_allclose(psnr(black, other), [0, 10 * np.log10(255**2 / (25**2 / 2))])
    assert psnr(black, black).min() > 100


@pytest.mark.parametrize("mapped", [False, True])
def test_an_optimiser_finds_a_picture_s_latent(mapped):
    model = linear.model(mapped=mapped)
    points = editing.seeds(model, [3, 8], truncation=0.7)
    images = editing.show(model, points)
    found = editing.project(model, images)
    assert found.psnr.min() > 40
    np.testing.assert_allclose(found.points.w, points.w, atol=0.15)
    np.testing.assert_array_equal(found.images, editing.show(model, found.points))
    np.testing.assert_allclose(found.distance, editing.distance(model, points.w), atol=0.1)
    alone = editing.project(model, images[1:])
    np.testing.assert_allclose(alone.points.w[0], found.points.w[1], atol=1e-5)


def test_an_encoder_is_asked_and_its_guess_can_be_improved_on():
    model = linear.model(amortised=True)
    images = editing.show(model, editing.seeds(model, [3]))
    plain, better = editing.project(model, images), editing.project(model, images, steps=50)
    np.testing.assert_allclose(plain.points.w, model.encode(images))
    assert better.psnr[0] > 30 and plain.psnr[0] > 30


def test_distance_is_about_1_for_what_the_prior_gives_and_grows():
    for model in (linear.model(), linear.model(mapped=True)):
        w = editing.seeds(model, range(300)).w
        assert 0.9 < editing.distance(model, w).mean() < 1.05
        centre = w.mean(0)
        assert editing.distance(model, centre + 3 * (w - centre)).mean() > 2.5


def test_what_cannot_be_projected_is_one_clear_line():
    model = linear.model()
    with pytest.raises(RunError, match="this model takes uint8"):
        editing.project(model, np.zeros((1, 8, 8, 1), np.uint8))
    with pytest.raises(RunError, match="steps is -1"):
        editing.project(model, np.zeros((1, 16, 16, 1), np.uint8), steps=-1)
    with pytest.raises(RunError, match="trained without labels"):
        editing.project(model, np.zeros((1, 16, 16, 1), np.uint8), labels=[0])
