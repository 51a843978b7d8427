"""What is known of a dataset when it is opened, which fields it has, and whether it is kept in memory or streamed."""
import io
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds

from imggen_jax import data
from imggen_jax.data import memory as free
from imggen_jax.spec import Field


def opened(root, **change):
    return data.open_dataset(**dict(name="tiny", split="train", dir=str(root), cache=None) | change)


def whole(dataset):
    return dataset.read(np.arange(dataset.length))


@pytest.mark.parametrize("memory", ["resident", "stream"])
@pytest.mark.parametrize("change", [dict(), dict(label="label"), dict(size=4), dict(split="test[:3]"), dict(crop=5),
                                    dict(fields=("label",)), dict(fields=("image", "label"), size=5)])
def test_the_spec_says_what_is_read(tiny, memory, change):
    dataset = opened(tiny, memory=memory, **change)
    batch = whole(dataset)
    assert list(batch) == list(dataset.spec) or sorted(batch) == list(dataset.spec)
    for field, values in batch.items():
        assert values.shape == (dataset.length, *dataset.spec[field].shape)
        assert values.dtype == dataset.spec[field].dtype
    assert hash(dataset.spec) == hash(opened(tiny, **change).spec)
    assert dataset.title == f"tiny:1.0.0, split {change.get('split', 'train')!r}"


@pytest.mark.parametrize("change", [dict(name="tinny"), dict(split="x"), dict(label="x"), dict(size=-1),
                                    dict(name="stacked_mnist"), dict(name="stacked_mnist", label="x"),
                                    dict(name="stacked_mnist/x"), dict(text="words:3"), dict(crop=9)])
def test_what_cannot_be_loaded_cannot_be_streamed_for_the_same_reason(tiny, change):
    told = []
    for memory in ("resident", "stream"):
        with pytest.raises(data.DataError) as caught:
            opened(tiny, memory=memory, **change)
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_what_fits_is_kept_and_what_does_not_is_streamed_and_said(tiny, monkeypatch, capsys):
    def decoded_once(dataset):
        decoded, decode = [], data.decoding.decode
        with monkeypatch.context() as patch:
            patch.setattr(data.decoding, "decode", lambda *words: decoded.append(words[2]) or decode(*words))
            whole(dataset), whole(dataset)
        return len(decoded) == 300

    size = 300 * (8 * 8 * 3 + 4)
    monkeypatch.setattr(free, "free_memory", lambda: 2 * size - 1)
    dataset = opened(tiny, label="label", memory="auto")
    told = capsys.readouterr().err
    assert re.fullmatch("tiny:1.0.0, split 'train' decoded to 8x8 takes 0.0 GiB, more than half of the 0.0 GiB of free "
                        r"memory: its pictures are read and decoded as they are needed \(data.memory\)\n", told)
    with pytest.raises(data.DataError, match="set data.memory to 'stream', or take a smaller data.size"):
        opened(tiny, label="label", memory="resident")
    assert not decoded_once(dataset)
    monkeypatch.setattr(free, "free_memory", lambda: 2 * size)
    dataset = opened(tiny, label="label", memory="auto")
    assert not capsys.readouterr().err and decoded_once(dataset)


def test_an_unknown_way_is_named(tiny):
    with pytest.raises(data.DataError, match="unknown data.memory 'disk'; choose one of auto, resident, stream"):
        opened(tiny, memory="disk")


class TestLabels:
    """Class labels, each a field of its own."""

    @pytest.fixture
    def faces(self, make, png, tmp_path):
        """Ten pictures with two labels, one of them twice, and a label of one value."""
        features = {"image": tfds.features.Image(shape=(8, 8, 3)),
                    "label": tfds.features.ClassLabel(names=["sad", "glad"]),
                    "mood": tfds.features.ClassLabel(names=["sad", "glad"]),
                    "hair": tfds.features.ClassLabel(names=["no", "short", "long"]),
                    "only": tfds.features.ClassLabel(names=["one"]), "age": np.int64}
        examples = [{"image": io.BytesIO(png(np.full((8, 8, 3), i, np.uint8))), "label": i % 2, "mood": i % 2,
                     "hair": i % 3, "only": 0, "age": i} for i in range(10)]
        make(tmp_path, {"train": examples}, name="faces", features=features)
        return dict(name="faces", dir=str(tmp_path))

    def test_those_of_a_dataset(self, faces):
        assert data.class_labels(**faces) == {"hair": ("no", "short", "long"), "mood": ("sad", "glad")}

    @pytest.mark.parametrize("memory", ["resident", "stream"])
    def test_they_are_read_as_fields(self, faces, memory):
        dataset = data.open_dataset(split="train[2:9]", memory=memory, fields=("image", "hair", "mood"), cache=None,
                                    **faces)
        batch = whole(dataset)
        number = batch["image"][:, 0, 0, 0]
        assert np.array_equal(batch["hair"], number % 3) and np.array_equal(batch["mood"], number % 2)
        assert dataset.spec["hair"] == Field((), "int32", ("no", "short", "long"))

    def test_any_of_them_may_be_the_label(self, faces):
        dataset = data.open_dataset(split="train", label="hair", fields=("image", "mood"), cache=None, **faces)
        assert sorted(dataset.spec) == ["image", "label", "mood"] and len(dataset.spec["label"].names) == 3
        with pytest.raises(data.DataError, match="data.label is 'hair' and fields name 'label' too"):
            data.open_dataset(split="train", label="hair", fields=("image", "label"), **faces)

    def test_others_are_refused(self, faces):
        with pytest.raises(data.DataError, match="no class label .age.; its pictures are: image; .*: hair, label"):
            data.open_dataset(split="train", fields=("age",), **faces)

    @pytest.mark.parametrize("names, message", [([], "'bare' has no class labels with two values or more; name one"),
                                                (["cat"], "or more; its label has the value 'cat' only; name one")])
    def test_a_dataset_without_any_is_refused(self, make, png, tmp_path, names, message):
        features = {"image": tfds.features.Image(shape=(8, 8, 3))}
        features |= {"label": tfds.features.ClassLabel(names=names)} if names else {}
        example = {"image": io.BytesIO(png(np.zeros((8, 8, 3), np.uint8)))} | ({"label": 0} if names else {})
        make(tmp_path, {"train": [example]}, name="bare", features=features)
        with pytest.raises(data.DataError, match=message):
            data.class_labels(name="bare", dir=str(tmp_path))


