"""One step on any devices: the same run on one and on all, in one process and two, by jit and pmap.

All are two, as many as there are cores wherever tests run; `make test-all` plays the parts of EIGHT on eight as well.
"""
import functools
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import shell
import tiny

from imggen_jax import devices, step
from imggen_jax.config import check
from imggen_jax.errors import ConfigError
from imggen_jax.game import Game, make_spec
from imggen_jax.training.build import build, check_devices

EIGHT = ("tests/test_devices.py", "tests/nets/test_conv.py::test_sharded_over_all_devices",
         "tests/pipelines/test_spreading.py")
ALL = int(os.environ.get("IMGGEN_JAX_TEST_DEVICES", "2"))


def settings(name, variant, **options):
    """A config whose rounds do not amplify rounding. The angles between CUT's features, nearly alike at this size,
    amplify it tenfold a step of the usual length."""
    steady = {**tiny.STEADY, "learning_rate": 1e-6} if name == "unpaired" else tiny.STEADY
    return tiny.config(name, variant, tiny.richest(name), **steady, **options)


def close(a, b, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), a, b)


@functools.cache
def on(name, variant, count, calls=4, **options):
    return tiny.rounds(settings(name, variant, count=count, **options), tiny.richest(name), calls)


@pytest.mark.parametrize(("name", "variant"), tiny.marked(tiny.ON_DEVICES))
def test_one_and_all_devices_play_the_same_twenty_rounds(name, variant):
    state, logs = on(name, variant, 1)
    assert int(state.step) == 20 and state.finite and np.isfinite(logs["loss"]).all()
    assert abs(logs["loss"][-1] / logs["loss"][0] - 1).max() > 1e-3  # something was learnt that could differ
    other, other_logs = on(name, variant, ALL)
    close(other_logs["loss"], logs["loss"])
    for part in ("params", "average", "mutable"):
        close(getattr(other, part), getattr(state, part))


def toy(axis, prepare=lambda batch, key: batch):
    """Two players without random numbers, with a running statistic."""
    def first(params, mutable, batch, clock, key):
        x = batch["image"].astype(jnp.float32).mean((1, 2, 3)) / 255
        value = jnp.mean((params["a"] * x - params["b"] + x) ** 2)
        return value, ({"mean": 0.9 * mutable["mean"] + 0.1 * x.mean()}, {"x": x.mean()})

    def second(params, mutable, batch, clock, key):
        return jnp.mean((params["b"] - mutable["mean"]) ** 2) + 0.1 * params["a"] * params["b"], (mutable, {})

    def init(key, spec):
        del key, spec
        return {"a": jnp.float32(1), "b": jnp.float32(-1)}, {"mean": jnp.float32(0)}

    game = Game(init, (("a", first), ("b", second)), lambda params, mutable: dict(params), {})
    optimizers = dict.fromkeys("ab", optax.adam(0.05))
    one = functools.partial(step.train_step, game, optimizers, lambda seen, size: 0.1, prepare, axis=axis)
    return step.init_state(game, optimizers, jax.random.key(0), make_spec()), functools.partial(step.play, one)


def make(engine, count):
    return devices.make(engine, devices.choose(count), lambda axis: toy(axis)[1])


def batches(rounds=5, batch=16, seed=0):
    return {"image": np.random.default_rng(seed).integers(0, 256, (rounds, batch, 2, 2, 1)).astype(np.uint8)}


def test_pmap_and_jit_agree_where_no_random_numbers_are_drawn():
    found = []
    for engine, count in (("jit", 1), ("jit", ALL), ("pmap", 1), ("pmap", ALL)):
        engine = make(engine, count)
        state, logs = engine.put_state(toy(None)[0]), []
        for call in range(4):
            state, log = engine.run(state, engine.put_batches(batches(seed=call)), jax.random.key(0), {})
            logs.append(engine.fetch(log))
        assert engine.devices == count
        found.append((engine.fetch(state), logs))
    for other in found[1:]:
        close(other, found[0])


# Of all that is the same for every game, a VAE and the toys are enough for everyday.
@pytest.mark.parametrize(("name", "variant"),
                         tiny.marked(tiny.ON_DEVICES, tiny.LONG | {"gan", "classifier", "restore"}))
def test_under_pmap_all_replicas_stay_equal_to_the_bit(name, variant):
    built = build(check(settings(name, variant, engine="pmap", count=ALL)), tiny.richest(name))
    engine = devices.make("pmap", devices.choose(ALL), built.play)
    state = engine.put_state(jax.jit(built.init)())
    for call in range(2):
        state, logs = engine.run(state, engine.put_batches(tiny.examples(tiny.richest(name), 5, 8, seed=call)),
                                 jax.random.key(0), {})
    for leaf in jax.tree.leaves((state, logs)):
        assert leaf.shape[0] == ALL
        np.testing.assert_array_equal(leaf, np.broadcast_to(np.asarray(leaf)[:1], leaf.shape))
    one = engine.fetch(state)
    assert int(one.step) == 10 and one.finite
    assert jax.tree.map(jnp.shape, one) == jax.tree.map(lambda leaf: leaf.shape, built.shape)


