"""Known answers for the losses: sums to one, closed forms, and penalties of critics whose gradient is known."""
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imggen_jax import losses

VALUES = np.arange(256) / 127.5 - 1


@pytest.mark.parametrize("scale", [-20.0, -5.0, -2.0, 0.0, 4.0])
def test_logistic_mixture_sums_to_one_over_256_values(scale):
    rng = np.random.default_rng(0)
    logits, means = rng.normal(size=3), rng.uniform(-1.2, 1.2, 3)
    parameters = np.concatenate([logits, means, np.full(3, scale)]).astype(np.float32)
    log_p = losses.logistic_mixture(jnp.tile(parameters, (256, 1, 1, 1)), VALUES.reshape(256, 1, 1, 1))
    assert math.isclose(np.exp(np.float64(log_p)).sum(), 1, rel_tol=1e-4)


def reference_mixture(p, pixel):
    """P(r, g, b) in float64 by differences of distribution functions; p [10,K]."""
    def cdf(x):
        return 1 / (1 + np.exp(-x))

    total = 0
    for weight, mr, mg, mb, sr, sg, sb, a, b, c in zip(np.exp(p[0]) / np.exp(p[0]).sum(), *p[1:7], *np.tanh(p[7:])):
        r, g, _ = pixel
        term = weight
        for x, mean, log_scale in zip(pixel, (mr, mg + a * r, mb + b * r + c * g), (sr, sg, sb)):
            upper = 1 if x == 1 else cdf((x - mean + 1 / 255) / np.exp(log_scale))
            lower = 0 if x == -1 else cdf((x - mean - 1 / 255) / np.exp(log_scale))
            term *= upper - lower
        total += term
    return total


