"""A picture drawn nearer to the patches of another by gradient descent.

Elnekave, Weiss: Generating natural images with direct patch distributions matching (2022), with sampled patches, as a
sort of all of them takes most of the time. Heitz et al.: A sliced Wasserstein loss for neural texture synthesis (2021).
"""
from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax


def refine(picture: np.ndarray, source: np.ndarray, *, optimizer: optax.GradientTransformation | None = None,
           steps: int = 20, patch: int = 7, projections: int = 64, samples: int = 4096, seed: int = 0,
           change: np.ndarray | None = None, wrap: tuple[bool, bool] = (False, False)) -> np.ndarray:
    """Takes steps that lower the sliced Wasserstein distance between the patches of two pictures.

    Args:
      picture: float32 [H,W,C] in [0,1], where it starts.
      source: float32 [h,w,C].
      optimizer: of optax. Default: Adam with learning rate 0.01.
      steps: how many; each draws its own patches and directions.
      patch: side of the patches.
      projections: random directions a step.
      samples: patches of each picture a step; 0: all, which needs pictures with equally many.
      seed: of the draws.
      change: bool [H,W]: pixels that may change. Default: all.
      wrap: whether rows, and columns, go on at the other side.

    Returns:
      float32 [H,W,C].
    """
    optimizer = optax.adam(0.01) if optimizer is None else optimizer
    change = np.ones(picture.shape[:2], bool) if change is None else change
    start = jnp.asarray(picture, jnp.float32)
    step = _step(optimizer, patch, projections, samples, tuple(wrap))
    state, now = optimizer.init(start), start
    for key in jax.random.split(jax.random.key(seed), steps):
        now, state = step(now, state, jnp.asarray(source, jnp.float32), jnp.asarray(change)[..., None], key)
    return np.asarray(now)


def distance(picture: jax.Array, source: jax.Array, key: jax.Array, *, patch: int = 7, projections: int = 64,
             samples: int = 4096, wrap: tuple[bool, bool] = (False, False)) -> jax.Array:
    """The mean squared difference between sorted projections of patches of two pictures: differentiable, a scalar.

    Arguments are as for `refine`; `key` draws patches and directions.
    """
    keys = jax.random.split(key, 3)
    directions = jax.random.normal(keys[0], (patch * patch * picture.shape[-1], projections))
    directions /= jnp.linalg.norm(directions, axis=0)
    a = _patches(picture, keys[1], patch, samples, wrap) @ directions
    b = _patches(source, keys[2], patch, samples, (False, False)) @ directions
    return jnp.mean((jnp.sort(a, 0) - jnp.sort(b, 0)) ** 2)


def _patches(picture: jax.Array, key: jax.Array, patch: int, samples: int, wrap: tuple[bool, bool]) -> jax.Array:
    picture = jnp.pad(picture, [(0, patch - 1 if w else 0) for w in wrap] + [(0, 0)], mode="wrap")
    height, width = (n - patch + 1 for n in picture.shape[:2])
    at = (jax.random.randint(key, (samples,), 0, height * width) if samples else jnp.arange(height * width))
    offsets = jnp.arange(patch)
    rows = (at // width)[:, None, None] + offsets[:, None]
    columns = (at % width)[:, None, None] + offsets
    return picture[rows, columns].reshape(len(at), -1)


@functools.lru_cache(maxsize=8)
def _step(optimizer, patch, projections, samples, wrap):
    @jax.jit
    def step(now, state, source, change, key):
        slope = jax.grad(distance)(now, source, key, patch=patch, projections=projections, samples=samples, wrap=wrap)
        updates, state = optimizer.update(jnp.where(change, slope, 0), state, now)
        return jnp.where(change, jnp.asarray(optax.apply_updates(now, updates)), now), state

    return step
