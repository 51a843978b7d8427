"""Models with adapters: a LoRA or a word of textual inversion added to a text-to-image model."""
from __future__ import annotations

import os
from typing import Any

import jax
import numpy as np

from imggen_jax.data import clip_tokens
from imggen_jax.errors import RunError, WeightsError
from imggen_jax.model import Model
from imggen_jax.pipelines import texts
from imggen_jax.pipelines.diffusion import Recipe
from imggen_jax.pipelines.opening import recipe_of, remade
from imggen_jax.storage.files import given_path
from imggen_jax.weights import adapters, ldm, tensors

STRONGEST = 10.0
TABLE = "text_model.embeddings.token_embedding.embedding"


def with_lora(model: Model, path: str | os.PathLike[str], strength: float = 1.0) -> tuple[Model, str]:
    """A model with a LoRA added to its weights.

    Args:
      model: of `load`.
      path: a safetensors file, in kohya's or diffusers' names.
      strength: factor on it, -10 to 10; 1 as trained.

    Returns:
      (the model, a line that says what matched and what did not).

    Raises:
      WeightsError: the file cannot be read, or nothing of it matches the model.
      RunError: a strength out of range, or a model of another kind.
    """
    recipe, file = recipe_of(model), given_path(path, "the LoRA")
    if not -STRONGEST <= strength <= STRONGEST:
        raise RunError(f"the strength of {file.name} is {strength:g}; it must be from {-STRONGEST:g} to {STRONGEST:g}")
    parts = recipe.adapted
    known = {name: adapters.layer_names(model.weights[name]) for name in parts}
    old = dict(ldm.unet_names(recipe.unet)) if isinstance(recipe, Recipe) and recipe.xl else {}
    lora = adapters.read_lora(file, known, old)
    weights = adapters.add_lora(model.weights, lora, strength)
    counts = [f"{sum(part == name for part, _ in lora.layers)} layers of {name}" for name in parts]
    said = f"{file.name}: matched {', '.join(counts)}"
    if lora.unknown:
        said += f"; {len(lora.unknown)} tensors matched nothing: {', '.join(lora.unknown[:3])}"
        said += ", ..." if len(lora.unknown) > 3 else ""
    return model._replace(weights=weights), said


def with_adapter(model: Model, path: str | os.PathLike[str], strength: float = 1.0) -> tuple[Model, str]:
    """`with_lora` or `with_word`, whichever a file is for; the strength is that of a LoRA.

    Returns:
      (the model, a line that says what matched).
    """
    names = tensors.open_file(given_path(path, "the adapter")).tensors
    if any(part in name for name in names for part in ("lora", "alpha")) or len(names) > len(adapters.VECTORS):
        return with_lora(model, path, strength)
    changed, said, _ = with_word(model, path)
    return changed, said


def with_word(model: Model, path: str | os.PathLike[str], word: str | None = None) -> tuple[Model, str, str]:
    """A model that knows one word more, by textual inversion.

    Args:
      model: of `load`.
      path: a safetensors file of diffusers, kohya or, for SDXL, with clip_l and clip_g.
      word: how prompts name it; None: as the file does.

    Returns:
      (the model, a line about it, the word).

    Raises:
      WeightsError: the file cannot be read, or is of another model.
      RunError: a word that the model knows already, or a model of another kind.
    """
    recipe, file = recipe_of(model), given_path(path, "the file of textual inversion")
    if not isinstance(recipe, Recipe):
        raise RunError(f"{file.name} is a word of textual inversion, and this model, which reads prompts by a language "
                       "model, takes none; a LoRA can be added to it")
    names = texts.names(recipe.texts)
    embedding = adapters.read_embedding(file, {name: net.width for name, net in zip(names, recipe.texts)})
    word = word or embedding.word
    if not word or any(letter.isspace() or letter in "()[]\\" for letter in word):
        raise RunError(f"the word {word!r} holds spaces or brackets; give another one")
    count = len(next(iter(embedding.vectors.values())))
    words = [word, *(f"{word}_{number}" for number in range(1, count))]
    vocabularies = []
    for one in clip_tokens.vocabularies_of(recipe.names):
        if one.backend.token_to_id(word) is not None:
            raise RunError(f"the model knows the word {word!r} already; give another one")
        vocabularies.append(clip_tokens.with_words(one, words))
    weights: dict[str, Any] = dict(model.weights)
    nets = []
    for name, net, one in zip(names, recipe.texts, vocabularies):
        table = weights[name][TABLE]
        new = one.backend.token_to_id(word)
        if len(table) > new:
            raise WeightsError(f"the model's {name} has {len(table)} words, and its tokenizer {new}; they do not fit")
        gap = np.zeros((new - len(table), table.shape[1]), np.float32)
        rows = np.concatenate([gap, embedding.vectors[name]])
        weights[name] = {**weights[name], TABLE: adapters.with_rows(table, rows)}
        nets.append(net.clone(words=len(table) + len(rows), end=one.end))  # the end is no longer the greatest token
    changed = recipe._replace(texts=tuple(nets), names=clip_tokens.field_names(vocabularies))
    jax.block_until_ready(weights)
    return remade(model._replace(weights=weights), changed), f"{file.name}: the word {word!r}, {count} vectors", word
