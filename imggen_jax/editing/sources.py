"""Pictures as a user names them, by seed or by file, as latents of a model with their families."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from imggen_jax import prompts, texts
from imggen_jax import spec as specs
from imggen_jax.data import folders
from imggen_jax.data.text import tokenizer_of
from imggen_jax.editing.genes import fingerprint
from imggen_jax.editing.operations import parts_of
from imggen_jax.editing.projection import Projection, project
from imggen_jax.editing.space import check, join, rows_of, seeds, show
from imggen_jax.errors import DataError, RunError
from imggen_jax.game import SHARES
from imggen_jax.model import Model
from imggen_jax.prompts import Mixture, Text
from imggen_jax.provenance import private, publishing, records
from imggen_jax.provenance.records import Family, Record
from imggen_jax.sampling import Fields, Latents

MOST_PSNR = 100.0  # dB, as which the PSNR of equal images is recorded
CLOSE = 1.5  # gray levels, the mean difference up to which a picture is what its metadata says: another machine's bits


class Open(NamedTuple):
    """A loaded run, and what pictures made with it say of it."""

    model: Model
    run: str      # name of its folder
    weights: str  # sha256


class Found(NamedTuple):
    """One image that was named."""

    latents: Latents           # of one
    family: Family
    said: tuple[str, ...]      # what was done to it, for the user to know
    projection: Projection | None = None
    image: np.ndarray | None = None  # uint8 [S,S,C], what was projected
    file: Path | None = None         # that it was read from


def open_run(workdir: str | Path, model: Model) -> Open:
    """A run to edit with, and what images made with it say of it.

    Raises:
      RunError: it is a classifier.
    """
    _ = model.generator
    return Open(model, Path(workdir).resolve().name, fingerprint(model))


def find(run: Open, name: str, *, given: Mapping | None, truncation: float) -> Found:
    """An image by its name: digits are a seed, all else a file. An image made with this run keeps its very latent.

    Raises:
      RunError: no such seed or file, or an image that another run, or this one with other weights, has made.
    """
    if name.strip().lstrip("-").isdecimal():
        return by_seed(run, int(name), given=given, truncation=truncation)
    path = Path(name)
    family = publishing.read(path)
    if family is None:
        return by_pixels(run, path, given=given)
    latents = latents_of(run, family, name)
    pixels = stored(path)
    made = show(run.model, latents, **options_of(run.model, family.record))[0]
    looks = publishing.looks(made, family) if pixels.shape[:2] == made.shape[:2] else []
    if any(np.mean(np.abs(color(pixels) - color(look))) <= CLOSE for look in looks):
        return Found(latents, family, (), file=path)
    found = by_pixels(run, path, given=given or given_of(run.model, family.record, name))
    return found._replace(said=(f"{name} was changed since this run made it: its pixels are projected", *found.said))


def by_seed(run: Open, seed: int, *, given: Mapping | None, truncation: float) -> Found:
    """The image of a seed, as `generate` makes it."""
    latents = seeds(run.model, [seed], given=given, truncation=truncation)
    record = Record("seed", run.run, run.weights, records.encode_latent(latents.w[0]),
                    records.given_of(run.model.spec, rows_of(latents.given, 0), texts_of(given)),
                    int(latents.places[0]),
                    {"seed": seed, "truncation": truncation}, ())
    return Found(latents, Family(record, {}), unread(run.model, given))


def by_pixels(run: Open, path: Path, *, given: Mapping | None, steps: int | None = None) -> Found:
    """A user's own image, projected."""
    image, said = open_picture(run.model, path)
    if missing := [name for name in run.model.generator.needs if name not in (given or {})]:
        flag = "prompt" if missing[0] == "text" else missing[0]
        raise RunError(f"this model is conditioned on a {missing[0]}: say with --{flag} what {path} shows")
    records.check_latent(run.model.latent_size)  # before what takes long
    projection = project(run.model, image[None], given=given, steps=steps)
    # Infinity, of equal images, has no place in JSON.
    figures = {"psnr": round(min(float(projection.psnr[0]), MOST_PSNR), 2),
               "distance": round(float(projection.distance[0]), 3)}
    record = Record("project", run.run, run.weights, records.encode_latent(projection.latents.w[0]),
                    records.given_of(run.model.spec, rows_of(projection.latents.given, 0), texts_of(given)), 0,
                    {"file": path.name[:records.TEXT], **figures}, ())
    said = (*said, *unread(run.model, given))
    return Found(projection.latents, Family(record, {}), said, projection, image, path)


