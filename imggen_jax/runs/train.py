"""The life of a run: start or resume, play rounds, log, show, save, and leave in good order."""
from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from imggen_jax import data, devices
from imggen_jax.game import Spec
from imggen_jax.runs import checkpoint, pictures, report
from imggen_jax.runs.build import Built, build, check_devices, parameter_counts
from imggen_jax.runs.config import Settings, check, differences, to_dict
from imggen_jax.runs.evaluate import evaluator
from imggen_jax.runs.log import open_log
from imggen_jax.runs.sample import sampler, to_uint8

SHOWN = 64  # pictures in a grid


class RunError(ValueError):
    """A run that cannot start or go on; the message is one line that says why and what to do."""


class Diverged(RuntimeError):
    """A loss or gradient that is not finite; the last checkpoint is from before it."""


class Interrupted(Exception):
    """SIGTERM or Ctrl-C: the run has saved and can be resumed. `signal` is its number."""

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.signal = signal_number


class Loop(NamedTuple):
    """What stays the same while a run goes on."""

    settings: Settings
    built: Built
    engine: devices.Engine
    train_set: data.Dataset
    show: Callable      # (weights, step) -> writes the grids
    evaluate: Callable  # (weights) -> {name: float}
    log: object
    manager: object
    rounds: int         # in the whole run, a multiple of the rounds in a call
    intervals: Mapping[str, int]  # rounds between the events of config.log


def train(config: ConfigDict | Mapping, workdir: str | os.PathLike) -> Path:
    """Train to the end, from the start or from where an earlier call stopped; the result is the same to the bit.

    Args:
      config: as from a file in configs/.
      workdir: the run's folder; made if needed.

    Returns:
      The path of the run's report.html.

    Raises:
      ConfigError, data.DataError, RunError: before anything starts, for what cannot work.
      Diverged: a loss or gradient is not finite.
      Interrupted: SIGTERM or Ctrl-C came; everything is saved.
    """
    workdir = Path(workdir)
    settings = check(config)
    check_workdir(workdir, config)
    chosen = check_devices(settings)
    spec, train_set, test_set = _load_data(settings)
    built = build(settings, spec)
    _write_facts(workdir, config, settings, spec, train_set, built, chosen)

    batch, wanted = settings.train.batch, settings.log
    rounds = _up(settings.train.images, batch, settings.devices.steps_per_call)
    intervals = {name: _up(getattr(wanted, name), batch, settings.devices.steps_per_call)
                 for name in ("every", "evaluate", "show")}
    # Saved where a line of metrics ends, so that a resumed run's lines are means over the same rounds.
    intervals["save"] = _up(wanted.save, batch, intervals["every"])
    keep_every = _up(wanted.keep_every, batch, intervals["save"]) if wanted.keep_every else 0
    manager = checkpoint.open_manager(workdir, keep=wanted.keep, keep_every=keep_every)
    engine = devices.make(settings.devices.engine, chosen, built.play)
    latest = manager.latest_step()
    host = jax.tree.map(np.asarray, jax.jit(built.init)()) if latest is None else checkpoint.restore(
        manager, latest, built.shape)
    log = open_log(workdir, rounds * batch, int(host.step), enabled=jax.process_index() == 0)
    log.progress(int(host.step) * batch)
    if latest is not None:
        log.say(f"Resuming {workdir} at {latest * settings.train.batch:,} images.")
    loop = Loop(settings, built, engine, train_set, _shower(settings, built, spec, test_set or train_set, log),
                evaluator(built.game, test_set, settings.train.batch, settings.seed), log, manager, rounds, intervals)
    try:
        _play(loop, host)
    finally:
        manager.wait_until_finished()
        manager.close()
        log.close()
    return report.write(workdir) if jax.process_index() == 0 else workdir / "report.html"


def check_workdir(workdir: Path, config: ConfigDict | Mapping) -> None:
    """Refuse a folder that another config trains in.

    Raises:
      RunError: naming the keys that differ.
    """
    try:
        old = json.loads((workdir / "config.json").read_text())
    except FileNotFoundError:
        return
    except (json.JSONDecodeError, NotADirectoryError) as error:
        raise RunError(f"{workdir}/config.json cannot be read ({error}); choose another --workdir") from error
    if differ := differences(old, config):
        raise RunError(f"{workdir} holds a run of another config ({'; '.join(differ)}); choose another --workdir, or "
                       "delete that folder")


