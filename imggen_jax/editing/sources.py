"""Pictures as a user names them, by seed or by file, as latents of a model with their families."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from imggen_jax.api import Model
from imggen_jax.data.resize import as_array, square
from imggen_jax.editing.genes import fingerprint
from imggen_jax.editing.projection import Projection, project
from imggen_jax.editing.space import Points, check, seeds, show_at
from imggen_jax.errors import RunError
from imggen_jax.provenance import records
from imggen_jax.provenance.records import Family, Record

_EIGHT_BIT = {"1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"}
CLOSE = 1.5  # grey levels, the mean difference up to which a picture is what its metadata says: another machine's bits


class Open(NamedTuple):
    """A loaded run, and what pictures made with it say of it."""

    model: Model
    run: str      # name of its folder
    weights: str  # sha256


class Found(NamedTuple):
    """One picture that was named."""

    points: Points             # of one
    family: Family
    said: tuple[str, ...]      # what was done to it, for the user to know
    projection: Projection | None = None
    image: np.ndarray | None = None  # uint8 [S,S,C], what was projected


def open_run(workdir: str | Path, model: Model) -> Open:
    """A run to edit with, and what pictures say of it.

    Raises:
      RunError: it makes no pictures.
    """
    if model.game.generator is None:
        raise RunError(f"{workdir} is a run that makes no pictures; load one that does")
    return Open(model, Path(workdir).resolve().name, fingerprint(model))


def find(run: Open, name: str, *, label: int | str | None, truncation: float) -> Found:
    """A picture by its name: digits are a seed, all else a file. A picture made with this run keeps its very latent.

    Raises:
      RunError: no such seed or file, or a picture that another run, or this one with other weights, has made.
    """
    if name.strip().lstrip("-").isdecimal():
        return by_seed(run, int(name), label=label, truncation=truncation)
    path = Path(name)
    family = records.read(path)
    if family is None:
        return by_pixels(run, path, label=label)
    points = points_of(run, family, name)
    pixels, record = stored(path), family.record
    made = show_at(run.model, points, [record.place])[0]
    if pixels.shape[:2] == made.shape[:2] and np.mean(np.abs(colour(pixels) - colour(made))) <= CLOSE:
        return Found(points, family, ())
    found = by_pixels(run, path, label=label if label is not None else record.label)
    return found._replace(said=(f"{name} was changed since this run made it: its pixels are projected", *found.said))


def by_seed(run: Open, seed: int, *, label: int | str | None, truncation: float) -> Found:
    """The picture of a seed, as `generate` makes it."""
    points = seeds(run.model, [seed], label=label, truncation=truncation)
    record = Record("seed", run.run, run.weights, records.encode_latent(points.w[0]), _label(points, 0), 0,
                    {"seed": seed, "truncation": truncation}, ())
    return Found(points, Family(record, {}), ())


def by_pixels(run: Open, path: Path, *, label: int | str | None, steps: int | None = None) -> Found:
    """A user's own picture, projected."""
    image, said = read_picture(path, run.model)
    if run.model.spec.classes and label is None:
        raise RunError(f"this model is class-conditional: say with --label what {path} shows")
    labels = None if label is None else [label]
    projection = project(run.model, image[None], labels=labels, steps=steps)
    figures = {"psnr": round(float(projection.psnr[0]), 2), "distance": round(float(projection.distance[0]), 3)}
    record = Record("project", run.run, run.weights, records.encode_latent(projection.points.w[0]),
                    _label(projection.points, 0), 0, {"file": path.name[:records.TEXT], **figures}, ())
    return Found(projection.points, Family(record, {}), said, projection, image)


def points_of(run: Open, family: Family, title: str) -> Points:
    """The latent that a picture's record holds, if it belongs to this run as it is now.

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
        raise RunError(f"{title} is a sheet of several pictures; give one of them")
    if record.verb == "generate":
        try:
            seed, cut = record.arguments["seed"], record.arguments["truncation"]
            if not isinstance(seed, int) or isinstance(seed, bool):
                raise TypeError("seed is no whole number")
            return seeds(run.model, [seed], label=record.label, truncation=cut)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"the metadata of {title} is damaged ({error}); to use its pixels alone, project it"
                           ) from error
    try:
        labels = None if record.label is None else np.array([record.label])
        return check(run.model, Points(record.vector()[None], labels))
    except RunError as error:
        raise RunError(f"the metadata of {title} does not fit this run ({error}); to use its pixels alone, project it"
                       ) from error


def read_picture(path: Path, model: Model) -> tuple[np.ndarray, tuple[str, ...]]:
    """(uint8 [S,S,C] as the model takes it, what had to be done for that): converted, cropped to its centre, resized.

    Raises:
      RunError: no such file, or no 8-bit picture.
    """
    try:
        with Image.open(path) as opened:
            opened.load()
            picture = ImageOps.exif_transpose(opened)
    except FileNotFoundError:
        raise RunError(f"picture {path} is not there") from None
    except Exception as error:  # for broken files Pillow raises OSError, SyntaxError, ValueError and others
        raise RunError(f"{path} is not a picture that can be read ({type(error).__name__})") from error
    if picture.mode not in _EIGHT_BIT:
        raise RunError(f"{path} has pixels of mode {picture.mode}; save it as an 8-bit picture")
    size, mode = model.spec.size, "L" if model.spec.channels == 1 else "RGB"
    before = f"{picture.width}x{picture.height} {picture.mode}"
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    # A grey picture is stored with one channel; that is no other kind of picture.
    converted = picture.size != (size, size) or (picture.mode != mode and not (picture.mode == "L" and mode == "RGB"))
    image = as_array(square(picture.convert(mode), size))
    return image, (f"{path} is {before}; it was converted to {size}x{size} {mode}",) if converted else ()


def many(run: Open, names: Sequence[str], *, label: int | str | None, truncation: float) -> tuple[Points, list[Found]]:
    """Several pictures by their names."""
    found = [find(run, name, label=label, truncation=truncation) for name in names]
    labels = None if found[0].points.labels is None else np.concatenate([one.points.labels for one in found])
    return Points(np.concatenate([one.points.w for one in found]), labels), found


def _label(points: Points, row: int) -> int | None:
    return None if points.labels is None else int(points.labels[row])


def stored(path: Path) -> np.ndarray:
    """The pixels of a picture's file, uint8 [H,W] or [H,W,3]."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB") if picture.mode not in ("L", "RGB") else picture)


def colour(image: np.ndarray) -> np.ndarray:
    """[H,W], [H,W,1] or [H,W,3] -> float32 [H,W,3]."""
    image = image[..., None] if image.ndim == 2 else image
    return np.broadcast_to(image, (*image.shape[:2], 3)).astype(np.float32)
