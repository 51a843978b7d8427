"""The VAE's game: figures that add up, the bound's units, the warm-up, sampling of binary pixels."""
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imggen_jax.game import Spec
from imggen_jax.games import vae

NETWORK = dict(name="vae", widths=(4,), blocks=(0,), hidden=8, dense_blocks=0)


def make(spec=Spec(16, 1, 0), **changes):
    keys = dict(dtype="float32", latent=3, network=NETWORK, likelihood="bernoulli", mixtures=2, beta=1.0, free_bits=0.0,
                warmup=0)
    return vae.make(spec, **{**keys, **changes})


def batch(spec, n=4, seen=0.0):
    images = jax.random.randint(jax.random.key(5), (n, spec.size, spec.size, spec.channels), 0, 256).astype(jnp.uint8)
    label = {"label": jnp.arange(n) % spec.classes} if spec.classes else {}
    return {"image": images, "seen": jnp.float32(seen), **label}


def nudged(params):
    """Away from the zeros with which the last layers start."""
    return jax.tree.map(lambda p: np.asarray(p) + np.float32(0.1 * np.sin(np.arange(p.size))).reshape(p.shape), params)


def untouched(game):
    return jax.jit(lambda k: game.init(k, None))(jax.random.key(0))


def start(game):
    params, extra = untouched(game)
    return nudged(params), extra


@pytest.mark.parametrize("likelihood", vae.LIKELIHOODS)
def test_figures_add_up_and_agree_with_the_loss(likelihood):
    spec = Spec(16, 3, 2)
    game = make(spec, likelihood=likelihood)
    params, extra = start(game)
    data, key = batch(spec), jax.random.key(1)
    figures = jax.jit(game.evaluate)(game.weights(params, extra), data, key)
    assert all(v.shape == (4,) and v.dtype == jnp.float32 for v in figures.values())
    np.testing.assert_allclose(figures["elbo"], figures["reconstruction"] - figures["kl"], rtol=1e-5)
    np.testing.assert_allclose(figures["bits_per_dim"], -figures["elbo"] / (16 * 16 * 3 * math.log(2)), rtol=1e-5)
    loss, (_, scalars) = jax.jit(game.moves[0][1])(params, extra, data, key)
    np.testing.assert_allclose(loss, -jnp.mean(figures["elbo"]), rtol=1e-5)
    np.testing.assert_allclose(scalars["kl"], jnp.mean(figures["kl"]), rtol=1e-5)


@pytest.mark.parametrize("likelihood", ["gaussian", "logistic_mixture"])
def test_an_untrained_model_spends_about_the_bits_of_a_wide_density(likelihood):
    """At its start every pixel has the same known distribution, so bits per dimension have a closed form."""
    game = make(likelihood=likelihood, mixtures=1)
    params, extra = untouched(game)
    data = batch(Spec(16, 1, 0), n=1)
    data["image"] = jnp.full_like(data["image"], 128)  # x = 1/255
    found = jax.jit(game.evaluate)(game.weights(params, extra), data, jax.random.key(0))["bits_per_dim"]
    # N(0, exp(-2)) and the logistic, at 0.
    density = math.exp(2) / math.sqrt(2 * math.pi) if likelihood == "gaussian" else 0.25
    np.testing.assert_allclose(found, -math.log2(density / 127.5), rtol=1e-3)


def test_the_kl_weight_warms_up_in_images():
    spec = Spec(16, 1, 0)
    game = make(spec, warmup=1000, beta=2.0)
    params, extra = start(game)
    loss = jax.jit(game.moves[0][1])
    values = [loss(params, extra, batch(spec, seen=seen), jax.random.key(1)) for seen in (0, 500, 5000)]
    figures = values[0][1][1]
    for (value, _), weight in zip(values, (0, 1, 2)):
        np.testing.assert_allclose(value, weight * figures["kl"] - figures["reconstruction"], rtol=1e-5)


def test_binary_pixels_are_drawn_anew_from_the_grey_values():
    """With nothing learnt the log-likelihood tells nothing, so look at the data through a decoder of fixed logits."""
    spec = Spec(16, 1, 0)
    game = make(spec)
    params, extra = untouched(game)
    decoder = params["vae"]["decoder"]
    decoder["Conv_0"]["bias"] = jnp.full_like(decoder["Conv_0"]["bias"], 4.0)
    data = batch(spec, n=1)
    data["image"] = jnp.full_like(data["image"], 51)  # one pixel in five is on
    evaluate = jax.jit(game.evaluate)
    found = [float(evaluate(params, data, jax.random.key(i))["reconstruction"][0]) for i in range(20)]
    ones = (np.array(found) + 256 * math.log1p(math.exp(4))) / 4
    assert len({round(n) for n in ones}) > 5 and abs(ones.mean() - 256 / 5) < 6
    np.testing.assert_allclose(ones, np.round(ones), atol=1e-2)


@pytest.mark.parametrize("likelihood", vae.LIKELIHOODS)
def test_decode_and_encode_are_deterministic_in_range_and_see_the_label(likelihood):
    game = make(Spec(16, 3, 2), likelihood=likelihood)
    params, extra = start(game)
    weights, label = game.weights(params, extra), jnp.array([0, 1])
    decode, encode = jax.jit(game.generator.decode), jax.jit(game.generator.encode)
    z = game.generator.prior(jax.random.key(0), 2)
    images = decode(weights, z, label)
    assert images.shape == (2, 16, 16, 3) and images.dtype == jnp.float32 and jnp.abs(images).max() <= 1
    assert not np.allclose(images, decode(weights, z, label[::-1]), atol=1e-4)
    z = encode(weights, images, label)
    assert z.shape == (2, 3) and not np.allclose(z, encode(weights, images, label[::-1]), atol=1e-5)


def test_wrong_keys_and_values_are_named():
    with pytest.raises(ValueError, match="'poisson'; choose from bernoulli"):
        make(likelihood="poisson")
    with pytest.raises(TypeError, match="width"):
        make(network={**NETWORK, "width": 3})
    with pytest.raises(TypeError, match="betta"):
        make(betta=1.0)
