"""Where a picture came from, written into its PNG file: enough to make it again, and to draw its family tree.

A text chunk named "imggen_jax" holds JSON: the record of the picture and those of its ancestors, each named by a hash
of its content. A latent is stored as its float32 bytes. All of it is data from a file that anybody may have edited: it
is checked field by field, never executed, and no path is ever taken from it.
"""
from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

from imggen_jax import prompts
from imggen_jax.errors import RunError
from imggen_jax.prompts import Mixture, Text
from imggen_jax.spec import Spec

KEY = "imggen_jax"
FORMAT = 2
MOST_ANCESTORS = 1000    # the nearest are kept
MOST_BYTES = 1_000_000   # of a chunk's text, without the picture's own latent
MOST_PLACE = 1 << 16
# A sheet names all its pictures, or it could not be made again. Nothing descends from it, so its size is paid once.
MOST_ON_SHEET = 10_000
MOST_SHEET_BYTES = 8_000_000
MOST_LATENT = 1 << 20    # numbers in a latent; FLUX.2 klein has half as many as pixels
MOST_TEXTS = 4 * prompts.MOST_PARTS  # that condition one picture together, as on the way from one prompt to another
SHEET = "sheet"          # the verb of a picture whose parents are laid out on it in their order
TEXT = 200               # characters of any text that is kept or shown
SAID = prompts.LONGEST   # characters of a text that a picture is conditioned on, which is kept whole


class Record(NamedTuple):
    """The record of one picture; every field is checked when it is read."""

    verb: str                  # that made it
    run: str                   # the name of the run's folder, for display, never opened
    weights: str               # sha256 of the weights, hex
    latent: bytes              # float32, little-endian; b"" for a picture that `generate` made from its seed
    # What it is conditioned on: a label as [index, name], a text as it was given, several as [text, share, text, ...].
    given: Mapping[str, Any]
    place: int                 # in the batch of the program that made it
    arguments: Mapping[str, Any]   # what was asked for: flat, of numbers, texts and lists of them
    parents: tuple[str, ...]   # names of records among the ancestors

    @property
    def name(self) -> str:
        """A hash of all fields, 16 hex digits."""
        return hashlib.sha256(json.dumps(_plain(self), sort_keys=True).encode()).hexdigest()[:16]

    def vector(self) -> np.ndarray:
        """The latent: float32 [D]."""
        return np.frombuffer(self.latent, "<f4").astype(np.float32)


def given_of(spec: Spec, fields: Mapping[str, np.ndarray], texts: Mapping[str, Text] | None = None) -> dict[str, Any]:
    """What an image is conditioned on, as its record keeps it: labels as [index, name], texts as they were given.

    Args:
      spec: of the model.
      fields: of the image, as its sampler takes them, without the batch axis.
      texts: field -> the text or texts that were given; one that is too long is not kept.
    """
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        if name in spec and spec[name].classes:
            kept[name] = [int(value), spec[name].names[int(value)]]
        elif texts and name in texts and len("".join(prompts.of(texts[name]).texts)) <= SAID:
            kept[name] = _kept(texts[name])
    return kept


def _kept(text: Text) -> str | list[str | float]:
    return text if isinstance(text, str) else [each for part in zip(*text) for each in part]


def text_of(value: Any) -> Text | None:
    """The text or texts that a record keeps as a value of `given`; None for what is none."""
    if isinstance(value, str):
        return value
    if not (isinstance(value, list) and value and len(value) % 2 == 0):
        return None
    texts, shares = tuple(value[::2]), tuple(value[1::2])
    fits = all(isinstance(each, str) for each in texts) and all(
        isinstance(share, int | float) and not isinstance(share, bool) and abs(share) <= prompts.FARTHEST
        for share in shares)
    return Mixture(texts, shares) if fits and len(texts) <= MOST_TEXTS else None


class Family(NamedTuple):
    """A picture's record, and those of its ancestors."""

    record: Record
    ancestors: Mapping[str, Record]   # name -> record


def encode_latent(vector: np.ndarray) -> bytes:
    """float [D] as a record keeps it. Raises RunError as `check_latent`."""
    check_latent(len(vector))
    return np.asarray(vector, "<f4").tobytes()


def check_latent(size: int) -> None:
    """Raises RunError for a latent of more numbers than a record keeps."""
    if size > MOST_LATENT:
        raise RunError(f"a picture of this size has a latent of {size:,} numbers, and a file keeps at most "
                       f"{MOST_LATENT:,}; choose a smaller size")


def family(record: Record, parents: Sequence[Family]) -> Family:
    """The family of a new picture; of very many ancestors the nearest stay."""
    most = max(MOST_ANCESTORS, len(parents)) if record.verb == SHEET else MOST_ANCESTORS
    kept: dict[str, Record] = {}
    known = {name: one for parent in parents for name, one in parent.ancestors.items()}
    known |= {parent.record.name: parent.record for parent in parents}
    generation = list(dict.fromkeys(parent.record.name for parent in parents))
    while generation and len(kept) < most:
        generation = [name for name in generation if name in known and name not in kept][:most - len(kept)]
        kept |= {name: known[name] for name in generation}
        generation = list(dict.fromkeys(parent for name in generation for parent in known[name].parents))
    return Family(record, kept)


