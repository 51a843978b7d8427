"""Evaluate a run, and compare two sets of images: results, what is stored, and what is refused at once."""
import json
import shutil

import numpy as np
import parts
import pytest
import reference_inputs as inputs
import shell
from PIL import Image

from imggen_jax import data
from imggen_jax.errors import DataError, MetricsError, RunError
from imggen_jax.evaluation import classifier, copying, scores
from imggen_jax.evaluation.inputs import open_images, open_model
from imggen_jax.evaluation.run import compare, evaluate, score_table
from imggen_jax.metrics import spaces
from imggen_jax.metrics.features import Space

REPORT = "classifier_20x3_seed0_000000080.json"


@pytest.fixture(scope="module", autouse=True)
def small_recipe():
    """The classifier of these tests is trained in seconds."""
    patch = pytest.MonkeyPatch()
    patch.setattr(classifier, "RECIPE", parts.RECIPE)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A VAE that scored itself at its end."""
    return parts.run(tmp_path_factory.mktemp("run") / "vae", score={"every": 80, "num": 20})


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it."""
    return shutil.copytree(trained, tmp_path / "vae")


@pytest.fixture
def nothing_long(monkeypatch):
    """What takes long would fail the test."""
    for module, name in ((classifier, "train_classifier"), (scores.features, "extract"), (classifier, "_read")):
        monkeypatch.setattr(module, name, None)


@pytest.fixture
def toy(monkeypatch):
    """A space without a weight file: averages over a coarse grid."""
    def apply(weights, images):
        n, h, w, _ = images.shape
        x = images.astype(np.float32).mean(-1)[:, :h // 2 * 2, :w // 3 * 3]
        return x.reshape(n, 2, h // 2, 3, w // 3).mean((2, 4)).reshape(n, 6) @ weights, None

    space = Space("toy", 6, "none", "abc", apply, np.eye(6, dtype=np.float32) / 100)
    monkeypatch.setattr(spaces, "check_there", lambda name: None)
    monkeypatch.setattr(spaces, "load", lambda name: space)
    return space


def test_a_run_is_scored_as_it_scored_itself(run):
    stored = json.loads((run / "scores" / REPORT).read_text())
    results = evaluate(run, num=20)
    assert results["recipe"] == stored["recipe"] and results["scores"] == stored["scores"]
    assert {"elbo", "psnr", "ssim"} <= set(results["figures"])
    assert json.loads((run / "scores" / REPORT).read_text())["figures"] == results["figures"]
    for word in ("Frechet distance", "KID", "Recall", "+-", "held-out: elbo", "20 against 20"):
        assert word in score_table(results)


def test_a_loaded_model_is_scored_alike_and_stored_only_where_asked(run, tmp_path):
    shutil.rmtree(run / "scores")
    model, workdir = open_model(run)
    results = evaluate(model, num=20)
    assert workdir == run and results["scores"] == evaluate(run, num=20)["scores"]
    assert "workdir" not in results["pictures"]
    evaluate(model, num=20, out=tmp_path / "out", only=["likelihood"], samples=2)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["likelihood_20x3_seed0_k2_000000080.json"]


def test_the_difference_to_another_report(run):
    kept = run / "scores" / REPORT
    before = kept.read_bytes()
    results = evaluate(run, num=20, seed=60, against=kept)
    assert kept.read_bytes() == before and (kept.parent / REPORT.replace("seed0", "seed60")).is_file()
    assert "difference to the other report" in score_table(results)
    mine, other = results["scores"]["kid"]["value"], json.loads(before)["scores"]["kid"]["value"]
    assert results["difference"]["kid"]["value"] == pytest.approx(mine - other)


def test_a_report_of_another_recipe_is_refused_before_scores_are_computed(run, nothing_long):
    with pytest.raises(MetricsError, match="fake: 21 here, 20 there"):
        evaluate(run, num=21, against=run / "scores" / REPORT)


def test_evaluators_run_beside_scores_and_alone(run):
    results = evaluate(run, num=4, only=["likelihood"], samples=20)
    assert results["likelihood"]["samples"] == 20 and "scores" not in results and "figures" not in results
    assert results["pictures"]["workdir"] == str(run) and "imggen_jax" in results["versions"]
    stored = json.loads((run / "scores" / "likelihood_4x3_seed0_k20_000000080.json").read_text())
    assert stored["likelihood"] == results["likelihood"] and stored["pictures"]["images"] == 80 and stored["versions"]
    # So little trained a posterior is the prior, and every sample as good as another.
    assert results["likelihood"]["importance_bound"] > results["likelihood"]["elbo"] - 1e-3
    assert {"scores", "likelihood", "balance"} <= set(evaluate(run, num=20, also=["likelihood", "balance"], samples=2))


@pytest.mark.parametrize(("options", "message"), [
    (dict(num=4), "4 pictures.*6 dimensions.*more than 6.*--only"), (dict(num=1), "num is 1 .*at least 2 images"),
    (dict(num=2.5), "num is 2.5; it must be a whole number"), (dict(num=20, seed=2**32), "seeds from 0 to"),
    (dict(only=["likelihood"], also=["copying"]), "give also or only"), (dict(also="copying"), "give a list"),
    (dict(num=20, also=["beauty"]), "unknown evaluator 'beauty'; choose from likelihood"),
    (dict(num=20, also=["modes"]), "counted on stacked_mnist"),
    (dict(num=20, also=["usefulness"]), "not class-conditional"),
    (dict(num=20, also=["copying"]), "at least 20 generated and 20 held-out images, not 20 and 8"),
    *[(dict(num=20, resamples=number), "(?=.*at least 3)(?=.*resamples)") for number in (-1, 0, 1, 2)],
    (dict(num=20, also=["likelihood"], samples=0), "0 samples for each image"),
    (dict(num=20, against="none.json"), "cannot be read as a report"),
    (dict(num=20, space="vgg"), "unknown feature space 'vgg'"), (dict(num=20, out="data.json"), "choose another --out"),
])
def test_what_cannot_be_evaluated_is_refused_before_anything_long(options, message, run, nothing_long, monkeypatch):
    monkeypatch.chdir(run)
    with pytest.raises((RunError, MetricsError), match=message):
        evaluate(run, **options)


def test_what_is_no_generator_is_refused(short_run, tmp_path):
    with pytest.raises(RunError, match="not the folder of a run"):
        evaluate(tmp_path)
    with pytest.raises(RunError, match="is a classifier and cannot generate images"):
        evaluate(short_run("classifier"))


def test_a_split_that_is_not_there_is_refused_first(run, nothing_long):
    config = json.loads((run / "config.json").read_text())
    config["data"]["test"] = "validation"
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="validation"):
        evaluate(run, num=20)


def replace_data(run, **values):
    """As though the run had been trained with other data."""
    facts = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**facts, **values}))


