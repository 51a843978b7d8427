"""One decoder for every picture that enters: what is ingested, projected, varied or bred comes out alike."""
from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imggen_jax.data.folders import options, pixels
from imggen_jax.data.folders.members import printable
from imggen_jax.data.folders.options import MAX_PIXELS
from imggen_jax.data.folders.pixels import Facts, Refused
from imggen_jax.data.resize import as_array
from imggen_jax.errors import DataError, brief


class Opened(NamedTuple):
    """A picture from a file."""

    image: np.ndarray  # uint8 [S,S,C], sRGB; [H,W,C] where its own size was kept
    facts: Facts       # of the file: format, mode, width, height, notes


def open_picture(file: str | os.PathLike[str] | bytes, *, size: int, channels: int = 3, fit: str = "crop",
                 background: str = "white", max_pixels: int = MAX_PIXELS) -> Opened:
    """Decodes one picture exactly as `ingest` does.

    EXIF orientation and color profiles are applied, 16 bits, CMYK, Lab and palettes converted, transparency laid over
    the background; of an animation the first frame is taken. `picture_options(card)` gives `fit` and `background` of
    the dataset that a model was trained on.

    Args:
      file: a path, or the file's bytes.
      size: side in pixels; 0 to keep the picture's own size.
      channels: 3, or 1 for gray.
      fit: "crop" to the central square, or "pad" to a square.
      background: color behind transparency and padding, as CSS writes it.
      max_pixels: width times height of the largest picture that is decoded.

    Raises:
      DataError: no such file, no picture, a broken one, or an argument out of range.
    """
    if channels not in (1, 3):
        raise DataError(f"channels is {channels!r}; choose 1 or 3")
    wanted = options.wanted(size=size, fit=fit, background=background, min_side=1, max_pixels=max_pixels)
    data, name = (file, "the picture") if isinstance(file, bytes) else _read(Path(file).expanduser())
    try:
        (picture,), facts = pixels.fitted(data, wanted)
    except Refused as error:
        raise DataError(f"{name} cannot be used: {error.reason} ({error})") from error
    return Opened(as_array(picture if channels == 3 else picture.convert("L")), facts)


def _read(path: Path) -> tuple[bytes, str]:
    """A file's bytes, and what to call it in a message."""
    name = printable(str(path))
    try:
        if path.is_file() and path.stat().st_size > pixels.MAX_BYTES:
            raise DataError(f"{name} is larger than {pixels.MAX_BYTES // 2**20} MiB, which no picture is")
        return path.read_bytes(), name
    except FileNotFoundError:
        raise DataError(f"{name} is not there; give the file of a picture") from None
    except OSError as error:
        raise DataError(f"{name} cannot be read ({error.strerror or brief(error)})") from error
