"""What the pages do, without a browser: each function that a button calls, with good input and bad."""
import base64
import io
import json

import pytest
from PIL import Image

from imggen_jax.errors import ImggenError, RunError
from imggen_jax.studio import (
    app,
    bench,
    check,
    collection,
    commands,
    create,
    edit,
    gallery,
    jobs,
    models,
    retouch,
    runs,
)

CREATE = {"model": "avatars", "prompt": "a face", "label": "any", "num": 2, "seed": 5, "truncation": 1, "negative": "",
          "guidance": None, "steps": None, "chaos": 0, "stylize": 100, "weird": 0, "tile": False, "style": ""}


def done(job):
    assert job.done.wait(60)
    return job


def made(studio, **asked):
    return done(create.start(studio, *{**CREATE, **asked}.values())).pictures


def drawing(color=255, size=(64, 64), **sides):
    picture = Image.new("RGB", size, 0)
    picture.paste((color,) * 3, (8, 8, 24, 24))
    held = io.BytesIO()
    picture.save(held, "PNG")
    return json.dumps({"picture": f"data:image/png;base64,{base64.b64encode(held.getvalue()).decode()}",
                       "sides": {"left": 0, "right": 0, "top": 0, "bottom": 0, **sides}})


def asked(task, id="", **more):
    every = {"task": task, "id": id, "drawn": drawing(), "model": "avatars", "words": "", "style_id": "",
             "strength": 1.0, "width": 64, "height": 64, "scale": 4, "quality": "draft"}
    return retouch.Asked(**{**every, **more})


# ----------------------------------------------------------------------------------------------------------- create


def test_create_makes_and_tells(studio):
    (said, shelf, command) = list(bench.run(studio, lambda: create.start(studio, *CREATE.values())))[-1]
    assert "2 pictures in" in said and command.startswith("imggen generate --model avatars --num 2 --seed 5")
    assert all(one.id in shelf and "a face, seed" in shelf for one in studio.home.index.find())


@pytest.mark.parametrize("wrong, said", [
    ({"prompt": "  "}, "prompt is empty"), ({"num": 1000}, "1 to 64"),
    ({"model": "runs/vanished"}, "not there any more"),
    ({"style": "0" * 16}, "not in the studio"), ({"model": ""}, "not there any more")])
def test_create_says_what_cannot_be(studio, wrong, said):
    (told,) = list(bench.run(studio, lambda: create.start(studio, *{**CREATE, **wrong}.values())))
    assert said in told[0] and 'role="alert"' in told[0] and studio.home.index.count() == 0


def test_what_a_command_refuses_is_shown_and_the_results_stay(studio):
    *_, last = bench.run(studio, lambda: create.start(studio, *{**CREATE, "prompt": "impossible"}.values()))
    assert "this cannot be; ask for something else" in last[0] and not isinstance(last[1], str)


def test_a_draft_is_shown_while_pictures_are_made_that_took_long_before(studio, monkeypatch):
    monkeypatch.setattr(jobs, "LONG", 0.2)
    made(studio, prompt="slowly")
    assert not studio.current["create"].drafts
    shown = list(bench.run(studio, lambda: create.start(studio, *{**CREATE, "prompt": "slowly"}.values())))
    assert any(isinstance(one[1], str) and one[1].count("a draft") == 2 for one in shown[:-1])
    assert "a draft" not in shown[-1][1] and studio.home.index.count() == 4 and "--draft" not in shown[-1][2]
    assert not [path for path in studio.home.cache.iterdir() if path.is_dir() and path.name.startswith("tmp")]


def test_one_page_makes_one_thing_at_a_time(studio):
    job = create.start(studio, *{**CREATE, "prompt": "slowly", "num": 50}.values())
    with pytest.raises(RunError, match="still making"):
        create.start(studio, *CREATE.values())
    bench.cancel(studio, "create")
    assert job.done.is_set() and "Canceled" in bench.done_html(job)


def test_texts_of_users_are_shown_as_texts(studio):
    (one, *_) = made(studio, prompt="<img src=x onerror=alert(1)>")
    for shown in (bench.picture_html(one), bench.one_html(one), bench.shelf_html([one]),
                  create.style_of(studio, one.id)[1], gallery.tree_html(studio, one.id)):
        assert "<img src=x" not in shown


def test_what_a_model_takes_decides_what_is_shown(studio):
    models_, prompt, known, label, of_text = create.described(studio, None)
    assert models_.value == "avatars" and prompt.visible and of_text.visible and not label.visible
    assert "smiling" in known
    assert [name for name, _ in studio.makers()] == ["avatars", "avatars_32"]


