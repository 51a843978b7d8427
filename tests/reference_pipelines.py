"""Tiny text-to-image models with weights from seeds, with which those of others are compared to diffusers.

Their configs are those of diffusers' own tests. Used by the tests and by experiments/open_weights, which has torch.
"""
import functools
import json
import math

import jax
import numpy as np
from safetensors.numpy import save_file

from imggen_jax import pipelines

SD_UNET = {"block_out_channels": [4, 8], "layers_per_block": 1, "sample_size": 32, "in_channels": 4, "out_channels": 4,
           "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
           "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], "cross_attention_dim": 8, "norm_num_groups": 2,
           "attention_head_dim": 8}
XL_UNET = {"block_out_channels": [2, 4], "layers_per_block": 2, "sample_size": 32, "in_channels": 4, "out_channels": 4,
           "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
           "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], "attention_head_dim": [2, 4],
           "use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
           "transformer_layers_per_block": [1, 2], "projection_class_embeddings_input_dim": 80,
           "cross_attention_dim": 64, "norm_num_groups": 1}
VAE = {"block_out_channels": [4, 8], "in_channels": 3, "out_channels": 3, "latent_channels": 4, "norm_num_groups": 2,
       "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2,
       "scaling_factor": 0.5}
CLIP = {"bos_token_id": 998, "eos_token_id": 999, "hidden_size": 8, "intermediate_size": 16, "layer_norm_eps": 1e-5,
        "num_attention_heads": 2, "num_hidden_layers": 2, "pad_token_id": 999, "vocab_size": 1000,
        "hidden_act": "quick_gelu", "projection_dim": 8, "max_position_embeddings": 77}
XL_CLIP = CLIP | {"hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 5,
                  "projection_dim": 32, "hidden_act": "gelu", "eos_token_id": 2}
SCHEDULER = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
DDIM = SCHEDULER | {"_class_name": "DDIMScheduler", "clip_sample": False, "set_alpha_to_one": False,
                    "steps_offset": 1}
EULER = SCHEDULER | {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading", "steps_offset": 1}

MODELS = {  # name -> (class, {component: config}, scheduler)
    "sd": ("StableDiffusionPipeline", {"unet": SD_UNET, "vae": VAE, "text_encoder": CLIP}, DDIM),
    "sd_v": ("StableDiffusionPipeline", {
        "unet": SD_UNET | {"attention_head_dim": [2, 4], "use_linear_projection": True}, "vae": VAE,
        "text_encoder": CLIP | {"hidden_act": "gelu"}}, DDIM | {"prediction_type": "v_prediction"}),
    "inpaint": ("StableDiffusionInpaintPipeline", {
        "unet": SD_UNET | {"in_channels": 9}, "vae": VAE, "text_encoder": CLIP}, DDIM),
    "xl": ("StableDiffusionXLPipeline", {
        "unet": XL_UNET, "vae": VAE, "text_encoder": XL_CLIP, "text_encoder_2": XL_CLIP}, EULER)}
COMPONENTS = {"unet": ("diffusers", "UNet2DConditionModel"), "vae": ("diffusers", "AutoencoderKL"),
              "text_encoder": ("transformers", "CLIPTextModel"),
              "text_encoder_2": ("transformers", "CLIPTextModelWithProjection")}
WORDS = ("the", "cat", "red", "hat", "house", "photo", "painting", "green", "blue", "tree", "and", "with")


def state(shapes, seed):
    """Random arrays of a state dict, {name: float32 array}, of which activations keep their size."""
    rng, arrays = np.random.RandomState(seed), {}
    for name, shape in sorted(shapes.items()):
        if "embedding" in name.split(".")[-2]:
            value = rng.standard_normal(shape)
        elif len(shape) > 1:
            value = 1.5 * rng.standard_normal(shape) / math.sqrt(math.prod(shape[1:]))
        elif name.endswith("weight"):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = 0.3 * rng.standard_normal(shape)
        arrays[name] = np.ascontiguousarray(value, np.float32)
    return arrays


def write_tokenizer(folder, *, pad="<|endoftext|>"):
    """A vocabulary of all bytes and some words."""
    letters = _letters()
    known, merges = [*letters, *(f"{letter}</w>" for letter in letters)], []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            pair = " ".join(parts[:2])
            if pair not in merges:
                merges.append(pair)
            parts[:2] = ["".join(parts[:2])]
            if parts[0] not in known:
                known.append(parts[0])
    known += [f"<|unused_{number}|>" for number in range(998 - len(known))] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(known)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": pad, "unk_token": "<|endoftext|>",
        "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}))


def _letters():
    """The letters that stand for the 256 bytes in such a vocabulary (GPT-2)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in plain] + [chr(256 + n) for n in range(256 - len(plain))]


def write(folder, name, shapes):
    """A model of `MODELS` in diffusers' layout. shapes: {component: {tensor: shape}}."""
    kind, configs, scheduler = MODELS[name]
    index = {"_class_name": kind, "_diffusers_version": "0.42.1", "scheduler": ["diffusers", scheduler["_class_name"]]}
    for number, (component, config) in enumerate(configs.items()):
        (folder / component).mkdir(parents=True)
        (folder / component / "config.json").write_text(json.dumps(config))
        stem = "model" if component.startswith("text") else "diffusion_pytorch_model"
        save_file(state(shapes[component], number), folder / component / f"{stem}.safetensors")
        index[component] = list(COMPONENTS[component])
        if component.startswith("text"):
            tokenizer = component.replace("text_encoder", "tokenizer")
            index[tokenizer] = ["transformers", "CLIPTokenizer"]
            write_tokenizer(folder / tokenizer, pad="!" if component.endswith("2") else "<|endoftext|>")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@functools.cache
def _program(net):
    return jax.jit(net.apply)


class Compiled:
    """A network that is compiled once for inputs of each shape, also where functions are not compiled."""

    def __init__(self, net):
        self.net, self.program = net, _program(net)

    def __getattr__(self, name):
        return getattr(self.net, name)

    def apply(self, variables, *inputs):
        with jax.disable_jit(False):
            return self.program(variables, *inputs)


def compiled(model):
    """A model of `pipelines` whose networks are compiled once, and what is around them not where that is disabled."""
    recipe = pipelines.recipe_of(model)
    nets = {name: Compiled(getattr(recipe, name)) for name in ("unet", "encoder", "decoder")}
    return pipelines.opening.remade(model, recipe._replace(texts=tuple(map(Compiled, recipe.texts)), **nets))


def noise(seed, side=32, channels=4):
    """float32 [1,side,side,channels] of variance 1."""
    return np.random.RandomState(seed).standard_normal((1, side, side, channels)).astype(np.float32)


def source(seed=5, side=64):
    """uint8 [1,side,side,3]."""
    return np.random.RandomState(seed).randint(0, 256, (1, side, side, 3)).astype(np.uint8)


def mask(side=64):
    """uint8 [1,side,side,1]: white, to be made anew, in a rectangle."""
    made = np.zeros((1, side, side, 1), np.uint8)
    made[:, side // 4:side // 2, side // 4:] = 255
    return made
