"""Tiny text-to-image models with weights from seeds, with which those of others are compared to diffusers.

Their configs are those of diffusers' own tests. Used by the tests and by experiments/open_weights, which has torch.
"""
import functools
import json
import math

import jax
import numpy as np
from safetensors.numpy import save_file

import imggen_jax
from imggen_jax import pipelines
from imggen_jax.data import clip_tokens
from imggen_jax.data.text import tokenizer_of
from imggen_jax.game import Field, make_spec
from imggen_jax.model import Model
from imggen_jax.weights import flux2, published, tensors

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
LCM = SCHEDULER | {"_class_name": "LCMScheduler", "clip_sample": False, "set_alpha_to_one": True}
EULER = SCHEDULER | {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading", "steps_offset": 1}

FLUX = {"patch_size": 1, "in_channels": 8, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16,
        "num_attention_heads": 2, "joint_attention_dim": 48, "timestep_guidance_channels": 256,
        "axes_dims_rope": [4, 4, 4, 4], "guidance_embeds": False}
FLUX_VAE = {"block_out_channels": [4, 8], "in_channels": 3, "out_channels": 3, "latent_channels": 2,
            "layers_per_block": 1, "norm_num_groups": 2, "down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2, "sample_size": 32}
QWEN3 = {"model_type": "qwen3", "vocab_size": 1000, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 4,
         "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 512,
         "tie_word_embeddings": True, "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0,
        "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
        "max_image_seq_len": 4096, "time_shift_type": "exponential"}

TINY = {"_class_name": "AutoencoderTiny", "encoder_block_out_channels": [4, 4], "num_encoder_blocks": [1, 1],
        "decoder_block_out_channels": [4, 4], "num_decoder_blocks": [1, 1], "latent_channels": 4}

MODELS = {  # name -> (class, {component: config}, scheduler)
    "sd": ("StableDiffusionPipeline", {"unet": SD_UNET, "vae": VAE, "text_encoder": CLIP}, DDIM),
    "sd_v": ("StableDiffusionPipeline", {
        "unet": SD_UNET | {"attention_head_dim": [2, 4], "use_linear_projection": True}, "vae": VAE,
        "text_encoder": CLIP | {"hidden_act": "gelu"}}, DDIM | {"prediction_type": "v_prediction"}),
    "inpaint": ("StableDiffusionInpaintPipeline", {
        "unet": SD_UNET | {"in_channels": 9}, "vae": VAE, "text_encoder": CLIP}, DDIM),
    "lcm": ("LatentConsistencyModelPipeline", {
        "unet": SD_UNET | {"time_cond_proj_dim": 32}, "vae": VAE, "text_encoder": CLIP}, LCM),
    "xl": ("StableDiffusionXLPipeline", {
        "unet": XL_UNET, "vae": VAE, "text_encoder": XL_CLIP, "text_encoder_2": XL_CLIP}, EULER),
    "klein": ("Flux2KleinPipeline", {"transformer": FLUX, "vae": FLUX_VAE, "text_encoder": QWEN3}, FLOW)}
COMPONENTS = {"unet": ("diffusers", "UNet2DConditionModel"), "vae": ("diffusers", "AutoencoderKL"),
              "text_encoder": ("transformers", "CLIPTextModel"),
              "text_encoder_2": ("transformers", "CLIPTextModelWithProjection")}
FLUX_COMPONENTS = {"transformer": ("diffusers", "Flux2Transformer2DModel"), "vae": ("diffusers", "AutoencoderKLFlux2"),
                   "text_encoder": ("transformers", "Qwen3ForCausalLM")}
QWEN_WORD = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
             r"|\s+(?!\S)|\s+")
CHAT = ("{% for each in messages %}<|im_start|>{{ each.role }}\n{{ each.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}")
WORDS = ("the", "cat", "red", "hat", "house", "photo", "painting", "green", "blue", "tree", "and", "with")


def components(name):
    """{component: (library, class)} of a model, without scheduler and tokenizers."""
    known = FLUX_COMPONENTS if name == "klein" else COMPONENTS
    return {component: known[component] for component in MODELS[name][1]}


def shapes(name):
    """{component: {tensor: shape}} of a model, as this package reads it."""
    return {component: _flux_shapes(component, config) if name == "klein" else _shapes(component, config)
            for component, config in MODELS[name][1].items()}


def _shapes(component, config):
    if component == "unet":
        parts = [published.unet(config, "float32")]
    elif component == "vae":
        parts = list(published.autoencoder(config, "float32"))
    else:
        parts = [published.clip(config, "float32", projected=component.endswith("2"))]
    return {key: shape for part in parts for key, shape in tensors.stored_shapes(part.wanted).items()}


def _flux_shapes(component, config):
    """Also of what is there and not read."""
    if component == "transformer":
        return tensors.stored_shapes(flux2.transformer(config, "float32").wanted)
    if component == "vae":
        parts = flux2.autoencoder(config, "float32").values()
        found = {key: shape for part in parts for key, shape in tensors.stored_shapes(part.wanted).items()}
        return found | {"bn.num_batches_tracked": ()}
    found = tensors.stored_shapes(flux2.qwen3(config, "float32").wanted)
    last = config["num_hidden_layers"] - 1
    found |= {key.replace(".0.", f".{last}."): shape for key, shape in found.items() if ".layers.0." in key}
    return found | {"model.norm.weight": (config["hidden_size"],)}


def write_tiny(folder, sizes=None):
    """A small autoencoder in diffusers' layout. sizes: {tensor: shape}; None: as this package reads it."""
    if sizes is None:
        sizes = {key: shape for part in published.tiny(TINY, "float32")
                 for key, shape in tensors.stored_shapes(part.wanted).items()}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(TINY))
    save_file(state(sizes, 9), folder / "diffusion_pytorch_model.safetensors")
    return folder


