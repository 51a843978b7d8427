"""Decoding and the cache."""
import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from imggen_jax import data
from imggen_jax.data import resident


def load(root, **change):
    return data.load(**dict(name="tiny", split="train", dir=str(root), size=0, label="", cache=None) | change)


def one(make, png, root, pictures, channels=3, side=None):
    """A dataset whose split "s<i>" is picture i alone, of a declared shape or (side None) of any."""
    features = {"image": tfds.features.Image(shape=(side, side, channels))}
    make(root, {f"s{i}": [{"image": io.BytesIO(picture)}] for i, picture in enumerate(pictures)}, features=features)


def test_a_dataset_cannot_be_written_over(tiny):
    with pytest.raises(ValueError, match="read-only"):
        load(tiny).images[0] = 0


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
        got = load(tmp_path, split=f"s{i}").images[0]
        assert got.shape == (8, 8, channels) and np.array_equal(got.squeeze(), np.asarray(want)), i


def test_a_jpeg_is_decoded_as_pillow_does(make, png, tmp_path):
    file = png(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8), "JPEG")
    one(make, png, tmp_path, [file], side=16)
    assert np.array_equal(load(tmp_path, split="s0").images[0], np.asarray(Image.open(io.BytesIO(file))))


def test_pictures_are_cropped_and_resized(make, png, tmp_path):
    wide = np.zeros((8, 20, 3), np.uint8)
    wide[:, 6:14] = 90
    one(make, png, tmp_path, [png(wide), png(np.full((300, 200, 3), 7, np.uint8))])
    joined = load(tmp_path, split="s0+s1", size=4).images
    assert (joined[0] == 90).all() and (joined[1] == 7).all() and joined.shape == (2, 4, 4, 3)


def test_large_pictures_keep_their_order(make, png, tmp_path):
    """Large pictures are decoded by threads."""
    features = {"image": tfds.features.Image(shape=(None, None, 3)), "label": tfds.features.ClassLabel(num_classes=256)}
    make(tmp_path, {"train": [(png(np.full((130, 130, 3), i % 256, np.uint8)), i % 256) for i in range(300)]},
         features=features)
    dataset = load(tmp_path, size=2, label="label")
    assert np.array_equal(dataset.images[:, 0, 0, 0], dataset.labels)


def test_size_0_needs_square_pictures_of_one_size(make, png, tmp_path):
    one(make, png, tmp_path, [png(np.zeros((8, 8, 3), np.uint8)), png(np.zeros((9, 9, 3), np.uint8)),
                              png(np.zeros((8, 9, 3), np.uint8))])
    assert load(tmp_path, split="s1").images.shape == (1, 9, 9, 3)
    with pytest.raises(data.DataError, match="example 1 is 9x9, others 8x8; set data.size"):
        load(tmp_path, split="s0+s1")
    with pytest.raises(data.DataError, match="are 9x8, not square; set data.size"):
        load(tmp_path, split="s2")


def test_a_dataset_that_does_not_fit_is_refused_before_decoding(tiny, monkeypatch):
    monkeypatch.setattr(resident, "_decode_all", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(data.DataError, match="takes .* GiB, more than half of the .* GiB of free memory; set"):
        load(tiny, size=10**6)


def test_the_fingerprint_tells_what_decides_the_pixels(tiny, make, png, tmp_path):
    base = load(tiny, cache=None).fingerprint
    assert len(base) == 64 and load(tiny, size=8).fingerprint == base
    assert load(tiny, label="label").fingerprint == base  # the same pixels
    others = [load(tiny, split="test"), load(tiny, split="train[1:]"), load(tiny, split="train[:299]"),
              load(tiny, size=4)]
    make(tmp_path, {"train": [(png(np.zeros((8, 8, 3), np.uint8)), 0)] * 300})
    others.append(load(tmp_path))
    assert len({base, *(other.fingerprint for other in others)}) == 6


class TestCache:
    """What was decoded once is read back, and never anything else."""

    def test_a_second_load_does_not_decode(self, tiny, tmp_path, monkeypatch):
        first = load(tiny, cache=str(tmp_path), label="label", size=4)
        monkeypatch.setattr(resident, "_decode_all", lambda *_, **__: pytest.fail("decoded again"))
        second = load(tiny, cache=str(tmp_path), label="label", size=4)
        assert np.array_equal(first.images, second.images) and np.array_equal(first.labels, second.labels)
        assert second.fingerprint == first.fingerprint and not second.images.flags.writeable

    def test_other_questions_do_not_share_an_answer(self, tiny, tmp_path):
        asked = [dict(), dict(split="test"), dict(size=4), dict(label="label"), dict(split="train[:10]")]
        for change in asked * 2:
            kept, fresh = load(tiny, cache=str(tmp_path), **change), load(tiny, **change)
            assert np.array_equal(kept.images, fresh.images) and (kept.labels is None) == (fresh.labels is None)
        assert len(list(tmp_path.iterdir())) == len(asked)

    @pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
    def test_a_damaged_file_is_decoded_again(self, tiny, tmp_path, damage):
        fresh = load(tiny, cache=str(tmp_path), label="label")
        (file,) = tmp_path.iterdir()
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes({"cut": content[:-5000], "flipped": content, "empty": b"", "other": b"text"}[damage])
        again = load(tiny, cache=str(tmp_path), label="label")
        assert np.array_equal(again.images, fresh.images)
        assert [path.name for path in tmp_path.iterdir()] == [file.name]
        with np.load(file) as kept:
            assert np.array_equal(kept["images"], fresh.images)

    def test_data_prepared_anew_is_decoded_anew(self, make, png, tmp_path):
        for value in (1, 2):
            folder = make(tmp_path / "data", {"train": [(png(np.full((8, 8, 3), value, np.uint8)), 0)]})
            dataset = load(tmp_path / "data", cache=str(tmp_path / "cache"))
            assert dataset.images[0, 0, 0, 0] == value
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()

    def test_a_cache_that_cannot_be_written_does_not_matter(self, tiny, tmp_path):
        (tmp_path / "file").write_text("in the way")
        assert len(load(tiny, cache=str(tmp_path / "file")).images) == 300

    def test_the_default_folder_follows_the_environment(self, tiny, tmp_path, monkeypatch):
        monkeypatch.setenv("IMGGEN_JAX_CACHE", str(tmp_path / "here"))
        load(tiny, cache="")
        assert len(list((tmp_path / "here").iterdir())) == 1


def test_the_real_mnist(real, real_cache):
    dataset = data.load(name="mnist", split="test", dir=real, size=0, label="label", cache=real_cache)
    assert dataset.images.shape == (10_000, 28, 28, 1) and dataset.classes == 10
    # The known counts of each digit in the test set of MNIST, and its mean grey.
    assert np.bincount(dataset.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert abs(dataset.images.mean() / 255 - 0.1325) < 1e-3
