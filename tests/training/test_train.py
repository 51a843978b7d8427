"""The life of a run: what it writes, that it is resumed to the bit, and how it ends when something goes wrong."""
import json
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import shell

from imggen_jax import data
from imggen_jax.config import check
from imggen_jax.data import decoding
from imggen_jax.storage import checkpoint
from imggen_jax.training import loop, train

LINES = [2, 4, 6, 8, 10]  # rounds after which a line of metrics is due


def lines(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def values(workdir: Path) -> list[dict]:
    """The lines of metrics without what the clock decides."""
    return [{key: value for key, value in line.items() if key not in ("seconds", "cpu_seconds", "images_per_second")}
            for line in lines(workdir)]


def described(workdir: Path) -> dict:
    result = shell.call("describe", "--workdir", workdir)
    assert result.code == 0, result.err
    return json.loads(result.out)


@pytest.fixture
def run(request):
    return request.getfixturevalue(request.param)


both = pytest.mark.parametrize("run", ["vae", "gan"], indirect=True)


@both
def test_a_run_ends_with_one_done_and_says_how_to_make_pictures(run):
    assert run.result.code == 0, run.result.err
    assert run.result.out.count("Done.") == 1
    assert f"generate --model {run.workdir}" in run.result.out
    assert not re.search("warn|traceback|absl", run.result.err, re.IGNORECASE)


@both
def test_everything_that_a_run_writes_is_there(run):
    names = {path.name for path in run.workdir.iterdir()}
    assert names == {"checkpoints", "config.json", "data.json", "metrics.jsonl", "pictures", "report.html", "run.json",
                     "tensorboard"}
    assert {int(path.name) for path in (run.workdir / "checkpoints").iterdir()} == {8, 10}
    assert next((run.workdir / "tensorboard").glob("events.out.tfevents.*")).stat().st_size > 1000
    assert "</html>" in (run.workdir / "report.html").read_text()
    facts = json.loads((run.workdir / "data.json").read_text())
    labels = [] if run.workdir.parent.name.startswith("vae") else list(shell.LABELS)
    assert facts["examples"] == shell.TRAIN and facts["spec"]["image"]["shape"] == [16, 16, 3]
    assert facts["spec"].get("label", {"names": []})["names"] == labels
    assert set(json.loads((run.workdir / "run.json").read_text())) == {"players", "devices", "versions", "seed"}


def test_a_vae_shows_samples_and_reconstructions_and_its_elbo_on_held_out_pictures(vae):
    names = {path.stem for path in (vae.workdir / "pictures").iterdir()}
    assert names == {f"{kind}_{images:09d}" for kind in ("samples", "reconstructions") for images in (40, 80)}
    assert [line["step"] for line in lines(vae.workdir) if "test/elbo" in line] == [6, 10]


@both
def test_each_interval_is_one_line_of_metrics(run):
    trained = [line for line in lines(run.workdir) if "seconds" in line]
    assert [line["step"] for line in trained] == LINES
    assert [line["images"] for line in trained] == [8 * step for step in LINES]
    players = described(run.workdir)["config"]["players"]
    assert all({f"{who}/loss", f"{who}/grad_norm"} <= set(line) for line in trained for who in players)


@both
def test_describe_says_what_a_run_is(run):
    facts = described(run.workdir)
    assert set(facts) == {"step", "images", "parameters", "sha256", "config"}
    assert (facts["step"], facts["images"]) == (10, 80)
    assert re.fullmatch("[0-9a-f]{64}", facts["sha256"])
    assert facts["config"] == json.loads((run.workdir / "config.json").read_text())
    assert all(number > 100 for number in facts["parameters"].values())


@both
def test_a_complete_run_is_left_alone(run):
    before = shell.contents(run.workdir)
    again = shell.call("--config", run.config, "--workdir", run.workdir)
    assert again.code == 0
    assert "is complete: 80 images" in again.err
    assert shell.contents(run.workdir) == before


def test_a_report_that_a_kill_prevented_is_written_by_the_next_start(vae, tmp_path):
    shutil.copytree(vae.workdir, tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    assert shell.call("--config", vae.config, "--workdir", tmp_path / "run").code == 0
    assert "</html>" in (tmp_path / "run" / "report.html").read_text()


def test_a_longer_run_goes_on_from_a_shorter_one_with_other_rounds_in_a_call(vae, tmp_path):
    workdir = tmp_path / "run"
    common = ("--config", vae.config, "--workdir", workdir)
    assert shell.call(*common, "--config.train.images=24").code == 0  # 3 rounds: not a multiple of 2
    result = shell.call(*common, "--config.train.images=80", "--config.devices.steps_per_call=2")
    assert result.code == 0 and "Resuming" in result.err and "at 24 images" in result.err
    assert described(workdir)["step"] == 11
    assert [line["step"] for line in lines(workdir) if "seconds" in line] == [2, 3, 5, 7, 9, 11]


@pytest.mark.parametrize(("run", "streamed"), [
    pytest.param("gan", 80, marks=pytest.mark.slow), ("vae", 48)], indirect=["run"])
def test_a_streamed_run_ends_with_the_bits_of_a_resident_one_even_if_taken_up_resident(run, streamed, tmp_path):
    workdir = tmp_path / "run"
    common = ("--config", run.config, "--workdir", workdir)
    for images, memory in ((streamed, "stream"), (80, "resident")):
        assert shell.call(*common, f"--config.train.images={images}", f"--config.data.memory={memory}").code == 0
    assert described(workdir)["sha256"] == described(run.workdir)["sha256"]
    assert values(workdir) == values(run.workdir)
    # A run that ends at 48 images shows them too.
    assert shell.contents(run.workdir / "pictures").items() <= shell.contents(workdir / "pictures").items()
    assert (workdir / "data.json").read_bytes() == (run.workdir / "data.json").read_bytes()


def test_processes_share_every_batch_without_overlap(monkeypatch):
    whole = data.from_arrays(image=np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1))
    settings = check(shell.config("vae", devices={"steps_per_call": 2}))
    run = SimpleNamespace(settings=settings, train_set=whole, steps=7)
    monkeypatch.setattr(loop.jax, "process_count", lambda: 4)
    shares = []
    for process in range(4):
        monkeypatch.setattr(loop.jax, "process_index", lambda: process)
        shares.append(list(loop._batches(run, 2)))
    assert [len(share) for share in shares] == [3] * 4  # steps 2 to 7, and one more to fill the last call
    for call, parts in enumerate(zip(*shares)):
        got = np.concatenate([part["image"] for part in parts], axis=1)[..., 0, 0, 0]
        assert got.tolist() == [data.batch_indices(50, seed=0, step=2 + 2 * call + i, batch=8).tolist()
                                for i in range(2)]


def test_a_broken_picture_that_is_met_while_streaming_ends_the_run_in_one_line(tmp_path, monkeypatch):
    content = shell.config("vae", data={"memory": "stream"}, log={"save": 16})
    config = shell.write_config(tmp_path / "configs" / "broken.py", content)
    decode, seen = decoding.decode, []

    def one_is_broken(source, column, index, encoded):
        seen.append(index)
        return decode(source, column, index, encoded if len(seen) < 60 else b"garbage")

    monkeypatch.setattr(decoding, "decode", one_is_broken)
    result = shell.call("--config", config, "--workdir", tmp_path / "run")
    assert result.code == 2
    assert re.search(r"^error: example \d+ of small:1.0.0, split '.*' cannot be read \(UnidentifiedImageError",
                     result.err.splitlines()[-1]), result.err
    monkeypatch.undo()
    assert shell.call("--config", config, "--workdir", tmp_path / "run").code == 0


def test_a_run_is_not_resumed_on_other_pictures(vae, tmp_path):
    shutil.copytree(vae.workdir, tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "data.json").read_text())
    (tmp_path / "run" / "data.json").write_text(json.dumps({**facts, "fingerprint": "0" * 64}))
    before = shell.contents(tmp_path / "run")
    result = shell.call("--config", vae.config, "--workdir", tmp_path / "run", "--config.train.images=160")
    assert result.code == 2 and "the images of 'small' are not those" in result.err
    assert shell.contents(tmp_path / "run") == before


