"""The trunk of restoration sees as far as it says."""
import jax
import jax.numpy as jnp

from imggen_jax.nets.restoration import Restorer
from imggen_jax.pictures import tiling


def test_what_it_sees_is_its_reach():
    net = Restorer(scale=3, width=4, blocks=2)
    params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    sight = tiling.measure(net.apply, params, 3)
    assert (sight.scale, sight.period, sight.radius) == (3, 1, net.reach)
