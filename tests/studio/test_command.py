"""The verb `studio`: what is refused before anything is loaded, and how a port's holder is named."""
import importlib.util
import socket

import pytest

from imggen_jax import main
from imggen_jax.errors import RunError
from imggen_jax.studio import command


@pytest.fixture(autouse=True)
def nothing_is_begun(monkeypatch):
    def served(*_):
        raise AssertionError("it went on")

    monkeypatch.setattr(command, "_serve", served)


def refused(capsys, *words):
    assert main.main(["studio", "--no-browser", *map(str, words)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_a_port_that_is_taken_is_named_with_its_holder_and_the_next(capsys, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused(capsys, "--port", port, "--folder", tmp_path / "studio")
    assert f"port {port} is taken by " in line and "choose another: --port " in line
    assert not (tmp_path / "studio").exists()


@pytest.mark.parametrize("words, said", [
    (["--port", "0"], "--port is 0"), (["--port", "70000"], "--port is 70000"),
    (["--models", "/no/such/folder"], "is not a folder"), (["--folder", "a,b"], "a comma or a plus")])
def test_what_cannot_be_is_one_line(capsys, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert said in refused(capsys, "--port", port, *words)


def test_what_is_not_installed_is_named(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert 'pip install "imggen_jax[studio]"' in refused(capsys)


def test_a_new_studio_begins_with_pictures():
    begun = []

    class Jobs:
        def start(self, words, expected):
            begun.append((words, expected))

    command._welcome(Jobs())
    assert [expected for _, expected in begun] == [4, 4, 4] and all("avatars" in words for words, _ in begun)


def test_a_folder_has_one_studio(tmp_path):
    with command._alone(tmp_path):
        with pytest.raises(RunError, match="in use by another studio"), command._alone(tmp_path):
            pass
    with command._alone(tmp_path):
        pass