def test_the_first_pictures_are_there_at_once(studio):
    pictures = made(studio)
    ((said, shelf),) = app.first(studio)
    assert all(one.id in shelf for one in pictures) and "Making" not in said


# ------------------------------------------------------------------------------------------------------------- edit


def test_edit_begins_with_the_sliders_that_the_model_knows(studio):
    (one, _) = made(studio)
    model, id, shown, names, _, _, *sliders = edit.entered(studio, one.id)
    assert (model, id) == ("avatars", one.id) and one.id in shown
    assert json.loads(names) == ["smiling|sad", "glasses|no glasses", "a beard|no beard", "blue hair|black hair"]
    assert [slider.visible for slider in sliders] == 4 * [True] + 4 * [False] and sliders[0].label == "sad  ↔  smiling"


def test_what_the_model_has_not_made_is_offered_to_be_found_in_it(studio, photo):
    model, id, shown, _, found, mine, *_ = edit.entered(studio, photo)
    assert (model, id, found) == ("avatars", photo, photo) and "A photo of yours" in shown and photo in mine
    assert "A photo of yours" in edit.live_html(studio, "avatars", photo, {"smiling|sad": 0.5})
    with pytest.raises(RunError, match="A photo of yours"):
        edit.start_edit(studio, "avatars", photo, {"smiling|sad": 0.5})


def test_a_slider_of_ones_own_is_added_once(studio):
    names, slider, *_ = edit.added("[]", " long hair ", "bald")
    assert (slider.minimum, slider.maximum, slider.label) == (-edit.FAR, edit.FAR, "bald  ↔  long hair")
    assert json.loads(names) == ["long hair|bald"] == json.loads(edit.added(names, "long hair", "bald")[0])
    assert json.loads(edit.added(names, "", "bald")[0]) == json.loads(edit.added(names, "a|b", "c")[0]) == [
        "long hair|bald"]
    for k in range(20):
        names = edit.added(names, f"a{k}", "b")[0]
    assert len(json.loads(names)) == edit.SLIDERS


def test_edit_shows_keeps_breeds_and_morphs(studio):
    (a, b) = made(studio)
    assert "data:image/png" in edit.live_html(studio, "avatars", a.id, {"smiling|sad": 0.5})
    assert "Choose a picture" in edit.live_html(studio, "avatars", "", {})
    kept = done(edit.start_edit(studio, "avatars", a.id, {"smiling|sad": 0.5, "x|y": 0.0}))
    assert "smiling|sad:+0.5" in kept.words and "x|y" not in " ".join(kept.words)
    assert studio.home.index.parents(kept.pictures[0].id) == [a]
    children = done(edit.start_breed(studio, "avatars", [a.id, b.id], 3, 0.2)).pictures
    assert len(children) == 3 and studio.home.index.parents(children[0].id) == [a, b]
    assert "Made from" in gallery.tree_html(studio, children[0].id)
    assert done(edit.start_morph(studio, "avatars", [a.id, b.id], 8)).words[0] == "interpolate"


@pytest.mark.parametrize("begin, said", [
    (lambda studio: edit.start_edit(studio, "avatars", "", {"a|b": 1.0}), "no picture is chosen"),
    (lambda studio: edit.start_edit(studio, "avatars", "0" * 16, {"a|b": 0.0}), "in the middle"),
    (lambda studio: edit.start_breed(studio, "avatars", [], 3, 0.2), "at least 1"),
    (lambda studio: edit.start_morph(studio, "avatars", ["0" * 16], 8), "at least 2"),
    (lambda studio: edit.start_project(studio, "avatars", "", "x"), "no photo"),
    (lambda studio: edit.start_project(studio, "avatars", "0" * 16, " "), "say what the photo shows"),
    (lambda studio: edit.start_learn(studio, "avatars"), "sliders of words")])
def test_edit_says_what_cannot_be(studio, begin, said):
    with pytest.raises(RunError, match=said):
        begin(studio)


def test_the_tray_keeps_five(studio):
    ids = [one.id for one in made(studio, num=7)]
    known = ""
    for id in ids:
        known = edit.gathered(studio, id, known)[0]
    assert known.split(",") == ids[-5:]
    assert edit.gathered(studio, ids[-1], known)[0] == known and edit.gathered(studio, "", "0" * 16)[0] == ""


# ---------------------------------------------------------------------------------------------------------- retouch


@pytest.fixture
def photo(studio, tmp_path):
    Image.new("RGB", (64, 64), (200, 90, 20)).save(tmp_path / "photo.png")
    return edit.bring(studio, str(tmp_path / "photo.png"))


