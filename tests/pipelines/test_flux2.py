"""FLUX.2 klein: pictures as diffusers makes them, also beside references, and folders that are not what they should."""
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_pipelines as reference
from PIL import Image

import imggen_jax
from imggen_jax import pipelines
from imggen_jax.data.text import tokenizer_of
from imggen_jax.editing import sources
from imggen_jax.errors import DataError, RunError, WeightsError
from imggen_jax.prompting import redrawing, revising
from imggen_jax.weights import flux2, tensors

pytest.importorskip("tokenizers")
GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())["klein"]


@pytest.fixture(scope="module")
def model(folder):
    """Its networks alone are compiled."""
    with jax.disable_jit():
        yield reference.compiled(pipelines.resized(imggen_jax.load(folder("klein")), 64, 64))


@pytest.mark.parametrize("name", ["picture", "references"])
def test_pictures_are_those_of_diffusers(name, model):
    more = dict(zip(pipelines.REFERENCES, reference.references())) if name == "references" else {}
    fields = model.check_given({"text": "a red cat", **more}, 1)
    said = model.generator.condition(model.weights, fields)
    made = model.generator.decode(model.weights, jnp.asarray(reference.noise(3, 16, 8)), said, {"steps": 4})
    np.testing.assert_allclose(np.asarray(made).ravel()[::197], GOLDEN[name], rtol=0, atol=1e-4)


def test_parts_of_a_prompt_count_by_their_shares(model):
    """A text that is said twice, by shares, is the text."""
    z = jnp.asarray(reference.noise(3, 16, 8))

    def made(text):
        return np.asarray(pipelines.flux2.denoised(
            pipelines.recipe_of(model), model.weights, z,
            model.generator.condition(model.weights, model.check_given({"text": text}, 1)),
            {"steps": 1, "strength": 1.0}))

    one, other, both = (made(text) for text in ("a cat", "a tree", imggen_jax.prompts.parse("a cat::3 a tree::1")))
    np.testing.assert_allclose(both, 0.75 * one + 0.25 * other, atol=1e-5)


@pytest.mark.slow
def test_pictures_are_made_beside_files_at_the_size_of_the_first(folder, model, tmp_path):
    run = sources.open_run(folder("klein"), model)
    files = [tmp_path / f"{number}.png" for number in range(2)]
    for file, pixels in zip(files, reference.references()):
        Image.fromarray(pixels).save(file)
    done = redrawing.beside(run, tmp_path / "out", files, prompt="a cat", num=1, seed=3, given={})
    assert [path.name for path in done.files] == ["sheet.png", "000.png"]
    assert Image.open(done.files[1]).size == (64, 64)
    assert redrawing._within(np.zeros((2000, 1000, 3), np.uint8), 500_000).shape == (1000, 500, 3)
    with pytest.raises(RunError, match="beside others under a prompt; add --prompt"):
        redrawing.beside(run, tmp_path / "out", files, prompt=None, num=1, seed=3, given={})
    with pytest.raises(RunError, match="9 reference pictures are given; at most 8"):
        redrawing.beside(run, tmp_path / "out", files[:1] * 9, prompt="a cat", num=1, seed=3, given={})
    Image.fromarray(np.zeros((3, 90, 3), np.uint8)).save(tmp_path / "thin.png")
    with pytest.raises(RunError, match="thin.png is 90x3; references have at least 4 pixels a side"):
        redrawing.beside(run, tmp_path / "out", [tmp_path / "thin.png"], prompt="a cat", num=1, seed=3, given={})


def test_other_models_take_one_picture(folder):
    with pytest.raises(RunError, match="2 pictures are given, and one is varied"):
        revising.vary(folder("sd"), "nowhere", ["a.png", "b.png"], prompt="a cat")


def test_a_prompt_stands_in_a_chat(model):
    field = model.spec["text"]
    tokens, cut = tokenizer_of(field).encode(["a red cat", "cat " * 600])
    assert tokens.shape == (2, 513) and cut == 1 and tokens[1, 0] == 512
    assert tokenizer_of(field).decode(tokens[0]) == "a red cat"
    assert (tokens[0, 1 + tokens[0, 0]:] == tokens[0, -1]).all()


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


WRONG = {
    "guidance": (("transformer/config.json", {"guidance_embeds": True}), "guidance_embeds is True; here it can be"),
    "axes": (("transformer/config.json", {"axes_dims_rope": [8, 8]}), "axes_dims_rope is [8, 8]; here it can be 4"),
    "key": (("text_encoder/config.json", {"experts": 8}), "the key experts is not understood here"),
    "rope": (("text_encoder/config.json", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}),
             "rope_parameters is {'rope_type': 'yarn'"),
    "patch": (("vae/config.json", {"patch_size": [4, 4]}), "patch_size is [4, 4]; here it can be [2, 2]"),
    "scheduler": (("scheduler/scheduler_config.json", {"_class_name": "DDIMScheduler"}),
                  "the scheduler is one for ddim"),
    "tokenizer": (None, "tokenizer.json is missing")}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named_in_one_line(what, folder, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(folder("klein"), copy)
    change, said = WRONG[what]
    if change is None:
        (copy / "tokenizer" / "tokenizer.json").unlink()
    else:
        edit(copy / change[0], **change[1])
    with pytest.raises((WeightsError, DataError, RunError)) as error:
        imggen_jax.load(copy)
    assert said in str(error.value) and "\n" not in str(error.value)


# What was published: the cards of FLUX.2 klein 4B and Qwen3 4B.
KLEIN = {"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24, "joint_attention_dim": 7680,
         "guidance_embeds": False}
QWEN3_4B = {"vocab_size": 151936, "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
            "num_attention_heads": 32, "num_key_value_heads": 8, "rope_theta": 1e6, "tie_word_embeddings": True}


@pytest.mark.slow
def test_the_full_size_transformer_and_autoencoder_have_as_many_weights_as_published():
    part = flux2.transformer(KLEIN, "bfloat16")
    assert tensors.parameters(part.wanted) == 3_875_544_576
    assert sum(tensors.parameters(part.wanted) for part in flux2.autoencoder({}, "float32").values()) == (
        84_046_115 + 2 * 128)  # and the statistics of its latents


@pytest.mark.slow
def test_the_full_size_text_encoder_has_as_many_weights_as_published():
    """4,022,468,096 with the layers that are not read, and the last norm."""
    found = tensors.parameters(flux2.qwen3(QWEN3_4B, "bfloat16").wanted)
    table = 151936 * 2560
    assert table + (found - table) // 27 * 36 + 2560 == 4_022_468_096


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_transformer_becomes_a_program_for_other_devices(platform):
    part = flux2.transformer(reference.FLUX, "bfloat16")
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 16, 8), (1,), (1, 12, 48), (28, 4))]
    with jax.disable_jit(False):
        text = jax.jit(part.net.apply).trace({"params": part.wanted}, *inputs).lower(
            lowering_platforms=(platform,)).as_text()
    assert "bf16" in text and "callback" not in text
