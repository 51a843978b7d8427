"""Open a text-to-image model of others: from its files to a `Model`, with a check of memory before anything is read."""
from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax import schedules
from imggen_jax.data.memory import free_memory
from imggen_jax.errors import RunError, WeightsError
from imggen_jax.game import PyTree
from imggen_jax.model import Model
from imggen_jax.nets.autoencoder_tiny import TinyDecoder
from imggen_jax.pipelines import diffusion, flux2, spreading
from imggen_jax.pipelines.spreading import Devices
from imggen_jax.storage.files import given_path
from imggen_jax.weights import diffusers, ldm, published, tensors
from imggen_jax.weights import flux2 as flux2_weights
from imggen_jax.weights.diffusers import Folder
from imggen_jax.weights.published import Part

GAME = "pipeline"  # the name of such a model's game in its config
SMALLEST, LARGEST = 8, 4096  # sides of pictures
# Kind -> the module of its models, with the functions `parts`, `recipe`, `spec`, `make`, `way` and `pictures`, and what
# it is called.
KINDS: dict[str, tuple[Any, str]] = {
    "sd": (diffusion, "Stable Diffusion"), "xl": (diffusion, "Stable Diffusion XL"), "flux2": (flux2, "FLUX.2 klein")}
Recipe = diffusion.Recipe | flux2.Recipe
SIDES = {  # what belongs to the other parts of an autoencoder
    "encoder": (r"^(decoder|post_quant_conv|bn)\.",), "decoder": (r"^(encoder|quant_conv|bn)\.",),
    "norm": (r"^(encoder|decoder|quant_conv|post_quant_conv)\.", r"^bn\.num_batches_tracked$")}
EXACT = ("norm",)  # what is read in float32 at least, whatever the other weights are


def is_pipeline(path: Path) -> bool:
    """Whether a path is such a model: a folder in diffusers' layout, or a checkpoint in one file."""
    return diffusers.is_folder(path) or ldm.is_checkpoint(path)


def load(path: Path, name: str | None = None, devices: Devices | None = None) -> Model:
    """A text-to-image model of others. On a CPU it computes in float32 (with jax_enable_x64, in float64), elsewhere in
    bfloat16.

    Args:
      path: a folder with model_index.json, or a safetensors checkpoint of Stable Diffusion 1.5 or XL.
      name: of the model; it has one, "main".
      devices: those over which the weights are spread, as by `spreading.spread`, while they are read. None: of several
        accelerators all, if one alone has too little memory; else none.

    Raises:
      WeightsError: a component, file, tensor or key of a config is missing, damaged or not understood.
      DataError: the tokenizer cannot be read.
      RunError: memory will not suffice.
    """
    dtype = jnp.dtype(jnp.zeros(()).dtype if jax.default_backend() == "cpu" else jnp.bfloat16)
    found = ldm.read(path) if path.is_file() else diffusers.read(path)
    trained = schedules.read(_corrected(found), str(path / "scheduler" / "scheduler_config.json"))
    module, architecture = KINDS[found.kind]
    parts = module.parts(found, dtype, lambda component: str(path / component / "config.json"))
    recipe = module.recipe(found, parts, trained)
    _check_memory(path, parts, dtype)
    put = spreading.putter(spreading.wanted(_bytes(parts, dtype)) if devices is None else devices)
    weights = {name: _filled(path, found, name, part, dtype, put) for name, part in parts.items()}
    facts = {"architecture": architecture, "file": path.name, "dtype": dtype.name, "sampler": trained.sampler,
             "left_out": list(found.notes)}
    return Model({"game": {"name": GAME, **facts}, "train": {"batch": 0}}, module.spec(recipe), 0, weights,
                 module.make(recipe), name or "main")


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