# The moments of a kill, seen from outside: what has just appeared in the folder.
MOMENTS = {
    "while compiling": lambda workdir: (workdir / "config.json").exists(),
    "after some rounds": lambda workdir: (workdir / "metrics.jsonl").exists()
    and (workdir / "metrics.jsonl").read_text().count("\n") >= 1,
    "while saving": lambda workdir: any((workdir / "checkpoints").glob("*.partial")),
    "after a save": lambda workdir: any((workdir / "checkpoints" / step).exists() for step in ("4", "8")),
}


def kill(run, workdir: Path, arrived) -> None:
    """Start the run and kill -9 it as soon as a moment has come."""
    process = shell.start("--config", run.config, "--workdir", workdir)
    deadline = time.monotonic() + 120
    while not arrived(workdir) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)
    process.kill()
    process.communicate()


def same(run, workdir: Path) -> None:
    """Run to the end, and compare with the run that was never interrupted."""
    result = shell.call("--config", run.config, "--workdir", workdir)
    assert result.code == 0, result.err
    assert described(workdir)["sha256"] == described(run.workdir)["sha256"]
    assert values(workdir) == values(run.workdir)
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"8", "10"}
    assert shell.contents(workdir / "pictures") == shell.contents(run.workdir / "pictures")


@pytest.mark.parametrize(("run", "moments"), [
    ("vae", ("while compiling", "while saving")),
    pytest.param("gan", ("after some rounds", "while saving"), marks=pytest.mark.slow)], indirect=["run"])