class TestText:
    """Captions, read as tokens."""

    CAPTIONS = ["A red house", "a blue house, a red door", "Ein grünes Haus", ""]

    @pytest.fixture
    def houses(self, make, png, tmp_path):
        features = {"image": tfds.features.Image(shape=(8, 8, 3)), "caption": tfds.features.Text()}
        examples = [{"image": io.BytesIO(png(np.full((8, 8, 3), i, np.uint8))), "caption": caption}
                    for i, caption in enumerate(self.CAPTIONS)]
        folder = make(tmp_path / "tfds", {"train": examples, "test": examples[:1]}, name="houses", features=features)
        return folder, dict(name="houses", dir=str(tmp_path / "tfds"), cache=str(tmp_path / "cache"))

    @pytest.mark.parametrize("text", ["bytes:30", "words:8"])
    def test_resident_or_streamed_they_are_the_same(self, houses, text):
        made = [data.open_dataset(split="train", text=text, memory=memory, **houses[1]) for memory in
                ("resident", "stream", "resident")]
        batches = [whole(dataset) for dataset in made]
        tokenizer = data.tokenizer_of(made[0].spec["text"])
        wanted = tokenizer.encode([self.CAPTIONS[i] for i in batches[0]["image"][:, 0, 0, 0]])[0]
        for dataset, batch in zip(made, batches):
            assert np.array_equal(batch["text"], wanted) and batch["text"].dtype == np.int32
            assert dataset.fingerprint == made[0].fingerprint and dataset.spec == made[0].spec

    def test_the_vocabulary_is_that_of_the_training_split(self, houses):
        train, test = (data.open_dataset(split=split, text="words:8", **houses[1]).spec["text"]
                       for split in ("train[:1]", "test"))
        assert train == test and train.names[:3] == ("a", "house", "red") and "grünes" in train.names
        data.same_text(train, test)

    def test_a_stored_vocabulary_comes_first(self, houses):
        (houses[0] / "words.json").write_text('{"words": ["house", "haus"]}')
        spec = data.open_dataset(split="train", text="words:8", **houses[1]).spec
        assert spec["text"].names == ("house", "haus")

    @pytest.mark.parametrize("content", ["{", '{"words": 3}', '{"words": ["a", "a"]}', '["a"]'])
    def test_a_damaged_one_is_named(self, houses, content):
        (houses[0] / "words.json").write_text(content)
        with pytest.raises(data.DataError, match="words.json cannot be read .*prepare the dataset again"):
            data.open_dataset(split="train", text="words:8", **houses[1])

    @pytest.mark.parametrize("memory, number", [("resident", "4"), ("stream", "the first 2")])
    def test_long_captions_are_cut_and_it_is_said_once(self, houses, capsys, memory, number):
        dataset = data.open_dataset(split="train", text="words:2", memory=memory, **houses[1])
        assert dataset.spec["text"].shape == (2,)
        for _ in range(3):
            for rows in ([0, 1], [2, 3]):
                dataset.read(np.array(rows))
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and f" of {number} captions are longer than 2 words; their ends are cut" in told

    def test_the_fingerprint_includes_the_captions(self, houses):
        made = {text: data.open_dataset(split="train", text=text, **houses[1]) for text in
                ("", "bytes:30", "bytes:31", "words:30")}
        assert len({each.fingerprint for each in made.values()}) == 4
        assert len({each.fingerprints["image"] for each in made.values()}) == 1


def test_a_dataset_is_opened_by_its_own_folder(tiny, make, png, tmp_path):
    dataset = data.open_folder(tiny / "tiny" / "1.0.0", split="test[:3]", label="label", cache=None)
    same = opened(tiny, split="test[:3]", label="label")
    assert dataset.fingerprint == same.fingerprint and dataset.spec == same.spec
    with_config = make(tmp_path, {"train": [(png(np.zeros((8, 8, 3), np.uint8)), 0)]}, config="small")
    assert data.open_folder(str(with_config), split="train", cache=None).length == 1
    with_config.rename(tmp_path / "moved")
    with pytest.raises(data.DataError, match="was moved: it holds tiny/small/1.0.0"):
        data.open_folder(tmp_path / "moved", split="train")
    with pytest.raises(data.DataError, match="no dataset_info.json; give DATA_DIR/NAME/VERSION"):
        data.open_folder(tiny / "tiny", split="train")
    (tmp_path / "moved" / "dataset_info.json").write_text("[]")
    with pytest.raises(data.DataError, match=r"dataset_info\.json cannot be read"):
        data.open_folder(tmp_path / "moved", split="train")
