"""A text-to-image model in the layout of diffusers: a folder with model_index.json and a folder for each component."""
from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from imggen_jax.errors import WeightsError
from imggen_jax.weights import tensors
from imggen_jax.weights.tensors import Stored

INDEX = "model_index.json"
PIPELINES = {  # class -> kind
    "StableDiffusionPipeline": "sd", "StableDiffusionImg2ImgPipeline": "sd", "StableDiffusionInpaintPipeline": "sd",
    "LatentConsistencyModelPipeline": "sd", "LatentConsistencyModelImg2ImgPipeline": "sd",
    "StableDiffusionXLPipeline": "xl", "StableDiffusionXLImg2ImgPipeline": "xl",
    "StableDiffusionXLInpaintPipeline": "xl", "Flux2KleinPipeline": "flux2"}
CLIP_TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
SD = {"unet": ("UNet2DConditionModel",), "vae": ("AutoencoderKL", "AutoencoderTiny"),
      "text_encoder": ("CLIPTextModel", "CLIPTextModelWithProjection"), "tokenizer": CLIP_TOKENIZERS}
CLASSES = {  # kind -> component -> classes that are known
    "sd": SD,
    "xl": SD | {"text_encoder_2": ("CLIPTextModelWithProjection",), "tokenizer_2": CLIP_TOKENIZERS},
    "flux2": {"transformer": ("Flux2Transformer2DModel",), "vae": ("AutoencoderKLFlux2",),
              "text_encoder": ("Qwen3ForCausalLM",), "tokenizer": ("Qwen2TokenizerFast", "Qwen2Tokenizer")}}
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")  # components that are left out on purpose
SWITCHES = ("force_zeros_for_empty_prompt", "requires_safety_checker", "requires_aesthetics_score", "add_watermarker",
            "is_distilled")
# Tensors that are left out on purpose: places 0 to 76, which old files hold.
NO_TENSORS = (r"(^|\.)embeddings\.position_ids$",)
WEIGHTS = "diffusion_pytorch_model"
STEMS = {"unet": WEIGHTS, "transformer": WEIGHTS, "vae": WEIGHTS, "text_encoder": "model", "text_encoder_2": "model"}
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class Folder(NamedTuple):
    """What a model's files say; no tensor is read yet."""

    kind: str                                       # of CLASSES
    classes: Mapping[str, str]                      # component -> its class
    configs: Mapping[str, Mapping[str, Any]]        # of "unet", "vae", "text_encoder"(s) and "scheduler"
    tensors: Mapping[str, Mapping[str, Stored]]     # of all but the scheduler, by the names of `tensors.tensor_name`
    tokenizers: tuple[Path, ...]
    switches: Mapping[str, Any]                     # of SWITCHES, those that are named
    notes: tuple[str, ...]                          # what is left out on purpose


def is_folder(path: Path) -> bool:
    """Whether a path is a folder in this layout."""
    return (path / INDEX).is_file()


def read(folder: Path) -> Folder:
    """What a folder holds.

    Raises:
      WeightsError: a file is missing, truncated or no safetensors, or the model is of a kind that is not known here.
    """
    index = tensors.read_json(folder / INDEX)
    kind = index.get("_class_name")
    if kind not in PIPELINES:
        raise WeightsError(f"{folder / INDEX}: the pipeline {kind} is not known here; known are {', '.join(PIPELINES)}")
    classes, notes = CLASSES[PIPELINES[kind]], []
    wanted = [*classes, "scheduler"]
    for name, value in index.items():
        there = isinstance(value, list) and len(value) == 2 and value[1] is not None
        if name in UNUSED:
            notes += [name] if there else []
        elif not name.startswith("_") and name not in (*wanted, *SWITCHES):
            raise WeightsError(f"{folder / INDEX}: the component {name} is not known here")
    for name in wanted:
        value = index.get(name)
        if not (isinstance(value, list) and len(value) == 2 and value[1]):
            raise WeightsError(f"{folder / INDEX}: the component {name} is missing, and {kind} needs it")
        if name in classes and value[1] not in classes[name]:
            raise WeightsError(f"{folder / INDEX}: {name} is a {value[1]}; known here are {', '.join(classes[name])}")
        if not (folder / name).is_dir():
            raise WeightsError(f"{folder} has no folder {name}, which {INDEX} names; get the whole model")
    configs = {name: tensors.read_json(folder / name / "config.json") for name in STEMS if name in wanted}
    configs["scheduler"] = tensors.read_json(folder / "scheduler" / "scheduler_config.json")
    found = {name: _named(name, tensors.open_folder(folder / name, stem))
             for name, stem in STEMS.items() if name in wanted}
    return Folder(PIPELINES[kind], {name: index[name][1] for name in classes}, configs, found,
                  tuple(folder / name for name in ("tokenizer", "tokenizer_2") if name in wanted),
                  {name: index[name] for name in SWITCHES if name in index}, tuple(notes))


def _named(component: str, found: Mapping[str, Stored]) -> dict[str, Stored]:
    """Tensors by today's names."""
    if component.startswith("text_encoder"):
        # Since version 5 transformers writes a CLIPTextModel without this prefix.
        bare = not any(name.startswith("text_model.") for name in found)
        return tensors.renamed(found, lambda name: f"text_model.{name}" if bare and name.split(".")[0] in (
            "embeddings", "encoder", "final_layer_norm") else name)
    if component == "vae":
        return tensors.renamed(found, _today)
    return dict(found)


def _today(name: str) -> str:
    return re.sub(r"(attentions\.0\.)(query|key|value|proj_attn)\.", lambda match: (
        f"{match[1]}{OLD_ATTENTION[match[2]]}."), name)
