"""Picture files: opened whatever their kind, and written with the alpha, profile, metadata and depth that they had."""
from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from imggen_jax.errors import ImggenError, SaveError
from imggen_jax.pictures import encoding
from imggen_jax.storage.files import disk_is_full, write_atomic

READ = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".apng")
WRITTEN = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF",
           ".avif": "AVIF"}
MAX_PIXELS = 152_000_000             # of an input, whose reading takes 7 bytes each: a process stays below 1.5 GB
_ORIENTATION = 0x0112
_BAND = 256                          # rows


class PictureError(ImggenError, ValueError):
    """A file that cannot be read or written; the message is one line: what is wrong, and what to do."""


class Picture(NamedTuple):
    """A picture, upright, and what its file had besides pixels."""

    pixels: np.ndarray               # uint8 or uint16 [H,W,C], C: 1 gray, 2 with alpha, 3 color, 4 with alpha
    icc: bytes | None = None         # the color profile that the pixels are in; None: sRGB
    exif: bytes | None = None        # with the orientation taken out, as the pixels are upright
    notes: tuple[str, ...] = ()      # what was changed in reading
    xmp: bytes | None = None         # with the orientation set to upright


def read(path: str | Path) -> Picture:
    """Opens a picture file: PNG, JPEG, WebP, TIFF, AVIF, BMP, GIF; 1, 8 or 16 bits; gray, palette, color, CMYK; alpha.

    Of an animation or of several pages the first is taken, CMYK is converted to sRGB, each with a note.

    Raises:
      PictureError: there is no such file, or it is no picture that can be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _decoded(file, str(path))
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror or error}") from error


def decoded(data: bytes, name: str = "the picture") -> Picture:
    """`read` of the bytes of a file. name: in messages."""
    return _decoded(io.BytesIO(data), name)


def _decoded(file: BinaryIO, name: str) -> Picture:
    """What an open file holds. Not read as a whole: beside its pixels, its bytes would be in memory too."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")                  # of odd metadata; what matters is raised
            picture = Image.open(file)
            if picture.width * picture.height > MAX_PIXELS:
                raise PictureError(f"{name} is {picture.width}x{picture.height}; more than {MAX_PIXELS:,} pixels are "
                                   "not read")
            return _picture(picture, file)
    except PictureError:
        raise
    except MemoryError as error:
        raise PictureError(f"{name} needs more memory than there is; give a smaller picture") from error
    except UnidentifiedImageError:   # whose words are only the address of a buffer
        what = "no picture that can be read" if file.seek(0, io.SEEK_END) else "empty"
        raise PictureError(f"{name} is {what}; give a PNG, JPEG, WebP or TIFF file") from None
    except Exception as error:       # for broken files Pillow raises OSError, SyntaxError, struct.error and many more
        raise PictureError(f"{name} is no picture that can be read ({' '.join(str(error).split())}); give a PNG, JPEG, "
                           "WebP or TIFF file") from error


def _picture(picture: ImageFile.ImageFile, file: BinaryIO) -> Picture:
    notes = []
    frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        notes.append(f"the first of {frames} frames or pages is taken")
        picture.seek(0)
    pixels = _sixteen_bit(picture, file)                     # before the metadata, which may follow the pixels
    orientation, exif = _exif(picture)
    icc = picture.info.get("icc_profile")
    if pixels is None:
        picture.load()
        shown: Image.Image = picture
        if picture.mode == "CMYK" or picture.mode in ("LAB", "YCbCr", "HSV"):
            shown, icc = _srgb(picture, icc), None
            notes.append("its colors are converted to sRGB")
        pixels = _eight_bit(shown, notes)
    return Picture(np.ascontiguousarray(_upright(pixels, orientation)), icc, exif, tuple(notes), _xmp(picture))


def _exif(picture: Image.Image) -> tuple[int, bytes | None]:
    """The orientation, 1 to 8, and the EXIF block without it."""
    try:
        exif = picture.getexif()
        orientation = exif.pop(_ORIENTATION, 1)
        if picture.format == "TIFF":  # there these tags are the file's own structure
            return orientation, None
        return orientation if orientation in range(1, 9) else 1, exif.tobytes() if len(exif) else None
    except Exception:  # noqa: BLE001 - a damaged block raises errors of many types; viewers pass over it
        return 1, None


