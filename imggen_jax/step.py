"""The single training step: each player of a game, in turn, descends its own loss in its own parameters."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from imggen_jax.game import Array, Batch, Extra, Game, Key, Params, PyTree

Optimizers = Mapping[str, optax.GradientTransformation]  # player's name -> its optimizer
Logs = Mapping[str, Array]


class TrainState(NamedTuple):
    """All that a run must remember; random numbers and batches come from (seed, step) and are not in it."""

    step: Array                 # int32: rounds played
    params: Params              # float32
    opt: Mapping[str, PyTree]   # player's name -> its optimizer's state
    extra: Extra                # what changes without being trained
    average: Mapping            # moving average of game.weights(params, extra); pictures are made from it
    healthy: Array              # bool; once False, every later round leaves the state as it is


def init_state(game: Game, optimizers: Optimizers, key: Key, batch: Batch) -> TrainState:
    """The state before the first round.

    Args:
      game: the game to play.
      optimizers: one for each player that moves.
      key: random key for the parameters.
      batch: an example batch; only its shapes and dtypes matter.
    """
    params, extra = game.init(key, batch)
    movers = dict.fromkeys(who for who, _ in game.moves)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt={who: optimizers[who].init(params[who]) for who in movers},
        extra=extra,
        # A real copy: a buffer that is both a parameter and an average cannot be donated.
        average=jax.tree.map(jnp.copy, game.weights(params, extra)),
        healthy=jnp.ones((), bool),
    )


def train_step(
    game: Game,
    optimizers: Optimizers,
    average_rate: Callable[[Array, int], Array],
    prepare: Callable[[Batch, Key], Batch],
    state: TrainState,
    batch: Batch,
    key: Key,
    axis: str | None = None,
) -> tuple[TrainState, Logs]:
    """One round.

    Args:
      game, optimizers: see there.
      average_rate: (images seen, images per round) -> weight of the new parameters in the moving average.
      prepare: (batch, key) -> batch; what is done to real pictures once per round, such as random flips.
      state: before the round.
      batch: image uint8 [B,H,W,C] and, with classes, label int32 [B].
      key: the run's key, the same in every round.
      axis: under pmap, the axis over which gradients, scalars and statistics are averaged; B is then per device.

    Returns:
      The state after the round, and float32 logs: `<player>/<name>` scalars, and `loss` and `grad_norm` [moves], one
      for each move in order. If a loss or a gradient is not finite, that move's update and all that follow are not
      applied and `state.healthy` is False.
    """
    devices = 1 if axis is None else jax.lax.axis_size(axis)
    average_over = (lambda tree: tree) if axis is None else (lambda tree: jax.lax.pmean(tree, axis))
    key = jax.random.fold_in(key, state.step)
    if axis is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis))
    size = batch["image"].shape[0] * devices
    seen = state.step.astype(jnp.float32) * size
    batch = {**prepare(batch, jax.random.fold_in(key, len(game.moves))), "seen": seen}

    params, opt, extra, healthy = dict(state.params), dict(state.opt), state.extra, state.healthy
    losses, norms, logs = [], [], {}
    for i, (who, loss) in enumerate(game.moves):
        def own(mine):
            return loss({**params, who: mine}, extra, batch, jax.random.fold_in(key, i))

        (value, (new_extra, scalars)), grads = jax.value_and_grad(own, has_aux=True)(params[who])
        value, new_extra, scalars, grads = average_over((value, new_extra, scalars, grads))
        norm = optax.tree.norm(grads)
        healthy &= jnp.isfinite(value) & jnp.isfinite(norm)
        updates, new_opt = optimizers[who].update(grads, opt[who], params[who])
        new = (optax.apply_updates(params[who], updates), new_opt, new_extra)
        params[who], opt[who], extra = _choose(healthy, new, (params[who], opt[who], extra))
        losses.append(value)
        norms.append(norm)
        logs |= {f"{who}/{name}": value for name, value in scalars.items()}

    rate = average_rate(seen + size, size)
    average = optax.incremental_update(game.weights(params, extra), state.average, rate)
    average = _choose(healthy, average, state.average)
    logs |= {"loss": jnp.stack(losses), "grad_norm": jnp.stack(norms)}
    return TrainState(state.step + healthy, params, opt, extra, average, healthy), logs


def play(step: Callable, state: TrainState, batches: Batch, key: Key) -> tuple[TrainState, Logs]:
    """Rounds inside one call, so that dispatch costs nothing: batches and logs have a leading axis of rounds."""
    return jax.lax.scan(lambda state, batch: step(state, batch, key), state, batches)


def _choose(healthy: Array, new: PyTree, old: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(healthy, a, b), new, old)