def _load_data(settings: Settings) -> tuple[Spec, data.Dataset, data.Dataset | None]:
    wanted = settings.data
    common = dict(name=wanted.name, dir=wanted.dir, size=wanted.size, label=wanted.label)
    facts = data.peek(split=wanted.split, **common)
    spec = Spec(facts.size, facts.channels, facts.classes)
    build(settings, spec)  # a size or an option that cannot work is told before the pictures are decoded
    return spec, data.load(split=wanted.split, **common), (
        data.load(split=wanted.test, **common) if wanted.test else None)


def _write_facts(workdir, config, settings, spec, train_set, built, chosen) -> None:
    if jax.process_index():
        return
    from imggen_jax import __version__

    workdir.mkdir(parents=True, exist_ok=True)
    facts = {
        "data.json": {
            "name": settings.data.name, "split": settings.data.split, **spec._asdict(),
            "label_names": list(train_set.label_names), "fingerprint": train_set.fingerprint,
            "examples": len(train_set.images),
        },
        "run.json": {
            "players": parameter_counts(built.shape.params), "devices": devices.describe(chosen),
            "versions": {"imggen_jax": __version__, "jax": jax.__version__}, "seed": settings.seed,
        },
        # The last one: a folder with a config is a run.
        "config.json": to_dict(config),
    }
    for name, content in facts.items():
        temporary = workdir / f".{name}.tmp"
        temporary.write_text(json.dumps(content, indent=2) + "\n")
        os.replace(temporary, workdir / name)


def _play(loop: Loop, host) -> None:
    settings, engine = loop.settings, loop.engine
    per_call, batch = settings.devices.steps_per_call, settings.train.batch
    key = jax.random.key(settings.seed)
    state = engine.put_state(host)
    step = int(host.step)
    first, pending, window, clock = True, None, [], time.perf_counter()
    with _Signals() as signals, ThreadPoolExecutor(1) as reader:
        batches = reader.submit(_batches, loop, step)
        while step < loop.rounds:
            state, logs = engine.run(state, engine.put_batches(batches.result()), key)
            step += per_call
            batches = reader.submit(_batches, loop, step)
            # The logs of the call before are read while the devices work on this one.
            if pending is not None:
                window.append(_read(loop, *pending))
            pending = (step, logs)
            due = {name for name, every in loop.intervals.items() if step == loop.rounds or step % every == 0}
            stop = _agree(signals.received)
            if first or due or stop:
                window.append(_read(loop, *pending))
                pending = None
            if first:  # what came before was compiling
                first, clock = False, time.perf_counter()
                first_call = True
            if "every" in due:
                rounds = per_call * (len(window) - first_call)
                speed = rounds * batch / max(time.perf_counter() - clock, 1e-9) if rounds else None
                loop.log.train(step=step, images=step * batch, scalars=_mean(window), images_per_second=speed)
                window, clock, first_call = [], time.perf_counter(), False
            else:
                loop.log.progress(step * batch)
            if due - {"every"} or stop:
                paused = time.perf_counter()
                _events(loop, state, step, due | ({"save"} if stop else set()))
                clock += time.perf_counter() - paused
            if stop and step < loop.rounds:
                raise Interrupted(stop, f"Stopped by {signal.Signals(stop).name} at {step * batch:,} images; everything "
                                        "is saved. The same command goes on from here.")


def _batches(loop: Loop, step: int) -> dict[str, np.ndarray]:
    """This process's rows of the batches of one call: image uint8 [K,b,S,S,C], label int32 [K,b]."""
    batch, seed = loop.settings.train.batch, loop.settings.seed
    mine = batch // jax.process_count()
    rows = slice(jax.process_index() * mine, (jax.process_index() + 1) * mine)
    calls = range(step, step + loop.settings.devices.steps_per_call)
    rounds = [
        data.gather(loop.train_set, data.batch_indices(len(loop.train_set.images), seed=seed, step=i, batch=batch)[rows])
        for i in calls
    ]
    return {name: np.stack([one[name] for one in rounds]) for name in rounds[0]}


