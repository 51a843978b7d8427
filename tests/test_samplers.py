"""Solvers against data whose ideal denoiser is known in closed form: a Gaussian, and a mixture of two."""
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imggen_jax import samplers
from imggen_jax.samplers import (
    EXPLODING,
    FLOW,
    SOLVERS,
    Path,
    ddim,
    dpmpp_2m,
    euler,
    flow_times,
    guided,
    heun,
    karras_sigmas,
    plms,
    solve_flow,
    undo_ddim,
    velocity_of,
)

MEAN, SPREAD = 0.7, 0.4  # of the Gaussian
NOISE = np.linspace(-2, 2, 9)[:, None]


@pytest.fixture(autouse=True)
def double():
    """In float32, rounding hides the orders."""
    with jax.enable_x64(True):
        yield


def gaussian(path: Path):
    """The mean of x given z for x ~ N(MEAN, SPREAD^2)."""
    def denoise(z, t):
        alpha, sigma = path.alpha(t), path.sigma(t)
        gain = alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2)
        return MEAN + gain * (z - alpha * MEAN)
    return denoise


def mixture(path: Path):
    """The same for x ~ N(+-1, 0.3^2), with equal weights."""
    def denoise(z, t):
        alpha, sigma = path.alpha(t), path.sigma(t)
        variance = alpha**2 * 0.3**2 + sigma**2
        share = jax.nn.sigmoid(2 * alpha * z / variance)  # of the component at +1
        means = [center + alpha * 0.3**2 / variance * (z - alpha * center) for center in (1.0, -1.0)]
        return share * means[0] + (1 - share) * means[1]
    return denoise


def solve(name, denoise, z, times, path=FLOW):
    if name == "dpmpp_2m":
        return dpmpp_2m(denoise, z, times, path)
    return {"euler": euler, "heun": heun}[name](velocity_of(denoise, path), z, times)


# The way between two times that are neither all noise nor all data, where everything is smooth.
PATHS = {"flow": (FLOW, lambda n: jnp.linspace(0.1, 0.9, n + 1)),
         "exploding": (EXPLODING, lambda n: jnp.linspace(3.0, 0.2, n + 1))}


@functools.cache
def exact(kind, data):
    path, times = PATHS[kind]
    return heun(velocity_of(data(path), path), NOISE, times(4096))


@pytest.mark.parametrize("data", [gaussian, mixture])
@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_the_error_falls_with_the_order_of_the_method(name, order, kind, data):
    path, times = PATHS[kind]
    denoise = data(path)
    errors = [np.abs(solve(name, denoise, NOISE, times(n), path) - exact(kind, data)).max() for n in (64, 128, 256)]
    found = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.all(np.abs(found - order) < 0.25), found


def test_a_gaussian_is_reached_in_closed_form():
    # Of the ODE's solution the z-score stays: (z - alpha MEAN) / sqrt(alpha^2 SPREAD^2 + sigma^2).
    for name in ("euler", "heun", "dpmpp_2m"):
        made = solve(name, gaussian(FLOW), NOISE, 1e-9 + (1 - 2e-9) * flow_times(1000))
        np.testing.assert_allclose(made, MEAN + SPREAD * NOISE, atol=5e-3)
    made = dpmpp_2m(gaussian(EXPLODING), 80 * NOISE, karras_sigmas(50), EXPLODING)
    np.testing.assert_allclose(made, MEAN + SPREAD * NOISE, atol=1e-2)


def test_dpmpp_takes_the_ends_where_there_is_only_noise_or_only_data():
    made = dpmpp_2m(gaussian(FLOW), NOISE, flow_times(64))
    np.testing.assert_allclose(made, MEAN + SPREAD * NOISE, atol=1e-2)
    one = dpmpp_2m(gaussian(FLOW), NOISE, flow_times(1))
    np.testing.assert_allclose(one, jnp.full_like(NOISE, MEAN))  # the mean of all data


