"""The checks of FLUX.2 klein for check.py: its networks, its prompts, and whole pictures, with references."""
from __future__ import annotations

import hashlib
import json
import math
import re

import diffusers
import jax
import jax.numpy as jnp
import numpy as np
import reference_pipelines as reference
import torch
import transformers
from common import SIZE, back, difference, turned
from PIL import Image

import imggen_jax
from imggen_jax import pipelines
from imggen_jax.weights import flux2, tensors

READ = (1, 2, 3)  # layers of the tiny text encoder that are read
# As https://huggingface.co/black-forest-labs/FLUX.2-klein-4B has them.
PUBLISHED = {
    "transformer": {"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24, "joint_attention_dim": 7680,
                    "guidance_embeds": False},
    "vae": {}, "text_encoder": {
        "model_type": "qwen3", "vocab_size": 151936, "hidden_size": 2560, "intermediate_size": 9728,
        "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": True,
        "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}}


def module(component, config):
    """diffusers' or transformers' module of a config, without weights of its own."""
    if component == "text_encoder":
        return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**config))
    return getattr(diffusers, reference.FLUX_COMPONENTS[component][1]).from_config(config)


def shapes_of(part):
    """Without the head of a language model, which is its table of words."""
    return {key: tuple(value.shape) for key, value in part.state_dict().items() if not key.startswith("lm_head.")}


class Pair:
    """A tiny model here and there."""

    def __init__(self, name, folder):
        self.name, self.parts = name, {}
        for number, (component, config) in enumerate(reference.MODELS[name][1].items()):
            part = module(component, config)
            state = reference.state(shapes_of(part), number)
            part.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()}, strict=False)
            self.parts[component] = part.eval()
        self.folder = reference.write(folder / name, name, {each: shapes_of(one) for each, one in self.parts.items()})
        self.model = reference.compiled(pipelines.resized(imggen_jax.load(self.folder), SIZE, SIZE))
        self.pipe = diffusers.Flux2KleinPipeline.from_pretrained(self.folder)
        self.pipe.set_progress_bar_config(disable=True)

    def recipe(self):
        return pipelines.recipe_of(self.model)

    def ours(self, prompt, noise, images=(), **options):
        """Pictures float [1,H,W,3] in [-1,1]."""
        names = ("reference", *(f"reference_{number}" for number in range(2, 9)))
        fields = self.model.check_given({"text": prompt, **dict(zip(names, images))}, 1)
        generator = self.model.generator
        with jax.disable_jit():
            condition = generator.condition(self.model.weights, fields)
            return np.asarray(generator.decode(self.model.weights, jnp.asarray(noise), condition, options))

    def theirs(self, prompt, noise, images=(), **options):
        given = {"image": [Image.fromarray(image) for image in images]} if images else {}
        with torch.no_grad():
            made = self.pipe(prompt=prompt, latents=turned(noise), height=SIZE, width=SIZE, output_type="np",
                             text_encoder_out_layers=READ, **given, **options).images
        return made * 2 - 1


