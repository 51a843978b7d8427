"""Pairs, masks, and pictures that keep their own size."""
import io
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from own import examples, made, png
from PIL import Image

from imggen_jax.data import DataError
from imggen_jax.data.folders import lines, pairing
from imggen_jax.data.folders.pairing import part


def array(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


def features(got):
    return tfds.builder_from_directory(got.folder).info.features


def joined(left: bytes, right: bytes) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.concatenate([array(left), array(right)], axis=1)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(("name", "mode", "role", "path"), [
    ("trainA/x/1.png", "aligned", "source", "train/x/1.png"), ("trainB/1.png", "aligned", "image", "train/1.png"),
    ("set/A/test/1.png", "aligned", "source", "set/test/1.png"), ("train_b/1.png", "aligned", "image", "train/1.png"),
    ("train/B/1.png", "aligned", "image", "train/1.png"), ("1.png", "aligned", "", "1.png"),
    ("A/1_mask.png", "aligned", "mask", "1.png"), ("trainA/1.png", "unaligned", "source", "train/A/1.png"),
    ("B/train/x/1.png", "unaligned", "image", "train/B/x/1.png"), ("B/1.png", "unaligned", "image", "B/1.png"),
    ("test/A/1_mask.png", "unaligned", "source", "test/A/1_mask.png"), ("a/1.png", "", "image", "a/1.png"),
    ("a/1_mask.png", "", "mask", "a/1.png"), ("a/Masks/b/1.png", "", "mask", "a/b/1.png"),
    ("a/images/b/1.png", "", "image", "a/b/1.png")])
def test_what_a_name_says(name, mode, role, path):
    assert part(name, mode) == (role, path)


PAIRS = {f"{split}{side}/{i}.{end}": 100 * (side == "B") + 10 * (split == "test") + i
         for split, number in (("train", 3), ("test", 2)) for side, end in (("A", "png"), ("B", "PNG"))
         for i in range(number)}


def test_folders_with_equal_names_are_pairs(tmp_path):
    notes = {"trainB/0.txt": "of B", "trainA/1.txt": "of A", "x.png": 99,
             "metadata.csv": "file_name,license\ntrainA/0.png,CC0\ntrainB/0.PNG,mine\n"}
    got = made(tmp_path / "in", PAIRS | notes, pairs="aligned")
    assert got.card["splits"] == {"train": 3, "test": 2} and got.card["paired"] and got.card["labels"] == {}
    assert got.card["quarantined"] == {"outside the pairs": 1}
    assert dict(lines(got.card))["Pictures used"] == "5 pairs, 16x16: train 3, test 2"
    whole = made(tmp_path / "in", {}, pairs="aligned", size=0)
    for name, example in examples(whole).items():
        assert np.array_equal(example["image"], array(png(PAIRS[name])))
        assert np.array_equal(example["source"], array(png(PAIRS[name] - 100)))
    first = examples(got)["trainB/0.PNG"]
    assert first["image"].shape == first["source"].shape == (16, 16, 3)
    assert (first["caption"], first["license"]) == (b"of B", b"mine") and got.card["conflicts"] == {"license": 1}
    assert examples(got)["trainB/1.PNG"]["caption"] == b"of A"


def test_pairs_side_by_side(tmp_path):
    files = {f"{i}.png": joined(png(i), png(50 + i)) for i in range(3)} | {"odd.png": png(9, (41, 20))}
    got = made(tmp_path / "in", files, pairs="side-by-side", size=0)
    assert got.card["pictures"] == 3 and got.card["quarantined"] == {"not two halves": 1}
    for i in range(3):
        example = examples(got)[f"{i}.png"]
        assert np.array_equal(example["source"], array(png(i))) and np.array_equal(example["image"], array(png(50 + i)))
    small = examples(made(tmp_path / "in", {}, pairs="side-by-side"))["0.png"]
    alone = examples(made(tmp_path / "on", {"0.png": 0, "1.png": 50}))
    assert np.array_equal(small["source"], alone["0.png"]["image"])
    assert np.array_equal(small["image"], alone["1.png"]["image"])


def test_a_jpeg_with_two_halves_and_a_turn(tmp_path):
    exif, out = Image.Exif(), io.BytesIO()
    exif[274] = 6  # shown turned by 90 degrees
    shown = Image.fromarray(np.concatenate([np.full((20, 20, 3), level, np.uint8) for level in (40, 200)], 1))
    shown.transpose(Image.Transpose.ROTATE_90).save(out, "JPEG", exif=exif, quality=95)
    (example,) = examples(made(tmp_path / "in", {"1.jpg": out.getvalue()}, pairs="side-by-side")).values()
    assert abs(int(example["source"].mean()) - 40) < 3 and abs(int(example["image"].mean()) - 200) < 3


def test_unaligned_pairs_are_two_domains(tmp_path):
    files = {"trainA/x.png": 1, "trainA/y.png": 2, "trainB/only.png": 3, "testA/z.png": 4, "testB/z.png": 5,
             "lost.png": 6}
    got = made(tmp_path / "in", files, pairs="unaligned")
    assert features(got)["domain"].names == ["A", "B"] and "label" not in features(got)
    assert got.card["splits"] == {"train": 3, "test": 2} and got.card["labels"] == {"A": 3, "B": 2}
    assert {name: example["domain"] for name, example in examples(got).items()} == {
        "trainA/x.png": 0, "trainA/y.png": 0, "trainB/only.png": 1, "testA/z.png": 0, "testB/z.png": 1}
    assert dict(lines(got.card))["Domains"] == "2 from folders: A 3, B 2"


@pytest.mark.parametrize("form", ["a/{}_mask.png", "a/mask/{}.png", "a/Masks/{}.gif"])
def test_masks_become_a_feature_of_one_channel(form, tmp_path):
    masks = {form.format(i): png(50 + i, mode="1") for i in range(3)}
    got = made(tmp_path / "in", {f"a/{i}.png": i for i in range(3)} | masks, size=0)
    assert got.card["pictures"] == got.card["masks"] == 3 and dict(lines(got.card))["Masks"] == "3"
    assert features(got)["mask"].shape == (None, None, 1)
    for i in range(3):
        example = examples(got)[f"a/{i}.png"]
        assert np.array_equal(example["mask"][..., 0], array(png(50 + i, mode="1")).astype(np.uint8) * 255)
        assert np.array_equal(example["image"], array(png(i)))


def test_folders_called_images_and_masks_are_no_labels(tmp_path):
    files = {f"{split}/{kind}/{i}.png": 100 * len(split) + 10 * (kind == "masks") + i for split in ("train", "test")
             for kind in ("images", "masks") for i in range(2)}
    got = made(tmp_path / "in", files)
    assert got.card["splits"] == {"train": 2, "test": 2} and got.card["masks"] == 4 and got.card["labels"] == {}
    assert set(examples(got)) == {name for name in files if "images" in name}


def test_folders_called_mask_may_be_a_class(tmp_path):
    got = made(tmp_path / "in", {f"{kind}/{i}.png": 10 * (kind == "mask") + i for kind in ("mask", "no mask")
                                 for i in range(2)})
    assert got.card["labels"] == {"mask": 2, "no mask": 2} and got.card["masks"] == 0


def test_a_pair_goes_with_its_broken_half(tmp_path):
    got = made(tmp_path / "in", PAIRS | {"trainA/0.png": png(0)[:90]}, pairs="aligned")
    assert got.card["pictures"] == 4 and got.card["quarantined"] == {"partner left out": 1, "truncated": 1}


@pytest.mark.parametrize(("files", "pairs", "said"), [
    ({"A/1.png": 1, "A/2.png": 2, "B/1.png": 3}, "aligned", "1 in B and 2 in A, and A/2.png has no partner"),
    ({"A/1.png": png(1), "B/1.png": png(2, (21, 20))}, "aligned", "B/1.png is 21x20 pixels and A/1.png 20x20"),
    ({"A/1.png": 1, "A/1.gif": 2, "B/1.png": 3}, "aligned", "A/1.gif and A/1.png have one name"),
    ({"1.png": 1}, "aligned", "there are no pictures in folders A and B, or trainA and trainB"),
    ({"A/1.png": 1}, "unaligned", "there are some in one of them only"),
    ({"1.png": 1}, "unaligned", "there are none in either"),
    ({"1.png": 1, "2.png": 2, "1_mask.png": 3}, "", "2 pictures and 1 masks, and 2.png has no partner"),
    ({"1.png": png(1), "1_mask.png": png(2, (20, 21))}, "", "1.png is 20x20 pixels and 1_mask.png 20x21"),
    ({"1.png": 1}, "both", "unknown pairs 'both'; choose side-by-side, aligned, unaligned"),
])
def test_pairs_that_are_not_complete_are_one_clear_line(files, pairs, said, tmp_path):
    with pytest.raises(DataError, match=said) as error:
        made(tmp_path / "in", files, pairs=pairs)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "out").glob(".ingest/*/"))  # nothing is left that no call would use


