"""Latents of pictures that a model did not make."""
import linear
import numpy as np
import pytest

from imggen_jax import editing
from imggen_jax.errors import RunError


@pytest.mark.parametrize("mapped", [False, True])
def test_an_optimizer_finds_a_picture_s_latent(mapped):
    model = linear.model(mapped=mapped)
    latents = editing.seeds(model, [3, 8], truncation=0.7)
    images = editing.show(model, latents)
    found = editing.project(model, images)
    assert found.psnr.min() > 40
    np.testing.assert_allclose(found.latents.w, latents.w, atol=0.15)
    np.testing.assert_array_equal(found.images, editing.show(model, found.latents))
    np.testing.assert_allclose(found.distance, editing.distance(model, latents.w), atol=0.1)
    alone = editing.project(model, images[1:])
    np.testing.assert_allclose(alone.latents.w[0], found.latents.w[1], atol=1e-5)


def test_an_encoder_is_asked_and_its_guess_can_be_improved_on():
    model = linear.model(encodes=True)
    images = editing.show(model, editing.seeds(model, [3]))
    plain, better = editing.project(model, images), editing.project(model, images, steps=50)
    np.testing.assert_allclose(plain.latents.w, model.encode(images))
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
    with pytest.raises(RunError, match="'label' is given, but this model does not need it"):
        editing.project(model, np.zeros((1, 16, 16, 1), np.uint8), given={"label": [0]})
