"""Two processes of one run, on streamed data: they end with the bits of one process, one that is lost is named by the
other, the restart continues."""
import json
import os
import shutil
import signal
import socket
import time

import pytest
import shell

from imggen_jax.training import watchdog

GRACE = 60  # seconds, generous: the other one is to leave within one or two


def with_devices(number):
    """The environment of a process that has so many."""
    return {**os.environ, "XLA_FLAGS": shell.flags(number)}


def start_two(config, workdir, *words):
    """A run of two processes with one device each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return [shell.start("--config", config, "--workdir", workdir, "--coordinator", address, "--processes", 2,
                        "--process", i, *words, env=with_devices(1)) for i in range(2)]


def ends(processes):
    try:
        said = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], said


def wait_for(workdir, processes, lines):
    """Until so many lines of metrics are there."""
    path = workdir / "metrics.jsonl"
    while all(process.poll() is None for process in processes) and not (
            path.exists() and path.read_text().count("\n") >= lines):
        time.sleep(0.001)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Long enough to be interrupted, and once to its end."""
    folder = tmp_path_factory.mktemp("watchdog")
    content = shell.config("vae", data={"memory": "stream"}, devices={"count": 0}, train={"images": 2_000},
                           ema={"halflife": 100},
                           log={"every": 80, "evaluate": 1_000, "show": 10_000, "save": 400, "keep": 2})
    config = shell.write_config(folder / "configs" / "two.py", content)
    codes, said = ends(start_two(config, folder / "whole"))
    assert codes == [0, 0], said
    return config, folder / "whole"


def sha(workdir):
    result = shell.call("describe", "--workdir", workdir)
    assert result.code == 0, result.err
    return json.loads(result.out)["sha256"]


def resumed(run, workdir):
    codes, said = ends(start_two(run[0], workdir))
    assert codes == [0, 0], said
    assert sha(workdir) == sha(run[1])


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["stream", "resident"])
def test_two_processes_end_with_the_bits_of_one_with_two_devices(run, memory, tmp_path):
    one = shell.start("--config", run[0], "--workdir", tmp_path / "run", f"--config.data.memory={memory}",
                      env=with_devices(2))
    codes, said = ends([one])
    assert codes == [0], said
    assert json.loads((tmp_path / "run" / "run.json").read_text())["devices"].startswith("2 x")
    assert sha(tmp_path / "run") == sha(run[1])


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_that_is_lost_is_named_and_the_restart_goes_on(run, lost, tmp_path):
    processes = start_two(run[0], tmp_path / "run")
    wait_for(tmp_path / "run", processes, 7)
    processes[lost].kill()
    begun = time.monotonic()
    codes, said = ends(processes)
    assert time.monotonic() - begun < GRACE
    assert codes[lost] == -signal.SIGKILL
    # JAX aborts by itself if it is quicker than we are, which happens when the first process is lost.
    assert codes[1 - lost] == watchdog.LOST or (lost == 0 and codes[1] == -signal.SIGABRT), said
    assert f"error: process {lost} of 2 was lost" in said[1 - lost] or codes[1] == -signal.SIGABRT
    resumed(run, tmp_path / "run")


@pytest.mark.slow
def test_two_processes_save_at_the_same_step(run, tmp_path):
    processes = start_two(run[0], tmp_path / "run")
    wait_for(tmp_path / "run", processes, 7)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    codes, said = ends(processes)
    assert codes == [143, 143], said
    at = [line for text in said for line in text.splitlines() if line.startswith("Stopped by SIGTERM at")]
    assert len(at) == 2 and len(set(at)) == 1
    resumed(run, tmp_path / "run")


@pytest.mark.slow
def test_a_second_run_of_two_processes_is_refused(run, tmp_path):
    shutil.copytree(run[1], tmp_path / "run")
    first = start_two(run[0], tmp_path / "run", "--config.train.images=20000")
    wait_for(tmp_path / "run", first, 60)
    codes, said = ends(start_two(run[0], tmp_path / "run", "--config.train.images=20000"))
    assert codes[0] == 2 and f"is in use by process {first[0].pid} on" in said[0]
    assert codes[1] in (watchdog.LOST, -signal.SIGABRT)
    for process in first:
        process.kill()
    ends(first)