def _read(loop: Loop, step: int, logs) -> dict[str, np.ndarray]:
    """Logs of one call on the host, each [K].

    Raises:
      Diverged: naming the round, the player and the value.
    """
    logs = dict(loop.engine.fetch(logs))
    losses, norms = logs.pop("loss"), logs.pop("grad_norm")  # [K,moves]
    names = _move_names(loop.built.game)
    bad = ~(np.isfinite(losses) & np.isfinite(norms))
    if bad.any():
        k, move = np.argwhere(bad)[0]
        what, value = ("loss", losses) if not np.isfinite(losses[k, move]) else ("gradient norm", norms)
        at = step - len(losses) + k
        saved = loop.manager.latest_step()
        kept = f"the checkpoint of step {saved} is intact" if saved is not None else "nothing had been saved yet"
        raise Diverged(f"step {at}: the {what} of {names[move]} is {value[k, move]}; the update was not applied and the "
                       f"run has stopped; {kept}. Try a lower learning rate, or config.players.{names[move]}.clip")
    for i, name in enumerate(names):
        logs |= {f"{name}/loss": losses[:, i], f"{name}/grad_norm": norms[:, i]}
    return logs


def _move_names(game) -> list[str]:
    """A player's name for each move; with a number where it moves more than once in a round."""
    movers = [who for who, _ in game.moves]
    return [who if movers.count(who) == 1 else f"{who}.{movers[:i].count(who)}" for i, who in enumerate(movers)]


def _mean(window: list[dict[str, np.ndarray]]) -> dict[str, float]:
    return {name: float(np.mean(np.concatenate([logs[name] for logs in window]))) for name in window[0]}


def _events(loop: Loop, state, step: int, due: set[str]) -> None:
    host = jax.tree.map(np.array, loop.engine.fetch(state))  # copies: the devices' buffers are given back to the step
    images = step * loop.settings.train.batch
    if "evaluate" in due and (scores := loop.evaluate(host.average)):
        loop.log.evaluate(step=step, images=images, scalars=scores)
    if "show" in due:
        loop.show(host.average, step)
    if "save" in due:  # the last: a run that is killed before it does the rest of this again
        checkpoint.save(loop.manager, host, {"images": images})


def _up(images: int, batch: int, unit: int) -> int:
    """A length in images as rounds, of which it takes a whole number of units."""
    return unit * max(1, math.ceil(images / (batch * unit)))


def _shower(settings: Settings, built: Built, spec: Spec, held_out: data.Dataset, log) -> Callable:
    sample = sampler(built.game.generator, spec)
    columns = spec.classes if 4 <= spec.classes <= 16 else 8
    number = columns * (SHOWN // columns)
    labels = np.arange(number) % columns if spec.classes == columns else None
    originals = held_out.images[:16]
    conditions = held_out.labels[:16] if spec.classes else None

    @jax.jit
    def reconstruct(weights, images, condition):
        z = built.game.generator.encode(weights, images.astype(np.float32) / 127.5 - 1.0, condition)
        return to_uint8(built.game.generator.decode(weights, z, condition))

    def show(weights, step):
        at = dict(step=step, images=step * settings.train.batch)
        samples = sample(weights, range(number), labels)
        log.picture(name="samples", image=pictures.grid(samples, columns=columns), **at)
        # Games with held-out figures encode at once; for a GAN it is an optimisation, too long for every time.
        if built.game.evaluate is not None:
            again = np.asarray(reconstruct(weights, originals, conditions))
            log.picture(name="reconstructions", image=pictures.reconstruction_grid(originals, again), **at)

    return show


def _agree(received: int) -> int:
    """The signal that any process received: all must stop after the same round."""
    if jax.process_count() == 1:
        return received
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.int32(received))))


class _Signals:
    """Notes SIGTERM and Ctrl-C instead of dying; a second Ctrl-C dies."""

    def __enter__(self):
        self.received = 0
        self.before = {}
        if _in_main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self.before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number, frame):
        del frame
        if self.received:
            raise KeyboardInterrupt
        self.received = number
        print("\nStopping: saving first (again to leave at once) ...", file=sys.stderr, flush=True)

    def __exit__(self, *exception):
        for number, handler in self.before.items():
            signal.signal(number, handler)


def _in_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()
