"""Ways of Stable Diffusion: back from a picture to noise, under several texts, and seen on the way."""
import jax
import numpy as np
import pytest
import reference_pipelines as reference

import imggen_jax
from imggen_jax import pipelines
from imggen_jax.errors import RunError
from imggen_jax.prompts import parse

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def model(folder):
    """Its networks alone are compiled."""
    with jax.disable_jit():
        yield reference.compiled(pipelines.resized(imggen_jax.load(folder("sd")), 64, 64))


def test_noise_of_a_picture_leads_to_the_picture_again(model):
    """Along the steps of the default sampler; what the autoencoder changes is left out."""
    recipe = pipelines.recipe_of(model)._replace(defaults=(("guidance", 1.0), ("steps", 4)))
    model = pipelines.opening.remade(model, recipe)
    fields = model.check_given({"text": "a cat"}, 1)
    said = model.generator.condition(model.weights, fields)
    pixels = reference.source() / np.float32(127.5) - 1
    x = pipelines.diffusion.latents(recipe, model.weights, pixels)
    noise = model.generator.encode(model.weights, pixels, said)
    options = {"steps": 4, "sampler": 0, "guidance": 1.0, "strength": 1.0}
    again = pipelines.diffusion.denoised(recipe, model.weights, noise, said, options)
    spread = float(np.std(x))
    assert float(np.abs(again - x).mean()) < 0.1 * spread


def test_parts_of_a_prompt_count_by_their_shares(model):
    recipe, z = pipelines.recipe_of(model), reference.noise(3)

    def made(text, guidance):
        said = model.generator.condition(model.weights, model.check_given({"text": text}, 1))
        return np.asarray(pipelines.diffusion.denoised(recipe, model.weights, z, said, {
            "steps": 1, "sampler": 0, "guidance": guidance, "strength": 1.0}))

    one, other, both = (made(text, 3.0) for text in ("a cat", "a tree", parse("a cat::3 a tree::1")))
    np.testing.assert_allclose(both, 0.75 * one + 0.25 * other, atol=2e-4)


def test_a_picture_is_seen_while_it_is_made(model):
    seen = list(pipelines.previews(model, {"text": "a cat"}, seed=3, every=2, steps=5, sampler=0, guidance=2.0))
    assert [steps for steps, _ in seen] == [2, 4, 5] and all(picture.shape == (64, 64, 3) for _, picture in seen)
    z = np.asarray(model.latents([3], {"text": "a cat"}).w).reshape(1, 32, 32, 4)
    said = model.generator.condition(model.weights, model.check_given({"text": "a cat"}, 1))
    whole = model.generator.decode(model.weights, z, said, {"steps": 5, "sampler": 0, "guidance": 2.0})
    last = seen[-1][1] / 127.5 - 1
    assert np.abs(last - np.asarray(whole)[0]).max() < 1.01 / 127.5
    assert np.abs(seen[0][1] / 127.5 - 1 - last).mean() > np.abs(seen[1][1] / 127.5 - 1 - last).mean()
    with pytest.raises(RunError, match="the sampler plms remembers more than a picture shows"):
        pipelines.previews(model, {"text": "a cat"}, sampler=6)
