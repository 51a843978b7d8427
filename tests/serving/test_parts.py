"""Models within a bound of memory, keys and quotas, and the service's own folder."""
import datetime
import os
from pathlib import Path

import pytest
import worded

from imggen_jax.errors import RunError
from imggen_jax.serving import keys, models, shelf
from imggen_jax.serving.models import Models, Unknown, Vanished

SIZE = worded.BLOCKS.nbytes


# ------------------------------------------------------------------------------------------------------------ models


@pytest.fixture
def loader():
    """A function that loads models and remembers which."""
    def load(path):
        load.calls.append(path)
        if path in load.gone:
            raise RunError(f"/home/me/{path} is neither a folder nor the name of a shipped model")
        found = worded.model(guided=path == "b")
        return found._replace(weights={"blocks": found.weights["blocks"] + load.changed.get(path, 0)})

    load.calls, load.gone, load.changed = [], set(), {}
    return load


def test_the_least_used_weights_leave_when_memory_is_needed(loader):
    found = Models({"a": "a", "b": "b", "c": "c"}, memory=2 * SIZE, load=loader)
    assert found.loaded == ("b", "c") and loader.calls == ["a", "b", "c"]
    found.get("b")                                       # now c is the least used one
    assert found.get("a").weights["blocks"].nbytes == SIZE
    assert found.loaded == ("b", "a")
    found.get("b")
    assert loader.calls == ["a", "b", "c", "a"]


def test_programs_stay_when_weights_leave(loader):
    found = Models({"a": "a", "b": "b"}, memory=SIZE, load=loader)
    before = found.get("a").sampler
    found.get("b")
    assert found.get("a").sampler is before


def test_a_model_that_vanished_or_changed_is_named_without_its_path(loader):
    found = Models({"a": "a", "b": "b"}, memory=SIZE, load=loader)
    loader.gone.add("a")
    with pytest.raises(Vanished, match="^the model a cannot be loaded any more") as caught:
        found.get("a")
    assert "/home" not in str(caught.value)
    loader.gone.clear()
    loader.changed["a"] = 0.5
    with pytest.raises(Vanished, match="are not those that the service was started with"):
        found.get("a")
    assert found.get("b").weights is not None            # the others are served


def test_ids_are_looked_up_and_never_paths(loader):
    found = Models({"a": "a"}, load=loader)
    for name in ("b", "../a", "/etc/passwd", "a/", ""):
        with pytest.raises(Unknown, match="is not served; there are a$"):
            found.entry(name)
    assert found.entry(None).id == "a" and found.entry("a").model.weights is None


def test_a_model_larger_than_the_bound_is_refused_at_the_start(loader):
    with pytest.raises(RunError, match="allow more"):
        Models({"a": "a"}, memory=SIZE - 1, load=loader)


def test_models_are_named_by_their_folders_or_ids():
    assert models.parse("avatars, runs/faces,dall-e-2=runs/more/x.safetensors") == {
        "avatars": "avatars", "faces": "runs/faces", "dall-e-2": "runs/more/x.safetensors"}
    assert list(models.parse(None)) == models.shipped() and models.shipped()[0] == "avatars"
    for text, said in (("a,,b", "names no model"), ("../..", "names no model"), ("a b=c", "names no model"),
                       ("x=", "names no model"), ("runs/a,other/a", "two models are called a")):
        with pytest.raises(RunError, match=said):
            models.parse(text)


# -------------------------------------------------------------------------------------------------------------- keys


def test_the_file_keeps_hashes_and_is_its_owners_alone(tmp_path):
    file = tmp_path / "sub" / "keys.json"
    key = keys.add(file, "ann", 3)
    assert key.startswith(keys.PREFIX) and key not in file.read_text() and key[10:] not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    found = keys.Keys(file)
    assert found.owner(key).name == "ann" and found.owner(f" {key} ").name == "ann"
    for wrong in (None, "", key[:-1], key + "x", key.upper(), "a" * 10_000, "\ud800"):
        assert found.owner(wrong) is None
    assert keys.add(file, "bob") != key and [one.name for one in keys.read(file)] == ["ann", "bob"]


