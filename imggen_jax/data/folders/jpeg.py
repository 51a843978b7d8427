"""A JPEG without its metadata: the same pixels, and nothing about who took them where.

ITU-T T.81, annex B: a JPEG is a row of segments, 0xFF, a marker and, for most, two bytes of length that count
themselves. Application segments hold EXIF (APP1), color profiles and previews (APP2) and the like; only JFIF (APP0) and
Adobe's (APP14), which tells how colors are transformed, matter for the pixels.
"""
from __future__ import annotations

import io

from PIL import Image

from imggen_jax.data.folders import pixels

_START, _END, _SCAN, _COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
_KEPT = {0xE0, 0xEE}
_APPLICATION = range(0xE0, 0xF0)


def bare(data: bytes, picture: Image.Image) -> bytes | None:
    """A file's bytes without metadata, if as a plain JPEG they give just this picture (RGB); None where not."""
    try:
        stripped = _strip(data)
        with Image.open(io.BytesIO(stripped), formats=["JPEG"]) as again:
            same = pixels.digest(again.convert("RGB")) == pixels.digest(picture)
    except Exception:  # noqa: BLE001 - of the many types that broken files raise; the picture is stored as PNG then
        return None
    return stripped if same else None


def _strip(data: bytes) -> bytes:
    """Up to the end of the first image, without comments and application segments; raises ValueError."""
    if data[:2] != bytes((0xFF, _START)):
        raise ValueError("not a JPEG")
    out, at = [data[:2]], 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("no marker where one is due")
        marker, length = data[at + 1], 2 + int.from_bytes(data[at + 2:at + 4], "big")
        if marker == _SCAN:
            end = data.index(bytes((0xFF, _END)), at)
            return b"".join([*out, data[at:end + 2]])
        if marker != _COMMENT and (marker not in _APPLICATION or marker in _KEPT):
            out.append(data[at:at + length])
        at += length
