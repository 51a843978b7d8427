"""The single training step: each player of a game, in turn, descends its own loss in its own parameters."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from imggen_jax.game import Array, Batch, Clock, Game, Key, Mutable, Params, PyTree, Spec, Weights

Optimizers = Mapping[str, optax.GradientTransformation]  # player's name -> its optimizer
Logs = Mapping[str, Array]


class TrainState(NamedTuple):
    """All that a run must remember; random numbers and batches come from (seed, step) and are not in it."""

    step: Array                 # int32: steps taken
    params: Params              # float32
    opt: Mapping[str, PyTree]   # player's name -> its optimizer's state
    mutable: Mutable            # what changes without being trained
    average: Weights            # moving average of game.weights(params, mutable); images are made from it
    finite: Array               # bool; once False, every later step leaves the state as it is


def init_state(game: Game, optimizers: Optimizers, key: Key, spec: Spec) -> TrainState:
    """The state before the first step.

    Args:
      game: the game to play.
      optimizers: one for each player that moves.
      key: random key for the parameters.
      spec: the fields of an example.
    """
    # Of strong types, as they are after a step: else the step would be compiled for both.
    params, mutable = jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), game.init(key, spec))
    movers = dict.fromkeys(who for who, _ in game.moves)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt={who: optimizers[who].init(params[who]) for who in movers},
        mutable=mutable,
        # A real copy: a buffer that is both a parameter and an average cannot be donated.
        average=jax.tree.map(jnp.copy, game.weights(params, mutable)),
        finite=jnp.ones((), bool),
    )


def train_step(
    game: Game,
    optimizers: Optimizers,
    average_rate: Callable[[Array, int], Array],
    transform: Callable[[Batch, Key], Batch],
    state: TrainState,
    batch: Batch,
    key: Key,
    pretrained: Mapping[str, PyTree],
    axis: str | None = None,
) -> tuple[TrainState, Logs]:
    """One step: every mover of the game moves once, in turn.

    Args:
      game, optimizers: as made by `games/` and `optim.make`.
      average_rate: (images seen, images per step) -> weight of the new parameters in the moving average.
      transform: (batch, key) -> batch; applied to the real examples once per step, such as random flips.
      state: before the step.
      batch: the Spec's fields, [B, *shape].
      key: the run's key, the same in every step.
      pretrained: network's name -> its weights, which no move changes.
      axis: under pmap, the axis over which gradients, scalars and statistics are averaged; B is then per device.

    Returns:
      The state after the step, and float32 logs: `<player>/<name>` scalars, and `loss` and `grad_norm` [moves], one
      for each move in order. If a loss or a gradient is not finite, that move's update and all that follow are not
      applied and `state.finite` is False.
    """
    devices = 1 if axis is None else jax.lax.axis_size(axis)
    average_over = (lambda tree: tree) if axis is None else (lambda tree: jax.lax.pmean(tree, axis))
    key = jax.random.fold_in(key, state.step)
    if axis is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis))
    size = jax.tree.leaves(batch)[0].shape[0] * devices
    clock = Clock(state.step, state.step.astype(jnp.float32) * size)
    batch = transform(batch, jax.random.fold_in(key, len(game.moves)))

    params, opt, mutable, finite = dict(state.params), dict(state.opt), state.mutable, state.finite
    losses, norms, logs = [], [], {}
    for i, (who, loss) in enumerate(game.moves):
        def own(mine: PyTree):
            return loss({**pretrained, **params, who: mine}, mutable, batch, clock, jax.random.fold_in(key, i))

        (value, (new_mutable, scalars)), grads = jax.value_and_grad(own, has_aux=True)(params[who])
        value, new_mutable, scalars, grads = average_over((value, new_mutable, scalars, grads))
        norm = optax.tree.norm(grads)
        finite &= jnp.isfinite(value) & jnp.isfinite(norm)
        updates, new_opt = optimizers[who].update(grads, opt[who], params[who])
        new = (optax.apply_updates(params[who], updates), new_opt, new_mutable)
        params[who], opt[who], mutable = _choose(finite, new, (params[who], opt[who], mutable))
        losses.append(value)
        norms.append(norm)
        logs |= {f"{who}/{name}": value for name, value in scalars.items()}

    rate = average_rate(clock.images_seen + size, size)
    average = optax.incremental_update(game.weights(params, mutable), state.average, rate)
    average = _choose(finite, average, state.average)
    logs |= {"loss": jnp.stack(losses), "grad_norm": jnp.stack(norms)}
    return TrainState(state.step + finite, params, opt, mutable, average, finite), logs


def play(
    step: Callable[[TrainState, Batch, Key, Mapping[str, PyTree]], tuple[TrainState, Logs]],
    state: TrainState,
    batches: Batch,
    key: Key,
    pretrained: Mapping[str, PyTree],
) -> tuple[TrainState, Logs]:
    """Steps inside one call, so that dispatch costs nothing: batches and logs have a leading axis of steps."""
    return jax.lax.scan(lambda state, batch: step(state, batch, key, pretrained), state, batches)


def _choose(finite: Array, new: PyTree, old: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
