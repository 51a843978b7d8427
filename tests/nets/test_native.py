"""Compiling conv.cc: what is told where it cannot be done, and that it is done once."""
import logging
import subprocess

import pytest

from imggen_jax.nets import native


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    monkeypatch.setenv("IMGGEN_JAX_CACHE", str(tmp_path))
    monkeypatch.delenv("IMGGEN_JAX_NATIVE", raising=False)
    for cached in (native._library, native._digest):
        cached.cache_clear()
    yield tmp_path / "native"
    for cached in (native._library, native._digest):
        cached.cache_clear()


def test_it_is_compiled_once_and_kept(fresh, monkeypatch):
    if native._compiler() is None:
        pytest.skip("there is no C++ compiler")
    # Optimizing takes most of the time, and changes nothing of what is tested here.
    monkeypatch.setattr(native, "FLAGS", tuple(flag.replace("-O3", "-O0") for flag in native.FLAGS))
    assert native._library() is not None
    assert [file.name for file in fresh.iterdir()] == [f"conv-{native._digest()}.so"]
    native._library.cache_clear()
    monkeypatch.setattr(subprocess, "run", None)  # not called again
    assert native._library() is not None


def test_no_compiler_is_told_once(fresh, monkeypatch, caplog):
    monkeypatch.setattr(native, "_compiler", lambda: None)
    assert native._library() is None and native._library() is None
    assert [record.message for record in caplog.records] == [
        "no C++ compiler found: convolutions on CPU will be several times slower; install g++ or clang++, or name one "
        "in CXX"]


@pytest.mark.parametrize("words", [("false",), ("sh", "-c", "echo it is broken >&2; exit 3")])
def test_a_compiler_that_fails_is_named(fresh, monkeypatch, caplog, words):
    run = subprocess.run
    monkeypatch.setattr(native, "_compiler", lambda: "c++")
    monkeypatch.setattr(subprocess, "run", lambda _, **options: run(words, **options))
    with caplog.at_level(logging.WARNING):
        assert native._library() is None
    line, = [record.message for record in caplog.records]
    assert line.startswith("c++ cannot compile conv.cc (") and "several times slower" in line
    assert not list(fresh.glob("*.so"))


def test_it_can_be_turned_off(fresh, monkeypatch, caplog):
    monkeypatch.setenv("IMGGEN_JAX_NATIVE", "0")
    assert native._library() is None and not caplog.records
