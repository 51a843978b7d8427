"""How a picture leaves: marked, with its record, signed. Every verb writes its pictures through here.

What is signed, marked and with which key is a setting of the caller's context, as JAX's are:

    with publishing.using(publishing.Settings(watermark=False)):
        imggen_jax.generate(...)
"""
from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple, cast

import c2pa
import numpy as np
from PIL import Image

from imggen_jax.errors import RunError, brief
from imggen_jax.pictures import files, grids
from imggen_jax.pictures.files import Picture
from imggen_jax.provenance import credentials, fingerprints, private, records, watermark
from imggen_jax.provenance.credentials import Statement
from imggen_jax.provenance.overview import Overview
from imggen_jax.provenance.records import Family
from imggen_jax.provenance.settings import Settings, identity, note, settings
from imggen_jax.provenance.settings import using as using
from imggen_jax.storage.files import write_atomic

LEAST_PART = 0.1     # share of a picture below which the part that was made is too small to carry a mark
_LOSSY = ("JPEG", "AVIF")
_MEMORY = 2**25      # bytes of a picture from which it is put aside on the disk while it is marked and signed
_ROWS = 256          # that are marked at once
_SIGNED = 2**28      # most bytes of a file that is signed: signing takes about twice as many of memory


class Origin(NamedTuple):
    """How a picture came to be."""

    verb: str
    family: Family | None = None         # its record, and its ancestors'
    facts: Mapping[str, Any] = {}        # JSON, signed besides
    parent: Path | None = None           # the picture that it was made from by changing it
    others: Sequence[Path] = ()          # other pictures that it was made from
    composite: bool = False              # other pictures can be seen in it
    part: np.ndarray | None = None       # bool [H,W], true where it was made; None: all of it


def payload(origin: Origin) -> int:
    """The 32 bits of a picture's watermark: 16 of a hash of the model's weights, 16 of its record's name.

    Without a record, the latter are of a hash of the facts; without a model, the former are 0.

    They follow from the record, so that the same picture made again is the same file of pixels.
    """
    if origin.family is not None:
        record = origin.family.record
        return _short(record.weights) << 16 | int(record.name[:4], 16)
    said = _short(json.dumps([origin.verb, dict(origin.facts)], sort_keys=True, default=str))
    return _short(model) << 16 | said if isinstance(model := origin.facts.get("model"), str) else said


def _short(said: str) -> int:
    return int(hashlib.sha256(said.encode()).hexdigest()[:4], 16)


def marked(pixels: np.ndarray, origin: Origin) -> np.ndarray | None:
    """The pixels with their watermark, uint8 or uint16 [H,W,C]; None where they are too small to carry one."""
    return watermark.mark(pixels, payload(origin), part=origin.part) if _carries(pixels.shape, origin) else None


def _carries(shape: Sequence[int], origin: Origin) -> bool:
    """Whether a picture, or what was made of it, is large enough for a mark."""
    return min(shape[:2]) >= watermark.SMALLEST and (origin.part is None or origin.part.mean() >= LEAST_PART)


def looks(image: np.ndarray, family: Family) -> list[np.ndarray]:
    """What the file of a picture with a record may hold: uint8 [H,W,C], plain and, where it can be, marked."""
    kept = private.hidden(family)[0]
    found = (marked(image, Origin(family.record.verb, one)) for one in ([family] if kept == family else [family, kept]))
    return [image, *(each for each in found if each is not None)]


def read(path: str | Path) -> Family | None:
    """`records.read`, with the texts that are kept beside the picture.

    Raises:
      RunError: as `records.read`.
    """
    found = records.read(path)
    return None if found is None else private.shown(found, Path(path).parent)


def _private(origin: Origin, folder: Path) -> Origin:
    """An origin whose texts are kept beside the picture, unless they are to be told."""
    if settings().prompt or origin.family is None:
        return origin
    kept, texts = private.hidden(origin.family)
    try:
        if texts:
            folder.mkdir(parents=True, exist_ok=True)
            private.keep(folder, texts)
    except OSError as error:
        note(f"the texts that pictures were made from cannot be kept in {folder / private.FILE} "
             f"({error.strerror or error}), so that `recall` will not make these again")
    return origin._replace(family=kept)


