"""Models of others: pictures as diffusers makes them, and folders that are not what they should be."""
import hashlib
import json
import math
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_pipelines as reference
from safetensors.numpy import load_file, save_file

import imggen_jax
from imggen_jax import pipelines, sampling
from imggen_jax.errors import DataError, RunError, WeightsError
from imggen_jax.weights import diffusers, ldm, published, tensors

pytest.importorskip("tokenizers")
# What diffusers made with the same weights; experiments/open_weights writes it.
GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())


def picture(model, noise, fields, **options):
    """Networks are compiled, and what is around them is not, which takes less time than a whole program."""
    model = reference.compiled(model)
    generator, checked = model.generator, model.check_given(fields, 1)
    with jax.disable_jit():
        said = generator.condition(model.weights, checked)
        return np.asarray(generator.decode(model.weights, jnp.asarray(noise), said, options))


XL_SLOW = pytest.param("xl", marks=pytest.mark.slow)  # its networks take a while to compile


@pytest.mark.parametrize("name", ["sd", "inpaint", "lcm", pytest.param("sd_v", marks=pytest.mark.slow), XL_SLOW])
def test_names_and_sizes_of_tensors_are_those_of_diffusers(name, folder):
    found = diffusers.read(folder(name))
    sizes = {f"{part}.{key.removeprefix('text_model.')}": math.prod(one.shape)
             for part, each in found.tensors.items() for key, one in each.items()}
    assert hashlib.sha256(json.dumps(sizes, sort_keys=True).encode()).hexdigest() == GOLDEN[name]["names"]


def test_pictures_are_those_of_diffusers_and_one_program_makes_all_of_a_size(folder, monkeypatch):
    traced, solve = [], pipelines.solving.solve
    monkeypatch.setattr(pipelines.solving, "solve", lambda *inputs, **more: traced.append(1) or solve(*inputs, **more))
    model = pipelines.resized(imggen_jax.load(folder("sd")), 64, 64)

    def made(seed, text, negative, **options):
        fields = model.check_given({"text": text, "negative": negative}, 1)
        latents = sampling.at_rows(reference.noise(seed).reshape(1, -1), fields)
        return model.sampler.render(model.weights, latents, {"steps": 3, "sampler": 0, **options})

    one = made(3, "a red cat", "tree", guidance=2.0)
    assert one.shape == (1, 64, 64, 3) and one.dtype == np.float32
    np.testing.assert_allclose(one.ravel()[::197], GOLDEN["sd"]["picture"], rtol=0, atol=1e-4)
    assert np.abs(made(4, "the blue house by a tree", "", guidance=5.0, strength=0.5) - one).mean() > 0.1
    assert len(traced) == 1


def test_a_model_that_learned_guidance_is_told_of_it(folder):
    """A latent consistency model: it has no prompt to avoid, and its pictures are those of diffusers."""
    model = pipelines.resized(imggen_jax.load(folder("lcm")), 64, 64)
    assert "negative" not in model.generator.accepts
    assert {name: model.generator.options[name].default for name in ("guidance", "steps")} == {
        "guidance": 8.5, "steps": 4}
    made = picture(model, reference.noise(3), {"text": "a red cat"}, steps=3, guidance=2.0)
    np.testing.assert_allclose(made.ravel()[::197], GOLDEN["lcm"]["picture"], rtol=0, atol=1e-4)
    assert np.abs(picture(model, reference.noise(3), {"text": "a red cat"}, steps=3, guidance=8.0) - made).max() > 0.01


@pytest.mark.slow
def test_pictures_of_xl_are_those_of_diffusers(folder):
    model = pipelines.resized(imggen_jax.load(folder("xl")), 64, 64)
    made = picture(model, reference.noise(3), {"text": "a red cat", "negative": "tree"}, steps=3, sampler=0,
                   guidance=2.0)
    np.testing.assert_allclose(made.ravel()[::197], GOLDEN["xl"]["picture"], rtol=0, atol=1e-4)


def test_a_part_is_made_anew_and_the_rest_stays(folder):
    model = pipelines.resized(imggen_jax.load(folder("sd")), 64, 64)
    source, mask = reference.source(), reference.mask()
    made = picture(model, reference.noise(6), {"text": "a photo", "source": source, "mask": mask}, steps=2,
                   strength=0.6)
    inside, before = mask[..., 0] > 0, source / 127.5 - 1
    np.testing.assert_allclose(made[~inside], before[~inside], atol=1e-6)
    assert np.abs(made[inside] - before[inside]).mean() > 0.1


