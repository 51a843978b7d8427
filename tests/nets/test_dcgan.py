"""DCGAN: shapes, sizes, batch statistics, and what a label changes."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imggen_jax.nets import dcgan

F32 = jnp.dtype("float32")
Z = jax.random.normal(jax.random.key(0), (6, 5))


def start(net, *inputs, **train):
    """(output, variables) of a new network, compiled once instead of operation by operation."""
    return jax.jit(lambda key: net.init_with_output(key, *inputs, **train))(jax.random.key(0))


def generator(**changes):
    return dcgan.Generator(**{**dict(size=16, channels=3, classes=0, width=4, norm="batch", dtype=F32), **changes})


def discriminator(**changes):
    return dcgan.Discriminator(**{**dict(size=16, channels=3, classes=0, width=4, dtype=F32), **changes})


@pytest.mark.parametrize("size", [16, 28, 32, 56, 64, 112, 128])
def test_every_size_is_made_and_judged(size):
    for classes in (0, 3):
        label = jnp.zeros(2, jnp.int32) if classes else None
        g, d = (f(size=size, channels=1, classes=classes) for f in (generator, discriminator))
        images, _ = jax.eval_shape(lambda k: g.init_with_output(k, Z[:2], label, train=True), jax.random.key(0))
        assert images.shape == (2, size, size, 1) and images.dtype == jnp.float32
        logits, _ = jax.eval_shape(lambda k: d.init_with_output(k, jnp.zeros(images.shape), label), jax.random.key(0))
        assert logits.shape == (2,) and logits.dtype == jnp.float32


@pytest.mark.parametrize("size", [8, 20, 48, 256])
def test_an_impossible_size_names_itself_and_what_works(size):
    with pytest.raises(ValueError, match=rf"{size}x{size} images; set data.size to 16, 28, 32"):
        jax.eval_shape(lambda: discriminator(size=size).init(jax.random.key(0), jnp.zeros((1, size, size, 3)), None))


def test_an_unknown_norm_is_named():
    with pytest.raises(ValueError, match="'layer'.*batch or none"):
        generator(norm="layer").init(jax.random.key(0), Z, None, train=True)


def test_widths_halve_to_the_last_layer():
    shapes = jax.eval_shape(lambda: generator(size=32).init(jax.random.key(0), Z, None, train=True))["params"]
    found = [shapes[f"ConvTranspose_{i}"]["kernel"].shape for i in range(3)]
    assert found == [(4, 4, 16, 8), (4, 4, 8, 4), (4, 4, 4, 3)]


def test_batch_norm_normalises_the_batch_and_remembers_it():
    x = 3 + 2 * jax.random.normal(jax.random.key(1), (32, 4, 4, 2))
    norm = dcgan.BatchNorm(momentum=0.5)
    variables = norm.init(jax.random.key(0), x, True)
    np.testing.assert_array_equal(variables["statistics"]["mean"], 0)  # the example batch of `init` leaves no trace
    y, changed = norm.apply(variables, x, True, mutable=["statistics"])
    np.testing.assert_allclose(jnp.mean(y, (0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(jnp.var(y, (0, 1, 2)), 1, atol=1e-4)
    np.testing.assert_allclose(changed["statistics"]["mean"], jnp.mean(x, (0, 1, 2)) / 2, rtol=1e-5)
    np.testing.assert_allclose(changed["statistics"]["variance"], (1 + jnp.var(x, (0, 1, 2))) / 2, rtol=1e-5)
    variables = {**variables, "statistics": {"mean": jnp.array([3.0, 3.0]), "variance": jnp.array([4.0, 4.0])}}
    np.testing.assert_allclose(norm.apply(variables, x, False), (x - 3) / 2, atol=1e-4)


def test_in_use_an_image_does_not_depend_on_its_batch_but_in_training_it_does():
    g = generator()
    _, variables = start(g, Z, None, train=True)
    np.testing.assert_allclose(g.apply(variables, Z, None, train=False)[:2],
                               g.apply(variables, Z[:2], None, train=False), atol=1e-6)
    trained, _ = g.apply(variables, Z, None, train=True, mutable=["statistics"])
    other, _ = g.apply(variables, Z[:2], None, train=True, mutable=["statistics"])
    assert not np.allclose(trained[:2], other, atol=1e-3)


def test_without_norm_there_are_no_statistics_and_the_signal_survives():
    g = generator(norm="none", width=32, size=32)
    z = jax.random.normal(jax.random.key(0), (16, 64))
    images, variables = start(g, z, None, train=True)
    assert set(variables) == {"params"}
    assert 0.3 < jnp.std(images) < 0.9


def test_a_label_changes_image_and_logit():
    label = jnp.arange(6) % 3
    g, d = generator(classes=3), discriminator(classes=3)
    images, variables = start(g, Z, label, train=False)
    assert not np.allclose(images, g.apply(variables, Z, (label + 1) % 3, train=False), atol=1e-3)
    logits, variables = start(d, images, label)
    assert not np.allclose(logits, d.apply(variables, images, (label + 1) % 3), atol=1e-3)


def test_a_logit_depends_on_its_own_image_alone():
    d, x = discriminator(), jax.random.normal(jax.random.key(0), (3, 16, 16, 3))
    logits, variables = start(d, x, None)
    np.testing.assert_allclose(d.apply(variables, x[:1], None), logits[:1], atol=1e-5)