# Of two processes: what each engine plays. Batch statistics are global under jit.
SHARED = {("toys.translator", "plain"): "jit", ("toys.texts", "plain"): "pmap"}
MORE = {("gan", "dcgan"): "jit", ("classifier", "plain"): "pmap", ("toys.texts", "plain"): "jit"}
PROCESS = """
import pickle, sys
import jax, tiny
from imggen_jax import devices
address, process, out, which, all_devices = sys.argv[1:]
devices.connect(address, 2, int(process))
assert jax.process_count() == 2 and len(jax.devices()) == int(all_devices) == 2 * len(jax.local_devices())
import test_devices
for game, engine in getattr(test_devices, which).items():
    found = tiny.rounds(test_devices.settings(*game, count=0, engine=engine), tiny.richest(game[0]), 2)
    with open(f"{out}/{game[0]}{process}", "wb") as file:
        pickle.dump(found, file)
"""


@pytest.mark.parametrize("which", ["SHARED", pytest.param("MORE", marks=pytest.mark.slow)])
def test_two_processes_are_one_with_the_same_devices(which, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    here = Path(__file__).resolve().parent
    environment = {**os.environ, "XLA_FLAGS": shell.flags(ALL // 2), "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"}
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, address, str(i), str(tmp_path), which, str(ALL)],
                         env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for i in range(2)
    ]
    try:
        for process in processes:
            output, _ = process.communicate(timeout=600)
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()
    for game, engine in globals()[which].items():
        found = [pickle.loads((tmp_path / f"{game[0]}{i}").read_bytes()) for i in range(2)]
        jax.tree.map(np.testing.assert_array_equal, *found)
        close(found[0], on(*game, ALL, calls=2, engine=engine))


@pytest.mark.parametrize("engine", ["jit", "pmap"])
def test_nothing_is_compiled_after_the_second_call(engine, caplog):
    engine = make(engine, 2)
    state, key = engine.put_state(toy(None)[0]), jax.random.key(0)
    with jax.log_compiles():
        for call in range(5):
            if call == 2:
                caplog.clear()
            state, logs = engine.run(state, engine.put_batches(batches(seed=call)), key, {})
            engine.fetch(logs)
            if call == 0:
                assert "Compiling" in caplog.text
    assert "Compiling" not in caplog.text and "Finished tracing" not in caplog.text


@pytest.mark.parametrize("engine", ["jit", "pmap"])
def test_the_state_is_donated(engine):
    engine = make(engine, 2)
    state = engine.put_state(toy(None)[0])
    after, _ = engine.run(state, engine.put_batches(batches()), jax.random.key(0), {})
    again, _ = engine.run(after, engine.put_batches(batches()), jax.random.key(0), {})
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(after))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(again))


def test_a_batch_is_split_and_the_state_is_whole():
    engine = make("jit", ALL)
    put = engine.put_batches(batches(rounds=5, batch=16))["image"]
    assert [shard.data.shape for shard in put.addressable_shards] == [(5, 16 // ALL, 2, 2, 1)] * ALL
    np.testing.assert_array_equal(put, batches(rounds=5, batch=16)["image"])
    state = engine.put_state(toy(None)[0])
    assert all(leaf.is_fully_replicated and len(leaf.devices()) == ALL for leaf in jax.tree.leaves(state))
    put = make("pmap", ALL).put_batches(batches(rounds=5, batch=16))["image"]
    np.testing.assert_array_equal(put[1], batches(rounds=5, batch=16)["image"][:, 16 // ALL:32 // ALL])


def test_the_lowered_program_can_be_read():
    engine = make("jit", 2)
    args = (engine.put_state(toy(None)[0]), engine.put_batches(batches()), jax.random.key(0), {})
    assert "stablehlo.while" in engine.text(*args)


def test_wrong_devices_are_named():
    with pytest.raises(ValueError, match="unknown engine 'tmap'; choose one of jit, pmap"):
        devices.make("tmap", devices.choose(1), toy)
    with pytest.raises(ValueError, match=f"config.devices.count is 9, but there are {ALL} cpu devices; 0 takes all"):
        devices.choose(9)
    assert len(devices.choose(0)) == ALL and len(devices.choose(1)) == 1
    assert devices.describe(devices.choose(2)) == "2 x cpu"
    for changes, message in (
        (dict(count=9), f"config.devices.count is 9, but there are {ALL}"),
        (dict(engine="tmap"), "unknown config.devices.engine 'tmap'; choose one of 'jit', 'pmap'"),
        (dict(count=2, batch=7),
         "config.train.batch is 7, which 2 devices cannot share evenly; choose a multiple of 2"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_devices(check(tiny.config("vae", "gaussian", **changes)))


@pytest.mark.slow
@pytest.mark.skipif(ALL == 8, reason="this is the process with eight devices")
def test_eight_devices_do_all_of_this(pytestconfig):
    environment = {**os.environ, "IMGGEN_JAX_TEST_DEVICES": "8",
                   "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=2", "device_count=8")}
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "", "-p", "no:xdist", *EIGHT],
                   cwd=pytestconfig.rootpath, env=environment, check=True)


def test_every_game_is_played_here():
    assert {name for name, _ in tiny.ON_DEVICES} == set(tiny.GAMES)
