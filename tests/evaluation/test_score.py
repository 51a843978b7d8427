"""Scores of runs and of sets of pictures, from the command line and in the course of a run."""
import json

import numpy as np
import pytest
import reference_inputs as inputs
import shell
import tiny
from PIL import Image

from imggen_jax.config import check
from imggen_jax.errors import MetricsError
from imggen_jax.evaluation import classifier, score
from imggen_jax.metrics import scores, spaces
from imggen_jax.metrics.features import Space

RECIPE = {
    "version": 1, "network": {"name": "classifier", "widths": (8,), "blocks": (0,), "features": 6}, "augment": (),
    "images": 1600, "batch": 32, "ema": {"halflife": 0, "rampup": 0.0}, "seed": 0,
    "optimizer": {"optimizer": "adam", "learning_rate": 1e-2, "warmup": 0, "decay": "constant", "final": 1.0,
                  "clip": 0.0},
}
NAMES = {"frechet_distance", "kid", "inception_score", "precision", "recall", "density", "coverage"}


@pytest.fixture(scope="module", autouse=True)
def small_recipe():
    """The classifier of these tests is trained in seconds."""
    patch = pytest.MonkeyPatch()
    patch.setattr(classifier, "RECIPE", RECIPE)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A VAE that scores itself at its end."""
    folder = tmp_path_factory.mktemp("score")
    content = shell.config("vae", score={"every": 80, "num": 20})
    result = shell.call("--config", shell.write_config(folder / "configs" / "small.py", content),
                        "--workdir", folder / "run")
    assert result.code == 0, result.err
    return folder / "run"


def evaluate(*words):
    result = shell.call("evaluate", *words)
    assert result.code == 0, result.err
    return result


def refused(result, *said):
    assert result.code == 2 and result.out == "", result
    assert result.err.startswith("error: ") and result.err.count("\n") == 1, result.err
    for words in said:
        assert words in result.err


def test_a_run_scores_itself_and_stores_how(run):
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


def test_a_run_says_when_it_leaves_a_score_out(run, tmp_path):
    content = shell.config("vae", score={"every": 80, "num": 20, "share": 1e-6})
    result = shell.call("--config", shell.write_config(tmp_path / "configs" / "small.py", content),
                        "--workdir", tmp_path / "run")
    assert result.code == 0 and "80 images: no score" in result.err and "config.score.share, 1e-06" in result.err
    assert not (tmp_path / "run" / "scores").exists()


def test_evaluate_gives_the_same_scores_again_as_json(run):
    stored = json.loads((run / "scores" / "classifier_20x3_seed0_000000080.json").read_text())
    found = json.loads(evaluate("--workdir", run, "--num", 20, "--json").out)
    assert found["recipe"] == stored["recipe"]
    for name, each in found["scores"].items():
        assert each["value"] == pytest.approx(stored["scores"][name]["value"], rel=1e-5, abs=1e-6)
    assert {"elbo", "psnr", "ssim"} <= set(found["figures"])


def test_evaluate_prints_a_table_and_a_difference_to_another_report(run):
    kept = run / "scores" / "classifier_20x3_seed0_000000080.json"
    before = kept.read_bytes()
    text = evaluate("--workdir", run, "--num", 20, "--seed", 60, "--against", kept).out
    assert kept.read_bytes() == before and (kept.parent / "classifier_20x3_seed60_000000080.json").is_file()
    for word in ("Frechet distance", "KID", "Recall", "+-", "difference", "held-out: elbo", "20 against 20"):
        assert word in text
    refused(shell.call("evaluate", "--workdir", run, "--num", 21, "--against", kept), "do not compare", "fake: 21 here")


def test_likelihood_is_asked_for(run):
    found = json.loads(evaluate("--workdir", run, "--num", 20, "--json", "--also", "likelihood", "--samples", 20).out)
    assert found["likelihood"]["samples"] == 20
    stored = json.loads((run / "scores" / "likelihood_20x3_seed0_k20_000000080.json").read_text())
    assert stored["likelihood"] == found["likelihood"] and stored["pictures"]["images"] == 80 and stored["versions"]
    # So little trained a posterior is the prior, and every sample as good as another.
    assert found["likelihood"]["importance_bound"] > found["likelihood"]["elbo"] - 1e-3


def test_a_question_is_answered_without_scores_where_there_are_too_few_pictures(run):
    result = evaluate("--workdir", run, "--num", 4, "--json", "--only", "likelihood", "--samples", 2)
    found = json.loads(result.out)
    assert found["likelihood"]["samples"] == 2 and "scores" not in found
    assert found["pictures"]["workdir"] == str(run) and "imggen_jax" in found["versions"]
    text = evaluate("--workdir", run, "--num", 4, "--only", "likelihood", "--samples", 2).out
    assert text.startswith("likelihood: ") and "Frechet" not in text


def test_what_a_run_cannot_be_asked_is_refused(run, tmp_path):
    common = ("evaluate", "--workdir", run)
    refused(shell.call(*common, "--num", 4), "4 pictures", "6 dimensions", "more than 6", "--only")
    refused(shell.call(*common, "--also", "likelihood", "--only", "likelihood"), "give also or only")
    refused(shell.call(*common, "--num", 20, "--also", "beauty"), "unknown question 'beauty'; choose from likelihood")
    refused(shell.call(*common, "--num", 20, "--also", "modes"), "counted on stacked_mnist")
    refused(shell.call(*common, "--num", 20, "--also", "usefulness"), "not class-conditional")
    for number in (-1, 0, 1, 2):
        refused(shell.call(*common, "--num", 20, "--resamples", number), f"{number} resamples", "take at least 3")
    refused(shell.call(*common, "--num", 20, "--also", "likelihood", "--samples", 0), "0 samples a picture")
    refused(shell.call(*common, "--num", 20, "--against", tmp_path / "none.json"), "cannot be read as a report")
    refused(shell.call(*common, "--num", 20, "--space", "vgg"), "unknown feature space 'vgg'")
    refused(shell.call("evaluate", "--workdir", tmp_path), "not the folder of a run")
    for words in ((), ("--real", "x"), ("--workdir", "w", "--real", "x", "--fake", "y")):
        result = shell.call("evaluate", *words)
        assert result.code == 2 and "give either --workdir, or both --real and --fake" in result.err
    for words, stray in ((("--real", "x", "--fake", "y", "--num", 20), "--num goes with --workdir"),
                         (("--workdir", run, "--data-dir", "d"), "--data-dir goes with --real and --fake")):
        result = shell.call("evaluate", *words)
        assert result.code == 2 and stray in result.err


def test_a_space_without_its_weights_is_told_before_training_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("IMGGEN_JAX_WEIGHTS", str(tmp_path))
    content = shell.config("vae", score={"every": 80, "num": 3000, "space": "inception"})
    config = shell.write_config(tmp_path / "configs" / "small.py", content)
    refused(shell.call("--config", config, "--workdir", tmp_path / "run"), "pt_inception-2015-12-05-6726825d.pth",
            str(tmp_path))
    assert not (tmp_path / "run").exists()


@pytest.fixture
def toy(monkeypatch):
    """A space without a weight file: averages over a coarse grid."""
    def apply(weights, images):
        x = images.astype(np.float32).mean(-1)
        n, h, w = x.shape
        return x.reshape(n, 2, h // 2, 3, w // 3).mean((2, 4)).reshape(n, 6) @ weights, None

    space = Space("toy", 6, "none", "abc", apply, np.eye(6, dtype=np.float32) / 100)
    monkeypatch.setattr(spaces, "check_there", lambda name: None)
    monkeypatch.setattr(spaces, "load", lambda name: space)
    return space


def write(folder, images):
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:04d}.png")
    return folder


def test_folders_files_and_datasets_are_scored_alike(toy, tmp_path):
    real, fake = (inputs.pictures(seed, 40, 12, 12) for seed in (1, 2))
    np.savez(tmp_path / "real.npz", real)
    words = ("--fake", write(tmp_path / "fake", fake), "--space", "toy", "--json")
    found = [json.loads(evaluate("--real", one, *words).out)
             for one in (write(tmp_path / "real", real), tmp_path / "real.npz")]
    assert found[0]["scores"] == found[1]["scores"] and found[0]["scores"]["frechet_distance"]["value"] > 0
    assert "inception_score" not in found[0]["scores"]
    folder = tmp_path / "real"
    same = json.loads(evaluate("--real", folder, "--fake", folder, "--space", "toy", "--json").out)
    assert 0 <= same["scores"]["frechet_distance"]["value"] < 1e-6 and same["scores"]["precision"]["value"] == 1
    data = ("--data-dir", shell.data_dir(), "--json")
    found = json.loads(evaluate("--real", "small@train", "--fake", "small@train[:25]", *data).out)
    assert (found["recipe"]["space"], found["recipe"]["real"], found["recipe"]["fake"]) == ("classifier", 40, 25)


def test_pictures_that_cannot_be_scored_are_named(toy, tmp_path):
    images = inputs.pictures(1, 20, 12, 12)
    good = write(tmp_path / "good", images)
    (tmp_path / "empty").mkdir()
    cases = {
        tmp_path / "empty": "has no pictures", write(tmp_path / "few", images[:6]): "6 pictures",
        write(tmp_path / "wide", inputs.pictures(1, 20, 12, 15)): "15x12 RGB",
        write(tmp_path / "grey", images[..., 0]): "12x12 grey", tmp_path / "nowhere": "nowhere",
    }
    broken = write(tmp_path / "broken", images)
    (broken / "0007.png").write_bytes(b"nothing")
    cases[broken] = "0007.png cannot be read"
    for folder, said in cases.items():
        refused(shell.call("evaluate", "--real", good, "--fake", folder, "--space", "toy"), said)
    refused(shell.call("evaluate", "--real", good, "--fake", good), "is trained on labels", "--space")


def test_scores_in_the_course_of_a_run_take_no_more_than_their_share(monkeypatch, tmp_path, toy):
    clock = [0.0]
    monkeypatch.setattr(score.time, "monotonic", lambda: clock[0])
    made = []

    def sample(weights, seeds):
        clock[0] += 1.0
        made.append(len(seeds))
        return inputs.pictures(int(seeds[0]), len(seeds), 12, 12)

    content = tiny.config("vae", "bernoulli")
    content["score"] = {"every": 1, "num": 20, "space": "toy", "share": 0.05}
    images = inputs.pictures(1, 40, 12, 12)
    train_set = score.data.Dataset(images, None, 0, (), "f")
    watch = score.Watch(check(content), train_set, sample, tmp_path)
    for step in range(1000):
        clock[0] += 1.0
        watch(None, step=step, images=step)
    assert 30 <= len(made) <= 0.05 * clock[0]
    assert len(list((tmp_path / "scores").iterdir())) == len(made) // scores.RESAMPLES


def test_too_few_real_pictures_for_a_space_are_told(toy):
    train_set = score.data.Dataset(inputs.pictures(1, 6, 12, 12), None, 0, (), "f")
    with pytest.raises(MetricsError, match="the dataset .x. has 6 pictures"):
        score.Reference(toy, train_set, "x", 100)
