"""Solvers of diffusion and flow models, as functions that know no network.

    images = heun(velocity, noise, flow_times(16))                       # time runs from 0, noise, to 1, data
    images = dpmpp_2m(denoise, 80 * noise, karras_sigmas(16), EXPLODING)  # time is sigma, and falls to 0

A model sees z = alpha(t) x + sigma(t) noise, x being the data; a `Path` says how alpha and sigma depend on time. What
a network knows is given as one of two functions of (z [n,...], t float32 scalar): its velocity dz/dt, or its denoiser,
the mean of x given z. Times may rise or fall: from data to noise gives the latents of pictures.
"""
from __future__ import annotations

import contextlib
import contextvars
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback

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


# ---------------------------------------------------------------------------------------------- stopped between steps

# A compiled program cannot be interrupted. One that is traced inside of `telling` calls back at each step; the number
# that it is given says whom, so that one program serves many.
_numbers = itertools.count()
_watching: dict[int, Callable[[], object]] = {}
_stopping: list[BaseException] = []      # JAX logs the traceback of what a callback raises; of these it need not
logging.getLogger("jax._src.callback").addFilter(
    lambda record: not any(record.exc_info and record.exc_info[1] is each for each in _stopping))
_told: contextvars.ContextVar[Array | None] = contextvars.ContextVar("imggen_jax_told", default=None)


@contextlib.contextmanager
def watched(check: Callable[[], object]) -> Iterator[np.uint32]:
    """The number of a program's run, which is stopped between steps by an exception of `check`.

    Args:
      check: is called at each step, from another thread.

    Raises:
      what `check` raised, in place of JAX's error about it.
    """
    raised: list[BaseException] = []

    def call() -> None:
        try:
            check()
        except BaseException as error:
            raised.append(error)
            _stopping.append(error)
            raise

    number = next(_numbers) % 2**32
    _watching[number] = call
    try:
        yield np.uint32(number)
    except Exception:
        if raised:
            raise raised[0] from None
        raise
    finally:
        del _watching[number]
        _stopping[:] = [each for each in _stopping if each not in raised]


@contextlib.contextmanager
def telling(number: Array | None) -> Iterator[None]:
    """Solvers that are traced inside call back at each step; number: of `watched`, uint32 scalar; None: they do not."""
    before = _told.set(number)
    try:
        yield
    finally:
        _told.reset(before)


def _tell() -> None:
    """At the beginning of each step of each solver."""
    if (number := _told.get()) is not None:
        io_callback(_call, None, number)


def _call(number: Array) -> None:
    if (check := _watching.get(int(number))) is not None:
        check()


# ----------------------------------------------------------------------------------------------------------- solvers


def euler(velocity: Predict, z: Array, times: Array) -> Array:
    """z at the last of times, from z at the first, by Euler's method: one evaluation a step, error of order 1.

    Args:
      velocity: (z [n,...], t) -> dz/dt.
      z: float [n,...], at times[0].
      times: float [steps+1], rising or falling.
    """
    def step(z, ends):
        _tell()
        start, end = ends
        return z + (end - start) * velocity(z, start), None

    return jax.lax.scan(step, z, (times[:-1], times[1:]))[0]


def heun(velocity: Predict, z: Array, times: Array) -> Array:
    """As `euler`, by Heun's method: two evaluations a step, error of order 2."""
    def step(z, ends):
        _tell()
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
    return multistep(lambda z, i: denoise(z, times[i]), z, path.alpha(times), path.sigma(times))


# Along times that a table gives, what a network is asked with is the number of the step, an int32 scalar. `first` is
# the step to begin with, and `after` changes what a step has made: (z, number of the next step) -> z.

def multistep(denoise: Predict, z: Array, alphas: Array, sigmas: Array, second: Array | None = None,
              first: int | Array = 0, after: Predict | None = None) -> Array:
    """As `dpmpp_2m`, along tables.

    Args:
      denoise: (z [n,...], i) -> the mean of x given z at step i.
      z: float [n,...], at the beginning of step `first`.
      alphas, sigmas: float [steps+1], at the beginning of each step and at the end.
      second: [steps], 0 for a step of order 1; None: order 2 wherever it can be.
      first, after: see above.
    """
    ratio = sigmas[1:] / sigmas[:-1]
    # alpha' (1 - exp(-h)) with h = log(alpha'/sigma') - log(alpha/sigma), finite where alpha or sigma' is 0.
    gain = alphas[1:] - alphas[:-1] * ratio
    share = _extrapolation(alphas, sigmas)
    share = share if second is None else share * second

    def step(i, carry):
        _tell()
        z, before = carry
        seen = denoise(z, i)
        z = ratio[i] * z + gain[i] * (seen + jnp.where(i > first, share[i], 0.0) * (seen - before))
        return (z if after is None else after(z, i + 1)), seen

    return jax.lax.fori_loop(first, len(ratio), step, (z, jnp.zeros_like(z)))[0]


