"""From encoded pictures to pixels: decoded and, where a side is given, made square and resized to it."""
from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from imggen_jax.data import records
from imggen_jax.data import resize as resizing
from imggen_jax.data.columns import Column
from imggen_jax.data.records import Row, Wanted
from imggen_jax.data.sources import Source
from imggen_jax.errors import DataError

# Below this many pixels Pillow spends its time in Python, where threads wait for each other (measured).
PIXELS_WORTH_THREADS = 128 * 128

_EIGHT_BIT = {"1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"}


class Request(NamedTuple):
    """What is read of a split."""

    source: Source
    columns: Mapping[str, Column]  # field -> feature
    side: int                      # that pictures are resized to; 0 to keep them as they are

    @property
    def images(self) -> dict[str, Column]:
        """The fields that are pictures."""
        return {field: column for field, column in self.columns.items() if column.kind == "image"}

    @property
    def wanted(self) -> list[Wanted]:
        """What to read of a record, in the order of the columns."""
        return [Wanted(column.feature, column.kind, len(column.names)) for column in self.columns.values()]


def cells(request: Request, index: int, row: Row) -> dict[str, Any]:
    """A record's features -> fields: pictures uint8 [H,W,C], labels int, texts str. Raises DataError."""
    values, found = {}, {}
    for (field, column), value in zip(request.columns.items(), row):
        if column.kind == "image":
            found[field] = decode(request.source, column, index, value)
            values[field] = pixels(request, found[field])
        else:
            values[field] = value.decode("utf-8", "replace") if column.kind == "text" else value
    if len(found) > 1:
        scales(request.source.title, {field: (each.height, each.width) for field, each in found.items()}, index)
    return values


def decode(source: Source, column: Column, index: int, data: bytes) -> Image.Image:
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
        mode = "L" if column.channels == 1 else "RGB"
        if picture.mode != mode:
            picture = picture.convert(mode)
        picture.load()
    except Exception as error:  # for broken files Pillow raises OSError, SyntaxError, struct.error, EOFError and others
        raise records.broken(source, index, error) from error
    declared = column.shape
    if (declared[0] or picture.height, declared[1] or picture.width) != (picture.height, picture.width):
        raise records.broken(source, index, ValueError(
            f"it is {picture.width}x{picture.height} and the dataset says {declared[1]}x{declared[0]}"))
    return picture


def size_of(source: Source, index: int, data: bytes) -> tuple[int, int]:
    """Height and width of an encoded picture, from its header alone. Raises DataError naming the example."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.height, picture.width
    except Exception as error:  # as in `decode`
        raise records.broken(source, index, error) from error


def pixels_of(request: Request, row: Row) -> int:
    """How many pixels the pictures of a record have to be decoded or made, the largest of them."""
    sizes = [size_of(request.source, 0, value) for column, value in zip(request.columns.values(), row)
             if column.kind == "image"]
    return max([request.side ** 2, *(height * width for height, width in sizes)])


def pixels(request: Request, picture: Image.Image) -> np.ndarray:
    """A decoded picture -> uint8 [S,S,C], or [H,W,C] where pictures are kept as they are."""
    return resizing.as_array(resizing.square(picture, request.side) if request.side else picture)


def stack(title: str, indices: np.ndarray, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures uint8 [H,W,C] of the examples `indices` -> [B,H,W,C]. Raises DataError where they differ in size."""
    for index, picture in zip(indices, pictures):
        if picture.shape != pictures[0].shape:
            raise DataError(f"pictures of {title} differ in size: example {index} is {picture.shape[1]}x"
                            f"{picture.shape[0]}, example {indices[0]} {pictures[0].shape[1]}x{pictures[0].shape[0]}; "
                            "read them one by one, or set data.size or data.crop")
    return np.stack(pictures)


def scales(title: str, sizes: Mapping[str, tuple[int, int]], index: int) -> dict[str, int]:
    """How many times larger each picture of an example is than the smallest: {field: a whole number}.

    sizes: height and width of each. Raises DataError where one is not a whole multiple of the smallest.
    """
    least = min(sizes.values())
    found = {field: height // least[0] for field, (height, _) in sizes.items()}
    if any(size != (least[0] * found[field], least[1] * found[field]) for field, size in sizes.items()):
        told = ", ".join(f"{field} {width}x{height}" for field, (height, width) in sorted(sizes.items()))
        raise DataError(f"the pictures of example {index} of {title} do not match: {told}; aligned pictures have one "
                        "size, or one is a whole multiple of the other")
    return found