def test_a_run_that_is_killed_ends_with_the_same_bits(run, moments, tmp_path):
    for moment in moments:
        kill(run, tmp_path / "run", MOMENTS[moment])
    same(run, tmp_path / "run")


@pytest.mark.slow
@both
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_that_is_killed_at_one_moment_ends_with_the_same_bits(run, moment, tmp_path):
    kill(run, tmp_path / "run", MOMENTS[moment])
    same(run, tmp_path / "run")


@pytest.mark.slow
@both
@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_is_killed_at_random_moments_ends_with_the_same_bits(run, seed, tmp_path):
    chance = random.Random(seed)
    for _ in range(4):
        begun, wait = time.monotonic(), chance.uniform(1, 8)
        kill(run, tmp_path / "run", lambda workdir: time.monotonic() - begun > wait)
    same(run, tmp_path / "run")


@pytest.mark.parametrize(("run", "number", "code"), [
    ("vae", signal.SIGTERM, 143), pytest.param("gan", signal.SIGINT, 130, marks=pytest.mark.slow)], indirect=["run"])
def test_a_signal_saves_and_says_so_and_the_run_resumes_with_the_same_bits(run, number, code, tmp_path):
    workdir = tmp_path / "run"
    process = shell.start("--config", run.config, "--workdir", workdir)
    while not MOMENTS["after some rounds"](workdir) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(number)
    err = process.communicate(timeout=300)[1]
    assert process.returncode == code, err
    assert "Stopping: saving first" in err
    assert re.search(rf"Stopped by {number.name} at \d+ images; all is saved. The same command goes on", err)
    assert "Traceback" not in err
    step = checkpoint.steps(workdir)[-1]
    assert 0 < step < 10 and f"at {8 * step} images" in err
    result = shell.call("--config", run.config, "--workdir", workdir)
    assert result.code == 0 and f"Resuming {workdir} at {8 * step} images" in result.err
    assert described(workdir)["sha256"] == described(run.workdir)["sha256"]
    assert values(workdir) == values(run.workdir)
    assert shell.contents(workdir / "pictures") == shell.contents(run.workdir / "pictures")


# A discriminator of absurd parameters is noticed in the same round: by the generator, whose move comes after its own.
@pytest.mark.parametrize(("game", "wild", "named"), [
    ("vae", "vae", "vae"), pytest.param("gan", "discriminator", "generator", marks=pytest.mark.slow)])
def test_a_run_that_diverges_stops_and_its_checkpoint_is_good(game, wild, named, tmp_path):
    content = shell.config(game, log={"every": 8, "save": 8})
    # The warm-up makes the first round harmless; what the second one does to the parameters, the third one sees.
    content["players"][wild] |= {"optimizer": "sgd", "learning_rate": 1e38, "warmup": 16}
    content["players"][wild].pop("b1")
    config = shell.write_config(tmp_path / "configs" / "wild.py", content)
    common = ("--config", config, "--workdir", tmp_path / "run")
    first = shell.call(*common)
    assert first.code == 1
    told = first.err.splitlines()[-1]
    assert re.search(rf"^diverged: step \d+: the (loss|gradient norm) of {named} is (nan|-?inf); the update was not "
                     r"applied, the run has stopped, and the checkpoint of step \d+ is intact", told), told
    assert "Traceback" not in first.err and not first.out
    before, kept = described(tmp_path / "run"), shell.contents(tmp_path / "run" / "checkpoints")
    assert before["step"] >= 1
    second = shell.call(*common)
    assert second.code == 1 and second.err.splitlines()[-1] == told
    assert described(tmp_path / "run") == before
    assert shell.contents(tmp_path / "run" / "checkpoints") == kept
    # What the message advises is accepted, and goes on from the checkpoint; that of the VAE holds what the wild update
    # made, so what is advised for that case has to work.
    advised = re.findall(r"--config\.players\.\w+\.learning_rate=\S+\d", told)
    assert len(advised) == len(content["players"]) and "it continues from there; if it stops at this step again" in told
    calm = [re.sub("=.*", "=1e-5", word) for word in advised]
    third = shell.call(*common, *calm)
    assert "Resuming" in third.err and f"players.{wild}.learning_rate: 1e+38 before" in third.err
    if third.code != 0:
        assert game == "vae" and third.err.splitlines()[-1].startswith("diverged: step 2: ")
        assert shell.call("--config", config, "--workdir", tmp_path / "another", *calm).code == 0


