"""The steps of a run: train, log, show, save, and stop in good order."""
from __future__ import annotations

import contextlib
import itertools
import math
import signal
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from imggen_jax import data, devices
from imggen_jax.config import Settings
from imggen_jax.errors import Diverged, Interrupted
from imggen_jax.game import PyTree
from imggen_jax.storage import checkpoint
from imggen_jax.training.build import Built
from imggen_jax.training.log import Log
from imggen_jax.training.signals import Signals, Stopped

LOOKS = {"evaluate", "score", "show"}  # events that only look at the averaged weights
LONG_CALL = 15  # seconds, of the 30 that platforms give after SIGTERM


class Loop(NamedTuple):
    """What stays the same while a run goes on."""

    settings: Settings
    built: Built
    engine: devices.Engine
    pretrained: PyTree  # weights that no step changes, on the devices
    train_set: data.Dataset
    show: Callable      # (weights, step) -> writes the grids
    evaluate: Callable  # (weights) -> {name: float}
    score: Callable | None  # (weights, step, images) -> {name: float}, where scores are wanted
    log: Log
    saver: checkpoint.Saver | None  # of the first process
    workdir: Path
    steps: int          # in the whole run, a multiple of the steps in a call
    intervals: Mapping[str, int]  # steps between the events of config.log
    utilization: float | None  # share of the devices' peak (MFU) at one image a second; None for unknown devices


