"""A small decoder in the place of a model's own (TAESD)."""
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import reference_pipelines as reference

import imggen_jax
from imggen_jax import main, pipelines
from imggen_jax.errors import RunError, WeightsError
from imggen_jax.weights import published, tensors

pytest.importorskip("tokenizers")
GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())["tiny"]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return reference.write_tiny(tmp_path_factory.mktemp("small") / "taesd")


def test_pictures_and_latents_are_those_of_diffusers(small):
    encoder, decoder = (part.net for part in published.tiny(reference.TINY, "float32"))
    found = tensors.open_folder(small, "diffusion_pytorch_model")
    params = [tensors.fill(part.wanted, found, "float32", what="", unused=("coder",))
              for part in published.tiny(reference.TINY, "float32")]
    picture = reference.source(5, 24)[:, :16] / np.float32(127.5) - 1
    made = reference.Compiled(encoder).apply({"params": params[0]}, picture)
    np.testing.assert_allclose(np.asarray(made).ravel()[::17], GOLDEN["encoded"], rtol=0, atol=1e-4)
    made = reference.Compiled(decoder).apply({"params": params[1]}, reference.noise(8, 8))
    np.testing.assert_allclose(np.asarray(made).ravel()[::17], GOLDEN["decoded"], rtol=0, atol=1e-4)


def test_it_takes_the_place_of_a_model_s_own(small, folder, tmp_path, capsys):
    words = ["adapt", "--model", str(folder("sd")), "--decoder", str(small), "--out", str(tmp_path / "out")]
    assert main.main(words) == 0 and "pictures are decoded by taesd" in capsys.readouterr().out
    model, own = imggen_jax.load(tmp_path / "out"), imggen_jax.load(folder("sd"))
    z = jnp.asarray(reference.noise(8, 8))
    recipe = pipelines.recipe_of(model)
    assert pipelines.recipe_of(own).scales == (0.5, 0.5) and recipe.scales == (0.5, 1.0)
    recipe = recipe._replace(decoder=reference.Compiled(recipe.decoder))
    made = pipelines.diffusion.pictures(recipe, model.weights, z)
    np.testing.assert_allclose(np.asarray(made).ravel()[::17], np.clip(GOLDEN["decoded"], -1, 1), rtol=0, atol=1e-4)


def test_what_does_not_fit_is_refused(small, folder, tmp_path):
    model = imggen_jax.load(folder("sd"))
    config = json.loads((small / "config.json").read_text())
    copy = reference.write_tiny(tmp_path / "other")
    for change, said in (({"latent_channels": 16}, "is for latents of 16 channels"),
                         ({"gate": 1}, "the key gate is not understood here"),
                         ({"_class_name": "AutoencoderKL"}, "here it can be AutoencoderTiny"),
                         ({"num_decoder_blocks": [1]}, "do not fit together")):
        (copy / "config.json").write_text(json.dumps(config | change))
        with pytest.raises((RunError, WeightsError), match=said):
            pipelines.with_decoder(model, copy)
    with pytest.raises(RunError, match="a small decoder is for Stable Diffusion"):
        pipelines.with_decoder(imggen_jax.load(folder("klein")), small)


def test_taesd_has_as_many_weights_as_published():
    assert sum(tensors.parameters(part.wanted) for part in published.tiny({}, "float32")) == 2_445_063
