"""Further questions to a run, asked of models whose answers are known."""
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import reference_inputs as inputs
from PIL import Image

from imggen_jax.config import Data
from imggen_jax.data import Dataset
from imggen_jax.errors import RunError
from imggen_jax.evaluation import classifier, questions
from imggen_jax.game import Spec
from imggen_jax.metrics.features import Space

ALL = inputs.pictures(1, 900, 16, 16)
TRAIN, HELD_OUT, OTHERS = ALL[:400], ALL[400:650], ALL[650:]
SETTINGS = SimpleNamespace(data=Data("toy", "", "train", "test", "", 0, "", False, "auto"))


def dataset(images, labels=None, classes=0):
    return Dataset(images, labels, classes, tuple(map(str, range(classes))), "f")


def model(sample, classes=0):
    """A trained model that makes `sample(seeds, labels, truncation)`."""
    return SimpleNamespace(functions={"sample": lambda weights, seeds, labels=None, truncation=1.0: sample(
        np.asarray(seeds), labels, truncation)}, weights=None, spec=Spec(16, 3, classes), images=80, step=10,
        label_names=tuple(map(str, range(classes))), game=SimpleNamespace(importance=None))


def terms(num=200, out=None, resamples=3, samples=10, space="toy"):
    return questions.Terms(num, 0, resamples, samples, space, out)


def ask(name, *given, num=200, tmp_path=None):
    found = questions.ASK[name](*given, terms(num, tmp_path))
    return json.loads(json.dumps(found, allow_nan=False))  # as `evaluate --json` prints it


@pytest.fixture
def toy(monkeypatch):
    def apply(weights, images):
        x = images.astype(np.float32).reshape(len(images), 4, 4, 4, 4, 3).mean((2, 4))
        return x.reshape(len(images), 48) @ weights, None

    space = Space("toy", 48, "none", "abc", apply, np.eye(48, dtype=np.float32) / 100)
    monkeypatch.setattr(questions, "space_of", lambda name, wanted: space)


def test_a_model_that_copies_is_flagged_and_shown(toy, tmp_path):
    copies = model(lambda seeds, labels, truncation: np.clip(TRAIN[seeds % 400] + 1, 0, 255).astype(np.uint8))
    found = ask("copying", copies, SETTINGS, dataset(TRAIN), dataset(HELD_OUT), tmp_path=tmp_path)
    assert found["copies"] and found["statistic"] < -5 and found["nearer_than_held_out"] > 0.9
    with Image.open(found["page"]) as page:
        assert page.width > 8 * 64 and page.height > 3 * 2 * 64
        pixels = np.asarray(page.convert("RGB"))
    # In the first pair the picture above is the one below, but for one level.
    above, below = pixels[24:88, 24:88], pixels[24 + 68:88 + 68, 24:88]
    assert np.abs(above.astype(int) - below).max() <= 1 and above.std() > 10


def test_a_model_that_does_not_copy_is_left_alone(toy, tmp_path):
    honest = model(lambda seeds, labels, truncation: OTHERS[seeds % 250])
    found = ask("copying", honest, SETTINGS, dataset(TRAIN), dataset(HELD_OUT), tmp_path=tmp_path)
    assert not found["copies"] and abs(found["statistic"]) < 3 and found["nearer_than_held_out"] < 0.05