@pytest.mark.parametrize(("changed", "said"), [
    ({"fingerprint": "another"}, "the examples of 'small' are not those"),
    ({"held_out_fingerprint": "another"}, "the held-out examples of 'small' are not those")])
def test_changed_data_are_refused_or_named_in_the_results(changed, said, run, nothing_long, monkeypatch, capsys):
    replace_data(run, **changed)
    with pytest.raises(RunError, match=f"{said}.*--changed-data"):
        evaluate(run, num=20)
    monkeypatch.undo()
    monkeypatch.setattr(classifier, "RECIPE", parts.RECIPE)
    before = (run / "scores" / REPORT).read_bytes()
    results = evaluate(run, num=20, allow_changed=True)
    assert said in capsys.readouterr().err
    (name, value), = results["pictures"]["changed_data"].items()
    assert name in changed and value["of_the_training"] == "another" and value["now"]
    assert "warning" in score_table(results)
    assert (run / "scores" / REPORT).read_bytes() == before
    stored = json.loads((run / "scores" / REPORT.replace("seed0", "seed0_changed-data")).read_text())
    assert stored["pictures"]["changed_data"] == results["pictures"]["changed_data"]


def test_results_are_shown_where_they_cannot_be_stored(run, tmp_path, capsys):
    shutil.rmtree(run / "scores")
    (run / "scores").write_text("as unwritable as a read-only disk, for root too")
    results = evaluate(run, num=20, also=["likelihood"], samples=2)
    assert results["scores"] and results["likelihood"]
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if line.startswith("note: ") and "--out" in line]) == 2
    assert evaluate(run, num=20, out=tmp_path / "out")["scores"] == results["scores"]
    assert (tmp_path / "out" / REPORT).is_file()


def write(folder, images):
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:04d}.png")
    return folder