def dumps(one: Family) -> str:
    """The JSON text of the chunk; what would make it too long to be read again is left out, the farthest first."""
    picture, ancestors = _plain(one.record), {name: _plain(record) for name, record in one.ancestors.items()}
    limit = MOST_SHEET_BYTES if one.record.verb == SHEET else MOST_BYTES + len(picture["latent"])
    while True:
        text = json.dumps({"format": FORMAT, "picture": picture, "ancestors": ancestors})
        if len(text) <= limit or not ancestors:
            return text
        ancestors = dict(list(ancestors.items())[:len(ancestors) // 2])


def _plain(record: Record) -> dict:
    return {**record._asdict(), "latent": base64.b64encode(record.latent).decode(),
            "given": dict(record.given), "arguments": dict(record.arguments), "parents": list(record.parents)}


def sheet(families: Sequence[Family], columns: int | None = None) -> Family:
    """The family of a grid of pictures: its parents are the pictures on it, in their order.

    Args:
      families: of the pictures. With more than MOST_ON_SHEET, the sheet names none of them and cannot be made again.
      columns: of the grid, as passed to `grids.grid`.
    """
    one = families[0].record
    if len(families) > MOST_ON_SHEET:
        families = ()
    return family(Record(SHEET, one.run, one.weights, b"", {}, 0, {"columns": columns},
                         tuple(each.record.name for each in families)), families)


def png_info(one: Family) -> PngImagePlugin.PngInfo:
    """The chunk, for `pictures.write_png`."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt(KEY, dumps(one))
    return info


def read(path: str | Path) -> Family | None:
    """Read the family from a picture's file; None where there is none.

    Raises:
      RunError: it is no picture, or its metadata is damaged.
    """
    try:
        with Image.open(path) as picture:
            picture.load()  # a chunk may stand after the pixels
            text = getattr(picture, "text", {}).get(KEY)
    except FileNotFoundError:
        raise RunError(f"picture {path} is not there") from None
    except Exception as error:  # for broken files Pillow raises OSError, SyntaxError, ValueError and others
        raise RunError(f"{path} is not a picture that can be read ({type(error).__name__})") from error
    if text is None:
        return None
    return loads(str(text), str(path))


def loads(text: str, title: str) -> Family:
    """The family in a chunk's text; `title` names the picture in errors.

    Raises:
      RunError: it is not as `dumps` writes it.
    """
    try:
        if len(text) > MOST_SHEET_BYTES:
            raise ValueError("too long")
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError("another format")
        sheet = content["picture"]["verb"] == SHEET
        if len(text) - len(content["picture"]["latent"]) > MOST_BYTES and not sheet:
            raise ValueError("too long")
        most = MOST_ON_SHEET if sheet else MOST_ANCESTORS
        record = _record(content["picture"], most)
        ancestors = {_text(name): _record(each) for name, each in _bounded(content["ancestors"], most).items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise RunError(f"the metadata of {title} is damaged or of another version of imggen_jax "
                       f"({type(error).__name__}: {str(error)[:80]}); to use its pixels alone, project it") from error
    # An ancestor whose content does not match its name was edited.
    return Family(record, {name: each for name, each in ancestors.items() if each.name == name})


def _bounded(ancestors: Any, most: int) -> dict:
    if not isinstance(ancestors, dict) or len(ancestors) > most:
        raise ValueError("ancestors are not a mapping, or too many")
    return ancestors


def _record(content: Any, most_parents: int = MOST_ANCESTORS) -> Record:
    if not isinstance(content, dict) or set(content) != set(Record._fields):
        raise ValueError("a record has other fields than those of this version")
    latent = base64.b64decode(_text(content["latent"], MOST_LATENT * 8), validate=True)
    if len(latent) % 4 or len(latent) // 4 > MOST_LATENT or not np.isfinite(np.frombuffer(latent, "<f4")).all():
        raise ValueError("a latent is not an array of finite numbers")
    place, parents = content["place"], content["parents"]
    if not _integer(place, MOST_PLACE):
        raise ValueError("a place is not a number in its range")
    if not isinstance(parents, list) or len(parents) > most_parents:
        raise ValueError("parents are not a short list")
    given, arguments = content["given"], content["arguments"]
    if not all(isinstance(each, dict) and len(each) <= 32 for each in (given, arguments)):
        raise ValueError("what it is given or its arguments are not a short mapping")
    return Record(
        verb=_text(content["verb"], 40), run=_text(content["run"]), weights=_text(content["weights"], 64),
        latent=latent, place=place,
        given={_text(key, 40): _value(value, SAID) for key, value in given.items()},
        arguments={_text(key, 40): _value(value) for key, value in arguments.items()},
        parents=tuple(_text(parent, 16) for parent in parents))


def _text(value: Any, most: int = TEXT) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError("something is not a short text")
    return value


def _integer(value: Any, below: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < below


def _value(value: Any, most: int = TEXT, deep: bool = False) -> Any:
    if isinstance(value, str):
        return _text(value, most)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and math.isfinite(value) and abs(value) < 2**63:
        return value
    if isinstance(value, list) and not deep and len(value) <= 64:
        return [_value(each, most, True) for each in value]
    raise ValueError("an argument is neither number, text nor a short list of them")