@pytest.mark.parametrize("task, more", [
    ("remove", {}), ("fill", {"words": "a face"}), ("outpaint", {"drawn": drawing(left=9)}), ("texture", {}),
    ("tile", {}), ("upscale", {})])
def test_retouch_makes_what_is_asked_for(studio, photo, task, more):
    what = asked(task, photo, **more)
    job = done(retouch.start(studio, what))
    assert job.code == 0 and studio.home.index.parents(job.pictures[0].id)[0].id == photo
    shown = retouch.result_html(what, job)
    assert ("compare" in shown) == (task == "upscale") and ("tiled" in shown) == (task == "tile")
    if task == "outpaint":
        assert job.words[2:4] == ("--left", "9")


def test_style_comes_from_another_picture(studio, photo):
    (one, _) = made(studio)
    job = done(retouch.start(studio, asked("stylize", photo, style_id=one.id)))
    assert [each.id for each in studio.home.index.parents(job.pictures[0].id)] == [photo, one.id]
    assert create.style_of(studio, one.id)[0] == one.id and create.style_of(studio, "0" * 16) == ["", ""]


@pytest.mark.parametrize("task, more, said", [
    ("remove", {"id": ""}, "no picture is chosen"),
    ("remove", {"drawn": drawing(color=0)}, "nothing is drawn or marked"),
    ("remove", {"drawn": ""}, "did not arrive whole"), ("remove", {"drawn": '{"picture": 3}'}, "did not arrive whole"),
    ("remove", {"drawn": '{"picture": "data:image/svg+xml;base64,PHN2Zz4=", "sides": {}}'}, "did not arrive whole"),
    ("fill", {}, "say what the whole picture"), ("outpaint", {}, "no edge was moved"),
    ("outpaint", {"drawn": drawing(left=10**9)}, "out of range"), ("stylize", {}, "no painting"),
    ("translate", {}, "imggen train --config paired"), ("sketch", {}, "imggen train --config sketch"),
    ("rm -rf", {}, "is unknown")])
def test_retouch_says_what_cannot_be(studio, photo, task, more, said):
    with pytest.raises(RunError, match=said):
        retouch.start(studio, asked(task, **{"id": photo, **more}))


def test_a_bomb_of_a_drawing_is_refused(studio, photo):
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)) + chunk(
        b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    drawn = json.dumps({"picture": f"data:image/png;base64,{base64.b64encode(bomb).decode()}", "sides": {}})
    with pytest.raises(ImggenError, match="decompression bomb|200,000,000 pixels"):
        retouch.start(studio, asked("remove", photo, drawn=drawn))


def test_what_is_brought_leaves_no_upload(studio, tmp_path):
    file = tmp_path / "a.png"
    Image.new("RGB", (20, 20)).save(file)
    id, said, emptied = retouch.brought(studio, str(file))
    assert studio.home.index.get(id) and emptied is None and not file.exists()
    file.write_bytes(b"<svg/>")
    assert "give a PNG" in retouch.brought(studio, str(file))[1] and not file.exists()


# ------------------------------------------------------------------------------------------------------------ check


def test_check_tells_and_keeps_nothing(studio, tmp_path):
    file = tmp_path / "pic.png"
    Image.new("RGB", (64, 64)).save(file)
    *_, (said, shown, command, emptied) = check.checked(studio, str(file))
    assert "not kept" in said and "A machine made it" in shown and "&lt;b&gt;somebody" in shown
    assert "imggen verify pic.png" in command and emptied is None
    assert not file.exists() and studio.home.index.count() == 0 and not list(studio.home.own.iterdir())


# ------------------------------------------------------------------------------------------------------- collection


def test_uploads_become_a_folder_that_is_looked_through(studio, tmp_path):
    files = []
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 64)).save(tmp_path / name)
        files.append(str(tmp_path / name))
    *_, (said, shown, command) = collection.looked(studio, "my cats", files, "", "quick")
    assert "Pictures used" in shown and "not a picture" in shown and "imggen data --folder" in command
    place = studio.home.collections / "my cats"
    assert sorted(path.name for path in place.iterdir()) == ["a.png", "b.png"]
    assert collection.source(studio, "my cats", files, "") == place          # what was moved is not missed
    assert collection.source(studio, "", [], str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name, files, path, said", [
    ("x", [], "", "no pictures are given"), ("x", [], "/no/such/folder", "there is no folder"),
    ("../x", [], "", "cannot be taken"), ("x", ["a.exe"], "", "neither a picture nor a zip")])