def with_decoder(model: Model, folder: str | os.PathLike[str]) -> Model:
    """The same model with a small decoder in the place of its own: quicker, and somewhat less fine (TAESD).

    Args:
      model: of `load`.
      folder: of an AutoencoderTiny, with config.json and diffusion_pytorch_model.safetensors.

    Raises:
      WeightsError: the folder is none, or is damaged.
      RunError: it is for other latents, or the model is of another kind.
    """
    recipe, place = recipe_of(model), given_path(folder, "the small autoencoder")
    config = tensors.read_json(place / "config.json")
    if config.get("_class_name") != "AutoencoderTiny":
        raise WeightsError(f"{place / 'config.json'} is of {config.get('_class_name')}; here it can be AutoencoderTiny")
    if not isinstance(recipe, diffusion.Recipe):
        raise RunError("a small decoder is for Stable Diffusion; this model has other latents")
    dtype = jax.tree.leaves(model.weights["decoder"])[0].dtype
    part = published.tiny(config, dtype, str(place / "config.json"))[1]
    keys, factor = part.config, 2 ** (len(part.config["decoder_block_out_channels"]) - 1)
    if (keys["latent_channels"], factor) != (recipe.channels, recipe.factor):
        raise RunError(f"{place} is for latents of {keys['latent_channels']} channels and pictures {factor} times as "
                       f"large; those of the model have {recipe.channels} and are {recipe.factor} times as large")
    weights = tensors.fill(part.wanted, tensors.open_folder(place, diffusers.WEIGHTS), dtype, what=str(place),
                           unused=SIDES["decoder"])
    changed = recipe._replace(decoder=cast(TinyDecoder, part.net), scales=(recipe.scales[0], keys["scaling_factor"]),
                              shifts=(recipe.shifts[0], keys["shift_factor"] or 0.0))
    return remade(model._replace(weights={**model.weights, "decoder": weights}), changed)


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
        raise RunError("this model is no text-to-image model of others; it makes pictures of the size that it was "
                       "trained on")
    return cast(functools.partial, model.generator.decode).args[0]


def resizable(model: Model) -> bool:
    """Whether `resized` takes a model."""
    function = getattr(model.part, "decode", None)
    return isinstance(function, functools.partial) and isinstance(function.args[0], Recipe)


def remade(model: Model, recipe: Recipe) -> Model:
    """The same weights with other functions."""
    module = module_of(recipe)
    return model._replace(spec=module.spec(recipe), game=module.make(recipe))


def module_of(recipe: Recipe) -> Any:
    """The module of a model, as in KINDS."""
    return diffusion if isinstance(recipe, diffusion.Recipe) else flux2


def _corrected(found: Folder) -> dict[str, Any]:
    """The scheduler's config, with what diffusers corrects in old ones of Stable Diffusion 1 and 2."""
    config = dict(found.configs["scheduler"])
    if found.kind == "sd" and "steps_offset" in config:
        config["steps_offset"] = 1
    if found.kind == "sd" and "clip_sample" in config:
        config["clip_sample"] = False
    return config


def _check_memory(folder: Path, parts: Mapping[str, Part], dtype: Any) -> None:
    """Raises RunError where the weights alone are more than memory can hold; a system ends a process for that."""
    needed, free = _bytes(parts, dtype), free_memory()
    count = needed // dtype.itemsize
    if jax.default_backend() == "cpu" and needed > free:
        raise RunError(f"{folder} has {count / 1e6:,.0f} million weights, which take {needed / 2**30:,.1f} GiB as "
                       f"{dtype.name}, and {free / 2**30:,.1f} GiB of memory are free; a model of at most "
                       f"{free // dtype.itemsize / 1e6:,.0f} million fits here")


def _bytes(parts: Mapping[str, Part], dtype: Any) -> int:
    return dtype.itemsize * sum(tensors.parameters(part.wanted) for part in parts.values())


def _filled(folder: Path, found: Folder, name: str, part: Part, dtype: Any,
            put: Callable[[np.ndarray], jax.Array]) -> PyTree:
    component = "vae" if name in SIDES else name
    unused = (*SIDES.get(name, ()), *diffusers.NO_TENSORS)
    if found.classes[component] == "Qwen3ForCausalLM":
        unused += flux2_weights.unread(part.config["num_hidden_layers"])
    dtype = jnp.promote_types(dtype, jnp.float32) if name in EXACT else dtype
    return tensors.fill(part.wanted, found.tensors[component], dtype, what=str(folder / component), unused=unused,
                        put=put)