def test_missing_partners_are_told_before_any_picture_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("imggen_jax.data.folders.ingestion._decode", None)
    with pytest.raises(DataError, match="B/2.png has no partner"):
        made(tmp_path / "in", {"A/1.png": 1, "B/1.png": 2, "B/2.png": 3}, pairs="aligned")


def test_folders_that_look_like_pairs_are_hinted_at(tmp_path):
    got = made(tmp_path / "in", {f"train{side}/{i}.png": 10 * ord(side) + i for side in "AB" for i in range(2)})
    assert "--pairs aligned or unaligned makes pairs of them" in dict(lines(got.card))["Labels"]
    assert not pairing.looks_paired(["A", "C"]) and pairing.looks_paired(["testa", "trainB"])


def test_pictures_keep_their_own_size(tmp_path):
    files = {"wide.png": png(1, (40, 20)), "tall.png": png(2, (7, 30)), "gray.png": png(3, mode="L")}
    got = made(tmp_path / "in", files, size=0)
    assert features(got)["image"].shape == (None, None, 3) and got.card["size"] == 0
    for name, example in examples(got).items():
        assert np.array_equal(example["image"], np.asarray(Image.open(io.BytesIO(files[name])).convert("RGB")))
    assert dict(lines(got.card))["Pictures used"] == "3, each of its own size"
    assert "kept at their own sizes" in (got.folder / "README.md").read_text()


