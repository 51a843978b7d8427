"""The evaluators, on models whose results are known."""
import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import parts
import pytest
import reference_inputs as inputs
from parts import dataset, model
from PIL import Image

from imggen_jax import data, evaluation
from imggen_jax.errors import MetricsError, RunError
from imggen_jax.evaluation import balance, classifier, copying, likelihood, modes, run, scores, usefulness
from imggen_jax.game import Field, make_spec
from imggen_jax.metrics.features import Space
from imggen_jax.provenance import publishing

ALL = inputs.pictures(1, 900, 16, 16)
TRAIN, HELD_OUT, OTHERS = ALL[:400], ALL[400:650], ALL[650:]


def plain(results):
    """As `evaluate --json` prints them."""
    return json.loads(json.dumps(results, allow_nan=False))


@pytest.fixture
def toy(monkeypatch):
    def apply(weights, images):
        x = images.astype(np.float32).reshape(len(images), 4, 4, 4, 4, 3).mean((2, 4))
        return x.reshape(len(images), 48) @ weights, None

    space = Space("toy", 48, "none", "abc", apply, np.eye(48, dtype=np.float32) / 100)
    monkeypatch.setattr(scores, "load_space", lambda name, settings: space)


def test_each_evaluator_is_a_module_of_that_name():
    assert set(evaluation.EVALUATORS) == {"likelihood", "usefulness", "modes", "copying", "balance"}
    for name, help in evaluation.EVALUATORS.items():
        module = importlib.import_module(f"imggen_jax.evaluation.{name}")
        assert callable(module.check) and callable(module.evaluate) and help


def test_a_model_that_copies_is_flagged_and_shown(toy, tmp_path):
    copies = model(lambda seeds, labels, truncation: np.clip(TRAIN[seeds % 400] + 1, 0, 255).astype(np.uint8))
    with publishing.using(publishing.Settings(credentials=False, watermark=False)):  # its pixels are compared
        results = plain(copying.evaluate(parts.context(copies, dataset(TRAIN), dataset(HELD_OUT), out=tmp_path)))
    assert results["copies"] and results["statistic"] < -5 and results["nearer_than_held_out"] > 0.9
    with Image.open(results["page"]) as page:
        assert page.width > 8 * 64 and page.height > 3 * 2 * 64
        pixels = np.asarray(page.convert("RGB"))
    # In the first pair the image above is the one below, but for one level.
    above, below = pixels[24:88, 24:88], pixels[24 + 68:88 + 68, 24:88]
    assert np.abs(above.astype(int) - below).max() <= 1 and above.std() > 10


def test_a_model_that_does_not_copy_is_not_flagged(toy, tmp_path):
    honest = model(lambda seeds, labels, truncation: OTHERS[seeds % 250])
    results = plain(copying.evaluate(parts.context(honest, dataset(TRAIN), dataset(HELD_OUT), out=tmp_path)))
    assert not results["copies"] and abs(results["statistic"]) < 3 and results["nearer_than_held_out"] < 0.05


def test_a_page_that_cannot_be_written_costs_no_result(toy, tmp_path, capsys):
    (tmp_path / "scores").write_text("a file, where the folder would be")
    honest = model(lambda seeds, labels, truncation: OTHERS[seeds % 250])
    results = copying.evaluate(parts.context(honest, dataset(TRAIN), dataset(HELD_OUT), out=tmp_path / "scores"))
    assert results["page"] is None and np.isfinite(results["z"])
    assert "note: " in capsys.readouterr().err


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
    monkeypatch.setattr(balance, "labeller", lambda context: Labeller())
    rng = np.random.default_rng(0)
    train = dataset(painted(rng.integers(0, 3, 3000)))
    skewed = model(lambda seeds, labels, truncation: painted(rng.choice(
        3, len(seeds), p=[0.6, 0.2, 0.2] if truncation == 1 else [1, 0, 0])))
    results = plain(balance.evaluate(parts.context(skewed, train, num=1500, out=tmp_path)))
    tone, size = results["attributes"]["tone"], results["attributes"]["size"]
    assert results["worst_attribute"] == "tone"
    assert results["worst_total_variation"] == pytest.approx(0.267, abs=0.05)
    last = tone["generated"][-1]
    assert last["truncation"] == 1.0 and last["total_variation"] > 3 * last["by_chance"]
    assert last["shares"][0]["low"] < 0.6 < last["shares"][0]["high"] and tone["data"][0]["high"] < 0.4
    assert tone["generated"][0]["total_variation"] == pytest.approx(2 / 3, abs=0.05)  # truncated, all are dark
    assert all(each["total_variation"] <= each["by_chance"] for each in size["generated"])
    with Image.open(results["chart"]) as chart:
        assert min(chart.size) > 200 and np.asarray(chart.convert("L")).std() > 5


