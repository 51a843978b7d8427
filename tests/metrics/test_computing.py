"""`metrics.compute`: the same scores from arrays, iterables, folders and files, and bad input before long work."""
import numpy as np
import pytest
import reference_inputs as inputs
from PIL import Image

from imggen_jax import metrics
from imggen_jax.errors import MetricsError, WeightsError
from imggen_jax.metrics import features, pictures, scores
from imggen_jax.metrics.features import Space


def apply(weights, images):
    x = images.astype(np.float32).mean(-1)
    n, h, w = x.shape
    return x.reshape(n, 2, h // 2, 3, w // 3).mean((2, 4)).reshape(n, 6) @ weights, None


SPACE = Space("toy", 6, "none", "abc", apply, np.eye(6, dtype=np.float32) / 100)
REAL, FAKE = (inputs.pictures(seed, number, 12, 12) for seed, number in ((1, 45), (2, 40)))


def in_batches(images, size=7):
    yield from images[:2]  # pictures by themselves too
    for start in range(2, len(images), size):
        yield images[start:start + size]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "real").mkdir()
    for i, image in enumerate(REAL):
        Image.fromarray(image).save(tmp_path / "real" / f"{i:04d}.png")
    return tmp_path / "real"


def test_every_kind_of_input_gives_the_same_scores(folder, tmp_path):
    np.savez(tmp_path / "real.npz", REAL)
    expected = metrics.compute(REAL, FAKE, space=SPACE)
    assert expected.scores["frechet_distance"].value > 0 and expected.recipe["real"] == 45
    assert expected.pictures["real"] == "real" and expected.recipe["fake"] == 40
    for real in (REAL, list(REAL), folder, str(tmp_path / "real.npz"), pictures.of_array(REAL, "x")):
        assert metrics.compute(real, in_batches(FAKE), space=SPACE).scores == expected.scores
    assert metrics.compute(in_batches(REAL), list(FAKE), space=SPACE).scores == expected.scores
    streamed = metrics.compute(in_batches(REAL), FAKE, space=SPACE)
    assert streamed.recipe["real_fingerprint"] == metrics.compute(folder, FAKE, space=SPACE).recipe["real_fingerprint"]
    scores.compare(streamed, metrics.compute(folder, in_batches(FAKE), space=SPACE))


def test_scores_are_those_of_the_features():
    real, fake = (features.extract(SPACE, [images]) for images in (REAL, FAKE))
    assert metrics.compute(REAL, FAKE, space=SPACE, seed=3).scores == scores.measure(SPACE, real, [fake], seed=3)


def never(weights, images):
    pytest.fail("features are computed")


@pytest.mark.parametrize(("real", "fake", "message"), [
    (REAL.astype(np.float32), FAKE, r"real holds float32 \[45, 12, 12, 3\]; pictures are uint8"),
    (REAL, FAKE[:6], "fake has 6 pictures, but the feature space toy has 6 dimensions"),
    (REAL, inputs.pictures(2, 40, 12, 15), "differ: real 12x12 RGB, fake 15x12 RGB"),
    (REAL, FAKE[..., :1], "fake 12x12 gray"),
    (REAL, "nowhere", "nowhere is neither a folder"),
    (REAL, 3, "fake is a int; give an array"),
])
def test_what_is_wrong_is_named_before_features_are_computed(real, fake, message):
    with pytest.raises(MetricsError, match=message):
        metrics.compute(real, fake, space=SPACE._replace(apply=never))


@pytest.mark.parametrize(("fake", "message"), [
    (in_batches(FAKE[:6]), "fake has 6 pictures"), (iter(()), "no pictures"),
    (iter([FAKE / 255]), "features take pictures uint8"), (in_batches(FAKE[..., :1]), "fake 12x12 gray"),
])
def test_what_is_wrong_with_an_iterable_is_named(fake, message):
    with pytest.raises(MetricsError, match=message):
        metrics.compute(REAL, fake, space=SPACE)


def test_a_space_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("IMGGEN_JAX_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match="inception needs the weight file"):
        metrics.compute(REAL, FAKE)
    with pytest.raises(MetricsError, match="unknown feature space 'vgg'"):
        metrics.compute(REAL, FAKE, space="vgg")
    with pytest.raises(MetricsError, match="at least 3 resamples are needed"):
        metrics.compute(REAL, FAKE, space=SPACE, resamples=2)