def write_png(path: str | Path, image: np.ndarray, origin: Origin) -> None:
    """`grids.write_png` of uint8 [H,W,C], C 1 or 3: marked, with its record, signed.

    Raises:
      OSError: it cannot be written.
    """
    path, image = Path(path), np.asarray(image)
    origin = _private(origin, path.parent)
    image, has_mark = _marked(image if image.ndim == 3 else image[..., None], origin, path)
    info = None if origin.family is None else records.png_info(origin.family)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = grids.png(image, info)
    write_atomic(path, _signed(data, "PNG", grids.without_color(image), origin, path, has_mark))
    _log([image], origin, path)


def write(path: str | Path, picture: Picture, origin: Origin, *, quality: int | None = None) -> tuple[str, ...]:
    """`files.write` of a picture that is marked and signed; returns notes on what could not be kept.

    Args:
      path, picture: as for `files.write`.
      origin: how it came to be.
      quality: of JPEG, WebP and AVIF, 1 to 100; None: near that of the pixels, and of WebP to the bit.

    Raises:
      PictureError, SaveError: as `files.write`.
    """
    kept, notes = files.fitted(path, picture)
    write_bands(path, kept, kept.pixels.shape, [kept.pixels], origin, quality=quality)
    return notes


def write_bands(path: str | Path, like: Picture, shape: tuple[int, int, int], bands: Iterable[np.ndarray],
                origin: Origin, *, quality: int | None = None) -> None:
    """`files.write_bands` of a picture that is marked and signed.

    The mark depends on the whole picture. One of more than 32 MB is put aside beside `path`, in a file without a name,
    as is what is signed: memory does not grow with the picture more than `files.write_bands` lets it.

    Args:
      path, like, shape, bands: as for `files.write_bands`.
      origin, quality: as for `write`.

    Raises:
      PictureError, SaveError: as `files.write_bands`.
    """
    path, dtype = Path(path), like.pixels.dtype
    origin = _private(origin, path.parent)
    kind, has_mark = files.check_output(path), settings().watermark and _carries(shape, origin)
    _note_size(shape)
    hashed, seen = credentials.PixelHash(shape, dtype), fingerprints.Seen(*shape[:2])

    def encode(file) -> None:
        with tempfile.SpooledTemporaryFile(_MEMORY, dir=str(path.parent)) as aside:
            rows = _marked_bands(bands, shape, dtype, origin, aside) if has_mark else bands
            files.encode_bands(file, kind, like, shape, _through(hashed, seen, rows), quality)

    def content(file) -> None:
        if not settings().credentials:
            return encode(file)
        with tempfile.SpooledTemporaryFile(_MEMORY, dir=str(path.parent)) as plain:
            encode(plain)
            lossy = kind in _LOSSY or kind == "WEBP" and quality is not None
            _sign(plain, file, kind, None if lossy else hashed.hex(), origin, path, has_mark)

    files.put(path, content)
    _add(seen, origin, path)


def _marked_bands(bands: Iterable[np.ndarray], shape: tuple[int, int, int], dtype: np.dtype, origin: Origin, aside: IO
                  ) -> Iterator[np.ndarray]:
    height, width, channels = shape
    seen = Overview(height, width)
    for band in bands:
        seen.add(band)
        aside.write(np.ascontiguousarray(band).data)
    layer = watermark.Layer(seen, payload(origin))
    aside.seek(0)
    for top in range(0, height, _ROWS):
        rows = min(_ROWS, height - top)
        read = aside.read(rows * width * channels * dtype.itemsize)
        part = None if origin.part is None else origin.part[top : top + rows]
        yield layer.on(np.frombuffer(read, dtype).reshape(rows, width, channels), top, part)


def _through(hashed: credentials.PixelHash, seen: fingerprints.Seen, bands: Iterable[np.ndarray]
             ) -> Iterator[np.ndarray]:
    for band in bands:
        hashed.add(band)
        if settings().fingerprints:
            seen.add(band)
        yield band


def _log(images: Iterable[np.ndarray], origin: Origin, path: Path) -> None:
    """Add the fingerprints of pictures in a file to the log, where there is one."""
    for image in images if settings().fingerprints else ():
        seen = fingerprints.Seen(*image.shape[:2])
        seen.add(image)
        _add(seen, origin, path)


def _add(seen: fingerprints.Seen, origin: Origin, path: Path) -> None:
    log = settings().fingerprints
    if not log:
        return
    record = None if origin.family is None else origin.family.record
    model = origin.facts.get("model", "") if record is None else record.weights
    made = {"file": str(path.absolute()), "verb": origin.verb, "model": str(model),
            "record": "" if record is None else record.name}
    try:
        fingerprints.add(log, seen.bits(), made)
    except OSError as error:
        note(f"fingerprints cannot be added to {log} ({error.strerror or error})")


