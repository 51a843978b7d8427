"""upscale, restore, complete, translate and sketch, as functions and as commands; the models were never trained."""
import functools
import io
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from icc import DISPLAY_P3, rgb
from PIL import Image
from toys import translator as masked_toy
from toys import upscaler

import imggen_jax
from imggen_jax import bicubic, translators
from imggen_jax import zoo as shipped
from imggen_jax.errors import RunError, SaveError
from imggen_jax.game import Field, Option, make_spec
from imggen_jax.main import main
from imggen_jax.metrics.similarity import psnr
from imggen_jax.model import Model
from imggen_jax.pictures import files, resize
from imggen_jax.pictures.files import Picture
from imggen_jax.provenance import publishing
from imggen_jax.provenance.verifying import verify

COLOR = Field((16, 16, 3), "uint8")


def model_of(game, spec, names=("main",)):
    """Initial weights; the game's main model under each name."""
    params, mutable = tiny.init(game, spec)
    back = game.main._replace(needs=("image",), condition=lambda weights, fields: game.main.condition(
        weights, {"source": fields["image"]}))               # as of CycleGAN's second model
    game = game._replace(models=dict(zip(names, (game.main, back))))
    return Model({}, spec, 0, jax.tree.map(np.asarray, game.weights(params, mutable)), game, names[0])


@functools.cache
def model(name):
    if name == "filler":
        spec = make_spec(image=COLOR, source=COLOR, mask=Field((16, 16, 1), "uint8"))
        return model_of(masked_toy.make(spec, width=2), spec)
    scale = int(name[-1]) if name[-1].isdecimal() else 1
    spec = make_spec(image=COLOR, source=Field((16 // scale, 16 // scale, 3), "uint8"))
    names = ("a_to_b", "b_to_a") if name == "both" else ("main",)
    if name == "lines":
        gray = Field((16, 16, 1), "uint8")
        spec = make_spec(image=gray, source=gray)
    return model_of(upscaler.make(spec, scale=scale), spec, names)


MODELS = ("upscale_x2", "upscale_x3", "dejpeg", "restore", "filler", "both", "lines")


@pytest.fixture
def zoo(monkeypatch):
    """Models that are found by name: three ship, the others stand for runs."""
    def load(name, which=None):
        if name not in MODELS:
            raise RunError(f"{name} is neither a folder nor the name of a shipped model")
        return model(name)

    monkeypatch.setattr(translators, "load", load)
    monkeypatch.setattr(translators, "find", Path)
    monkeypatch.setattr(shipped, "names", lambda: ["restore", "upscale_x2", "upscale_x3"])
    yield
    translators._by_name.cache_clear()


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


# As functions.

@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 4), (1, 20, 3), (1, 1, 3)])
def test_arrays_give_arrays(zoo, shape):
    picture = noise(*shape, dtype=np.uint16)
    made = imggen_jax.upscale(picture, model("upscale_x2"))
    assert made.dtype == np.uint16 and made.shape == (2 * shape[0], 2 * shape[1], *shape[2:])


