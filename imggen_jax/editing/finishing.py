"""What is done to a picture after a model has made it, by patches of it: a larger canvas, a tile, a style.

It follows from what the picture's record says of it, so that the picture can be made again.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from imggen_jax.errors import RunError

DIRECTIONS = ("left", "right", "up", "down")
PAN = 0.5               # of a side that a picture is continued by
FARTHEST = 2.0          # how many times as large a canvas may be
KEYS = ("zoom_out", "pan", "tile", "style")


def check(wanted: Mapping[str, Any]) -> None:
    """Raises RunError for what cannot be done, or not together.

    Args:
      wanted: of `KEYS`, those that are asked for: "zoom_out", how many times as large the canvas is, above 1 to
        `FARTHEST`; "pan", one of `DIRECTIONS`; "tile", whether the picture repeats; "style", how a style is called.
    """
    zoom, pan = wanted.get("zoom_out"), wanted.get("pan")
    if zoom is not None and not (isinstance(zoom, int | float) and 1 < zoom <= FARTHEST):
        raise RunError(f"zoom-out is {zoom}; it must be above 1, and at most {FARTHEST:g}")
    if pan is not None and pan not in DIRECTIONS:
        raise RunError(f"pan is {pan!r}; choose {', '.join(DIRECTIONS)}")
    if wanted.get("tile") and (zoom is not None or pan is not None):
        raise RunError("tile makes the sides of a picture fit each other, so it goes with neither zoom-out nor pan")


def finish(image: np.ndarray, wanted: Mapping[str, Any], seed: int, style: np.ndarray | None = None,
           strength: float = 1.0) -> np.ndarray:
    """A picture with what is wanted, in the order of `KEYS`.

    Args:
      image: uint8 [H,W,C].
      wanted: as for `check`; other keys are not read.
      seed: of what is drawn.
      style: uint8 [H',W',C'], whose strokes and palette the picture is painted with.
      strength: of the style, 0 to 1.

    Returns:
      uint8 [H',W',C]; the picture is in a larger one to the bit, where no style is wanted.
    """
    if not any(wanted.get(key) for key in KEYS):
        return image
    from imggen_jax import patches

    check(wanted)
    height, width, _ = image.shape
    if (zoom := wanted.get("zoom_out")) is not None:
        down, across = (round((zoom - 1) * side / 2) for side in (height, width))
        image = patches.outpaint(image, left=across, right=across, top=down, bottom=down, seed=seed)
    if (pan := wanted.get("pan")) is not None:
        side = {"left": "left", "right": "right", "up": "top", "down": "bottom"}[pan]
        more = round(PAN * (width if pan in DIRECTIONS[:2] else height))
        image = patches.outpaint(image, seed=seed, **{side: more})
    if wanted.get("tile"):
        image = patches.tile(image, seed=seed)
    if wanted.get("style"):
        if style is None:
            raise RunError(f"the picture was painted in the style of {wanted['style']}, which it does not hold; make "
                           "it again with generate")
        image = patches.stylize(image, style, strength=strength, seed=seed)
    return image
