"""The bytes of picture files, from rows that come in bands from the top: PNG and TIFF hold no more than a band."""
from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin

LONGEST = {"JPEG": 65_535, "WEBP": 16_383, "AVIF": 65_535}  # pixels of a side
TIFF_BYTES = 2**32 - 2**24           # of pixels: its offsets have 32 bits
LARGE = 2**26                        # pixels of a PNG or TIFF that are too many for a second copy in memory
OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": dict(compress_level=6), "JPEG": dict(quality=95, subsampling=0), "AVIF": dict(quality=90),
    "WEBP": dict(lossless=True, exact=True, method=2), "TIFF": dict(compression="tiff_deflate")}
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_XMP_TAG, _ICC_TAG = 700, 34675      # of TIFF


def encode(file: BinaryIO, kind: str, shape: tuple[int, int, int], dtype: np.dtype, bands: Iterable[np.ndarray], *,
           icc: bytes | None = None, exif: bytes | None = None, xmp: bytes | None = None, quality: int | None = None
           ) -> None:
    """Writes a picture.

    Args:
      file: written to from where it is.
      kind: Pillow's name of the format; uint16 only for "PNG" and "TIFF".
      shape: (H,W,C), C: 1 gray, 2 with alpha, 3 color, 4 with alpha.
      dtype: uint8 or uint16.
      bands: [rows,W,C] of this dtype, H rows in all.
      icc, exif, xmp: profile and metadata. TIFF files keep no EXIF block.
      quality: of JPEG, WebP and AVIF, 1 to 100; None: near that of the pixels, and of WebP to the bit.
    """
    if not held(kind, shape, dtype):
        write = _png if kind == "PNG" else _tiff
        for part in write(shape, dtype, bands, icc, exif, xmp):
            file.write(part)
    else:
        file.write(_pillow(kind, shape, bands, icc, exif, xmp, quality))


def held(kind: str, shape: tuple[int, int, int], dtype: np.dtype) -> bool:
    """Whether the whole picture is in memory while `encode` writes it; the arguments are its."""
    return kind not in ("PNG", "TIFF") or not (dtype == np.uint16 or shape[0] * shape[1] > LARGE)


def _pillow(kind: str, shape: tuple[int, int, int], bands: Iterable[np.ndarray], icc: bytes | None,
            exif: bytes | None, xmp: bytes | None, quality: int | None) -> bytes:
    height, width, channels = shape
    picture, top = Image.new(MODES[channels], (width, height)), 0
    for band in bands:
        picture.paste(Image.fromarray(np.ascontiguousarray(band[..., 0] if channels == 1 else band)), (0, top))
        top += len(band)
    options = dict(OPTIONS[kind])
    if quality is not None and kind != "PNG" and kind != "TIFF":
        options |= {"quality": quality} | ({"lossless": False} if kind == "WEBP" else {})
    if icc:
        options["icc_profile"] = icc
    if exif and kind != "TIFF":
        options["exif"] = exif
    if xmp and kind == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode(errors="replace"))
    elif xmp and kind == "TIFF":
        options["tiffinfo"] = {_XMP_TAG: xmp}
    elif xmp:
        options["xmp"] = xmp
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(shape: tuple[int, int, int], dtype: np.dtype, bands: Iterable[np.ndarray], icc: bytes | None,
         exif: bytes | None, xmp: bytes | None) -> Iterator[bytes]:
    """PNG specification, third edition. Pillow writes no color with 16 bits a channel."""
    height, width, channels = shape
    header = struct.pack(">IIBBBBB", width, height, 8 * dtype.itemsize, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    yield b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)
    if icc:
        yield _chunk(b"iCCP", b"icc\0\0" + zlib.compress(icc))
    if exif:
        yield _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    if xmp:
        yield _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    packer, above = zlib.compressobj(6), np.zeros((1, width * channels * dtype.itemsize), np.uint8)
    for band in bands:
        for start in range(0, len(band), 64):
            rows = np.ascontiguousarray(band[start : start + 64]).astype(dtype.newbyteorder(">")).view(np.uint8)
            rows = rows.reshape(len(rows), -1)
            filtered = np.diff(rows, axis=0, prepend=above)  # filter 2: less the row above
            above = rows[-1:]
            kinds = np.full((len(rows), 1), 2, np.uint8)
            if data := packer.compress(np.concatenate([kinds, filtered], 1).tobytes()):
                yield _chunk(b"IDAT", data)
    yield _chunk(b"IDAT", packer.flush()) + _chunk(b"IEND", b"")


def _tiff(shape: tuple[int, int, int], dtype: np.dtype, bands: Iterable[np.ndarray], icc: bytes | None,
          exif: bytes | None, xmp: bytes | None) -> Iterator[bytes]:
    """One strip, not compressed, little-endian (TIFF 6.0)."""
    del exif                                                 # there its tags are the file's own structure
    height, width, channels = shape
    size = height * width * channels * dtype.itemsize
    color = 3 if channels >= 3 else 1
    extra = b"" if channels == color else struct.pack("<H", 2)               # 2: alpha, not multiplied in
    bits = struct.pack(f"<{channels}H", *[8 * dtype.itemsize] * channels)
    tags = [(256, 4, struct.pack("<I", width)), (257, 4, struct.pack("<I", height)), (258, 3, bits),
            (259, 3, struct.pack("<H", 1)), (262, 3, struct.pack("<H", 2 if color == 3 else 1)),
            (273, 4, struct.pack("<I", 8)), (277, 3, struct.pack("<H", channels)),
            (278, 4, struct.pack("<I", height)), (279, 4, struct.pack("<I", size))]
    tags += [(338, 3, extra)] if extra else []
    tags += [(_XMP_TAG, 1, xmp)] if xmp else []
    tags += [(_ICC_TAG, 7, icc)] if icc else []
    start = 8 + size + size % 2
    yield struct.pack("<2sHI", b"II", 42, start)
    for band in bands:
        yield np.ascontiguousarray(band).astype(dtype.newbyteorder("<")).tobytes()
    yield b"\0" * (size % 2) + _directory(sorted(tags), start)


def _directory(tags: list[tuple[int, int, bytes]], start: int) -> bytes:
    """The tags (number, type, value) of a TIFF file, at its byte `start`."""
    after = start + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, kind, value in tags:
        count = len(value) // {1: 1, 3: 2, 4: 4, 7: 1}[kind]
        inline = value.ljust(4, b"\0")
        if len(value) > 4:
            inline = struct.pack("<I", after + len(values))
            values += value + b"\0" * (len(value) % 2)
        entries += struct.pack("<HHI", tag, kind, count) + inline
    return struct.pack("<H", len(tags)) + entries + b"\0\0\0\0" + values