def test_the_shipped_restorer_takes_out_noise_and_blocks():
    y, x = np.mgrid[:64, :71] / 32 - 1
    shapes = np.where((x**2 + y**2 < 0.5)[..., None], (180, 140, 60), (60, 90, 120)) + 25 * np.stack([x, y, x + y], -1)
    clean = np.rint(shapes).astype(np.uint8)
    noisy = np.clip(shapes + np.random.default_rng(0).normal(0, 25, shapes.shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(clean).save(file, "JPEG", quality=10)
    for damaged, decibels in ((noisy, 6), (np.asarray(Image.open(file)), 1)):
        made = imggen_jax.restore(damaged)
        assert made.shape == clean.shape
        assert psnr(clean[None], made[None])[0] > psnr(clean[None], damaged[None])[0] + decibels


def test_the_shipped_model_of_a_scale_is_found(zoo):
    picture = noise(9, 7, 3)
    np.testing.assert_array_equal(imggen_jax.upscale(picture), imggen_jax.upscale(picture, model("upscale_x2")))
    assert imggen_jax.upscale(picture, scale=3).shape == (27, 21, 3)
    plain = resize.enlarged(picture, 3, slice(0, 9), slice(0, 7))
    np.testing.assert_array_equal(imggen_jax.upscale(picture, scale=3, strength=0), np.clip(np.rint(plain), 0, 255))


def test_noise_is_left_in_by_a_model_that_can(zoo):
    picture, plain = noise(9, 7, 3), model("upscale_x2")

    def decode(weights, z, condition, options):
        return options["denoise"] * plain.generator.decode(weights, z, condition, options)

    one = plain.generator._replace(decode=decode, options={"denoise": Option(1.0, 0.0, 1.0)})
    able = plain._replace(game=plain.game._replace(models={"main": one}))
    whole = imggen_jax.upscale(picture, able)
    np.testing.assert_array_equal(whole, imggen_jax.upscale(picture, able, denoise=1))
    half = imggen_jax.upscale(picture, able, denoise=0.5)
    assert np.abs(half - (whole / 2 + 63.75)).max() < 1.01 and np.ptp(whole) > 100


def test_restore_of_two_steps(zoo, monkeypatch):
    picture = noise(9, 7, 3)
    np.testing.assert_array_equal(imggen_jax.restore(picture, denoise=0.5, dejpeg=True),
                                  imggen_jax.restore(picture, strength=0.5))  # one model for both goes over it once
    monkeypatch.setattr(shipped, "names", lambda: ["dejpeg", "restore"])
    np.testing.assert_array_equal(imggen_jax.restore(picture, denoise=0), picture)
    once = imggen_jax.restore(picture)
    seen = []
    np.testing.assert_array_equal(imggen_jax.restore(picture, denoise=1, dejpeg=True, report=seen.append),
                                  imggen_jax.restore(once))
    assert seen == sorted(seen) and seen[-1] == 1


def test_complete_keeps_what_lies_outside(zoo):
    picture, mask = noise(20, 24, 3), np.zeros((20, 24), bool)
    mask[5:9, 5:9] = True
    made = imggen_jax.complete(picture, mask, model("filler"))
    np.testing.assert_array_equal(made[~mask], picture[~mask])
    assert (made[mask] != picture[mask]).any()


def test_translate_and_sketch(zoo):
    picture = noise(20, 24, 3)
    assert imggen_jax.translate(picture, "both", direction="b2a").shape == picture.shape
    drawing = np.full((20, 24), 255, np.uint8)
    drawing[5] = 0
    np.testing.assert_array_equal(imggen_jax.sketch(drawing, "lines"), imggen_jax.sketch(255 - drawing, "lines"))


def test_a_picture_keeps_what_it_had(zoo):
    made = imggen_jax.upscale(Picture(noise(9, 7, 3), icc=b"profile", exif=b"data", xmp=b"more"))
    assert (made.icc, made.exif, made.xmp) == (b"profile", b"data", b"more") and made.pixels.shape == (18, 14, 3)


@pytest.mark.parametrize("call, says", [
    (lambda p: imggen_jax.upscale(p, scale=4), "no model upscale_x4 ships.*upscale_x2, upscale_x3"),
    (lambda p: imggen_jax.upscale(p, scale=5), "the scale is 5; choose 2, 3, 4"),
    (lambda p: imggen_jax.upscale(p, kind="photo"), "no model photo_x2 ships"),
    (lambda p: imggen_jax.upscale(p, kind="huge"), "clean or photo"),
    (lambda p: imggen_jax.upscale(p, "upscale_x2", scale=3), "2 times as large, not 3"),
    (lambda p: imggen_jax.translate(p, "upscale_x2"), "2 times as large; use upscale"),
    (lambda p: imggen_jax.upscale(p, "restore"), "use restore"),
    (lambda p: imggen_jax.restore(p, "upscale_x3"), "use upscale"),
    (lambda p: imggen_jax.upscale(p, strength=1.5), "strength is 1.5"),
    (lambda p: imggen_jax.restore(p, denoise=-1), "denoise is -1"),
    (lambda p: imggen_jax.upscale(p, denoise=0.5), "upscale_x2 has no option denoise"),
    (lambda p: imggen_jax.upscale(p, denoise=2), "denoise is 2"),
    (lambda p: imggen_jax.upscale(p, "filler"), "of source and mask; this needs a model that makes them of source"),
    (lambda p: imggen_jax.upscale(p.astype(np.float32)), "float32"),
    (lambda p: imggen_jax.upscale(p[:0]), "give uint8 or uint16"),
    (lambda p: imggen_jax.complete(p, np.zeros((3, 3), bool), "filler"), "the mask is 3x3 and the picture 7x9"),
    (lambda p: imggen_jax.complete(p, p, "filler"), "give bool"),
    (lambda p: imggen_jax.translate(p, "restore", direction="a2b"), "no direction a2b; it has main"),
    (lambda p: imggen_jax.translate(p, "both", direction="up"), "a2b or b2a"),
])
def test_one_clear_line(zoo, call, says):
    with pytest.raises(RunError, match=says):
        call(noise(9, 7, 3))


# As commands.

@pytest.fixture
def here(zoo, tmp_path, monkeypatch):
    """A folder of pictures of every kind."""
    monkeypatch.chdir(tmp_path)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a lake"
    (tmp_path / "in" / "sub").mkdir(parents=True)
    Image.fromarray(noise(9, 7, 3)).save("in/turned.jpg", exif=exif, icc_profile=rgb(DISPLAY_P3))
    Image.fromarray(noise(9, 7, 3)).convert("P").save("in/sub/palette.png")
    Image.fromarray(noise(9, 7, 4), "CMYK").save("in/sub/cmyk.tif")
    files.write("in/deep.png", Picture(noise(9, 7, 3, dtype=np.uint16), icc=rgb(DISPLAY_P3)))
    files.write("in/clear.webp", Picture(noise(9, 7, 4)))
    return tmp_path


def run(text):
    return main(text.split())


def test_a_folder_keeps_its_tree_and_is_done_once(here, capsys):
    assert run("upscale in --out out --format png") == 0
    made = {str(f.relative_to(here / "out")) for f in (here / "out").rglob("*.*")}
    assert made == {"turned.png", "deep.png", "clear.png", "sub/palette.png", "sub/cmyk.png"}
    said = capsys.readouterr().out
    assert "palette is left" in said and "converted to sRGB" in said and "9x7 to 18x14, 1 tile" in said and "GB" in said
    turned, deep = files.read("out/turned.png"), files.read("out/deep.png")
    assert turned.pixels.shape == (14, 18, 3) and turned.icc == rgb(DISPLAY_P3)
    kept = Image.open("out/turned.png").getexif()
    assert kept[0x010E] == "a lake" and kept.get(0x0112, 1) == 1
    assert deep.pixels.dtype == np.uint16 and deep.icc == rgb(DISPLAY_P3)
    assert files.read("out/clear.png").pixels.shape == (18, 14, 4)
    before = (here / "out" / "deep.png").stat().st_mtime_ns
    assert run("upscale in --out out --format png") == 0
    assert capsys.readouterr().out.count("is there already") == 5
    assert (here / "out" / "deep.png").stat().st_mtime_ns == before


def test_the_flags_that_people_know(here):
    assert run("upscale -i in/deep.png -o a.png -s 3 -t 64 -n upscale_x3") == 0
    assert files.read("a.png").pixels.shape == (27, 21, 3)
    assert run("upscale in/deep.png") == 0 and (here / "upscaled_x2" / "deep.png").exists()
    assert run("upscale . --quiet") == 0                     # what was made is no input
    assert not (here / "upscaled_x2" / "upscaled_x2").exists()


def test_a_report_measures_what_was_changed(here, capsys):
    y, x = np.mgrid[:9, :7]
    files.write("smooth.png", Picture(np.stack([20 * x, 20 * y, 10 * x + 10 * y], -1).astype(np.uint8)))
    assert run("upscale smooth.png -o a.png --strength 0 --report") == 0
    assert run("upscale smooth.png -o b.png --report") == 0
    plain, changed = (float(line.split(": ")[-1].split(" dB")[0]) for line in capsys.readouterr().out.splitlines()
                      if "_report.png" in line)
    assert plain > changed + 10
    assert files.read("b_report.png").pixels.shape == (9, 7, 3)
    hidden = np.concatenate([noise(9, 7, 3), np.where(x[..., None] < 3, 0, 255).astype(np.uint8)], -1)
    hidden[:, 3:, :3] = files.read("smooth.png").pixels[:, 3:]
    files.write("hidden.png", Picture(hidden))
    assert run("upscale hidden.png -o c.png --report") == 0  # what is hidden is black or noise, and no matter
    assert not files.read("c_report.png").pixels[:, :3].any() and files.read("c_report.png").pixels.any()


def test_the_other_verbs(here):
    files.write("mask.png", Picture(np.full((9, 7, 1), 255, np.uint8)))
    assert run("restore in/deep.png -o a.png --denoise 0.5 --dejpeg") == 0
    assert run("complete in/deep.png --mask mask.png --workdir filler -o b.png") == 0
    assert run("translate in/deep.png --workdir both --direction b2a -o c.png") == 0
    assert run("sketch in/deep.png --workdir lines -o d.png") == 0
    assert [files.read(f"{name}.png").pixels.shape for name in "abcd"] == [(9, 7, 3)] * 3 + [(9, 7, 1)]
    assert files.read("d.png").icc is None
    for verb, name in zip(("restore", "complete", "translate", "sketch"), "abcd"):
        found = verify(f"{name}.png")
        assert found.holds and found.source_type == "compositeWithTrainedAlgorithmicMedia"
        assert found.ingredients == ("deep.png",) and found.made["verb"] == verb and len(found.made["model"]) > 8
    assert found.made["arguments"] == {} and verify("b.png").made["arguments"]["mask"] == ["mask.png"]


@pytest.mark.parametrize("words, says", [
    ("upscale in/deep.png --scale 4 -o o.png", "no model upscale_x4 ships with the package; of this kind, upscale_x2"),
    ("upscale in/deep.png in/sub -o o.png", "name a folder"),
    ("upscale in/deep.png -n missing -o o.png", "missing is neither a folder nor"),
    ("upscale -o o.png", "no input is given"),
    ("upscale empty -o out", "no picture is in empty"),
    ("upscale in/clear.webp -o o.jpg", "cannot keep the transparency"),
    ("upscale in/deep.png -o o.png --strength 2", "--strength is 2.0"),
    ("complete in/deep.png --mask in/clear.webp --workdir filler -o o.png --box 90,1,2,2", "lies outside"),
    ("complete in/deep.png --mask small.png --workdir filler -o o.png", "the mask is 3x2 and deep.png 7x9"),
    ("complete in/deep.png --mask black.png --workdir filler -o o.png", "marks nothing"),
    ("restore in/deep.png in/sub/../deep.png -o out", "would both be written"),
])
def test_one_line_and_exit_code_2(here, capsys, words, says):
    (here / "empty").mkdir()
    files.write("small.png", Picture(np.full((2, 3, 1), 255, np.uint8)))
    files.write("black.png", Picture(np.zeros((9, 7, 1), np.uint8)))
    assert run(words) == 2
    error = capsys.readouterr().err
    assert says in error and error.startswith("error: ") and error.count("\n") == 1
    assert not (here / "o.png").exists()


def test_keep_going(here, capsys):
    (here / "in" / "broken.png").write_bytes(b"no picture")
    assert run("upscale in -o out") == 2
    assert not (here / "out" / "deep.png").exists()          # the inputs are taken in order
    assert run("upscale in -o out --keep-going") == 2
    error = capsys.readouterr().err
    assert "1 of 6 pictures could not be made: in/broken.png" in error
    assert len([f for f in (here / "out").rglob("*.*")]) == 5


def test_a_full_disk_ends_it_and_keeps_what_is_done(here, monkeypatch, capsys):
    written = publishing.write_bands

    def full(path, *rest):
        if path.name == "deep.png":
            raise SaveError(f"{path} cannot be written (No space left on device)")
        written(path, *rest)

    monkeypatch.setattr(publishing, "write_bands", full)
    assert run("upscale in -o out --keep-going") == 1
    assert "No space left" in capsys.readouterr().err and (here / "out" / "clear.webp").exists()


@pytest.mark.parametrize("scale", [2, *(pytest.param(scale, marks=pytest.mark.slow) for scale in (3, 4))])
def test_what_ships_is_nearer_to_the_truth_than_interpolation(scale):
    y, x = np.mgrid[:96, :96] / 96
    true = np.stack([np.where(np.hypot(x - 0.5, y - 0.4) < 0.3, 220, 40), 255 * x, np.where(x + y > 1.1, 30, 200)], -1)
    small = bicubic.resize_uint8(true.astype(np.uint8), 96 // scale, 96 // scale)
    errors = [np.square(each.astype(float) - true).mean() for each in (
        imggen_jax.upscale(small, scale=scale), bicubic.resize_uint8(small, 96, 96))]
    assert errors[0] < 0.8 * errors[1]
