"""Pictures redrawn by models that take one up in the middle of their steps, as Stable Diffusion does: whole, or a part;
and pictures made beside others, as FLUX.2 does.
"""
from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imggen_jax import pipelines
from imggen_jax import spec as specs
from imggen_jax.editing import operations, sources, words, writing
from imggen_jax.editing.sources import Open
from imggen_jax.editing.writing import Done
from imggen_jax.errors import RunError
from imggen_jax.model import Model
from imggen_jax.picture_verbs import shared
from imggen_jax.pictures import files, grids
from imggen_jax.prompts import Text
from imggen_jax.provenance import publishing
from imggen_jax.provenance.publishing import Origin

Paths = str | os.PathLike[str]
LEAST = 0.01   # of the strength: one step at least
MOST = 2048    # longest side of a picture of which a part is made anew
AREA = 2**20   # pixels of a reference


def takes(model: Model) -> bool:
    """Whether a model takes up a picture that is given."""
    return {"source", "mask"} <= set(model.generator.accepts)


def refers(model: Model) -> bool:
    """Whether a model takes reference pictures."""
    return pipelines.REFERENCES[0] in model.generator.accepts


def beside(run: Open, out: Paths, images: Sequence[Paths], *, prompt: Text | None, num: int, seed: int,
           given: Mapping[str, Any]) -> Done:
    """Write pictures of a prompt that a model makes beside references, at the size of the first of them.

    References have about a million pixels at most; larger ones are made smaller. Arguments and errors as of
    `revising.vary`; the files remember no latent, since none makes them.
    """
    names = [name for name in pipelines.REFERENCES if name in run.model.generator.accepts]
    if prompt is None:
        raise RunError("this model makes a picture beside others under a prompt; add --prompt \"what it shows\"")
    if len(images) > len(names):
        raise RunError(f"{len(images)} reference pictures are given; at most {len(names)} are taken")
    pictures = [_within(_opened(Path(one)), AREA) for one in images]
    factor = pipelines.recipe_of(run.model).factor
    for path, picture in zip(images, pictures):
        if min(picture.shape[:2]) < factor:
            raise RunError(f"{path} is {picture.shape[1]}x{picture.shape[0]}; references have at least {factor} pixels "
                           "a side")
    height, width = (side - side % factor for side in pictures[0].shape[:2])
    fields = {**given, words.TEXT: prompt, **dict(zip(names, pictures))}
    made = pipelines.resized(run.model, height, width).sample(given=fields, num=num, seed=seed)
    top, left = ((whole - side) // 2 for whole, side in zip(pictures[0].shape[:2], (height, width)))
    shown = pictures[0][top:top + height, left:left + width]
    origin = Origin("vary", facts=_facts(run, {"seed": seed, "references": [Path(one).name for one in images]}),
                    parent=Path(images[0]), others=[Path(one) for one in images[1:]])
    return _written(run, out, shown, made, Path(images[0]), origin, prompt)


def _within(picture: np.ndarray, area: int) -> np.ndarray:
    """A picture of at most so many pixels, in its own proportions."""
    scale = math.sqrt(area / math.prod(picture.shape[:2]))
    if scale >= 1:
        return picture
    height, width = (max(1, int(scale * side)) for side in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def whole(run: Open, out: Paths, image: Paths, *, prompt: Text | None, strength: float | str, num: int,
          seed: int, given: Mapping[str, Any]) -> Done:
    """Write a picture redrawn under a prompt, at about the size that the model is made for, in its own proportions.

    Arguments and errors as of `revising.vary`; the files remember no latent, since none makes them.
    """
    if prompt is None:
        raise RunError("this model redraws a picture under a prompt; add --prompt \"what it shows\"")
    share, picture = operations.strength_of(strength), _opened(Path(image))
    scale = math.sqrt(math.prod(specs.image_shape(run.model.spec)[:2]) / math.prod(picture.shape[:2]))
    model = pipelines.resized(run.model, *(round(scale * side) for side in picture.shape[:2]))
    height, width, _ = (int(side or 0) for side in model.spec["image"].shape)
    source = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))
    made = _made(model, num, seed, {**given, words.TEXT: prompt, "source": source}, max(share, LEAST))
    origin = Origin("vary", facts=_facts(run, {"seed": seed, "strength": share}), parent=Path(image))
    return _written(run, out, source, made, Path(image), origin, prompt)


def part(run: Open, out: Paths, image: Paths, mask: Paths, *, prompt: Text, num: int, seed: int,
         given: Mapping[str, Any]) -> Done:
    """Write a picture with what a mask marks made anew; the rest is kept to the bit.

    Arguments and errors as of `revising.fill`; the picture may have any size up to 2,048 pixels a side.
    """
    picture, change = _opened(Path(image)), shared.marked(files.read(Path(mask)).pixels)
    height, width = picture.shape[:2]
    if change.shape != (height, width):
        raise RunError(f"the mask {mask} is {change.shape[1]}x{change.shape[0]} and {image} {width}x{height}; they "
                       "must be of one size")
    if not change.any():
        raise RunError(f"the mask {mask} marks no pixel; white, or transparent, is made anew, and the rest is kept")
    if max(height, width) > MOST:
        raise RunError(f"{image} is {width}x{height}; give a picture of at most {MOST} pixels a side, or a part of it")
    factor = pipelines.recipe_of(run.model).factor
    beyond = [(0, -side % factor) for side in (height, width)]  # sides that the model can make
    source, marked = np.pad(picture, [*beyond, (0, 0)], mode="edge"), np.pad(change, beyond)
    model = pipelines.resized(run.model, *source.shape[:2])
    fields = {**given, words.TEXT: prompt, "source": source, "mask": np.uint8(255) * marked[..., None]}
    made = _made(model, num, seed, fields, 1.0)[:, :height, :width]
    made = np.where(change[..., None], made, picture)
    origin = Origin("fill", facts=_facts(run, {"seed": seed}), parent=Path(image), part=change)
    return _written(run, out, picture, made, Path(image), origin, prompt)


def _opened(path: Path) -> np.ndarray:
    """uint8 [H,W,3]; what is transparent lies on white."""
    pixels = files.read(path).pixels
    pixels = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    color = pixels[..., :3] if pixels.shape[-1] >= 3 else np.repeat(pixels[..., :1], 3, axis=-1)
    if pixels.shape[-1] in (2, 4):
        share = pixels[..., -1:] / np.float32(255)
        color = np.rint(color * share + 255 * (1 - share)).astype(np.uint8)
    return np.ascontiguousarray(color)


def _made(model: Model, num: int, seed: int, given: Mapping[str, Any], strength: float) -> np.ndarray:
    return model.sample(given=given, num=num, seed=seed, strength=strength)


def _facts(run: Open, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {**publishing.training_facts(run.model.data), "model": run.weights, "arguments": dict(arguments)}


def _written(run: Open, out: Paths, before: np.ndarray, made: np.ndarray, image: Path, origin: Origin,
             prompt: Text) -> Done:
    paths = [Path(out) / "sheet.png", *(Path(out) / f"{k:03d}.png" for k in range(len(made)))]
    with writing.explained(out):
        Path(out).mkdir(parents=True, exist_ok=True)
        publishing.write_png(paths[0], grids.grid(np.concatenate([before[None], made])),
                             Origin(origin.verb, facts=origin.facts, others=[image], composite=True))
        for path, one in zip(paths[1:], made, strict=True):
            publishing.write_png(path, one, origin)
    return Done(paths, list(sources.unread(run.model, {words.TEXT: prompt})), {})
