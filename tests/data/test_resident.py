"""Decoding and the cache."""
import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from imggen_jax import data
from imggen_jax.data import decoding, memory, resident


def opened(root, **change):
    asked = dict(name="tiny", split="train", dir=str(root), memory="resident", cache=None) | change
    return data.open_dataset(**asked)


def load(root, **change):
    """All examples of a dataset in memory."""
    dataset = opened(root, **change)
    return dataset.read(np.arange(dataset.length))


def one(make, png, root, pictures, channels=3, side=None):
    """A dataset whose split "s<i>" is picture i alone, of a declared shape or (side None) of any."""
    features = {"image": tfds.features.Image(shape=(side, side, channels))}
    make(root, {f"s{i}": [{"image": io.BytesIO(picture)}] for i, picture in enumerate(pictures)}, features=features)


def test_what_is_read_is_a_copy(tiny):
    dataset = opened(tiny)
    dataset.read(np.arange(3))["image"][:] = 255
    assert dataset.read(np.arange(3))["image"].min() < 255


def test_nothing_is_decoded_before_the_first_read_and_then_once(tiny, monkeypatch):
    decoded, decode = [], decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda *words: decoded.append(words[2]) or decode(*words))
    dataset = opened(tiny, label="label")
    assert not decoded and dataset.length == 300 and dataset.threads == 1
    batch = dataset.read(np.array([], np.int64))
    assert batch["image"].shape == (0, 8, 8, 3) and decoded == list(range(300))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(dataset.read, [np.arange(5)] * 8))
    assert len(decoded) == 300
    many = opened(tiny)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(many.read, [np.arange(5)] * 8))
    assert len(decoded) == 600


def test_labels_alone_need_no_picture(make, png, tmp_path):
    make(tmp_path, {"train": [(b"garbage", i % 2) for i in range(5)]})
    assert sorted(load(tmp_path, fields=("label",))["label"].tolist()) == [0, 0, 0, 1, 1]


def test_datasets_that_are_opened_together_must_fit_together(tiny, monkeypatch):
    size = 300 * 8 * 8 * 3
    monkeypatch.setattr(memory, "free_memory", lambda: 2 * size + size - 1)
    first = opened(tiny)
    with pytest.raises(data.DataError, match="more than half of"):
        opened(tiny)
    first.read(np.array([0]))  # from now on it is part of what is used
    assert opened(tiny).length == 300


@pytest.mark.parametrize("channels", [1, 3])
def test_every_8_bit_kind_of_picture_is_decoded_rightly(make, png, tmp_path, channels):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    colour = np.stack([grey, grey[::-1], grey.T], -1)
    clear = np.dstack([colour, np.where(grey > 120, 255, 0).astype(np.uint8)])
    palette = Image.fromarray(colour).quantize(64)
    pictures = [(grey, grey), (colour, colour), (clear, np.where(grey[..., None] > 120, colour, 255)),
                (palette, np.asarray(palette.convert("RGB"))),
                (Image.fromarray(grey > 99), (grey > 99) * np.uint8(255))]
    files = [png(picture) for picture, _ in pictures] + [png(palette, "GIF")]
    wanted = [want for _, want in pictures] + [np.asarray(palette.convert("RGB"))]
    one(make, png, tmp_path, files, channels)
    for i, want in enumerate(wanted):
        want = Image.fromarray(np.ascontiguousarray(want, np.uint8)).convert("L" if channels == 1 else "RGB")
        got = load(tmp_path, split=f"s{i}")["image"][0]
        assert got.shape == (8, 8, channels) and np.array_equal(got.squeeze(), np.asarray(want)), i


def test_a_jpeg_is_decoded_as_pillow_does(make, png, tmp_path):
    file = png(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8), "JPEG")
    one(make, png, tmp_path, [file], side=16)
    assert np.array_equal(load(tmp_path, split="s0")["image"][0], np.asarray(Image.open(io.BytesIO(file))))


