"""Networks from pictures to pictures, and the discriminator of patches."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imggen_jax.nets import patchgan, resnet, translating, unet

F32 = jnp.dtype("float32")
NETS = {"unet": unet.Translator(channels=3, widths=(4, 8, 8), dtype=F32),
        "resnet": resnet.Translator(channels=3, width=4, halvings=1, blocks=3, dtype=F32),
        "plain": unet.Translator(channels=3, widths=(4, 8), dtype=F32, norm="none")}


@pytest.mark.parametrize("name", NETS)
def test_one_set_of_weights_translates_any_size(name):
    net = NETS[name]
    variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))
    for height, width in ((16, 16), (24, 40)):
        made = jax.eval_shape(net.apply, variables, jnp.zeros((2, height, width, 1)))
        assert made.shape == (2, height, width, 3) and made.dtype == jnp.float32
    maps = jax.eval_shape(lambda x: net.apply(variables, x, method="maps"), jnp.zeros((2, 16, 16, 1)))
    assert [each.shape[1] for each in maps] == {"unet": [16, 8, 4], "resnet": [16, 8, 8, 8], "plain": [16, 8]}[name]
    with pytest.raises(ValueError, match=f"sides are multiples of {4 if name == 'unet' else 2}, .* not 16x17"):
        jax.eval_shape(net.apply, variables, jnp.zeros((1, 17, 16, 1)))


def test_without_normalization_a_place_depends_on_what_is_near_alone():
    net = NETS["plain"]
    images = jax.random.normal(jax.random.key(1), (1, 32, 32, 3))
    variables = jax.jit(net.init)(jax.random.key(0), images)
    far = net.apply(variables, images.at[:, 24:].add(1.0)) - net.apply(variables, images)
    assert np.abs(far[:, :12]).max() < 1e-6 < np.abs(far[:, 24:]).max()


def test_instance_norm():
    x = 3 + 5 * jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    y = np.asarray(translating.instance_norm(x))
    np.testing.assert_allclose(y.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((1, 2)), 1, atol=1e-4)
    np.testing.assert_allclose(translating.instance_norm(2 * x + 1), y, atol=1e-4)
    one = jnp.full((2, 1, 1, 3), 7.0)
    np.testing.assert_array_equal(translating.instance_norm(one), one)
    with pytest.raises(ValueError, match="unknown norm 'batch'; choose from instance, none"):
        translating.normalize(x, "batch")


def test_doubling_repeats_pixels():
    x = jnp.arange(4.0).reshape(1, 2, 2, 1)
    expected = np.arange(4).reshape(2, 2).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(translating.double(x)[0, :, :, 0], expected)


def test_each_logit_sees_one_patch():
    judge = patchgan.Discriminator(width=4, dtype=F32)
    images = jax.random.normal(jax.random.key(1), (1, 128, 128, 3))
    variables = jax.jit(judge.init)(jax.random.key(0), images)
    logits = judge.apply(variables, images)
    assert logits.shape == (1, 16, 16) and logits.dtype == jnp.float32
    seen = jax.grad(lambda x: judge.apply(variables, x)[0, 8, 8])(images)
    rows = np.nonzero(np.abs(seen[0]).max((1, 2)))[0]
    assert np.ptp(rows) + 1 == 54


@pytest.mark.parametrize(("keys", "error"), [
    ({"name": "nothing"}, ModuleNotFoundError), ({"name": "dcgan"}, AttributeError),
    ({"name": "unet", "width": 3}, TypeError)])
def test_a_network_that_there_is_not(keys, error):
    with pytest.raises(error):
        translating.network("Translator", "float32", channels=3, **keys)