def test_collections_that_cannot_be_are_said(studio, tmp_path, name, files, path, said):
    for each in files:
        (tmp_path / each).write_text("")
    (told, *_) = next(collection.looked(studio, name, [str(tmp_path / each) for each in files], path, "quick"))
    assert said in told


@pytest.fixture
def run(studio):
    """A run as it lies on disk after an interruption."""
    workdir = studio.home.runs / "cats"
    (workdir / "checkpoints" / "50").mkdir(parents=True)
    (workdir / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(workdir / "pictures" / "samples_000000500.png")
    lines = [{"step": k, "images": 100 * k, "images_per_second": 50.0, "vae/loss": 9.0 / k} for k in range(1, 6)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (workdir / runs.FACTS).write_text(json.dumps({"words": ["train", "--workdir", str(workdir)], "images": 1000,
                                                  "folder": "x"}))
    (workdir / "studio.pid").write_text("999999999")
    return workdir


def test_a_run_is_seen_as_it_is(studio, run):
    (one,) = runs.every(studio.home.runs)
    assert (one.state, one.images, one.total, one.speed, one.left) == ("stopped", 500, 1000, 50.0, None)
    shown = collection.run_html(one)
    assert "50%" in shown and "<polyline" in shown and "data:image/png" in shown
    assert "No training yet" in collection.runs_html(studio, ["another"])
    _, choices, names = collection.ticked(studio, ["cats"], [])
    assert names == ["cats"] == choices.value
    assert not isinstance(collection.ticked(studio, [], names)[1], type(choices))   # a click meanwhile is kept


def test_a_run_is_renamed_and_goes_on_under_its_new_name(studio, run):
    collection._renamed(studio, ["cats"], "kittens")
    facts = json.loads((studio.home.runs / "kittens" / runs.FACTS).read_text())
    assert facts["words"] == ["train", "--workdir", str(studio.home.runs / "kittens")]
    assert "cannot be taken" in collection._renamed(studio, ["kittens"], "../x")[0]


def test_a_run_is_begun_stopped_and_goes_on(studio, monkeypatch):
    import sys
    import time

    code = "import time; print('training', flush=True); time.sleep(60)"
    monkeypatch.setattr(commands, "process", lambda words: [sys.executable, "-c", code])
    workdir = studio.home.runs / "mice"
    runs.begin(workdir, runs.PRESETS["quick"], "pictures", 1000)
    assert runs.state(workdir).state == "running"
    with pytest.raises(RunError, match="already"):
        runs.begin(workdir, runs.PRESETS["quick"], "pictures", 1000)
    with pytest.raises(RunError, match="running"):
        runs.rename(workdir, studio.home.runs / "rats")
    runs.stop(workdir)
    for _ in range(100):
        if runs.state(workdir).state != "running":
            break
        time.sleep(0.1)
    assert runs.state(workdir).state == "failed"      # nothing was saved
    with pytest.raises(RunError, match="not running"):
        runs.stop(workdir)
    runs.go_on(workdir)
    assert runs.state(workdir).state == "running"
    runs.stop(workdir)


def test_measuring_is_canceled_and_says_what_went_wrong(studio, monkeypatch):
    import sys

    def measure(code):
        monkeypatch.setattr(commands, "process", lambda words: [sys.executable, "-c", code])
        return runs.measure(studio.home.index, runs.PRESETS["quick"], "x", studio.home.cache, studio.unmeasured)

    with pytest.raises(RunError, match="^no such folder"):
        measure("import sys; sys.exit('error: no such folder')")
    collection.cancel(studio)
    with pytest.raises(RunError, match="canceled"):
        measure("import time; time.sleep(600)")
    assert runs.speed_of(studio.home.index, runs.PRESETS["quick"]) is None


def test_presets_follow_the_speed_of_the_machine(studio):
    quick = runs.PRESETS["quick"]
    assert "estimate" in collection.expected_html(studio, "quick")
    studio.home.index.set_rate("images/s folder_vae 32", 100.0)
    assert runs.speed_of(studio.home.index, quick) == 100.0 and runs.images_of(quick, 100.0) == 82_000
    assert "measured here" in collection.expected_html(studio, "quick")


def test_models_are_known_by_their_files(tmp_path, studio):
    (tmp_path / "half" / "checkpoints").mkdir(parents=True)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.json").write_text("{")
    found = {one.name: one for one in models.known([tmp_path, tmp_path / "not there"])}
    assert found["avatars"].text and found["avatars"].kind == "maker" and found["upscale_x4"].kind == "enlarger"
    assert "half" not in found and "broken" not in found
