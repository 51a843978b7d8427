"""All class labels of a dataset."""
import io

import numpy as np
import pytest
import tensorflow_datasets as tfds

from imggen_jax import data


@pytest.fixture
def faces(make, png, tmp_path):
    """Ten pictures with two labels, one of them twice, and a label of one value."""
    features = {"image": tfds.features.Image(shape=(8, 8, 3)), "label": tfds.features.ClassLabel(names=["sad", "glad"]),
                "mood": tfds.features.ClassLabel(names=["sad", "glad"]),
                "hair": tfds.features.ClassLabel(names=["no", "short", "long"]),
                "only": tfds.features.ClassLabel(names=["one"]), "age": np.int64}
    examples = [{"image": io.BytesIO(png(np.full((8, 8, 3), i, np.uint8))), "label": i % 2, "mood": i % 2,
                 "hair": i % 3, "only": 0, "age": i} for i in range(10)]
    make(tmp_path, {"train": examples}, name="faces", features=features)
    return dict(name="faces", split="train", dir=str(tmp_path))


def test_they_come_in_the_order_of_the_pictures_and_each_once(faces):
    found = data.load_attributes(**faces)
    assert found.names == ("hair", "mood") and found.values == (("no", "short", "long"), ("sad", "glad"))
    number = data.load(**faces, size=0, label="", cache=None).images[:, 0, 0, 0]
    assert found.labels.dtype == np.int32
    assert np.array_equal(found.labels, np.stack([number % 3, number % 2], -1))


def test_those_that_are_named_come_in_their_order(faces):
    found = data.load_attributes(**{**faces, "split": "train[2:5]"}, names=["label", "hair"])
    assert found.names == ("label", "hair") and found.labels.shape == (3, 2)


def test_others_are_refused(faces):
    with pytest.raises(data.DataError, match="no class label 'age'; it has hair, label, mood"):
        data.load_attributes(**faces, names=["age"])


def test_a_dataset_without_any_is_refused(make, png, tmp_path):
    make(tmp_path, {"train": [{"image": io.BytesIO(png(np.zeros((8, 8, 3), np.uint8)))}]}, name="bare",
         features={"image": tfds.features.Image(shape=(8, 8, 3))})
    with pytest.raises(data.DataError, match="'bare' has no class labels"):
        data.load_attributes(name="bare", split="train", dir=str(tmp_path))


def test_stacked_mnist_has_three_digits(real, real_cache, monkeypatch):
    monkeypatch.setenv("IMGGEN_JAX_CACHE", real_cache)
    where = dict(name="stacked_mnist", split="test[:50]", dir=real)
    found = data.load_attributes(**where, names=["blue", "red"])
    labels = data.load(**where, size=0, label="label").labels
    assert np.array_equal(found.labels, np.stack([labels % 10, labels // 100], -1))
    assert data.load_attributes(**where).names == ("red", "green", "blue")
