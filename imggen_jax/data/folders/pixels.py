"""One file's bytes -> the RGB picture that a viewer would show, as it is wanted, or the reason why there is none.

Pillow decodes; what it leaves to its callers is done here: EXIF orientation, color profiles, 16 bits, transparency,
and limits. A JPEG that is much larger than needed is decoded at 1/2, 1/4 or 1/8 of its size: libjpeg then keeps the low
frequencies of each block, so nothing aliases, and at least twice the wanted side is left for the antialiased resize.
"""
from __future__ import annotations

import functools
import hashlib
import io
import threading
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin

from imggen_jax.data import resize

# Names how pixels come about; change it with the pixels that this file makes, and folders are ingested anew.
RECIPE = f"ingest 1, {resize.RECIPE}"
FITS = ("crop", "pad")
MAX_BYTES = 512 * 2**20  # of one file
HEAD = 32                # bytes that tell the format

_SPARE = 2               # times the wanted side that a JPEG is decoded to, at least: see experiments/own_pictures
_SIGNATURES = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF"),
               (b"BM", "BMP"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"))
# Pictures and relatives that are named instead of being called no picture.
_UNSUPPORTED = ((b"ftyphei", "HEIC"), (b"ftyphev", "HEIC"), (b"ftypmif1", "HEIC"), (b"ftypmsf1", "HEIC"),
                (b"ftypavi", "AVIF"), (b"JXL ", "JPEG XL"), (b"jP  ", "JPEG 2000"))
_GRAY_16 = ("I;16", "I;16B", "I;16L", "I;16N")
_ORIENTATION, _BITS, _PHOTOMETRIC = 274, 258, 262  # tags of EXIF and TIFF


class Wanted(NamedTuple):
    """What a picture is to become."""

    size: int                          # side in pixels; 0 to keep the picture's own size
    fit: str                           # "crop" to the central square, or "pad" to a square with the background
    background: tuple[int, int, int]   # sRGB, behind transparency and beside padded pictures
    min_side: int                      # pixels; a shorter side is too small
    max_pixels: int                    # width times height; more is too large
    halves: bool = False               # whether a file holds two pictures of one size, side by side


class Facts(NamedTuple):
    """What a file said of itself."""

    format: str
    mode: str        # Pillow's
    width: int       # as shown, after the EXIF orientation
    height: int
    notes: tuple[str, ...]  # what was handled otherwise than the file asks for


_READING = threading.Lock()  # while a switch of Pillow's is turned


class Refused(ValueError):
    """A file that is left out. reason: the category it is counted under; the message says more."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


def sniff(head: bytes) -> str:
    """The first HEAD bytes of a file -> Pillow's name of its format; raises Refused for other files."""
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    for signature, kind in _UNSUPPORTED:
        if head[4:].startswith(signature):
            raise Refused("format not supported", f"{kind}; export it as JPEG or PNG")
    raise Refused("not a picture", "empty" if not head else "its first bytes are of no picture format")


def fitted(data: bytes, wanted: Wanted) -> tuple[tuple[Image.Image, ...], Facts]:
    """A file's bytes -> the RGB picture as it is wanted, or with `wanted.halves` the right half and the left one.

    The facts are the file's, of one half where there are two. Raises Refused.
    """
    picture, facts = rgb(data, wanted)
    if not wanted.halves:
        return (_fitted(picture, facts, wanted),), facts
    if facts.width % 2:
        raise Refused("not two halves", f"it is {facts.width} pixels wide, which two pictures of one size side by side "
                      "are not")
    middle = facts.width // 2
    facts = facts._replace(width=middle)
    if min(middle, facts.height) < wanted.min_side:
        raise Refused("too small", f"its halves are {middle}x{facts.height}; their shorter side is below "
                      f"{wanted.min_side}")
    boxes = ((middle, 0, 2 * middle, facts.height), (0, 0, middle, facts.height))
    return tuple(_fitted(picture.crop(box), facts, wanted) for box in boxes), facts


def rgb(data: bytes, wanted: Wanted) -> tuple[Image.Image, Facts]:
    """A file's bytes -> the whole picture as shown, mode RGB, and the file's facts.

    A JPEG may come smaller than it is, down to twice the wanted size. Raises Refused.
    """
    kind = sniff(data[:HEAD])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd EXIF blocks and the like; what matters is raised
            picture = _open(data, kind, wanted)
            mode, (width, height) = picture.mode, picture.size
            if picture.format in ("JPEG", "MPO") and wanted.size and not wanted.halves:
                _draft(picture, wanted)
            picture.load()
            turned, notes = _turn_upright(picture)
            color, alpha = _eight_bit(picture)
            color, more = _srgb(color, picture.info.get("icc_profile"))
    except Refused:
        raise
    except Image.DecompressionBombError as error:
        raise Refused("too large", _line(error)) from error
    except MemoryError as error:
        raise Refused("too large", "it needs more memory than a picture may take") from error
    except Exception as error:  # for broken files Pillow raises OSError, SyntaxError, struct.error and many more
        raise Refused("truncated" if _is_truncated(error) else "broken", _line(error)) from error
    if alpha is not None:
        paper = Image.new("RGB", color.size, wanted.background)
        paper.paste(color, mask=alpha)
        color = paper
    return color, Facts(kind, mode, *((height, width) if turned else (width, height)), notes + more)


def digest(picture: Image.Image) -> str:
    """sha256 hex of a picture's size and pixels, however they are packed in a file."""
    size = f"{picture.width}x{picture.height} {picture.mode} ".encode()
    return hashlib.sha256(size + picture.tobytes()).hexdigest()


def thumbnail(data: bytes, side: int, limit: int) -> bytes | None:
    """A JPEG of at most side x side of whatever can be seen of a file, however broken; None if nothing can.

    limit: of pixels, above which it is not tried.
    """
    from PIL import ImageFile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(data), formats=[sniff(data[:HEAD])])
            if picture.width * picture.height > limit:
                return None
            ImageFile.LOAD_TRUNCATED_IMAGES = True
            picture.draft(None, (side, side))
            picture.load()
            _turn_upright(picture)
            color, _ = _eight_bit(picture)
            color.thumbnail((side, side))
            out = io.BytesIO()
            color.convert("RGB").save(out, "JPEG", quality=80)
    except Exception:  # noqa: BLE001 - of many types; a page without this thumbnail is as good
        return None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    return out.getvalue()


