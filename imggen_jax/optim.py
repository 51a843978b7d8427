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
    span: int = 0,
    b2_start: float = 0.0,
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
      decay: "constant", "cosine" or "linear": its way from `learning_rate` after the warm-up to the end of `span`.
      final: the last learning rate as a share of `learning_rate`; 1 with "constant".
      clip: largest global norm of the gradient; 0 for none.
      span: images, from the start, after which nothing changes any more; 0 for the whole run.
      b2_start: b2 at the start, which goes along half a cosine to `b2` of the options in the end of `span`, as in R3GAN
        (arXiv 2501.05441); 0: it is the optimizer's throughout.
      **options: passed to the optax optimizer, such as b1, b2, eps, weight_decay.

    Raises:
      ValueError: an unknown optimizer, option or decay, or a span longer than the run.
    """
    if span > images:
        raise ValueError(f"span is {span} images, and the run has {images}; choose at most so many, or 0 for all")
    try:
        chosen = getattr(optax, optimizer)
    except AttributeError:
        raise ValueError(f"optax has no optimizer {optimizer!r}; try 'adam', 'adamw' or 'sgd'") from None
    per_update = batch * accumulate
    updates, warm = max(1, (span or images) // per_update), warmup // per_update
    rate = _schedule(learning_rate, updates, warm, decay, final)
    try:
        if b2_start:
            b2 = half_cosine(b2_start, options.pop("b2"), updates)
            inner = optax.inject_hyperparams(chosen)(rate, b2=b2, **options)
        else:
            inner = chosen(rate, **options)
    except KeyError:
        raise ValueError(f"b2_start is {b2_start:g}, and there is no b2 that it goes to; give one") from None
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


def half_cosine(start: float, end: float, length: float) -> Callable[[jax.Array], jax.Array]:
    """The way from `start` at 0 to `end` at `length` along half a cosine, and `end` after it."""
    def value(at):
        return end + (start - end) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(1.0, at / length)))

    return value


def average_rate(*, halflife: int, rampup: float, rise: int = 0) -> Callable[[jax.Array, int], jax.Array]:
    """How far the moving average goes toward the new parameters in a step, from a half-life in images.

    Early in a run the half-life is at most `rampup` times the images seen, so that the average does not hold on to the
    random start (StyleGAN2-ADA, arXiv 2006.06676, training loop).

    Args:
      halflife: in images; 0 makes the average the parameters themselves.
      rampup: share of the images seen that bounds the half-life; 0 for no bound.
      rise: images over which the half-life rises from 0 along half a cosine (R3GAN, arXiv 2501.05441); 0: at once.
    """
    longest = half_cosine(0.0, float(halflife), rise) if rise else None

    def rate(seen, size):
        # A step counts as those before it: R3GAN takes the half-life of the images seen when it begins.
        # As an integer the half-life would have to fit into JAX's 32 bits.
        images = jnp.float32(halflife) if longest is None else longest(seen - size)
        if rampup:
            images = jnp.minimum(images, rampup * seen)
        return 1.0 - 0.5 ** (size / jnp.maximum(images, 1e-6))

    return rate
