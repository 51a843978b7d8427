"""Folders, zips and tars are read alike and in place, and what must not be opened is refused by name."""
import io
import os
import stat
import tarfile
import zipfile

import pytest

from imggen_jax.data import DataError
from imggen_jax.data.folders import members as reading
from imggen_jax.data.folders.pixels import Refused

FILES = {"a/1.jpg": b"one", "a/deep/2.png": b"two" * 99, "b.txt": b"text", "é.gif": b"three"}


def folder(root, files=FILES):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def zipped(path, files=FILES):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/", b"")
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tarred(path, files=FILES, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def contents(path) -> dict:
    """{name: its bytes, or the reason why it must not be opened}"""
    found = {}
    for member in reading.members(reading.find(path)):
        if isinstance(member, reading.Skipped):
            found[member.name] = member.kind
        elif member.refused:
            found[member.name] = member.refused[0]
        else:
            with member.open() as file:
                found[member.name] = file.read()
    return found


@pytest.mark.parametrize("make", [
    lambda root: folder(root / "x"), lambda root: zipped(root / "x.zip"), lambda root: tarred(root / "x.tar"),
    lambda root: tarred(root / "x.tgz", mode="w:gz"), lambda root: tarred(root / "x.tar.xz", mode="w:xz"),
    lambda root: tarred(root / "x.tar.bz2", mode="w:bz2")], ids=["folder", "zip", "tar", "gz", "xz", "bz2"])
def test_the_same_files_are_found_in_a_folder_and_in_every_archive(make, tmp_path):
    path = make(tmp_path)
    assert contents(path) == FILES
    assert {member.name: member.size for member in reading.members(reading.find(path))} == {
        name: len(data) for name, data in FILES.items()}
    assert sorted(os.listdir(tmp_path)) == [path.name]  # nothing was unpacked


def test_the_order_is_always_the_same(tmp_path):
    path = folder(tmp_path / "x", {f"{i * 7 % 10}/{j}.png": b"" for i in range(10) for j in range(3)})
    names = [member.name for member in reading.members(reading.find(path))]
    assert names == sorted(names) and len(names) == 30


def test_links_and_devices_in_a_folder_are_refused(tmp_path):
    root = folder(tmp_path / "x")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "folder").symlink_to(tmp_path)
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "pipe.jpg")  # opening it would wait for ever
    found = contents(root)
    assert {found[name] for name in ("link.jpg", "folder", "loop", "pipe.jpg")} == {"link or device"}
    assert b"secret" not in found.values() and FILES.items() <= found.items()