def ddim(denoise: Predict, z: Array, alphas: Array, sigmas: Array, fresh: Array | None = None,
         draw: Callable[[Array], Array] | None = None, first: int | Array = 0, after: Predict | None = None) -> Array:
    """x as it is thought to be, with as much of the noise that is thought to be in z as the next time has.

    DDIM (arXiv 2010.02502, eq. 12), which in other coordinates is Euler's method; where noise is drawn anew, the
    ancestral one, and where all of it is, sampling of a consistency model.

    Args:
      denoise, z, alphas, sigmas, first, after: as for `multistep`.
      fresh: float [steps], the standard deviation of the noise that is drawn anew, at most sigmas[1:]; None: none.
      draw: i -> that noise, of variance 1, like z.
    """
    def step(i, z):
        _tell()
        x = denoise(z, i)
        noise = (z - alphas[i] * x) / sigmas[i]
        if fresh is None:
            z = alphas[i + 1] * x + sigmas[i + 1] * noise
        else:
            assert draw is not None, "where noise is drawn, something draws it"
            kept = jnp.sqrt(jnp.maximum(sigmas[i + 1] ** 2 - fresh[i] ** 2, 0.0))
            z = alphas[i + 1] * x + kept * noise + fresh[i] * draw(i)
        return z if after is None else after(z, i + 1)

    return jax.lax.fori_loop(first, len(alphas) - 1, step, z)


def undo_ddim(denoise: Predict, x: Array, alphas: Array, sigmas: Array, rates: Array, rounds: int = 4) -> Array:
    """z at the first of times, whose way by `ddim` without fresh noise leads to x: its steps backwards.

    A step backwards needs what the network says at its own result, so that is looked for in rounds: from where it is
    thought to begin, the step is taken, and by what it misses the beginning is moved. One round is the usual inversion
    of DDIM (arXiv 2105.05233, appendix F), and more of them are a fixed-point iteration (arXiv 2309.04907).

    Args:
      denoise, alphas, sigmas: as for `multistep`.
      x: float [n,...], at the last of times.
      rates: float [steps], by how much a step is thought to change when its beginning does: alpha'/alpha where what the
        network says of the noise stays, 1 where its velocity does.
      rounds: evaluations a step.
    """
    def step(k, z):
        i = len(alphas) - 2 - k

        def again(_, guess):
            seen = denoise(guess, i)
            missed = z - alphas[i + 1] * seen - sigmas[i + 1] * (guess - alphas[i] * seen) / sigmas[i]
            return guess + missed / rates[i]

        return jax.lax.fori_loop(0, rounds, again, z)

    return jax.lax.fori_loop(0, len(alphas) - 1, step, x)


# Weights of the noise at a place and at those before it (Adams and Bashforth), after so many evaluations. The second
# evaluation looks ahead from the first, and the first step is taken again with the mean of both.
_ADAMS = ((1.0, 0.0, 0.0, 0.0), (0.5, 0.5, 0.0, 0.0), (1.5, -0.5, 0.0, 0.0), (23 / 12, -16 / 12, 5 / 12, 0.0),
          (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def plms(denoise: Predict, z: Array, alphas: Array, sigmas: Array, first: int | Array = 0,
         after: Predict | None = None) -> Array:
    """As `ddim`, with the noise extrapolated from the last four steps (PNDM, arXiv 2202.09778, section 3.3).

    The first step is of order 2 and asks the network once more. Arguments as for `multistep`.
    """
    steps = len(alphas) - 1
    begin = jnp.asarray(first)

    def evaluate(number, carry):
        _tell()
        z, start, before = carry
        at = begin + number - (number >= 2)   # the time that the network sees
        since = at - (number == 1)            # and that from which the step is taken
        noise = (z - alphas[at] * denoise(z, at)) / sigmas[at]
        noises = jnp.concatenate([noise[None], before])
        moving = jnp.tensordot(jnp.asarray(_ADAMS)[jnp.minimum(number, 4)], noises, 1)
        z = jnp.where(number == 1, start, z)
        x = (z - sigmas[since] * moving) / alphas[since]
        z = alphas[since + 1] * x + sigmas[since + 1] * moving
        z = z if after is None else after(z, since + 1)
        return z, start, jnp.where(number == 1, before, noises[:3])

    # A single step has no second time to look from.
    evaluations = jnp.where(steps - begin > 1, steps - begin + 1, 1)
    return jax.lax.fori_loop(0, evaluations, evaluate, (z, z, jnp.zeros((3, *z.shape), z.dtype)))[0]


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
