"""The trunk of restoration: its enlargement is bicubic, and what it says of its reach is so."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imggen_jax import bicubic
from imggen_jax.nets.restoration import Restorer, enlarged
from imggen_jax.pictures import tiling


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_the_enlargement_is_bicubic(scale):
    images = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32)
    np.testing.assert_allclose(enlarged(jnp.asarray(images), scale), bicubic.resize(images, 5 * scale, 7 * scale),
                               atol=1e-5)


def test_what_it_sees_is_its_reach():
    net = Restorer(scale=3, width=4, blocks=2)
    params = net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    sight = tiling.measure(net.apply, params, 3)
    assert (sight.scale, sight.period, sight.radius) == (3, 1, net.reach)