def test_pictures_are_cropped_and_resized(make, png, tmp_path):
    wide = np.zeros((8, 20, 3), np.uint8)
    wide[:, 6:14] = 90
    one(make, png, tmp_path, [png(wide), png(np.full((300, 200, 3), 7, np.uint8))])
    joined = load(tmp_path, split="s0+s1", size=4)["image"]
    assert (joined[0] == 90).all() and (joined[1] == 7).all() and joined.shape == (2, 4, 4, 3)


def test_large_pictures_keep_their_order(make, png, tmp_path):
    """Large pictures are decoded by threads."""
    features = {"image": tfds.features.Image(shape=(None, None, 3)), "label": tfds.features.ClassLabel(num_classes=256)}
    make(tmp_path, {"train": [(png(np.full((130, 130, 3), i % 256, np.uint8)), i % 256) for i in range(300)]},
         features=features)
    dataset = load(tmp_path, size=2, label="label")
    assert np.array_equal(dataset["image"][:, 0, 0, 0], dataset["label"])


def test_whether_pictures_are_square_and_of_one_size_is_known_before_they_are_decoded(make, png, tmp_path):
    one(make, png, tmp_path, [png(np.zeros((8, 8, 3), np.uint8)), png(np.zeros((9, 9, 3), np.uint8)),
                              png(np.zeros((8, 9, 3), np.uint8))])
    assert load(tmp_path, split="s1")["image"].shape == (1, 9, 9, 3)
    with pytest.raises(data.DataError, match="pictures of tiny.* differ in size; set data.size"):
        data.square_side(opened(tmp_path, split="s0+s1"))
    with pytest.raises(data.DataError, match="are 9x8, not square; set data.size"):
        data.square_side(opened(tmp_path, split="s2"))
    assert data.square_side(opened(tmp_path, split="s1")) == 9


def test_a_dataset_that_does_not_fit_is_refused_before_decoding(tiny, monkeypatch):
    monkeypatch.setattr(resident, "_read_all", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(data.DataError, match="takes .* GiB, more than half of the .* GiB of free memory; set"):
        opened(tiny, size=10**6)


def test_the_fingerprint_says_what_decides_the_values_and_nothing_else(tiny, make, png, tmp_path):
    def of(root=tiny, **change):
        return opened(root, **change).fingerprint

    base = of()
    assert len(base) == 64 and of(size=8) == base and of(split="train[:100%]") == base and of(memory="stream") == base
    assert opened(tiny, label="label").fingerprints["image"] == opened(tiny).fingerprints["image"]
    others = [of(split="test"), of(split="train[1:]"), of(split="train[:299]"), of(size=4), of(label="label"),
              of(fields=("label",)), of(crop=4)]
    make(tmp_path, {"train": [(png(np.zeros((8, 8, 3), np.uint8)), 0)] * 300})
    assert len({base, *others, of(tmp_path)}) == 9


def test_an_ingested_folder_is_its_contents(make, png, tmp_path):
    """Whatever it was called, and what else is known of its pictures."""
    features = {"image": tfds.features.Image(shape=(8, 8, 3)), "caption": tfds.features.Text()}
    example = {"image": io.BytesIO(png(np.zeros((8, 8, 3), np.uint8))), "caption": "a cat"}
    fingerprints = {}
    for name, pixels, caption in (("one", "p", "c"), ("two", "p", "d"), ("three", "q", "c")):
        folder = make(tmp_path, {"train": [example] * 4}, name=name, features=features)
        (folder / "identity.json").write_text(json.dumps({"pixels": pixels, "fields": {"caption": caption}}))
        for change in (dict(), dict(text="bytes:9"), dict(split="train[:2]"), dict(size=4)):
            fingerprints[name, *change] = opened(tmp_path, name=name, **change).fingerprint
    for change in ((), ("split",), ("size",)):
        assert fingerprints["one", *change] == fingerprints["two", *change] != fingerprints["three", *change]
    assert fingerprints["one", "text"] != fingerprints["two", "text"]
    assert len(set(fingerprints.values())) == 3 + 2 + 2 + 2


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"pixels": "a", "fields": 3}'])
def test_a_damaged_identity_is_named(make, png, tmp_path, content):
    folder = make(tmp_path, {"train": [(png(np.zeros((8, 8, 3), np.uint8)), 0)]})
    (folder / "identity.json").write_text(content)
    with pytest.raises(data.DataError, match="identity.json cannot be read .*ingest the folder again"):
        opened(tmp_path)


