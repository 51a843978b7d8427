"""Bodies of requests as checked fields and pictures: JSON, or a form with files. Nothing is fetched, unpickled or run.

A file's name from outside is not read at all; its kind is what its first bytes say.
"""
from __future__ import annotations

import contextlib
import io
import json
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from PIL import Image
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from imggen_jax.pictures import files
from imggen_jax.pictures.files import Picture, PictureError
from imggen_jax.serving import openai
from imggen_jax.serving.openai import ApiError

ENDINGS = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp"}
LONGEST_JSON = 100_000   # bytes
MOST_FILES, MOST_FIELDS, LONGEST_FIELD = 4, 24, 16_000

_opening = threading.BoundedSemaphore(4)     # pictures that are unpacked at a time, each with some copies of its pixels


class Upload(NamedTuple):
    """A picture that was sent."""

    content: bytes
    ending: str          # of a file of its kind, ".png"
    picture: Picture

    @property
    def held(self) -> int:
        """Bytes of memory that it takes."""
        return len(self.content) + self.picture.pixels.nbytes

    def put(self, folder: Path, name: str) -> Path:
        """Write the file, as it was sent; its path. name: ours, without ending."""
        path = folder / f"{name}{self.ending}"
        path.write_bytes(self.content)
        return path


def put_pixels(path: Path, picture: Picture) -> Path:
    """Write what a request sent, in part or decoded, for a verb that reads files; its path. No answer comes from it."""
    files.write(path, picture)
    return path


async def json_body(request: Request, schema: type) -> Any:
    """The checked fields of a JSON body. Raises ApiError."""
    _check_type(request, "application/json")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_JSON:
            raise ApiError(413, f"the body has more than {LONGEST_JSON:,} bytes", code="body_too_large")
    try:
        said = json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is not JSON", code="invalid_json") from None
    if not isinstance(said, dict):
        raise ApiError(400, "the body is not a JSON object", code="invalid_json")
    return openai.read(schema, said)


async def form_body(request: Request, schema: type, names: Sequence[str], most_pixels: int
                    ) -> tuple[Any, dict[str, Upload]]:
    """The checked fields of a form, and the pictures among them that are called `names`.

    Raises:
      ApiError: a form, field or picture that cannot be.
    """
    _check_type(request, "multipart/form-data")
    form = await _form(request)
    fields: dict[str, Any] = {}
    pictures: dict[str, Upload] = {}
    try:
        for name, value in form.multi_items():
            name = name.removesuffix("[]")
            if name in fields or name in pictures:
                raise ApiError(400, f"{name!r:.64} is given twice; one is taken", code="invalid_value", param=name[:64])
            if name not in names:
                if not isinstance(value, str):
                    raise ApiError(400, f"{name!r:.64} is a file; this request takes files called {', '.join(names)}",
                                   code="unknown_parameter", param=name[:64])
                fields[name] = value
            elif isinstance(value, UploadFile):
                pictures[name] = await run_in_threadpool(_opened, value, name, most_pixels)
            else:
                raise ApiError(400, f"{name} is text; send a file, as nothing is fetched from elsewhere",
                               code="invalid_value", param=name)
        return openai.read(schema, fields), pictures
    finally:
        await form.close()


class _Parser(MultiPartParser):
    """One that knows whether a form has come to its end: what is cut off between two parts is no form."""

    ended = False

    def on_end(self) -> None:
        self.ended = True


async def _form(request: Request) -> FormData:
    try:
        async with contextlib.aclosing(request.stream()) as stream:
            parser = _Parser(request.headers, stream, max_files=MOST_FILES, max_fields=MOST_FIELDS,
                             max_part_size=LONGEST_FIELD)
            form = await parser.parse()
        if parser.ended:
            return form
        await form.close()
    except (MultiPartException, ValueError, KeyError, UnicodeError, AssertionError):
        pass
    raise ApiError(400, f"the body is not a whole form of at most {MOST_FILES} files and {MOST_FIELDS} fields",
                   code="invalid_form")


def _opened(file: UploadFile, name: str, most_pixels: int) -> Upload:
    with _opening:
        return picture_of(file.file.read(), name, most_pixels)


def _check_type(request: Request, wanted: str) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != wanted:
        raise ApiError(415, f"the content type must be {wanted}", code="unsupported_media_type")


def needed(pictures: dict[str, Upload], name: str) -> Upload:
    """A picture of a form. Raises ApiError where it is missing."""
    if name not in pictures:
        raise ApiError(400, f"{name} is missing; send a PNG, JPEG or WebP file", code="missing_required_parameter",
                       param=name)
    return pictures[name]


def picture_of(content: bytes, name: str, most_pixels: int) -> Upload:
    """A picture that was sent, whose size is looked at before its pixels are.

    Raises:
      ApiError: it is no PNG, JPEG or WebP file, has too many pixels or is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=["PNG", "JPEG", "WEBP"]) as opened:
                width, height, kind = opened.width, opened.height, opened.format or ""
    except Exception:  # noqa: BLE001 - for broken files Pillow raises errors of many types
        raise ApiError(400, f"{name} is no PNG, JPEG or WebP file", code="invalid_image", param=name) from None
    if width * height > most_pixels:
        raise ApiError(400, f"{name} is {width}x{height}; at most {most_pixels:,} pixels are taken",
                       code="image_too_large", param=name)
    try:
        return Upload(content, ENDINGS.get(kind, ".png"), files.decoded(content, name))
    except PictureError as error:
        raise ApiError(400, str(error), code="invalid_image", param=name) from None


def mask_of(mask: Upload, like: Upload) -> np.ndarray:
    """bool [H,W], true where a picture is edited: where the mask is transparent altogether.

    Raises:
      ApiError: it has no alpha, another size than the picture, or marks nothing.
    """
    pixels = mask.picture.pixels
    height, width = like.picture.pixels.shape[:2]
    if pixels.shape[-1] not in (2, 4):
        raise ApiError(400, "mask has no transparency; alpha 0 marks what is edited", code="invalid_mask",
                       param="mask")
    if pixels.shape[:2] != (height, width):
        raise ApiError(400, f"mask is {pixels.shape[1]}x{pixels.shape[0]} and image {width}x{height}; they must be of "
                       "one size", code="invalid_mask", param="mask")
    change = pixels[..., -1] == 0
    if not change.any() or change.all():
        raise ApiError(400, f"mask marks {'every' if change.all() else 'no'} pixel; alpha 0 is edited, and the rest is "
                       "kept", code="invalid_mask", param="mask")
    return change
