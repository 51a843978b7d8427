"""Open a text-to-image model of others: from its files to a `Model`, with a check of memory before anything is read."""
from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp

from imggen_jax import schedules
from imggen_jax.data import clip_tokens
from imggen_jax.data.memory import free_memory
from imggen_jax.data.text import tokenizer_of
from imggen_jax.errors import RunError
from imggen_jax.game import Field, PyTree
from imggen_jax.model import Model
from imggen_jax.pipelines import diffusion, texts
from imggen_jax.pipelines.diffusion import MASKED, Recipe
from imggen_jax.weights import diffusers, ldm, published, tensors
from imggen_jax.weights.published import Part

GAME = "pipeline"  # the name of such a model's game in its config
SMALLEST, LARGEST = 8, 4096  # sides of pictures
SIDES = {  # what belongs to the other half of an autoencoder
    "encoder": (r"^(decoder|post_quant_conv)\.",), "decoder": (r"^(encoder|quant_conv)\.",)}



def is_pipeline(path: Path) -> bool:
    """Whether a path is such a model: a folder in diffusers' layout, or a checkpoint in one file."""
    return diffusers.is_folder(path) or ldm.is_checkpoint(path)


def load(path: Path, name: str | None = None) -> Model:
    """A text-to-image model of others. On a CPU it computes in float32, elsewhere in bfloat16.

    Args:
      path: a folder with model_index.json, or a safetensors checkpoint of Stable Diffusion 1.5 or XL.
      name: of the model; it has one, "main".

    Raises:
      WeightsError: a component, file, tensor or key of a config is missing, damaged or not understood.
      DataError: the tokenizer cannot be read.
      RunError: memory will not suffice.
    """
    dtype = jnp.dtype(jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16)
    found = ldm.read(path) if path.is_file() else diffusers.read(path)
    trained = schedules.read(_corrected(found), str(path / "scheduler" / "scheduler_config.json"))
    parts = _parts(path, found, dtype)
    vocabularies = tuple(clip_tokens.read(place) for place in found.tokenizers)
    recipe = _recipe(found, parts, trained, vocabularies)
    _check_memory(path, parts, dtype)
    weights = {name: _filled(path, found, name, part, dtype) for name, part in parts.items()}
    facts = {"architecture": "Stable Diffusion XL" if found.xl else "Stable Diffusion", "file": path.name,
             "dtype": dtype.name, "sampler": trained.sampler, "left_out": list(found.notes)}
    return Model({"game": {"name": GAME, **facts}, "train": {"batch": 0}}, recipe.spec(), 0, weights,
                 diffusion.make(recipe), name or "main")


def resized(model: Model, height: int, width: int) -> Model:
    """The same model for pictures of another size.

    Args:
      model: of `load`.
      height, width: of pictures; they are rounded to multiples of 8, or of what the autoencoder needs.

    Raises:
      RunError: a side out of range, or a model of another kind.
    """
    recipe = recipe_of(model)
    for side in (height, width):
        if not SMALLEST <= side <= LARGEST:
            raise RunError(f"the size is {width}x{height}; sides go from {SMALLEST} to {LARGEST} pixels")
    height, width = (max(1, round(side / recipe.factor)) * recipe.factor for side in (height, width))
    return remade(model, recipe._replace(height=height, width=width))


def scheduled(model: Model, trained: schedules.Trained) -> Model:
    """The same model with the scheduler of another config, as `schedules.read` gives it."""
    return remade(model, recipe_of(model)._replace(trained=trained))


def with_defaults(model: Model, options: Mapping[str, float]) -> Model:
    """The same model with other defaults of its options. Raises RunError for an option that it does not have."""
    checked = model.check_options(options)
    return remade(model, recipe_of(model)._replace(defaults=tuple(sorted(
        {**dict(recipe_of(model).defaults), **checked}.items()))))


def recipe_of(model: Model) -> Recipe:
    """What makes a model's functions. Raises RunError for a model of another kind."""
    if not resizable(model):
        raise RunError("this model is none of Stable Diffusion; it makes pictures of the size that it was trained on")
    return cast(functools.partial, model.generator.decode).args[0]


