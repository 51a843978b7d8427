"""LoRA and textual inversion in the spellings of others, and checkpoints in one file."""
import json
import shutil

import numpy as np
import pytest
import reference_pipelines as reference
from safetensors.numpy import load_file, save_file

import imggen_jax
from imggen_jax import main, pipelines
from imggen_jax.errors import RunError, WeightsError
from imggen_jax.weights import diffusers, ldm, tensors

pytest.importorskip("tokenizers")
LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0"
TEXT = "text_model.encoder.layers.0.self_attn.q_proj"
CONV = "down_blocks.0.resnets.0.conv1"
RNG = np.random.RandomState(0)
DOWN, UP = RNG.standard_normal((2, 8)).astype("f"), RNG.standard_normal((8, 2)).astype("f")
CONV_DOWN, CONV_UP = RNG.standard_normal((2, 4, 3, 3)).astype("f"), RNG.standard_normal((4, 2, 1, 1)).astype("f")
SPELLINGS = {  # what a file holds -> alpha
    "kohya": ({f"lora_unet_{LAYER.replace('.', '_')}.lora_down.weight": DOWN,
               f"lora_unet_{LAYER.replace('.', '_')}.lora_up.weight": UP,
               f"lora_unet_{LAYER.replace('.', '_')}.alpha": np.array(1.0, "f")}, 1.0),
    "kohya without alpha": ({f"lora_unet_{LAYER.replace('.', '_')}.lora_down.weight": DOWN,
                             f"lora_unet_{LAYER.replace('.', '_')}.lora_up.weight": UP}, 2.0),
    "diffusers": ({f"unet.{LAYER}.lora_A.weight": DOWN, f"unet.{LAYER}.lora_B.weight": UP}, 2.0),
    "diffusers of 2023": ({f"unet.{LAYER.replace('.to_out.0', '')}.processor.to_out_lora.down.weight": DOWN,
                           f"unet.{LAYER.replace('.to_out.0', '')}.processor.to_out_lora.up.weight": UP}, 2.0)}


@pytest.fixture(scope="module")
def model(folder):
    return imggen_jax.load(folder("sd"))


def kernel(model, component, layer):
    places, leaf = layer.split("."), "kernel"
    tree = model.weights[component]
    while places:  # a module's name may hold dots
        name = next(".".join(places[:n]) for n in range(len(places), 0, -1) if ".".join(places[:n]) in tree)
        tree, places = tree[name], places[len(name.split(".")):]
    return np.asarray(tree[leaf])


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_lora_adds_alpha_over_rank_times_up_down(name, model, tmp_path):
    content, alpha = SPELLINGS[name]
    save_file(content, tmp_path / "pen.safetensors")
    made, said = pipelines.with_lora(model, tmp_path / "pen.safetensors", 0.5)
    change = kernel(made, "unet", LAYER) - kernel(model, "unet", LAYER)
    np.testing.assert_allclose(change, 0.5 * alpha / 2 * (UP @ DOWN).T, atol=1e-6)
    assert said == "pen.safetensors: matched 1 layers of unet, 0 layers of text_encoder"
    assert made.weights["decoder"] is model.weights["decoder"]


def test_convolutions_and_text_encoders_have_loras_too(model, tmp_path):
    save_file({f"lora_unet_{CONV.replace('.', '_')}.lora_down.weight": CONV_DOWN,
               f"lora_unet_{CONV.replace('.', '_')}.lora_up.weight": CONV_UP,
               f"lora_te_{TEXT.replace('.', '_')}.lora_down.weight": DOWN,
               f"lora_te_{TEXT.replace('.', '_')}.lora_up.weight": UP, "lora_unet_middle.alpha": np.ones((), "f")},
              tmp_path / "a.safetensors")
    made, said = pipelines.with_lora(model, tmp_path / "a.safetensors")
    change = kernel(made, "unet", CONV) - kernel(model, "unet", CONV)
    np.testing.assert_allclose(change, np.einsum("or,rihw->hwio", CONV_UP[..., 0, 0], CONV_DOWN), atol=1e-5)
    np.testing.assert_allclose(kernel(made, "text_encoder", TEXT) - kernel(model, "text_encoder", TEXT), (UP @ DOWN).T,
                               atol=1e-6)
    assert said.endswith("matched 1 layers of unet, 1 layers of text_encoder; 1 tensors matched nothing: "
                         "lora_unet_middle.alpha")