@pytest.mark.parametrize("data", [gaussian, mixture])
def test_backward_and_forward_gives_the_start_back(data):
    velocity = velocity_of(data(FLOW), FLOW)
    times = jnp.linspace(0.02, 0.98, 65)
    x = jnp.linspace(-1.4, 1.4, 9)[:, None]
    z = heun(velocity, x, times[::-1])
    assert np.abs(z - x).max() > 0.3
    np.testing.assert_allclose(heun(velocity, z, times), x, atol=2e-3)


def test_steps_backwards_lead_to_the_start():
    """Also from where there is no noise left, and to where there is nothing but noise."""
    sigmas = jnp.linspace(1, 0, 9)

    def denoise(z, i):
        return 0.6 * z + 0.1 * jnp.sin(z) + 0.1 * sigmas[i]

    x = ddim(denoise, NOISE, 1 - sigmas, sigmas)
    errors = [float(jnp.abs(undo_ddim(denoise, x, 1 - sigmas, sigmas, jnp.ones(8), rounds) - NOISE).max())
              for rounds in (1, 4, 30)]
    assert errors[0] > 5 * errors[1] > 25 * errors[2] and errors[2] < 1e-6


def test_times():
    np.testing.assert_allclose(flow_times(4), [0, 0.25, 0.5, 0.75, 1])
    shifted = flow_times(4, 3.0)
    np.testing.assert_allclose(shifted, [0, 0.1, 0.25, 0.5, 1])  # 1 - 3 s / (1 + 2 s)
    sigmas = karras_sigmas(5, 0.01, 10.0)
    assert sigmas[0] == pytest.approx(10) and sigmas[-2] == pytest.approx(0.01) and sigmas[-1] == 0
    roots = sigmas[:-1] ** (1 / 7)
    np.testing.assert_allclose(np.diff(roots), np.diff(roots)[0])


def test_guidance_acts_in_its_interval_alone():
    with_it, without = (lambda z, t: z + 1), (lambda z, t: z)
    predict = guided(lambda z, t: (with_it(z, t), without(z, t)), with_it, 3.0, 0.25, 0.75)
    found = [float(predict(jnp.zeros(()), jnp.asarray(t))) for t in (0.2, 0.25, 0.5, 0.75, 0.8)]
    assert found == [1, 3, 3, 3, 1]
    none = guided(lambda z, t: (with_it(z, t), without(z, t)), with_it, 0.0)
    assert float(none(jnp.zeros(()), jnp.asarray(0.5))) == 0


@pytest.mark.parametrize("name", [*SOLVERS, "ddim", "plms"])
def test_a_program_that_is_watched_gives_the_same_and_is_stopped_between_steps(name, capfd):
    sigmas = jnp.linspace(1.0, 0.0, 7)

    def solve(z):
        if name in SOLVERS:
            return solve_flow(SOLVERS.index(name), lambda z, t: jnp.sin(z) * t, z, flow_times(6))
        return {"ddim": ddim, "plms": plms}[name](lambda z, i: jnp.sin(z), z, 1 - sigmas, sigmas)

    @jax.jit
    def program(z, watch=None):
        with samplers.telling(watch):
            return solve(z)

    def check():
        steps.append(len(steps))
        if len(steps) == most:
            raise KeyError("enough")

    plain, steps, most = np.asarray(program(NOISE)), [], None
    with samplers.watched(check) as number:
        np.testing.assert_array_equal(np.asarray(program(NOISE, number)), plain)
    assert len(steps) in (6, 7)  # plms asks once more
    steps, most = [], 3
    with pytest.raises(KeyError, match="enough"), samplers.watched(check) as number:
        np.asarray(program(NOISE, number))
    assert len(steps) == 3 and "Traceback" not in capfd.readouterr().err
    steps, most = [], None
    with samplers.watched(check) as number:  # what was stopped leaves nothing behind
        np.testing.assert_array_equal(np.asarray(program(NOISE, number)), plain)