def test_colour_mixture_matches_differences_of_distribution_functions():
    rng = np.random.default_rng(1)
    p = rng.normal(size=(20, 10, 2))
    pixels = VALUES[rng.integers(0, 256, (20, 3))]
    pixels[0], pixels[1] = (-1, 1, 0.2), (1, -1, -1)
    found = losses.logistic_mixture(p.reshape(20, 1, 1, 20), pixels.reshape(20, 1, 1, 3))
    expected = [math.log(reference_mixture(q, pixel)) for q, pixel in zip(p, pixels)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_mixture_gradient_is_finite_for_extreme_parameters():
    p = jnp.array([0.0, 50.0, -30.0, 0.0, -50.0, 30.0]).reshape(2, 1, 1, 3)

    def total(p):
        return jnp.sum(losses.logistic_mixture(p, jnp.array([1.0, -1.0]).reshape(2, 1, 1, 1)))

    assert jnp.isfinite(total(p)) and jnp.isfinite(jax.grad(total)(p)).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_mixture_mean_is_the_expected_value(channels):
    rng = np.random.default_rng(2)
    p = rng.normal(size=(1, 1, 1, losses.mixture_parameters(channels, 2))).astype(np.float32)
    mean = losses.logistic_mixture_mean(p, channels)
    if channels == 1:
        log_p = losses.logistic_mixture(jnp.tile(p, (256, 1, 1, 1)), VALUES.reshape(256, 1, 1, 1))
        assert math.isclose(float(mean[0, 0, 0, 0]), float(np.exp(log_p) @ VALUES), abs_tol=1e-4)
    else:  # without slopes, and a single sharp component, the mean is its means, inside the range
        p = np.array([0, 0.3, -0.4, 2.0, -7, -7, -7, 0, 0, 0], np.float32).reshape(1, 1, 1, 10)
        np.testing.assert_allclose(losses.logistic_mixture_mean(p, 3)[0, 0, 0], [0.3, -0.4, 1.0], atol=1e-4)
        p[..., 7] = 20.0  # green = -0.4 + tanh(20) red
        np.testing.assert_allclose(losses.logistic_mixture_mean(p, 3)[0, 0, 0], [0.3, -0.1, 1.0], atol=1e-4)


def test_mixture_refuses_a_wrong_number_of_parameters():
    with pytest.raises(ValueError, match="multiple of 10"):
        losses.logistic_mixture(jnp.zeros((1, 1, 1, 12)), jnp.zeros((1, 1, 1, 3)))


def test_bernoulli_is_a_probability():
    logits = jnp.array([-80.0, 0.3, 80.0]).reshape(1, 1, 3, 1)
    p = np.exp(0.3) / (1 + np.exp(0.3))
    ones = losses.bernoulli(logits, jnp.array([0.0, 1.0, 1.0]).reshape(1, 1, 3, 1))
    np.testing.assert_allclose(ones, [np.log(p)], rtol=1e-5)
    np.testing.assert_allclose(losses.bernoulli(logits, jnp.zeros((1, 1, 3, 1))), [np.log(1 - p) - 80], rtol=1e-5)


def test_gaussian_integrates_to_one():
    x = jnp.linspace(-8, 8, 2001)
    density = jnp.exp(losses.gaussian(0.3 * jnp.ones((2001, 1, 1, 1)), math.log(0.7), x.reshape(-1, 1, 1, 1)))
    assert math.isclose(float(jnp.sum(density)) * 16 / 2000, 1, rel_tol=1e-4)


def test_gaussian_kl_matches_the_integral():
    mean, sigma = 0.7, 0.4
    x = np.linspace(mean - 12 * sigma, mean + 12 * sigma, 20001)
    log_q = -0.5 * ((x - mean) / sigma) ** 2 - math.log(sigma)
    integrand = np.exp(log_q) / math.sqrt(2 * math.pi) * (log_q + x**2 / 2)
    found = losses.gaussian_kl(jnp.array([[mean, 0.0]]), jnp.array([[2 * math.log(sigma), 0.0]]))
    np.testing.assert_allclose(found, [[integrand.sum() * (x[1] - x[0]), 0]], rtol=1e-4)


def test_free_bits_take_the_larger_of_nats_and_the_batch_mean():
    kl = jnp.array([[0.0, 1.0], [0.4, 3.0]])
    np.testing.assert_allclose(losses.free_bits(kl, 0.5), [0.5 + 1, 0.5 + 3])
    np.testing.assert_allclose(losses.free_bits(kl, 0.0), jnp.sum(kl, axis=1))
    # No pressure on the poor dimension, full pressure on the other.
    gradient = jax.grad(lambda kl: jnp.sum(losses.free_bits(kl, 0.5)))(kl)
    np.testing.assert_allclose(gradient, [[0, 1], [0, 1]])


def test_adversarial_losses_at_known_logits():
    real, fake = jnp.array([2.0, -0.5]), jnp.array([0.5, 0.25])
    log2 = math.log1p(math.exp(-2)), math.log1p(math.exp(0.5))
    d, g = losses.non_saturating
    np.testing.assert_allclose(d(real, fake)[0], log2[0] + log2[1], rtol=1e-6)
    np.testing.assert_allclose(g(real, fake), jnp.log1p(jnp.exp(-fake)), rtol=1e-6)
    np.testing.assert_allclose(losses.hinge.discriminator(real, fake), [1.5, 2.75])
    np.testing.assert_allclose(losses.wasserstein.discriminator(real, fake), fake - real)


def test_relativistic_pairing_is_symmetric_and_sees_differences_only():
    a, b = jnp.array([1.0, -3.0]), jnp.array([0.2, 5.0])
    d, g = losses.relativistic
    np.testing.assert_allclose(d(a, b), g(b, a))
    np.testing.assert_allclose(d(a, b), d(a + 7, b + 7), rtol=1e-5)
    np.testing.assert_allclose(d(a, a), math.log(2), rtol=1e-6)


def test_zero_centered_penalty_of_a_linear_critic_is_half_gamma_times_its_squared_norm():
    w = jax.random.normal(jax.random.key(0), (4, 4, 3))
    x = jax.random.normal(jax.random.key(1), (5, 4, 4, 3))
    logits, penalty = losses.zero_centered_penalty(lambda x: jnp.einsum("bhwc,hwc->b", x, w), x, 3.0)
    np.testing.assert_allclose(penalty, jnp.full(5, 1.5 * jnp.sum(w**2)), rtol=1e-5)
    np.testing.assert_allclose(logits, jnp.einsum("bhwc,hwc->b", x, w), rtol=1e-5)


def test_penalties_are_per_example():
    x = jnp.array([0.0, 2.0, -3.0]).reshape(3, 1, 1, 1)
    _, penalty = losses.zero_centered_penalty(lambda x: jnp.sum(x**2, axis=(1, 2, 3)), x, 2.0)
    np.testing.assert_allclose(penalty, [0, 16, 36])


def test_interpolated_penalty_vanishes_where_the_critic_has_slope_one():
    w = jnp.array([0.6, 0.8])
    real, fake = jax.random.normal(jax.random.key(0), (2, 4, 1, 2, 1))
    for scale, expected in ((1.0, 0.0), (3.0, 40.0), (0.0, 10.0)):
        def critic(x):
            return scale * jnp.einsum("bhwc,w->b", x, w)

        found = losses.interpolated_penalty(critic, real, fake, 10.0, jax.random.key(1))
        np.testing.assert_allclose(found, jnp.full(4, expected), atol=1e-4)


def test_interpolated_penalty_of_a_dead_critic_has_a_finite_gradient():
    def penalty(scale):
        x = jnp.ones((2, 2, 2, 1))
        return jnp.sum(losses.interpolated_penalty(lambda x: scale * x.sum((1, 2, 3)), x, -x, 10.0, jax.random.key(0)))

    assert jnp.isfinite(jax.grad(penalty)(0.0))