def test_sets_of_images_are_compared_alike_however_they_are_given(toy, tmp_path):
    real, fake = (inputs.pictures(seed, 40, 12, 12) for seed in (1, 2))
    np.savez(tmp_path / "real.npz", real)
    folder = write(tmp_path / "fake", fake)
    reals = [real, list(real), (real[:7], real[7:]), tmp_path / "real.npz", write(tmp_path / "real", real)]
    results = [compare(each, folder, space="toy") for each in reals]
    assert all(each["scores"] == results[0]["scores"] for each in results)
    assert results[0]["scores"]["frechet_distance"]["value"] > 0 and "inception_score" not in results[0]["scores"]
    same = compare(real, real, space="toy")
    assert 0 <= same["scores"]["frechet_distance"]["value"] < 1e-6 and same["scores"]["precision"]["value"] == 1


def test_datasets_and_models_are_compared(run):
    where = dict(dir=shell.data_dir())
    results = compare("small@train", "small@train[:25]", **where)
    assert [results["recipe"][name] for name in ("space", "real", "fake")] == ["classifier", 40, 25]
    dataset = data.open_dataset(name="small", split="train[:25]", size=0, label="label", memory="auto", **where)
    assert compare("small@train", dataset, **where)["scores"] == results["scores"]


def test_a_run_is_compared_as_it_is_evaluated(run, tmp_path):
    """With `num` the recipe, and so the scores, are those of `evaluate`."""
    config = json.loads((run / "config.json").read_text())
    channels = open_model(run)[0].spec["image"].shape[2]
    assert channels == 3 and config["data"]["test"] == "test"
    scored = evaluate(run, num=20)
    where = dict(dir=shell.data_dir(), held_out="test", num=20)
    results = compare("small@train", run, **where)
    assert results["recipe"] == scored["recipe"] and results["scores"] == scored["scores"]
    images = open_model(run)[0].sample(num=60)
    against = compare("small@train", images, against=run / "scores" / REPORT, out=tmp_path / "out", **where)
    assert against["scores"] == scored["scores"] and against["difference"]["kid"]["value"] == 0
    stored, = (tmp_path / "out").iterdir()
    assert json.loads(stored.read_text())["scores"] == scored["scores"]


def test_images_that_cannot_be_compared_are_named(toy, tmp_path):
    images = inputs.pictures(1, 20, 12, 12)
    (tmp_path / "empty").mkdir()
    cases = [
        (tmp_path / "empty", "has no pictures"), (images[:6], "6 pictures"), ([], "has no images"),
        (inputs.pictures(1, 20, 12, 15), "15x12 RGB"), (write(tmp_path / "grey", images[..., 0]), "12x12 gray"),
        (tmp_path / "nowhere", "nowhere"), ([images[0], images[0][1:]], "differ in size"),
        (images.astype(np.float32), "uint8"),
    ]
    broken = write(tmp_path / "broken", images)
    (broken / "0007.png").write_bytes(b"nothing")
    for fake, message in (*cases, (broken, "0007.png cannot be read")):
        with pytest.raises((MetricsError, DataError), match=message):
            compare(images, fake, space="toy")
    with pytest.raises(MetricsError, match="20 images, which are not 3 sets of so many"):
        compare(images, images, space="toy", num=10)
    for real in (broken, images):
        with pytest.raises(RunError, match="is trained on labels.*--space"):
            compare(real, images)


@pytest.mark.parametrize(("fake", "message"), [
    (np.zeros((30, 12, 12, 3), np.uint8), "bring them to one size"),
    (np.zeros((1, 16, 16, 3), np.uint8), "has 1 pictures, but the feature space classifier has 6 dimensions")])
def test_sizes_and_numbers_are_checked_before_the_classifier_is_trained(fake, message, nothing_long):
    with pytest.raises(MetricsError, match=message):
        compare("small@train", fake, dir=shell.data_dir())


def test_a_report_of_another_recipe_is_refused_before_two_sets_are_compared(run, nothing_long):
    images, _ = parts.pictures(30)
    with pytest.raises(MetricsError, match="fake: 30 here, 20 there"):
        compare("small@train", images, dir=shell.data_dir(), against=run / "scores" / REPORT)


def test_the_folder_of_a_run_is_a_model_and_not_its_grids(run):
    images = open_images(run, "x", num=5, seed=7)
    expected = open_model(run)[0].sample(range(7, 12))
    assert images.count == 5 and images.title == str(run)
    np.testing.assert_array_equal(np.concatenate(list(images.batches())), expected)


def test_copying_is_evaluated_in_the_space_that_is_asked_for(toy, run, monkeypatch):
    monkeypatch.setattr(copying.copying, "LEAST", 8)
    results = evaluate(run, num=20, space="toy", only=["copying"])
    assert results["copying"]["recipe"]["space"] == "toy"
    assert (run / "scores" / "copying_20x3_seed0_toy_000000080.json").is_file()