def run(loop: Loop, host, saved: Mapping, signals: Signals) -> None:
    """From a state, and what was saved with it, to the end."""
    settings, engine = loop.settings, loop.engine
    per_call, batch = settings.devices.steps_per_call, settings.train.batch
    key = jax.random.key(settings.seed)
    state = engine.put_state(host)
    step = int(host.step)
    if left := set(saved.get("left", ())):  # what a signal kept from being done after this step was trained
        _look(loop, host.average, step, left)
    first, warned, pending, window = True, False, None, _unpack(saved.get("window", {}))
    clock, timed = time.perf_counter(), 0  # steps since the clock was set
    with contextlib.closing(_batches(loop, step)) as batches:
        while step < loop.steps:
            state, logs = engine.run(state, engine.put_batches(next(batches)), key, loop.pretrained)
            step, timed = step + per_call, timed + per_call
            # The logs of the call before are read while the devices work on this one.
            if pending is not None:
                window.append(_read(loop, *pending))
            pending = (step, logs)
            # Not step % every: a run taken up with another steps_per_call may never meet the multiples themselves.
            due = {name for name, every in loop.intervals.items()
                   if step >= loop.steps or step // every > (step - per_call) // every}
            stop = _agree(signals.received)
            if first or due or stop:
                window.append(_read(loop, *pending))
                pending = None
            if first:  # what came before was compiling
                signals.trained = True
                first, clock, timed = False, time.perf_counter(), 0
            if "every" in due:
                speed = timed * batch / max(time.perf_counter() - clock, 1e-9) if timed else None
                scalars = _mean(window) | ({"mfu": loop.utilization * speed} if loop.utilization and speed else {})
                loop.log.train(step=step, images=step * batch, scalars=scalars, images_per_second=speed)
                window, clock, timed = [], time.perf_counter(), 0
                if speed and per_call * batch / speed > LONG_CALL and not warned:
                    warned = True
                    loop.log.say(f"note: a call of {per_call} steps takes {per_call * batch / speed:.0f} seconds, and "
                                 "SIGTERM has to wait for its end; a lower config.devices.steps_per_call makes it "
                                 "shorter")
            else:
                loop.log.progress(step * batch)
            if loop.saver is not None:
                loop.saver.check()
            if due - {"every"} or stop:
                paused = time.perf_counter()
                stop, left = _events(loop, state, step, due, stop, window, signals)
                clock += time.perf_counter() - paused
                if stop and (left or step < loop.steps):
                    raise Interrupted(stop, f"Stopped by {signal.Signals(stop).name} at {step * batch:,} images; all "
                                            "is saved. The same command goes on from here.")
    if loop.saver is not None:
        loop.saver.wait()


def _batches(loop: Loop, step: int) -> Generator[dict[str, np.ndarray], None, None]:
    """This process's rows of the batches of each call from `step` on: {field: [K,b,...]}."""
    batch, seed, per_call = loop.settings.train.batch, loop.settings.seed, loop.settings.devices.steps_per_call
    mine = batch // jax.process_count()
    rows = slice(jax.process_index() * mine, (jax.process_index() + 1) * mine)

    def one(i: int) -> dict[str, np.ndarray]:
        return data.read_batch(loop.train_set, seed=seed, step=i, batch=batch, rows=rows)

    # The batches of the next call are made while the devices work on this one, and a few more for uneven reading.
    stop = step + multiple(loop.steps - step, per_call)
    batches = data.ahead(one, step, stop, threads=loop.train_set.threads, buffer=2 * per_call + loop.train_set.threads)
    with contextlib.closing(batches):
        while call := list(itertools.islice(batches, per_call)):
            yield {name: np.stack([each[name] for each in call]) for name in call[0]}


def _read(loop: Loop, step: int, logs) -> dict[str, np.ndarray]:
    """Logs of one call on the host, each [K].

    Raises:
      Diverged: naming the step, the player and the value.
    """
    logs = dict(loop.engine.fetch(logs))
    losses, norms = logs.pop("loss"), logs.pop("grad_norm")  # [K,moves]
    names = _move_names(loop.built.game)
    bad = ~(np.isfinite(losses) & np.isfinite(norms))
    if bad.any():
        k, move = np.argwhere(bad)[0]
        what, value = ("loss", losses) if not np.isfinite(losses[k, move]) else ("gradient norm", norms)
        at = step - len(losses) + k
        if loop.saver is not None:
            loop.saver.settle()
        saved = checkpoint.steps(loop.workdir)
        kept = f"the checkpoint of step {saved[-1]} is intact" if saved else "nothing had been saved yet"
        raise Diverged(f"step {at}: the {what} of {names[move]} is {value[k, move]}; the update was not applied, the "
                       f"run has stopped, and {kept}. {_remedy(loop.settings.players, saved, at)}")
    for i, name in enumerate(names):
        logs |= {f"{name}/loss": losses[:, i], f"{name}/grad_norm": norms[:, i]}
    return logs


def _remedy(players: Mapping, saved: Sequence[int], at: int) -> str:
    """What a run that diverged at a step can be started with again, in the words of the command line."""
    rates = " ".join(f"--config.players.{who}.learning_rate={float(options['learning_rate']) / 2:g}"
                     for who, options in sorted(players.items()))
    again = f"Run the same command with lower learning rates, such as {rates}: it "
    if not saved:
        return f"{again}starts again"
    # The update before the checkpoint may have spoiled the weights, which shows in the step after it.
    spoiled = ("; if it stops at this step again, the weights of that checkpoint are the cause: start a new run with "
               "lower learning rates and another --workdir" if saved[-1] == at else "")
    return f"{again}continues from there{spoiled}"


def _move_names(game) -> list[str]:
    """A player's name for each move; with a number where it moves more than once in a step."""
    movers = [who for who, _ in game.moves]
    return [who if movers.count(who) == 1 else f"{who}.{movers[:i].count(who)}" for i, who in enumerate(movers)]


def _pack(window: list[dict[str, np.ndarray]]) -> dict[str, list]:
    """Logs as JSON, {name: [dtype, values]}; `_unpack` gives back every bit."""
    joined = {name: np.concatenate([logs[name] for logs in window]) for name in window[0]} if window else {}
    return {name: [str(values.dtype), values.tolist()] for name, values in joined.items()}


def _unpack(packed: Mapping[str, list]) -> list[dict[str, np.ndarray]]:
    return [{name: np.array(values, dtype) for name, (dtype, values) in packed.items()}] if packed else []


def _mean(window: list[dict[str, np.ndarray]]) -> dict[str, float]:
    return {name: float(np.mean(np.concatenate([logs[name] for logs in window]))) for name in window[0]}


def _events(loop: Loop, state, step, due: set[str], stop: int, window, signals: Signals) -> tuple[int, set[str]]:
    """What is due after a step: held-out metrics, images, a checkpoint, in this order, so that a run which is killed
    before the last does the rest of it again.

    After a signal only the checkpoint is written. It names the skipped evaluations, which run on resume.

    Returns:
      The signal, if one has come by now to any process, and what is left.
    """
    left = due & LOOKS
    if left and not stop:
        average = loop.engine.fetch(state.average)
        try:
            with signals.interruptible(lambda: _save(loop, state, step, due & LOOKS, window, True)):
                _look(loop, average, step, left)
            left = set()
        except Stopped:
            loop.log.say("Skipped evaluations will run on resume.")
        stop = _agree(signals.received)
    if "save" in due or stop:
        _save(loop, state, step, left, window, wait=bool(stop))
    return stop, left


def _look(loop: Loop, average, step: int, due: set[str]) -> None:
    """Log held-out metrics and images of the averaged weights."""
    images = step * loop.settings.train.batch
    if "evaluate" in due and (scores := loop.evaluate(average)):
        loop.log.evaluate(step=step, images=images, scalars=scores)
    if "score" in due and loop.score is not None:
        if scores := loop.score(average, step=step, images=images):
            loop.log.evaluate(step=step, images=images, scalars=scores)
        else:
            loop.log.say(f"{images:,} images: no score, which would take more of the run's time than "
                         f"config.score.share, {loop.settings.score.share:.2g}")
    if "show" in due:
        loop.show(average, step)


def _save(loop: Loop, state, step: int, left: set[str], window: list[dict], wait: bool) -> None:
    """With the evaluations that were skipped at this step, and the logs of the steps since the last line of metrics."""
    if loop.saver is None:
        return
    # Copies, for they are written while the step takes the devices' buffers back.
    host = jax.tree.map(np.array, loop.engine.fetch(state))
    loop.saver.save(host, {"images": step * loop.settings.train.batch, "left": sorted(left), "window": _pack(window)})
    if wait:
        loop.saver.wait()


def up(images: int, batch: int, unit: int) -> int:
    """A length in images as steps, of which it takes a whole number of units."""
    return multiple(max(1, math.ceil(images / batch)), unit)


def multiple(number: int, unit: int) -> int:
    """The least multiple of `unit` that is not below `number`."""
    return -(-number // unit) * unit


def _agree(received: int) -> int:
    """The signal that any process received: all must stop after the same step."""
    if jax.process_count() == 1:
        return received
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.int32(received))))
