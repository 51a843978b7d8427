"""Our side: the shipped step through its engine, and the shipped sampler."""
from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import cases
import jax
import jax.numpy as jnp
import numpy as np

import imggen_jax
from imggen_jax import devices
from imggen_jax.sampling import sampler


def noise(shape: cases.Shape, *leading: int) -> dict[str, np.ndarray]:
    """Noise, since a convolution costs the same on anything: uint8 [*leading,S,S,C], and labels of classes."""
    rng = np.random.default_rng(0)
    batch = {"image": rng.integers(0, 256, (*leading, shape.side, shape.side, shape.channels), np.uint8)}
    return batch | ({"label": rng.integers(0, shape.classes, leading).astype(np.int32)} if shape.classes else {})


def training(case: cases.Case, **overrides) -> tuple[Callable, int]:
    """(a function that makes one call and returns its seconds, the number of steps in it)."""
    settings = cases.settings(case, **overrides)
    built = imggen_jax.build(cases.read(case, **overrides), case.spec)
    engine = devices.make(settings.devices.engine, devices.choose(settings.devices.count), built.play)
    batches = noise(case.shape, settings.devices.steps_per_call, settings.train.batch)
    key = jax.random.key(0)
    state, pretrained = [engine.put_state(jax.jit(built.init)())], engine.put_state(built.pretrained)

    def call() -> float:
        start = time.perf_counter()
        state[0], logs = engine.run(state[0], engine.put_batches(batches), key, pretrained)
        logs = engine.fetch(logs)  # every logged number reaches the host
        assert np.isfinite(logs["loss"]).all()
        return time.perf_counter() - start

    return call, settings.devices.steps_per_call


def facts(case: cases.Case) -> dict:
    """Images in a step, and its operations as XLA counts them."""
    settings = cases.settings(case)
    built, one_step = imggen_jax.build(cases.read(case), case.spec), noise(case.shape, 1, settings.train.batch)
    flops = devices.count_flops(built.play(None), built.shape, one_step, jax.random.key(0), built.pretrained)
    return {"batch": settings.train.batch, "gflop": flops / 1e9}


def matmul_gflops() -> float:
    """The rate of a large square matmul here: bfloat16 on an accelerator, float32 on a CPU."""
    side, dtype = (2048, jnp.float32) if jax.default_backend() == "cpu" else (8192, jnp.bfloat16)
    a, matmul, seconds = jnp.ones((side, side), dtype), jax.jit(lambda a: a @ a), []
    for _ in range(8):
        start = time.perf_counter()
        matmul(a).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / statistics.median(seconds[1:]) / 1e9


def sampling(case: cases.Case, number: int) -> Callable:
    """A function that makes `number` images from seeds, uint8 on the host, and returns its seconds."""
    built = imggen_jax.build(cases.read(case), case.spec)
    weights = jax.jit(built.init)().average
    images = sampler(built.game.main, case.spec)
    given = {"label": np.zeros(number, np.int32)} if case.shape.classes else {}

    def call() -> float:
        start = time.perf_counter()
        images.sample(weights, range(number), given)
        return time.perf_counter() - start

    return call
