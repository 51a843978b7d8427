"""Files of every kind, in and out, with what they had; and which file is made of which."""
import io
import os
from pathlib import Path

import numpy as np
import pytest
from icc import ADOBE_RGB, DISPLAY_P3, cmyk, rgb
from PIL import Image

from imggen_jax.errors import SaveError
from imggen_jax.pictures import files
from imggen_jax.pictures.files import Picture, PictureError


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


@pytest.mark.parametrize("ending, channels, dtype", [
    *((ending, c, np.uint8) for ending in (".png", ".tif") for c in (1, 2, 3, 4)),
    *((ending, c, np.uint16) for ending in (".png", ".tif") for c in (1, 3, 4)), (".png", 2, np.uint16),
    (".webp", 3, np.uint8), (".webp", 4, np.uint8)])
def test_pixels_and_profile_come_back(tmp_path, ending, channels, dtype):
    wrote = Picture(noise(7, 9, channels, dtype=dtype), icc=rgb(DISPLAY_P3) if channels >= 3 else None)
    path = tmp_path / "new" / f"a{ending}"
    assert files.write(path, wrote) == ()
    back = files.read(path)
    assert back.pixels.dtype == dtype
    np.testing.assert_array_equal(back.pixels, wrote.pixels)
    assert back.icc == wrote.icc
    assert [f.name for f in path.parent.iterdir()] == [path.name]             # nothing half written is left


