"""Bounds on the likelihood: a linear VAE's is that of probabilistic PCA, and more samples tighten a bound."""
import math
import sys
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import parts
import pytest
import tiny

from imggen_jax.errors import RunError
from imggen_jax.evaluation import likelihood
from imggen_jax.games import vae

SPEC = tiny.spec_of(4, 1)
LATENT, PIXELS = 3, 16


class Encoder(nn.Module):
    """x -> a linear mean, and a log-variance that is the same for all x."""

    size: int
    channels: int
    classes: int
    latent: int
    dtype: object

    @nn.compact
    def __call__(self, images, label):
        x = images.reshape(len(images), -1)
        log_variance = self.param("log_variance", nn.initializers.zeros, (self.latent,))
        return nn.Dense(self.latent, name="mean")(x), jnp.broadcast_to(log_variance, (len(x), self.latent))


class Decoder(nn.Module):
    """z -> W z + b."""

    size: int
    channels: int
    classes: int
    dtype: object

    @nn.compact
    def __call__(self, z, label):
        return nn.Dense(self.size**2 * self.channels, name="out")(z).reshape(-1, self.size, self.size, self.channels)


@pytest.fixture
def linear(monkeypatch):
    """(game, weights, mean [D], W [D,L], sigma) of a linear VAE whose encoder is the exact posterior."""
    module = types.ModuleType("linear")
    module.Encoder, module.Decoder = Encoder, Decoder
    monkeypatch.setitem(sys.modules, "imggen_jax.nets.linear", module)
    game = vae.make(SPEC, dtype="float32", latent=LATENT, network={"name": "linear"}, likelihood="gaussian",
                    mixtures=0, beta=1.0, free_bits=0.0, warmup=0, importance_samples=1)
    rng = np.random.RandomState(0)
    # Orthogonal columns: then the posterior has independent dimensions, as the encoder's has.
    w = np.linalg.qr(rng.randn(PIXELS, LATENT))[0] * [0.9, 0.5, 0.3]
    mean, sigma = 0.2 * rng.randn(PIXELS), 0.25
    m = w.T @ w + sigma**2 * np.eye(LATENT)            # Tipping and Bishop 1999, eq. 7
    kernel = np.linalg.inv(m) @ w.T                    # the posterior's mean is kernel (x - mean)
    weights = {"vae": {
        "encoder": {"mean": {"kernel": kernel.T, "bias": -kernel @ mean},
                    "log_variance": np.log(sigma**2 * np.diag(np.linalg.inv(m)))},
        "decoder": {"out": {"kernel": w.T, "bias": mean}}, "log_sigma": np.log(sigma)}}
    return game, jax.tree.map(np.float32, weights), mean, w, sigma


def test_a_linear_vae_is_probabilistic_pca(linear):
    game, weights, mean, w, sigma = linear
    images = np.random.RandomState(1).randint(0, 256, (5, 4, 4, 1)).astype(np.uint8)
    key = jax.random.key(3)
    draw = game.importance(weights, {"image": images}, key)
    found = [np.asarray(draw(jax.random.key(seed))) for seed in range(3)]
    # log N(x; mean, W W^T + sigma^2 I) per unit of [-1,1], times the probability of a step for each pixel
    noise = vae.STEP * jax.random.uniform(key, images.shape, minval=-0.5, maxval=0.5)
    x = (images / 127.5 - 1 + np.asarray(noise)).reshape(5, PIXELS) - mean
    covariance = w @ w.T + sigma**2 * np.eye(PIXELS)
    _, logdet = np.linalg.slogdet(2 * math.pi * covariance)
    expected = -0.5 * (logdet + np.einsum("nd,nd->n", x @ np.linalg.inv(covariance), x)) + PIXELS * math.log(vae.STEP)
    for each in found:  # whatever z was drawn, for the posterior is exact
        np.testing.assert_allclose(each, expected, rtol=2e-5)


def test_the_bound_of_a_run_is_that_likelihood_and_in_bits(linear):
    game, weights, *_ = linear
    images = np.random.RandomState(1).randint(0, 256, (7, 4, 4, 1)).astype(np.uint8)
    held_out = parts.dataset(images)
    one, many = (likelihood.bound(game, weights, SPEC, held_out, samples=k, batch=3, seed=0) for k in (1, 50))
    assert one["importance_bound"] == pytest.approx(one["elbo"], rel=1e-6)
    assert many["importance_bound"] == pytest.approx(one["elbo"], rel=2e-5)
    assert many["bits_per_dim"] == pytest.approx(-many["importance_bound"] / (PIXELS * math.log(2)))
    assert (many["samples"], many["pictures"]) == (50, 7)


@pytest.fixture(scope="module")
def trained():
    built = tiny.build("vae", "bernoulli", learning_rate=3e-3)
    state, play = jax.jit(built.init)(), jax.jit(built.play(None))
    for _ in range(10):
        state, _ = play(state, tiny.examples(tiny.SPEC, 5, 8), jax.random.key(0), {})
    return built.game, jax.tree.map(np.asarray, state.average)


def test_more_samples_tighten_the_bound_and_batches_do_not_matter(trained):
    game, weights = trained
    data = parts.dataset(tiny.examples(tiny.SPEC, 1, 12, seed=3)["image"][0])
    found = {k: likelihood.bound(game, weights, tiny.SPEC, data, samples=k, batch=12, seed=1) for k in (1, 10, 200)}
    bounds = [found[k]["importance_bound"] for k in (1, 10, 200)]
    assert bounds[0] < bounds[1] < bounds[2]
    assert found[200]["elbo"] < found[200]["importance_bound"]
    other = likelihood.bound(game, weights, tiny.SPEC, data, samples=10, batch=5, seed=1)
    assert other["importance_bound"] == pytest.approx(found[10]["importance_bound"], rel=1e-5)
    few = likelihood.bound(game, weights, tiny.SPEC, data, samples=1, batch=12, seed=1, number=4)
    assert few["pictures"] == 4


def test_what_has_no_likelihood_is_refused(trained):
    game, weights = trained
    with pytest.raises(RunError, match="the game of this run has none"):
        likelihood.bound(game._replace(importance=None), weights, tiny.SPEC, None, samples=1, batch=1, seed=0)
    for samples in (0, 5001):
        with pytest.raises(RunError, match=f"{samples} samples for each image; take 1 to 5,000"):
            likelihood.bound(game, weights, tiny.SPEC, None, samples=samples, batch=1, seed=0)
