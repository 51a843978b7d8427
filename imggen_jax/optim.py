"""Optimizers, schedules and averages from optax; lengths are in images, so that a batch size can change alone."""
from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax


def make(
    *,
    images: int,
    batch: int,
    accumulate: int,
    optimizer: str,
    learning_rate: float,
    warmup: int,
    decay: str,
    final: float,
    clip: float,
    **options,
) -> optax.GradientTransformation:
    """One player's optimizer.

    Args:
      images: length of the run, in images.
      batch: images per step.
      accumulate: steps whose gradients are averaged into one update.
      optimizer: name of an optax optimizer, such as "adam".
      learning_rate: the largest learning rate.
      warmup: images over which the learning rate rises linearly from 0.
      decay: "constant", "cosine" or "linear": its way from `learning_rate` after the warm-up to the end of the run.
      final: the last learning rate as a share of `learning_rate`; 1 with "constant".
      clip: largest global norm of the gradient; 0 for none.
      **options: passed to the optax optimizer, such as b1, b2, eps, weight_decay.

    Raises:
      ValueError: an unknown optimizer, option or decay.
    """
    try:
        chosen = getattr(optax, optimizer)
    except AttributeError:
        raise ValueError(f"optax has no optimizer {optimizer!r}; try 'adam', 'adamw' or 'sgd'") from None
    per_update = batch * accumulate
    updates, warm = max(1, images // per_update), warmup // per_update
    try:
        inner = chosen(_schedule(learning_rate, updates, warm, decay, final), **options)
    except TypeError as error:
        raise ValueError(f"optax.{optimizer} cannot be made from {sorted(options)}: {error}") from None
    if clip:
        inner = optax.chain(optax.clip_by_global_norm(clip), inner)
    return optax.MultiSteps(inner, accumulate).gradient_transformation() if accumulate > 1 else inner


def _schedule(peak: float, updates: int, warmup: int, decay: str, final: float) -> optax.Schedule:
    rest = max(1, updates - warmup)
    after = {
        "constant": lambda: optax.constant_schedule(peak),
        "cosine": lambda: optax.cosine_decay_schedule(peak, rest, final),
        "linear": lambda: optax.linear_schedule(peak, peak * final, rest),
    }
    if decay not in after:
        raise ValueError(f"unknown decay {decay!r} of the learning rate; choose one of {', '.join(after)}")
    if not warmup:
        return after[decay]()
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after[decay]()], [warmup])


def average_rate(*, halflife: int, rampup: float) -> Callable[[jax.Array, int], jax.Array]:
    """How far the moving average goes toward the new parameters in a step, from a half-life in images.

    Early in a run the half-life is at most `rampup` times the images seen, so that the average does not hold on to the
    random start (StyleGAN2-ADA, arXiv 2006.06676, training loop).

    Args:
      halflife: in images; 0 makes the average the parameters themselves.
      rampup: share of the images seen that bounds the half-life; 0 for no bound.
    """
    def rate(seen, size):
        images = jnp.float32(halflife)  # as an integer it would have to fit into JAX's 32 bits
        if rampup:
            images = jnp.minimum(images, rampup * seen)
        return 1.0 - 0.5 ** (size / jnp.maximum(images, 1e-6))

    return rate
