"""Small datasets written to a temporary TFDS data_dir, and the real MNIST where it lies beside the checkout."""
import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"


def encode(array, format="PNG", **options):
    """uint8 [H,W], [H,W,3] or [H,W,4], or a PIL picture -> the bytes of a file."""
    out = io.BytesIO()
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    picture.save(out, format=format, **options)
    return out.getvalue()


def write(root, splits, *, name="tiny", features=None, version="1.0.0", config=None):
    """Prepares {split: [(picture's bytes, label)]} in `root` and returns the folder of the dataset."""
    class Given(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

        def _info(self):
            kinds = features or {"image": tfds.features.Image(shape=(8, 8, 3)),
                                 "label": tfds.features.ClassLabel(names=["even", "odd"])}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(kinds))

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(examples) for split, examples in splits.items()}

        def _generate_examples(self, examples):
            for i, example in enumerate(examples):
                yield i, example if isinstance(example, dict) else {"image": io.BytesIO(example[0]),
                                                                    "label": example[1]}

    Given.name = name
    builder = Given(data_dir=root)
    builder.download_and_prepare(file_format="array_record")
    return Path(builder.data_dir)


def flat(value, shape=(8, 8, 3)):
    """A picture of one value, so that it is known again after the shuffling of TFDS."""
    return np.full(shape, value, np.uint8)


@pytest.fixture
def make():
    return write


@pytest.fixture
def png():
    return encode


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A data_dir with `tiny`: 300 train and 10 test pictures 8x8x3 of the value i % 256, labels even and odd."""
    root = tmp_path_factory.mktemp("tiny")
    write(root, {split: [(encode(flat(i % 256)), i % 2) for i in range(n)] for split, n in
                 (("train", 300), ("test", 10))})
    return root


@pytest.fixture(scope="session")
def real():
    """(data_dir, cache) of the real MNIST."""
    if not (REAL / "mnist").is_dir():
        pytest.skip(f"no prepared mnist in {REAL}")
    return str(REAL)


@pytest.fixture(scope="session")
def real_cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))
