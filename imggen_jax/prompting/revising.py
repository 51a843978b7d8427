"""Pictures from pictures and words: variations under new words, what a mask marks, and blends."""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imggen_jax import inversion, prompts
from imggen_jax import spec as specs
from imggen_jax.editing import operations, sources, words, writing
from imggen_jax.editing.sources import Found, Open
from imggen_jax.editing.space import join, moved, rows_of, show
from imggen_jax.editing.writing import Done
from imggen_jax.errors import RunError
from imggen_jax.model import Model
from imggen_jax.picture_verbs import shared
from imggen_jax.pictures import files, grids
from imggen_jax.prompting import redrawing
from imggen_jax.prompts import Text
from imggen_jax.provenance import publishing
from imggen_jax.provenance.publishing import Origin
from imggen_jax.sampling import Fields, Latents

LEAST, MOST = 2, 5   # of what is blended
ROUNDS = 8           # of a chain that makes anew what a mask marks
STEPS = 150          # of an optimizer that does so

Paths = str | os.PathLike[str]


def vary(
    model: Paths | Open, out: Paths, image: str | Sequence[str], *, prompt: Text | None = None, was: Text | None = None,
    strength: float | str | None = None, num: int = 4, seed: int = 0, given: Mapping[str, Any] = {},
    truncation: float = 1.0,
) -> Done:
    """Write variations of a picture: out/000.png, ... and out/sheet.png, under its own words or new ones.

    Args:
      model: as for `load`, or an open run, whose policy was asked.
      out: folder; made if needed.
      image: the picture's file, made with this model or your own; or its seed. Several files are references, which
        some models take.
      prompt: what the variations show; None: what the picture shows.
      was: what the picture shows, where its file does not remember it; None: as `prompt` says. A model that redraws
        pictures then goes back to the picture's noise, and from there under the prompt, in place of redrawing it.
      strength: 0, the picture as the model makes it, to 1, unrelated; or a preset of `operations.PRESETS`. None: a
        model that takes references takes the picture as one, and any other varies it by "subtle".
      num, seed: how many; variation k turns towards a latent of seed + k.
      given: other fields that the model is conditioned on.
      truncation: of the new latents.

    Raises:
      RunError: a model, picture, prompt or number that cannot be.
    """
    images = [image] if isinstance(image, str) else list(image)
    run = writing.opened(model, "vary", {**given, **({} if prompt is None else {words.TEXT: prompt})}, images)
    if strength is None and redrawing.refers(run.model):
        return redrawing.beside(run, out, images, prompt=prompt, num=num, seed=seed, given=given)
    if len(images) != 1:
        raise RunError(f"{len(images)} pictures are given, and one is varied; give one, or mix them with --blend")
    strength, image = "subtle" if strength is None else strength, images[0]
    if redrawing.takes(run.model) and (was is None or run.model.generator.encode is None):
        if was is not None:
            raise RunError("this model's sampler draws noise on its way, so that it has no way back from a picture; "
                           "leave out --was")
        return redrawing.whole(run, out, image, prompt=prompt, strength=strength, num=num, seed=seed, given=given)
    found = _named(run, image, prompt, was, given, truncation)
    varied = operations.vary(run.model, found.latents, num, strength=strength, seed=seed, truncation=truncation)
    varied = varied if prompt is None else words.say(run.model, varied, prompt)
    asked = {"strength": operations.strength_of(strength), "draw": seed, "truncation": truncation}
    return _written(run, out, "vary", varied, asked, [found], prompt)


def blend(
    model: Paths, out: Paths, each: Sequence[str], *, weights: Sequence[float] | None = None,
    prompt: Text | None = None, strength: float | str = 0.0, num: int = 1, seed: int = 0,
    given: Mapping[str, Any] = {}, truncation: float = 1.0,
) -> Done:
    """Write blends of two to five pictures or prompts: out/000.png, ... and out/sheet.png.

    Pictures are mixed in their latents, and what is said of them, with the prompts, by shares. Without a picture, the
    latents are those of the seeds.

    Args:
      model, out, given, truncation: as for `vary`.
      each: files of pictures, and prompts: what is no file is a prompt.
      weights: one for each; None: equal.
      prompt: what the pictures show, where their files do not remember it.
      strength: of a variation of each blend.
      num, seed: how many, and the seed of what is drawn for the first.

    Raises:
      RunError: as `vary`; or other than 2 to 5 are given.
    """
    if not LEAST <= len(each) <= MOST:
        raise RunError(f"{len(each)} pictures or prompts are given; blend takes {LEAST} to {MOST}")
    pictures = [Path(one).is_file() for one in each]
    parts = [prompts.parse(one) for one, its in zip(each, pictures) if not its]
    run = writing.opened(model, "blend", [{**given, words.TEXT: text} for text in parts])
    shares = operations.shares_of(weights, len(each), "pictures and prompts")
    found = [_named(run, one, prompt, None, given, truncation) for one, its in zip(each, pictures) if its]
    at = iter(found)
    texts = [sources.text_of(next(at), one) if its else prompts.parse(one) for one, its in zip(each, pictures)]
    text = prompts.combine(texts, [float(share) for share in shares])
    if found:
        parents = join(sources.alike(run.model, [one.latents for one in found]))
        blended = operations.breed(run.model, parents, num, weights=list(shares[pictures]), mutate=strength,
                                   seed=seed, truncation=truncation)
        blended = words.say(run.model, blended, text)
    else:
        numbers = run.model.check_seeds(None, num, seed)
        blended = run.model.latents(numbers, {**given, words.TEXT: text}, truncation=truncation)
    # Without the prompts: they stand in what the record says is given, which is signed only if that is asked for.
    asked = {"pictures": [Path(one).name for one, its in zip(each, pictures) if its],
             "weights": [float(share) for share in shares], "draw": seed}
    return _written(run, out, "blend", blended, asked, found, text)