def resizable(model: Model) -> bool:
    """Whether `resized` takes a model."""
    function = getattr(model.part, "decode", None)
    return isinstance(function, functools.partial) and isinstance(function.args[0], Recipe)


def remade(model: Model, recipe: Recipe) -> Model:
    """The same weights with other functions."""
    return model._replace(spec=recipe.spec(), game=diffusion.make(recipe))


def _corrected(found: diffusers.Folder) -> dict[str, Any]:
    """The scheduler's config, with what diffusers corrects in old ones of Stable Diffusion 1 and 2."""
    config = dict(found.configs["scheduler"])
    if not found.xl and "steps_offset" in config:
        config["steps_offset"] = 1
    if not found.xl and "clip_sample" in config:
        config["clip_sample"] = False
    return config


def _parts(folder: Path, found: diffusers.Folder, dtype: Any) -> dict[str, Part]:
    def place(name: str) -> str:
        return str(folder / name / "config.json")

    encoder, decoder = published.autoencoder(found.configs["vae"], dtype, place("vae"))
    parts = {"unet": published.unet(found.configs["unet"], dtype, place("unet")), "encoder": encoder,
             "decoder": decoder}
    for name, projected in zip(texts.names(found.projected), found.projected):
        parts[name] = published.clip(found.configs[name], dtype, projected=projected, what=place(name))
    return parts


def _recipe(found: diffusers.Folder, parts: Mapping[str, Part], trained: schedules.Trained,
            vocabularies: tuple[clip_tokens.Bpe, ...]) -> Recipe:
    nets: dict[str, Any] = {name: part.net for name, part in parts.items()}
    vae, unet = parts["decoder"].config, parts["unet"].config
    channels, encoders = vae["latent_channels"], [nets[name] for name in texts.names(vocabularies)]
    if unet["in_channels"] not in (channels, channels + MASKED) or unet["out_channels"] != channels:
        raise RunError(f"the U-Net takes {unet['in_channels']} channels and makes {unet['out_channels']}; of latents "
                       f"with {channels} that is neither a model for pictures nor one for inpainting")
    width = sum(net.width for net in encoders)
    if unet["cross_attention_dim"] != width:
        raise RunError(f"the U-Net reads texts of width {unet['cross_attention_dim']}, and those of the encoders have "
                       f"{width}")
    if wrong := [net for net, one in zip(encoders, vocabularies) if one.size > net.words]:
        raise RunError(f"the tokenizer has more tokens than its encoder knows, {wrong[0].words}")
    names = clip_tokens.field_names(vocabularies)
    empty = tokenizer_of(Field((None,), "int32", names)).encode([""])[0][0]
    side = unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1)
    quick = trained.sampler == "lcm"
    return Recipe(nets["unet"], nets["encoder"], nets["decoder"], tuple(encoders), trained, channels,
                  float(vae["scaling_factor"]), float(vae["shift_factor"] or 0.0), unet["in_channels"] != channels,
                  found.zeros, names, tuple(int(token) for token in empty), side, side, (
                      ("guidance", 1.0 if quick else 5.0 if found.xl else 7.5), ("steps", 4 if quick else 30)),
                  jax.default_backend() != "cpu")


def _check_memory(folder: Path, parts: Mapping[str, Part], dtype: Any) -> None:
    """Raises RunError where the weights alone are more than memory can hold; a system ends a process for that."""
    count = sum(tensors.parameters(part.wanted) for part in parts.values())
    needed, free = count * dtype.itemsize, free_memory()
    if jax.default_backend() == "cpu" and needed > free:
        raise RunError(f"{folder} has {count / 1e6:,.0f} million weights, which take {needed / 2**30:,.1f} GiB as "
                       f"{dtype.name}, and {free / 2**30:,.1f} GiB of memory are free; a model of at most "
                       f"{free // dtype.itemsize / 1e6:,.0f} million fits here")


def _filled(folder: Path, found: diffusers.Folder, name: str, part: Part, dtype: Any) -> PyTree:
    component = "vae" if name in SIDES else name
    return tensors.fill(part.wanted, found.tensors[component], dtype, what=str(folder / component),
                        unused=(*SIDES.get(name, ()), *diffusers.NO_TENSORS))
