"""A guard against a slower step, in counts and not in times: arithmetic, slow convolutions, callbacks."""
import functools
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
import tiny
from test_configs import SHIPPED, built_of, plain, spec_of

from imggen_jax import devices
from imggen_jax.config import check
from imggen_jax.nets import native
from imggen_jax.nets.conv import slow_convolutions
from imggen_jax.training.build import flops_per_step

STORED = Path(__file__).with_name("flops.json")  # gigaflops of one step, as XLA counts them
games = pytest.mark.parametrize(("name", "variant"), tiny.EVERYDAY)
# Their steps are those of another config at other sizes: left to `make test-all`.
LIKE = {"cifar10_gan", "avatars_flow", "cifar10_vae", "folder_vae", "avatars_vae_64", "folder_gan", "demo", "sketch",
        "upscale_x3", "upscale_x4", "photo_x2", "avatars_vae_gan", "unpaired_cyclegan"}


def count(path) -> float:
    return flops_per_step(check(plain(path)), spec_of(plain(path)), built_of(path)) / 1e9


@pytest.mark.parametrize("path", [
    pytest.param(path, marks=pytest.mark.slow if path.stem in LIKE else (), id=path.stem) for path in SHIPPED])
def test_the_arithmetic_of_a_shipped_step_is_what_it_was(path):
    stored = json.loads(STORED.read_text())
    assert set(stored) == {each.stem for each in SHIPPED}, "give each config its figure in tests/flops.json"
    assert count(path) == pytest.approx(stored[path.stem], rel=0.05), (
        f"the step of {path.stem} does another amount of arithmetic; if that is meant, store the new figure")


def trace(name, variant, dtype="float32"):
    """(a game's steps, traced and not yet lowered for any platform; the shapes of their state)"""
    spec = tiny.richest(name)
    built = tiny.build(name, variant, spec, dtype=dtype)
    examples = tiny.examples(spec, 2, 8)
    return jax.jit(built.play(None)).trace(built.shape, examples, jax.random.key(0), built.pretrained), built.shape


cached = functools.cache(trace)  # the tests below lower one trace for three platforms


@games
def test_no_step_has_a_convolution_in_a_slow_form_on_a_cpu(name, variant, monkeypatch):
    text = cached(name, variant)[0].lower().as_text()
    assert not slow_convolutions(text)
    if native.target("output") is not None:
        assert "stablehlo.convolution" not in text
    monkeypatch.setattr(native, "target", lambda name: None)
    # JAX keeps what it has lowered a trace to, so this takes another one.
    assert not slow_convolutions(trace(name, variant)[0].lower().as_text())


@pytest.mark.parametrize(("name", "variant", "dtype"), [
    *(pytest.param(*each.values, "float32", marks=each.marks) for each in tiny.EVERYDAY),
    # The first variant of each game; of those with networks of others in `make test-all`.
    *(pytest.param(*names, "bfloat16", marks=pytest.mark.slow if names[0] in tiny.LONG - {"flow"} else ())
      for names in dict(reversed(tiny.VARIANTS)).items()),
    ("gan", "r3gan", "bfloat16")])
def test_every_step_lowers_for_accelerators_without_callbacks_or_our_kernels(name, variant, dtype):
    traced, shape = cached(name, variant, dtype)
    state, logs = traced.out_info
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), shape)
    # Parameters, averages, statistics and losses stay float32 whatever the networks compute in; a pool holds pictures.
    for leaf in jax.tree.leaves((state.params, state.average, state.mutable, logs)):
        assert leaf.dtype == jnp.float32 or leaf.dtype == jnp.uint8
    text = traced.lower(lowering_platforms=("tpu", "cuda")).as_text()  # one program with the ways of both
    assert not re.search("callback|imggen_jax_(output|input|weight)", text)
    convolves = (name, variant) not in (("toys.texts", "plain"), ("flow", "latents"))
    assert ("stablehlo.convolution" in text) == convolves
    assert ("bf16" in text) == (dtype == "bfloat16")


def test_a_matmul_is_counted_as_two_operations_for_each_product():
    x, y = jax.ShapeDtypeStruct((7, 11), "float32"), jax.ShapeDtypeStruct((11, 5), "float32")
    assert devices.count_flops(lambda x, y: x @ y, x, y) == 2 * 7 * 11 * 5


def test_the_peak_of_several_devices_is_the_sum_and_an_unknown_kind_has_none(monkeypatch):
    few = jax.devices()[:2]
    assert devices.peak_flops(few) is None
    monkeypatch.setitem(devices.PEAK_FLOPS, few[0].device_kind, 2e12)
    assert devices.peak_flops(few) == 4e12
