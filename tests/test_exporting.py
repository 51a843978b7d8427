"""Exported models give the images of the run that they came from, also to programs without this package."""
import json

import jax
import numpy as np
import pytest
from jax import export
from safetensors.numpy import load_file

import imggen_jax
from imggen_jax import zoo
from imggen_jax.config import flatten
from imggen_jax.errors import RunError


@pytest.mark.parametrize("game", ["vae", "gan", "gaussian"])
def test_an_exported_model_is_the_model(game, short_run, tmp_path):
    folder = imggen_jax.export(short_run(game), tmp_path / "out")
    model, exported = imggen_jax.load(short_run(game)), imggen_jax.load(folder)
    jax.tree.map(np.testing.assert_array_equal, exported.weights, model.weights)
    np.testing.assert_array_equal(exported.sample(num=3, seed=5), model.sample(num=3, seed=5))
    assert (exported.step, exported.spec) == (model.step, model.spec)
    assert flatten(exported.config) == flatten(model.config) | {"data.dir": ""}  # no place on this machine
    assert model.config["data"]["dir"] not in (folder / "model.json").read_text()
    facts = imggen_jax.describe(folder)
    assert facts["images"] == 16 and sum(facts["parameters"].values()) == sum(
        leaf.size for leaf in jax.tree.leaves(model.weights))
    card = (folder / "README.md").read_text()
    assert "small" in card and '"train.batch"' in card and "No license of the data is recorded" in card
    assert set(load_file(folder / "model.safetensors")) == {
        name for name in load_file(folder / "model.safetensors") if name.split(".")[0] in model.weights}


def test_a_classifier_is_exported_too(short_run, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    exported = imggen_jax.load(imggen_jax.export(short_run("classifier"), tmp_path / "out"))
    np.testing.assert_array_equal(exported.classify(images), imggen_jax.load(short_run("classifier")).classify(images))
    with pytest.raises(RunError, match="is a classifier and cannot generate images"):
        imggen_jax.export(short_run("classifier"), tmp_path / "more", stablehlo=True)


def test_float16_halves_the_file_and_changes_little(short_run, tmp_path):
    run = short_run("vae")
    whole, half = (imggen_jax.export(run, tmp_path / dtype, dtype=dtype) for dtype in ("float32", "float16"))
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (whole, half)]
    assert sizes[1] < 0.7 * sizes[0]
    one, other = (imggen_jax.load(folder).sample(num=4).astype(int) for folder in (whole, half))
    assert np.abs(one - other).max() <= 4


@pytest.mark.parametrize("game", ["vae", "gan"])
def test_the_program_takes_any_number_of_seeds_and_gives_the_same_images(game, short_run, tmp_path):
    folder = imggen_jax.export(short_run(game), tmp_path / "out", stablehlo=True)
    program = export.deserialize((folder / "model.stablehlo").read_bytes())
    assert set(program.platforms) == {"cpu", "cuda", "tpu"}
    model = imggen_jax.load(folder)
    for seeds in ([3], [7, 1, 250]):
        arguments = [np.array(seeds, np.uint32)]
        given = {}
        if model.generator.needs:
            given = {"label": [seed % 4 for seed in seeds]}
            arguments.append(np.array(given["label"], np.int32))
        images = np.asarray(program.call(*arguments))
        assert np.abs(images.astype(int) - model.sample(seeds, given)).max() <= 1  # another batch may round otherwise


def test_other_programs_read_the_orbax_checkpoint(short_run, tmp_path):
    import orbax.checkpoint as ocp

    folder = imggen_jax.export(short_run("vae"), tmp_path / "out", orbax=True)
    with ocp.StandardCheckpointer() as checkpointer:
        weights = checkpointer.restore(folder / "orbax")
    jax.tree.map(np.testing.assert_array_equal, weights, dict(imggen_jax.load(short_run("vae")).weights))


def test_an_export_of_another_version_is_one_line(short_run, tmp_path):
    from imggen_jax.storage import manifest

    folder = imggen_jax.export(short_run("vae"), tmp_path / "out")
    facts = json.loads((folder / "model.json").read_text())
    for change in ({"format": 99}, {"config": {}}, {"spec": {"image": 3}}):
        (folder / "model.json").write_text(json.dumps({**facts, **change}))
        manifest.write(folder, ("model.safetensors", "model.json"))
        with pytest.raises(RunError, match="is of another version of imggen_jax") as error:
            imggen_jax.load(folder)
        assert "\n" not in str(error.value)


# The larger scales of a model are made like the first: left to `make test-all`.
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.slow if name in ("upscale_x3", "upscale_x4") else ()) for name in zoo.names()])
def test_a_shipped_model_is_whole_small_and_has_a_card(name):
    model, folder = imggen_jax.load(name), zoo.find(name)
    rng = np.random.default_rng(0)
    given = {field: rng.integers(0, 256, (2, *model.spec[field].shape), np.uint8) if model.spec[field].is_image
             else rng.integers(2, 2 + len(model.spec[field].names), (2, *model.spec[field].shape), np.int32)
             for field in model.generator.needs}
    images = model.sample(num=2, given=given)
    assert images.dtype == np.uint8 and images.std() > 10
    assert sum(path.stat().st_size for path in folder.rglob("*")) <= 10_000_000
    card = (folder / "README.md").read_text()
    assert all(heading in card for heading in ("## Data", "## Recipe", "## Scores")) and "icense" in card


def test_a_name_close_to_a_shipped_model_is_suggested():
    for name in zoo.names():
        with pytest.raises(RunError, match=f"did you mean the model '{name}'"):
            imggen_jax.load(f"{name}x")