@pytest.mark.slow
def test_loras_of_xl_have_the_names_of_the_code_that_trained_it(folder, tmp_path):
    model = imggen_jax.load(folder("xl"))
    old, new = next(pair for pair in ldm.unet_names(pipelines.recipe_of(model).unet) if pair[1].endswith("attn1.to_q"))
    down, up = np.ones((1, 4), np.float32), np.ones((4, 1), np.float32)
    save_file({f"lora_unet_{old.replace('.', '_')}.lora_down.weight": down,
               f"lora_unet_{old.replace('.', '_')}.lora_up.weight": up}, tmp_path / "xl.safetensors")
    made, _ = pipelines.with_lora(model, tmp_path / "xl.safetensors")
    np.testing.assert_allclose(kernel(made, "unet", new) - kernel(model, "unet", new), 1, atol=1e-6)


WRONG = {
    "of another model": ({"lora_unet_blocks_0.lora_down.weight": DOWN}, "none of its 1 tensors belongs to a layer"),
    "of another size": ({f"unet.{LAYER}.lora_A.weight": DOWN[:, :3], f"unet.{LAYER}.lora_B.weight": UP},
                        "does not fit this model"),
    "half": ({f"unet.{LAYER}.lora_A.weight": DOWN}, "to_out.0 it has down alone"),
    "LoHa": ({f"lora_unet_{LAYER}.hada_w1_a": DOWN}, "is a LoHa, which is not read here")}


@pytest.mark.parametrize("name", WRONG)
def test_a_lora_that_does_nothing_or_does_not_fit_is_refused(name, model, tmp_path):
    content, said = WRONG[name]
    save_file(content, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=said):
        pipelines.with_lora(model, tmp_path / "a.safetensors")


def test_a_word_of_textual_inversion(model, tmp_path):
    vectors = RNG.standard_normal((2, 8)).astype("f")
    save_file({"<toy>": vectors}, tmp_path / "toy.safetensors")
    made, said, word = pipelines.with_word(model, tmp_path / "toy.safetensors")
    assert word == "<toy>" and said == "toy.safetensors: the word '<toy>', 2 vectors"
    table = np.asarray(made.weights["text_encoder"]["text_model.embeddings.token_embedding.embedding"])
    np.testing.assert_array_equal(table[1000:], vectors)
    tokens = made.check_given({"text": "a <toy>"}, 1)["text"].reshape(-1, 2, 77)[0, 0]
    assert tokens[2:5].tolist() == [1000, 1001, 999]
    recipe = pipelines.recipe_of(made)
    read = recipe.texts[0].apply({"params": made.weights["text_encoder"]}, tokens[None])
    np.testing.assert_allclose(read.vector[0], read.last[0, 4], atol=1e-6)  # the end is not the greatest token now
    with pytest.raises(RunError, match="knows the word '<toy>' already"):
        pipelines.with_word(made, tmp_path / "toy.safetensors")
    save_file({"clip_l": vectors, "clip_g": vectors}, tmp_path / "xl.safetensors")
    with pytest.raises(WeightsError, match="has vectors for text_encoder_2 too"):
        pipelines.with_word(model, tmp_path / "xl.safetensors")