def test_archives_hold_pairs_too(tmp_path):
    first = made(tmp_path / "in", PAIRS, pairs="aligned")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as out:
        for name in PAIRS:
            out.write(tmp_path / "in" / name, name)
    assert made(tmp_path / "in.zip", {}, pairs="aligned").name == first.name


def jpeg(seed: int, **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array(png(seed, (40, 24)))).save(out, "JPEG", quality=90, **options)
    return out.getvalue()


def test_a_jpeg_of_its_own_size_stays_one_without_its_metadata(tmp_path):
    place, turned = Image.Exif(), Image.Exif()
    place[270] = "taken at home"
    turned[274] = 3
    files = {"plain.jpg": jpeg(1), "place.jpg": jpeg(2, exif=place, comment=b"taken by me", progressive=True),
             "turned.jpg": jpeg(3, exif=turned), "gray.jpg": jpeg(4)}
    got = made(tmp_path / "in", files, size=0)
    (shard,) = got.folder.glob("*array_record*")
    stored = shard.read_bytes()
    assert b"taken" not in stored and stored.count(b"\xff\xd8\xff") == 3 and stored.count(b"\x89PNG") == 1
    for name, example in examples(got).items():
        shown = Image.open(io.BytesIO(files[name])).convert("RGB")
        shown = shown.transpose(Image.Transpose.ROTATE_180) if name == "turned.jpg" else shown
        assert np.array_equal(example["image"], np.asarray(shown)), name


def test_a_second_picture_behind_a_jpeg_is_not_kept(tmp_path):
    got = made(tmp_path / "in", {"1.jpg": jpeg(1) + b"behind it" + jpeg(2)}, size=0)
    (shard,) = got.folder.glob("*array_record*")
    assert b"behind it" not in shard.read_bytes() and shard.read_bytes().count(b"\xff\xd8\xff") == 1
    assert np.array_equal(examples(got)["1.jpg"]["image"], np.asarray(Image.open(io.BytesIO(jpeg(1)))))
