"""Preparing: what is refused at once, what is left alone, and a small builder of our own prepared all the way."""
import http.server
import importlib.util
import io
import threading
import urllib.request

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from imggen_jax import data


class OwnPictures(tfds.core.GeneratorBasedBuilder):
    """Five pictures; once its class exists, TFDS knows it by name like a stock dataset."""

    VERSION = tfds.core.Version("1.2.3")

    def _info(self):
        features = tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(8, 8, 3))})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(5):
            file = io.BytesIO()
            Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(file, "PNG")
            file.seek(0)
            yield i, {"image": file}


@pytest.fixture
def with_tensorflow(monkeypatch):
    """As if TensorFlow were installed; a builder of our own does not need it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


@pytest.fixture
def host():
    """http://... of a server that answers everything with an error, as many hosts do when asked for no file."""
    class Unfriendly(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(403)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unfriendly)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def needs_download(monkeypatch, url):
    info = tfds.core.download.checksums.UrlInfo(size=1, checksum="0" * 64, filename="pictures.zip")
    monkeypatch.setattr(OwnPictures, "url_infos", {url: info})


def test_a_dataset_is_prepared_and_then_left_alone(tmp_path, with_tensorflow, capsys):
    folder = data.prepare("own_pictures", str(tmp_path))
    assert folder == tmp_path / "own_pictures/1.2.3"
    assert [path.name for path in folder.glob("*.array_record*")] == ["own_pictures-train.array_record-00000-of-00001"]
    dataset = data.open_dataset(name="own_pictures", split="train", dir=str(tmp_path), cache=None)
    assert sorted(dataset.read(np.arange(5))["image"][:, 0, 0, 0].tolist()) == [0, 1, 2, 3, 4]
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    capsys.readouterr()
    assert data.prepare("own_pictures", str(tmp_path)) == folder
    assert "own_pictures is already prepared" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_without_tensorflow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(data.DataError, match=r"'cifar10' needs TensorFlow.*pip install .imggen_jax\[prepare\]"):
        data.prepare("cifar10", str(tmp_path))
    assert not any(tmp_path.iterdir())


def test_stacked_mnist_is_prepared_as_mnist(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(data.DataError, match="preparing 'mnist'"):
        data.prepare("stacked_mnist", str(tmp_path))


@pytest.mark.parametrize("name, message", [
    ("cifarr10", "not known to TFDS; did you mean .*cifar10"),
    ("qqqqqqqq", "not known to TFDS"),
    ("cifar10/colour", "'cifar10' has no config 'colour'; it has"),
    ("own_pictures:9.9.9", "cannot be prepared"),
    ("avatars", "several sizes; name one"),
    ("avatars/1x1", "no config '1x1'"),
])
def test_mistakes_are_named(tmp_path, with_tensorflow, name, message):
    with pytest.raises(data.DataError, match=message) as caught:
        data.prepare(name, str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_host_that_does_not_answer_is_named(tmp_path, with_tensorflow, monkeypatch):
    needs_download(monkeypatch, "http://127.0.0.1:9/pictures.zip")
    with pytest.raises(data.DataError, match="downloaded from http://127.0.0.1:9, and no answer"):
        data.prepare("own_pictures", str(tmp_path))


def test_a_host_that_is_silent_is_not_waited_for(tmp_path, with_tensorflow, monkeypatch):
    monkeypatch.setattr(importlib.import_module("imggen_jax.data.prepare"), "_PATIENCE", 0.05)

    def silent(*_, **__):
        threading.Event().wait(30)
        raise TimeoutError

    monkeypatch.setattr(urllib.request, "urlopen", silent)
    needs_download(monkeypatch, "http://silent.invalid/pictures.zip")
    with pytest.raises(data.DataError, match="silent.invalid, and no answer"):
        data.prepare("own_pictures", str(tmp_path))


def test_a_host_that_answers_is_enough(tmp_path, with_tensorflow, monkeypatch, host):
    needs_download(monkeypatch, f"{host}/pictures.zip")
    assert data.prepare("own_pictures", str(tmp_path)).is_dir()


def test_files_that_are_there_already_need_no_host(tmp_path, with_tensorflow, monkeypatch):
    needs_download(monkeypatch, "http://127.0.0.1:9/pictures.zip")
    (tmp_path / "downloads/manual").mkdir(parents=True)
    (tmp_path / "downloads/manual/pictures.zip").write_bytes(b"x")
    assert data.prepare("own_pictures", str(tmp_path)).is_dir()


def test_a_preparation_that_fails_is_one_line(tmp_path, with_tensorflow, monkeypatch):
    def fail(self):
        raise RuntimeError("first line\nsecond line")
        yield

    monkeypatch.setattr(OwnPictures, "_generate_examples", fail)
    with pytest.raises(data.DataError, match="preparing 'own_pictures' in .* failed: .*") as caught:
        data.prepare("own_pictures", str(tmp_path))
    assert "\n" not in str(caught.value)
