"""Single-file checkpoints of Stable Diffusion 1.5 and XL, in the names of the code that trained them.

The names are those of github.com/CompVis/stable-diffusion and github.com/Stability-AI/generative-models; a table of
names, made from the networks' configs, turns them into today's. The configs are the published ones, since a file holds
none.
"""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from imggen_jax.errors import WeightsError
from imggen_jax.nets.unet_condition import UNetCondition
from imggen_jax.weights import published, tensors
from imggen_jax.weights.diffusers import Folder
from imggen_jax.weights.tensors import Stored

UNET, VAE = "model.diffusion_model.", "first_stage_model."
SD_TEXT, XL_TEXT, XL_TEXT_2 = ("cond_stage_model.transformer.", "conditioner.embedders.0.transformer.",
                               "conditioner.embedders.1.model.")
# What training left behind: averages, tables of the schedule, places 0 to 76, CLIP's temperature.
UNUSED = (r"^model_ema\.", r"^(sqrt_|log_)?(one_minus_|recip_|recipm1_)?alphas_cumprod", r"^betas$", r"^posterior_",
          r"^log_one_minus", r"^sqrt_", r"^denoiser\.sigmas$", r"^(scale_factor|logvar)$", r"\.position_ids$",
          r"\.logit_scale$")
RESNET = {"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
          "out_layers.3": "conv2", "skip_connection": "conv_shortcut"}
VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
OPEN_CLIP = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1",
             "mlp.c_proj": "mlp.fc2"}
CLASSES = ("CLIPTextModel", "CLIPTextModelWithProjection")  # of the text encoders
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
         "steps_offset": 1, "prediction_type": "epsilon"}
LARGE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
AUTOENCODER = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
               "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