def _xmp(picture: Image.Image) -> bytes | None:
    """The XMP packet (ISO 16684-1), which may repeat the orientation."""
    found = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp")
    if not found:
        return None
    packet = found.encode() if isinstance(found, str) else bytes(found)
    return re.sub(rb"(tiff:Orientation(?:=.|>))[2-8]", rb"\g<1>1", packet)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


def _sixteen_bit(picture: ImageFile.ImageFile, file: BinaryIO) -> np.ndarray | None:
    """uint16 [H,W,C] of a picture with 16 bits a channel, else None.

    Pillow takes the high byte of each number of a color picture. Asked for the other byte order it takes the low one.
    """
    if picture.mode.startswith("I"):
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise PictureError("its gray values do not fit 16 bits; export it as 16-bit PNG")
        return values.astype(np.uint16)[..., None]
    raw = _raw_mode(picture)
    if raw == "LA;16B":              # a pixel's four bytes, read as if they were those of a color with alpha
        pieces = np.asarray(_reopened(file, "RGBA")).astype(np.uint16)
        return pieces[..., ::2] << 8 | pieces[..., 1::2]
    if raw is None or picture.mode not in ("RGB", "RGBA"):
        return None
    order = "BL" if raw.endswith("B") else "LB"
    pixels = _array(_reopened(file, f"{picture.mode};16{order[0]}")).astype(np.uint16)
    pixels <<= 8
    pixels |= _array(_reopened(file, f"{picture.mode};16{order[1]}"))
    return pixels


def _raw_mode(picture: ImageFile.ImageFile) -> str | None:
    for tile in picture.tile:
        args = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        for word in args[:1]:
            if isinstance(word, str) and word in ("LA;16B", "RGB;16B", "RGB;16L", "RGB;16N", "RGBA;16B", "RGBA;16L",
                                                  "RGBA;16N"):
                return word.replace("N", "L" if struct.pack("=H", 1)[0] else "B")
    return None


def _reopened(file: BinaryIO, raw: str) -> Image.Image:
    file.seek(0)
    picture = Image.open(file)
    picture.tile = [tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw)
                    for tile in picture.tile]
    picture.load()
    return picture


def _eight_bit(picture: Image.Image, notes: list[str]) -> np.ndarray:
    if picture.mode == "F":
        raise PictureError("its values are floating point, of unknown range; export it as 16-bit PNG")
    if picture.mode in ("L", "LA", "RGB", "RGBA") and not (picture.mode in ("L", "RGB")
                                                            and picture.has_transparency_data):
        wanted = picture.mode
    elif picture.has_transparency_data:
        wanted = "LA" if picture.mode in ("1", "L", "La") else "RGBA"
    else:
        wanted = "L" if picture.mode in ("1", "L") else "RGB"
    if picture.mode in ("P", "PA"):
        notes.append("its palette is left for full color")
    pixels = _array(picture, wanted)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _array(picture: Image.Image, mode: str | None = None) -> np.ndarray:
    """The pixels, in another mode if one is named: band by band, as Pillow would hold two more copies of the whole."""
    width, height = picture.size
    pixels = None
    for top in range(0, height, _BAND):
        band = picture.crop((0, top, width, min(top + _BAND, height)))
        part = np.asarray(band if mode in (None, band.mode) else band.convert(mode))
        if pixels is None:
            pixels = np.empty((height, *part.shape[1:]), part.dtype)
        pixels[top : top + len(part)] = part
    assert pixels is not None, "pictures have rows"
    return pixels


def _srgb(picture: Image.Image, icc: bytes | None) -> Image.Image:
    if icc:
        try:
            made = ImageCms.profileToProfile(picture, ImageCms.ImageCmsProfile(io.BytesIO(icc)),
                                             ImageCms.createProfile("sRGB"), outputMode="RGB")
            assert made is not None  # as only in place
            return made
        except ImageCms.PyCMSError:
            pass                     # a profile of another kind, or broken: as without one
    return picture.convert("RGB")


