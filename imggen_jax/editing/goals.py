"""Ways to a goal: a small network reads attributes from latents, and a latent is led to where it reads the wish.

A slider is a straight line. But where a value's region of the space is curved, a straight line to it crosses others,
and more so the farther it goes. To reach a value ("hair_colour=blue", without an amount) the boundary is therefore
followed as it bends: the latent descends the reader's cross-entropy with the wish, while a divergence holds every other
attribute where it was (in the spirit of StyleFlow, Abdal et al., arXiv 2008.02401, which flows along attributes).
"""
from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

HIDDEN = 128
FIT_STEPS, FIT_BATCH, FIT_RATE = 1200, 256, 2e-3
NOISE = 0.1        # of the latents in fitting, standard deviations
BLOCK = 64         # latents that are led at once; the number is no part of the program
STEPS, RATE = 100, 0.1
KEEP = 3.0         # weight of what is to stay, beside that of the wish
NEAR = 0.02        # weight of the squared way


class Reader(NamedTuple):
    """Attributes read from whitened latents."""

    values: Mapping[str, tuple[str, ...]]                  # attribute -> names of its values
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]      # kernels and biases, float32


def fit(u: np.ndarray, labels: np.ndarray, values: Mapping[str, Sequence[str]], seed: int = 0) -> Reader:
    """A reader of latents.

    Args:
      u: float [N,D], whitened.
      labels: int32 [N,K], -1 where it is not known.
      values: of the K attributes, in the order of the columns.
      seed: of the start and of the batches.
    """
    sizes = tuple(len(one) for one in values.values())
    layers = _fitted(sizes)(jnp.asarray(u, jnp.float32), jnp.asarray(labels, jnp.int32), jax.random.key(seed))
    return Reader({name: tuple(one) for name, one in values.items()},
                  tuple((np.asarray(kernel), np.asarray(bias)) for kernel, bias in layers))


def seek(reader: Reader, u: np.ndarray, attribute: str, value: str) -> np.ndarray:
    """Latents led to a value of an attribute, the others held: float [n,D] whitened -> float32 [n,D]."""
    names, sizes = list(reader.values), tuple(len(one) for one in reader.values.values())
    place = names.index(attribute)
    target = sum(sizes[:place]) + reader.values[attribute].index(value)
    led = _leader(sizes)
    found = []
    for start in range(0, len(u), BLOCK):
        rows = np.minimum(np.arange(start, start + BLOCK), len(u) - 1)
        found.append(np.asarray(led(reader.layers, np.asarray(u[rows], np.float32), place, target)))
    return np.concatenate(found)[:len(u)]


def _read(layers, sizes: tuple[int, ...], u: jax.Array) -> list[jax.Array]:
    """Log-probabilities of each attribute's values: a list of [n,values]."""
    for i, (kernel, bias) in enumerate(layers):
        u = (jax.nn.gelu(u) if i else u) @ kernel + bias
    return [jax.nn.log_softmax(part) for part in jnp.split(u, np.cumsum(sizes)[:-1], axis=-1)]


@functools.lru_cache(maxsize=8)
def _fitted(sizes: tuple[int, ...]):
    adam = optax.adamw(optax.cosine_decay_schedule(FIT_RATE, FIT_STEPS), weight_decay=1e-2)

    def loss(layers, u, labels):
        total = 0.0
        for k, log_p in enumerate(_read(layers, sizes, u)):
            known = labels[:, k] >= 0
            picked = jnp.take_along_axis(log_p, jnp.maximum(labels[:, k:k + 1], 0), axis=-1)[:, 0]
            total -= jnp.sum(jnp.where(known, picked, 0)) / jnp.maximum(jnp.sum(known), 1)
        return total

    @jax.jit
    def run(u, labels, key):
        widths = (u.shape[1], HIDDEN, HIDDEN, sum(sizes))
        layers = [(jax.random.normal(jax.random.fold_in(key, i), (a, b)) * (2 / a) ** 0.5, jnp.zeros(b))
                  for i, (a, b) in enumerate(zip(widths[:-1], widths[1:]))]

        def step(carry, i):
            layers, state = carry
            pick, noise = jax.random.split(jax.random.fold_in(key, i + len(widths)))
            rows = jax.random.randint(pick, (FIT_BATCH,), 0, len(u))
            x = u[rows] + NOISE * jax.random.normal(noise, (FIT_BATCH, u.shape[1]))
            updates, state = adam.update(jax.grad(loss)(layers, x, labels[rows]), state, layers)
            return (optax.apply_updates(layers, updates), state), None

        return jax.lax.scan(step, (layers, adam.init(layers)), jnp.arange(FIT_STEPS))[0][0]

    return run


@functools.lru_cache(maxsize=8)
def _leader(sizes: tuple[int, ...]):
    adam = optax.adam(optax.cosine_decay_schedule(RATE, STEPS, 0.1))

    @jax.jit
    def led(layers, start, place, target):
        before = _read(layers, sizes, start)

        def objective(u):
            after = _read(layers, sizes, u)
            wish = -jnp.take(jnp.concatenate(after, axis=-1), target, axis=-1)
            moved = jnp.stack([jnp.sum(jnp.exp(p) * (p - q), axis=-1) for p, q in zip(before, after)])  # [K,n]
            others = jnp.arange(len(sizes))[:, None] != place
            return jnp.sum(wish + KEEP * jnp.sum(jnp.where(others, moved, 0), axis=0)
                           + NEAR * jnp.sum(jnp.square(u - start), axis=-1))

        def step(carry, _):
            u, state = carry
            updates, state = adam.update(jax.grad(objective)(u), state)
            return (optax.apply_updates(u, updates), state), None

        return jax.lax.scan(step, (start, adam.init(start)), None, length=STEPS)[0][0]

    return led
