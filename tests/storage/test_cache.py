"""Cache folders: one rule for every kind."""
from pathlib import Path

import pytest

from imggen_jax.storage.cache import cache_folder


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in ("IMGGEN_JAX_CACHE", "IMGGEN_JAX_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)


def test_by_default_it_is_in_the_users_cache(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder("data") == Path("/home/somebody/.cache/imggen_jax/data")
    monkeypatch.setenv("IMGGEN_JAX_CACHE", "")
    assert cache_folder("data") == Path("/home/somebody/.cache/imggen_jax/data")


def test_variables_move_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IMGGEN_JAX_CACHE", "~/c")
    assert cache_folder("native") == tmp_path / "c" / "native"
    assert cache_folder("weights") == tmp_path / "c" / "weights"
    monkeypatch.setenv("IMGGEN_JAX_WEIGHTS", "w")  # relative to the working directory of now
    assert cache_folder("weights") == Path.cwd() / "w"
    assert cache_folder("native") == tmp_path / "c" / "native"


def test_a_user_without_a_home_has_a_folder_for_the_process(monkeypatch):
    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    assert cache_folder("native").parent.is_dir()
    assert cache_folder("native").parent == cache_folder("data").parent