def _open(data: bytes, kind: str, wanted: Wanted) -> Image.Image:
    """The picture, within the limits, not decoded yet."""
    if kind == "PNG":  # decoding alone passes over the checksums of the pixels
        with Image.open(io.BytesIO(data), formats=[kind]) as picture:
            _check_size(picture, wanted)
            picture.verify()
    picture = Image.open(io.BytesIO(data), formats=[kind])
    if kind == "TIFF" and picture.tile and picture.tile[0][0] == "raw" and "RGBX" in (picture.tile[0][3] or ()):
        # Pillow before version 13 takes three bytes of YCbCr for four of RGBX; libtiff, which it has too, does not.
        with _READING:
            before, TiffImagePlugin.READ_LIBTIFF = TiffImagePlugin.READ_LIBTIFF, True
            try:
                picture = Image.open(io.BytesIO(data), formats=[kind])
            finally:
                TiffImagePlugin.READ_LIBTIFF = before
    _check_size(picture, wanted)
    return picture


def _check_size(picture: Image.Image, wanted: Wanted) -> None:
    width, height = picture.size
    if width * height > wanted.max_pixels:
        raise Refused("too large", f"{width}x{height} is more than {wanted.max_pixels:,} pixels")
    if min(width, height) < wanted.min_side:
        raise Refused("too small", f"{width}x{height}; its shorter side is below {wanted.min_side}")