SD: dict[str, Mapping[str, Any]] = {
    "unet": {"block_out_channels": [320, 640, 1280, 1280], "attention_head_dim": 8, "cross_attention_dim": 768,
             "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
             "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3},
    "vae": AUTOENCODER | {"scaling_factor": 0.18215}, "text_encoder": LARGE,
    "scheduler": BETAS | {"_class_name": "DDIMScheduler", "clip_sample": False, "set_alpha_to_one": False}}
XL: dict[str, Mapping[str, Any]] = {
    "unet": {"block_out_channels": [320, 640, 1280], "attention_head_dim": [5, 10, 20], "cross_attention_dim": 2048,
             "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
             "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "sample_size": 128,
             "transformer_layers_per_block": [1, 2, 10], "use_linear_projection": True,
             "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
             "projection_class_embeddings_input_dim": 2816},
    "vae": AUTOENCODER | {"scaling_factor": 0.13025}, "text_encoder": LARGE,
    "text_encoder_2": {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
                       "num_attention_heads": 20, "projection_dim": 1280, "hidden_act": "gelu"},
    "scheduler": BETAS | {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}}


def is_checkpoint(path: Path) -> bool:
    """Whether a file is a safetensors checkpoint of a whole model, by the names in its header."""
    if path.suffix.lower() != ".safetensors" or not path.is_file():
        return False
    try:
        return any(name.startswith(UNET) for name in tensors.open_file(path).tensors)
    except WeightsError:
        return False


def read(path: Path, configs: Mapping[str, Mapping[str, Any]] | None = None) -> Folder:
    """What a checkpoint holds; its tokenizers, of which it holds none, lie beside it.

    Args:
      path: of the file.
      configs: of the components, where they are not the published ones.

    Raises:
      WeightsError: it is damaged, of a model that is not known here, or no tokenizer lies beside it.
    """
    found = dict(tensors.open_file(path).tensors)
    xl = any(name.startswith(XL_TEXT_2) for name in found)
    first = found.get(f"{UNET}input_blocks.0.0.weight")
    if first is None or not any(name.startswith(XL_TEXT if xl else SD_TEXT) for name in found):
        raise WeightsError(f"{path} is no whole checkpoint of Stable Diffusion 1.5 or XL; other models are read as "
                           "folders of diffusers")
    configs = dict(configs or (XL if xl else SD))
    configs["unet"] = {**configs["unet"], "in_channels": first.shape[1]}
    texts = ("text_encoder", "text_encoder_2")[:1 + xl]
    net = cast(UNetCondition, published.unet(configs["unet"], "float32").net)
    parts = {"unet": _named(found, UNET, dict(unet_names(net))),
             "vae": _named(found, VAE, dict(vae_names(configs["vae"]))),
             "text_encoder": _without(found, XL_TEXT if xl else SD_TEXT)}
    if xl:
        parts["text_encoder_2"] = _open_clip(_without(found, XL_TEXT_2))
    prefixes = (UNET, VAE, *((XL_TEXT, XL_TEXT_2) if xl else (SD_TEXT,)))
    left = [name for name in found if not name.startswith(prefixes) and not any(
        re.search(each, name) for each in UNUSED)]
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        raise WeightsError(f"{path}: {', '.join(left[:3])}{more} belong to no part of this model")
    tokenizers = tuple(_tokenizer(path, name) for name in ("tokenizer", "tokenizer_2")[:len(texts)])
    classes = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", **dict(zip(texts, CLASSES))}
    return Folder("xl" if xl else "sd", classes, configs, parts, tokenizers, {}, ())


def _tokenizer(path: Path, name: str) -> Path:
    places = [path.parent / name, path.parent / "tokenizer", path.parent]
    for place in places:
        if (place / "vocab.json").is_file():
            return place
    raise WeightsError(f"{path} holds no tokenizer; put vocab.json and merges.txt of openai/clip-vit-large-patch14 "
                       f"into {places[1]}")


def _without(found: Mapping[str, Stored], prefix: str) -> dict[str, Stored]:
    return {name.removeprefix(prefix): one for name, one in found.items() if name.startswith(prefix)
            and not re.search(r"\.(position_ids|logit_scale)$|^logit_scale$", name)}


def _named(found: Mapping[str, Stored], prefix: str, table: Mapping[str, str]) -> dict[str, Stored]:
    """Tensors by today's names; a name that the table lacks stays, and is found to be left over."""
    def rename(name: str) -> str:
        module, _, leaf = name.rpartition(".")
        return f"{table.get(module, module)}.{leaf}"

    return tensors.renamed(_without(found, prefix), rename)


def unet_names(net: UNetCondition) -> Iterator[tuple[str, str]]:
    """(old, today's) name of each module of a U-Net that has parameters of its own."""
    levels, blocks, layers = len(net.widths), net.blocks[0], net.layers
    crossed = [number > 0 for number in layers]
    yield from (("time_embed.0", "time_embedding.linear_1"), ("time_embed.2", "time_embedding.linear_2"),
                ("label_emb.0.0", "add_embedding.linear_1"), ("label_emb.0.2", "add_embedding.linear_2"),
                ("input_blocks.0.0", "conv_in"), ("out.0", "conv_norm_out"), ("out.2", "conv_out"))
    for level in range(levels):
        for j in range(blocks):
            place, now = f"input_blocks.{level * (blocks + 1) + j + 1}", f"down_blocks.{level}"
            yield from _resnet(f"{place}.0", f"{now}.resnets.{j}")
            if crossed[level]:
                yield from _transformer(f"{place}.1", f"{now}.attentions.{j}", layers[level])
        yield f"input_blocks.{(level + 1) * (blocks + 1)}.0.op", f"down_blocks.{level}.downsamplers.0.conv"
    yield from _resnet("middle_block.0", "mid_block.resnets.0")
    yield from _transformer("middle_block.1", "mid_block.attentions.0", net.middle_layers)
    yield from _resnet("middle_block.2", "mid_block.resnets.1")
    for number, level in enumerate(reversed(range(levels))):
        for j in range(blocks + 1):
            place, now = f"output_blocks.{number * (blocks + 1) + j}", f"up_blocks.{number}"
            yield from _resnet(f"{place}.0", f"{now}.resnets.{j}")
            if crossed[level]:
                yield from _transformer(f"{place}.1", f"{now}.attentions.{j}", layers[level])
        yield f"{place}.{1 + crossed[level]}.conv", f"up_blocks.{number}.upsamplers.0.conv"


def _resnet(old: str, new: str) -> Iterator[tuple[str, str]]:
    return ((f"{old}.{a}", f"{new}.{b}") for a, b in RESNET.items())


def _transformer(old: str, new: str, layers: int) -> Iterator[tuple[str, str]]:
    attention = [f"attn{n}.{part}" for n in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out.0")]
    inner = [*attention, "ff.net.0.proj", "ff.net.2", "norm1", "norm2", "norm3"]
    for name in ("norm", "proj_in", *(f"transformer_blocks.{i}.{part}" for i in range(layers) for part in inner),
                 "proj_out"):
        yield f"{old}.{name}", f"{new}.{name}"


def vae_names(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(old, today's) name of each module of an autoencoder that has parameters of its own."""
    keys = published.checked(config, published.VAE, "vae")
    levels, blocks = len(keys["block_out_channels"]), keys["layers_per_block"]
    parts: Sequence[tuple[str, str]] = (*((name, name) for name in ("norm1", "conv1", "norm2", "conv2")),
                                        ("nin_shortcut", "conv_shortcut"))
    for side in ("encoder", "decoder"):
        yield from ((f"{side}.norm_out", f"{side}.conv_norm_out"),)
        for old, new in (("block_1", "resnets.0"), ("block_2", "resnets.1")):
            yield from ((f"{side}.mid.{old}.{a}", f"{side}.mid_block.{new}.{b}") for a, b in parts)
        yield from ((f"{side}.mid.attn_1.{a}", f"{side}.mid_block.attentions.0.{b}") for a, b in VAE_ATTENTION.items())
    for level in range(levels):
        above = levels - 1 - level
        for j in range(blocks + 1):
            yield from ((f"encoder.down.{level}.block.{j}.{a}", f"encoder.down_blocks.{level}.resnets.{j}.{b}")
                        for a, b in parts)
            yield from ((f"decoder.up.{level}.block.{j}.{a}", f"decoder.up_blocks.{above}.resnets.{j}.{b}")
                        for a, b in parts)
        yield f"encoder.down.{level}.downsample.conv", f"encoder.down_blocks.{level}.downsamplers.0.conv"
        yield f"decoder.up.{level}.upsample.conv", f"decoder.up_blocks.{above}.upsamplers.0.conv"


def _open_clip(found: Mapping[str, Stored]) -> dict[str, Stored]:
    """OpenCLIP's text encoder by the names of CLIP's; queries, keys and values, stored as one, are taken apart."""
    named: dict[str, Stored] = {}
    whole = {"token_embedding.weight": "text_model.embeddings.token_embedding.weight",
             "positional_embedding": "text_model.embeddings.position_embedding.weight",
             **{f"ln_final.{leaf}": f"text_model.final_layer_norm.{leaf}" for leaf in ("weight", "bias")}}
    for name, one in found.items():
        match = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+?)([._])(weight|bias)", name)
        if name in whole:
            named[whole[name]] = one
        elif name == "text_projection":
            named["text_projection.weight"] = one._replace(shape=one.shape[::-1], turned=True)
        elif match and match[2] == "attn.in_proj" and one.shape[0] % 3 == 0:
            for part, letter in enumerate("qkv"):
                shape = (one.shape[0] // 3, *one.shape[1:])
                start = one.start + part * one.dtype.itemsize * shape[0] * (shape[1] if len(shape) > 1 else 1)
                place = f"text_model.encoder.layers.{match[1]}.self_attn.{letter}_proj.{match[4]}"
                named[place] = one._replace(shape=shape, start=start)
        elif match and match[2] in OPEN_CLIP:
            named[f"text_model.encoder.layers.{match[1]}.{OPEN_CLIP[match[2]]}.{match[4]}"] = one
        else:
            named[name] = one  # found to be left over
    return named
