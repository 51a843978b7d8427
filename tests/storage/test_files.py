"""Atomic writes: whole or not at all, whoever else writes, and nothing left behind."""
import threading

import pytest

from imggen_jax.storage import files


def test_text_bytes_and_functions_are_written(tmp_path):
    path = tmp_path / "a"
    for content, expected in (("ä\n", "ä\n".encode()), (b"\0\xff", b"\0\xff"), (lambda file: file.write(b"x"), b"x")):
        for sync in (False, True):
            files.write_atomic(path, content, sync=sync)
            assert path.read_bytes() == expected
    assert list(tmp_path.iterdir()) == [path]


def fails(file):
    file.write(b"half")
    raise OSError("No space left on device")


@pytest.mark.parametrize(("content", "error"), [(fails, OSError), ("\ud800", UnicodeEncodeError)])
def test_on_an_error_the_old_file_stays_and_nothing_else_does(tmp_path, content, error):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(error):
        files.write_atomic(path, content)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.write_atomic(tmp_path / "missing" / "a", "x")


def test_threads_do_not_mix(tmp_path):
    path, barrier = tmp_path / "a", threading.Barrier(4)

    def write(letter):
        def content(file):
            file.write(letter * 1000)
            barrier.wait()  # all four files are open at once
            file.write(letter * 1000)
        files.write_atomic(path, content)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c", b"d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(path.read_bytes()) == 2000 and len(set(path.read_bytes())) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_as_long_as_file_systems_allow(tmp_path):
    files.write_atomic(tmp_path / ("ä" * 127), "x")
    assert (tmp_path / ("ä" * 127)).read_text() == "x"