def fill(
    model: Paths | Open, out: Paths, image: Paths, mask: Paths, *, prompt: Text, num: int = 4, seed: int = 0,
    given: Mapping[str, Any] = {},
) -> Done:
    """Write a picture with what a mask marks made anew, as words say: out/000.png, ... and out/sheet.png.

    What is not marked is kept to the bit. The files remember no latent, since none makes them.

    Args:
      model, out, given: as for `vary`.
      image: a picture's file, of the model's size.
      mask: a picture's file of the same size: white, or transparent, is made anew.
      prompt: what the whole picture is to show.
      num, seed: how many, and the seed of the first.

    Raises:
      RunError: as `vary`; or sizes that do not fit.
    """
    run = writing.opened(model, "fill", {**given, words.TEXT: prompt})
    if redrawing.takes(run.model):
        return redrawing.part(run, out, image, mask, prompt=prompt, num=num, seed=seed, given=given)
    picture, change = _masked(run.model, Path(image), Path(mask))
    run.model.check_seeds(None, num, seed)
    fields = run.model.check_given({**given, words.TEXT: prompt}, num)
    made = _completed(run.model, picture, change, fields, range(seed, seed + num))
    facts = {**publishing.training_facts(run.model.data), "model": run.weights, "arguments": {"seed": seed}}
    origin = Origin("fill", facts=facts, parent=Path(image), part=change)
    names = [f"{k:03d}" for k in range(num)]
    paths = [Path(out) / "sheet.png", *(Path(out) / f"{name}.png" for name in names)]
    with writing.explained(out):
        publishing.write_png(paths[0], grids.grid(np.concatenate([picture[None], made])),
                             Origin("fill", facts=facts, others=[Path(image)], composite=True))
        for path, one in zip(paths[1:], made, strict=True):
            publishing.write_png(path, one, origin)
    return Done(paths, list(sources.unread(run.model, {words.TEXT: prompt})), {})


def _named(run: Open, image: str, prompt: Text | None, was: Text | None, given: Mapping[str, Any], truncation: float
           ) -> Found:
    """A picture with its latent and what it shows: as its file remembers, else as is said."""
    shown = was if was is not None else prompt
    said = dict(given) if shown is None else {**given, words.TEXT: shown}
    return sources.find(run, image, given=said, truncation=truncation)


def _written(run: Open, out: Paths, verb: str, latents: Latents, asked: Mapping[str, Any], found: Sequence[Found],
             prompt: Text | None) -> Done:
    told = () if prompt is None else prompts.of(prompt).texts
    images, families = writing.make(run, verb, latents, asked, found, told)
    files_ = writing.write(run, out, images, families, found)
    unread = () if prompt is None else sources.unread(run.model, {words.TEXT: prompt})
    return Done(files_, list(dict.fromkeys([*writing.said(found), *unread])), {})


def _masked(model: Model, image: Path, mask: Path) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 [H,W,C] of the model's size, bool [H,W], true where it is made anew)."""
    height, width, channels = specs.image_shape(model.spec)
    pixels = files.read(image).pixels
    if pixels.shape[:2] != (height, width):
        raise RunError(f"{image} is {pixels.shape[1]}x{pixels.shape[0]}, and this model makes pictures of {width}x"
                       f"{height}; give a picture of that size, so that what is not marked can be kept")
    if pixels.shape[-1] not in (1, 3) or pixels.dtype != np.uint8 or channels == 1 != pixels.shape[-1]:
        raise RunError(f"{image} is no 8-bit picture without transparency, of the model's colors; convert it first")
    change = shared.marked(files.read(mask).pixels)
    if change.shape != (height, width):
        raise RunError(f"the mask {mask} is {change.shape[1]}x{change.shape[0]} and {image} {width}x{height}; they "
                       "must be of one size")
    if not change.any() or change.all():
        every = "every" if change.all() else "no"
        raise RunError(f"the mask {mask} marks {every} pixel; white, or transparent, is made anew, and the "
                       "rest is kept")
    return np.broadcast_to(pixels, (height, width, channels)), change


def _completed(model: Model, picture: np.ndarray, change: np.ndarray, fields: Fields, seeds: Sequence[int]
               ) -> np.ndarray:
    """uint8 [n,H,W,C]: the picture, with what a mask marks made anew under the words of `fields`, once for each seed.

    With an encoder, by a Markov chain that begins with the picture of the seed: what is marked is taken from it, the
    rest from the picture, and this is encoded and decoded again (Rezende et al., arXiv 1401.4082, on missing data).
    Without one, the latent is searched whose picture is like the rest.
    """
    encode, hole = model.sampler.encode, change[..., None]
    if encode is None:
        w = np.concatenate([inversion.invert(
            model.sampler, model.weights, picture[None], rows_of(fields, [row]), model.space(), steps=STEPS,
            seed=seed, seen=~change) for row, seed in enumerate(seeds)])
        return np.where(hole, show(model, moved(w, fields)), picture)
    made = np.where(hole, show(model, model.sampler.draw(model.weights, seeds, fields)), picture)
    for _ in range(ROUNDS):
        w = np.asarray(encode(model.weights, made, fields))
        made = np.where(hole, show(model, moved(w, fields)), picture)
    return made