def given_of(model: Model, record: Record, title: str) -> dict:
    """What a record's image is conditioned on, as `Model.sample` takes it.

    Raises:
      RunError: a label that the model has not, or whose index and name do not go together.
    """
    given = {}
    for name, value in record.given.items():
        if private.is_hidden(value):
            raise RunError(f"the {name} that {title} was made from is kept in {private.FILE} beside where it was made; "
                           "put that file beside it, or project it to use its pixels alone")
        field, text = model.spec.get(model.generator.accepts.get(name, name)), records.text_of(value)
        if text is not None and field is not None and not field.classes:
            given[name] = text
            continue
        if not (isinstance(value, list) and len(value) == 2 and name in model.spec):
            raise RunError(f"the metadata of {title} is damaged ({name}); to use its pixels alone, project it")
        index = model.label_index(value[0], name)
        if model.spec[name].names[index] != value[1]:
            raise RunError(f"the metadata of {title} does not fit this run: its {name} {index} is {value[1]!r}, the "
                           f"model's is {model.spec[name].names[index]!r}; to use its pixels alone, project it")
        given[name] = index
    return given


def texts_of(given: Mapping | None) -> dict[str, Text]:
    """What of a condition of one image was given as text."""
    return {name: value for name, value in (given or {}).items() if isinstance(value, str | Mixture)}


def text_of(found: Found, title: str) -> Text:
    """What a picture shows, as its record remembers it. Raises RunError where it does not."""
    text = records.text_of(found.family.record.given.get("text"))
    if text is None:
        raise RunError(f"nothing is known of what {title} was told to show; say it with --was")
    return text


def unread(model: Model, given: Mapping | None) -> tuple[str, ...]:
    """What the model cannot read of the texts of a condition, as notes."""
    said = texts_of(given)
    fields = {name: model.spec.get(model.generator.accepts.get(name, name)) for name in said}
    return tuple(note for name, text in said.items() if (field := fields[name]) is not None and field.shape
                 for note in texts.notes(text, field, "the prompt" if name == "text" else f"the {name} prompt"))


def options_of(model: Model, record: Record) -> dict[str, float]:
    """The options of the generator with which a record's image was made."""
    return {name: value for name, value in record.arguments.items() if name in model.generator.options}