def state(sizes, seed):
    """Random arrays of a state dict, {name: float32 array}, of which activations keep their size."""
    rng, arrays = np.random.RandomState(seed), {}
    for name, shape in sorted(sizes.items()):
        if name.endswith("num_batches_tracked"):
            arrays[name] = np.zeros(shape, np.int64)
            continue
        if "embedding" in name.split(".")[-2]:
            value = rng.standard_normal(shape)
        elif len(shape) > 1:
            value = 1.5 * rng.standard_normal(shape) / math.sqrt(math.prod(shape[1:]))
        elif name.endswith(("weight", "running_var")):
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


def tokens(folders, sentences):
    """The first chunk of each sentence by vocabularies of CLIP: int32 [n,len(folders),77]."""
    names = clip_tokens.field_names([clip_tokens.read(one) for one in folders])
    packed = tokenizer_of(Field((None,), "int32", names)).encode(sentences)[0]
    return np.asarray(packed).reshape(len(sentences), -1, len(folders), 2, 77)[:, 0, :, 0]


def write_qwen_tokenizer(folder):
    """A vocabulary of all bytes and some words, as of Qwen3."""
    import tokenizers
    from tokenizers import pre_tokenizers

    known, merges = _letters(), []
    for word in WORDS:
        parts = ["\u0120", *word]  # a space before it
        while len(parts) > 1:
            if tuple(parts[:2]) not in merges:
                merges.append(tuple(parts[:2]))
            parts[:2] = ["".join(parts[:2])]
            known += [] if parts[0] in known else [parts[0]]
    backend = tokenizers.Tokenizer(tokenizers.models.BPE({token: number for number, token in enumerate(known)}, merges))
    backend.normalizer = tokenizers.normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(QWEN_WORD), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    backend.add_tokens(["<think>", "</think>"])
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "Qwen2Tokenizer", "model_max_length": 131072, "pad_token": "<|endoftext|>",
        "eos_token": "<|im_end|>", "unk_token": None, "chat_template": CHAT}))


