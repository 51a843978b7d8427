"""Find the latents of pictures that a model did not make."""
from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from imggen_jax.api import Model
from imggen_jax.augment import to_float
from imggen_jax.editing.space import Points, distance, functions, show, space
from imggen_jax.errors import RunError
from imggen_jax.game import Game, Spec

STARTS = 512  # latents of the prior that are looked at, the mean among them
KEEP = 4      # of which the best are followed
STEPS = 300   # of Adam
RATE = 0.1    # in units of the prior's standard deviation
PULL = 1e-3   # the prior's share of the objective: the mean square of the whitened latent, beside that of the error


class Projection(NamedTuple):
    """What was found for n pictures."""

    points: Points
    images: np.ndarray    # uint8 [n,S,S,C], made from them
    psnr: np.ndarray      # float64 [n], dB, of the 8-bit pictures
    distance: np.ndarray  # float32 [n], from the prior: about 1 is typical, see `space.distance`


def project(
    model: Model, images: np.ndarray, *, labels=None, steps: int | None = None, seed: int = 0
) -> Projection:
    """The latents whose pictures are nearest to given ones, in mean squared error.

    A model with an encoder asks it. Else Adam moves the best of `STARTS` latents of the prior, the mean among them,
    with a small pull to the prior (as Image2StyleGAN, Abdal et al., arXiv 1904.03189, but from the best of many).

    Args:
      model: a loaded model.
      images: uint8 [n,S,S,C].
      labels: int [n] for a class-conditional model.
      steps: of the optimiser; None for 300, or none where there is an encoder.
      seed: of the starts.

    Raises:
      RunError: pictures, labels or steps that this model cannot take.
    """
    if steps is not None and steps < 0:
        raise RunError(f"steps is {steps}; it must be at least 0")
    images, condition = model.check_images(images), model.condition(labels, len(images))
    compiled = functions(model.game, model.spec)
    amortised = model.game.generator.amortised
    steps = (0 if amortised else STEPS) if steps is None else steps
    guess = None
    if amortised:
        z = model.functions["encode"](model.weights, images, condition)
        guess = np.asarray(compiled.place(model.weights, z))
    if steps:
        found = []
        optimise = _optimiser(model.game, model.spec, steps)
        there = space(model)
        starts = np.asarray(compiled.many(model.weights, jax.random.key(seed)))[:STARTS].copy()
        starts[0] = there.mean
        for row in range(len(images)):  # one by one: their number is no part of the program
            mine = starts if guess is None else np.concatenate([guess[row:row + 1], starts[1:]])
            label = None if condition is None else condition[row]
            found.append(np.asarray(optimise(model.weights, images[row], label, mine, there.mean, there.spread)))
        guess = np.stack(found)
    points = Points(np.asarray(guess, np.float32), condition)
    again = show(model, points)
    return Projection(points, again, psnr(images, again), distance(model, points.w))


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of pairs of uint8 [n,H,W,C] pictures: 10 log10(255^2 / MSE), float64 [n], dB."""
    error = np.mean(np.square(a.astype(np.float64) - b), axis=(1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(error, 1e-10))


@functools.lru_cache(maxsize=8)
def _optimiser(game: Game, spec: Spec, steps: int):
    """A compiled function (weights, image uint8 [S,S,C], label, starts [n,D], mean, spread) -> w [D]."""
    paint = functions(game, spec).paint
    adam = optax.adam(optax.cosine_decay_schedule(RATE, steps))

    def errors(weights, w, target, label):  # float32 [n]
        labels = None if label is None else jnp.full(len(w), label)
        return jnp.mean(jnp.square(paint(weights, w, labels) - target), axis=(1, 2, 3))

    @jax.jit
    def optimise(weights, image, label, starts, mean, spread):
        target = to_float(image[None])
        # In blocks, so that the first look does not hold the activations of all of them.
        scores = jax.lax.map(lambda w: errors(weights, w, target, label), starts.reshape(-1, 16, starts.shape[-1]))
        # The inverse of `spread` is not needed: the way from the starts is what is optimised.
        chosen = starts[jnp.argsort(scores.reshape(-1))[:KEEP]]
        u = jnp.linalg.solve(spread, (chosen - mean).T).T

        def objective(u):
            return errors(weights, mean + u @ spread, target, label) + PULL * jnp.mean(jnp.square(u), axis=-1)

        def step(carry, _):
            u, state = carry
            updates, state = adam.update(jax.grad(lambda u: jnp.sum(objective(u)))(u), state)
            return (optax.apply_updates(u, updates), state), None

        (u, _), _ = jax.lax.scan(step, (u, adam.init(u)), None, length=steps)
        return mean + u[jnp.argmin(objective(u))] @ spread

    return optimise