def test_what_other_programs_write_in_16_bits(tmp_path):
    """Pillow alone gives the high bytes: they must agree with ours."""
    for ending in (".png", ".tif"):
        files.write(tmp_path / f"a{ending}", Picture(noise(7, 9, 3, dtype=np.uint16)))
        high = np.asarray(Image.open(tmp_path / f"a{ending}"))
        np.testing.assert_array_equal(high, files.read(tmp_path / f"a{ending}").pixels >> 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_taken_out(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "a lake"
    Image.fromarray(noise(6, 9, 3)).save(tmp_path / "a.png", exif=exif)
    got = files.read(tmp_path / "a.png")
    from PIL import ImageOps

    np.testing.assert_array_equal(got.pixels, ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    files.write(tmp_path / "b.jpg", got)
    kept = Image.open(tmp_path / "b.jpg").getexif()
    assert kept.get(0x0112, 1) == 1 and kept[0x010E] == "a lake"


@pytest.mark.parametrize("mode, channels, note", [
    ("1", 1, ""), ("L", 1, ""), ("LA", 2, ""), ("P", 3, "palette"), ("RGB", 3, ""), ("RGBA", 4, ""),
    ("CMYK", 3, "sRGB"), ("I;16", 1, "")])
def test_modes(mode, channels, note):
    picture = Image.fromarray(noise(6, 9, 3)).convert("L" if mode == "I;16" else mode)
    out = io.BytesIO()
    if mode == "I;16":
        picture = Image.fromarray(noise(6, 9, dtype=np.uint16))
    picture.save(out, "TIFF" if mode == "CMYK" else "PNG")
    got = files.decoded(out.getvalue())
    assert got.pixels.shape == (6, 9, channels)
    assert note in " ".join(got.notes) and bool(note) == bool(got.notes)


def test_transparent_color_of_a_palette():
    picture = Image.fromarray(noise(6, 9, 3)).convert("P")
    out = io.BytesIO()
    picture.save(out, "GIF", transparency=picture.getpixel((0, 0)))
    got = files.decoded(out.getvalue()).pixels
    assert got.shape == (6, 9, 4) and got[0, 0, 3] == 0 and got[..., 3].max() == 255


def test_cmyk_goes_through_its_profile():
    picture = Image.fromarray(noise(6, 9, 4), "CMYK")
    plain, dark = io.BytesIO(), io.BytesIO()
    picture.save(plain, "TIFF")
    picture.save(dark, "TIFF", icc_profile=cmyk(0.5))
    assert (files.decoded(plain.getvalue()).pixels != files.decoded(dark.getvalue()).pixels).any()
    assert files.decoded(dark.getvalue()).icc is None


def test_first_frame_with_a_note():
    frames = [Image.fromarray(noise(6, 9, 3) // (k + 1)) for k in range(3)]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    got = files.decoded(out.getvalue())
    np.testing.assert_array_equal(got.pixels, np.asarray(frames[0]))
    assert "first of 3 frames" in got.notes[0]


def test_colors_in_another_profile():
    wide = Picture(noise(6, 9, 4), icc=rgb(ADOBE_RGB))
    moved = files.in_profile(wide, None)
    assert (moved[..., :3] != wide.pixels[..., :3]).any()
    np.testing.assert_array_equal(moved[..., 3], wide.pixels[..., 3])
    assert files.in_profile(wide, wide.icc) is wide.pixels


def test_colors_of_16_bits_in_another_profile():
    ramp = np.broadcast_to(np.arange(30_000, 31_000, dtype=np.uint16)[None, :, None], (2, 1000, 3))
    wide = Picture(ramp, icc=rgb(ADOBE_RGB))
    moved = files.in_profile(wide, None)
    few = files.in_profile(wide._replace(pixels=np.rint(ramp / 257).astype(np.uint8)), None)
    assert moved.dtype == np.uint16 and np.abs(moved / 257 - few).max() <= 0.5
    assert len(np.unique(moved)) > 900                       # as smooth as before


@pytest.mark.parametrize("data, says", [
    (b"", "a.png is empty; give a PNG"), (b"GIF89a", "no picture"),
    (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "no picture")])
def test_broken_files(data, says):
    with pytest.raises(PictureError, match=says) as caught:
        files.decoded(data, "a.png")
    assert "\n" not in str(caught.value) and "a.png" in str(caught.value)


def test_claimed_sizes_are_checked_before_decoding():
    out = io.BytesIO()
    Image.fromarray(noise(6, 9)).save(out, "PNG")
    data = bytearray(out.getvalue())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    import struct
    import zlib

    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    with pytest.raises(PictureError, match="60000x60000|decompression bomb"):
        files.decoded(bytes(data))


def test_what_a_format_cannot_keep(tmp_path):
    clear = Picture(noise(6, 9, 4))
    with pytest.raises(PictureError, match="cannot keep the transparency"):
        files.write(tmp_path / "a.jpg", clear)
    opaque = clear._replace(pixels=np.concatenate([clear.pixels[..., :3], np.full((6, 9, 1), 255, np.uint8)], -1))
    assert files.write(tmp_path / "a.jpg", opaque) == ()
    assert "8 bits" in files.write(tmp_path / "b.jpg", Picture(noise(6, 9, 3, dtype=np.uint16)))[0]
    with pytest.raises(PictureError, match="names no format"):
        files.write(tmp_path / "a.xyz", opaque)
    (tmp_path / "file").write_text("")
    with pytest.raises(PictureError, match="cannot be written"):
        files.write(tmp_path / "file" / "a.png", opaque)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    files.write(tmp_path / "a.png", Picture(noise(6, 9, 3)))
    before = (tmp_path / "a.png").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SaveError, match="No space left.*Make room"):
        files.write(tmp_path / "a.png", Picture(noise(6, 9, 1)))
    assert (tmp_path / "a.png").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def folder(tmp_path):
    for name in ("in/a.png", "in/sub/a.png", "in/b.bmp", "in/.hidden.png", "in/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def test_jobs_of_a_folder(folder):
    planned = files.jobs([folder / "in"], folder / "out")
    assert [str(job.out.relative_to(folder / "out")) for job in planned] == ["a.png", "b.png", str(Path("sub/a.png"))]
    (folder / "out").mkdir()
    (folder / "out" / "a.png").write_bytes(b"")
    assert [job.done for job in files.jobs([folder / "in"], folder / "out")] == [True, False, False]
    assert not any(job.done for job in files.jobs([folder / "in"], folder / "out", overwrite=True))


def test_jobs_of_files(folder):
    one = folder / "in" / "a.png"
    assert files.jobs([one], folder / "x.jpg")[0].out == folder / "x.jpg"
    with pytest.raises(PictureError, match="would both be written"):
        files.jobs([one, folder / "in" / "sub" / "a.png"], folder / "out")
    with pytest.raises(PictureError, match="name a folder"):
        files.jobs([folder / "in"], folder / "x.jpg")
    with pytest.raises(PictureError, match="is an input"):
        files.jobs([one], one)
    with pytest.raises(PictureError, match="is an input"):
        files.jobs([folder / "in"], folder / "in")
    assert files.jobs([one], one, overwrite=True)[0].out == one
    with pytest.raises(PictureError, match="there is no file or folder"):
        files.jobs([folder / "missing.png"], folder / "out")
    with pytest.raises(PictureError, match="no picture is in"):
        files.jobs([folder / "empty" if (folder / "empty").mkdir() else folder / "empty"], folder / "out")
    with pytest.raises(PictureError, match="names no format"):
        files.jobs([one], folder / "x.psd")
