"""Weights over several devices give what they give on one."""
import jax
import numpy as np
import pytest

from imggen_jax import pipelines, sampling
from imggen_jax.pipelines import spreading

pytest.importorskip("tokenizers")


def test_a_network_is_computed_by_all_devices(folder, monkeypatch):
    monkeypatch.setattr(spreading, "LEAST", 1)  # small arrays are split, too
    model = pipelines.load(folder("klein"))
    whole = model.weights["transformer"]
    parts = pipelines.spread(model._replace(weights=whole)).weights
    held = {}
    for leaf in jax.tree.leaves(parts):
        for shard in leaf.addressable_shards:
            held[shard.device] = held.get(shard.device, 0) + shard.data.nbytes
    count, size = len(jax.devices()), sum(leaf.nbytes for leaf in jax.tree.leaves(whole))
    assert len(held) == count > 1 and max(held.values()) < 1.6 / count * size
    assert sampling.is_spread(parts) and not sampling.is_spread(whole)
    program, rng = jax.jit(pipelines.recipe_of(model).transformer.apply), np.random.RandomState(0)
    inputs = [rng.standard_normal(shape).astype("f") for shape in ((1, 16, 8), (1,), (1, 12, 48))]
    made = [program({"params": each}, *inputs, np.zeros((28, 4), np.int32)) for each in (whole, parts)]
    assert len(made[1].sharding.device_set) == count
    # Sums over channels that lie on several devices are added up in another order: some ulps of float32.
    np.testing.assert_allclose(made[0], made[1], rtol=0, atol=1e-5 * float(np.abs(made[0]).max()))


@pytest.mark.slow
def test_whole_pictures_are_the_same(folder, monkeypatch):
    monkeypatch.setattr(spreading, "LEAST", 1)
    pictures = []
    for devices in ((), jax.devices()):
        model = pipelines.resized(pipelines.load(folder("sd"), devices=devices), 64, 64)
        pictures.append(model.sample(seeds=[3], given={"text": "a red cat"}, steps=2).astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 1  # gray levels: rounding


def test_several_accelerators_are_used_where_one_has_too_little_memory(monkeypatch):
    class Device:
        platform = "gpu"

        def memory_stats(self):
            return {"bytes_limit": 1000}

    monkeypatch.setattr(jax, "local_devices", lambda: [Device(), Device()])
    assert not spreading.wanted(500) and len(spreading.wanted(700)) == 2
