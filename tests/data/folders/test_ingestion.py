"""A messy folder becomes a dataset: what is in it, what is told, and that nothing can stop or spoil it."""
import csv
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import shell
import tensorflow_datasets as tfds
from PIL import Image

from imggen_jax import data
from imggen_jax.data.folders import ingest, ingestion, lines, pixels, worker

SIZE = 16


def picture(seed, size=(48, 36)) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)


def put(root: Path, name: str, content) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Image.Image):
        content.save(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def messy(root: Path) -> Path:
    """Twelve pictures of cats and dogs, and whatever else lies in such folders."""
    for i in range(6):
        put(root, f"cat/{i}.jpg", picture(i))
        put(root, f"dog/deep/{i}.png", picture(10 + i))
        put(root, f"cat/{i}.txt", f"cat number {i}")
    put(root, "dog/copy.jpg", (root / "cat/0.jpg").read_bytes())
    put(root, "dog/again.png", (root / "dog/deep/1.png").read_bytes())
    picture(12).resize((96, 72)).save(root / "dog/near.jpg", quality=60)
    put(root, "broken.jpg", (root / "cat/1.jpg").read_bytes()[:400])
    put(root, "small.png", picture(0, (7, 30)))
    put(root, "notes.pdf", b"%PDF-1.7")
    put(root, "README.txt", "what this is")
    put(root, "<script>alert(1)</script>.jpg", b"<script>")
    put(root, "metadata.csv", "file_name,licence,source,coat,weight\n"
        "cat/0.jpg,CC0,https://a.example/0,tabby,4.5\ncat/1.jpg,CC0,https://a.example/1,tabby,3.25\n"
        "cat/2.jpg,own,,black,\ndog/deep/3.png,,,black,20.5\nnowhere.jpg,,,black,\n")
    return root


def ready(made) -> dict[str, dict]:
    """{name: example}, read by TFDS alone."""
    builder = tfds.builder_from_directory(made.folder)
    return {example["name"].decode(): example for split in builder.info.splits
            for example in builder.as_data_source(split)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("messy")
    return ingest(messy(folder / "pets"), size=SIZE, out=folder / "out", license="all rights reserved")


def test_it_is_a_tfds_dataset_of_the_pictures(made):
    examples = ready(made)
    assert set(examples) == {*(f"cat/{i}.jpg" for i in range(6)), *(f"dog/deep/{i}.png" for i in (0, 2, 3, 4, 5)),
                             "dog/again.png", "dog/near.jpg"}
    builder = tfds.builder_from_directory(made.folder)
    names = {key: feature.names for key, feature in builder.info.features.items()
             if isinstance(feature, tfds.features.ClassLabel)}
    assert names == {"label": ["cat", "dog"], "coat": ["black", "tabby", "unknown"]}
    cat, dog = examples["cat/0.jpg"], examples["dog/deep/3.png"]
    assert [cat[key] for key in ("label", "coat", "weight")] == [0, 1, 4.5]
    assert [cat[key].decode() for key in ("caption", "license", "origin", "consent")] == [
        "cat number 0", "CC0", "https://a.example/0", ""]
    assert [dog[key] for key in ("label", "coat", "weight")] == [1, 0, 20.5] and dog["caption"] == b""
    assert dog["license"] == b"all rights reserved" and np.isnan(examples["cat/2.jpg"]["weight"])
    wanted = pixels.Wanted(SIZE, "crop", (255, 255, 255), 8, 10**8)
    for name, example in examples.items():
        file = Path(made.card["path"], name).read_bytes()
        assert np.array_equal(example["image"], np.asarray(pixels.fitted(file, wanted)[0][0]))


def test_it_is_read_and_conditions_as_any_dataset(made):
    common = dict(name=made.name, dir=made.dir, size=SIZE, cache=None)
    loaded = data.open_dataset(split="train", label="label", **common)
    batch = loaded.read(np.arange(loaded.length))
    assert batch["image"].shape == (13, SIZE, SIZE, 3) and loaded.spec["label"].names == ("cat", "dog")
    assert np.bincount(batch["label"]).tolist() == [6, 7]
    parts = [data.open_dataset(split=split, label="coat", **common) for split in ("train[:60%]", "train[60%:]")]
    assert sum(part.length for part in parts) == 13 and parts[0].spec["label"].classes == 3


def test_every_file_is_accounted_for(made):
    card, whole = made.card, json.loads((made.folder / "ingest.json").read_text())
    assert whole["card"] == card == data.card(name=made.name, dir=made.dir)
    assert card["files"] == 27 and card["pictures"] == 13 and card["duplicates"] == 2
    assert card["quarantined"] == {"not a picture": 3, "too small": 1, "truncated": 1}
    assert {entry["name"]: entry["reason"] for entry in whole["left_out"]} == {
        "broken.jpg": "truncated", "small.png": "too small", "notes.pdf": "not a picture",
        "README.txt": "not a picture", "<script>alert(1)</script>.jpg": "not a picture"}
    assert all(entry["detail"] for entry in whole["left_out"])
    assert whole["duplicates"] == [{"name": "dog/copy.jpg", "of": "cat/0.jpg"},
                                   {"name": "dog/deep/1.png", "of": "dog/again.png"}]  # the first name stays
    assert card["conflicts"] == {"label": 1} and whole["conflicts"] == [
        {"name": "cat/0.jpg", "other": "dog/copy.jpg", "field": "label", "kept": "cat", "dropped": "dog"}]
    assert whole["near_duplicates"] == [["dog/deep/2.png", "dog/near.jpg"]]
    assert whole["rows_without_picture"] == ["nowhere.jpg"] and card["rows_without_picture"] == 1
    used = {*ready(made)}
    told = {entry["name"] for key in ("left_out", "duplicates") for entry in whole[key]}
    everything = {str(path.relative_to(card["path"])) for path in Path(card["path"]).rglob("*") if path.is_file()}
    assert everything == used | told | {"metadata.csv"} | {f"cat/{i}.txt" for i in range(6)}


def test_the_ledger_goes_to_the_card_and_to_a_table(made):
    ledger = made.card["ledger"]
    assert ledger["license"] == {"stated": 13, "missing": 0, "different": 3,
                                 "values": {"all rights reserved": 10, "CC0": 2, "own": 1}}
    assert (ledger["origin"]["stated"], ledger["consent"]["stated"]) == (2, 0)
    card = (made.folder / "README.md").read_text()
    assert "| License | all rights reserved 10, CC0 2, own 1 |" in card and "| Consent | not stated |" in card
    with open(made.folder / "ledger.csv", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert len(rows) == 13 and rows["cat/1.jpg"]["origin"] == "https://a.example/1"
    assert rows["dog/deep/0.png"]["license"] == "all rights reserved"


def test_the_page_shows_all_and_needs_nothing(made):
    page = (made.folder / "ingest.html").read_text()
    for text in ("broken.jpg", "truncated", "too small", "dog/near.jpg", "dog/copy.jpg", "&lt;script&gt;alert(1)"):
        assert text in page
    assert page.count("data:image/jpeg;base64,") >= 13 + 2 + 1  # used, near duplicates, and the small one
    assert "<script" not in page and not re.search(r"(src|href)=\"(?!data:)|url\(|@import", page)


def test_the_words_say_what_the_card_does(made):
    said = dict(lines(made.card))
    assert said["Pictures used"] == "13, 16x16" and said["Left out"] == "5: not a picture 3, too small 1, truncated 1"
    assert said["Exact duplicates"] == "2 dropped" and said["Copies disagree"].startswith("in label 1;")
    assert said["Attributes"] == "coat (3 classes), weight (number)" and said["Captions"] == "6 of 13"
    assert said["Note"] == "1 metadata rows name no file that is there: nowhere.jpg (the nearest is dog/near.jpg)"


# ----------------------------------------------------------------------------------------------------- keyed by content


def archive(folder: Path, path: Path) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as out:
            for file in sorted(folder.rglob("*")):
                out.write(file, file.relative_to(folder))
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as out:
            out.add(folder, ".")
    return path


@pytest.mark.parametrize("name", ["pets.zip", "pets.tgz"])
def test_an_archive_gives_the_same_dataset_as_its_folder(made, name, tmp_path):
    packed = archive(Path(made.card["path"]), tmp_path / name)
    again = ingest(packed, size=SIZE, out=tmp_path / "out", license="all rights reserved", workers=1)
    assert again.name == made.name
    shards = [file for file in os.listdir(made.folder) if "array_record" in file]
    for file in [*shards, "features.json", "dataset_info.json", "ledger.csv"]:
        assert (again.folder / file).read_bytes() == (made.folder / file).read_bytes()


def small(root: Path, number: int = 4) -> Path:
    for i in range(number):
        put(root, f"{i}.png", picture(i, (20, 20)))
    return root


def test_a_second_call_reads_no_picture(tmp_path, monkeypatch):
    root = small(tmp_path / "in")
    first = ingest(root, size=SIZE, out=tmp_path / "out")
    monkeypatch.setattr(ingestion, "_make", None)
    assert ingest(root, size=SIZE, out=tmp_path / "out") == first


def test_the_name_follows_the_content_and_the_options(tmp_path):
    root, out = small(tmp_path / "in"), tmp_path / "out"
    common = dict(size=SIZE, out=out, workers=1)
    first = ingest(root, **common)
    os.utime(root / "0.png")  # touched, not changed
    assert ingest(root, **common).name == first.name
    shutil.copytree(root, tmp_path / "moved")
    assert ingest(tmp_path / "moved", **common).name == first.name
    names = [first.name, ingest(root, **common, fit="pad").name, ingest(root, **common | {"size": 8}).name,
             ingest(root, **common, license="CC0").name]
    put(root, "0.txt", "a caption")
    names.append(ingest(root, **common).name)
    (root / "3.png").unlink()
    names.append(ingest(root, **common).name)
    assert len(set(names)) == len(names)
    assert (out / first.name.replace(":", "/") / "card.json").exists()


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_what_programs_write_beside_the_pictures_is_passed_over_and_counted(kind, tmp_path):
    root = small(tmp_path / "in")
    first = ingest(root, size=SIZE, out=tmp_path / "out", workers=1)
    for name in ("runs/vae/pictures/a.png", "runs/vae/pictures/b.png", ".hidden/c.png"):
        put(root, name, picture(hash(name) % 100, (20, 20)))
    put(root, "runs/vae/config.json", "{}")
    put(root, "runs/vae/metrics.jsonl", "{}")
    shutil.copytree(first.folder, root / "made" / "1.0.0")
    place = root if kind == "folder" else archive(root, tmp_path / f"in.{kind}")
    again = ingest(place, size=SIZE, out=tmp_path / "again", workers=1)
    assert again.card["pictures"] == 4 and again.card["quarantined"] == {}
    assert again.card["skipped"] == {"hidden folder": 1, "prepared dataset": 1, "run": 1}
    said = dict(lines(again.card))["Passed over"]
    assert said == "hidden folder 1, prepared dataset 1, run 1, with all that is in them"
    assert {"name": "runs/vae", "kind": "run"} in json.loads((again.folder / "ingest.json").read_text())["skipped"]


def test_a_cache_inside_the_pictures_folder_is_not_read(tmp_path, monkeypatch):
    root = small(tmp_path / "in")
    first = ingest(root, size=SIZE, out=root / "cache", workers=1)
    monkeypatch.setattr(ingestion, "_make", None)
    assert ingest(root, size=SIZE, out=root / "cache") == first


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("IMGGEN_JAX_CACHE", str(tmp_path / "cache"))
    assert ingest(small(tmp_path / "in"), size=SIZE, workers=1).dir == str(tmp_path / "cache" / "folders")


def test_a_dataset_that_was_deleted_is_made_again(tmp_path):
    root = small(tmp_path / "in")
    first = ingest(root, size=SIZE, out=tmp_path / "out", workers=1)
    before = shell.contents(first.folder)
    shutil.rmtree(first.folder.parent)
    assert shell.contents(ingest(root, size=SIZE, out=tmp_path / "out", workers=1).folder) == before


# ---------------------------------------------------------------------------------------------------- labels and splits


def plan_of(tmp_path, names, tables=()) -> tuple[dict, dict]:
    for i, name in enumerate(names):
        put(tmp_path / "in", name, picture(i, (20, 20)))
    for name, text in tables:
        put(tmp_path / "in", name, text)
    made = ingest(tmp_path / "in", size=SIZE, out=tmp_path / "out", workers=1)
    return made.card, ready(made)


def test_folders_that_all_pictures_share_are_no_labels(tmp_path):
    card, _ = plan_of(tmp_path, [f"pets/all/{kind}/{i}.png" for kind in ("cat", "dog") for i in range(2)])
    assert card["labels"] == {"cat": 2, "dog": 2} and card["label_from"] == "folders"


def test_pictures_beside_the_sub_folders_are_unknown(tmp_path):
    card, _ = plan_of(tmp_path, ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png", "x.png", "y.png"])
    assert card["labels"] == {"cat": 2, "dog": 2, "unknown": 2}


def test_a_folder_for_each_picture_is_no_label(tmp_path):
    card, examples = plan_of(tmp_path, [f"{i}/a.png" for i in range(4)])
    assert card["labels"] == {} and "label" not in examples["0/a.png"]
    assert dict(lines(card))["Labels"] == "none (4 sub-folders are too many for 4 pictures)"


def test_folders_called_train_and_test_are_splits(tmp_path):
    names = [f"{split}/{kind}/{i}.png" for split in ("train", "test", "val") for kind in "ab" for i in range(3)]
    card, _ = plan_of(tmp_path, names)
    assert card["splits"] == {"train": 6, "validation": 6, "test": 6} and card["labels"] == {"a": 9, "b": 9}


@pytest.mark.parametrize("told", ["folders", "table"])
def test_one_class_is_a_label_too(told, tmp_path):
    cats = "cats/" if told == "folders" else ""
    names = [f"train/{cats}0.png", f"train/{cats}1.png", f"test/{cats}2.png"]
    table = "file_name,label\n" + "".join(f"{name},cats\n" for name in names)
    card, _ = plan_of(tmp_path, names, [("metadata.csv", table)] if told == "table" else [])
    assert card["labels"] == {"cats": 3} and card["label_from"] == told
    assert dict(lines(card))["Labels"] == f"1 from {told}: cats 3"
    made = ingest(tmp_path / "in", size=SIZE, out=tmp_path / "out", workers=1)
    dataset = data.open_dataset(name=made.name, dir=made.dir, split="train", label="label", size=SIZE)
    assert dataset.spec["label"].names == ("cats",) and dataset.read(np.arange(2))["label"].tolist() == [0, 0]


def test_a_column_label_goes_before_folders_and_tables_lie_anywhere(tmp_path):
    table = "file_name,label,consent\n" + "".join(f"{i}.png,{'xy'[i % 2]},yes\n" for i in range(3))
    card, examples = plan_of(tmp_path, [f"{kind}/{i}.png" for kind in "ab" for i in range(3)],
                             [("a/metadata.csv", table)])
    assert card["labels"] == {"x": 2, "y": 1, "unknown": 3} and card["label_from"] == "table"
    assert examples["a/1.png"]["label"] == 1 and examples["b/1.png"]["label"] == 2
    assert card["ledger"]["consent"] == {"stated": 3, "missing": 3, "different": 1, "values": {"yes": 3}}


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(("make", "said"), [
    (lambda root: None, "is not there"),
    (lambda root: root.mkdir(), "has no picture that can be used: none"),
    (lambda root: put(root, "a.pdf", b"%PDF"), "has no picture that can be used: not a picture 1"),
    (lambda root: put(root.parent, "in", b"hello"), "neither a zip nor a tar"),
    (lambda root: put(root, "metadata.csv", "a,b\n"), "metadata.csv has no column file_name"),
    (lambda root: (small(root), put(root, "metadata.jsonl", "{")), "metadata.jsonl, line 1: not JSON"),
], ids=["missing", "empty", "no pictures", "a file", "table", "json"])
def test_what_cannot_work_is_one_clear_line(make, said, tmp_path):
    make(tmp_path / "in")
    with pytest.raises(data.DataError, match=said) as error:
        ingest(tmp_path / "in", size=SIZE, out=tmp_path / "out", workers=1)
    assert "\n" not in str(error.value)
    if "can be used" in said:  # and the page that it names is there
        assert Path(str(error.value).split("see ")[1]).is_file()


@pytest.mark.parametrize(("options", "said"), [
    (dict(size=-1), "size is -1"), (dict(size=32.5), "size is 32.5; give the side of the pictures in pixels"),
    (dict(size="64"), "size is '64'"), (dict(size=True), "size is True"), (dict(min_side=1.5), "min_side is 1.5"),
    (dict(fit="stretch"), "unknown fit 'stretch'; choose crop or pad"),
    (dict(background="blurple"), "background 'blurple' is no color"), (dict(background=3), "background 3 is no color"),
    (dict(background="#12345678"), "must be opaque"),
    (dict(min_side=0), "min_side is 0"), (dict(max_pixels=-1), "max_pixels is -1"), (dict(workers=0), "workers is 0"),
])
def test_arguments_that_make_no_sense(options, said, tmp_path):
    with pytest.raises(data.DataError, match=said) as error:
        ingest(small(tmp_path / "in"), **dict(out=tmp_path / "out") | options)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_numpy_integers_are_numbers(tmp_path):
    root = small(tmp_path / "in")
    assert ingest(root, size=np.int64(SIZE), min_side=np.uint8(8), out=tmp_path / "out", workers=np.int32(1)).name == (
        ingest(root, size=SIZE, min_side=8, out=tmp_path / "out").name)


def test_a_place_that_cannot_be_written_to(tmp_path):
    put(tmp_path, "file", "precious")
    with pytest.raises(data.DataError, match="cannot write to .*file"):
        ingest(small(tmp_path / "in"), size=SIZE, out=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "precious"


def test_a_name_that_an_archive_repeats_is_read_once(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as out:
        for seed in (0, 1, 2):
            file = io.BytesIO()
            picture(seed, (20, 20)).save(file, "PNG")
            info = tarfile.TarInfo("same.png" if seed < 2 else "other.png")
            info.size = file.tell()
            file.seek(0)
            out.addfile(info, file)
    made = ingest(tmp_path / "x.tar", size=SIZE, out=tmp_path / "out", workers=3)
    assert made.card["pictures"] == 2 and made.card["names_repeated"] == 1
    assert np.array_equal(ready(made)["same.png"]["image"], np.asarray(picture(0, (20, 20)).resize((SIZE, SIZE))))


# ----------------------------------------------------------------------------------------- hostile pictures and crashes

WANTED = pixels.Wanted(SIZE, "crop", (255, 255, 255), 8, 10**6)
GOOD = io.BytesIO()
picture(0).save(GOOD, "PNG")


@pytest.mark.parametrize(("trick", "reason", "said"), [
    ("os.kill(os.getpid(), 11)", "broken", "made the decoder crash \\(SIGSEGV\\)"),
    ("os._exit(3)", "broken", "made the decoder crash \\(exit code 3\\)"),
    ("[None for _ in iter(int, 1)]", "too slow", "more than 1 seconds"),
    ("bytes(2**33)", "too large", "more memory"),
    ("open('x', 'w').write('x' * 10**5)", "broken", "made the decoder crash \\(SIGXFSZ\\)|File too large"),
])
def test_a_picture_that_takes_over_the_decoder_takes_nothing_with_it(trick, reason, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worker, "_PROGRAM", "import os\nfrom imggen_jax.data.folders import worker, pixels\n"
                        "worker.SECONDS, original = 1, pixels._srgb\n"
                        f"def tricked(picture, *rest):\n    if picture.width == 99:\n        {trick}\n"
                        "    return original(picture, *rest)\npixels._srgb = tricked\nworker.main()")
    monkeypatch.setattr(worker, "SECONDS", 1)
    bad = io.BytesIO()
    picture(0, (99, 30)).save(bad, "PNG")
    process = worker.Worker(WANTED)
    try:
        got = process.decode(bad.getvalue())
        assert got.reason == reason and re.search(said, got.detail)
        assert process.decode(GOOD.getvalue()).reason == ""
    finally:
        process.close()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) == 0


def test_a_decoder_that_cannot_start_is_a_bug_and_not_a_broken_picture(monkeypatch):
    monkeypatch.setattr(worker, "_PROGRAM", "raise SystemExit(7)")
    with pytest.raises(RuntimeError, match="exit code 7"):
        worker.Worker(WANTED)


def started(root: Path, out: Path) -> subprocess.Popen:
    program = "import sys; from imggen_jax.data import ingest; ingest(sys.argv[1], size=16, out=sys.argv[2], workers=2)"
    return subprocess.Popen([sys.executable, "-c", program, str(root), str(out)], cwd=shell.REPOSITORY,
                            stderr=subprocess.PIPE, text=True)


def decoded(out: Path) -> int:
    """How many pictures an ingestion has kept so far."""
    for file in out.glob(".ingest/*/work.sqlite"):
        try:
            with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as base:
                return base.execute("select count(*) from pictures").fetchone()[0]
        except sqlite3.Error:  # not made yet
            return 0
    return 0


def many(root: Path, number: int) -> Path:
    for i in range(number):
        put(root, f"{'ab'[i % 2]}/{i}.jpg", picture(i, (900, 700)))
    put(root, "a/broken.jpg", (root / "a/0.jpg").read_bytes()[:3000])
    return root


@pytest.mark.parametrize("kills", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_a_killed_ingestion_goes_on_and_ends_with_the_same_bytes(kills, tmp_path):
    root = many(tmp_path / "in", 150 * kills)
    reached = 0
    for kill in range(kills):
        process = started(root, tmp_path / "out")
        wanted = 1 + (kill + 1) * len(list(root.rglob("*"))) // (kills + 2)
        while process.poll() is None and decoded(tmp_path / "out") < wanted:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kept = decoded(tmp_path / "out")
        assert kept >= reached
        reached = kept
    assert reached > 0
    made = ingest(root, size=SIZE, out=tmp_path / "out", workers=2)
    twin = ingest(root, size=SIZE, out=tmp_path / "twin", workers=3)
    assert shell.contents(made.folder) == shell.contents(twin.folder)
    assert not list((tmp_path / "out").glob(".ingest/*/"))  # what was half done is gone


def test_two_processes_make_it_once(tmp_path):
    root = many(tmp_path / "in", 30)
    both = [started(root, tmp_path / "out") for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("another process ingests this folder" in text for text in said) <= 1
    assert len(list((tmp_path / "out").glob("folder_*"))) == 1


def test_workers_end_with_their_parent(tmp_path):
    program = ("import sys, time\nfrom imggen_jax.data.folders import worker\n"
               f"made = worker.Worker(worker.Wanted{tuple(WANTED)!r})\n"
               "print(made.process.pid, flush=True)\ntime.sleep(60)")
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=shell.REPOSITORY, stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(500):
        try:
            state = Path(f"/proc/{child}/stat").read_text().split(")")[1].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.02)
    raise AssertionError("the worker is still there")


def in_a_command(program: str, *words) -> subprocess.CompletedProcess:
    """Runs a program as the command line does, with SIGPIPE at its default."""
    head = "import signal, sys\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
    return subprocess.run([sys.executable, "-c", head + program, *map(str, words)], cwd=shell.REPOSITORY, text=True,
                          capture_output=True, timeout=120)


def test_a_killed_decoder_is_replaced_though_sigpipe_is_at_its_default(tmp_path):
    (tmp_path / "good.png").write_bytes(GOOD.getvalue())
    result = in_a_command("from pathlib import Path\nfrom imggen_jax.data.folders import worker\n"
                          f"made = worker.Worker(worker.Wanted{tuple(WANTED)!r})\n"
                          "made.process.kill()\nmade.process.wait()\n"
                          "print(repr(made.decode(Path(sys.argv[1]).read_bytes()).reason))\nmade.close()\n",
                          tmp_path / "good.png")
    assert (result.returncode, result.stdout) == (0, "''\n"), result.stderr


TRICKED = """
import os
from imggen_jax.data.folders import pixels, worker
original = pixels._srgb
def tricked(picture, *rest):
    if picture.width == 99:
        os.kill(os.getpid(), 9)
    return original(picture, *rest)
pixels._srgb = tricked
worker.main()
"""


def test_a_decoder_that_is_killed_again_and_again_costs_its_pictures_only(tmp_path):
    root = small(tmp_path / "in")
    picture(9, (99, 30)).save(root / "bad.png")
    result = in_a_command(f"from imggen_jax.data.folders import ingest, worker\nworker._PROGRAM = {TRICKED!r}\n"
                          "made = ingest(sys.argv[1], size=16, out=sys.argv[2], workers=2)\n"
                          "print(made.card['pictures'], made.card['quarantined'])\n", root, tmp_path / "out")
    assert (result.returncode, result.stdout) == (0, "4 {'not decoded': 1}\n"), result.stderr


def test_decoders_that_cannot_be_started_are_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setattr(worker, "_PROGRAM", "raise SystemExit(7)")
    with pytest.raises(data.DataError, match="no process could be started to decode pictures; is memory short"):
        ingest(small(tmp_path / "in"), size=SIZE, out=tmp_path / "out")


def test_names_that_no_encoding_takes_are_kept_as_text(tmp_path):
    root = small(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")))
    os.rename(root / "0.png", os.fsencode(root) + b"/\xff.png")
    put(root, "metadata.jsonl", '{"file_name": "1.png", "text": "\\ud800"}\n{"file_name": "\\ud800.png"}\n')
    made = ingest(root, size=SIZE, out=tmp_path / "out", workers=1)
    assert made.card["path"].endswith("caf\\udce9") and made.card["pictures"] == 4
    assert {"\\xff.png", "1.png", "2.png", "3.png"} == set(ready(made))
    with pytest.raises(data.DataError, match="udce9/no is not there"):
        ingest(root / "no", size=SIZE, out=tmp_path / "out")