def changed(folder, tmp_path, **files):
    """A copy of a folder in which some files have other content; None: they are missing."""
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    for name, content in files.items():
        path = copy / name.replace("__", "/")
        path.unlink() if content is None else path.write_bytes(content)
    return copy


UNET = "unet/diffusion_pytorch_model.safetensors"


def with_tensors(path, change):
    state = load_file(path)
    change(state)
    save_file(state, path)


def damage(folder, what):
    unet = folder / UNET
    match what:
        case "truncated":
            unet.write_bytes(unet.read_bytes()[:-100])
        case "cut within the header":
            unet.write_bytes(unet.read_bytes()[:100])
        case "pointer":
            unet.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:19da\nsize 3438167540\n")
        case "pickle":
            unet.write_bytes(b"\x80\x02ctorch\n")
        case "zipped pickle":
            unet.write_bytes(b"PK\x03\x04" + bytes(100))
        case "bin":
            unet.rename(unet.with_suffix(".bin"))
        case "tensor missing":
            with_tensors(unet, lambda state: state.pop("conv_in.bias"))
        case "tensor left over":
            with_tensors(unet, lambda state: state.update(lora=np.ones(3, np.float32)))
        case "tensor misshapen":
            with_tensors(unet, lambda state: state.update({"conv_in.bias": np.ones(3, np.float32)}))
        case "component missing":
            shutil.rmtree(folder / "vae")
        case "tokenizer missing":
            (folder / "tokenizer" / "merges.txt").unlink()
        case "unknown key":
            edit(folder / "unet" / "config.json", attention_kind="new")
        case "unsupported value":
            edit(folder / "unet" / "config.json", class_embed_type="timestep")
        case "unknown scheduler":
            edit(folder / "scheduler" / "scheduler_config.json", _class_name="NewScheduler")
        case "unknown scheduler key":
            edit(folder / "scheduler" / "scheduler_config.json", rho=7)
        case "unknown pipeline":
            edit(folder / "model_index.json", _class_name="FluxPipeline")
        case "unknown component":
            edit(folder / "model_index.json", controlnet=["diffusers", "ControlNetModel"])
        case "no JSON":
            (folder / "vae" / "config.json").write_text("{")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


WRONG = {
    "truncated": "is truncated: its header tells of", "cut within the header": "is truncated, or no safetensors file",
    "pointer": "is a pointer of Git LFS in the place of the file; run `git lfs pull`",
    "pickle": "is a file of torch.save, whatever its name says", "zipped pickle": "is a file of torch.save",
    "bin": "of diffusion_pytorch_model.bin none is read here, only safetensors",
    "tensor missing": "conv_in.bias is missing", "tensor left over": "lora is of no part of this network",
    "tensor misshapen": "conv_in.bias is [3], which does not fit [4]",
    "component missing": "has no folder vae, which model_index.json names",
    "tokenizer missing": "merges.txt is missing", "unknown key": "the key attention_kind is not understood here",
    "unsupported value": "class_embed_type is 'timestep'; here it can be None",
    "unknown scheduler": "the scheduler NewScheduler is not known here",
    "unknown scheduler key": "the key rho is not understood here",
    "unknown pipeline": "the pipeline FluxPipeline is not known here", "no JSON": "config.json is no JSON file",
    "unknown component": "the component controlnet is not known here"}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named_in_one_line(what, folder, tmp_path):
    copy = changed(folder("sd"), tmp_path)
    damage(copy, what)
    with pytest.raises((WeightsError, DataError), match=re.escape(WRONG[what])) as error:
        imggen_jax.load(copy)
    assert "\n" not in str(error.value) and str(copy) in str(error.value)


def test_each_sampler_is_one_program(folder):
    """Lowered, not compiled: nothing in it depends on numbers that only a run knows."""
    model = imggen_jax.load(folder("sd"))
    generator, fields = model.generator, model.check_given({"text": "a", "source": reference.source()}, 1)
    for sampler in (2, 3, 6):  # the kinds of them
        def make(weights, z, fields, options, sampler=sampler):
            said = generator.condition(weights, fields)
            return generator.decode(weights, z, said, {**options, "steps": 3, "sampler": sampler})

        z = jax.ShapeDtypeStruct((1, 32, 32, 4), jnp.float32)
        made = jax.eval_shape(make, model.weights, z, fields, {"guidance": 2.0, "strength": 0.5})
        assert made.shape == (1, 64, 64, 3)


