"""A dataset that was damaged on disk is noticed, set aside and made again."""
import os

import pytest
from own import SIZE, examples, made

from imggen_jax.data import DataError, folders
from imggen_jax.data.folders import checking, ingestion

FILES = {f"{i}.png": i for i in range(6)} | {"0.txt": "a word"}


def shard(folder):
    return next(folder.glob("*array_record*"))


def cut(file):
    os.truncate(file, file.stat().st_size // 2)


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


DAMAGES = {
    "missing shard": (lambda folder: shard(folder).unlink(), "is missing"),
    "cut shard": (lambda folder: cut(shard(folder)), "bytes, not"),
    "flipped shard": (lambda folder: flip(shard(folder)), "has changed since"),
    "empty card": (lambda folder: os.truncate(folder / "card.json", 0), "is damaged"),
    "missing card": (lambda folder: (folder / "card.json").unlink(), "is damaged"),
    "empty info": (lambda folder: os.truncate(folder / "dataset_info.json", 0), "dataset_info.json has 0 bytes"),
    "no identity": (lambda folder: (folder / "identity.json").unlink(), "identity.json is missing"),
    "no sums": (lambda folder: (folder / "checksums.json").unlink(), "is damaged"),
    "empty sums": (lambda folder: (folder / "checksums.json").write_text("{}"), "is damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_dataset_is_set_aside_and_made_again(damage, tmp_path, capfd):
    first = made(tmp_path / "in", FILES)
    before = {name: example["image"].tobytes() for name, example in examples(first).items()}
    hurt, said = DAMAGES[damage]
    hurt(first.folder)
    again = made(tmp_path / "in", {})
    assert again == first
    assert {name: example["image"].tobytes() for name, example in examples(again).items()} == before
    told = capfd.readouterr().err
    assert said in told and "the dataset is made again" in told and len(told.splitlines()) == 1
    assert [path.name for path in first.folder.parent.glob("damaged*")] == ["damaged-1.0.0-1"]
    checking.verify(again.folder, full=True)


def test_damage_is_found_from_another_folder_too(tmp_path, capfd):
    first = made(tmp_path / "in", FILES)
    flip(shard(first.folder))
    again = made(tmp_path / "on", FILES)
    assert again.name == first.name and "has changed since" in capfd.readouterr().err
    checking.verify(again.folder, full=True)


def test_sums_are_compared_where_times_have_changed_or_on_demand(tmp_path, monkeypatch):
    first = made(tmp_path / "in", FILES)
    summed = []
    original = checking._sum
    monkeypatch.setattr(checking, "_sum", lambda file: (summed.append(file.name), original(file))[1])
    assert made(tmp_path / "in", {}) == first and not summed
    assert made(tmp_path / "in", {}, verify=True) == first and shard(first.folder).name in summed
    summed.clear()
    os.utime(shard(first.folder), (1, 1))
    assert made(tmp_path / "in", {}) == first and summed
    summed.clear()
    assert made(tmp_path / "in", {}) == first and not summed


def test_a_flip_behind_the_clocks_back_is_found_on_demand(tmp_path, capfd):
    first = made(tmp_path / "in", FILES)
    file = shard(first.folder)
    times = file.stat()
    flip(file)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(DataError, match="has changed since it was written"):
        folders.verify(first.folder, full=True)
    assert made(tmp_path / "in", {}, verify=True) == first
    assert "made again" in capfd.readouterr().err


def test_intact_datasets_are_not_made_again(tmp_path, monkeypatch):
    first = made(tmp_path / "in", FILES)
    monkeypatch.setattr(ingestion, "_make", None)
    assert made(tmp_path / "in", {}, size=SIZE) == first


@pytest.mark.parametrize(("damage", "full"), [("missing shard", False), ("cut shard", False), ("empty card", False),
                                              ("no sums", False), ("flipped shard", True)])
def test_a_dataset_used_by_its_name_is_checked_too(damage, full, tmp_path):
    first = made(tmp_path / "in", FILES)
    folders.check(name=first.name, dir=first.dir, full=True)
    DAMAGES[damage][0](first.folder)
    with pytest.raises(DataError, match="is then set aside and made again") as error:
        folders.check(name=first.name, dir=first.dir, full=full)
    assert "\n" not in str(error.value) and DAMAGES[damage][1] in str(error.value)


def test_other_datasets_are_not_checked(tmp_path):
    folders.check(name="mnist", dir=str(tmp_path))
