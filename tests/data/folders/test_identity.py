"""A dataset is its pixels, their order and its fields; what else lies in the folder changes nothing of it."""
import io
import json
import shutil
import zipfile

import pytest
import tensorflow_datasets as tfds
from own import examples, made, png, write
from PIL import Image
from PIL.PngImagePlugin import PngInfo

FILES = {"a/1.png": 1, "a/2.png": 2, "b/3.png": 3, "b/4.png": 4, "a/1.txt": "A red house", "b/3.txt": "the house",
         "metadata.csv": "file_name,license\na/1.png,CC0\n"}


@pytest.fixture
def first(tmp_path):
    return made(tmp_path / "in", FILES)


def identity(ingested) -> dict:
    return json.loads((ingested.folder / "identity.json").read_text())


def pixels_in_order(ingested) -> list[bytes]:
    source = tfds.builder_from_directory(ingested.folder).as_data_source("train")
    return [example["image"].tobytes() for example in source]


@pytest.mark.parametrize("more", [{"notes.txt": "by me"}, {"broken.png": png(9)[:60]}, {"list.pdf": "%PDF"},
                                  {"small.png": png(9, (3, 3))}], ids=lambda more: next(iter(more)))
def test_what_is_not_used_is_no_part_of_the_dataset(more, first, tmp_path):
    again = made(tmp_path / "in", more)
    assert (again.name, again.folder) == (first.name, first.folder)
    told = json.loads((again.folder / "ingest.json").read_text())
    assert {entry["name"] for entry in told["left_out"]} == set(more)
    assert again.card == told["card"] != first.card  # what is there now is told all the same


def test_a_zip_of_the_folder_is_the_same_dataset(first, tmp_path):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as out:
        for name in FILES:
            out.write(tmp_path / "in" / name, name)
    assert made(tmp_path / "in.zip", {}).name == first.name


def test_a_mended_caption_changes_its_own_field_only(first, tmp_path):
    again = made(tmp_path / "in", {"a/1.txt": "A green house"})
    assert again.name == first.name.replace(":1.0.0", ":1.0.1") and first.folder.is_dir()
    one, two = identity(first), identity(again)
    assert one["pixels"] == two["pixels"] and pixels_in_order(first) == pixels_in_order(again)
    assert {key for key in one["fields"] if one["fields"][key] != two["fields"][key]} == {"caption"}
    assert set(one["fields"]) == {"name", "origin", "license", "consent", "label", "caption"}
    back = made(tmp_path / "in", {"a/1.txt": "A red house"})
    assert back.name == first.name and examples(back)["a/1.png"]["caption"] == b"A red house"


def test_renamed_files_keep_pixels_and_order(first, tmp_path):
    (tmp_path / "in" / "a" / "2.png").rename(tmp_path / "in" / "a" / "zzz.png")
    again = made(tmp_path / "in", {})
    one, two = identity(first), identity(again)
    assert again.name.partition(":")[0] == first.name.partition(":")[0] and one["pixels"] == two["pixels"]
    assert pixels_in_order(first) == pixels_in_order(again)
    assert {key for key in one["fields"] if one["fields"][key] != two["fields"][key]} == {"name"}


def test_metadata_inside_a_file_keeps_pixels_and_order(first, tmp_path):
    info = PngInfo()
    info.add_text("Rating", "5")
    with Image.open(io.BytesIO(png(2))) as picture:
        picture.save(tmp_path / "in" / "a" / "2.png", pnginfo=info)
    assert made(tmp_path / "in", {}).name == first.name


def test_another_picture_is_another_dataset(first, tmp_path):
    again = made(tmp_path / "in", {"a/5.png": 5})
    assert again.name.partition(":")[0] != first.name.partition(":")[0]
    assert identity(again)["pixels"] != identity(first)["pixels"]


def test_the_words_of_the_training_captions_are_kept(first, tmp_path):
    assert json.loads((first.folder / "words.json").read_text()) == {"words": ["house", "a", "red", "the"]}
    shutil.rmtree(tmp_path / "in")
    write(tmp_path / "in", {f"{split}/{i}.png": seed for split, seed in (("train", 0), ("test", 10))
                            for i, seed in enumerate((seed, seed + 1))})
    again = made(tmp_path / "in", {"train/0.txt": "seen", "test/0.txt": "unseen"})
    assert json.loads((again.folder / "words.json").read_text()) == {"words": ["seen"]}