def _draft(picture: Image.Image, wanted: Wanted) -> None:
    """Lets libjpeg decode at 1/2, 1/4 or 1/8, as far as _SPARE times the wanted side is left."""
    side = (min if wanted.fit == "crop" else max)(picture.size)
    width, height = (max(1, length * _SPARE * wanted.size // side) for length in picture.size)
    picture.draft(None, (width, height))


def _turn_upright(picture: Image.Image) -> tuple[bool, tuple[str, ...]]:
    """Turns the picture as its EXIF block says: whether width and height changed places, and notes."""
    try:
        turned = picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
        ImageOps.exif_transpose(picture, in_place=True)  # a copy would lose the tags of a TIFF
        return turned, ()
    except Exception:  # noqa: BLE001 - a damaged EXIF block raises errors of many types; viewers pass over it
        return False, ("EXIF cannot be read",)


def _eight_bit(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """A decoded picture of any mode -> its color in mode L, RGB, CMYK or LAB, and its alpha in mode L, or None."""
    mode = picture.mode
    if mode in _GRAY_16 or (mode == "I" and picture.format == "PNG"):  # the latter by Pillow before 11.3
        return _from_16_bit(picture)
    if mode in ("I", "F"):
        raise Refused("format not supported", f"32-bit values (mode {mode}) have no agreed white")
    if mode in ("LA", "La"):
        picture = picture.convert("LA")
        return picture.getchannel("L"), picture.getchannel("A")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return picture.convert("RGB"), picture.getchannel("A")
    if mode == "1":
        return picture.convert("L"), None
    return (picture if mode in ("L", "RGB", "CMYK", "LAB") else picture.convert("RGB")), None


def _from_16_bit(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Gray of 16 bits (a TIFF's may be fewer) -> the nearest 8-bit gray; Pillow's own conversions clip or cut."""
    values = np.asarray(picture).astype(np.uint32)
    tags = getattr(picture, "tag_v2", {})
    white = 2 ** tags.get(_BITS, (16,))[0] - 1
    clear = picture.info.get("transparency")
    alpha = None if clear is None else Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
    gray = ((np.minimum(values, white) * 255 + white // 2) // white).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:  # WhiteIsZero, which Pillow turns round for fewer bits only
        gray = 255 - gray
    return Image.fromarray(gray), alpha


def _srgb(picture: Image.Image, profile: bytes | None) -> tuple[Image.Image, tuple[str, ...]]:
    """Mode L, RGB, CMYK or LAB, in the colors of an ICC profile -> RGB in sRGB, and notes."""
    if picture.mode == "LAB":
        return _applied(picture, _lab()), ()
    if profile:
        try:
            transform = _transform(profile, picture.mode)
            if transform is not None:
                return _applied(picture, transform), ()
        except (ImageCms.PyCMSError, OSError, ValueError):  # damaged, or of another kind than the pixels
            return picture.convert("RGB"), ("color profile cannot be used",)
    return picture.convert("RGB"), ()


def _applied(picture: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    made = ImageCms.applyTransform(picture, transform)
    assert made is not None, "only a transform in place returns none"
    return made


@functools.lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile's colors to sRGB; None where that changes no value by more than the rounding, as for sRGB."""
    transform = ImageCms.buildTransform(ImageCms.ImageCmsProfile(io.BytesIO(profile)), _srgb_profile(), mode, "RGB",
                                        ImageCms.Intent.PERCEPTUAL)
    if mode == "CMYK":
        return transform
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    probe = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, levels.size, 3)
    picture = Image.fromarray(probe if mode == "RGB" else np.ascontiguousarray(probe[..., 0]))
    change = np.asarray(_applied(picture, transform)).astype(int) - np.asarray(picture.convert("RGB"))
    return transform if np.abs(change).max() > 1 else None


@functools.cache
def _srgb_profile() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@functools.cache
def _lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb_profile(), "LAB", "RGB")


def _fitted(picture: Image.Image, facts: Facts, wanted: Wanted) -> Image.Image:
    """Cropped or padded to a square of the wanted side, or left as it is for side 0.

    As `resize.square`, also for a picture that was decoded small, where edges may fall between pixels.
    """
    if not wanted.size:
        return picture
    if (facts.width, facts.height) == picture.size and wanted.fit == "crop":
        return resize.square(picture, wanted.size)
    shrunk = round(facts.width / picture.width)
    if wanted.fit == "crop":
        side = min(facts.width, facts.height)
        left, top = (facts.width - side) // 2, (facts.height - side) // 2
        box, inner = (left, top, left + side, top + side), (wanted.size, wanted.size)
    else:
        side = max(facts.width, facts.height)
        box = (0, 0, facts.width, facts.height)
        inner = (max(1, round(facts.width * wanted.size / side)), max(1, round(facts.height * wanted.size / side)))
    box = (box[0] / shrunk, box[1] / shrunk, box[2] / shrunk, box[3] / shrunk)
    whole = all((box[i + 2] - box[i]) % inner[i] == 0 and box[i] % 1 == 0 for i in (0, 1))
    picture = picture.resize(inner, Image.Resampling.BOX if whole else Image.Resampling.BICUBIC, box=box)
    if wanted.fit == "crop":
        return picture
    paper = Image.new("RGB", (wanted.size, wanted.size), wanted.background)
    paper.paste(picture, ((wanted.size - inner[0]) // 2, (wanted.size - inner[1]) // 2))
    return paper


def _is_truncated(error: Exception) -> bool:
    return isinstance(error, EOFError) or any(word in str(error).lower() for word in ("truncat", "unexpected end"))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
