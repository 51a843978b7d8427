"""One decoder: a picture that is opened comes out as the same file does in an ingested dataset."""
import io

import icc
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image, ImageCms

from imggen_jax import data
from imggen_jax.data.folders import open_picture, picture_options

rng = np.random.default_rng(0)
COLORS = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8)).resize((60, 45), Image.Resampling.BICUBIC)
CLEAR = COLORS.copy()
CLEAR.putalpha(Image.linear_gradient("L").resize(COLORS.size))
EXIF = Image.Exif()
EXIF[274] = 6
FILES = {
    "p3.png": (COLORS, dict(icc_profile=icc.rgb(icc.DISPLAY_P3))), "adobe.jpg": (COLORS, dict(
        icc_profile=icc.rgb(icc.ADOBE_RGB), quality=95)),
    "cmyk.jpg": (COLORS.convert("CMYK"), dict(icc_profile=icc.cmyk(), quality=95)),
    "16.png": (Image.fromarray(rng.integers(0, 65536, (45, 60)).astype(np.uint16)), {}),
    "clear.webp": (CLEAR, dict(lossless=True)), "palette.gif": (COLORS.convert("P"), {}),
    "turned.jpg": (COLORS, dict(exif=EXIF)), "large.jpg": (COLORS.resize((1200, 900)), dict(quality=90)),
}


@pytest.fixture(scope="module", params=["crop", "pad"])
def made(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    (root / "in").mkdir()
    for name, (picture, options) in FILES.items():
        picture.save(root / "in" / name, **options)
    return data.ingest(root / "in", size=16, fit=request.param, background="#20a040", out=root / "out", workers=1)


def test_a_picture_is_opened_as_it_was_ingested(made):
    (split,) = tfds.builder_from_directory(made.folder).as_data_source().values()
    examples = {example["name"].decode(): example["image"] for example in split}
    assert set(examples) == set(FILES)
    for name, image in examples.items():
        file = f"{made.card['path']}/{name}"
        got = open_picture(file, size=16, **picture_options(made.card))
        assert got.image.dtype == np.uint8 and np.array_equal(got.image, image), name
        with open(file, "rb") as opened:
            assert np.array_equal(open_picture(opened.read(), size=16, **picture_options(made.card)).image, image)


def test_a_profile_is_obeyed_where_it_matters():
    file = io.BytesIO()
    COLORS.save(file, "PNG", icc_profile=icc.rgb(icc.DISPLAY_P3))
    got = open_picture(file.getvalue(), size=0).image
    srgb = ImageCms.profileToProfile(COLORS, io.BytesIO(icc.rgb(icc.DISPLAY_P3)), ImageCms.createProfile("sRGB"))
    assert got.shape == (45, 60, 3) and np.array_equal(got, np.asarray(srgb))
    assert np.abs(got.astype(int) - np.asarray(COLORS)).max() > 20


def test_gray_stays_the_same_levels():
    gray = COLORS.convert("L")
    file = io.BytesIO()
    gray.save(file, "PNG")
    assert np.array_equal(open_picture(file.getvalue(), size=0, channels=1).image[..., 0], np.asarray(gray))
    assert picture_options(None) == {"fit": "crop", "background": "white"}


@pytest.mark.parametrize(("content", "options", "said"), [
    (None, {}, "x.png is not there"), (b"hello", {}, "x.png cannot be used: not a picture"),
    (b"", {}, "not a picture .empty"), (b"\x89PNG\r\n\x1a\nrest", {}, "x.png cannot be used: broken"),
    (b"", dict(channels=2), "channels is 2; choose 1 or 3"), (b"", dict(size=1.5), "size is 1.5"),
    (b"", dict(fit="fill"), "unknown fit 'fill'")])
def test_what_cannot_be_opened_is_one_clear_line(content, options, said, tmp_path):
    if content is not None:
        (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(data.DataError, match=said) as error:
        open_picture(tmp_path / "x.png", **dict(size=16) | options)
    assert "\n" not in str(error.value)
