"""Folders and files of pictures: what is read, and by which line the rest is refused."""
import numpy as np
import pytest
import reference_inputs as inputs
from PIL import Image

from imggen_jax.errors import MetricsError
from imggen_jax.metrics import pictures

IMAGES = inputs.pictures(1, 5, 12, 10)


@pytest.fixture
def folder(tmp_path):
    for i, image in enumerate(IMAGES):
        place = tmp_path / ("deep" if i == 4 else ".") / f"{i}.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(place)
    (tmp_path / "notes.txt").write_text("no picture")
    Image.fromarray(IMAGES[0]).resize((50, 50)).save(tmp_path / "grid.png")  # of the verb generate
    return tmp_path


def test_a_folder_is_read_in_the_order_of_its_names(folder, monkeypatch):
    monkeypatch.setattr(pictures, "BATCH", 2)
    found = pictures.read(folder)
    assert (found.count, found.shape) == (5, (12, 10, 3))
    for _ in range(2):
        batches = list(found.batches())
        assert [len(batch) for batch in batches] == [2, 2, 1]
        assert np.array_equal(np.concatenate(batches), IMAGES)


def test_the_fingerprint_is_that_of_the_pixels(folder):
    before = pictures.read(folder).fingerprint
    assert pictures.read(folder).fingerprint == before
    changed = IMAGES[2].copy()
    changed[0, 0, 0] ^= 1
    Image.fromarray(changed).save(folder / "2.png")
    assert pictures.read(folder).fingerprint != before


@pytest.mark.parametrize("name", ["images", "arr_0"])
def test_a_file_of_arrays_is_read(name, tmp_path):
    np.savez(tmp_path / "a.npz", **{name: IMAGES})
    found = pictures.read(tmp_path / "a.npz")
    assert found.count == 5 and np.array_equal(np.concatenate(list(found.batches())), IMAGES)


def other(mode, size=(10, 12)):
    return lambda path: Image.new(mode, size).save(path)


@pytest.mark.parametrize(("change", "message"), [
    (other("RGB", (11, 12)), r"differ: 0.png is 10x12 RGB, 1.png is 11x12 RGB"),
    (other("L"), r"0.png is 10x12 RGB, 1.png is 10x12 gray"),
    (other("RGBA"), r"1.png is transparent \(mode RGBA\); lay it over a background"),
    (other("LA"), r"1.png is transparent"),
    (other("I;16"), r"1.png is of mode I;16; scores take 8-bit"),
    (lambda path: path.write_bytes(b""), r"1.png cannot be read"),
    (lambda path: path.write_bytes(path.read_bytes()[:60]), r"1.png cannot be read"),
])
def test_a_picture_that_does_not_fit_is_named(change, message, folder):
    change(folder / "1.png")
    with pytest.raises(MetricsError, match=message) as error:
        pictures.read(folder)
    assert "\n" not in str(error.value)


def test_other_things_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "names.npz", other=IMAGES)
    np.savez(tmp_path / "floats.npz", images=IMAGES / 255)
    np.savez(tmp_path / "none.npz", images=IMAGES[:0])
    np.savez(tmp_path / "objects.npz", images=np.array([{}], object))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 nothing")
    np.save(tmp_path / "single.npy", IMAGES)
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 9, 3), np.uint8)
    np.savez_compressed(tmp_path / "flipped.npz", images=noise)
    damaged = bytearray((tmp_path / "flipped.npz").read_bytes())
    damaged[200] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(damaged)
    for name, message in (("empty", "has no pictures"), ("nowhere", "neither a folder"), ("names.npz", "has no array"),
                          ("floats.npz", "float64"), ("none.npz", "has no pictures"), ("broken.npz", "cannot be read"),
                          ("objects.npz", "cannot be read"), ("single.npz", "cannot be read"),
                          ("flipped.npz", "cannot be read")):
        with pytest.raises(MetricsError, match=message) as error:
            pictures.read(tmp_path / name)
        assert name in str(error.value) and "\n" not in str(error.value)
