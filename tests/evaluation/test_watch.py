"""Scores during training: stored, and never more than their share of the time."""
import json

import jax
import numpy as np
import parts
import pytest
import shell
import tiny

from imggen_jax.config import check
from imggen_jax.errors import ImggenError, MetricsError
from imggen_jax.evaluation import classifier, scores, watch
from imggen_jax.metrics.features import Space

NAMES = {"frechet_distance", "kid", "inception_score", "precision", "recall", "density", "coverage"}


def test_a_run_scores_itself_and_stores_how(tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "RECIPE", parts.RECIPE)
    run = parts.run(tmp_path / "run", score={"every": 80, "num": 20})
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "score/kid" in line] == [10]
    stored = json.loads((run / "scores" / "classifier_20x3_seed0_000000080.json").read_text())
    assert set(stored["scores"]) == NAMES
    for each in stored["scores"].values():
        assert len(each["resamples"]) == 3 and np.isfinite([each["value"], each["spread"]]).all()
    assert stored["scores"]["frechet_distance"]["value"] > 0
    recipe = stored["recipe"]
    assert (recipe["real"], recipe["fake"], recipe["space"]) == (20, 20, "classifier")
    assert len(recipe["weights_sha256"]) == 64 and recipe["resize"] and recipe["real_fingerprint"]
    assert stored["pictures"]["seeds"] == [[0, 19], [20, 39], [40, 59]] and stored["pictures"]["step"] == 10
    assert set(stored["versions"]) == {"imggen_jax", "jax"}


def test_a_run_says_when_it_leaves_a_score_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(classifier, "RECIPE", parts.RECIPE)
    parts.run(tmp_path / "run", score={"every": 80, "num": 20, "share": 1e-6})
    said = capsys.readouterr().err
    assert "80 images: no score" in said and "config.score.share, 1e-06" in said
    assert not (tmp_path / "run" / "scores").exists()


def test_a_space_without_its_weights_is_refused_before_training_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("IMGGEN_JAX_WEIGHTS", str(tmp_path))
    config = shell.config("vae", score={"every": 80, "num": 3000, "space": "inception"})
    with pytest.raises(ImggenError, match="pt_inception-2015-12-05-6726825d.pth"):
        watch.check(check(config))
    watch.check(check({**config, "score": {**config["score"], "every": 0}}))  # nothing is to be scored


def test_too_few_images_are_refused_before_the_classifier_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "RECIPE", parts.RECIPE)
    monkeypatch.setattr(classifier, "train_classifier", None)  # would be called
    with pytest.raises(MetricsError, match="has 4 pictures, but the feature space classifier has 6 dimensions"):
        parts.run(tmp_path / "run", data={"split": "train[:4]"}, score={"every": 80, "num": 20})


def test_scores_take_no_more_than_their_share(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: clock[0])
    made = []

    def score(average, step, images):
        clock[0] += 3.0
        made.append(step)
        return {"score/kid": 0.5}

    def prepare():
        clock[0] += 1.0

    watched = watch.Watch(score, prepare, 0.05)
    for step in range(1000):
        clock[0] += 1.0
        assert watched(None, step=step, images=step) == ({"score/kid": 0.5} if step in made else {})
    assert 12 <= len(made) <= 0.05 * clock[0] / 3


def test_too_few_real_images_for_a_space_are_refused():
    space = Space("toy", 6, "none", "abc", None, None)
    reference = scores.Reference(parts.dataset(np.zeros((6, 12, 12, 3), np.uint8)), "x", 100)
    with pytest.raises(MetricsError, match="the dataset .x. has 6 pictures"):
        reference.check(space)


def test_a_model_that_needs_images_is_scored_with_those_of_training_examples(tmp_path, monkeypatch):
    def apply(weights, images):
        return images.astype(np.float32).mean((1, 2)) @ weights, None

    space = Space("toy", 3, "none", "abc", apply, np.eye(3, dtype=np.float32))
    monkeypatch.setattr(scores.spaces, "load", lambda name: space)
    config = tiny.config("toys.translator", "plain")
    settings = check({**config, "score": {"every": 8, "num": 20, "space": "toy", "share": 1.0}})
    built = tiny.build("toys.translator", "plain")
    fields = {name: value[0] for name, value in tiny.examples(tiny.TRANSLATED, 1, 24).items()}
    train_set = parts.dataset(fields["image"])
    train_set.spec, train_set.read = tiny.TRANSLATED, lambda rows: {name: value[rows] for name, value in fields.items()}
    score = watch.scorer(settings, built, train_set, tmp_path)
    scored = score(jax.tree.map(np.asarray, jax.jit(built.init)().average), step=1, images=8)
    assert scored["score/frechet_distance"] > 0 and len(list((tmp_path / "scores").iterdir())) == 1