class TestCache:
    """What was decoded once is read back, and never anything else."""

    def test_a_second_load_does_not_decode(self, tiny, tmp_path, monkeypatch):
        first = load(tiny, cache=str(tmp_path), label="label", size=4)
        monkeypatch.setattr(resident, "_read_all", lambda *_, **__: pytest.fail("read again"))
        second = load(tiny, cache=str(tmp_path), label="label", size=4)
        assert np.array_equal(first["image"], second["image"]) and np.array_equal(first["label"], second["label"])

    def test_pictures_are_kept_once_whatever_the_label(self, tiny, tmp_path, monkeypatch):
        load(tiny, cache=str(tmp_path))
        monkeypatch.setattr(decoding, "decode", lambda *_: pytest.fail("decoded again"))
        kept, fresh = load(tiny, cache=str(tmp_path), label="label"), load(tiny, fields=("label",))
        assert np.array_equal(kept["label"], fresh["label"]) and len(list(tmp_path.iterdir())) == 2

    def test_other_questions_do_not_share_an_answer(self, tiny, tmp_path):
        asked = [dict(), dict(split="test"), dict(size=4), dict(label="label"), dict(split="train[:10]")]
        for change in asked * 2:
            kept, fresh = load(tiny, cache=str(tmp_path), **change), load(tiny, **change)
            assert np.array_equal(kept["image"], fresh["image"]) and set(kept) == set(fresh)
        assert len(list(tmp_path.iterdir())) == len(asked)

    @pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
    def test_a_damaged_file_is_decoded_again(self, tiny, tmp_path, damage):
        fresh = load(tiny, cache=str(tmp_path))
        (file,) = tmp_path.iterdir()
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes({"cut": content[:-5000], "flipped": content, "empty": b"", "other": b"text"}[damage])
        again = load(tiny, cache=str(tmp_path))
        assert np.array_equal(again["image"], fresh["image"])
        assert [path.name for path in tmp_path.iterdir()] == [file.name]
        with np.load(file) as kept:
            assert np.array_equal(kept["pixels"], fresh["image"].ravel())

    def test_data_prepared_anew_is_decoded_anew(self, make, png, tmp_path):
        for value in (1, 2):
            folder = make(tmp_path / "data", {"train": [(png(np.full((8, 8, 3), value, np.uint8)), 0)]})
            dataset = load(tmp_path / "data", cache=str(tmp_path / "cache"))
            assert dataset["image"][0, 0, 0, 0] == value
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()

    def test_a_cache_that_cannot_be_written_does_not_matter(self, tiny, tmp_path):
        (tmp_path / "file").write_text("in the way")
        assert len(load(tiny, cache=str(tmp_path / "file"))["image"]) == 300

    def test_the_default_folder_follows_the_environment(self, tiny, tmp_path, monkeypatch):
        monkeypatch.setenv("IMGGEN_JAX_CACHE", str(tmp_path / "here"))
        load(tiny, cache="")
        assert len(list((tmp_path / "here").iterdir())) == 1


def test_the_real_mnist(real, real_cache):
    dataset = data.open_dataset(name="mnist", split="test", dir=real, label="label", cache=real_cache)
    digits = dataset.read(np.arange(dataset.length))
    assert digits["image"].shape == (10_000, 28, 28, 1) and len(dataset.spec["label"].names) == 10
    # The known counts of each digit in the test set of MNIST, and its mean gray.
    assert np.bincount(digits["label"]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert abs(digits["image"].mean() / 255 - 0.1325) < 1e-3