def test_what_is_wrong_with_a_file_of_keys_is_said(tmp_path):
    file = tmp_path / "keys.json"
    with pytest.raises(RunError, match="there are no keys in .*--add-key"):
        keys.Keys(file)
    keys.add(file, "ann")
    with pytest.raises(RunError, match="has a key called ann"):
        keys.add(file, "ann")
    for name, quota, said in (("", None, "empty"), ("b\n", None, "not printable"), ("b", 0, "at least 1")):
        with pytest.raises(RunError, match=said):
            keys.add(file, name, quota)
    os.chmod(file, 0o666)
    with pytest.raises(RunError, match="can be written by others; run: chmod 600"):
        keys.read(file)
    os.chmod(file, 0o600)
    file.write_text('{"keys": [3]}')
    with pytest.raises(RunError, match="is damaged"):
        keys.read(file)


def test_a_quota_holds_for_a_day_also_after_a_restart(tmp_path, monkeypatch):
    file = tmp_path / "keys.json"
    ann, bob = keys.add(file, "ann", 3), keys.add(file, "bob")

    def opened():
        found = keys.Keys(file)
        return found, found.owner(ann), found.owner(bob)

    found, hers, his = opened()
    found.charge(hers, 2)
    found.charge(his, 10_000)
    with pytest.raises(keys.Spent) as caught:
        found.charge(hers, 2)
    assert 1 <= caught.value.seconds <= 86_401
    found, hers, _ = opened()
    with pytest.raises(keys.Spent):
        found.charge(hers, 2)
    found.charge(hers, -1)                               # what was not made is given back
    found.charge(hers, 2)

    tomorrow = datetime.datetime.now(datetime.UTC) + datetime.timedelta(1)

    class Tomorrow(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return tomorrow

    monkeypatch.setattr(keys.datetime, "datetime", Tomorrow)
    found.charge(hers, 3)


# ------------------------------------------------------------------------------------------------------------- shelf


def test_pictures_are_their_owners_alone_and_leave_after_their_time():
    with shelf.opened(seconds=1000) as found:
        name = found.keep("ann", b"picture", "image/png")
        assert found.find("ann", name) == (b"picture", "image/png")
        assert found.find("bob", name) is None and not found.drop("bob", name)
        for other in ("", "lock", "../x", name[:-1], name + "/", f"kept_{name}", "\x00" * 32, "/" * 32):
            assert found.find("ann", other) is None and not found.drop("ann", other)
        assert found.drop("ann", name) and found.find("ann", name) is None
    with shelf.opened(seconds=0) as found:
        assert found.find("ann", found.keep("ann", b"picture", "image/png")) is None


def test_of_too_many_pictures_the_oldest_leave(tmp_path):
    found = shelf.Shelf(tmp_path, most=2)
    names = [found.keep("ann", bytes([k]), "image/png") for k in range(3)]
    assert [found.find("ann", name) is None for name in names] == [True, False, False]
    assert len(list(tmp_path.iterdir())) == 2


def test_the_folder_is_private_goes_at_the_end_and_what_a_killed_one_left_goes_at_the_next_start():
    with shelf.opened() as found:
        folder = Path(found._folder)
        assert folder.stat().st_mode & 0o777 == 0o700
        with found.workplace() as place:
            (place / "upload.png").write_bytes(b"x")
            kept = place
        assert not kept.exists()
        left = folder.with_name("run_left")
        left.mkdir()
        (left / "lock").touch()
        (left / "upload.png").touch()
        with shelf.opened():
            assert not left.exists() and folder.exists()  # this one is in use
    assert not folder.exists()


def test_texts_are_remembered_by_owner_and_the_oldest_leave(tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "MOST_TEXTS", 2)
    found = shelf.Shelf(tmp_path)
    for k in range(3):
        found.remember("ann", {f"private:{k}": f"text {k}"})
    assert found.texts("ann") == {"private:1": "text 1", "private:2": "text 2"} and found.texts("bob") == {}