def in_profile(picture: Picture, icc: bytes | None) -> np.ndarray:
    """The pixels of a picture with their colors in another profile: [H,W,C] of its dtype.

    Of 16 bits the upper 8 are converted, as LittleCMS is reached through Pillow, and the rest is added again; so colors
    are as right as with 8 bits, and gradients as smooth as before.
    """
    if picture.icc == icc or picture.pixels.shape[-1] < 3:
        return picture.pixels
    color = picture.pixels[..., :3]
    coarse = color if color.dtype == np.uint8 else np.rint(color / 257).astype(np.uint8)
    try:
        source, goal = (ImageCms.ImageCmsProfile(io.BytesIO(p)) if p else ImageCms.createProfile("sRGB")
                        for p in (picture.icc, icc))
        made = ImageCms.profileToProfile(Image.fromarray(np.ascontiguousarray(coarse)), source, goal, outputMode="RGB")
    except ImageCms.PyCMSError:      # a gray profile, or a broken one
        return picture.pixels
    made = np.asarray(made)
    if color.dtype != np.uint8:
        finer = color - 257 * coarse.astype(np.int32)
        made = np.clip(257 * made.astype(np.int32) + finer, 0, 65535).astype(color.dtype)
    return np.concatenate([made, picture.pixels[..., 3:]], -1)


def write(path: str | Path, picture: Picture) -> tuple[str, ...]:
    """Writes a picture, whole or not at all; the folder is made if needed.

    Args:
      path: its ending names the format: .png, .jpg, .webp (lossless), .tif or .avif.
      picture: PNG and TIFF keep 16 bits, the others take 8.

    Returns:
      notes on what could not be kept.

    Raises:
      PictureError: a format that is not written, or that has no transparency; or the file cannot be written.
      SaveError: the disk is full.
    """
    kept, notes = fitted(path, picture)
    write_bands(path, kept, kept.pixels.shape, [kept.pixels])
    return notes


def fitted(path: str | Path, picture: Picture, scale: int = 1) -> tuple[Picture, tuple[str, ...]]:
    """The picture as a format can keep it, `scale` times as large, and notes on what could not be kept.

    Raises:
      PictureError: the format is not written, has no transparency, or holds no picture of this size.
    """
    path, notes = Path(path), []
    kind, pixels = check_output(path), picture.pixels
    longest = scale * max(pixels.shape[:2])
    if longest > (most := encoding.LONGEST.get(kind, longest)):
        raise PictureError(f"{path.name} would have a side of {longest:,} pixels, and {kind} holds at most {most:,}; "
                           "name a .png or .tif file")
    if kind == "TIFF" and (size := scale**2 * pixels.nbytes) > encoding.TIFF_BYTES:
        raise PictureError(f"{path.name} would have {size / 1e9:.1f} GB, and TIFF holds at most 4; name a .png file")
    if pixels.shape[-1] in (2, 4) and kind == "JPEG":
        if (pixels[..., -1] < np.iinfo(pixels.dtype).max).any():
            raise PictureError(f"{path.name} cannot keep the transparency; name a .png, .webp or .tif file")
        pixels = pixels[..., :-1]
    if pixels.dtype == np.uint16 and kind not in ("PNG", "TIFF"):
        pixels = np.rint(pixels / 257).astype(np.uint8)
        notes.append(f"{kind} takes 8 bits a channel; PNG and TIFF keep 16")
    return picture._replace(pixels=pixels), tuple(notes)


def write_bands(path: str | Path, like: Picture, shape: tuple[int, int, int], bands: Iterable[np.ndarray]) -> None:
    """Writes a picture that comes in bands from the top, whole or not at all; the folder is made if needed.

    Args:
      path: as for `write`.
      like: its profile, metadata and dtype are written; the format can keep them, as `fitted` sees to.
      shape: (H,W,C) of the whole.
      bands: [rows,W,C].

    Raises:
      PictureError: the file cannot be written.
      SaveError: the disk is full. What was there is unchanged.
    """
    path = Path(path)
    kind = check_output(path)
    put(path, lambda file: encode_bands(file, kind, like, shape, bands))