def test_a_link_that_comes_into_a_files_place_is_not_followed(tmp_path):
    root = folder(tmp_path / "x", {"a.jpg": b"own"})
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (member,) = reading.members(reading.find(root))
    (root / "a.jpg").unlink()
    (root / "a.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(Refused) as caught:
        member.open()
    assert caught.value.reason == "unreadable"
    (root / "a.jpg").unlink()
    os.mkfifo(root / "a.jpg")
    with pytest.raises(Refused):
        member.open()


HOSTILE = ["../up.jpg", "a/../../up.jpg", "/etc/absolute.jpg", "C:\\windows\\x.jpg", "a\\..\\..\\up.jpg"]


def test_members_that_climb_out_are_refused(tmp_path):
    for path in (zipped(tmp_path / "x.zip", dict.fromkeys(HOSTILE, b"x") | FILES),
                 tarred(tmp_path / "x.tar", dict.fromkeys(HOSTILE[:4], b"x") | FILES)):
        found = contents(path)
        assert FILES.items() <= found.items()
        assert {reason for name, reason in found.items() if name not in FILES} == {"outside the archive"}
    assert sorted(os.listdir(tmp_path)) == ["x.tar", "x.zip"]


def test_links_and_devices_in_archives_are_refused(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind in (("soft.jpg", tarfile.SYMTYPE), ("hard.jpg", tarfile.LNKTYPE), ("disk.jpg", tarfile.BLKTYPE),
                           ("tty.jpg", tarfile.CHRTYPE), ("pipe.jpg", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("soft.jpg")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert set(contents(tmp_path / "x.tar").values()) == set(contents(tmp_path / "x.zip").values()) == {
        "link or device"}


def test_an_encrypted_member_is_named(tmp_path):
    data = bytearray(zipped(tmp_path / "x.zip", {"a.jpg": b"x" * 50}).read_bytes())
    data[data.rindex(b"PK\3\4") + 6] |= 1  # the flags of the member, and of its line in the directory
    data[data.rindex(b"PK\1\2") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    assert contents(tmp_path / "x.zip") == {"a.jpg": "encrypted"}


def test_what_systems_leave_behind_is_named(tmp_path):
    left = [".DS_Store", "a/Thumbs.db", "__MACOSX/a/._1.jpg", "a/._1.jpg"]
    found = contents(zipped(tmp_path / "x.zip", dict.fromkeys(left, b"") | FILES))
    assert {found[name] for name in left} == {"system file"} and FILES.items() <= found.items()


WRITTEN = {"run": ["runs/vae/config.json", "runs/vae/checkpoints/5/state.npz", "runs/vae/pictures/grid.png"],
           "young run": ["runs/gan/config.json", "runs/gan/metrics.jsonl", "runs/gan/grid.png"],
           "dataset": ["data/folder_1/1.0.0/dataset_info.json", "data/folder_1/1.0.0/features.json"],
           "hidden": [".cache/deep/1.png", "a/.thumbnails/1.png"], "system": ["__MACOSX/1.png"]}
PASSED_OVER = {"runs/vae": "run", "runs/gan": "run", "data/folder_1/1.0.0": "prepared dataset",
               ".cache": "hidden folder", "a/.thumbnails": "hidden folder", "__MACOSX": "system folder"}


def test_runs_datasets_and_hidden_folders_are_passed_over(tmp_path):
    left = {name: b"x" for names in WRITTEN.values() for name in names} | {"mine/config.json": b"{}"}
    root = folder(tmp_path / "x", FILES | left)
    assert contents(root) == FILES | PASSED_OVER | {"mine/config.json": b"{}"}
    before = reading.stamp(reading.find(root))
    folder(root, {"runs/vae/pictures/grid2.png": b"y", ".cache/2.png": b"z"})
    assert reading.stamp(reading.find(root)) == before


def test_folders_nested_deeper_than_a_stack_are_walked(tmp_path):
    deep = [str(tmp_path / "x")]
    for _ in range(1100):
        deep.append(deep[-1] + "/d")
    for path in deep:
        os.mkdir(path)
    with open(deep[-1] + "/1.jpg", "wb") as file:
        file.write(b"deep")
    try:
        assert list(contents(tmp_path / "x").values()) == [b"deep"]
    finally:  # what cleans up after tests recurses
        os.remove(deep[-1] + "/1.jpg")
        for path in reversed(deep):
            os.rmdir(path)


@pytest.mark.parametrize("path", ["", "  "])
def test_an_empty_path_is_not_the_current_folder(path):
    with pytest.raises(DataError, match="the path of the pictures is empty; give a folder"):
        reading.find(path)


def test_a_prepared_dataset_is_no_folder_of_pictures(tmp_path):
    root = folder(tmp_path / "x", {"dataset_info.json": b"{}", "features.json": b"{}"})
    with pytest.raises(DataError, match="is a prepared dataset"):
        reading.find(root)


def test_names_that_are_no_text_become_text(tmp_path):
    root = folder(tmp_path / "x", {"a.jpg": b"x"})
    with open(os.path.join(os.fsencode(root), b"caf\xe9\n.jpg"), "wb") as file:
        file.write(b"y")
    assert contents(root) == {"a.jpg": b"x", "caf\\xe9\\x0a.jpg": b"y"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_named(tmp_path):
    root = folder(tmp_path / "x")
    (root / "b.txt").chmod(0)
    (root / "a" / "deep").chmod(0)
    found = {member.name: member for member in reading.members(reading.find(root))}
    assert found["a/deep"].refused[0] == "link or device"
    with pytest.raises(Refused, match="Permission denied"):
        found["b.txt"].open()
    (root / "a" / "deep").chmod(0o755)


def test_a_damaged_archive_is_one_clear_line(tmp_path):
    for path in (tarred(tmp_path / "x.tar", {"a.jpg": bytes(5000), "b.jpg": bytes(5000)}),
                 tarred(tmp_path / "x.tgz", {"a.jpg": os.urandom(50_000), "b.jpg": os.urandom(50_000)}, "w:gz")):
        path.write_bytes(path.read_bytes()[:path.stat().st_size * 4 // 10])
        with pytest.raises(DataError, match=f"{path.name} is damaged") as error:
            for member in reading.members(reading.find(path)):
                with member.open() as file:
                    try:
                        reading.read(file, b"", 10**6)
                    except Refused:  # the member in which the file ends
                        continue
        assert "\n" not in str(error.value)


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        info = tarfile.TarInfo("a.jpg")
        info.size = 10**13
        archive.addfile(info, None)
    with pytest.raises(DataError, match="unpacks to over 1.0 GiB at its member a.jpg"):
        list(reading.members(reading.find(tmp_path / "x.tar")))


@pytest.mark.parametrize(("make", "said"), [
    (lambda path: None, "is not there"),
    (lambda path: path.write_bytes(b""), "neither a zip nor a tar, it is empty"),
    (lambda path: path.write_bytes(b"\xff\xd8\xff" + bytes(2000)), "neither a zip nor a tar"),
    (lambda path: path.write_text("hello"), "neither a zip nor a tar"),
    (lambda path: os.mkfifo(path), "neither a folder nor a file"),
], ids=["missing", "empty", "picture", "text", "pipe"])
def test_a_path_that_is_no_folder_and_no_archive(make, said, tmp_path):
    make(tmp_path / "x")
    with pytest.raises(DataError, match=said) as error:
        reading.find(tmp_path / "x")
    assert str(tmp_path / "x") in str(error.value) and "\n" not in str(error.value)


def test_the_stamp_changes_with_the_files(tmp_path):
    root = folder(tmp_path / "x")
    stamps = [reading.stamp(reading.find(root))] * 2
    assert stamps[0] == reading.stamp(reading.find(root))
    (root / "new.jpg").write_bytes(b"1")
    stamps.append(reading.stamp(reading.find(root)))
    (root / "new.jpg").write_bytes(b"22")
    stamps.append(reading.stamp(reading.find(root)))
    (root / "new.jpg").rename(root / "newer.jpg")
    stamps.append(reading.stamp(reading.find(root)))
    assert len(set(stamps)) == 4


def test_reading_stops_at_the_limit():
    assert reading.read(io.BytesIO(b"cdef"), b"ab", 6) == b"abcdef"
    with pytest.raises(Refused) as caught:
        reading.read(io.BytesIO(b"cdefg"), b"ab", 6)
    assert caught.value.reason == "too large"