def test_an_adapted_model_is_a_small_folder(folder, tmp_path, capsys):
    save_file(SPELLINGS["diffusers"][0], tmp_path / "pen.safetensors")
    save_file({"emb_params": np.ones((1, 8), np.float32)}, tmp_path / "toy.safetensors")
    words = ["adapt", "--model", str(folder("sd")), "--lora", f"{tmp_path / 'pen.safetensors'}:0.5", "--word",
             str(tmp_path / "toy.safetensors"), "--size", "66x40", "--option", "steps=2", "--out",
             str(tmp_path / "out")]
    assert main.main(words) == 0
    told = capsys.readouterr().out
    assert "matched 1 layers of unet" in told and "the word 'toy', 1 vectors" in told
    assert f"Adapted: {tmp_path / 'out'}" in told
    model, base = imggen_jax.load(tmp_path / "out"), imggen_jax.load(folder("sd"))
    assert model.spec["image"].shape == (40, 66, 3) and model.generator.options["steps"].default == 2
    assert base.generator.options["steps"].default == 30
    change = kernel(model, "unet", LAYER) - kernel(base, "unet", LAYER)
    np.testing.assert_allclose(change, 0.5 * (UP @ DOWN).T, atol=1e-6)
    assert main.main([*words[:3], "--out", str(tmp_path / "other")]) == 2
    assert main.main(words) == 2 and "is not empty; choose another --out" in capsys.readouterr().err
    facts = json.loads((tmp_path / "out" / "adapted.json").read_text())
    (tmp_path / "out" / "adapted.json").write_text(json.dumps(facts | {"base": "gone"}))
    with pytest.raises(RunError, match="is made from the model .*gone, which is not there"):
        imggen_jax.load(tmp_path / "out")


def single_file(folder, name, path):
    """A model's components in one file, in the names of the code that trained it; and the configs."""
    found, configs = diffusers.read(folder), reference.MODELS[name][1]
    state, model = {}, imggen_jax.load(folder)
    tables = {"unet": (ldm.UNET, ldm.unet_names(pipelines.recipe_of(model).unet)),
              "vae": (ldm.VAE, ldm.vae_names(configs["vae"]))}
    for part, (prefix, names) in tables.items():
        old = {new: prefix + name for name, new in names}
        for key, one in found.tensors[part].items():
            module, _, leaf = key.rpartition(".")
            state[f"{old.get(module, prefix + module)}.{leaf}"] = np.array(one.read())
    for key, one in found.tensors["text_encoder"].items():
        state[ldm.SD_TEXT + key] = np.array(one.read())
    state |= {"model_ema.decay": np.zeros(1, np.float32), "alphas_cumprod": np.zeros(10, np.float32)}
    save_file(state, path)
    return {part: found.configs[part] for part in ("unet", "vae", "text_encoder", "scheduler")}


def test_a_checkpoint_in_one_file_is_read_as_the_folder(folder, tmp_path):
    configs = single_file(folder("sd"), "sd", tmp_path / "sd.safetensors")
    assert not any(".resnets." in name for name in load_file(tmp_path / "sd.safetensors"))
    with pytest.raises(WeightsError, match="holds no tokenizer; put vocab.json and merges.txt"):
        ldm.read(tmp_path / "sd.safetensors", configs)
    shutil.copytree(folder("sd") / "tokenizer", tmp_path / "tokenizer")
    found, whole = ldm.read(tmp_path / "sd.safetensors", configs), diffusers.read(folder("sd"))
    for part, each in whole.tensors.items():
        assert set(found.tensors[part]) == set(each)
        for name, one in each.items():
            np.testing.assert_array_equal(found.tensors[part][name].read(), one.read())
    assert ldm.is_checkpoint(tmp_path / "sd.safetensors") and not ldm.is_checkpoint(folder("sd") / "unet")


def test_queries_keys_and_values_of_open_clip_are_taken_apart(tmp_path):
    whole, projection = np.arange(27, dtype=np.float32).reshape(9, 3), np.arange(6, dtype=np.float32).reshape(3, 2)
    save_file({"transformer.resblocks.0.attn.in_proj_weight": whole, "text_projection": projection},
              tmp_path / "a.safetensors")
    found = ldm._open_clip(tensors.open_file(tmp_path / "a.safetensors").tensors)
    place = "text_model.encoder.layers.0.self_attn"
    for number, letter in enumerate("qkv"):
        np.testing.assert_array_equal(found[f"{place}.{letter}_proj.weight"].read(), whole[3 * number:3 * number + 3])
    np.testing.assert_array_equal(found["text_projection.weight"].read(), projection.T)
