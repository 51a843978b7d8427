"""Pictures to be scored, from a folder, a .npz file or an array: checked, counted, and read a batch at a time."""
from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imggen_jax.errors import MetricsError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
GRID = "grid.png"  # what the verb `generate` writes beside its pictures
BATCH = 64


class Pictures(NamedTuple):
    """A set of pictures of one size."""

    title: str                    # what to call it in a message
    count: int
    shape: tuple[int, int, int]   # H, W, C
    fingerprint: str              # sha256 over the pictures' bytes, in their order
    batches: Callable[[], Iterator[np.ndarray]]  # () -> uint8 [n,H,W,C], in order; every time anew


def read(path: str | os.PathLike[str]) -> Pictures:
    """A folder, with the folders below it, or a .npz file.

    Raises:
      MetricsError: naming what is not there, empty, broken, of another size than the rest, gray among colors,
        transparent, or not 8-bit.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if path.suffix == ".npz" and path.is_file():
        return _npz(path)
    raise MetricsError(f"{path} is neither a folder of pictures nor a .npz file")


def of_array(images: np.ndarray, title: str, fingerprint: str | None = None) -> Pictures:
    """uint8 [n,H,W,C] in memory. fingerprint: None computes it from the pictures."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise MetricsError(f"{title} holds {images.dtype} {list(images.shape)}; pictures are uint8 [n,H,W,3], or 1 for "
                           "grayscale")
    if not len(images):
        raise MetricsError(f"{title} has no pictures")
    if fingerprint is None:
        digest = hashlib.sha256(repr(images.shape).encode())
        digest.update(np.ascontiguousarray(images).data)
        fingerprint = digest.hexdigest()

    def batches():
        for start in range(0, len(images), BATCH):
            yield images[start:start + BATCH]

    return Pictures(title, len(images), images.shape[1:], fingerprint, batches)


def _folder(folder: Path) -> Pictures:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    files = [path for path in files if path != folder / GRID]
    if not files:
        raise MetricsError(f"the folder {folder} has no pictures ({', '.join(SUFFIXES)})")
    # All files are read once before features are computed for half an hour, so that errors come first.
    first, digest = _decode(files[0]), hashlib.sha256()
    for path in files:
        image = _decode(path)
        if image.shape != first.shape:
            raise MetricsError(f"the pictures of {folder} differ: {files[0].name} is {_says(first)}, {path.name} is "
                               f"{_says(image)}; bring them to one size and one number of channels first")
        digest.update(np.ascontiguousarray(image).data)
    digest.update(repr(first.shape).encode())

    def batches():
        for start in range(0, len(files), BATCH):
            yield np.stack([_decode(path) for path in files[start:start + BATCH]])

    return Pictures(str(folder), len(files), first.shape, digest.hexdigest(), batches)


def _decode(path: Path) -> np.ndarray:
    """uint8 [H,W,1 or 3]."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
            mode, transparent = picture.mode, picture.has_transparency_data
            if not transparent and mode in ("P", "1"):
                picture = picture.convert("RGB" if mode == "P" else "L")
            array = np.asarray(picture)
    except Exception as error:  # for broken files Pillow raises OSError, SyntaxError, struct.error, EOFError and others
        raise MetricsError(f"the picture {path} cannot be read ({type(error).__name__}: "
                           f"{(str(error).splitlines() or [''])[0]}); repair it, or move it to another folder"
                           ) from error
    if transparent:
        raise MetricsError(f"the picture {path} is transparent (mode {mode}); lay it over a background first")
    if array.dtype != np.uint8 or mode not in ("RGB", "L", "P", "1"):
        raise MetricsError(f"the picture {path} is of mode {mode}; scores take 8-bit RGB or grayscale")
    return array[..., None] if array.ndim == 2 else array


def _says(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]} {'gray' if image.shape[2] == 1 else 'RGB'}"


def _npz(path: Path) -> Pictures:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = [name for name in ("images", "arr_0", "samples") if name in archive.files]
            if not names:
                raise MetricsError(f"{path} has no array 'images' or 'arr_0'; it has {', '.join(archive.files)}")
            images = archive[names[0]]
    except MetricsError:
        raise
    except Exception as error:  # for broken files NumPy raises OSError, ValueError, TypeError, zlib.error and others
        raise MetricsError(f"{path} cannot be read ({type(error).__name__}: "
                           f"{(str(error).splitlines() or [''])[0]})") from error
    return of_array(images, str(path))