def write_film(path: Path, frames: np.ndarray, origin: Origin, **options: Any) -> None:
    """An animation of uint8 [n,H,W,3], .webp or .gif: each frame marked, the file signed.

    Raises:
      OSError: it cannot be written.
    """
    origin = _private(origin, path.parent)
    each = [_marked(frame, origin, path) for frame in frames]
    pictures = [Image.fromarray(pixels) for pixels, _ in each]
    kind, file = path.suffix[1:].upper(), io.BytesIO()
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], **options)
    write_atomic(path, _signed(file.getvalue(), kind, None, origin, path, each[0][1]))
    _log([pixels for pixels, _ in each], origin, path)


def training_facts(data: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the pictures that a model was trained on: name, fingerprint, licenses, consents.

    Args:
      data: as a run records it, `Model.data`.
    """
    found = {"dataset": data.get("name"), "fingerprint": str(data.get("fingerprint") or "")[:64]}
    ledger = (data.get("card") or {}).get("ledger") or {}
    for column in ("license", "consent"):
        if isinstance(each := ledger.get(column), Mapping):
            found[column] = {"pictures that state it": each.get("stated"), "that do not": each.get("missing"),
                             "values": dict(list((each.get("values") or {}).items())[:20])}
    return {"trained on": {name: value for name, value in found.items() if value}}


def _marked(pixels: np.ndarray, origin: Origin, path: Path) -> tuple[np.ndarray, bool]:
    _note_size(pixels.shape)
    if not settings().watermark:
        return pixels, False
    found = marked(pixels, origin)
    return (pixels, False) if found is None else (found, True)


def _note_size(shape: Sequence[int]) -> None:
    """Says of a picture that is too small for the watermark that it has none."""
    if settings().watermark and min(shape[:2]) < watermark.SMALLEST:
        note(f"pictures below {watermark.SMALLEST}x{watermark.SMALLEST} pixels are too small for the watermark and are "
             "written without it")


def _signed(data: bytes, kind: str, pixels: np.ndarray | None, origin: Origin, path: Path, has_mark: bool) -> bytes:
    """The file's bytes with credentials, where they are wanted."""
    if not settings().credentials:
        return data
    out, said = io.BytesIO(), None if pixels is None or kind in _LOSSY else credentials.pixel_hash(pixels)
    _sign(io.BytesIO(data), out, kind, said, origin, path, has_mark)
    return out.getvalue()


def _sign(file: IO[bytes], out: IO[bytes], kind: str, pixels: str | None, origin: Origin, path: Path, has_mark: bool
          ) -> None:
    """The file with credentials; without, and with a note, where they cannot be made: no picture is lost."""
    wanted, size = settings(), file.seek(0, os.SEEK_END)
    file.seek(0)
    if size > _SIGNED:
        note(f"{path.name} is written without credentials: it has {size / 1e6:,.0f} MB, and signing takes twice as "
             "much memory")
        return shutil.copyfileobj(file, out)
    try:
        who = identity(wanted)
        if who.note:
            note(who.note)
        facts = _facts(origin, wanted, pixels, has_mark)
        composite = origin.composite or origin.part is not None or origin.parent is not None
        how = credentials.COMPOSITE if composite else credentials.CREATED
        statement = Statement(path.name, origin.verb, how, facts, origin.parent, origin.others, has_mark)
        credentials.sign_file(cast(BinaryIO, file), cast(BinaryIO, out), kind, statement, who)
    except (c2pa.C2paError, RunError, files.PictureError, OSError) as error:
        note(f"pictures are written without credentials ({brief(error)})")
        file.seek(0)
        out.seek(0)
        out.truncate()
        shutil.copyfileobj(file, out)


def _facts(origin: Origin, wanted: Settings, pixels: str | None, has_mark: bool) -> dict[str, Any]:
    facts: dict[str, Any] = dict(origin.facts)
    if origin.family is not None:
        record = origin.family.record
        given = {name: value for name, value in record.given.items() if not private.is_hidden(value)}
        facts |= {"model": record.weights, "run": record.run, "record": record.name, "given": given,
                  "arguments": dict(record.arguments), "parents": list(record.parents)}
        if "seed" in record.arguments:
            facts["seed"] = record.arguments["seed"]
    if has_mark:
        facts["watermark"] = f"{payload(origin):08x}"
    if pixels is not None:
        facts["pixels"] = pixels
    return facts