def _letters():
    """The letters that stand for the 256 bytes in such a vocabulary (GPT-2)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in plain] + [chr(256 + n) for n in range(256 - len(plain))]


def write(folder, name, sizes=None):
    """A model of `MODELS` in diffusers' layout. sizes: {component: {tensor: shape}}; None: of `shapes`."""
    sizes = sizes or shapes(name)
    kind, configs, scheduler = MODELS[name]
    index = {"_class_name": kind, "_diffusers_version": "0.42.1", "scheduler": ["diffusers", scheduler["_class_name"]]}
    index |= {"is_distilled": True} if name == "klein" else {}
    for number, (component, config) in enumerate(configs.items()):
        (folder / component).mkdir(parents=True)
        (folder / component / "config.json").write_text(json.dumps(config))
        stem = "model" if component.startswith("text") else "diffusion_pytorch_model"
        save_file(state(sizes[component], number), folder / component / f"{stem}.safetensors")
        index[component] = list(components(name)[component])
        if name == "klein":
            index["tokenizer"] = ["transformers", "Qwen2TokenizerFast"]
            write_qwen_tokenizer(folder / "tokenizer")
        elif component.startswith("text"):
            tokenizer = component.replace("text_encoder", "tokenizer")
            index[tokenizer] = ["transformers", "CLIPTokenizer"]
            write_tokenizer(folder / tokenizer, pad="!" if component.endswith("2") else "<|endoftext|>")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def run_model(game):
    """A model as a run of this package has it, with random weights: game "autoencoder" or "flow", 16x16 pixels."""
    spec, networks = make_spec(image=Field((16, 16, 3), "uint8")), {
        "autoencoder": {"network": {"name": "latent_kl", "widths": (8, 16), "groups": 4}, "latents": 3},
        "flow": {"network": {"name": "unet_latent", "widths": (8, 16), "groups": 4, "heads": 2}, "shift": 2.0,
                 "steps": 4}}
    settings = {"data": {"name": "tiny"}, "game": {"name": game, **networks[game]}, "players": {game: {}},
                "train": {"images": 8, "batch": 8}}
    built = imggen_jax.build(settings, spec)
    params, mutable = jax.eval_shape(lambda: built.game.init(jax.random.key(0), spec))
    rng = np.random.RandomState(4)

    def one(path, leaf):
        if len(leaf.shape) > 1:
            return (rng.standard_normal(leaf.shape) / math.sqrt(math.prod(leaf.shape[:-1]))).astype(np.float32)
        return (path[-1].key == "scale") + np.float32(0.3) * rng.standard_normal(leaf.shape).astype(np.float32)

    weights = built.game.weights(jax.tree_util.tree_map_with_path(one, params), mutable)
    return Model(settings, spec, 1, weights, built.game, "main")


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
    kept = {"texts": tuple(map(Compiled, recipe.texts))} if hasattr(recipe, "texts") else {}
    nets = {name: Compiled(getattr(recipe, name)) for name in ("unet", "transformer", "text", "encoder", "decoder")
            if hasattr(recipe, name)}
    return pipelines.opening.remade(model, recipe._replace(**kept, **nets))


def noise(seed, side=32, channels=4):
    """float32 [1,side,side,channels] of variance 1."""
    return np.random.RandomState(seed).standard_normal((1, side, side, channels)).astype(np.float32)


def source(seed=5, side=64):
    """uint8 [1,side,side,3]."""
    return np.random.RandomState(seed).randint(0, 256, (1, side, side, 3)).astype(np.uint8)


def references():
    """Two pictures uint8 [H,W,3] of sizes of their own, one of which is no multiple of 4."""
    rng = np.random.RandomState(2)
    return [rng.randint(0, 256, shape).astype(np.uint8) for shape in ((64, 64, 3), (72, 82, 3))]


def mask(side=64):
    """uint8 [1,side,side,1]: white, to be made anew, in a rectangle."""
    made = np.zeros((1, side, side, 1), np.uint8)
    made[:, side // 4:side // 2, side // 4:] = 255
    return made