def encode_bands(file: BinaryIO, kind: str, like: Picture, shape: tuple[int, int, int], bands: Iterable[np.ndarray],
                 quality: int | None = None) -> None:
    """What `write_bands` writes, in an open file. kind: Pillow's name of the format; quality: as of `encoding.encode`.
    """
    encoding.encode(file, kind, shape, like.pixels.dtype, bands, icc=like.icc, exif=like.exif, xmp=like.xmp,
                    quality=quality)


def encoded(kind: str, picture: Picture) -> bytes:
    """The bytes of a file of a format, by Pillow's name, that can keep the picture as it is."""
    file = io.BytesIO()
    encode_bands(file, kind, picture, picture.pixels.shape, [picture.pixels])
    return file.getvalue()


def put(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Writes a file, whole or not at all; its folder is made if needed.

    Args:
      path: of the file.
      content: its bytes, or what writes them to an open file.

    Raises:
      PictureError: the file cannot be written.
      SaveError: the disk is full. What was there is unchanged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content, sync=True)
    except OSError as error:
        if disk_is_full(error):
            raise SaveError(f"{path} cannot be written ({error.strerror}); what was finished before is kept. Make "
                            "room, then run the same command again") from error
        raise PictureError(f"{path} cannot be written: {error.strerror or error}") from error


def check_output(path: Path) -> str:
    """Pillow's name of the format that a file's name asks for; raises PictureError for others."""
    kind = WRITTEN.get(path.suffix.lower())
    if kind is None:
        raise PictureError(f"{path.name or path} names no format that is written; end it with one of "
                           f"{', '.join(WRITTEN)}")
    return kind


class Job(NamedTuple):
    """One picture to be made."""

    source: Path
    out: Path
    done: bool                       # it is there already


def jobs(inputs: Sequence[str | Path], out: str | Path, *, overwrite: bool = False, suffix: str = "",
         ending: str | None = None) -> list[Job]:
    """Which files are made of which.

    Args:
      inputs: picture files, and folders, which are looked through with all folders in them.
      out: a file name with an ending, for one picture; else a folder, in which the inputs keep their names and, below
        an input folder, their places.
      overwrite: make again what is there, even an input itself.
      suffix: added to the names in a folder.
      ending: of the names in a folder, as ".png"; None: that of the input, where it is written.

    Raises:
      PictureError: an input is not there; two make one file; or one would be written over.
    """
    found = [pair for name in inputs for pair in _inputs(Path(name), Path(out))]
    if not found:
        raise PictureError(f"no picture is in {', '.join(map(str, inputs))}; files end with {', '.join(READ)}")
    out = Path(out)
    single = out.suffix.lower() in WRITTEN and not out.is_dir()
    if single and len(found) > 1:
        raise PictureError(f"{len(found)} pictures cannot all be written to {out}; name a folder")
    if not single and out.suffix and not out.is_dir() and len(found) == 1 and len(out.suffix) < 6:
        check_output(out)
    planned, sources = [], {path.resolve() for path, _ in found}
    for path, below in found:
        end = ending or (path.suffix if path.suffix.lower() in WRITTEN else ".png")
        planned.append((path, out if single else out / below / f"{path.stem}{suffix}{end}"))
    by_name = {}
    for path, to in planned:
        # Some file systems take upper and lower case for the same.
        other = by_name.setdefault(str(to.resolve()).lower(), path)
        if other is not path:
            raise PictureError(f"{other} and {path} would both be written to {to}; rename one, or give them one by one")
        if to.resolve() in sources and not overwrite:
            raise PictureError(f"{to} is an input; name another file or folder, or say --overwrite")
    return [Job(path, to, to.exists() and not overwrite) for path, to in planned]


def _inputs(path: Path, out: Path) -> list[tuple[Path, Path]]:
    """(file, folder below the input folder). Results of an earlier call are no inputs: `out` may lie inside."""
    if path.is_dir():
        inside = out.resolve() if out.resolve() != path.resolve() else None
        files = sorted(f for f in path.rglob("*") if f.suffix.lower() in READ and f.is_file()
                       and not f.name.startswith(".") and inside not in f.resolve().parents)
        return [(f, f.parent.relative_to(path)) for f in files]
    if not path.is_file():
        raise PictureError(f"there is no file or folder {path}")
    return [(path, Path())]
