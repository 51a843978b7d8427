"""A LoRA that is learned by the one step, and read again in both spellings."""
import jax
import numpy as np
import pytest
import reference_pipelines as reference
from safetensors.numpy import load_file

import imggen_jax
from imggen_jax import pipelines
from imggen_jax.errors import RunError
from imggen_jax.game import make_spec
from imggen_jax.pipelines import tuning

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def model(folder):
    return pipelines.resized(imggen_jax.load(folder("sd")), 16, 16)


def test_a_lora_is_read_again_in_both_spellings(model, tmp_path):
    rng, unet = np.random.RandomState(0), model.weights["unet"]
    lora = tuning._start(unet, 2, jax.random.key(0), make_spec())[0]["lora"]
    assert lora["down"] and all(".attn" in name for name in lora["down"])
    assert not any(np.any(up) for up in lora["up"].values())  # it begins without effect
    layers = {name: (np.asarray(down), rng.standard_normal(lora["up"][name].shape).astype("f"))
              for name, down in lora["down"].items()}
    changed = {}
    for names in ("diffusers", "kohya"):
        tuning.write(tmp_path / f"{names}.safetensors", tuning.Learned(layers, (1.0, 0.5)), names)
        changed[names], said = pipelines.with_lora(model, tmp_path / f"{names}.safetensors", 0.5)
        assert f"matched {len(layers)} layers of unet" in said and "nothing" not in said
    jax.tree.map(np.testing.assert_array_equal, changed["diffusers"].weights, changed["kohya"].weights)
    assert any(name.startswith("lora_unet_down_blocks_1") for name in load_file(tmp_path / "kohya.safetensors"))
    both = {"down": {name: down for name, (down, _) in layers.items()},
            "up": {name: 0.5 * up for name, (_, up) in layers.items()}}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), changed["kohya"].weights["unet"],
                 tuning.changed(unet, both))


@pytest.mark.slow  # the gradient of a U-Net takes a while to compile
def test_a_lora_is_learned(model):
    told = []
    learned = tuning.learn(model, reference.source(5, 16), ["a red cat"], rank=2, steps=42, batch=4, rate=1e-2, seed=1,
                           report=lambda *each: told.append(each))
    before, after = learned.figures
    assert after < before and [step for step, _ in told] == [10, 20, 30, 40, 42]
    assert all(down.shape[0] == up.shape[1] == 2 and np.any(up) for down, up in learned.layers.values())


def test_what_cannot_be_learned_is_refused(model, folder):
    source = reference.source(5, 16)
    with pytest.raises(RunError, match="1 pictures and 2 captions are given"):
        tuning.learn(model, source, ["a", "b"])
    with pytest.raises(RunError, match="rank of at most 128"):
        tuning.learn(model, source, ["a"], rank=0)
    with pytest.raises(RunError, match="is learned here by Stable Diffusion, without a mask"):
        tuning.learn(imggen_jax.load(folder("klein")), source, ["a"])
