"""Solvers of diffusion and flow models, as functions that know no network.

    images = heun(velocity, noise, flow_times(16))                       # time runs from 0, noise, to 1, data
    images = dpmpp_2m(denoise, 80 * noise, karras_sigmas(16), EXPLODING)  # time is sigma, and falls to 0

A model sees z = alpha(t) x + sigma(t) noise, x being the data; a `Path` says how alpha and sigma depend on time. What
a network knows is given as one of two functions of (z [n,...], t float32 scalar): its velocity dz/dt, or its denoiser,
the mean of x given z. Times may rise or fall: from data to noise gives the latents of pictures.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
Predict = Callable[[Array, Array], Array]  # (z [n,...], t float32 scalar) -> [n,...]


class Path(NamedTuple):
    """How much data and how much noise there is at time t: z = alpha(t) x + sigma(t) noise."""

    alpha: Callable[[Array], Array]
    sigma: Callable[[Array], Array]


# A straight line from noise at 0 to data at 1 (rectified flow, arXiv 2209.03003; flow matching, arXiv 2210.02747).
FLOW = Path(lambda t: t, lambda t: 1 - t)
# Noise is added to data that stay as they are, and time is its standard deviation (EDM, arXiv 2206.00364, section 3).
EXPLODING = Path(jnp.ones_like, lambda t: t)


# ------------------------------------------------------------------------------------------------------------- times


def flow_times(steps: int, shift: float | Array = 1.0) -> Array:
    """Times of `FLOW` from noise to data, float32 [steps+1] from 0 to 1, evenly spaced for shift 1.

    A shift above 1 gives noise more of the steps, as pictures of many pixels need (Stable Diffusion 3, arXiv
    2403.03206, eq. 23).
    """
    sigma = jnp.linspace(1.0, 0.0, steps + 1)
    return 1 - shift * sigma / (1 + (shift - 1) * sigma)


def karras_sigmas(steps: int, low: float = 0.002, high: float = 80.0, rho: float = 7.0) -> Array:
    """Times of `EXPLODING` from noise to data, float32 [steps+1]: from high down to low, and then 0 (EDM, eq. 5)."""
    ramp = jnp.linspace(0.0, 1.0, steps)
    sigmas = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return jnp.append(sigmas, 0.0)


# ----------------------------------------------------------------------------------------------------------- solvers


def euler(velocity: Predict, z: Array, times: Array) -> Array:
    """z at the last of times, from z at the first, by Euler's method: one evaluation a step, error of order 1.

    Args:
      velocity: (z [n,...], t) -> dz/dt.
      z: float [n,...], at times[0].
      times: float [steps+1], rising or falling.
    """
    def step(z, ends):
        start, end = ends
        return z + (end - start) * velocity(z, start), None

    return jax.lax.scan(step, z, (times[:-1], times[1:]))[0]


def heun(velocity: Predict, z: Array, times: Array) -> Array:
    """As `euler`, by Heun's method: two evaluations a step, error of order 2."""
    def step(z, ends):
        start, end = ends
        first = velocity(z, start)
        second = velocity(z + (end - start) * first, end)
        return z + (end - start) * (first + second) / 2, None

    return jax.lax.scan(step, z, (times[:-1], times[1:]))[0]


def dpmpp_2m(denoise: Predict, z: Array, times: Array, path: Path = FLOW) -> Array:
    """As `euler`, by DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2): one evaluation a step, error of order 2.

    Args:
      denoise: (z [n,...], t) -> the mean of x given z.
      z: float [n,...], at times[0].
      times: float [steps+1], from noise to data; sigma may be 0 at the last one and alpha at the first.
      path: what time means.
    """
    alpha, sigma = path.alpha(times), path.sigma(times)
    ratio = sigma[1:] / sigma[:-1]
    # alpha' (1 - exp(-h)) with h = log(alpha'/sigma') - log(alpha/sigma), finite where alpha or sigma' is 0.
    gain = alpha[1:] - alpha[:-1] * ratio
    share = _extrapolation(alpha, sigma)

    def step(carry, now):
        z, before = carry
        t, ratio, gain, share = now
        seen = denoise(z, t)
        z = ratio * z + gain * (seen + share * (seen - before))
        return (z, seen), None

    return jax.lax.scan(step, (z, jnp.zeros_like(z)), (times[:-1], ratio, gain, share))[0][0]


SOLVERS = ("euler", "heun", "dpmpp_2m")


def solve_flow(solver: int, velocity: Predict, z: Array, times: Array) -> Array:
    """z at the last of times along `FLOW`, by a solver's number in `SOLVERS`; arguments as of `euler`."""
    if SOLVERS[solver] == "dpmpp_2m":
        return dpmpp_2m(lambda z, t: z + (1 - t) * velocity(z, t), z, times)
    return (euler, heun)[solver](velocity, z, times)


def _extrapolation(alpha: Array, sigma: Array) -> Array:
    """1/(2r) of each step, r = h_before / h, float32 [steps]; 0, a step of order 1, where there is no step before, and
    at either infinite end of log(alpha/sigma)."""
    middle = jnp.log(jnp.where(alpha > 0, alpha, 1.0)) - jnp.log(jnp.where(sigma > 0, sigma, 1.0))
    finite = (alpha > 0) & (sigma > 0)
    h = jnp.diff(middle)
    known = finite[:-2] & finite[1:-1] & finite[2:]
    share = jnp.where(known, h[1:] / (2 * jnp.where(known, h[:-1], 1.0)), 0.0)
    return jnp.concatenate([jnp.zeros(1), share])


# ------------------------------------------------------------------------------- what a network says, in other words


def velocity_of(denoise: Predict, path: Path = FLOW) -> Predict:
    """The velocity that a denoiser means: alpha' x + sigma' noise. Not defined where sigma is 0."""
    def velocity(z: Array, t: Array) -> Array:
        (alpha, alpha_rate), (sigma, sigma_rate) = (
            jax.jvp(function, (t,), (jnp.ones_like(t),)) for function in (path.alpha, path.sigma))
        x = denoise(z, t)
        return alpha_rate * x + sigma_rate * (z - alpha * x) / sigma

    return velocity


def guided(both: Callable[[Array, Array], tuple[Array, Array]], alone: Predict, scale: float | Array,
           low: float | Array = 0.0, high: float | Array = 1.0) -> Predict:
    """Classifier-free guidance (arXiv 2207.12598) within an interval of times (arXiv 2404.07724).

    Args:
      both: (z, t) -> what the network predicts with the condition and without it (or with one to be avoided).
      alone: (z, t) -> what it predicts with the condition; it is asked outside of the interval and at scale 1.
      scale: 0 leaves the condition out, 1 takes it as it is, above 1 exaggerates it.
      low, high: the interval, in the unit of t.

    Returns:
      (z, t) -> without + scale (with - without) where low <= t <= high, else with.
    """
    def amplified(z: Array, t: Array) -> Array:
        with_it, without = both(z, t)
        return without + scale * (with_it - without)

    def predict(z: Array, t: Array) -> Array:
        inside = (low <= t) & (t <= high) & (jnp.asarray(scale) != 1)
        return jax.lax.cond(inside, amplified, alone, z, t)

    return predict
