"""The command: what it refuses before anything starts, keys that it makes, ports that are taken, and its end."""
import importlib.util
import os
import re
import signal
import socket
import subprocess

import httpx
import pytest
import shell

from imggen_jax import ports
from imggen_jax.errors import RunError
from imggen_jax.serving import running
from imggen_jax.serving.running import Wanted


@pytest.fixture
def taken():
    """A port at which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        yield held.getsockname()[1]


def test_a_port_that_is_taken_is_named_with_its_holder_and_a_free_one(taken):
    result = shell.call("serve", "--models", "avatars_32", "--port", taken)
    found = re.fullmatch(rf"error: port {taken} is taken by (\S+) \(process (\d+)\); choose another: --port (\d+)\n",
                         result.err)
    assert result.code == 2 and found and int(found[2]) == os.getpid()
    with socket.create_server(("127.0.0.1", int(found[3]))):
        pass


def test_a_holder_that_cannot_be_seen_is_another_program(taken, monkeypatch):
    monkeypatch.setattr(ports, "holder", lambda port: None)
    with pytest.raises(RunError, match=f"port {taken} is taken by another program; choose another: --port"):
        running.serve(Wanted(port=taken), print)


@pytest.mark.parametrize("words, said", [
    (["--host", "0.0.0.0"], "--host 0.0.0.0 is reached by others, so that keys are needed: there are no keys in"),
    (["--host", "::", "--keys", "no.json"], "keys are needed: there are no keys in no.json; make one"),
    (["--keys", "no.json"], "there are no keys in no.json; make one: imggen serve --add-key NAME"),
    (["--host", "no.such.host.example"], "keys are needed"),
    (["--models", "nobody", "--port", "0"], "nobody is neither"),
    (["--models", "a,,b"], "names no model"), (["--port", "70000"], "from 0 to 65535"),
    (["--queue", "0"], "at least 1"), (["--memory", "nan"], "above 0"), (["--seconds", "0"], "above 0"),
    (["--memory", "0.001", "--models", "avatars_32", "--port", "0"], "allow more"), (["--quota", "3"], "--add-key"),
    (["--add-key", ""], "is empty"), (["--prot", "1"], "did you mean --port?")])
def test_what_cannot_be_is_refused_in_one_line(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMGGEN_JAX_CONFIG", str(tmp_path / "config"))
    result = shell.call("serve", *words)
    assert result.code == 2 and said in result.err and result.err.count("\n") == 1, result
    assert result.err.startswith("error: ")


def test_a_key_is_printed_once(tmp_path):
    result = shell.call("serve", "--add-key", "ann", "--quota", 5, "--keys", tmp_path / "keys.json")
    assert result.code == 0 and re.fullmatch(r"sk-imggen-\S{43}\n", result.out) and "hash" in result.err
    assert result.out.strip() not in (tmp_path / "keys.json").read_text()


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else True)
    result = shell.call("serve")
    assert result.code == 2 and result.err == (
        "error: the service needs uvicorn, which is not installed: pip install 'imggen_jax[studio]'\n")


def test_a_policy_that_cannot_be_read_stops_the_start(tmp_path, monkeypatch):
    (tmp_path / "policy.toml").write_text("refuse = 3")
    monkeypatch.setenv("IMGGEN_JAX_POLICY", str(tmp_path / "policy.toml"))
    result = shell.call("serve", "--models", "avatars_32", "--port", "0")
    assert result.code == 2 and "has refuse = 3; write a table" in result.err


@pytest.mark.slow
def test_a_killed_service_leaves_nothing_that_the_next_one_does_not_clear(tmp_path):
    environment = {**os.environ, "IMGGEN_JAX_CACHE": str(tmp_path)}

    def started():
        process = subprocess.Popen(shell.command("serve", "--models", "avatars_32", "--port", "0"), text=True,
                                   cwd=shell.REPOSITORY, stdout=subprocess.PIPE, env=environment)
        return process, re.search(r"http://[\d.]+:\d+", process.stdout.readline())[0]

    process, address = started()
    answer = httpx.post(f"{address}/v1/images/generations", json={"prompt": "", "response_format": "url"}, timeout=300)
    assert answer.status_code == 200 and len(list((tmp_path / "service").glob("run_*"))) == 1
    process.kill()
    process.wait(60)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{address}/healthz")
    process, address = started()
    assert len(list((tmp_path / "service").glob("run_*"))) == 1
    assert httpx.get(f"{address}/healthz", timeout=60).json() == {"status": "ok"}
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0 and not list((tmp_path / "service").glob("run_*"))
