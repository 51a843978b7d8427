"""R3GAN's networks: the published initial variances, shapes, sizes, labels."""
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imggen_jax.nets import r3gan
from imggen_jax.nets.resample import upsample

F32 = jnp.dtype("float32")


def network(kind, **changes):
    stages = dict(widths=(8, 8, 4), blocks=(1, 2, 1), cardinality=(2, 2, 2))
    return kind(**{**dict(size=16, channels=3, classes=0, expansion=2, dtype=F32), **stages, **changes})


def start(net, *inputs, **train):
    """(output, variables) of a new network, compiled once instead of operation by operation."""
    return jax.jit(lambda key: net.init_with_output(key, *inputs, **train))(jax.random.key(0))


@pytest.mark.parametrize(("size", "stages"), [(28, 3), (32, 4), (256, 7)])
@pytest.mark.parametrize("classes", [0, 3])
def test_shapes(size, stages, classes):
    each = dict(widths=(4,) * stages, blocks=(1,) * stages, cardinality=(2,) * stages)
    g, d = (network(kind, size=size, channels=1, classes=classes, **each)
            for kind in (r3gan.Generator, r3gan.Discriminator))
    label = jnp.zeros(2, jnp.int32) if classes else None
    z = jnp.zeros((2, 5))
    images, _ = jax.eval_shape(lambda k: g.init_with_output(k, z, label, train=True), jax.random.key(0))
    assert images.shape == (2, size, size, 1) and images.dtype == jnp.float32
    logits, _ = jax.eval_shape(lambda k: d.init_with_output(k, jnp.zeros(images.shape), label), jax.random.key(0))
    assert logits.shape == (2,) and logits.dtype == jnp.float32


def test_initial_gains_are_the_published_ones():
    block = r3gan.Block(cardinality=4, expansion=2, total=16, dtype=F32)
    params = start(block, jnp.zeros((1, 4, 4, 64)))[1]["params"]
    first, grouped, last = (params[f"Conv_{i}"]["kernel"] for i in range(3))
    gain = math.sqrt(2 / 1.04) * 16**-0.25  # leaky slope 0.2; Fixup with three layers in a branch
    assert first.shape == (1, 1, 64, 128) and grouped.shape == (3, 3, 32, 128) and last.shape == (1, 1, 128, 64)
    np.testing.assert_allclose(first.std(), gain / math.sqrt(64), rtol=0.03)
    np.testing.assert_allclose(grouped.std(), gain / math.sqrt(9 * 32), rtol=0.03)
    np.testing.assert_array_equal(last, 0)
    assert not any("bias" in params[f"Conv_{i}"] for i in range(3))


def test_blocks_start_as_the_identity():
    x = jax.random.normal(jax.random.key(1), (2, 4, 4, 8))
    y, _ = start(r3gan.Block(2, 2, 4, F32), x)
    np.testing.assert_array_equal(x, y)


def test_at_the_start_the_generator_is_its_basis_interpolated_with_unit_variance():
    z = jax.random.normal(jax.random.key(1), (64, 32))
    g = network(r3gan.Generator, widths=(64, 64, 64), blocks=(1, 1, 1))
    images, variables = start(g, z, None, train=True)
    p = variables["params"]
    assert p["basis"].shape == (4, 4, 64)
    features = p["basis"] * (z @ p["Dense_0"]["kernel"])[:, None, None]
    np.testing.assert_allclose(jnp.std(features), 1, rtol=0.05)
    # With equal widths the only convolution outside the blocks is the one to colours.
    expected = upsample(upsample(features)) @ p["Conv_0"]["kernel"][0, 0]
    np.testing.assert_allclose(images, expected, atol=1e-4)


def test_labels_change_image_and_logit_by_embeddings_of_the_published_size():
    z, label = jax.random.normal(jax.random.key(0), (4, 32)), jnp.arange(4) % 10
    shape = dict(size=8, widths=(64, 64), blocks=(0, 0), cardinality=(1, 1), classes=10)
    g, d = (network(kind, **shape) for kind in (r3gan.Generator, r3gan.Discriminator))
    images, variables = start(g, z, label, train=True)
    assert not np.allclose(images, g.apply(variables, z, label + 1, train=True), atol=1e-3)
    np.testing.assert_allclose(variables["params"]["Embed_0"]["embedding"].std(), 1 / math.sqrt(10), rtol=0.2)
    logits, variables = start(d, images, label)
    assert not np.allclose(logits, d.apply(variables, images, label + 1), atol=1e-4)
    np.testing.assert_allclose(variables["params"]["Embed_0"]["embedding"].std(), 1 / math.sqrt(10 * 64), rtol=0.2)


@pytest.mark.parametrize(("changes", "message"), [
    (dict(size=64), "64x64 images; give 5 widths"),
    (dict(size=30), "30x30 images; set data.size to 4 or 7 times a power of two"),
    (dict(blocks=(1, 1)), "3 widths, 2 blocks and 3 cardinalities"),
    (dict(cardinality=(2, 3, 2)), "cardinality 3 does not divide width 8 x expansion 2"),
])
def test_impossible_shapes_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: network(r3gan.Generator, **changes).init(
            jax.random.key(0), jnp.zeros((1, 4)), None, train=True))
