"""From a folder of pictures to a trained run: `data --folder` and config.data.folder, as a user types them."""
import json
import shutil
from pathlib import Path

import own
import pytest
import shell
import tiny
from PIL import Image

from imggen_jax.errors import DataError
from imggen_jax.training.dataset import of_run, open_split


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Forty waves in four sub-folders, and a file that is no picture."""
    root = tmp_path_factory.mktemp("own") / "waves"
    given = tiny.examples(tiny.LABELED, 1, 40, seed=1)
    for i, (image, label) in enumerate(zip(given["image"][0], given["label"][0])):
        (root / shell.LABELS[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((48, 40)).save(root / shell.LABELS[label] / f"{i}.jpg")
    (root / "list.pdf").write_bytes(b"%PDF")
    rows = "".join(f"{path.relative_to(root)},CC0\n" for path in sorted(root.rglob("*.jpg"))[:30])
    (root / "metadata.csv").write_text("file_name,license\n" + rows)
    return root


def data_of(path, **change) -> dict:
    return {"name": "", "folder": str(path), "dir": "", "size": 16, "split": "train[:80%]", "test": "train[80%:]",
            "label": "", **change}


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    where = tmp_path_factory.mktemp("run")
    content = shell.config("gan", data=data_of(folder, label="label"), train={"images": 32})
    config = shell.write_config(where / "configs" / "own.py", content)
    return config, where / "own", shell.call("--config", config, "--workdir", where / "own")


def test_a_folder_just_trains(run):
    _, workdir, result = run
    assert result.code == 0, result.err
    assert "40 pictures, 1 files left out; see " in result.err
    facts = json.loads((workdir / "data.json").read_text())
    assert facts["name"].startswith("folder_") and facts["examples"] == 32 and facts["card"]["pictures"] == 40
    assert facts["spec"]["image"]["shape"] == [16, 16, 3] and facts["spec"]["label"]["names"] == sorted(shell.LABELS)


def test_the_ledger_reaches_the_report(run):
    page = (run[1] / "report.html").read_text()
    assert "CC0 (30), not stated (10)" in page and "Consent" in page


def test_the_run_goes_on_with_the_folder_moved_and_not_with_another(run, folder, tmp_path):
    config, workdir, _ = run
    shutil.copytree(workdir, tmp_path / "run")
    shutil.copytree(folder, tmp_path / "moved")
    longer = ("--config", config, "--workdir", tmp_path / "run", "--config.train.images=48")
    result = shell.call(*longer, f"--config.data.folder={tmp_path / 'moved'}")
    assert result.code == 0 and "Resuming" in result.err, result.err
    next((tmp_path / "moved").rglob("*.jpg")).unlink()
    result = shell.call(*longer[:-1], "--config.train.images=64", f"--config.data.folder={tmp_path / 'moved'}")
    assert result.code == 2 and "are not those that" in result.err


def test_a_moved_dataset_is_found_where_it_is_said_to_be(run, folder, tmp_path, monkeypatch):
    _, workdir, _ = run
    config, recorded = (json.loads((workdir / name).read_text()) for name in ("config.json", "data.json"))
    monkeypatch.chdir(tmp_path)  # from which a relative path leads nowhere
    config["data"]["folder"] = "holiday"
    shutil.copytree(folder, tmp_path / "moved")
    gone = {**recorded, "dir": str(tmp_path / "gone")}
    for known, where in ((recorded, ""), (gone, "moved"), (gone, recorded["dir"])):
        settings = of_run(config, known, where)
        assert open_split(settings, settings.data.split).fingerprint == recorded["fingerprint"], where
    with pytest.raises(DataError, match="holiday is not there"):
        of_run(config, gone)


@pytest.mark.parametrize("place", [".", "pictures"])
def test_a_run_among_the_pictures_themselves_is_refused(place, run, tmp_path):
    pictures = tmp_path / place
    pictures.mkdir(exist_ok=True)
    (pictures / "mine.png").write_bytes(own.png(1))
    before = shell.contents(tmp_path)
    result = shell.call("--config", run[0], "--workdir", tmp_path, f"--config.data.folder={pictures}")
    assert result.code == 2 and "would write its files among the pictures in" in result.err, result.err
    assert result.err.count("\n") == 1 and shell.contents(tmp_path) == before


@pytest.mark.parametrize(("number", "said"), [(1, "has 1 picture, "), (2, "has 2 pictures, ")])
def test_too_few_pictures_to_hold_any_out_are_told_in_plain_words(number, said, run, tmp_path):
    own.write(tmp_path / "few", {f"{k}.png": k for k in range(number)})
    result = shell.call("--config", run[0], "--workdir", tmp_path / "run", f"--config.data.folder={tmp_path / 'few'}",
                        "--config.data.label=", "--config.data.split=train[:90%]", "--config.data.test=train[90%:]")
    assert result.code == 2 and said in result.err and "--config.data.test=" in result.err, result.err


def test_a_run_inside_the_pictures_folder_goes_on(run, folder, tmp_path):
    config = run[0]
    shutil.copytree(folder, tmp_path / "in")
    words = ("--config", config, "--workdir", tmp_path / "in" / "runs" / "own",
             f"--config.data.folder={tmp_path / 'in'}")
    first = shell.call(*words)
    assert first.code == 0 and list((tmp_path / "in" / "runs" / "own").rglob("*.png")), first.err
    (tmp_path / "in" / "notes.txt").write_text("nothing that changes a picture")
    again = shell.call(*words, "--config.train.images=48")
    assert again.code == 0 and "Resuming" in again.err and "40 pictures, 2 files left out" in again.err, again.err


def test_the_verb_prints_what_it_found_and_how_to_train(folder, tmp_path):
    result = shell.call("data", "--folder", folder, "--size", 16, "--out", tmp_path, "--license", "mine")
    assert result.code == 0, result.err
    for text in ("40, 16x16", "1: not a picture 1", "CC0 30, mine 10", "4 from folders", "ingest.html",
                 "--config.data.name=folder_", f"--config.data.dir={tmp_path}"):
        assert text in result.out
    again = shell.call("data", "--folder", folder, "--size", 16, "--out", tmp_path, "--license", "mine")
    assert again.out == result.out


def test_the_function_is_the_verb(folder, tmp_path):
    import imggen_jax

    made = imggen_jax.ingest(folder, size=16, out=tmp_path, fit="pad", background="#202020")
    assert made.card["fit"] == "pad" and made.card["background"] == "#202020" and made.folder.is_dir()


@pytest.mark.parametrize(("change", "said"), [
    (dict(folder="nowhere"), "nowhere is not there"),
    (dict(name="mnist"), "config.data.name is 'mnist' and config.data.folder is "),
    (dict(size=0), "config.data.size is 0"),
    (dict(size=18), "cannot make 18x18 images"),
    (dict(folder=""), "no data are named; set --config.data.folder=PATH"),
    (dict(label="nothing"), "label 'nothing' of folder_"),
    (dict(split="train[:1%]"), "has 40 pictures, too few for a part 'train[:1%]'"),
])
def test_what_cannot_work_is_refused_in_one_line(change, said, folder, tmp_path):
    config = shell.write_config(tmp_path / "configs" / "own.py", shell.config("gan", data=data_of(folder, **change)))
    result = shell.call("--config", config, "--workdir", tmp_path / "run")
    assert result.code == 2 and said in result.err.splitlines()[-1] and "Traceback" not in result.err
    assert not (tmp_path / "run").exists()


def test_flags_of_the_verb_that_make_no_sense_are_refused_in_one_line(folder, tmp_path):
    for words, said in ((("--size", -1), "size is -1"), (("--fit", "squash"), "unknown fit 'squash'"),
                        (("--background", "x"), "background 'x' is no color"), (("--min-side", -1), "min_side is -1")):
        result = shell.call("data", "--folder", folder, "--out", tmp_path / "out", *words)
        assert result.code == 2 and said in result.err and len(result.err.splitlines()) == 1
    result = shell.call("data", "--folder", tmp_path / "nowhere")
    assert result.code == 2 and "is not there" in result.err and len(result.err.splitlines()) == 1


def test_a_model_forgets_by_being_trained_anew_or_not_at_all(run, folder, tmp_path):
    _, workdir, _ = run
    gone = next(folder.rglob("*.jpg"))
    shutil.copy(gone, tmp_path / "renamed.jpg")
    told = shell.call("forget", "--workdir", workdir, "--files", tmp_path / "renamed.jpg")
    assert told.code == 2 and "1 of 1 pictures are in the data" in told.err and "do not forget" in told.err
    Image.new("RGB", (48, 40), "red").save(tmp_path / "other.png")
    told = shell.call("forget", "--workdir", workdir, "--files", tmp_path / "other.png", "--retrain", tmp_path / "x")
    assert told.code == 0 and "None of the 1 pictures" in told.out and not (tmp_path / "x").exists()
    new = tmp_path / "new"
    name = str(gone.relative_to(folder))
    told = shell.call("forget", "--workdir", workdir, "--files", tmp_path / "renamed.jpg", name, "--retrain", new)
    assert told.code == 0, told.err
    facts = json.loads((new / "data.json").read_text())
    assert facts["card"]["pictures"] == 39 and facts["card"]["opted_out"] == 1
    told = shell.call("forget", "--workdir", new, "--files", gone)
    assert told.code == 0 and "None of the 1 pictures" in told.out
    told = shell.call("forget", "--workdir", workdir, "--files", gone, "--retrain", new)
    assert told.code == 2 and "holds a run already" in told.err


def test_what_cannot_be_looked_up_cannot_be_forgotten(run, tmp_path):
    told = shell.call("forget", "--workdir", tmp_path, "--files", "a.png")
    assert told.code == 2 and "is not the folder of a run" in told.err
    told = shell.call("forget", "--workdir", run[1], "--files", "nowhere.png")
    assert told.code == 2 and "nowhere.png is not there" in told.err
    shutil.copy(run[1] / "config.json", tmp_path / "config.json")
    (tmp_path / "data.json").write_text('{"name": "mnist"}')
    told = shell.call("forget", "--workdir", tmp_path, "--files", "a.png")
    assert told.code == 2 and "nothing says which pictures it has" in told.err
