"""The VAE's networks: any size, patches that undo each other, labels, a posterior that starts as the prior."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imggen_jax.nets import vae

F32 = jnp.dtype("float32")
SHAPE = dict(hidden=8, dense_blocks=1, dtype=F32)


def pair(size, levels, classes=0, channels=1):
    each = dict(size=size, classes=classes, widths=(4,) * levels, blocks=(1,) * levels, **SHAPE)
    return vae.Encoder(channels=channels, latent=3, **each), vae.Decoder(channels=5, **each)


@pytest.mark.parametrize(("size", "levels"), [(16, 1), (28, 2), (36, 2), (252, 5), (256, 5)])
def test_every_size_is_read_and_made(size, levels):
    encoder, decoder = pair(size, levels, channels=3)
    images = jnp.zeros((2, size, size, 3))
    (mean, log_variance), _ = jax.eval_shape(lambda k: encoder.init_with_output(k, images, None), jax.random.key(0))
    assert mean.shape == log_variance.shape == (2, 3) and mean.dtype == jnp.float32
    out, _ = jax.eval_shape(lambda k: decoder.init_with_output(k, jnp.zeros((2, 3)), None), jax.random.key(0))
    assert out.shape == (2, size, size, 5) and out.dtype == jnp.float32


@pytest.mark.parametrize("side", [6, 7])
def test_patches_undo_each_other(side):
    x = jax.random.normal(jax.random.key(0), (2, side, side, 3))
    patches = vae.to_patches(x)
    np.testing.assert_array_equal(vae.from_patches(patches, side), x)
    np.testing.assert_array_equal(patches[0, 1, 2], x[0, 2:4, 4:6].ravel())


def test_the_posterior_starts_as_the_prior():
    encoder, _ = pair(16, 1)
    images = jax.random.normal(jax.random.key(1), (2, 16, 16, 1))
    (mean, log_variance), _ = jax.jit(encoder.init_with_output)(jax.random.key(0), images, None)
    np.testing.assert_array_equal(mean, 0)
    np.testing.assert_array_equal(log_variance, 0)


def test_a_label_changes_both():
    """The last layers start at zero; any other values let the label through."""
    encoder, decoder = pair(16, 1, classes=3)
    images, z, label = jnp.ones((3, 16, 16, 1)), jnp.ones((3, 3)), jnp.arange(3)
    for net, x in ((encoder, images), (decoder, z)):
        variables = jax.jit(net.init)(jax.random.key(0), x, label)
        variables = jax.tree.map(lambda p: np.asarray(p) + 0.1 * np.cos(np.arange(p.size)).reshape(p.shape), variables)
        out = jax.tree.leaves(net.apply(variables, x, label))[0]
        assert not np.allclose(out[0], out[1], atol=1e-4)


def test_a_label_weighs_as_much_as_a_latent_from_the_start():
    """Else a VAE's latent learns the class itself, and the label is ignored."""
    _, decoder = pair(16, 1, classes=50)
    params = jax.jit(decoder.init)(jax.random.key(0), jnp.ones((1, 3)), jnp.zeros(1, jnp.int32))["params"]
    z = jax.random.normal(jax.random.key(1), (500, 3))
    latents = np.std(z @ params["Dense_0"]["kernel"], axis=0).mean()
    assert 0.5 < np.std(params["Embed_0"]["embedding"], axis=0).mean() / latents < 2


@pytest.mark.parametrize(("size", "levels", "message"), [
    (30, 2, "30x30 images; set data.size to 16 to 256, divisible by 4"),
    (12, 1, "12x12 images"),
    (260, 5, "260x260 images"),
    (64, 1, "has 1 widths, but 64x64 images take 2 to 4: one for each of the sides 32, 16, 8, 4"),
    (28, 4, "has 4 widths, but 28x28 images take 1 to 3: one for each of the sides 14, 7, 4"),
])
def test_impossible_shapes_are_named(size, levels, message):
    with pytest.raises(ValueError, match=message):
        vae.sides(size, levels)


def test_widths_and_blocks_go_together():
    decoder = vae.Decoder(size=16, channels=1, classes=0, widths=(4, 4), blocks=(1,), **SHAPE)
    with pytest.raises(ValueError, match="2 widths and 1 numbers of blocks"):
        decoder.init(jax.random.key(0), jnp.zeros((1, 2)), None)
