"""More CPU devices than cores: a run has the threads that its collectives need."""
import os
import subprocess
import sys

import pytest
import shell

from imggen_jax import threads


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(threads, "_cores", lambda: 2)
    monkeypatch.delenv("NPROC", raising=False)
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4 --xla_dump_to=x")
    return monkeypatch


def test_threads_are_missing_only_where_devices_are_forced_and_nproc_is_unset(two_cores):
    assert threads.missing() >= 8
    two_cores.setenv("NPROC", "3")  # the user's choice
    assert threads.missing() == 0
    two_cores.delenv("NPROC")
    for flags in ("--xla_force_host_platform_device_count=2", "", "--xla_force_host_platform_device_count=4 "
                  "--xla_force_host_platform_device_count=1"):  # XLA takes the last one
        two_cores.setenv("XLA_FLAGS", flags)
        assert threads.missing() == 0


def test_a_jax_that_has_started_is_left_alone_and_devices_say_so(two_cores, caplog):
    import jax

    from imggen_jax import devices

    jax.devices()
    threads.provide()
    assert "NPROC" not in os.environ
    devices.choose(0)
    assert "set NPROC=" in caplog.text and "start again" in caplog.text


def environment():
    return {name: value for name, value in os.environ.items() if name != "NPROC"} | {"XLA_FLAGS": shell.flags(4)}


def test_the_import_sets_the_variable_before_jax_starts():
    program = "import jax, imggen_jax, os; print(os.environ.get('NPROC'))"
    command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), sys.executable, "-c", program]
    done = subprocess.run(command, env=environment(), cwd=shell.REPOSITORY, text=True, capture_output=True)
    assert done.stdout == "16\n", done.stderr


@pytest.mark.slow
def test_a_shipped_config_trains_on_more_devices_than_cores(tmp_path):
    """At its own sizes, since XLA starts collectives at once only in large programs: without enough threads they wait
    for each other until XLA ends the process."""
    words = shell.command(
        "--config", "configs/cifar10_gan_small.py", "--workdir", tmp_path / "run", "--config.data.name=small",
        f"--config.data.dir={shell.data_dir()}", "--config.data.size=32", "--config.data.test=test",
        "--config.train.images=640", "--config.score.every=0", "--config.log.every=640",
        "--config.log.show=1000", "--config.log.evaluate=1000")
    two_cores = ["taskset", "-c", ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))]
    done = subprocess.run([*two_cores, *words], env=environment(), cwd=shell.REPOSITORY, text=True, capture_output=True,
                          timeout=600)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").is_file()