def brightness(images):
    """A label of three values, read off a corner."""
    return np.clip(images[:, 0, 0, 0] // 86, 0, 2).astype(np.int32)


class Labeller:
    names, values = ("tone", "size"), (("dark", "grey", "light"), ("small", "large"))
    accuracy = {"tone": 1.0, "size": 0.9}
    sha256 = "abc"

    def predict(self, images):
        return np.stack([brightness(images), images[:, 1, 0, 0] > 127], -1).astype(np.int32)


def painted(tones):
    images = np.zeros((len(tones), 16, 16, 3), np.uint8)
    images[:, 0, 0, 0] = np.array([40, 128, 220])[tones]
    images[:, 1, 0, 0] = np.arange(len(tones)) % 2 * 200
    return images


def test_a_known_skew_is_found_and_evenness_is_not_called_one(monkeypatch, tmp_path):
    monkeypatch.setattr(questions, "_labeller", lambda wanted: Labeller())
    rng = np.random.default_rng(0)
    train = dataset(painted(rng.integers(0, 3, 3000)))
    skewed = model(lambda seeds, labels, truncation: painted(rng.choice(
        3, len(seeds), p=[0.6, 0.2, 0.2] if truncation == 1 else [1, 0, 0])))
    found = ask("balance", skewed, SETTINGS, train, None, num=1500, tmp_path=tmp_path)
    tone, size = found["attributes"]["tone"], found["attributes"]["size"]
    assert found["worst_attribute"] == "tone" and found["worst_total_variation"] == pytest.approx(0.267, abs=0.05)
    last = tone["generated"][-1]
    assert last["truncation"] == 1.0 and last["total_variation"] > 3 * last["by_chance"]
    assert last["shares"][0]["low"] < 0.6 < last["shares"][0]["high"] and tone["data"][0]["high"] < 0.4
    assert tone["generated"][0]["total_variation"] == pytest.approx(2 / 3, abs=0.05)  # truncated, all are dark
    assert all(each["total_variation"] <= each["by_chance"] for each in size["generated"])
    with Image.open(found["chart"]) as chart:
        assert min(chart.size) > 200 and np.asarray(chart.convert("L")).std() > 5


def test_modes_of_stacked_mnist_are_counted_by_their_digits(monkeypatch):
    labels = np.arange(1000)

    class Digits:
        names, accuracy = ("blue", "green", "red"), {"blue": 1.0, "green": 1.0, "red": 0.97}
        sha256 = "abc"

        def predict(self, images):
            number = images[:, 0, 0, 0].astype(int) * 250 + images[:, 0, 0, 1]
            return np.stack([number % 10, number // 10 % 10, number // 100], -1)

    def sample(seeds, _, truncation):
        images = np.zeros((len(seeds), 16, 16, 3), np.uint8)
        number = labels[seeds % 500]  # half of them
        images[:, 0, 0, 0], images[:, 0, 0, 1] = number // 250, number % 250
        return images

    monkeypatch.setattr(questions, "_labeller", lambda wanted: Digits())
    found = ask("modes", model(sample), SETTINGS, None, None, num=1000)
    assert found["modes"] == 500 and found["kl"] == pytest.approx(np.log(2))
    assert found["classifier_accuracy"] == pytest.approx(0.99)


def test_usefulness_is_the_accuracy_of_a_classifier_of_generated_pictures(monkeypatch):
    recipe = {"version": 1, "network": {"name": "classifier", "widths": (4,), "blocks": (0,), "features": 8},
              "augment": (), "images": 3200, "batch": 32, "ema": {"halflife": 0, "rampup": 0.0}, "seed": 0,
              "optimizer": {"optimizer": "adam", "learning_rate": 1e-2, "warmup": 0, "decay": "constant",
                            "final": 1.0, "clip": 0.0}}
    monkeypatch.setattr(classifier, "RECIPE", recipe)
    monkeypatch.setattr(questions, "_labeller", lambda wanted: SimpleNamespace(accuracy={"shade": 0.75}, sha256="abc"))
    settings = SimpleNamespace(data=dataclasses.replace(SETTINGS.data, label="shade"))

    def shaded(labels):
        shades = np.array([20, 120, 230], np.uint8)[labels]
        return np.broadcast_to(shades[:, None, None, None], (len(labels), 16, 16, 3))

    real = np.arange(60, dtype=np.int32) % 3
    test = dataset(shaded(real), real, 3)
    good = model(lambda seeds, labels, truncation: shaded(labels), 3)
    useless = model(lambda seeds, labels, truncation: shaded((labels + 1) % 3), 3)
    found = ask("usefulness", good, settings, None, test, num=60)
    assert found["accuracy_from_generated"] > 0.95 and found["accuracy_from_real"] == 0.75
    assert ask("usefulness", useless, settings, None, test, num=60)["accuracy_from_generated"] < 0.1


@pytest.mark.parametrize(("also", "wanted", "test", "message"), [
    (["copying"], SETTINGS.data, None, "copying needs held-out pictures"),
    (["likelihood"], SETTINGS.data, 1, "this run's game has none"),
    (["usefulness"], SETTINGS.data, 1, "not class-conditional"),
    (["modes"], SETTINGS.data, 1, "counted on stacked_mnist, not on toy"),
    (["copying"], SETTINGS.data, dataset(HELD_OUT[:19]), "at least 20 generated and 20 held-out pictures, not 200 and"),
])
def test_what_cannot_be_answered_is_refused_first(also, wanted, test, message):
    with pytest.raises(RunError, match=message):
        questions.check(also, model(None), wanted, test, terms())


@pytest.mark.parametrize(("question", "space", "message"), [
    ("balance", "toy", "balance needs a dataset with class labels, and toy has none"),
    ("copying", "classifier", "copying needs a dataset with class labels, and toy has none; or choose another --space"),
    ("copying", "toy", None)])
def test_what_needs_labels_is_refused_without_them(question, space, message, monkeypatch):
    monkeypatch.setattr(questions.data, "label_names", lambda **where: ())
    given = [question], model(None), SETTINGS.data, dataset(HELD_OUT), terms(space=space)
    if message is None:
        return questions.check(*given)
    with pytest.raises(RunError, match=f"^{message}$"):
        questions.check(*given)


def test_samples_out_of_range_are_refused_first():
    vae = model(None)
    vae.game.importance = lambda: None
    with pytest.raises(RunError, match="6000 samples a picture; take 1 to 5,000"):
        questions.check(["likelihood"], vae, SETTINGS.data, dataset(HELD_OUT), terms(samples=6000))


def test_an_answer_says_what_it_depends_on(toy, tmp_path):
    honest = model(lambda seeds, labels, truncation: OTHERS[seeds % 250])
    found = questions.answer("copying", honest, SETTINGS, dataset(TRAIN), dataset(HELD_OUT), terms(60, tmp_path))
    assert found["recipe"] == {"num": 60, "seed": 0, "train_fingerprint": "f", "held_out_fingerprint": "f",
                               "space": "toy", "weights_sha256": "abc", "resize": "none"}
    assert len(found["resamples"]["z"]) == 3 and found["z"] == pytest.approx(np.mean(found["resamples"]["z"]))
    assert found["spread"]["z"] == pytest.approx(np.std(found["resamples"]["z"], ddof=1)) and not found["copies"]
