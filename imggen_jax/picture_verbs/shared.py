"""Flags that several verbs have, and the pictures that they name."""
from __future__ import annotations

import argparse
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from imggen_jax.pictures.files import Picture


def add_common(parser: argparse.ArgumentParser) -> None:
    """The flags that every verb has."""
    parser.add_argument("--overwrite", action="store_true", help="make again what is there, even an input")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--keep-going", action="store_true",
                        help="after an input that cannot be worked with, go on with the others")


def add_masks(parser: argparse.ArgumentParser) -> None:
    """What is to be changed; read by `mask_of`."""
    parser.add_argument("--mask", metavar="M", help="a picture of the same size, or a folder of them named like the "
                        "inputs: white, or transparent, is changed. Default: where the input is transparent")
    parser.add_argument("--box", action="append", default=[], type=_box, metavar="X,Y,W,H",
                        help="a rectangle that is changed, from the upper left corner; may be repeated")
    parser.add_argument("--mask-means", choices=("change", "keep"), default="change",
                        help="what white means in the mask (default: change)")


def _box(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(,\d+){3}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not X,Y,W,H in pixels, as in 120,80,200,160")
    return tuple(int(word) for word in text.split(","))


def mask_of(args: argparse.Namespace, picture: Picture, path: Path) -> tuple[np.ndarray, Picture]:
    """bool [H,W], true where the picture is changed, and the picture, opaque where its own alpha was the mask."""
    import numpy as np

    from imggen_jax.patches import PatchError
    from imggen_jax.pictures import files

    height, width, channels = picture.pixels.shape
    change = np.zeros((height, width), bool)
    if args.mask:
        white = marked(files.read(beside(Path(args.mask), path)).pixels)
        if white.shape != change.shape:
            raise PatchError(f"the mask is {white.shape[1]}x{white.shape[0]} and {path.name} {width}x{height}; they "
                             "must be of one size")
        change |= white if args.mask_means == "change" else ~white
    for x, y, w, h in args.box:
        if x >= width or y >= height or not w or not h:
            raise PatchError(f"the box {x},{y},{w},{h} lies outside {path.name}, which is {width}x{height}")
        change[y : y + h, x : x + w] = True
    if not args.mask and not args.box:
        if channels not in (2, 4) or picture.pixels[..., -1].min() > 0:
            raise PatchError("say what is to be changed: --mask FILE, --box X,Y,W,H, or a picture that is transparent "
                             "there")
        change = picture.pixels[..., -1] == 0
        picture = picture._replace(pixels=picture.pixels[..., :-1])
    return change, picture


def marked(pixels: np.ndarray) -> np.ndarray:
    """bool [H,W], true where a mask is white, or transparent if it is that anywhere."""
    top = 65535 if pixels.dtype.itemsize == 2 else 255
    if pixels.shape[-1] in (2, 4) and pixels[..., -1].min() < top / 2:
        return pixels[..., -1] < top / 2                     # as in OpenAI's API: transparent is edited
    return pixels[..., :3].max(-1) >= top / 2


def beside(mask: Path, path: Path) -> Path:
    """The mask of an input: the file itself, or the one of the same name in a folder."""
    from imggen_jax.pictures import files

    if not mask.is_dir():
        return mask
    found = [f for f in sorted(mask.iterdir()) if f.stem == path.stem and f.suffix.lower() in files.READ]
    if not found:
        raise files.PictureError(f"the folder {mask} holds no mask named {path.stem}, for {path.name}")
    return found[0]


def other(path: str, like: Picture) -> np.ndarray:
    """Another picture, with its colors in the profile, and of the depth, of the first."""
    from imggen_jax.pictures import files

    found = files.read(path)
    for note in found.notes:
        print(f"note: {Path(path).name}: {note}")
    return _deep(files.in_profile(found, like.icc), like.pixels.dtype)


def _deep(pixels: np.ndarray, dtype) -> np.ndarray:
    if pixels.dtype == dtype:
        return pixels
    return (pixels.astype(dtype) * 257 if dtype.itemsize == 2 else (pixels // 257).astype(dtype))


def with_channels(pixels: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Pixels with the channels of another picture: gray repeated, alpha added or left."""
    import numpy as np

    color, wanted = pixels[..., : 3 if pixels.shape[-1] >= 3 else 1], like.shape[-1]
    if wanted >= 3 and color.shape[-1] == 1:
        color = np.repeat(color, 3, -1)
    if wanted < 3 and color.shape[-1] == 3:
        color = np.rint(color.mean(-1, keepdims=True)).astype(pixels.dtype)
    if wanted in (1, 3):
        return color
    alpha = pixels[..., -1:] if pixels.shape[-1] in (2, 4) else np.full_like(color[..., :1], np.iinfo(color.dtype).max)
    return np.concatenate([color, alpha], -1)


def filled(picture: Picture, opaque: Picture, change: np.ndarray) -> Picture:
    """The picture that is changed, opaque in the hole: its own alpha may have been the mask, as `mask_of` says."""
    import numpy as np

    if opaque.pixels.shape == picture.pixels.shape:
        return picture
    pixels = picture.pixels.copy()
    pixels[change, -1] = np.iinfo(pixels.dtype).max
    return picture._replace(pixels=pixels)


def asked(args: argparse.Namespace, flags: Collection[str], of_files: Collection[str]) -> dict[str, Any]:
    """What is signed of the flags that are given: their values, and of files the names alone."""
    said = {}
    for flag in sorted(flags & vars(args).keys()):
        value = getattr(args, flag)
        if flag in of_files and value:
            value = [Path(one).name for one in ([value] if isinstance(value, str) else value)]
        if value not in (None, [], ""):
            said[flag] = value
    return said
