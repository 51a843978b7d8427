"""Pictures on the host: grids of images, and PNG files. NumPy uint8 throughout; nothing here touches a device."""
from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imggen_jax.storage.files import write_atomic

if TYPE_CHECKING:
    from PIL import PngImagePlugin

WHITE = (255, 255, 255)


def grid(
    images: np.ndarray,
    columns: int | None = None,
    pad: int = 2,
    background: tuple[int, int, int] = WHITE,
) -> np.ndarray:
    """Lay images out row by row, with `pad` pixels around each.

    Args:
      images: uint8 [N,H,W,C] with N > 0 and C 1 or 3.
      columns: images in a row; None takes the number that makes the whole nearly square, or a little wider, with few
        places left empty.
      pad: pixels between the images and around the whole.
      background: red, green, blue of the padding and of the places left empty in the last row.

    Returns:
      uint8 [rows * (H + pad) + pad, columns * (W + pad) + pad, 3].

    Raises:
      ValueError: the images are not uint8 [N,H,W,C] as above, or columns is below 1.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
        raise ValueError(f"a grid needs uint8 [N,H,W,C] with N > 0 and C 1 or 3, not {images.dtype} {images.shape}")
    n, height, width, _ = images.shape
    if columns is None:
        columns = min(range(1, n + 1), key=lambda c: _ugliness(n, c, (width + pad) / (height + pad)))
    if columns < 1:
        raise ValueError(f"a grid needs at least one column, not {columns}")
    rows = -(-n // columns)
    canvas = np.empty((rows * (height + pad) + pad, columns * (width + pad) + pad, 3), np.uint8)
    canvas[:] = background
    for k, image in enumerate(images):
        top, left = pad + (k // columns) * (height + pad), pad + (k % columns) * (width + pad)
        canvas[top : top + height, left : left + width] = image  # one channel broadcasts to three
    return canvas


def _ugliness(n: int, columns: int, cell: float) -> float:
    # Distance from a picture a third wider than high; a tenth of the places left empty weighs as much as a factor 1.8.
    rows = -(-n // columns)
    return abs(math.log(columns * cell / rows / 1.33)) + 6 * (rows * columns - n) / n


def reconstruction_grid(
    originals: np.ndarray,
    reconstructions: np.ndarray,
    columns: int | None = None,
    pad: int = 6,
    background: tuple[int, int, int] = WHITE,
) -> np.ndarray:
    """Lay out pairs, each original directly above its reconstruction; a thin seam within a pair, a wide gap between.

    Args:
      originals, reconstructions: uint8 [N,H,W,C] of one shape.
      columns, pad, background: as for `grid`, of pairs.

    Returns:
      uint8 [H',W',3].

    Raises:
      ValueError: the shapes differ, or are none that `grid` takes.
    """
    if originals.shape != reconstructions.shape:
        raise ValueError(f"{originals.shape} originals cannot be paired with {reconstructions.shape} reconstructions")
    return stacked_grid([originals, reconstructions], columns, pad, background)


def stacked_grid(
    images: Sequence[np.ndarray],
    columns: int | None = None,
    pad: int = 6,
    background: tuple[int, int, int] = WHITE,
) -> np.ndarray:
    """Lay out several versions of each image, one below the other with thin seams: uint8 [N,H,W,C] each, C 1 or 3.

    Other arguments, returns, raises: as `grid`.
    """
    parts: list[np.ndarray] = []
    for each in images:
        if parts:
            parts.append(np.broadcast_to(np.asarray(background, np.uint8), (len(each), 1, each.shape[2], 3)))
        parts.append(np.broadcast_to(each, (*each.shape[:3], 3)))
    return grid(np.concatenate(parts, axis=1), columns, pad, background)


def upscale(image: np.ndarray, factor: int) -> np.ndarray:
    """Each pixel of uint8 [H,W,C] becomes factor x factor equal ones: [H * factor, W * factor, C]."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def write_png(path: str | Path, image: np.ndarray, info: PngImagePlugin.PngInfo | None = None) -> None:
    """Write uint8 [H,W,C], C 1 or 3, as a PNG; the file is there whole or not at all. Makes its folder.

    A color image without color is stored with one channel, which takes about a third of the space. `info` holds text
    chunks, as `provenance.png_info` makes them.
    """
    from PIL import Image

    path = Path(path)
    image = np.asarray(image)
    if (image == image[..., :1]).all():
        image = image[..., 0]
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(image)
    write_atomic(path, lambda file: picture.save(file, format="PNG", optimize=True, pnginfo=info))