def latents_of(run: Open, family: Family, title: str) -> Latents:
    """The latent that an image's record holds, if it belongs to this run as it is now.

    Raises:
      RunError: another run's, other weights', a sheet's, or a latent that is none of this model's.
    """
    record = family.record
    if record.weights != run.weights:
        if record.run == run.run:
            raise RunError(f"{title} was made with other weights than {run.run} has now (it was trained further, or "
                           "anew); project it to use its pixels with these")
        raise RunError(f"{title} was made with the run {record.run!r}, not with {run.run!r}; project it first, then "
                       "use the projection")
    if record.verb == records.SHEET:
        raise RunError(f"{title} is a sheet of several images; give one of them")
    given = given_of(run.model, record, title)
    if record.verb == "generate":
        try:
            return seeds(run.model, [record.arguments["seed"]], given=given, truncation=record.arguments["truncation"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"the metadata of {title} is damaged ({error}); to use its pixels alone, project it"
                           ) from error
    try:
        fields = run.model.check_given(given, 1)
        return check(run.model, Latents(record.vector()[None], fields, np.array([record.place])))
    except RunError as error:
        raise RunError(f"the metadata of {title} does not fit this run ({error}); to use its pixels alone, project it"
                       ) from error


def open_picture(model: Model, path: str | Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """A picture's file as a model sees it: decoded as those that it was trained on, with their fit and background.

    Args:
      model: a loaded model of square pictures.
      path: of the file.

    Returns:
      (uint8 [S,S,C], such as `project` and `Model.encode` take in a batch; lines on what was converted).

    Raises:
      RunError: no such file, or no picture.
    """
    size, channels = specs.square(model.spec)
    try:
        opened = folders.open_picture(path, size=size, channels=channels,
                                      **folders.picture_options(model.data.get("card")))
    except DataError as error:
        raise RunError(str(error)) from error
    file, mode = opened.facts, "L" if channels == 1 else "RGB"
    # A gray picture is stored with one channel; that is no other kind of picture.
    converted = (file.width, file.height) != (size, size) or file.mode not in (mode, "L")
    before = f"{path} is {file.width}x{file.height} {file.mode}; it was converted to {size}x{size} {mode}"
    return opened.image, (*([before] if converted else []), *file.notes)


def many(run: Open, names: Sequence[str], *, given: Mapping | Sequence[Mapping] | None, truncation: float
         ) -> tuple[Latents, list[Found]]:
    """Several images by their names, conditioned on the same or, with a list, each on its own."""
    each = given if isinstance(given, Sequence) else [given] * len(names)
    found = [find(run, name, given=its, truncation=truncation) for name, its in zip(names, each, strict=True)]
    return join(alike(run.model, [one.latents for one in found])), found


def alike(model: Model, each: Sequence[Latents]) -> list[Latents]:
    """Latents with as many texts for each image, where some are conditioned on several."""
    given = [dict(one.given) for one in each]
    for name in model.generator.mixes:
        most = max(one[name].shape[1] if one[name].ndim == 3 else 1 for one in given)
        for its in given if any(one[name].ndim == 3 for one in given) else ():
            tokens, shares = parts_of(its, name)
            fill = most - tokens.shape[1]
            its |= {name: np.pad(tokens, ((0, 0), (0, fill), (0, 0))),
                    f"{name}{SHARES}": np.pad(shares, ((0, 0), (0, fill)))}
    return [one._replace(given=its) for one, its in zip(each, given)]


def said_of(model: Model, fields: Fields, found: Sequence[Found], more: Sequence[str] = ()) -> dict[str, Text]:
    """What one image is conditioned on as text, from its tokens and the texts that they can be of.

    Args:
      model: a loaded model.
      fields: of the image, as the sampler takes them, without the batch axis.
      found: the images that it was made from.
      more: other texts that it may be conditioned on.
    """
    known = {"", *more}
    for one in found:
        for value in one.family.record.given.values():
            if (text := records.text_of(value)) is not None:
                known.update(prompts.of(text).texts)
    said: dict[str, Text] = {}
    for name, value in fields.items():
        field = model.spec.get(model.generator.accepts.get(name, name))
        if field is None or field.classes or field.is_image:
            continue
        encoded = tokenizer_of(field).encode(sorted(known), *field.shape)[0]
        tokens = {row.tobytes(): text for text, row in zip(sorted(known), encoded)}
        rows, shares = [row.tobytes() for row in np.atleast_2d(value)], fields.get(f"{name}{SHARES}")
        if all(row in tokens for row in rows):
            each = tuple(tokens[row] for row in rows)
            said[name] = each[0] if shares is None else Mixture(each, tuple(map(float, shares)))
    return said


def stored(path: Path) -> np.ndarray:
    """The pixels of a picture's file, uint8 [H,W] or [H,W,3]."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB") if picture.mode not in ("L", "RGB") else picture)


def color(image: np.ndarray) -> np.ndarray:
    """[H,W], [H,W,1] or [H,W,3] -> float32 [H,W,3]."""
    image = image[..., None] if image.ndim == 2 else image
    return np.broadcast_to(image, (*image.shape[:2], 3)).astype(np.float32)