def noise(seed):
    return reference.noise(seed, SIZE // 4, 8)


def components(pair):
    """(title, difference) of each network."""
    recipe, weights, rng = pair.recipe(), pair.model.weights, np.random.RandomState(1)
    ids, lengths = rng.randint(0, 900, (2, 40)), np.array([40, 23])
    seen = np.arange(40) < lengths[:, None]
    with torch.no_grad():
        read = pair.parts["text_encoder"](torch.from_numpy(ids), attention_mask=torch.from_numpy(seen.astype(int)),
                                          output_hidden_states=True).hidden_states
        theirs = torch.cat([read[layer] for layer in READ], -1).numpy()
        ours = recipe.text.apply({"params": weights["text_encoder"]}, jnp.asarray(ids), jnp.asarray(lengths))
        yield "text encoder, three layers, also what fills up", difference(ours, theirs)
        picture = rng.uniform(-1, 1, (2, 24, 32, 3)).astype("f")
        latent = pair.pipe._encode_vae_image(turned(picture), None)
        ours = pipelines.flux2.latents(recipe, weights, jnp.asarray(picture))
        yield "encoder, patches, normalized", difference(ours, back(latent))
        z = rng.standard_normal((2, 10, 12, 2)).astype("f")
        decoded = pair.parts["vae"].decode(turned(z)).sample
        ours = recipe.decoder.apply({"params": weights["decoder"]}, z)
        yield "decoder", difference(ours, back(decoded))
        x, text = rng.standard_normal((2, 20, 8)).astype("f"), rng.standard_normal((2, 30, 48)).astype("f")
        places = rng.randint(0, 64, (50, 4))
        theirs = pair.parts["transformer"](
            torch.from_numpy(x), torch.from_numpy(text), torch.tensor([0.9, 0.2]), torch.from_numpy(places[30:])[None],
            torch.from_numpy(places[:30])[None]).sample.numpy()
        ours = recipe.transformer.apply({"params": weights["transformer"]}, x, jnp.array([0.9, 0.2]), text, places)
        yield "transformer", difference(ours, theirs)


def samplers(pair):
    """Whole pictures: of a prompt, beside references, with guidance and without, in sizes of their own."""
    for steps in (4, 5):
        yield f"{steps} steps", difference(pair.ours("a red cat", noise(3), steps=steps), pair.theirs(
            "a red cat", noise(3), num_inference_steps=steps))
    ours = pair.ours("the red house", noise(4), reference.references(), steps=4)
    theirs = pair.theirs("the red house", noise(4), reference.references(), num_inference_steps=4)
    yield "4 steps beside two references", difference(ours, theirs)
    pair.pipe.register_to_config(is_distilled=False)
    own = pair.model
    pair.model = pipelines.opening.remade(own, pair.recipe()._replace(distilled=False))
    ours = pair.ours("a red cat", noise(5), steps=4, guidance=4.0)
    theirs = pair.theirs("a red cat", noise(5), num_inference_steps=4, guidance_scale=4.0)
    yield "4 steps of a model that is not distilled, guidance 4", difference(ours, theirs)
    pair.model = own
    pair.pipe.register_to_config(is_distilled=True)


def tokens(pair, sentences):
    """How many sentences, with what stands around them, are other tokens."""
    wrong = 0
    for sentence in sentences:
        ours = pair.model.check_given({"text": sentence}, 1)["text"][0]
        text = pair.pipe.tokenizer.apply_chat_template(
            [{"role": "user", "content": sentence}], tokenize=False, add_generation_prompt=True, enable_thinking=False)
        theirs = pair.pipe.tokenizer(text, padding="max_length", truncation=True, max_length=512)
        wrong += list(ours[1:]) != theirs.input_ids or int(ours[0]) != sum(theirs.attention_mask)
    yield f"{len(sentences):,} sentences that are tokenized otherwise", float(wrong)


def golden(pair):
    """What tests/pipelines compare with: a digest of all names and sizes, and some values of pictures."""
    sizes = {f"{each}.{name}": math.prod(shape) for each, one in pair.parts.items()
             for name, shape in shapes_of(one).items()}
    made = {"picture": pair.theirs("a red cat", noise(3), num_inference_steps=4),
            "references": pair.theirs("a red cat", noise(3), reference.references(), num_inference_steps=4)}
    digest = hashlib.sha256(json.dumps(sizes, sort_keys=True).encode()).hexdigest()
    return {"names": digest, **{name: [round(float(value), 6) for value in one.ravel()[::197]]
                                for name, one in made.items()}}


def counts(pair):
    """How many numbers the published networks hold, here and there: differences."""
    del pair
    ours = {"transformer": [flux2.transformer(PUBLISHED["transformer"], "float32")],
            "vae": list(flux2.autoencoder(PUBLISHED["vae"], "float32").values()),
            "text_encoder": [flux2.qwen3(PUBLISHED["text_encoder"], "float32")]}
    for component, parts in ours.items():
        sizes = {key: shape for part in parts for key, shape in tensors.stored_shapes(part.wanted).items()}
        with torch.device("meta"):
            theirs = shapes_of(module(component, PUBLISHED[component]))
        left = flux2.unread(36) if component == "text_encoder" else (r"^bn\.num_batches_tracked$",)
        theirs = {key: shape for key, shape in theirs.items() if not any(re.search(each, key) for each in left)}
        different = set(sizes.items()) ^ set(theirs.items())
        yield f"{component} of full size, names and shapes that differ", float(len(different))
