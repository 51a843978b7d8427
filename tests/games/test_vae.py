"""The VAE's game: figures that add up, the bound's units, the warm-up, sampling of binary pixels."""
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from imggen_jax.games import vae

NETWORK = dict(name="vae", widths=(4,), blocks=(0,), hidden=8, dense_blocks=0)


def make(spec=tiny.spec_of(16, 1), **changes):
    keys = dict(dtype="float32", latent=3, network=NETWORK, likelihood="bernoulli", mixtures=2, beta=1.0, free_bits=0.0,
                warmup=0, importance_samples=1)
    return vae.make(spec, **{**keys, **changes})


def batch(spec, n=4):
    images = jax.random.randint(jax.random.key(5), (n, *spec["image"].shape), 0, 256).astype(jnp.uint8)
    return {"image": images, **({"label": jnp.arange(n) % spec["label"].classes} if "label" in spec else {})}


def nudged(params):
    """Away from the zeros with which the last layers start."""
    return jax.tree.map(lambda p: np.asarray(p) + np.float32(0.1 * np.sin(np.arange(p.size))).reshape(p.shape), params)


def untouched(game, spec=tiny.SPEC):
    return jax.jit(lambda k: game.init(k, spec))(jax.random.key(0))


def start(game, spec=tiny.SPEC):
    params, mutable = untouched(game, spec)
    return nudged(params), mutable


@pytest.mark.parametrize("likelihood", vae.LIKELIHOODS)
def test_figures_add_up_and_agree_with_the_loss(likelihood):
    spec = tiny.spec_of(16, 3, 2)
    game = make(spec, likelihood=likelihood)
    params, mutable = start(game, spec)
    data, key = batch(spec), jax.random.key(1)
    figures = jax.jit(game.metrics)(game.weights(params, mutable), data, key)
    assert all(v.shape == (4,) and v.dtype == jnp.float32 for v in figures.values())
    np.testing.assert_allclose(figures["elbo"], figures["reconstruction"] - figures["kl"], rtol=1e-5)
    np.testing.assert_allclose(figures["bits_per_dim"], -figures["elbo"] / (16 * 16 * 3 * math.log(2)), rtol=1e-5)
    loss, (_, scalars) = jax.jit(game.moves[0][1])(params, mutable, data, tiny.clock(), key)
    np.testing.assert_allclose(loss, -jnp.mean(figures["elbo"]), rtol=1e-5)
    np.testing.assert_allclose(scalars["kl"], jnp.mean(figures["kl"]), rtol=1e-5)


@pytest.mark.parametrize("likelihood", ["gaussian", "logistic_mixture"])
def test_an_untrained_model_spends_about_the_bits_of_a_wide_density(likelihood):
    """At its start every pixel has the same known distribution, so bits per dimension have a closed form."""
    game = make(likelihood=likelihood, mixtures=1)
    params, mutable = untouched(game)
    data = batch(tiny.spec_of(16, 1), n=1)
    data["image"] = jnp.full_like(data["image"], 128)  # x = 1/255
    found = jax.jit(game.metrics)(game.weights(params, mutable), data, jax.random.key(0))["bits_per_dim"]
    # N(0, exp(-2)) and the logistic, at 0.
    density = math.exp(2) / math.sqrt(2 * math.pi) if likelihood == "gaussian" else 0.25
    np.testing.assert_allclose(found, -math.log2(density / 127.5), rtol=1e-3)


def test_the_kl_weight_warms_up_in_images():
    spec = tiny.spec_of(16, 1)
    game = make(spec, warmup=1000, beta=2.0)
    params, mutable = start(game)
    loss = jax.jit(game.moves[0][1])
    values = [loss(params, mutable, batch(spec), tiny.clock(images_seen=seen), jax.random.key(1))
              for seen in (0, 500, 5000)]
    figures = values[0][1][1]
    for (value, _), weight in zip(values, (0, 1, 2)):
        np.testing.assert_allclose(value, weight * figures["kl"] - figures["reconstruction"], rtol=1e-5)


