"""Compare text-to-image models of others, read by imggen_jax, with diffusers, on the same tiny random weights.

Run by `make parity` in an environment of its own, since only these checks need torch. Prints a table, whose rows it
keeps in results.json beside this file, and with --golden writes the values with which tests/pipelines compare.
"""
from __future__ import annotations

import argparse
import functools
import hashlib
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from unittest import mock

# Programs are compiled for some steps of networks of a few channels: how long that takes is what counts.
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"

import jax
import jax.numpy as jnp
import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tests")]

import diffusers  # noqa: E402
import klein  # noqa: E402
import reference_pipelines as reference  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from common import SIZE, back, difference, turned  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

import imggen_jax  # noqa: E402
from imggen_jax import pipelines, schedules  # noqa: E402
from imggen_jax.pipelines import interchange, tuning  # noqa: E402
from imggen_jax.weights import ldm  # noqa: E402

BOUND = 1e-4
GOLDEN = ROOT / "tests" / "pipelines" / "golden.json"
RESULTS = HERE / "results.json"
GUIDANCE = 2.0  # of five steps; it amplifies what rounding does, 2 GUIDANCE - 1 times in each step
SCHEDULERS = {  # name of a sampler -> diffusers' class, and keys beside those of the model
    "ddim": (diffusers.DDIMScheduler, {"clip_sample": False}),
    "euler": (diffusers.EulerDiscreteScheduler, {}),
    "euler_ancestral": (diffusers.EulerAncestralDiscreteScheduler, {}),
    "dpmpp_2m": (diffusers.DPMSolverMultistepScheduler, {}),
    "dpmpp_2m_karras": (diffusers.DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "lcm": (diffusers.LCMScheduler, {}),
    "plms": (diffusers.PNDMScheduler, {"skip_prk_steps": True})}
VARIANTS = ({}, {"timestep_spacing": "leading", "steps_offset": 1}, {"timestep_spacing": "trailing"})
FEW = {"lcm": ("lcm",)}  # samplers with which a model's pictures are compared
SCRIPTS = (("latin", 0x41, 0x7A), ("accents", 0xC0, 0x17F), ("greek", 0x391, 0x3C9), ("cyrillic", 0x410, 0x44F),
           ("hebrew", 0x5D0, 0x5EA), ("arabic", 0x621, 0x64A), ("devanagari", 0x905, 0x939), ("thai", 0xE01, 0xE30),
           ("kana", 0x3041, 0x3096), ("han", 0x4E00, 0x9FA5), ("hangul", 0xAC00, 0xD7A3), ("emoji", 0x1F600, 0x1F64F),
           ("signs", 0x21, 0x2F), ("digits", 0x30, 0x39))


def modules(name):
    """{component: diffusers' module} of a tiny model, with the weights of its seeds."""
    made = {}
    for number, (component, config) in enumerate(reference.MODELS[name][1].items()):
        library, kind = reference.COMPONENTS[component]
        if library == "diffusers":
            module = getattr(diffusers, kind).from_config(config)
        else:
            module = getattr(transformers, kind)(transformers.CLIPTextConfig(**config))
        state = reference.state(shapes_of(module), number)
        module.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
        made[component] = module.eval()
    return made


def shapes_of(module):
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


class Pair:
    """A tiny model here and there."""

    def __init__(self, name: str, folder: Path):
        self.name, self.parts = name, modules(name)
        self.folder = reference.write(folder / name, name, {each: shapes_of(one) for each, one in self.parts.items()})
        self.model = reference.compiled(pipelines.resized(imggen_jax.load(self.folder), SIZE, SIZE))
        more = {} if name == "xl" else {"safety_checker": None, "requires_safety_checker": False}
        self.pipe = getattr(diffusers, reference.MODELS[name][0]).from_pretrained(self.folder, **more)
        self.pipe.set_progress_bar_config(disable=True)

    def ours(self, prompt, noise, *, negative=None, source=None, mask=None, **options):
        """Pictures float [1,H,W,3] in [-1,1]."""
        generator, given = self.model.generator, {"text": prompt, "negative": negative, "source": source, "mask": mask}
        fields = self.model.check_given({key: value for key, value in given.items() if value is not None}, 1)

        def make(weights, z, fields):
            return generator.decode(weights, z, generator.condition(weights, fields), options)

        # Networks are compiled, and what is around them is not: a whole program would be, for every sampler.
        with jax.disable_jit():
            return np.asarray(make(self.model.weights, jnp.asarray(noise), fields))

    def theirs(self, prompt, noise, scheduler, *, negative=None, pipe=None, **options):
        pipe = pipe or self.pipe
        pipe.scheduler = scheduler
        options |= {} if "image" in options else {"height": SIZE, "width": SIZE}
        options |= {} if negative is None else {"negative_prompt": negative}
        with torch.no_grad(), drawing(noise), means():
            made = pipe(prompt, output_type="np", **options).images
        return made * 2 - 1


def drawing(noise):
    """What diffusers draws at random: the first noise, and then that of each step as our sampler draws it."""
    drawn = []

    def draw(shape, **more):
        number = len(drawn)
        drawn.append(shape)
        key = jax.random.wrap_key_data(jax.lax.bitcast_convert_type(
            jnp.asarray(noise).reshape(-1)[:2], jnp.uint32), impl="threefry2x32")
        return turned(jax.random.normal(jax.random.fold_in(key, number), noise.shape[1:])[None])

    names = ["scheduling_lcm", "scheduling_euler_ancestral_discrete"]
    stack = [mock.patch(f"diffusers.schedulers.{name}.randn_tensor", draw) for name in names]
    return functools.reduce(lambda outer, inner: _Both(outer, inner), stack)


class _Both:
    def __init__(self, one, other):
        self.each = (one, other)

    def __enter__(self):
        for one in self.each:
            one.__enter__()

    def __exit__(self, *error):
        for one in reversed(self.each):
            one.__exit__(*error)


def scheduler_of(pair, sampler, **keys):
    kind, own = SCHEDULERS[sampler]
    base = {key: value for key, value in reference.MODELS[pair.name][2].items()
            if key in reference.SCHEDULER or key in ("prediction_type", "steps_offset", "set_alpha_to_one")}
    return kind.from_config(base | own | keys)


def with_scheduler(pair, sampler, **keys):
    """The pair with a scheduler of a sampler, and diffusers' scheduler."""
    scheduler = scheduler_of(pair, sampler, **keys)
    return schedules.read(json.loads(scheduler.to_json_string())), scheduler


# ------------------------------------------------------------------------------------------------------------ checks


def components(pair):
    """(title, difference) of each network."""
    nets, weights = pipelines.recipe_of(pair.model), pair.model.weights
    rng = np.random.RandomState(1)
    for number, name in enumerate(each for each in pair.parts if each.startswith("text")):
        ids = rng.randint(0, 998, (2, 77))
        ids[0, 20:], ids[1, 50:] = 999, 999
        with torch.no_grad():
            theirs = pair.parts[name](torch.from_numpy(ids), output_hidden_states=True)
        ours = nets.texts[number].apply({"params": weights[name]}, jnp.asarray(ids))
        pooled = theirs.text_embeds if name.endswith("2") else theirs.pooler_output
        yield f"{name}, last layer", difference(ours.last, theirs.last_hidden_state)
        yield f"{name}, before the last layer", difference(ours.hidden[-2], theirs.hidden_states[-2])
        yield f"{name}, vector", difference(ours.vector, pooled)
    with torch.no_grad():
        picture, z = rng.uniform(-1, 1, (2, 24, 32, 3)).astype("f"), rng.standard_normal((2, 8, 12, 4)).astype("f")
        moments = pair.parts["vae"].encode(turned(picture)).latent_dist.parameters
        yield "encoder", difference(nets.encoder.apply({"params": weights["encoder"]}, picture), back(moments))
        decoded = pair.parts["vae"].decode(turned(z)).sample
        yield "decoder", difference(nets.decoder.apply({"params": weights["decoder"]}, z), back(decoded))
        for sides in ((8, 8), (9, 11)):
            yield f"U-Net, {sides[0]}x{sides[1]}", unet(pair, nets, rng, sides)


def unet(pair, nets, rng, sides):
    config = reference.MODELS[pair.name][1]["unet"]
    z = rng.standard_normal((2, *sides, config["in_channels"])).astype("f")
    text = rng.standard_normal((2, 77, config["cross_attention_dim"])).astype("f")
    vector, sizes = rng.standard_normal((2, 32)).astype("f"), np.tile(np.float32([[64, 80, 3, 0, 64, 80]]), (2, 1))
    xl = pair.name == "xl"
    known = {"text_embeds": torch.from_numpy(vector), "time_ids": torch.from_numpy(sizes)} if xl else None
    guidance = pair.pipe.get_guidance_scale_embedding(torch.tensor([7.5, 0.5]), 32) if pair.name == "lcm" else None
    theirs = pair.parts["unet"](turned(z), torch.tensor([501, 20]), torch.from_numpy(text), added_cond_kwargs=known,
                                timestep_cond=guidance)
    told = None if guidance is None else jnp.array([8.5, 1.5])
    ours = nets.unet.apply({"params": pair.model.weights["unet"]}, z, jnp.array([501.0, 20.0]), text,
                           *((vector, sizes) if xl else (None, None)), told)
    return difference(ours, back(theirs.sample))


def samplers(pair):
    """Five steps of every scheduler, from the prompt to the picture, with guidance."""
    noise = reference.noise(3)
    for sampler in SCHEDULERS:
        if pair.name != "sd" and sampler not in FEW.get(pair.name, ("ddim", "euler", "dpmpp_2m_karras")):
            continue  # the others differ in steps alone
        for keys in VARIANTS if pair.name == "sd" and sampler not in ("lcm", "plms") else VARIANTS[:1]:
            trained, scheduler = with_scheduler(pair, sampler, **keys)
            pair.model = pipelines.scheduled(pair.model, trained)
            options = {"steps": 5, "sampler": schedules.SAMPLERS.index(sampler), "guidance": GUIDANCE}
            ours = pair.ours("a red cat", noise, **options)
            start = turned(noise)
            theirs = pair.theirs("a red cat", noise, scheduler, latents=start, num_inference_steps=5,
                                 guidance_scale=GUIDANCE, **masked(pair))
            spacing = keys.get("timestep_spacing", "as the class has it")
            yield f"{sampler}, 5 steps, times {spacing}", difference(ours, theirs)


def masked(pair):
    """What an inpainting pipeline has to be given: everything is to be made anew."""
    if pair.name != "inpaint":
        return {}
    return {"image": torch.zeros(1, 3, SIZE, SIZE), "mask_image": torch.ones(1, 1, SIZE, SIZE), "height": SIZE,
            "width": SIZE}


def prompts(pair):
    """Negative prompts, and prompts of a size and a guidance of their own."""
    trained, scheduler = with_scheduler(pair, "ddim")
    pair.model = pipelines.scheduled(pair.model, trained)
    for title, more in (("negative prompt", {"negative": "blue tree"}), ("no guidance", {"guidance": 1.0})):
        options = {"steps": 3, "sampler": 0, "guidance": more.get("guidance", GUIDANCE)}
        ours = pair.ours("the green house", reference.noise(4), negative=more.get("negative"), **options)
        theirs = pair.theirs("the green house", reference.noise(4), scheduler, negative=more.get("negative"),
                             latents=turned(reference.noise(4)), num_inference_steps=3,
                             guidance_scale=options["guidance"], **masked(pair))
        yield title, difference(ours, theirs)


def pictures(pair):
    """Picture to picture, and a part of one made anew."""
    trained, scheduler = with_scheduler(pair, "ddim")
    pair.model = pipelines.scheduled(pair.model, trained)
    noise, source, mask = reference.noise(6), reference.source(), reference.mask()
    image = turned(source.astype("f") / 127.5 - 1)
    cases = [] if pair.name == "inpaint" else [("picture to picture, strength 0.6", "Img2Img", None)]
    cases += [("a part made anew, strength 0.6" if pair.name != "inpaint" else "inpainting U-Net", "Inpaint", mask)]
    for title, kind, hole in cases:
        parts = {name: part for name, part in pair.pipe.components.items()}
        more = {"requires_safety_checker": False} if pair.name != "xl" else {}
        stem = reference.MODELS[pair.name][0].replace("Inpaint", "").removesuffix("Pipeline")
        pipe = getattr(diffusers, f"{stem}{kind}Pipeline")(**parts, **more)
        pipe.set_progress_bar_config(disable=True)
        strength = 1.0 if pair.name == "inpaint" else 0.6
        given = {"image": image, "strength": strength, "num_inference_steps": 5, "guidance_scale": GUIDANCE}
        if hole is not None:
            given |= {"mask_image": turned(hole.astype("f") / 255), "height": SIZE, "width": SIZE}
        with mock.patch("diffusers.utils.torch_utils.torch.randn", lambda *a, **k: turned(noise)):
            theirs = pair.theirs("a photo", noise, scheduler, pipe=pipe, **given)
        ours = pair.ours("a photo", noise, source=source, mask=hole, steps=5, sampler=0, guidance=GUIDANCE,
                         strength=strength)
        if hole is not None:  # outside, ours has the source itself
            inside = hole[..., 0] > 0
            yield title, difference(ours[inside], theirs[inside])
        else:
            yield title, difference(ours, theirs)


def means():
    """diffusers draws the latents of a picture around their means; here the means are taken."""
    kind = diffusers.models.autoencoders.vae.DiagonalGaussianDistribution
    return mock.patch.object(kind, "sample", lambda self, generator=None: self.mean)


def sentences():
    """1,000 of them in many scripts."""
    rng = np.random.RandomState(0)
    for number in range(1000):
        _, low, high = SCRIPTS[number % len(SCRIPTS)]
        words = ["".join(map(chr, rng.randint(low, high + 1, rng.randint(1, 7)))) for _ in range(rng.randint(1, 5))]
        words.append(reference.WORDS[number % len(reference.WORDS)])
        yield "\t ".join(words).translate({ord(letter): None for letter in "()[]\\"})  # they mean weights


def tokens(pair):
    """How many of the sentences are other tokens."""
    wrong = 0
    tokenizers = [pair.pipe.tokenizer] + ([pair.pipe.tokenizer_2] if pair.name == "xl" else [])
    for sentence in sentences():
        packed = pair.model.check_given({"text": sentence}, 1)["text"]
        ours = packed.reshape(-1, len(tokenizers), 2, 77)[0, :, 0]
        theirs = [each(sentence, padding="max_length", max_length=77, truncation=True).input_ids for each in tokenizers]
        longer = [len(each(sentence).input_ids) > 77 for each in tokenizers]
        wrong += any((one[:76] != np.array(other)[:76]).any() if long else (one != np.array(other)).any()
                     for one, other, long in zip(ours, theirs, longer))
    yield "1,000 sentences that are tokenized otherwise", float(wrong)


def adapters(pair):
    """LoRA in kohya's names for SD and in diffusers' for XL, and textual inversion; two steps."""
    if pair.name not in ("sd", "xl"):
        return
    trained, scheduler = with_scheduler(pair, "ddim")
    pair.model = pipelines.scheduled(pair.model, trained)
    own, noise, rng = pair.model, reference.noise(7), np.random.RandomState(5)
    lora, word = write_lora(pair, rng, 0.1), pair.folder / "toy.safetensors"
    pair.model, said = pipelines.with_lora(own, lora)
    pair.pipe.load_lora_weights(pair.folder, weight_name=lora.name)
    print(f"      {said}")
    options = {"steps": 2, "sampler": 0, "guidance": GUIDANCE}
    common = {"latents": turned(noise), "num_inference_steps": 2, "guidance_scale": GUIDANCE}
    plain = np.asarray(pair.ours("a red cat", noise, **options))
    yield "LoRA", difference(plain, pair.theirs("a red cat", noise, scheduler, **common))
    pair.model = own
    pair.pipe.unload_lora_weights()
    if pair.name == "sd":
        save_file({"<toy>": rng.standard_normal((2, 8)).astype("f")}, word)
        pair.model, _, _ = pipelines.with_word(own, word)
        pair.pipe.load_textual_inversion(str(word), token="<toy>")
        ours = pair.ours("a <toy> cat", noise, **options)
        yield "textual inversion", difference(ours, pair.theirs("a <toy> cat", noise, scheduler, **common))


def write_lora(pair, rng, spread):
    """The file of a random LoRA, in kohya's names for SD and in diffusers' for XL."""
    content, path = {}, pair.folder / "lora.safetensors"
    for name, value in pair.parts["unet"].state_dict().items():
        if re.search(r"attn\d\.to_(q|k|v|out\.0)\.weight$", name):
            layer = name.removesuffix(".weight")
            down, up = rng.standard_normal((2, value.shape[1])), spread * rng.standard_normal((value.shape[0], 2))
            if pair.name == "sd":
                flat = f"lora_unet_{layer.replace('.', '_')}"
                content |= {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up}
                content[f"{flat}.alpha"] = np.ones(())
            else:
                content |= {f"unet.{layer}.lora_A.weight": down, f"unet.{layer}.lora_B.weight": up}
    save_file({name: np.asarray(value, np.float32) for name, value in content.items()}, path)
    return path


def quiet():
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()


def checkpoints(pair):
    """Names of single files, by diffusers' converters: how many are other ones."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

    recipe = pipelines.recipe_of(pair.model)
    for title, prefix, names, convert, config in (
            ("U-Net", ldm.UNET, ldm.unet_names(recipe.unet), convert_ldm_unet_checkpoint, pair.parts["unet"].config),
            ("autoencoder", ldm.VAE, ldm.vae_names(reference.MODELS[pair.name][1]["vae"]), convert_ldm_vae_checkpoint,
             pair.parts["vae"].config)):
        there = shapes_of(pair.parts["unet" if title == "U-Net" else "vae"])
        old = {f"{prefix}{one}.{leaf}": f"{new}.{leaf}" for one, new in names for leaf in ("weight", "bias")
               if f"{new}.{leaf}" in there}
        same = {f"{prefix}{name}": name for name in there if name not in old.values()}
        theirs = convert({one: torch.full(there[new], float(number)) for number, (one, new) in
                          enumerate((old | same).items())}, config)
        ours = {new: number for number, new in enumerate((old | same).values())}
        yield f"{title} of a single file, names that differ", float(sum(
            number != float(theirs[name].reshape(-1)[0]) for name, number in ours.items()))


def klein_tokens(pair):
    return klein.tokens(pair, list(sentences()))


def own_loras(pair):
    """LoRA that were learned here, in both spellings, as diffusers reads them; two steps."""
    if pair.name != "sd":
        return
    trained, scheduler = with_scheduler(pair, "ddim")
    own = pair.model = pipelines.scheduled(pair.model, trained)
    learned = tuning.learn(own, reference.source(), ["a red cat"], rank=2, steps=5, rate=2e-2)
    noise, options = reference.noise(7), {"steps": 2, "sampler": 0, "guidance": GUIDANCE}
    for names in ("diffusers", "kohya"):
        file = pair.folder / f"own_{names}.safetensors"
        tuning.write(file, learned, names)
        pair.model, _ = pipelines.with_lora(own, file)
        pair.pipe.load_lora_weights(pair.folder, weight_name=file.name)
        ours = pair.ours("a red cat", noise, **options)
        theirs = pair.theirs("a red cat", noise, scheduler, latents=turned(noise), num_inference_steps=2,
                             guidance_scale=GUIDANCE)
        yield f"LoRA learned here, in the names of {names}", difference(ours, theirs)
        pair.pipe.unload_lora_weights()
    pair.model = own


def tiny():
    """diffusers' small autoencoder with the weights of its seed."""
    module = diffusers.AutoencoderTiny.from_config(reference.TINY)
    state = reference.state(shapes_of(module), 9)
    module.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    return module.eval()


def small(pair):
    """A small decoder, alone and in the place of the model's own; three steps."""
    if pair.name != "sd":
        return
    module, folder = tiny(), pair.folder / "taesd"
    reference.write_tiny(folder, shapes_of(module))
    trained, scheduler = with_scheduler(pair, "ddim")
    own = pair.model = pipelines.scheduled(pair.model, trained)
    changed = pipelines.with_decoder(own, folder)
    recipe = pipelines.recipe_of(changed)
    pair.model = pipelines.opening.remade(changed, recipe._replace(decoder=reference.Compiled(recipe.decoder)))
    theirs, pair.pipe.vae = pair.pipe.vae, module
    noise = reference.noise(3)
    ours = pair.ours("a red cat", noise, steps=3, sampler=0, guidance=GUIDANCE)
    made = pair.theirs("a red cat", noise, scheduler, latents=turned(noise), num_inference_steps=3,
                       guidance_scale=GUIDANCE)
    yield "small decoder, 3 steps", difference(ours, made)
    pair.model, pair.pipe.vae = own, theirs


def exports(pair):
    """Models of runs here, as diffusers loads and uses them: an autoencoder both ways, and five steps of a flow."""
    if pair.name != "sd":
        return
    ours, folder = reference.run_model("autoencoder"), pair.folder / "vae_of_a_run"
    interchange.write(ours, None, folder, "")
    theirs, picture = diffusers.AutoencoderKL.from_pretrained(folder), reference.source(5, 16)
    with torch.no_grad():
        latents = theirs.encode(turned(picture / np.float32(127.5) - 1)).latent_dist.mean
        again = theirs.decode(latents).sample.clamp(-1, 1)
    z = jax.jit(ours.generator.encode)(ours.weights, picture / np.float32(127.5) - 1, None)
    yield "autoencoder of a run, exported: latents", difference(z, back(latents))
    made = jax.jit(lambda weights, z: ours.generator.decode(weights, z, None, {}))(ours.weights, z)
    yield "and pictures", difference(made, back(again))
    ours, folder = reference.run_model("flow"), pair.folder / "flow_of_a_run"
    interchange.write(ours, None, folder, "")
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler")
    noise = reference.noise(3, 16, 3)
    scheduler.set_timesteps(sigmas=[1 - step / 5 for step in range(5)])
    z = turned(noise)
    with torch.no_grad():
        for time in scheduler.timesteps:
            z = scheduler.step(unet(z, time, torch.zeros(1, 1, 8)).sample, time, z).prev_sample
    made = jax.jit(lambda weights, z: ours.generator.decode(weights, z, None, {"steps": 5, "sampler": 0}))(
        ours.weights, noise)
    yield "flow of a run, exported: 5 steps", difference(made, np.clip(back(z), -1, 1))


CHECKS: tuple[Callable, ...] = (components, samplers, prompts, pictures, tokens, checkpoints, adapters, own_loras,
                                small, exports)
LCM: tuple[Callable, ...] = (components, samplers)
KLEIN: tuple[Callable, ...] = (klein.components, klein.samplers, klein_tokens, klein.counts)


def golden(pair):
    """What tests/pipelines compare with: a digest of all names and shapes, and some values of a picture."""
    # transformers 5 has no prefix "text_model." in one of its two classes of text encoders.
    sizes = {f"{each}.{name.removeprefix('text_model.')}": math.prod(shape) for each, one in pair.parts.items()
             for name, shape in shapes_of(one).items()}
    trained, scheduler = with_scheduler(pair, "lcm" if pair.name == "lcm" else "ddim")
    made = pair.theirs("a red cat", reference.noise(3), scheduler, latents=turned(reference.noise(3)),
                       num_inference_steps=3, guidance_scale=GUIDANCE,
                       negative=None if pair.name == "lcm" else "tree", **masked(pair))
    digest = hashlib.sha256(json.dumps(sizes, sort_keys=True).encode()).hexdigest()
    return {"names": digest, "picture": [round(float(value), 6) for value in made.ravel()[::197]]}


def golden_tiny():
    """The same of the small autoencoder."""
    module = tiny()
    with torch.no_grad():
        picture, z = reference.source(5, 24)[:, :16] / np.float32(127.5) - 1, reference.noise(8, 8)
        made = {"encoded": module.encode(turned(picture)).latents, "decoded": module.decode(turned(z)).sample}
    return {name: [round(float(value), 6) for value in back(one).ravel()[::17]] for name, one in made.items()}


def keep(lines):
    """Write rows into results.json, in the place of older ones; the versions are those of the last run."""
    packages = ("imggen_jax", "jax", "numpy", "torch", "diffusers", "transformers", "tokenizers")
    before = json.loads(RESULTS.read_text())["checks"] if RESULTS.is_file() else []
    rows = {line["what"]: line for line in [*before, *lines]}
    results = {"versions": {name: version(name) for name in packages}, "checks": list(rows.values())}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--golden", action="store_true", help=f"rewrite {GOLDEN.relative_to(ROOT)}")
    parser.add_argument("--only", default="", help="one model")
    parser.add_argument("--check", default="", help="checks by parts of their names, a comma between")
    args = parser.parse_args()
    quiet()
    lines: list[dict] = []
    kept = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in (name for name in reference.MODELS if args.only in ("", name)):
            pair = (klein.Pair if name == "klein" else Pair)(name, Path(folder))
            checks = {"klein": KLEIN, "lcm": LCM}.get(name, CHECKS)
            kept |= {name: (klein.golden if name == "klein" else golden)(pair)} if args.golden else {}
            chosen = [check for check in checks if any(part in check.__name__ for part in args.check.split(","))]
            for title, value in (found for check in chosen for found in check(pair)):
                agrees = value <= BOUND
                lines.append({"what": f"{name}: {title}", "difference": value, "bound": BOUND, "agrees": agrees})
                print(f"{'ok  ' if agrees else 'FAIL'}  {name + ': ' + title:<70} {value:9.2e}", flush=True)
            keep(lines)  # a run that is cut off keeps what it found
    if args.golden:
        kept["tiny"] = golden_tiny()
        GOLDEN.write_text(json.dumps({**json.loads(GOLDEN.read_text()), **kept}, indent=1) + "\n")
    failed = sum(not line["agrees"] for line in lines)
    print(f"{len(lines) - failed} agree, {failed} do not")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
