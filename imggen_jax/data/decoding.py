"""From a checked source to the pixels of its pictures: decoded, made square and of one size."""
from __future__ import annotations

import hashlib
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from imggen_jax.data import resize as resizing
from imggen_jax.data import sources
from imggen_jax.data.sources import Source
from imggen_jax.errors import DataError

# Below this many pixels Pillow spends its time in Python, where threads wait for each other (measured).
PIXELS_WORTH_THREADS = 128 * 128

_EIGHT_BIT = {"1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"}

Arrays = tuple[np.ndarray, np.ndarray | None]  # images uint8 [N,S,S,C], labels int32 [N]


class Pictures(NamedTuple):
    """One split, and what its pictures come out as."""

    source: Source
    shape: tuple[int, int, int, int]  # N,S,S,C
    crop: bool                        # to their central squares, resized; else they must be of this size already
    fingerprint: str                  # sha256 hex over what decides the pixels: source, version, split, size, resizing


def open_pictures(*, name: str, split: str, dir: str, size: int, label: str) -> Pictures:
    """Finds a dataset and does all checks that need no decoding; arguments as `data.load`. Raises DataError."""
    check_size(size)
    source = sources.open_source(name=name, split=split, dir=dir, label=label)
    side = size or _own_side(source)
    return Pictures(source, (source.examples, side, side, source.channels), size > 0,
                    sha256(source.identity, side, resizing.RECIPE))


def check_size(size: int) -> None:
    """Raises DataError for a side that cannot be."""
    if size < 0:
        raise DataError(f"data size {size} is negative; give the side in pixels, or 0 to keep the pictures' own")


def sha256(*parts: object) -> str:
    """sha256 hex over the `repr` of the parts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def decode(source: Source, index: int, data: bytes) -> Image.Image:
    """An encoded picture -> mode L (one channel) or RGB, transparency over white, of an animation the first frame.

    Raises DataError naming the example.
    """
    try:
        picture = Image.open(io.BytesIO(data))
        if picture.mode not in _EIGHT_BIT:
            raise ValueError(f"mode {picture.mode} is not 8-bit")
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        mode = "L" if source.channels == 1 else "RGB"
        if picture.mode != mode:
            picture = picture.convert(mode)
        picture.load()
    except Exception as error:  # for broken files Pillow raises OSError, SyntaxError, struct.error, EOFError and others
        raise sources.broken(source, index, error) from error
    declared = source.shape
    if (declared[0] or picture.height, declared[1] or picture.width) != (picture.height, picture.width):
        raise sources.broken(source, index, ValueError(
            f"it is {picture.width}x{picture.height} and the dataset says {declared[1]}x{declared[0]}"))
    return picture


def fit(pictures: Pictures, index: int, picture: Image.Image) -> np.ndarray:
    """A decoded picture -> uint8 [S,S,C]. Raises DataError where pictures are kept as they are and differ in size."""
    side = pictures.shape[1]
    if not pictures.crop and picture.size != (side, side):
        raise DataError(f"pictures of {pictures.source.title} differ in size: example {index} is {picture.width}x"
                        f"{picture.height}, others {side}x{side}; set data.size, to which they are resized")
    return resizing.as_array(resizing.square(picture, side))


def _own_side(source: Source) -> int:
    """The side of the dataset's pictures, which are to be kept as they are; raises DataError if not square."""
    height, width = source.shape
    if height is None or width is None:
        data, _ = next(sources.examples(source))[0]
        width, height = decode(source, 0, data).size
    if height != width:
        raise DataError(f"pictures of {source.title} are {width}x{height}, not square; set data.size, to which their "
                        "central squares are resized")
    return height
