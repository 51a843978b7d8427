"""Two kinds of model that only tests contain go the whole way: a folder, training, resuming, showing, loading,
sampling, exporting. A line outside of tests/toys that knew of them would be a fault of the core."""
import json
import shutil

import jax
import numpy as np
import pytest
import shell
import tiny
from PIL import Image

import imggen_jax
from imggen_jax.errors import RunError
from imggen_jax.storage import checkpoint
from imggen_jax.training.saved import open_run

COLORS = ("red", "blue")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 pairs of 16x16 with masks and captions: B is the inverse of A in one of two colors."""
    root, rng = tmp_path_factory.mktemp("toys") / "pairs", np.random.default_rng(0)
    for name in ("A", "B", "mask"):
        (root / name).mkdir(parents=True)
    for i in range(24):
        image = np.zeros((16, 16, 3), np.uint8)
        image[..., 2 * (i % 2)] = rng.integers(80, 256, (4, 4)).repeat(4, 0).repeat(4, 1)
        Image.fromarray(image).save(root / "B" / f"{i}.png")
        Image.fromarray(255 - image).save(root / "A" / f"{i}.png")
        Image.fromarray(np.uint8(255 * (np.indices((16, 16))[1] > i % 8))).save(root / "mask" / f"{i}.png")
        (root / "B" / f"{i}.txt").write_text(f"a {COLORS[i % 2]} square")
    return root


def config(toy, folder, **data):
    spec = tiny.richest(toy)
    made = tiny.config(toy, "plain", spec, steps_per_call=1)
    made["data"] = {"folder": str(folder), "pairs": "aligned", "size": 16, "split": "train[:20]", "test": "train[20:]",
                    "flip": True, "memory": "resident", **data}
    made["train"] |= {"images": 80}
    made["log"] = {"every": 16, "evaluate": 48, "show": 40, "save": 32, "keep": 2, "keep_every": 0}
    return made


KINDS = {"toys.translator": {"fields": ("image", "source", "mask")}, "toys.texts": {"text": "words:6"}}


@pytest.fixture(scope="module")
def runs(folder, tmp_path_factory):
    """{toy: (config file, folder of a run that was interrupted once)}"""
    root, made = tmp_path_factory.mktemp("runs"), {}
    for toy, data in KINDS.items():
        file = shell.write_config(root / f"{toy}.py", config(toy, folder, **data))
        workdir = root / toy
        for images in (32, 80):
            result = shell.call("--config", file, "--workdir", workdir, f"--config.train.images={images}")
            assert result.code == 0, result.err
        assert "Resuming" in result.err
        made[toy] = file, workdir
    return made


@pytest.mark.parametrize("toy", KINDS)
def test_a_resumed_run_has_the_bits_of_one_that_was_not_interrupted_streamed_or_not(toy, runs, tmp_path):
    file, workdir = runs[toy]
    whole = shell.call("--config", file, "--workdir", tmp_path / "whole", "--config.data.memory=stream")
    assert whole.code == 0, whole.err
    assert imggen_jax.describe(workdir)["sha256"] == imggen_jax.describe(tmp_path / "whole")["sha256"]


@pytest.mark.parametrize("toy", KINDS)
def test_a_run_logs_and_shows(toy, runs):
    workdir = runs[toy][1]
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert any(f"{'translator' if 'translator' in toy else 'flow'}/loss" in line for line in lines)
    assert any("test/mse" in line for line in lines) == (toy == "toys.translator")
    assert list((workdir / "pictures").glob("*samples*")) and (workdir / "report.html").is_file()


def given_of(toy, n):
    if toy == "toys.texts":
        return {"text": [f"a {COLORS[i % 2]} square" for i in range(n)]}
    rng = np.random.default_rng(1)
    return {"source": rng.integers(0, 256, (n, 16, 16, 3), np.uint8), "mask": np.full((n, 16, 16, 1), 255, np.uint8)}


@pytest.mark.parametrize("toy", KINDS)
def test_a_loaded_model_samples_what_its_export_does(toy, runs, tmp_path):
    model = imggen_jax.load(runs[toy][1])
    given = given_of(toy, 5)
    images = model.sample(range(7, 12), given)
    assert images.shape == (5, 16, 16, 3) and len(np.unique(images, axis=0)) == 5
    alone = {name: value[2:3] for name, value in given.items()}
    np.testing.assert_array_equal(model.sample([9], alone)[0], images[2])
    exported = imggen_jax.load(imggen_jax.export(runs[toy][1], tmp_path / "out"))
    np.testing.assert_array_equal(exported.sample(range(7, 12), given), images)
    with pytest.raises(RunError, match="this model needs"):
        model.sample(num=1)


def test_options_and_unknown_fields_are_checked(runs):
    model = imggen_jax.load(runs["toys.texts"][1])
    few, many = (model.sample([1], {"text": "a red square"}, steps=steps) for steps in (1, 8))
    assert np.any(few != many)
    for options, said in (({"steps": 0}, "steps is 0; it must be a whole number from 1 to 50"),
                          ({"steps": 2.5}, "steps is 2.5"), ({"guidance": -1.0}, "guidance is -1.0"),
                          ({"speed": 3}, "'speed' is unknown to this model; it has truncation, steps, guidance")):
        with pytest.raises(RunError, match=said):
            model.sample([1], {"text": "a red square"}, **options)
    with pytest.raises(RunError, match="'source' is given, but this model does not need it; it takes text"):
        model.sample([1], {"text": "x", "source": np.zeros((16, 16, 3), np.uint8)})


def test_generate_takes_fields_and_options_from_the_command_line(runs, tmp_path):
    result = shell.call("generate", "--model", runs["toys.texts"][1], "--num", 2, "--given", "text=a blue square",
                        "--option", "steps=2", "--out", tmp_path)
    assert result.code == 0 and (tmp_path / "grid.png").is_file(), result.err
    recalled = shell.call("recall", tmp_path / "000001.png", "--model", runs["toys.texts"][1],
                          "--out", tmp_path / "again")
    assert '"same": true' in recalled.out, recalled.err


def test_a_pretrained_network_stands_beside_the_state_and_is_checked_on_resume(runs, short_run, folder, tmp_path):
    features = shutil.copytree(short_run("classifier"), tmp_path / "features")
    made = config("toys.translator", folder, **KINDS["toys.translator"])
    made["pretrained"] = {"features": {"workdir": str(features)}}
    file, workdir = shell.write_config(tmp_path / "with.py", made), tmp_path / "run"
    assert shell.call("--config", file, "--workdir", workdir, "--config.train.images=32").code == 0
    run = open_run(workdir)
    assert set(run.state.params) == set(run.state.opt) == set(run.state.average) == {"translator"}
    assert set(run.weights) == {"translator", "features"}
    sha256 = checkpoint.fingerprint(imggen_jax.load(features).weights)
    assert json.loads((workdir / "pretrained.json").read_text()) == {"features": {"sha256": sha256}}
    # It matters, and exports go without the run that it came from.
    assert run.state.params["translator"].keys() and not _same(run, open_run(runs["toys.translator"][1]))
    for dtype in ("float32", "float16"):
        imggen_jax.export(workdir, tmp_path / dtype, dtype=dtype)
    shutil.move(features, tmp_path / "elsewhere")
    given = given_of("toys.translator", 2)
    for dtype in ("float32", "float16"):
        assert imggen_jax.load(tmp_path / dtype).sample([1, 2], given).shape == (2, 16, 16, 3)
    result = shell.call("--config", file, "--workdir", workdir)
    assert result.code == 2 and "config.pretrained.features: " in result.err and result.err.count("\n") == 1
    # Another network in its place is refused.
    imggen_jax.train({**shell.config("classifier", train={"images": 16}), "seed": 3}, features)
    result = shell.call("--config", file, "--workdir", workdir)
    assert result.code == 2 and "config.pretrained.features has changed since" in result.err.splitlines()[-1]


def _same(one, other):
    return all(map(np.array_equal, jax.tree.leaves(one.state.params), jax.tree.leaves(other.state.params)))


@pytest.mark.parametrize(("entry", "said"), [
    ({"weights": "nonsense"}, "nonsense"), ({"workdir": "nowhere"}, "nowhere"),
    ({"path": "x"}, "unknown key config.pretrained.features.path; known are weights, workdir"),
])
def test_a_pretrained_network_that_cannot_be_loaded_is_one_line(entry, said, folder, tmp_path):
    made = config("toys.translator", folder, **KINDS["toys.translator"])
    made["pretrained"] = {"features": entry}
    result = shell.call("--config", shell.write_config(tmp_path / "c.py", made), "--workdir", tmp_path / "run")
    assert result.code == 2 and result.err.splitlines()[-1].startswith("error: ") and said in result.err
    assert "config.pretrained.features" in result.err and not (tmp_path / "run").exists()
    made = shell.config("vae")
    made["pretrained"] = {"features": {"weights": "inception"}}
    result = shell.call("--config", shell.write_config(tmp_path / "d.py", made), "--workdir", tmp_path / "run")
    assert result.code == 2 and "config.pretrained.features" in result.err


@pytest.mark.parametrize("damage", ["missing", "changed", "no manifest"])
def test_an_export_with_a_file_missing_or_changed_is_refused(damage, runs, tmp_path):
    folder = imggen_jax.export(runs["toys.texts"][1], tmp_path / "out")
    file = folder / "model.safetensors"
    if damage == "missing":
        file.unlink()
    elif damage == "changed":
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    else:
        (folder / "SHA256SUMS").unlink()
    with pytest.raises(RunError, match=f"the exported model in {folder} is damaged"):
        imggen_jax.load(folder)
    with pytest.raises(RunError, match="is not empty; choose another --out"):
        imggen_jax.export(runs["toys.texts"][1], folder)
