"""The one road of a picture through a model: any size, gray or color, 8 or 16 bits, with or without alpha.

The model sees colors in [-1,1] and nothing else. Alpha is enlarged apart, and what it hides does not bleed into what is
seen. The result comes in bands from the top, so that no more of it than a band need be in memory.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import ndimage

from imggen_jax.pictures import resize, tiling
from imggen_jax.pictures.files import Picture
from imggen_jax.pictures.tiling import Plan, Sight

REACH = 8                       # pixels over which visible colors are continued under hidden ones
BASE = 450_000_000              # bytes of a process that has started JAX
LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # of ITU-R BT.601


class Tiled(NamedTuple):
    """A model that makes a picture of a picture."""

    # float32 [n,h,w,channels] -> [n,s*h,s*w,made]; colors in [-1,1], the mask 0 or 1
    apply: Callable[[np.ndarray], jax.Array]
    channels: int    # 1 or 3, and one for the mask
    made: int        # 1 or 3
    masked: bool
    sight: Sight
    name: str        # for messages
    facts: Mapping[str, Any] = {}  # JSON: which weights it has, and what they were trained on


class Made(NamedTuple):
    """A picture that is made band by band, from the top."""

    shape: tuple[int, int, int]               # of the whole
    dtype: np.dtype
    bands: Iterator[np.ndarray]               # [rows,W,C]


def covered(picture: Picture, tiled: Tiled, tile: int | None = None) -> Plan:
    """The tiles of a picture. tile: their side, at most, in pixels of the picture; None: by the memory they take."""
    height, width, _ = picture.pixels.shape
    return tiling.plan(tiled.sight, height, width, tile**2 if tile else tiling.largest(tiled.sight))


def memory(picture: Picture, tiled: Tiled, plan: Plan, *, held: bool) -> int:
    """Bytes that the process will take at most. held: whether the whole result is in memory, as for JPEG."""
    height, width, channels = picture.pixels.shape
    made = tiled.sight.scale**2 * width * max(channels, tiled.made) * picture.pixels.dtype.itemsize
    tile = plan.height * plan.width * (tiled.sight.bytes_per_pixel + 16 * (tiled.channels + tiled.sight.scale**2 * 3))
    work = picture.pixels.nbytes + 2 * plan.height * made + tile + (held * 2 * height * made)
    read = 4 * height * width                                # Pillow's copy of what a file holds
    return BASE + picture.pixels.nbytes + max(work, read)


def translated(picture: Picture, tiled: Tiled, *, mask: np.ndarray | None = None, strength: float = 1.0,
         tile: int | None = None, report: Callable[[float], object] = lambda share: None) -> Made:
    """What a model makes of a picture.

    A gray picture stays gray, unless the model makes color of gray. Color goes through a model of gray one channel at a
    time, or as its luma if color is made of it.

    Args:
      picture: uint8 or uint16; the result has its dtype and alpha.
      tiled: the model.
      mask: bool [H,W], true where the picture is completed; what lies outside is the picture's to the bit.
      strength: from 0, the bicubically enlarged picture, to 1, the model's.
      tile: largest side of a tile in pixels of the picture; None: by the memory that the model takes.
      report: called with the share that is done, up to 1.
    """
    height, width, channels = picture.pixels.shape
    plan, scale = covered(picture, tiled, tile), tiled.sight.scale
    color = _opaque(picture.pixels)
    out = tiled.made if tiled.channels - tiled.masked == 1 < tiled.made else color.shape[-1]
    alpha = picture.pixels[..., -1:] if channels in (2, 4) else None
    shape = height * scale, width * scale, out + (alpha is not None)

    def bands():
        dtype, band = picture.pixels.dtype, None
        for rows, columns, images in tiling.tiles(
                tiled.apply, _reader(color, tiled, mask), plan, scale,
                wanted=lambda rows, columns: mask is None or bool(mask[rows, columns].any())):
            if band is None:
                band = np.empty((scale * (rows.stop - rows.start), *shape[1:]), dtype)
            part = band[:, scale * columns.start : scale * columns.stop, :out]
            if images is None:
                part[:] = color[rows, columns]
            else:
                values = _joined(images, color.shape[-1], out)
                if strength < 1:
                    plain = resize.enlarged(color, scale, rows, columns)
                    values = plain + strength * (_levels(values, dtype) - plain)
                else:
                    values = _levels(values, dtype)
                part[:] = _quantized(values, dtype)
                if mask is not None:
                    outside = ~mask[rows, columns]
                    part[outside] = color[rows, columns][outside]
            report((rows.start + (rows.stop - rows.start) * columns.stop / width) / height)
            if columns.stop == width:
                if alpha is not None:
                    band[..., out:] = _quantized(resize.enlarged(alpha, scale, rows, slice(0, width)), dtype)
                yield band
                band = None

    return Made(shape, picture.pixels.dtype, bands())


def collected(made: Made) -> np.ndarray:
    """All bands in one array."""
    pixels = np.empty(made.shape, made.dtype)
    top = 0
    for band in made.bands:
        pixels[top : top + len(band)] = band
        top += len(band)
    return pixels


def _reader(color: np.ndarray, tiled: Tiled, mask: np.ndarray | None) -> Callable[[slice, slice], np.ndarray]:
    height, width, channels = color.shape
    wanted = tiled.channels - tiled.masked
    top = np.float32(np.iinfo(color.dtype).max / 2)

    def read(rows: slice, columns: slice) -> np.ndarray:
        beyond = (0, max(rows.stop - height, 0)), (0, max(columns.stop - width, 0))
        values = color[rows, columns].astype(np.float32) / top - 1
        if channels == 3 and wanted == 1:
            values = values @ LUMA[:, None] if tiled.made > 1 else values.transpose(2, 0, 1)[..., None]
        elif channels < wanted:
            values = np.repeat(values, wanted, -1)
        values = values if values.ndim == 4 else values[None]
        if tiled.masked:
            hole = np.zeros((height, width), bool) if mask is None else mask
            inside = np.broadcast_to(hole[rows, columns][None, ..., None], (*values.shape[:3], 1))
            values = np.concatenate([values, inside.astype(np.float32)], -1)
        return np.pad(values, ((0, 0), *beyond, (0, 0)), mode="edge") if any(map(any, beyond)) else values

    return read


def _joined(images: np.ndarray, channels: int, out: int) -> np.ndarray:
    """[n,h,w,C'] -> [h,w,out]."""
    if len(images) == channels == 3:                         # a model of gray, one channel at a time
        return images[..., 0].transpose(1, 2, 0)
    image = images[0]
    return image if image.shape[-1] == out else image.mean(-1, keepdims=True)


def _levels(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """[-1,1] -> [0,255] or [0,65535]."""
    return (values + 1) * np.float32(np.iinfo(dtype).max / 2)


def _quantized(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)


def _opaque(pixels: np.ndarray) -> np.ndarray:
    """The colors; those that alpha hides altogether are the mean of the visible ones near them.

    Editors leave anything there, often black, of which a model would draw a dark fringe.
    """
    if pixels.shape[-1] in (1, 3):
        return pixels
    color, hidden = pixels[..., :-1], pixels[..., -1] == 0
    if not hidden.any():
        return color
    color = color.copy()
    height = len(color)
    for start in range(0, height, 256):                      # so that the floats are of a band only
        low, high = max(start - REACH, 0), min(start + 256 + REACH, height)
        alpha = pixels[low:high, ..., -1:].astype(np.float32)
        near, share = (_mean(each) for each in (pixels[low:high, ..., :-1] * alpha, alpha))
        rows = slice(start, min(start + 256, height))
        inner = slice(start - low, rows.stop - low)
        fill = hidden[rows] & (share[inner, ..., 0] > 0.01)
        color[rows][fill] = _quantized((near[inner] / np.maximum(share[inner], 0.01))[fill], color.dtype)
    return color


def _mean(values: np.ndarray) -> np.ndarray:
    """Over squares of 2 REACH + 1 pixels."""
    for axis in (0, 1):
        values = ndimage.uniform_filter1d(values, 2 * REACH + 1, axis, mode="constant")
    return values
