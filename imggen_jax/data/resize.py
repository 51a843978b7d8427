"""Area-correct resizing to a square: center crop, then Pillow's filters with their support scaled to the reduction.

Which filter: BOX where the side shrinks by a whole factor, since every new pixel is then exactly the mean of the area
that it covers and nothing rings; BICUBIC otherwise (also to enlarge). Pillow's BOX at a fractional factor takes each
old pixel wholly or not at all and so weighs them unevenly, while its BICUBIC stays antialiased at any factor, which is
why scores are computed with it (Parmar et al. 2022, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation",
arXiv 2104.11222). LANCZOS overshoots further beside an edge (8% of its height, BICUBIC 4%, measured at
300 -> 97 pixels), and that shows on line drawings and digits.
Pixel values are averaged as they are stored (sRGB), as is the custom for image datasets.
"""
from __future__ import annotations

import numpy as np
from PIL import Image

# Names the recipe in a dataset's fingerprint; change it with the pixels that `square` returns.
RECIPE = "center-crop, box at whole factors, else bicubic"


def square(picture: Image.Image, size: int) -> Image.Image:
    """The central square of an 8-bit `picture` (mode L or RGB), resized to `size` x `size` pixels."""
    width, height = picture.size
    side = min(width, height)
    if width != height:
        left, top = (width - side) // 2, (height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
    if side == size:
        return picture
    whole = side % size == 0
    return picture.resize((size, size), Image.Resampling.BOX if whole else Image.Resampling.BICUBIC)


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """Images uint8 [N,H,W,C], C 1 or 3 -> their central squares, uint8 [N,size,size,C].

    Raises ValueError for another dtype, rank or number of channels, and for a size below 1.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f"resize takes uint8 [N,H,W,1 or 3]; got {images.dtype} {list(images.shape)}")
    if size < 1:
        raise ValueError(f"resize to a side of {size} pixels: it must be at least 1")
    out = np.empty((len(images), size, size, images.shape[-1]), np.uint8)
    for i, image in enumerate(images):
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        out[i] = as_array(square(picture, size))
    return out


def as_array(picture: Image.Image) -> np.ndarray:
    """A picture of mode L or RGB -> uint8 [H,W,1 or 3]."""
    array = np.asarray(picture)
    return array[..., None] if array.ndim == 2 else array
