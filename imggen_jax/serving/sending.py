"""Pictures as files of the format that is asked for: as those of every verb, with record, credentials and watermark."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imggen_jax.pictures.files import Picture
from imggen_jax.provenance import publishing
from imggen_jax.provenance.publishing import Origin
from imggen_jax.serving import openai
from imggen_jax.serving.uploads import Upload


class Made(NamedTuple):
    """Pictures of a request."""

    files: list[bytes]
    seeds: list[int]         # of each; [] where no seed makes them
    size: tuple[int, int]    # width, height


def new(path: Path, image: np.ndarray, origin: Origin, asked: openai.Output) -> bytes:
    """The file of a picture that a model made, uint8 [H,W,C]. path: without ending, in a folder of the request."""
    if asked.format == "png":
        publishing.write_png(path.with_suffix(".png"), image, origin)
        return path.with_suffix(".png").read_bytes()
    return changed(path, Picture(image), origin, asked)


def changed(path: Path, picture: Picture, origin: Origin, asked: openai.Output) -> bytes:
    """The file of any picture. path: as for `new`."""
    path = path.with_suffix(f".{asked.format}")
    publishing.write(path, picture, origin, quality=None if asked.format == "png" else asked.output_compression)
    return path.read_bytes()


def changed_one(place: Path, image: Upload, made: Picture, verb: str, facts: Mapping[str, Any],
                part: np.ndarray | None, others: Sequence[Path], asked: openai.Output) -> Made:
    """What a verb made of a picture.

    Args:
      place: a folder that lasts for the request.
      image: what was sent.
      made: what became of it.
      verb, facts, part, others: as for `publishing.Origin`.
      asked: how it is sent.
    """
    origin = Origin(verb, facts=facts, parent=image.put(place, "image"), others=others, part=part)
    height, width = made.pixels.shape[:2]
    return Made([changed(place / "made", made, origin, asked)], [], (width, height))
