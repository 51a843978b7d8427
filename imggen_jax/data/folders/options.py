"""Arguments of an ingestion, checked where they come in: one clear line for what makes no sense."""
from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from PIL import ImageColor

from imggen_jax.data.folders import pixels
from imggen_jax.data.folders.pixels import Wanted
from imggen_jax.errors import DataError

MAX_PIXELS = 80_000_000  # of one picture: phones make 50 million


def wanted(*, size: int, fit: str, background: str, min_side: int | None = None, max_pixels: int = MAX_PIXELS,
           halves: bool = False) -> Wanted:
    """What pictures are to become; arguments as of `ingest`. Raises DataError."""
    size = integer("size", size, 0, "the side of the pictures in pixels, such as 64, or 0 to keep their own size")
    if not isinstance(fit, str) or fit not in pixels.FITS:
        raise DataError(f"unknown fit {fit!r}; choose {' or '.join(pixels.FITS)}")
    least = (size + 1) // 2 or 1 if min_side is None else integer("min_side", min_side, 1, "a number of pixels")
    most = integer("max_pixels", max_pixels, 1, "a number of pixels")
    return Wanted(size, fit, _color(background), least, most, halves)


def integer(name: str, value: Any, least: int, what: str) -> int:
    """An int, also of NumPy; raises DataError for anything else and below `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise DataError(f"{name} is {value!r}; give {what}, a whole number of at least {least}") from None
    return number


def picture_options(card: Mapping[str, Any] | None) -> dict[str, Any]:
    """How the pictures of an ingested dataset were made, as arguments of `open_picture`; of another, the defaults."""
    return {"fit": card["fit"], "background": card["background"]} if card else {"fit": "crop", "background": "white"}


def splits(card: Mapping[str, Any]) -> tuple[str, str]:
    """What to train on and what to hold out of an ingested dataset: its own test or validation, else a tenth."""
    own = next((split for split in ("test", "validation") if split in card["splits"]), None)
    return ("train", own) if own and "train" in card["splits"] else ("train[:90%]", "train[90%:]")


def _color(background: str) -> tuple[int, int, int]:
    try:
        color = ImageColor.getrgb(background)
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"background {background!r} is no color; write it as white or #20a040") from error
    if len(color) != 3:
        raise DataError(f"background {background!r} must be opaque; write it as white or #20a040")
    return color