def test_a_device_without_enough_memory_is_told_with_the_batch_and_what_to_change():
    settings = SimpleNamespace(train=SimpleNamespace(batch=4096, dtype="float32"))
    with pytest.raises(train.RunError, match=r"out of memory: .* config.train.batch = 4096 .*smaller batch.*bfloat16"):
        with train._memory_explained(settings, jax.devices()):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        with train._memory_explained(settings, jax.devices()):
            raise jax.errors.JaxRuntimeError("INTERNAL: something else")


def limited(run, workdir: Path, kilobytes: int, *words) -> subprocess.CompletedProcess:
    """The run in a process whose files can only grow to so much: metrics fit, checkpoints do not."""
    line = " ".join(shell.command("--config", run.config, "--workdir", workdir, *words))
    return subprocess.run(["bash", "-c", f"ulimit -f {kilobytes}; exec {line}"], cwd=shell.REPOSITORY,
                          capture_output=True, text=True, timeout=300)


def test_a_run_that_cannot_save_says_so_trains_to_its_end_and_fails_clearly(vae, tmp_path):
    workdir = tmp_path / "run"
    done = limited(vae, workdir, 24)
    assert done.returncode == 1 and not done.stdout, done
    told = done.stderr.splitlines()
    folder = workdir / "checkpoints"
    assert told[-1] == (f"error: a checkpoint cannot be written to {folder} (File too large); nothing has been saved "
                        "yet. Make room or change the folder's permissions, then run the same command again")
    warnings = [line for line in told if line.startswith(f"warning: a checkpoint cannot be written to {folder}")]
    assert len(warnings) == 3 and "80 of 80 images" in done.stderr  # after rounds 4, 8 and 10
    assert not re.search("absl|Traceback", done.stderr) and not list(folder.iterdir())
    result = shell.call("--config", vae.config, "--workdir", workdir)
    assert "has been trained in, but nothing was saved yet: starting from the beginning" in result.err
    same(vae, workdir)


def test_earlier_checkpoints_outlive_a_full_disk(vae, tmp_path):
    workdir = tmp_path / "run"
    assert shell.call("--config", vae.config, "--workdir", workdir, "--config.train.images=32").code == 0
    kept = shell.contents(workdir / "checkpoints")
    done = limited(vae, workdir, 24)
    assert done.returncode == 1
    assert "the checkpoint of step 4 is intact. Make room" in done.stderr.splitlines()[-1]
    assert shell.contents(workdir / "checkpoints") == kept
    assert shell.call("--config", vae.config, "--workdir", workdir).code == 0
    assert described(workdir) == described(vae.workdir)


def test_a_signal_before_anything_was_trained_leaves_at_once(vae, tmp_path):
    workdir = tmp_path / "run"
    process = shell.start("--config", vae.config, "--workdir", workdir)
    while not MOMENTS["while compiling"](workdir) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    err = process.communicate(timeout=300)[1]
    assert process.returncode == 143
    assert "Stopped by SIGTERM before anything was trained that is not saved" in err and "Traceback" not in err
    same(vae, workdir)


@pytest.mark.parametrize("damage", ["flip", "empty"])
def test_a_run_goes_on_from_the_newest_good_checkpoint(vae, tmp_path, damage):
    workdir = tmp_path / "run"
    shutil.copytree(vae.workdir, workdir)
    newest = workdir / "checkpoints" / "10"
    if damage == "flip":
        file = newest / "state.npz"
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    else:
        shutil.rmtree(newest)
        newest.mkdir()
    result = shell.call("describe", "--workdir", workdir)
    assert result.code == 0 and json.loads(result.out)["step"] == 8
    assert f"checkpoint {newest} is damaged" in result.err and "using the one of step 8" in result.err
    assert newest.exists()
    result = shell.call("--config", vae.config, "--workdir", workdir)
    assert result.code == 0 and "moved to damaged-10, using the one of step 8" in result.err
    assert described(workdir) == described(vae.workdir)
    assert (workdir / "checkpoints" / "damaged-10").is_dir()
    assert values(workdir) == values(vae.workdir)


def test_a_second_run_in_a_folder_is_refused(vae, tmp_path):
    workdir = tmp_path / "run"
    process = shell.start("--config", vae.config, "--workdir", workdir)
    while not (workdir / "config.json").exists() and process.poll() is None:
        time.sleep(0.001)
    result = shell.call("--config", vae.config, "--workdir", workdir)
    assert result.code == 2 and result.out == ""
    assert result.err == (f"error: {workdir} is in use by process {process.pid} on {socket.gethostname()}; wait for "
                          "it, stop it, or choose another --workdir\n")
    process.kill()  # its lock dies with it
    process.communicate()
    same(vae, workdir)
    assert not (workdir / ".lock").exists()
