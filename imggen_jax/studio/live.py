"""What the studio asks without writing a picture: facts of a model, and a picture while its sliders move."""
from __future__ import annotations

import base64
import functools
import io
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from PIL import Image

from imggen_jax import prompts, sampling
from imggen_jax.editing import genes as genetics
from imggen_jax.editing import sources, words
from imggen_jax.errors import RunError
from imggen_jax.game import SHARES, Generator
from imggen_jax.loading import find, load
from imggen_jax.model import Model
from imggen_jax.sampling import Latents

TEXT = "text"


def facts(model: str) -> dict[str, Any]:
    """What pages need to know of a model: what it is conditioned on, its options, words, labels and genes."""
    loaded = load(model)
    if not isinstance(loaded.part, Generator):
        raise RunError(f"{model} is a classifier and makes no pictures; choose a generator")
    part, field = loaded.part, loaded.spec.get(TEXT)
    height, width = (side or 0 for side in loaded.spec["image"].shape[:2])
    options = {name: [option.default, option.low, option.high, option.help] for name, option in part.options.items()}
    return {"needs": list(part.needs), "mixes": TEXT in part.mixes, "options": options, "size": [width, height],
            "words": list(field.names) if field and TEXT in part.needs else [], "labels": list(loaded.label_names),
            "genes": _genes(model, loaded)}


def _genes(path: str, model: Model) -> list[str]:
    try:
        return genetics.load(find(path), model).names()
    except RunError:
        return []


def show(model: str, picture: str, amounts: Mapping[str, float], prompt: str = "") -> dict[str, Any]:
    """A picture moved along genes, without writing it: {"png": base64, "size": [W,H]}; by half of a sampler's steps.

    Args:
      model: as for `load`.
      picture: its file, or a seed.
      amounts: gene -> how far, as for the verb `edit`. The same genes again make the same program: give all of them,
        with 0 for those that rest.
      prompt: what it shows, where its file does not remember.
    """
    loaded = load(model)
    of_words = {name: amount for name, amount in amounts.items() if words.gene(name)}
    latents, options = _latents(model, loaded, picture, prompt, tuple(of_words))
    if of_words:
        shares = latents.given[f"{TEXT}{SHARES}"].copy()
        shares[:, -2 * len(of_words):] *= np.repeat(np.array([*of_words.values()], np.float32), 2)
        latents = latents._replace(given={**latents.given, f"{TEXT}{SHARES}": shares})
    if moved := {name: amount for name, amount in amounts.items() if amount and name not in of_words}:
        latents = genetics.edit(loaded, latents, moved, genetics.load(find(model), loaded))
    if "steps" in loaded.generator.options:   # a draft, as fast as a slider moves
        steps = options.get("steps", loaded.generator.options["steps"].default)
        options = {**options, "steps": max(1, int(steps) // 2)}
    image = np.asarray(_program(loaded.sampler)(loaded.weights, latents.w, dict(latents.given), _shared(options)))[0]
    held = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(held, "PNG", compress_level=1)
    return {"png": base64.b64encode(held.getvalue()).decode(), "size": [image.shape[1], image.shape[0]]}


_found: dict[tuple, tuple[Latents, dict[str, float], Model]] = {}


def _latents(path: str, model: Model, picture: str, prompt: str, of_words: tuple[str, ...]
             ) -> tuple[Latents, dict[str, float]]:
    """The latents of a picture, leaning by 1 along each gene of words, with the options that it was made with.

    The last ones are kept, so that a slider costs no more than its picture.
    """
    key = (path, id(model.weights), picture, prompt, of_words)
    if key not in _found:
        run = sources.open_run(path, model)
        given = {TEXT: prompts.parse(prompt)} if prompt else None
        found = sources.find(run, picture, given=given, truncation=1.0)
        latents = found.latents
        for name in of_words:
            latents = words.lean(model, latents, *(words.gene(name) or ("", "")), 1.0)
        _found[key] = latents, sources.options_of(model, found.family.record), model  # which keeps its id its own
        while len(_found) > 8:
            del _found[next(iter(_found))]
    return _found[key][:2]


def _shared(options: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(options.items()))


@functools.lru_cache(maxsize=8)
def _program(sampler: sampling.Sampler) -> Callable[..., jax.Array]:
    """A compiled function of one picture: what `Sampler.show` makes, by a program of one place, so to the last bits but
    one; it takes a fraction of the time."""
    @functools.partial(jax.jit, static_argnames="options")
    def one(weights, w, fields, options):
        return sampling.to_uint8(sampler.decode(weights, w, fields, dict(options)))

    return one


ANSWERS: dict[str, Callable[..., dict[str, Any]]] = {"facts": facts, "show": show}