def test_other_dtypes_shards_and_old_names_are_read_alike(folder, tmp_path):
    copy, whole = changed(folder("sd"), tmp_path), imggen_jax.load(folder("sd"))
    state = load_file(copy / UNET)
    half = {name: array.astype(np.float16) for name, array in state.items()}
    names = sorted(state)
    for number, part in enumerate((names[:50], names[50:])):
        save_file({name: half[name] for name in part}, copy / "unet" / f"{number}.safetensors")
    (copy / UNET).unlink()
    (copy / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({
        "metadata": {}, "weight_map": {name: f"{int(name in names[50:])}.safetensors" for name in names}}))
    vae = copy / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    save_file({re.sub("(attentions.0.)(to_q|to_k|to_v|to_out.0)", lambda found: found[1] + old[found[2]], name): array
               for name, array in load_file(vae).items()}, vae)
    with_tensors(copy / "text_encoder" / "model.safetensors", lambda state: state.update(
        {"text_model.embeddings.position_ids": np.arange(77)[None]}))
    read = imggen_jax.load(copy)
    for name, part in whole.weights.items():
        for one, other in zip(jax.tree.leaves(part), jax.tree.leaves(read.weights[name]), strict=True):
            np.testing.assert_allclose(one, other, atol=2e-3 if name == "unet" else 0)
            assert other.dtype == jnp.float32


@pytest.mark.parametrize("size, made", [((512, 520), (512, 520)), ((65, 67), (64, 68))])
def test_sizes_are_rounded_to_what_the_autoencoder_needs(size, made, folder):
    model = pipelines.resized(imggen_jax.load(folder("sd")), *size)
    assert model.spec["image"].shape == (*made, 3) and model.spec["mask"].shape == (*made, 1)
    with pytest.raises(RunError, match="sides go from 8 to 4096"):
        pipelines.resized(model, 4, 64)


def test_memory_that_will_not_suffice_is_said_first(folder, monkeypatch):
    monkeypatch.setattr("imggen_jax.pipelines.opening.free_memory", lambda: 40_000)
    with pytest.raises(RunError, match="million weights, which take 0.0 GiB as float32, and 0.0 GiB of"):
        imggen_jax.load(folder("sd"))


def test_it_is_a_model_like_any_other(folder):
    facts = imggen_jax.describe(folder("inpaint"))
    assert facts["config"]["game"]["architecture"] == "Stable Diffusion" and set(facts["parameters"]) == {
        "unet", "encoder", "decoder", "text_encoder"}
    with pytest.raises(RunError, match="is a model of others, which is used as it is"):
        imggen_jax.export(folder("inpaint"), "nowhere")


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_networks_become_programs_for_other_devices(platform):
    """In bfloat16, and without anything that calls back to the host."""
    part = published.unet(reference.SD_UNET, "bfloat16")
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 16, 16, 4), (1,), (1, 77, 8))]
    text = jax.jit(part.net.apply).trace({"params": part.wanted}, *inputs).lower(
        lowering_platforms=(platform,)).as_text()
    assert "bf16" in text and "stablehlo.convolution" in text and "callback" not in text


# What was published: https://arxiv.org/abs/2112.10752, 2307.01952, and the cards of the weights.
SD15, XL = ldm.SD, ldm.XL
SD21 = SD15["unet"] | {"attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024,
                       "use_linear_projection": True}


@pytest.mark.parametrize("config, count", [
    (SD15["unet"], 859_520_964), pytest.param(SD15["unet"] | {"in_channels": 9}, 859_535_364, marks=pytest.mark.slow),
    pytest.param(SD21, 865_910_724, marks=pytest.mark.slow), pytest.param(XL["unet"], 2_567_463_684,
                                                                          marks=pytest.mark.slow)])
def test_full_size_networks_have_as_many_weights_as_published(config, count):
    assert tensors.parameters(published.unet(config, "bfloat16").wanted) == count


def test_the_full_size_autoencoder_has_as_many_weights_as_published():
    assert sum(tensors.parameters(part.wanted) for part in published.autoencoder(XL["vae"], "float32")) == 83_653_863


@pytest.mark.slow
def test_full_size_text_encoders_have_as_many_weights_as_published():
    assert tensors.parameters(published.clip(XL["text_encoder"], "float32", projected=False).wanted) == 123_060_480
    assert tensors.parameters(published.clip(XL["text_encoder_2"], "float32", projected=True).wanted) == 694_659_840