def test_modes_of_stacked_mnist_are_counted_by_their_digits(monkeypatch):
    class Digits:
        names, accuracy = ("blue", "green", "red"), {"blue": 1.0, "green": 1.0, "red": 0.97}
        sha256 = "abc"

        def predict(self, images):
            number = images[:, 0, 0, 0].astype(int) * 250 + images[:, 0, 0, 1]
            return np.stack([number % 10, number // 10 % 10, number // 100], -1)

    def sample(seeds, _, truncation):
        images = np.zeros((len(seeds), 16, 16, 3), np.uint8)
        number = seeds % 500  # half of them
        images[:, 0, 0, 0], images[:, 0, 0, 1] = number // 250, number % 250
        return images

    monkeypatch.setattr(modes, "labeller", lambda context: Digits())
    results = plain(modes.evaluate(parts.context(model(sample), num=1000)))
    assert results["modes"] == 500 and results["kl"] == pytest.approx(np.log(2))
    assert results["classifier_accuracy"] == pytest.approx(0.99)


@pytest.mark.parametrize("name", ["shade", "label"])
def test_usefulness_is_the_accuracy_of_a_classifier_of_generated_images(name, monkeypatch):
    recipe = {**parts.RECIPE, "network": {**parts.RECIPE["network"], "widths": (4,), "features": 8}, "images": 3200}
    monkeypatch.setattr(classifier, "RECIPE", recipe)
    values = ("0", "1", "2")
    # A feature "label" that only repeats another one is not among those that the classifier learns.
    real = SimpleNamespace(names=("other", "shade"), values=(("a", "b"), values), sha256="abc",
                           accuracy={"other": 0.5, "shade": 0.75})
    monkeypatch.setattr(usefulness, "labeller", lambda context: real)

    def shaded(labels):
        shades = np.array([20, 120, 230], np.uint8)[labels]
        return np.broadcast_to(shades[:, None, None, None], (len(labels), 16, 16, 3))

    labels = np.arange(60, dtype=np.int32) % 3
    test = dataset(shaded(labels), labels, 3)
    good = model(lambda seeds, labels, truncation: shaded(labels), 3)
    useless = model(lambda seeds, labels, truncation: shaded((labels + 1) % 3), 3)

    def evaluate(model):
        return plain(usefulness.evaluate(parts.context(model, None, test, parts.settings(label=name), num=60)))

    results = evaluate(good)
    assert results["accuracy_from_generated"] > 0.95 and results["accuracy_from_real"] == 0.75
    assert evaluate(useless)["accuracy_from_generated"] < 0.1


def test_a_translator_is_given_the_other_fields_of_training_examples(toy):
    sources = np.arange(5 * 16 * 16 * 3, dtype=np.uint8).reshape(5, 16, 16, 3)
    train = SimpleNamespace(length=5, read=lambda rows: {"source": sources[rows]})
    translator = SimpleNamespace(
        spec=make_spec(image=Field((16, 16, 3), "uint8"), source=Field((16, 16, 3), "uint8")), weights=None,
        generator=SimpleNamespace(needs=("source",)),
        sampler=SimpleNamespace(sample=lambda weights, seeds, given, truncation=1.0: 255 - given["source"]))
    from imggen_jax.evaluation.context import generate

    images = generate(parts.context(translator, train), 7, 3)
    np.testing.assert_array_equal(images, 255 - sources[[3, 4, 0, 1, 2, 3, 4]])


REFUSED = [
    (copying, None, dict(), "copying needs held-out images"),
    (likelihood, HELD_OUT, dict(), "the game of this run has none"),
    (usefulness, HELD_OUT, dict(), "not class-conditional"),
    (modes, HELD_OUT, dict(), "counted on stacked_mnist, not on toy"),
    (copying, HELD_OUT[:19], dict(), "at least 20 generated and 20 held-out images, not 200 and 19"),
    (copying, HELD_OUT, dict(num=1), "at least 20 generated and 20 held-out images, not 1 and 250"),
]


@pytest.mark.parametrize(("module", "held_out", "terms", "message"), REFUSED)
def test_what_cannot_be_evaluated_is_refused_first(module, held_out, terms, message):
    test_set = None if held_out is None else dataset(held_out)
    with pytest.raises(RunError, match=message):
        module.check(parts.context(model(None), dataset(TRAIN), test_set, **terms))


@pytest.mark.parametrize(("module", "space", "message"), [
    (balance, "toy", "balance needs a dataset with class labels, and toy has none"),
    (copying, "classifier", "copying needs a dataset with class labels, and toy has none; or choose another --space"),
    (copying, "toy", None)])
def test_what_needs_labels_is_refused_without_them(module, space, message, monkeypatch):
    def none(**where):
        raise data.DataError("no labels")

    monkeypatch.setattr(data, "class_labels", none)
    given = parts.context(model(None), dataset(TRAIN), dataset(HELD_OUT), space=space)
    if message is None:
        return module.check(given)
    with pytest.raises(RunError, match=f"^{message}$"):
        module.check(given)


def test_images_that_the_classifier_does_not_take_are_refused_first(monkeypatch):
    monkeypatch.setattr(data, "class_labels", lambda **where: {"label": ("a", "b")})
    small = dataset(np.zeros((30, 8, 8, 3), np.uint8))
    with pytest.raises(MetricsError, match="cannot see 8x8 images.*choose another --space"):
        balance.check(parts.context(model(None), small, small))


def test_samples_out_of_range_are_refused_first():
    vae = model(None)
    vae.game.importance = lambda: None
    with pytest.raises(RunError, match="6000 samples for each image; take 1 to 5,000"):
        likelihood.check(parts.context(vae, dataset(TRAIN), dataset(HELD_OUT), samples=6000))


def test_a_result_says_what_it_depends_on(toy, tmp_path):
    honest = model(lambda seeds, labels, truncation: OTHERS[seeds % 250])
    given = parts.context(honest, dataset(TRAIN), dataset(HELD_OUT), num=60, out=tmp_path)
    results = run._result(copying, given)
    assert results["recipe"] == {"num": 60, "seed": 0, "train_fingerprint": "f", "held_out_fingerprint": "f",
                                 "space": "toy", "weights_sha256": "abc", "resize": "none"}
    assert len(results["resamples"]["z"]) == 3 and results["z"] == pytest.approx(np.mean(results["resamples"]["z"]))
    assert results["spread"]["z"] == pytest.approx(np.std(results["resamples"]["z"], ddof=1))
    assert not results["copies"] and Path(results["page"]).parent == tmp_path
