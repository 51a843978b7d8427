"""The studio's folder: what enters it, what leaves it, and what happens when files are gone or the disk is full."""
import errno
import json

import numpy as np
import pytest
from PIL import Image

from imggen_jax.errors import ImggenError, RunError, SaveError
from imggen_jax.studio import home as homes
from imggen_jax.studio.home import Home


def write(path, size=(64, 64), **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (9, 90, 160)).save(path, **more)
    return path


def test_takes_in_what_a_command_has_made_and_nothing_beside_it(home):
    folder = home.new_folder()
    for name in ("000000.png", "000001.png", "grid.png", "strip_a.png", "x_3x3.png", "y_report.png"):
        write(folder / name)
    (folder / "prompts.jsonl").write_text("{}")
    said = [{"file": "000001.png", "verb": "generate", "prompt": "a <face>", "seed": 7}]
    found = home.take_in(folder, ["generate", "--model", "avatars", "--num", "2", "--prompt", "a {<face>, hat}"], said)
    assert found[0].prompt == "a {<face>, hat}"     # where a picture itself does not say it
    assert [one.file.rpartition("/")[2] for one in found] == ["000000.png", "000001.png"]
    assert (found[1].prompt, found[1].seed, found[1].model) == ("a <face>", 7, "avatars")
    assert home.index.find() == found


def test_of_an_animation_only_the_whole_is_taken_in(home):
    folder = home.new_folder()
    for name in ("000.png", "001.png", "sheet.png", "animation.webp", "animation.gif"):
        write(folder / name)
    assert [one.file[-14:] for one in home.take_in(folder, ["interpolate"])] == ["animation.webp"]


def test_a_picture_of_ones_own_keeps_its_bytes_and_loses_its_name(home, tmp_path):
    source = write(tmp_path / "..evil;name.jpg", (300, 200))
    one = home.bring(source, "..evil;name.jpg")
    assert home.path(one).read_bytes() == source.read_bytes() and home.path(one).name == f"{one.id}.jpg"
    assert one.verb == "own" and (one.width, one.height) == (300, 200)


def test_what_a_browser_cannot_show_becomes_a_png(home, tmp_path):
    one = home.bring(write(tmp_path / "a.tif"), "a.tif")
    assert home.path(one).suffix == ".png" and Image.open(home.path(one)).size == (64, 64)


@pytest.mark.parametrize("name, content", [
    ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"),
    ("a.html", b"<script>alert(1)</script>"), ("a.png", b"<svg></svg>"), ("a.png", b""),
    ("a.png", b"\x89PNG\r\n\x1a\n")])
def test_no_svg_or_html_and_nothing_damaged_enters(home, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImggenError):
        home.bring(tmp_path / name, name)
    assert not list(home.own.iterdir()) and home.index.count() == 0


def test_thumbnails_are_small_and_made_once(home, tmp_path):
    small, large = home.bring(write(tmp_path / "s.png"), "s"), home.bring(write(tmp_path / "l.png", (900, 500)), "l")
    assert home.thumbnail(small) == home.path(small)
    thumb = home.thumbnail(large)
    assert Image.open(thumb).size == (256, 142) and home.thumbnail(large).stat().st_mtime_ns == thumb.stat().st_mtime_ns


def test_sixteen_bits_are_shown_too(home, tmp_path):
    Image.fromarray(np.full((400, 300), 40_000, np.uint16)).save(tmp_path / "deep.png")
    one = home.bring(tmp_path / "deep.png", "deep")
    assert Image.open(home.thumbnail(one)).size == (192, 256)


def test_deleting_moves_and_undo_brings_back(home, tmp_path):
    one = home.bring(write(tmp_path / "a.png"), "a")
    content = home.path(one).read_bytes()
    home.delete(one)
    assert home.index.count() == 0 and [path.read_bytes() for path in home.deleted.iterdir()] == [content]
    home.restore_id(one.id)
    assert home.path(home.index.get(one.id)).read_bytes() == content and not list(home.deleted.iterdir())


def test_a_file_that_is_gone_is_said(home, tmp_path):
    one = home.bring(write(tmp_path / "a.png"), "a")
    home.path(one).unlink()
    with pytest.raises(RunError, match="not in the studio's folder any more"):
        home.path(one)
    with pytest.raises(RunError, match="not in the studio's folder"):
        home.path(one._replace(file="../../../etc/passwd"))


def test_a_full_disk_keeps_what_was_there(home, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = home.bring(write(tmp_path / "a.png"), "a")
    monkeypatch.setattr(homes.shutil, "copyfile", full)
    with pytest.raises(SaveError, match="disk is full"):
        home.bring(write(tmp_path / "b.png"), "b")
    monkeypatch.setattr(homes, "write_atomic", full)
    with pytest.raises(SaveError, match="disk is full"):
        home.take_in(write(home.new_folder() / "000.png").parent, ["vary"])
    assert home.index.find() == [kept] and len(list(home.own.iterdir())) == 1


def test_the_list_is_made_again_from_the_folders(home, tmp_path):
    folders = [home.new_folder(), home.new_folder()]
    for folder in folders:
        write(folder / "000000.png")
    brought = home.bring(write(tmp_path / "a.png"), "a")
    first, = home.take_in(folders[0], ["generate", "--model", "avatars"],
                          [{"file": "000000.png", "prompt": "a face", "seed": 3}])
    child, = home.take_in(folders[1], ["breed", "--model", "avatars"], parents=[first.id, brought.id])
    (home.folder / "index.sqlite").write_bytes(b"broken" * 500)
    again = Home(home.folder).index
    assert again.get(first.id) == first and again.get(child.id) == child and again.count() == 3
    assert [one.id for one in again.parents(child.id)] == [first.id, brought.id]


def test_folders_of_an_earlier_version_are_found_again_by_new_ids(home):
    folder = write(home.new_folder() / "000.png").parent
    (folder / homes.FACTS).write_text(json.dumps({"command": ["vary"], "parents": ["ab" * 8], "time": 1.0, "said": []}))
    home.rebuild()
    assert [one.verb for one in home.index.find()] == ["vary"]


def test_what_a_full_disk_or_a_kill_kept_out_of_the_list_is_found_at_the_next_start(home, monkeypatch):
    def full(*_):
        raise SaveError("the disk is full")

    folders = [write(home.new_folder() / "000.png").parent for _ in range(2)]   # one without facts: it was killed
    (folders[0] / "001.png").write_bytes(b"\x89PNG half")
    monkeypatch.setattr(home.index, "add", full)
    with pytest.raises(SaveError):
        home.take_in(folders[0], ["vary"])
    for _ in range(2):
        again = Home(home.folder).index
        assert sorted(one.verb for one in again.find()) == ["found", "vary"]


def test_names_that_lead_elsewhere_are_refused(home):
    assert home.named(home.runs, " my run ").name == "my run"
    for wrong in ("", "../x", "a/b", ".hidden", "x" * 80, "a\0b", "..", "a."):
        with pytest.raises(RunError, match="cannot be taken"):
            home.named(home.runs, wrong)


def test_a_folder_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="choose another with --folder"):
        Home(tmp_path / "file")


def test_what_was_made_says_how(home):
    folder = write(home.new_folder() / "000.png").parent
    home.take_in(folder, ["vary", "--num", "1"], parents=["ab"])
    assert json.loads((folder / homes.FACTS).read_text())["command"] == ["vary", "--num", "1"]
