"""The trunk of restoration sees as far as it says."""
import jax
import jax.numpy as jnp
import pytest

from imggen_jax.nets.restoration import Restorer, depth_to_space, space_to_depth
from imggen_jax.pictures import tiling


def test_what_it_sees_is_its_reach():
    net = Restorer(scale=3, width=4, blocks=2)
    params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    sight = tiling.measure(net.apply, params, 3)
    assert (sight.scale, sight.period, sight.radius) == (3, 1, net.reach)


def test_folded_it_sees_further_at_the_same_size():
    net = Restorer(scale=2, width=4, blocks=1, fold=2)
    params = jax.tree.map(lambda x: x + 0.01, net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3))))
    sight = tiling.measure(net.apply, params, 3)
    # Pixels of one block of 2x2 see the same blocks: those at its edge see a pixel more to one side.
    assert (sight.scale, sight.period, sight.least, sight.radius) == (2, 2, 2, net.reach - 1)
    with pytest.raises(ValueError, match="multiples of 2.*not 5x8"):
        net.apply(params, jnp.zeros((1, 8, 5, 3)))


def test_depth_and_space_are_inverses():
    pixels = jax.random.normal(jax.random.key(0), (2, 4, 6, 3))
    folded = space_to_depth(pixels, 2)
    assert folded.shape == (2, 2, 3, 12) and (folded[1, 1, 2, 3:6] == pixels[1, 2, 5]).all()
    assert (depth_to_space(folded, 2) == pixels).all()