def test_binary_pixels_are_drawn_anew_from_the_grey_values():
    """With nothing learned the log-likelihood tells nothing, so look at the data through a decoder of fixed logits."""
    spec = tiny.spec_of(16, 1)
    game = make(spec)
    params, mutable = untouched(game)
    decoder = params["vae"]["decoder"]
    decoder["Conv_0"]["bias"] = jnp.full_like(decoder["Conv_0"]["bias"], 4.0)
    data = batch(spec, n=1)
    data["image"] = jnp.full_like(data["image"], 51)  # one pixel in five is on
    evaluate = jax.jit(game.metrics)
    found = [float(evaluate(params, data, jax.random.key(i))["reconstruction"][0]) for i in range(20)]
    ones = (np.array(found) + 256 * math.log1p(math.exp(4))) / 4
    assert len({round(n) for n in ones}) > 5 and abs(ones.mean() - 256 / 5) < 6
    np.testing.assert_allclose(ones, np.round(ones), atol=1e-2)


@pytest.mark.parametrize("likelihood", vae.LIKELIHOODS)
def test_decode_and_encode_are_deterministic_in_range_and_see_the_label(likelihood):
    spec = tiny.spec_of(16, 3, 2)
    game = make(spec, likelihood=likelihood)
    params, mutable = start(game, spec)
    weights, label = game.weights(params, mutable), jnp.array([0, 1])
    decode, encode = jax.jit(functools.partial(game.main.decode, options={})), jax.jit(game.main.encode)
    z = game.main.prior(jax.random.key(0), 2, label)
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


def test_the_importance_loss_is_the_bound_of_its_samples():
    spec, samples = tiny.spec_of(16, 1), 3
    game, data, key = make(spec, importance_samples=samples), batch(spec, 8), jax.random.key(4)
    params, mutable = start(game)
    loss, (_, scalars) = jax.jit(game.moves[0][1])(params, mutable, data, tiny.clock(), key)
    key_x, key_z = jax.random.split(key)
    draw = game.importance(game.weights(params, mutable), data, key_x)
    log_weights = np.stack([draw(key) for key in jax.random.split(key_z, samples)]).astype(np.float64)
    bound = np.log(np.mean(np.exp(log_weights - log_weights.max(0)), axis=0)) + log_weights.max(0)
    np.testing.assert_allclose(loss, -bound.mean(), rtol=1e-5)
    np.testing.assert_allclose(scalars["elbo"], log_weights.mean(), rtol=1e-5)
    np.testing.assert_allclose(scalars["elbo"], scalars["reconstruction"] - scalars["kl"], rtol=1e-5)
    assert scalars["bound"] > scalars["elbo"]


def test_importance_weights_are_log_p_of_x_and_z_over_q():
    """From the encoder's and decoder's outputs, with the densities written out."""
    spec = tiny.spec_of(16, 1)
    game = make(spec, likelihood="gaussian")
    params, mutable = start(game)
    weights, data = game.weights(params, mutable), batch(spec, 3)
    found = game.importance(weights, data, jax.random.key(1))(jax.random.key(2))
    x = data["image"] / 127.5 - 1 + vae.STEP * jax.random.uniform(jax.random.key(1), data["image"].shape, minval=-0.5,
                                                                  maxval=0.5)
    # `encode` gives the posterior's mean; its variance follows from two draws of z, so take it from the network.
    encoder, decoder = vae._networks(16, 1, 0, jnp.float32, 3, 1, **NETWORK)
    mean, log_variance = encoder.apply({"params": weights["vae"]["encoder"]}, x, None)
    z = mean + jnp.exp(log_variance / 2) * jax.random.normal(jax.random.key(2), mean.shape)
    out, log_sigma = decoder.apply({"params": weights["vae"]["decoder"]}, z, None), weights["vae"]["log_sigma"]

    def log_normal(value, mean, log_sd):
        terms = -0.5 * ((value - mean) / jnp.exp(log_sd)) ** 2 - log_sd - 0.5 * math.log(2 * math.pi)
        return jnp.sum(terms, axis=tuple(range(1, terms.ndim)))

    expected = (log_normal(x, out, jnp.broadcast_to(log_sigma, x.shape)) + 256 * math.log(vae.STEP)
                + log_normal(z, jnp.zeros_like(z), jnp.zeros_like(z)) - log_normal(z, mean, log_variance / 2))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(("changes", "message"), [
    ({"importance_samples": 0}, "importance_samples is 0"),
    ({"importance_samples": 5, "free_bits": 0.1}, "free_bits needs the KL"),
])
def test_importance_samples_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)
