"""Latents of given images by optimization, for generators without an encoder and to refine those of one."""
from __future__ import annotations

import functools
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from imggen_jax.augment import to_float
from imggen_jax.game import PyTree
from imggen_jax.sampling import Fields, Sampler

STARTS = 512  # latents of the prior that are tried, the mean among them
KEEP = 4      # of which the best are followed
STEPS = 300   # of Adam
RATE = 0.1    # in units of the prior's standard deviation
PULL = 1e-3   # the prior's share of the objective: the mean square of the whitened latent, beside that of the error

SAMPLES = 4096   # latents from which the space's mean and covariance are measured
RIDGE = 1e-4     # share of the mean variance that is added to each, so that a flat direction can be divided by


class Space(NamedTuple):
    """Where the prior puts latents."""

    size: int            # D
    gaussian: bool       # the prior is N(0, I), measured by its first four moments
    mean: np.ndarray     # float32 [D]
    spread: np.ndarray   # float32 [D,D], symmetric: mean + spread u is distributed like the prior for u ~ N(0, I)
    whiten: np.ndarray   # float32 [D,D], its inverse


def measure_space(sampler: Sampler, weights: PyTree, *, behind_mapping: bool) -> Space:
    """Mean and covariance of the prior in the space in which images are edited; milliseconds once compiled."""
    w = np.asarray(sampler.prior(weights, jax.random.key(1), n=SAMPLES, fields={}), np.float64)
    mean, size = w.mean(0), w.shape[1]
    moments = np.mean(w), np.std(w), np.mean(w**3), np.mean(w**4)
    # N(0, 1) has 0, 1, 0, 3; the standard errors of these sums are below a hundredth and 0.2 for a single dimension.
    gaussian = not behind_mapping and bool(np.all(np.abs(np.subtract(moments, (0, 1, 0, 3))) < (0.1, 0.1, 0.2, 0.6)))
    if gaussian:
        return Space(size, True, np.zeros(size, np.float32), *[np.eye(size, dtype=np.float32)] * 2)
    # Only now: of the thousands of latents of a flow in pixels this would take minutes.
    covariance = np.cov(w, rowvar=False).reshape(size, size)
    covariance += RIDGE * np.trace(covariance) / size * np.eye(size)
    values, vectors = np.linalg.eigh(covariance)
    spread, whiten = ((vectors * values**power) @ vectors.T for power in (0.5, -0.5))
    return Space(size, False, *(each.astype(np.float32) for each in (mean, spread, whiten)))


def invert(
    sampler: Sampler, weights: PyTree, images: np.ndarray, given: Fields, space: Space, *,
    guess: np.ndarray | None = None, steps: int = STEPS, seed: int = 0, seen: np.ndarray | None = None,
) -> np.ndarray:
    """The latents whose images are nearest to given ones, in mean squared error.

    Adam moves the best of `STARTS` latents of the prior, the mean among them, with a small pull to the prior (as
    Image2StyleGAN, Abdal et al., arXiv 1904.03189, but from the best of many).

    Args:
      sampler, weights: of the generator.
      images: uint8 [n,H,W,C].
      given: what the images are conditioned on, [n,...] each.
      space: from `measure_space`.
      guess: float32 [n,D] to start from too, such as an encoder's.
      steps: of Adam; 0 takes the best start.
      seed: of the starts.
      seen: bool [H,W], true where the images count, as for the completion of the rest (Yeh et al., arXiv 1607.07539);
        None: everywhere.

    Returns:
      w float32 [n,D].
    """
    optimize = _optimizer(sampler, steps, seen is not None)
    where = np.float32(1) if seen is None else (seen / seen.mean()).astype(np.float32)[..., None]
    starts = np.asarray(sampler.prior(weights, jax.random.key(seed), n=SAMPLES, fields={}))[:STARTS].copy()
    starts[0] = space.mean
    found = []
    for row in range(len(images)):  # one by one: their number is no part of the program
        mine = starts if guess is None else np.concatenate([guess[row:row + 1], starts[1:]])
        fields = {name: value[row:row + 1] for name, value in given.items()}
        found.append(np.asarray(optimize(weights, images[row], fields, mine, space.mean, space.spread, where)))
    return np.stack(found)


@functools.lru_cache(maxsize=8)
def _optimizer(sampler: Sampler, steps: int, masked: bool):
    """A compiled function (weights, image uint8 [H,W,C], fields of one, starts [n,D], mean, spread, where) -> w [D]."""
    adam = optax.adam(optax.cosine_decay_schedule(RATE, max(1, steps)))

    @jax.jit
    def optimize(weights, image, fields, starts, mean, spread, where):
        def errors(weights, w, target, fields):  # float32 [n]
            fields = {name: jnp.repeat(value, len(w), axis=0) for name, value in fields.items()}
            squares = jnp.square(sampler.decode(weights, w, fields) - target)
            return jnp.mean(squares * where if masked else squares, axis=(1, 2, 3))

        target = to_float(image[None])
        # In blocks, so that the first look does not hold the activations of all of them.
        scores = jax.lax.map(lambda w: errors(weights, w, target, fields), starts.reshape(-1, 16, starts.shape[-1]))
        # The inverse of `spread` is not needed: the way from the starts is what is optimized.
        chosen = starts[jnp.argsort(scores.reshape(-1))[:KEEP]]
        u = jnp.linalg.solve(spread, (chosen - mean).T).T

        def objective(u):
            return errors(weights, mean + u @ spread, target, fields) + PULL * jnp.mean(jnp.square(u), axis=-1)

        def step(carry, _):
            u, state = carry
            updates, state = adam.update(jax.grad(lambda u: jnp.sum(objective(u)))(u), state)
            return (cast(jax.Array, optax.apply_updates(u, updates)), state), None

        (u, _), _ = jax.lax.scan(step, (u, adam.init(u)), None, length=steps)
        return mean + u[jnp.argmin(objective(u))] @ spread

    return optimize
