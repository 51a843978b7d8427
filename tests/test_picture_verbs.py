"""The commands of one picture, through the command line: what they write, print and refuse."""
import numpy as np
import pytest
from icc import DISPLAY_P3, rgb
from PIL import Image

from imggen_jax import picture_verbs
from imggen_jax.main import main
from imggen_jax.pictures import files
from imggen_jax.pictures.files import Picture


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a photo in 16 bits with a profile, a mask, and a painting."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    files.write("photo.png", Picture(rng.integers(0, 65536, (40, 48, 3), dtype=np.uint16), icc=rgb(DISPLAY_P3)))
    mask = np.zeros((40, 48), np.uint8)
    mask[10:20, 12:24] = 255
    Image.fromarray(mask).save("mask.png")
    Image.fromarray(rng.integers(0, 256, (30, 30, 3), dtype=np.uint8)).save("painting.jpg")
    return tmp_path


def run(text):
    return main([*text.split(), "--quality", "draft"] if not text.startswith("recolor") else text.split())


@pytest.mark.parametrize("words, size", [
    ("texture photo.png --size 60x50", (50, 60)), ("retarget photo.png --size 60x40", (40, 60)),
    ("panorama photo.png --width 64", (40, 64)), ("outpaint photo.png --left 9 --top 3", (43, 57)),
    ("stylize photo.png --style painting.jpg", (40, 48)), ("recolor photo.png --like painting.jpg", (40, 48)),
    ("remove photo.png --mask mask.png", (40, 48)), ("mix photo.png painting.jpg --mask mask.png", (40, 48)),
])
def test_every_verb_keeps_depth_and_profile(here, capsys, words, size):
    assert run(f"{words} --out out/made.png") == 0
    made = files.read("out/made.png")
    assert made.pixels.dtype == np.uint16 and made.pixels.shape == (*size, 3) and made.icc == rgb(DISPLAY_P3)
    said = capsys.readouterr().out
    assert f"{size[1]}x{size[0]}" in said and "GB expected" in said and "out/made.png" in said


def test_tiles_come_with_a_preview(here, capsys):
    assert run("tile photo.png --out tile.png") == 0
    assert files.read("tile_3x3.png").pixels.shape == (120, 144, 3)
    assert "gradient across the seams" in capsys.readouterr().out


def test_variations_are_numbered_and_done_once(here, capsys):
    assert run("variations photo.png --num 2 --out many") == 0
    assert sorted(f.name for f in (here / "many").iterdir()) == ["photo_000.png", "photo_001.png"]
    before = (here / "many" / "photo_000.png").stat().st_mtime_ns
    assert run("variations photo.png --num 2 --out many") == 0
    assert "there already" in capsys.readouterr().out
    assert (here / "many" / "photo_000.png").stat().st_mtime_ns == before


def test_masks_of_every_convention(here):
    """White, its opposite, a box, and transparency of a mask or of the picture itself mark the same."""
    pixels = files.read("photo.png").pixels
    mask = np.asarray(Image.open("mask.png"))
    files.write("keep.png", Picture(255 - mask[..., None]))
    files.write("clear.png", Picture(np.dstack([mask * 0 + 9, mask * 0, mask * 0, 255 - mask])))
    files.write("holed.png", Picture(np.dstack([pixels, (255 - mask).astype(np.uint16) * 257]),
                                     icc=rgb(DISPLAY_P3)))
    for k, words in enumerate(("photo.png --mask mask.png", "photo.png --mask keep.png --mask-means keep",
                               "photo.png --mask clear.png", "photo.png --box 12,10,12,10", "holed.png")):
        assert run(f"remove {words} --out {k}.png") == 0
    made = [files.read(f"{k}.png").pixels for k in range(5)]
    for other in made[1:4]:
        np.testing.assert_array_equal(made[0], other)
    np.testing.assert_array_equal(made[0], made[4][..., :3])
    assert (made[4][..., 3] == 65535).all()
    np.testing.assert_array_equal(made[0][mask == 0], pixels[mask == 0])


def test_edit_with_paint_needs_no_run(here):
    paint = files.read("photo.png")
    paint.pixels[5:15, 5:15] = paint.pixels[20:30, 20:30]
    files.write("paint.png", paint)
    assert run("edit photo.png --paint paint.png --out out.png") == 0


def test_a_folder_with_masks_of_the_same_names(here):
    for name in ("in/a.png", "in/b.jpg", "masks/a.png", "masks/b.png"):
        (here / name).parent.mkdir(exist_ok=True)
        Image.open("mask.png" if "masks" in name else "painting.jpg").convert("RGB").resize((48, 40)).save(name)
    assert run("remove in --mask masks --out out") == 0
    assert sorted(f.name for f in (here / "out").iterdir()) == ["a.png", "b.jpg"]


@pytest.mark.parametrize("words, says", [
    ("remove photo.png --out o.png", "say what is to be changed"),
    ("remove photo.png --mask painting.jpg --out o.png", "the mask is 30x30 and photo.png 48x40"),
    ("remove photo.png --box 100,1,5,5 --out o.png", "lies outside"),
    ("remove photo.png --mask mask.png --out photo.png", "is an input"),
    ("remove missing.png --mask mask.png --out o.png", "there is no file or folder"),
    ("stylize photo.png --style painting.jpg --weights 1,x --out o.png", "not numbers"),
    ("stylize photo.png --style mask.txt --out o.png", "cannot be read"),
    ("texture photo.png --size 90000x90000 --out o.png", "are possible here"),
    ("variations photo.png --num 0 --out o.png", "at least 1"),
    ("tile photo.png --out o.psd", "names no format"),
])
def test_one_line_and_exit_code_2(here, capsys, words, says):
    assert run(words) == 2
    error = capsys.readouterr().err
    assert says in error and error.startswith("error: ") and error.count("\n") == 1
    assert not (here / "o.png").exists()


@pytest.mark.parametrize("words", ["remove photo.png --box 1,2,3 --out o.png",
                                   "texture photo.png --size 64 --out o.png"])
def test_flags_that_cannot_be_read(here, capsys, words):
    with pytest.raises(SystemExit) as exit:
        main(words.split())
    assert exit.value.code == 2 and "in pixels, as in" in capsys.readouterr().err


def test_cancel_leaves_nothing_half_written(here, monkeypatch, capsys):
    from imggen_jax import patches

    def canceled(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(patches, "texture", canceled, raising=False)
    assert run("texture photo.png --size 64x64 --out o.png") == 130
    assert "Canceled" in capsys.readouterr().err and not (here / "o.png").exists()


@pytest.mark.parametrize("name", list(picture_verbs.VERBS))
def test_every_verb_has_help_with_an_example_that_parses(name, capsys):
    import argparse

    verb = picture_verbs.VERBS[name]
    for line in verb.description.split("examples:\n")[1].strip().splitlines():
        parser = argparse.ArgumentParser()
        verb.flags(parser)
        words = line.split("imggen ")[1].split()
        assert words[0] == name
        parser.parse_args(words[1:])
