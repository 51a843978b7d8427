"""Every format and mode comes out as the RGB that a viewer shows, or is refused with the reason."""
import io
import struct
import zlib

import icc
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from imggen_jax.data import resize
from imggen_jax.data.folders import pixels
from imggen_jax.data.folders.pixels import Refused, Wanted

W, H = 24, 18
PAPER = (200, 30, 120)
WANTED = Wanted(12, "crop", PAPER, 4, 10**6)

y, x = np.mgrid[:H, :W].astype(np.float64)
COLOR = np.stack([255 * x / (W - 1), 255 * y / (H - 1), 127 + 120 * np.sin(x / 3) * np.cos(y / 4)], -1)
COLOR = COLOR.astype(np.uint8)
GRAY = COLOR[..., 0]
ALPHA = (255 * (x + y) / (W + H - 2)).astype(np.uint8)
WIDE = (np.arange(W * H).reshape(H, W) * 151 % 65536).astype(np.uint16)


def file(picture, format, **options) -> bytes:
    out = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(out, format, **options)
    return out.getvalue()


def png(samples: np.ndarray, depth: int, kind: int, *chunks) -> bytes:
    """A PNG of any bit depth and color type, which Pillow does not write; samples [H,W,channels]."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    height, width = samples.shape[:2]
    lines = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in samples)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
            + b"".join(chunk(*each) for each in chunks) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))


def tiff_16(values: np.ndarray, white_is_zero: bool, order: str = "<") -> bytes:
    """A gray TIFF of 16 bits."""
    height, width = values.shape
    tags = [(256, 3, width), (257, 3, height), (258, 3, 16), (259, 3, 1), (262, 3, 0 if white_is_zero else 1),
            (273, 4, 8 + 2 + 12 * 9 + 4), (277, 3, 1), (278, 3, height), (279, 4, 2 * values.size)]
    out = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    for tag, kind, value in tags:
        packed = struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value)
        out += struct.pack(f"{order}HHI", tag, kind, 1) + packed
    return out + struct.pack(f"{order}I", 0) + values.astype(f"{order}u2").tobytes()


def shown(data: bytes, wanted=WANTED) -> np.ndarray:
    return np.asarray(pixels.rgb(data, wanted)[0])


def on_paper(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return np.round(color * share + np.array(PAPER) * (1 - share)).astype(np.uint8)


def rgb_of(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[..., None], 3, -1)


def pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


PALETTE = Image.fromarray(COLOR).quantize(32)
BITS = Image.fromarray(GRAY > 99)
CMYK = Image.fromarray(COLOR).convert("CMYK")
YCBCR = Image.fromarray(COLOR).convert("YCbCr")
MILD = (COLOR // 4 + 90).astype(np.uint8)  # the corners of RGB are hardly told apart in 8 bits of LAB
LAB = ImageCms.applyTransform(Image.fromarray(MILD), ImageCms.buildTransform(
    ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"))
RGBA, LA = np.dstack([COLOR, ALPHA]), np.dstack([GRAY, ALPHA])
LOSSLESS = dict(lossless=True, exact=True)
PALETTE_RGB = np.asarray(PALETTE.convert("RGB"))
CLEAR = np.where(np.asarray(PALETTE) == 5, 0, 255)
DEEP = np.dstack([WIDE, WIDE[::-1], WIDE[:, ::-1]])
ROUND = lambda values: np.round(values / 257).astype(np.uint8)  # noqa: E731 - 65535 = 255 * 257

# name: (file, what a viewer shows, how many levels of 255 it may be off)
KINDS = {
    "RGB png": (file(COLOR, "PNG"), COLOR, 0),
    "RGB bmp": (file(COLOR, "BMP"), COLOR, 0),
    "RGB tiff": (file(COLOR, "TIFF"), COLOR, 0),
    "RGB tiff, lzw": (file(COLOR, "TIFF", compression="tiff_lzw"), COLOR, 0),
    "RGB webp": (file(COLOR, "WEBP", **LOSSLESS), COLOR, 0),
    "RGB jpeg": (file(COLOR, "JPEG", quality=95), pillow(file(COLOR, "JPEG", quality=95)), 0),
    "RGB jpeg, progressive": (file(COLOR, "JPEG", progressive=True),
                              pillow(file(COLOR, "JPEG", progressive=True)), 0),
    "L png": (file(GRAY, "PNG"), rgb_of(GRAY), 0),
    "L tiff": (file(GRAY, "TIFF"), rgb_of(GRAY), 0),
    "L bmp": (file(GRAY, "BMP"), rgb_of(GRAY), 0),
    "L jpeg": (file(GRAY, "JPEG"), pillow(file(GRAY, "JPEG")), 0),
    "1 png": (file(BITS, "PNG"), rgb_of((GRAY > 99) * np.uint8(255)), 0),
    "1 bmp": (file(BITS, "BMP"), rgb_of((GRAY > 99) * np.uint8(255)), 0),
    "1 tiff": (file(BITS, "TIFF", compression="group4"), rgb_of((GRAY > 99) * np.uint8(255)), 0),
    "P png": (file(PALETTE, "PNG"), PALETTE_RGB, 0),
    "P gif": (file(PALETTE, "GIF"), PALETTE_RGB, 0),
    "P bmp": (file(PALETTE, "BMP"), PALETTE_RGB, 0),
    "P tiff": (file(PALETTE, "TIFF"), PALETTE_RGB, 0),
    "P png with a clear color": (file(PALETTE, "PNG", transparency=5), on_paper(PALETTE_RGB, CLEAR), 1),
    "P gif with a clear color": (file(PALETTE, "GIF", transparency=5), on_paper(PALETTE_RGB, CLEAR), 1),
    "P png with alphas": (file(PALETTE, "PNG", transparency=bytes(range(0, 256, 8))),
                          on_paper(PALETTE_RGB, np.asarray(PALETTE) * 8), 1),
    "RGBA png": (file(RGBA, "PNG"), on_paper(COLOR, ALPHA), 1),
    "RGBA tiff": (file(RGBA, "TIFF"), on_paper(COLOR, ALPHA), 1),
    "RGBA webp": (file(RGBA, "WEBP", **LOSSLESS), on_paper(COLOR, ALPHA), 1),
    "LA png": (file(LA, "PNG"), on_paper(rgb_of(GRAY), ALPHA), 1),
    "L png with a clear gray": (file(GRAY, "PNG", transparency=int(GRAY[3, 4])),
                                on_paper(rgb_of(GRAY), np.where(GRAY == GRAY[3, 4], 0, 255)), 0),
    "RGB png with a clear color": (
        file(COLOR, "PNG", transparency=tuple(map(int, COLOR[3, 4]))),
        on_paper(COLOR, np.where((COLOR == COLOR[3, 4]).all(-1), 0, 255)), 0),
    "1 png with clear white": (file(BITS, "PNG", transparency=255),
                               on_paper(rgb_of((GRAY > 99) * np.uint8(255)), np.where(GRAY > 99, 0, 255)), 0),
    "CMYK tiff": (file(CMYK, "TIFF"), np.asarray(CMYK.convert("RGB")), 0),
    "CMYK jpeg": (file(CMYK, "JPEG", quality=95), pillow(file(CMYK, "JPEG", quality=95)), 0),
    "YCbCr tiff": (file(YCBCR, "TIFF"), np.asarray(YCBCR.convert("RGB")), 1),  # libtiff may round otherwise
    "LAB tiff": (file(LAB, "TIFF"), MILD, 4),
    "gray 16 png": (file(WIDE, "PNG"), rgb_of(ROUND(WIDE)), 0),
    "gray 16 tiff": (tiff_16(WIDE, False), rgb_of(ROUND(WIDE)), 0),
    "gray 16 tiff, big-endian": (tiff_16(WIDE, False, ">"), rgb_of(ROUND(WIDE)), 0),
    "gray 16 tiff, white is zero": (tiff_16(WIDE, True), rgb_of(255 - ROUND(WIDE)), 0),
    "gray 16 png with a clear gray": (png(WIDE[..., None], 16, 0, (b"tRNS", struct.pack(">H", WIDE[3, 4]))),
                                      on_paper(rgb_of(ROUND(WIDE)), np.where(WIDE == WIDE[3, 4], 0, 255)), 0),
    "RGB 16 png": (png(DEEP, 16, 2), ROUND(DEEP), 1),
    "RGBA 16 png": (png(np.dstack([DEEP, ALPHA.astype(int) * 257]), 16, 6), on_paper(ROUND(DEEP), ALPHA), 2),
    "LA 16 png": (png(np.dstack([WIDE, ALPHA.astype(int) * 257]), 16, 4), on_paper(rgb_of(ROUND(WIDE)), ALPHA), 2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_is_shown_as_it_is(kind):
    data, wanted, off = KINDS[kind]
    got = shown(data)
    assert got.shape == wanted.shape == (H, W, 3) and got.dtype == np.uint8
    assert np.abs(got.astype(int) - wanted).max() <= off


def test_the_facts_are_of_the_file():
    assert pixels.rgb(file(RGBA, "WEBP"), WANTED)[1] == ("WEBP", "RGBA", W, H, ())
    large = Image.fromarray(COLOR).resize((1200, 900))
    picture, facts = pixels.rgb(file(large, "JPEG"), WANTED._replace(max_pixels=10**7))
    assert facts == ("JPEG", "RGB", 1200, 900, ()) and picture.size == (150, 113)
    turned = pixels.rgb(file(COLOR, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
                                                  b"\0\0\0\0"), WANTED)[1]
    assert (turned.width, turned.height) == (H, W)


# --------------------------------------------------------------------------------------------------------- orientation

# What stored[row, column] each corner of the picture shows, by the definition in the EXIF standard (tag 0112).
TURNS = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
         5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
         8: lambda a: np.rot90(a)}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(format, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    data = file(COLOR, format, exif=exif, **(LOSSLESS if format == "WEBP" else {}))
    stored = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    if format == "TIFF":  # Pillow's TIFF reader has turned it already
        stored = COLOR
    assert np.array_equal(shown(data), TURNS[orientation](stored))
    if format != "TIFF":
        assert np.array_equal(shown(data), np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))


def test_a_damaged_exif_block_does_not_cost_the_picture():
    data = file(COLOR, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xff" * 40)
    assert np.array_equal(shown(data), pillow(data))


# ------------------------------------------------------------------------------------------------------ color profiles


def managed(picture: Image.Image, profile: bytes) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return np.asarray(ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB"))


PROFILES = {
    "display p3": ("RGB", icc.rgb(icc.DISPLAY_P3)), "adobe rgb": ("RGB", icc.rgb(icc.ADOBE_RGB)),
    "linear": ("RGB", icc.rgb(icc.DISPLAY_P3, 1.0)), "gray, gamma 1": ("L", icc.gray(1.0)),
    "cmyk": ("CMYK", icc.cmyk()),
}


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_color_profiles_are_obeyed(name, format):
    mode, profile = PROFILES[name]
    if (mode == "CMYK" and format in ("PNG", "WEBP")) or (mode == "L" and format == "WEBP"):
        pytest.skip("a WebP is RGB, a PNG no CMYK")
    options = LOSSLESS if format == "WEBP" else {"quality": 95} if format == "JPEG" else {}
    data = file(Image.fromarray(COLOR).convert(mode), format, icc_profile=profile, **options)
    stored = Image.open(io.BytesIO(data))
    assert stored.mode == mode
    wanted = managed(stored, profile)
    assert np.array_equal(shown(data), wanted)
    assert np.abs(wanted.astype(int) - np.asarray(stored.convert("RGB"))).max() > 10  # it does make a difference


def test_a_wide_gamut_red_is_known_by_its_numbers():
    # sRGB's red in Display P3 is (234, 51, 35), as its primaries and transfer curve give.
    profile = icc.rgb(icc.DISPLAY_P3)
    red = np.full((8, 8, 3), (234, 51, 35), np.uint8)
    assert np.abs(shown(file(red, "PNG", icc_profile=profile)).astype(int) - (255, 0, 0)).max() <= 6


def test_profiles_of_transparent_and_palette_pictures_are_obeyed():
    profile = icc.rgb(icc.ADOBE_RGB)
    color = managed(Image.fromarray(COLOR), profile)
    got = shown(file(RGBA, "PNG", icc_profile=profile))
    assert np.abs(got.astype(int) - on_paper(color, ALPHA)).max() <= 1
    assert np.array_equal(shown(file(PALETTE, "PNG", icc_profile=profile)), managed(PALETTE.convert("RGB"), profile))
    gray = managed(Image.fromarray(GRAY), icc.gray(1.0))
    got = shown(file(LA, "PNG", icc_profile=icc.gray(1.0)))
    assert np.abs(got.astype(int) - on_paper(gray, ALPHA)).max() <= 1


def test_an_srgb_profile_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(shown(file(COLOR, "PNG", icc_profile=profile)), COLOR)


@pytest.mark.parametrize("profile", [b"nonsense", icc.gray(2.2), icc.cmyk(), icc.rgb(icc.ADOBE_RGB)[:200]])
def test_a_profile_that_cannot_be_used_is_noted(profile):
    picture, facts = pixels.rgb(file(COLOR, "PNG", icc_profile=profile), WANTED)
    assert np.array_equal(np.asarray(picture), COLOR) and facts.notes == ("color profile cannot be used",)


# ------------------------------------------------------------------------------------------------------ several frames


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_taken(format):
    frames = [Image.fromarray(np.full((H, W, 3), level, np.uint8)) for level in (10, 120, 250)]
    options = LOSSLESS if format == "WEBP" else {}
    data = file(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert np.array_equal(shown(data), np.full((H, W, 3), 10))


def test_a_phones_two_in_one_jpeg_is_its_first():
    first, second = Image.fromarray(COLOR), Image.fromarray(COLOR[::-1].copy())
    data = file(first, "MPO", save_all=True, append_images=[second])
    assert np.abs(shown(data).astype(int) - np.asarray(Image.open(io.BytesIO(data)))).max() == 0
    assert pixels.rgb(data, WANTED)[1].format == "JPEG"


# -------------------------------------------------------------------------------------------------------- crop and pad


def test_crop_is_the_resize_of_the_usual_path():
    (got,), _ = pixels.fitted(file(COLOR, "PNG"), WANTED)
    assert np.array_equal(np.asarray(got), np.asarray(resize.square(Image.fromarray(COLOR), 12)))


@pytest.mark.parametrize("tall", [False, True])
def test_pad_keeps_the_whole_picture(tall):
    picture = np.full((40, 80, 3), (10, 200, 30), np.uint8)
    picture = picture.transpose(1, 0, 2).copy() if tall else picture
    got = np.asarray(pixels.fitted(file(picture, "PNG"), WANTED._replace(size=16, fit="pad"))[0][0])
    got = got.transpose(1, 0, 2) if tall else got
    assert (got[:4] == PAPER).all() and (got[12:] == PAPER).all() and (got[4:12] == (10, 200, 30)).all()


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_jpeg_decoded_small_is_like_one_decoded_whole(fit):
    rng = np.random.default_rng(0)
    picture = np.asarray(Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).resize((1200, 900)), np.float64)
    picture = np.clip(picture + rng.normal(0, 12, picture.shape), 0, 255).astype(np.uint8)
    wanted = Wanted(64, fit, PAPER, 4, 10**7)
    data = file(picture, "JPEG", quality=92)
    whole = file(Image.open(io.BytesIO(data)), "PNG", compress_level=0)
    got, exact = (np.asarray(pixels.fitted(each, wanted)[0][0], np.float64) for each in (data, whole))
    assert np.abs(got - exact).mean() < 1.0 and np.abs(got - exact).max() < 12


def test_fine_stripes_do_not_alias():
    stripes = np.repeat(np.tile(np.array([0, 255], np.uint8), 800)[None, :, None], 1200, 0).repeat(3, -1)
    got = np.asarray(pixels.fitted(file(stripes, "JPEG", quality=95), Wanted(64, "crop", PAPER, 4, 10**7))[0][0])
    assert np.abs(got.astype(int) - 127).max() <= 6


# ------------------------------------------------------------------------------------------------------------- refusals


def refusal(data: bytes, wanted=WANTED) -> Refused:
    with pytest.raises(Refused) as caught:
        pixels.fitted(data, wanted)
    assert "\n" not in str(caught.value) and str(caught.value)
    return caught.value


@pytest.mark.parametrize(("head", "said"), [
    (b"", "empty"), (b"%PDF-1.7", "no picture format"), (b"<svg xmlns=", "no picture format"),
    (b"PK\3\4" + bytes(40), "no picture format"), (b"\x80\x04\x95", "no picture format")])
def test_what_is_no_picture(head, said):
    error = refusal(head)
    assert error.reason == "not a picture" and said in str(error)


@pytest.mark.parametrize(("brand", "said"), [(b"heic", "HEIC"), (b"mif1", "HEIC"), (b"avif", "AVIF")])
def test_formats_that_are_not_read_are_named_with_the_remedy(brand, said):
    error = refusal(b"\0\0\0\x18ftyp" + brand + bytes(100))
    assert error.reason == "format not supported" and said in str(error) and "export it as JPEG" in str(error)


def test_float_pictures_have_no_agreed_white():
    assert refusal(file(Image.fromarray(GRAY.astype(np.float32)), "TIFF")).reason == "format not supported"


@pytest.mark.parametrize("kind", ["RGB png", "RGB jpeg", "P gif", "RGB webp", "RGB bmp", "RGB tiff", "RGBA png"])
def test_a_file_cut_short_is_left_out(kind):
    data = KINDS[kind][0]
    for share in (0.3, 0.6, 0.8):
        assert refusal(data[:int(len(data) * share)]).reason in ("truncated", "broken")


def test_a_flipped_bit_in_a_png_is_noticed():
    data = bytearray(KINDS["RGB png"][0])
    data[len(data) // 2] ^= 4
    assert refusal(bytes(data)).reason == "broken"


def test_too_small_and_too_large():
    assert refusal(file(COLOR, "PNG"), WANTED._replace(min_side=19)).reason == "too small"
    assert refusal(file(COLOR, "PNG"), WANTED._replace(max_pixels=W * H - 1)).reason == "too large"
    bomb = png(np.zeros((1, 1, 1)), 8, 0).replace(struct.pack(">II", 1, 1), struct.pack(">II", 60_000, 60_000))
    assert refusal(bomb).reason in ("too large", "broken")
    for format in ("JPEG", "GIF", "BMP", "WEBP", "TIFF"):
        assert refusal(file(Image.new("RGB", (1100, 1000)), format)).reason == "too large"


def test_mutated_files_end_in_a_picture_or_a_reason():
    rng = np.random.default_rng(7)
    kinds = [data for data, _, _ in KINDS.values()]
    refused = 0
    for round in range(3):
        for data in kinds:
            data = bytearray(data)
            for place in rng.integers(8, len(data), rng.integers(1, 6)):
                data[place] = rng.integers(256)
            try:
                assert pixels.fitted(bytes(data), WANTED)[0][0].size == (12, 12)
            except Refused as error:
                refused += 1
                assert error.reason and "\n" not in str(error)
    assert 0 < refused < 3 * len(kinds)


def test_a_thumbnail_shows_what_is_left_of_a_broken_file():
    whole = file(Image.fromarray(COLOR).resize((300, 200)), "JPEG")
    thumb = Image.open(io.BytesIO(pixels.thumbnail(whole[:len(whole) * 2 // 3], 72, 10**6)))
    assert thumb.size == (72, 48) and np.asarray(thumb)[:8].std() > 20
    assert pixels.thumbnail(b"%PDF", 72, 10**6) is None
    assert pixels.thumbnail(whole, 72, 1000) is None
