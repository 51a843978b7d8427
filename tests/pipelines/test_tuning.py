"""A LoRA that is learned by the one step, and the way back from a picture to noise."""
import jax
import numpy as np
import pytest
import reference_pipelines as reference
from safetensors.numpy import load_file

import imggen_jax
from imggen_jax import pipelines
from imggen_jax.errors import RunError
from imggen_jax.pipelines import tuning
from imggen_jax.prompts import parse

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def model(folder):
    """Its networks alone are compiled."""
    with jax.disable_jit():
        yield reference.compiled(pipelines.resized(imggen_jax.load(folder("sd")), 64, 64))


def test_a_lora_is_learned_and_read_again(model, tmp_path):
    told = []
    learned = tuning.learn(model, reference.source(), ["a red cat"], rank=2, steps=12, rate=2e-2, seed=1,
                           report=lambda *each: told.append(each))
    before, after = learned.figures
    assert after < before and [step for step, _ in told] == [10, 12]
    assert all(down.shape[0] == up.shape[1] == 2 and np.any(up) for down, up in learned.layers.values())
    changed = {}
    for names in ("diffusers", "kohya"):
        tuning.write(tmp_path / f"{names}.safetensors", learned, names)
        changed[names], said = pipelines.with_lora(model, tmp_path / f"{names}.safetensors", 0.5)
        assert f"matched {len(learned.layers)} layers of unet" in said and "nothing" not in said
    jax.tree.map(np.testing.assert_array_equal, changed["diffusers"].weights, changed["kohya"].weights)
    assert any(name.startswith("lora_unet_down_blocks_1") for name in load_file(tmp_path / "kohya.safetensors"))
    both = {name: {layer: share * each[number] for layer, each in learned.layers.items()}
            for number, (name, share) in enumerate((("down", 1.0), ("up", 0.5)))}
    whole = tuning.changed(model.weights["unet"], both)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), changed["kohya"].weights["unet"], whole)


def test_what_cannot_be_learned_is_refused(model, folder):
    source = reference.source()
    with pytest.raises(RunError, match="1 pictures and 2 captions are given"):
        tuning.learn(model, source, ["a", "b"])
    with pytest.raises(RunError, match="rank of at most 128"):
        tuning.learn(model, source, ["a"], rank=0)
    with pytest.raises(RunError, match="is learned here by Stable Diffusion, without a mask"):
        tuning.learn(imggen_jax.load(folder("klein")), source, ["a"])


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
