"""The lock of a workdir: one run at a time, whoever came first is named, and the dead do not block."""
import errno
import os
import re
import subprocess
import sys
import threading

import pytest
import shell

from imggen_jax.errors import RunError, SaveError
from imggen_jax.storage import lock

HOLD = ("import sys; from imggen_jax.storage import lock\n"
        "with lock.hold(lock.Path(sys.argv[1])):\n"
        "    print('held', flush=True); input()")


def start(folder):
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], cwd=shell.REPOSITORY, text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def holder(folder):
    process = start(folder)
    assert process.stdout.readline() == "held\n", process.communicate()[1]
    return process


def test_a_second_process_is_refused_until_the_first_ends(tmp_path):
    with holder(tmp_path) as process:
        with pytest.raises(RunError, match=rf"{tmp_path} is in use by process {process.pid} on \S+; wait for it"):
            with lock.hold(tmp_path):
                pass
        process.communicate("\n")
    assert not any(tmp_path.iterdir())
    with lock.hold(tmp_path):
        assert re.fullmatch(rf"process {os.getpid()} on \S+\n", (tmp_path / ".lock").read_text())
    assert not any(tmp_path.iterdir())


def test_a_killed_process_does_not_block(tmp_path):
    with holder(tmp_path) as process:
        process.kill()
    assert (tmp_path / ".lock").exists()
    with lock.hold(tmp_path):
        pass
    assert not any(tmp_path.iterdir())


def test_a_process_does_not_enter_twice(tmp_path):
    with lock.hold(tmp_path):
        with pytest.raises(RunError, match="in use by process"), lock.hold(tmp_path):
            pass
        with start(tmp_path) as process:  # and the first one still holds it
            assert "in use by" in process.communicate()[1]


def test_a_folder_is_made_and_removed_if_nothing_came_into_it(tmp_path):
    with lock.hold(tmp_path / "deep" / "run"):
        assert (tmp_path / "deep" / "run").is_dir()
    assert not any(tmp_path.iterdir())
    with lock.hold(tmp_path / "deep" / "run"):
        (tmp_path / "deep" / "run" / "config.json").touch()
    assert (tmp_path / "deep" / "run" / "config.json").exists()


def test_a_file_that_was_removed_in_between_is_not_taken_for_the_lock(tmp_path, monkeypatch):
    lockf, calls = lock.fcntl.lockf, []

    def late(file, how):  # another run ends between the opening of the file and its locking
        if not calls:
            (tmp_path / ".lock").unlink()
        calls.append(how)
        return lockf(file, how)

    monkeypatch.setattr(lock.fcntl, "lockf", late)
    with lock.hold(tmp_path):
        assert len(calls) == 2 and (tmp_path / ".lock").exists()


def test_a_file_system_without_locks_is_used_with_a_note(tmp_path, monkeypatch, capsys):
    def unsupported(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "lockf", unsupported)
    with lock.hold(tmp_path):
        assert "cannot be locked (No locks available); make sure" in capsys.readouterr().err


WAIT = ("import sys; from pathlib import Path; from imggen_jax.storage import lock\n"
        "with lock.exclusive(Path(sys.argv[1]), waiting=lambda holder: print('waits for', holder, flush=True)):\n"
        "    print('held', flush=True)")


def test_who_may_wait_gets_the_lock_after_the_holder(tmp_path):
    path = tmp_path / "new" / "a.lock"
    with lock.exclusive(path):
        process = subprocess.Popen([sys.executable, "-c", WAIT, str(path)], cwd=shell.REPOSITORY, text=True,
                                   stdout=subprocess.PIPE)
        assert re.fullmatch(rf"waits for process {os.getpid()} on \S+\n", process.stdout.readline())
        assert process.poll() is None
    assert process.communicate(timeout=60)[0] == "held\n" and process.returncode == 0
    assert not any(path.parent.iterdir())


def test_threads_wait_for_each_other(tmp_path):
    path, order, waits = tmp_path / "a.lock", [], threading.Event()

    def second():
        with lock.exclusive(path, waiting=lambda holder: waits.set()):
            order.append("second")

    with lock.exclusive(path):
        with pytest.raises(lock.Locked, match="this one"), lock.exclusive(path):
            pass
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(60)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]


def test_a_lock_that_cannot_be_created_is_an_os_error_and_errors_inside_pass(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), lock.exclusive(tmp_path / "file" / "a.lock"):
        pass
    with pytest.raises(OSError, match="inside"), lock.exclusive(tmp_path / "a.lock"):
        raise OSError("inside")
    with lock.exclusive(tmp_path / "a.lock"):
        pass


def test_a_full_disk_is_an_error_of_saving_and_another_one_of_the_folder(tmp_path, monkeypatch):
    def refuse(number):
        def fails(*args):
            raise OSError(number, os.strerror(number))
        monkeypatch.setattr(lock.socket, "gethostname", fails)  # while the lock file is being written

    refuse(errno.ENOSPC)
    with pytest.raises(SaveError, match="No space left on device.; make room, then run the same command again"):
        with lock.hold(tmp_path / "run"):
            pass
    refuse(errno.EROFS)
    with pytest.raises(RunError, match="choose another --workdir"), lock.hold(tmp_path / "run"):
        pass
    monkeypatch.undo()
    with lock.hold(tmp_path / "run"):
        pass
