"""The life of a run: start or resume, play rounds, log, show, save, and leave in good order."""
from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from imggen_jax import data, devices
from imggen_jax.augment import to_float
from imggen_jax.config import Settings, check, differences, resolve
from imggen_jax.errors import ConfigError, Diverged, Interrupted, RunError, SaveError
from imggen_jax.game import PyTree, Spec
from imggen_jax.metrics import spaces
from imggen_jax.pictures import grids
from imggen_jax.sampling import sampler, to_uint8
from imggen_jax.storage import checkpoint, lock
from imggen_jax.training import finetune, report, watchdog
from imggen_jax.training.build import Built, build, check_devices, flops_per_round, parameter_counts
from imggen_jax.training.heldout import evaluator
from imggen_jax.training.log import open_log, read_metrics
from imggen_jax.training.saved import Saved, read_json
from imggen_jax.training.signals import Signals, Stopped

SHOWN = 64  # pictures in a grid
LOOKS = {"evaluate", "score", "show"}  # events that only look at the averaged weights
LONG_CALL = 15  # seconds, of the 30 that platforms give after SIGTERM


class Loop(NamedTuple):
    """What stays the same while a run goes on."""

    settings: Settings
    built: Built
    engine: devices.Engine
    train_set: data.Dataset | data.Streamed
    show: Callable      # (weights, step) -> writes the grids
    evaluate: Callable  # (weights) -> {name: float}
    score: Callable | None  # (weights, step, images) -> {name: float}, where scores are wanted
    log: object
    saver: checkpoint.Saver | None  # of the first process
    workdir: Path
    rounds: int         # in the whole run, a multiple of the rounds in a call
    intervals: Mapping[str, int]  # rounds between the events of config.log
    utilisation: float | None  # share of the devices' peak (MFU) at one image a second; None for unknown devices


def train(config: ConfigDict | Mapping, workdir: str | os.PathLike, *, heartbeat: int = 60) -> Path:
    """Train to the end, from the start or from where an earlier call stopped; the result is the same to the bit.

    Args:
      config: as from a file in configs/.
      workdir: the run's folder; made if needed.
      heartbeat: seconds of silence after which another process of the run is taken for lost; then this one leaves.

    Returns:
      The path of the run's report.html.

    Raises:
      ConfigError, data.DataError, MetricsError, RunError: before anything starts, for what cannot work.
      Diverged: a loss or gradient is not finite.
      SaveError: a file cannot be written.
      Interrupted: SIGTERM or Ctrl-C came; everything is saved.
    """
    workdir = Path(workdir)
    settings = check(config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(watchdog.watch(heartbeat))
        check_place(workdir)
        if settings.score.every:
            spaces.check_there(settings.score.space)
        chosen = check_devices(settings)
        if jax.process_index() == 0:
            stack.enter_context(lock.hold(workdir))
        check_workdir(workdir, config)
        return _train(config, workdir, settings, chosen)


def _train(config, workdir: Path, settings: Settings, chosen) -> Path:
    batch = settings.train.batch
    rounds = _up(settings.train.images, batch, settings.devices.steps_per_call)
    latest = _newest(workdir)
    saved = checkpoint.meta(workdir, latest) if latest is not None else {}
    if latest is not None and latest >= rounds and (not saved.get("left") or _report_is_new(workdir)):
        return _complete(workdir, latest * batch)
    # A run that has a checkpoint needs the one that it started from no more.
    source = finetune.open_source(settings, workdir) if settings.init.workdir and latest is None else None
    settings = ingested(settings)
    spec, built, train_set, test_set = _load_data(settings, source)
    start = finetune.begin(settings, source, built, spec, train_set.label_names) if source else None
    try:
        # From here on the folder is a run, and is left in good order.
        with _memory_explained(settings, chosen), Signals() as signals:
            _write_facts(workdir, config, settings, spec, train_set, built, chosen, start)
            loop, host = _begin(workdir, settings, spec, built, chosen, train_set, test_set, rounds, latest, start,
                                saved)
            try:
                _play(loop, host, saved, signals)
            finally:
                with contextlib.closing(loop.log):
                    if loop.saver is not None:
                        loop.saver.close()
        return _report(workdir)
    except OSError as error:
        raise SaveError(f"cannot write to {workdir} ({error.strerror or error}); make room or change the folder's "
                        "permissions, then run the same command again: the checkpoints are intact") from error


def _newest(workdir: Path) -> int | None:
    """The step to go on from. The first process looks, and all agree."""
    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    step = checkpoint.newest(workdir, set_aside=True, say=say) if jax.process_index() == 0 else None
    if step is None and jax.process_index() == 0 and read_metrics(workdir / "metrics.jsonl"):
        say(f"note: {workdir} has been trained in, but nothing was saved yet: starting from the beginning")
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        step = int(multihost_utils.broadcast_one_to_all(np.int32(-1 if step is None else step)))
        step = None if step < 0 else step
    return step


def _begin(
    workdir, settings, spec, built, chosen, train_set, test_set, rounds, latest, start, saved
) -> tuple[Loop, PyTree]:
    """All that the rounds need, and the state to start or go on from, on the host."""
    batch, wanted = settings.train.batch, settings.log
    intervals = {name: _up(getattr(wanted, name), batch, settings.devices.steps_per_call)
                 for name in ("every", "evaluate", "show")}
    if settings.score.every:
        intervals["score"] = _up(settings.score.every, batch, settings.devices.steps_per_call)
    # Saved where a line of metrics ends, so that a resumed run's lines are means over the same rounds.
    intervals["save"] = _up(wanted.save, batch, intervals["every"])
    keep_every = _up(wanted.keep_every, batch, intervals["save"]) if wanted.keep_every else 0
    engine = devices.make(settings.devices.engine, chosen, built.play)
    if latest is not None:
        host = checkpoint.restore(workdir, latest, built.shape)
    else:
        host = start.state if start else jax.tree.map(np.asarray, jax.jit(built.init)())
    first = jax.process_index() == 0
    redo = bool({"evaluate", "score"} & set(saved.get("left", ())))
    log = open_log(workdir, rounds * batch, int(host.step), redo=redo, enabled=first)
    score = _scorer(workdir, settings, built, spec, train_set)
    log.progress(int(host.step) * batch)
    if latest is not None:
        log.say(f"Resuming {workdir} at {latest * batch:,} images.")
    saver = checkpoint.Saver(workdir, keep=wanted.keep, keep_every=keep_every, say=log.say) if first else None
    if start:
        for line in start.lines:
            log.say(line)
    if start and saver is not None:
        # From which it is resumed, whatever becomes of the other run. A copy, as for every save.
        saver.save(jax.tree.map(np.array, host), {"images": 0})
    show = _shower(settings, built, spec, test_set or train_set, log)
    evaluate = evaluator(built.game, test_set, batch, settings.seed)
    peak = devices.peak_flops(chosen)
    utilisation = peak and flops_per_round(settings, spec, built) / batch / peak
    return Loop(settings, built, engine, train_set, show, evaluate, score, log, saver, workdir, rounds, intervals,
                utilisation), host


@contextlib.contextmanager
def _memory_explained(settings: Settings, chosen: list[jax.Device]) -> Iterator[None]:
    """Says what to change where a device has too little memory."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        train, told = settings.train, " ".join(str(error).split())[:120]
        wider = "" if train.dtype == "bfloat16" else ' config.train.dtype="bfloat16",'
        raise RunError(
            f"out of memory: {devices.describe(chosen)} cannot hold a round of config.train.batch = {train.batch} "
            f"({told}); take a smaller batch (config.train.accumulate keeps the size of an update),{wider} or more "
            "devices, in another --workdir") from error


def _complete(workdir: Path, images: int) -> Path:
    """Nothing is left to do, unless the process was killed just before it could write the report."""
    if jax.process_index() == 0:
        print(f"{workdir} is complete: {images:,} images. To go on, raise config.train.images.", file=sys.stderr)
    return workdir / "report.html" if _report_is_new(workdir) else _report(workdir)


def _report_is_new(workdir: Path) -> bool:
    page, metrics = workdir / "report.html", workdir / "metrics.jsonl"
    return page.is_file() and not (metrics.is_file() and metrics.stat().st_mtime > page.stat().st_mtime)


def _report(workdir: Path) -> Path:
    return report.write(workdir) if jax.process_index() == 0 else workdir / "report.html"


def check_place(workdir: Path) -> None:
    """Refuse a folder that cannot be written to.

    Raises:
      RunError: saying why.
    """
    above = next(folder for folder in (workdir, *workdir.absolute().parents) if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        reason = "not writable" if above.is_dir() else "not a folder"
        raise RunError(f"the workdir {workdir} cannot be used: {above} is {reason}; choose another --workdir")


def check_workdir(workdir: Path, config: ConfigDict | Mapping) -> None:
    """Refuse a folder that another config trains in.

    Raises:
      RunError: saying why, and naming the keys that differ.
    """
    old = read_json(workdir / "config.json")
    if old is None and (workdir / "checkpoints").exists():
        raise RunError(f"{workdir} has checkpoints but no config.json to say what they are; choose another --workdir")
    if differ := differences(old, config) if old is not None else []:
        raise RunError(f"{workdir} holds a run of another config ({'; '.join(differ)}); choose another --workdir, or "
                       "delete that folder")


def ingested(settings: Settings) -> Settings:
    """With the dataset that config.data.folder was made into, now or earlier, in place of the folder."""
    wanted = settings.data
    if not wanted.folder:
        if not wanted.name:
            raise ConfigError("no data are named; set --config.data.folder=PATH to a folder, zip or tar of pictures, "
                              "or --config.data.name to a TFDS dataset")
        return settings
    build(settings, Spec(wanted.size, 3, 2 if wanted.label else 0))  # what cannot work is told before pictures are read
    made = data.ingest(wanted.folder, size=wanted.size)
    if jax.process_index() == 0:
        left_out = sum(made.card["quarantined"].values())
        print(f"{wanted.folder}: {made.card['pictures']:,} pictures, {left_out:,} files left out; see "
              f"{made.folder / 'ingest.html'}", file=sys.stderr, flush=True)
    return dataclasses.replace(settings, data=dataclasses.replace(wanted, name=made.name, dir=made.dir))


def _load_data(
    settings: Settings, source: Saved | None
) -> tuple[Spec, Built, data.Dataset | data.Streamed, data.Dataset | data.Streamed | None]:
    """What the data decide, what is built for it, the pictures to train on, and those held out."""
    wanted = settings.data
    common = dict(name=wanted.name, dir=wanted.dir, size=wanted.size, label=wanted.label, memory=wanted.memory)
    facts = data.peek(split=wanted.split, **common)
    spec = Spec(facts.size, facts.channels, facts.classes)
    built = build(settings, spec)  # what cannot work is told before the pictures are decoded
    if source:
        finetune.match(settings, source, built, spec)
    if wanted.test:
        data.peek(split=wanted.test, **common)
    return spec, built, data.open_dataset(split=wanted.split, **common), (
        data.open_dataset(split=wanted.test, **common) if wanted.test else None)


def _write_facts(workdir, config, settings, spec, train_set, built, chosen, start) -> None:
    if jax.process_index():
        return
    from imggen_jax import __version__

    if (old := read_json(workdir / "data.json")) and old.get("fingerprint") != train_set.fingerprint:
        raise RunError(f"the pictures of {settings.data.folder or settings.data.name!r} are not those that {workdir} "
                       "was trained on; choose another --workdir, or put back the dataset")
    if start and (old := read_json(workdir / "init.json")) and old.get("sha256") != start.facts["sha256"]:
        raise RunError(f"{settings.init.workdir} has changed since {workdir} began with its weights, and nothing was "
                       f"saved there since; delete {workdir} to begin with the new ones")
    card = data.card(name=settings.data.name, dir=settings.data.dir)
    facts = ({"init.json": start.facts} if start else {}) | {
        "data.json": {
            "name": settings.data.name, "split": settings.data.split, **spec._asdict(),
            "label_names": list(train_set.label_names), "fingerprint": train_set.fingerprint,
            "examples": train_set.shape[0],
            **({"card": card} if card else {}),
        },
        "run.json": {
            "players": parameter_counts(built.shape.params), "devices": devices.describe(chosen),
            "versions": {"imggen_jax": __version__, "jax": jax.__version__}, "seed": settings.seed,
        },
        # The last one: a folder with a config is a run.
        "config.json": resolve(config),
    }
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        for name, content in facts.items():
            temporary = workdir / f".{name}.tmp"
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            os.replace(temporary, workdir / name)
    except OSError as error:
        raise RunError(f"cannot write to the workdir {workdir} ({error.strerror}); choose another --workdir") from error


def _play(loop: Loop, host, saved: Mapping, signals: Signals) -> None:
    """From a state, and what was saved with it, to the end."""
    settings, engine = loop.settings, loop.engine
    per_call, batch = settings.devices.steps_per_call, settings.train.batch
    key = jax.random.key(settings.seed)
    state = engine.put_state(host)
    step = int(host.step)
    if left := set(saved.get("left", ())):  # what a signal kept from being done after this step was trained
        _look(loop, host.average, step, left)
    first, warned, pending, window = True, False, None, _unpack(saved.get("window", {}))
    clock, timed = time.perf_counter(), 0  # rounds since the clock was set
    with contextlib.closing(_batches(loop, step)) as batches:
        while step < loop.rounds:
            state, logs = engine.run(state, engine.put_batches(next(batches)), key)
            step, timed = step + per_call, timed + per_call
            # The logs of the call before are read while the devices work on this one.
            if pending is not None:
                window.append(_read(loop, *pending))
            pending = (step, logs)
            # Not step % every: a run taken up with another steps_per_call may never meet the multiples themselves.
            due = {name for name, every in loop.intervals.items()
                   if step >= loop.rounds or step // every > (step - per_call) // every}
            stop = _agree(signals.received)
            if first or due or stop:
                window.append(_read(loop, *pending))
                pending = None
            if first:  # what came before was compiling
                signals.trained = True
                first, clock, timed = False, time.perf_counter(), 0
            if "every" in due:
                speed = timed * batch / max(time.perf_counter() - clock, 1e-9) if timed else None
                scalars = _mean(window) | ({"mfu": loop.utilisation * speed} if loop.utilisation and speed else {})
                loop.log.train(step=step, images=step * batch, scalars=scalars, images_per_second=speed)
                window, clock, timed = [], time.perf_counter(), 0
                if speed and per_call * batch / speed > LONG_CALL and not warned:
                    warned = True
                    loop.log.say(f"note: a call of {per_call} rounds takes {per_call * batch / speed:.0f} seconds, and "
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
                if stop and (left or step < loop.rounds):
                    raise Interrupted(stop, f"Stopped by {signal.Signals(stop).name} at {step * batch:,} images; all "
                                            "is saved. The same command goes on from here.")
    if loop.saver is not None:
        loop.saver.wait()


def _batches(loop: Loop, step: int) -> Iterator[dict[str, np.ndarray]]:
    """This process's rows of the batches of each call from `step` on: image uint8 [K,b,S,S,C], label int32 [K,b]."""
    batch, seed, per_call = loop.settings.train.batch, loop.settings.seed, loop.settings.devices.steps_per_call
    mine = batch // jax.process_count()
    rows = slice(jax.process_index() * mine, (jax.process_index() + 1) * mine)
    number, threads = loop.train_set.shape[0], loop.train_set.threads

    def one(i: int) -> dict[str, np.ndarray]:
        return data.gather(loop.train_set, data.batch_indices(number, seed=seed, step=i, batch=batch)[rows])

    # The next call's rounds are made while the devices work on this one, and a few more for when reading is uneven.
    stop = step + _multiple(loop.rounds - step, per_call)
    rounds = data.ahead(one, step, stop, threads=threads, buffer=2 * per_call + threads)
    with contextlib.closing(rounds):
        while call := list(itertools.islice(rounds, per_call)):
            yield {name: np.stack([each[name] for each in call]) for name in call[0]}


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
        if loop.saver is not None:
            loop.saver.settle()
        saved = checkpoint.steps(loop.workdir)
        kept = f"the checkpoint of step {saved[-1]} is intact" if saved else "nothing had been saved yet"
        player = loop.built.game.moves[move][0]
        raise Diverged(f"step {at}: the {what} of {names[move]} is {value[k, move]}; the update was not applied, the "
                       f"run has stopped, and {kept}. Try a lower learning rate, or config.players.{player}.clip")
    for i, name in enumerate(names):
        logs |= {f"{name}/loss": losses[:, i], f"{name}/grad_norm": norms[:, i]}
    return logs


def _move_names(game) -> list[str]:
    """A player's name for each move; with a number where it moves more than once in a round."""
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
    """What is due after a step: held-out figures, pictures, a checkpoint, in this order, so that a run which is killed
    before the last does the rest of it again.

    A signal makes do with the checkpoint. It says what is left, to be done when the run goes on.

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
            loop.log.say("What was due besides the checkpoint is done when the run goes on.")
        stop = _agree(signals.received)
    if "save" in due or stop:
        _save(loop, state, step, left, window, wait=bool(stop))
    return stop, left


def _look(loop: Loop, average, step: int, due: set[str]) -> None:
    """Log held-out figures and pictures of the averaged weights."""
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
    """With what is left to be done at this step, and the logs of the rounds since the last line of metrics."""
    if loop.saver is None:
        return
    # Copies, for they are written while the step takes the devices' buffers back.
    host = jax.tree.map(np.array, loop.engine.fetch(state))
    loop.saver.save(host, {"images": step * loop.settings.train.batch, "left": sorted(left), "window": _pack(window)})
    if wait:
        loop.saver.wait()


def _up(images: int, batch: int, unit: int) -> int:
    """A length in images as rounds, of which it takes a whole number of units."""
    return _multiple(max(1, math.ceil(images / batch)), unit)


def _multiple(number: int, unit: int) -> int:
    """The least multiple of `unit` that is not below `number`."""
    return -(-number // unit) * unit


def _shower(settings: Settings, built: Built, spec: Spec, held_out: data.Dataset | data.Streamed, log) -> Callable:
    if built.game.generator is None:
        return lambda weights, step: None
    sample = sampler(built.game.generator, spec)
    columns = spec.classes if 4 <= spec.classes <= 16 else 8
    number = columns * (SHOWN // columns)
    labels = np.arange(number) % columns if spec.classes == columns else None
    shown = data.gather(held_out, np.arange(min(16, held_out.shape[0])))
    originals, conditions = shown["image"], shown.get("label")

    @jax.jit
    def reconstruct(weights, images, condition):
        z = built.game.generator.encode(weights, to_float(images), condition)
        return to_uint8(built.game.generator.decode(weights, z, condition))

    def show(weights, step):
        at = dict(step=step, images=step * settings.train.batch)
        samples = sample(weights, range(number), labels)
        log.picture(name="samples", image=grids.grid(samples, columns=columns), **at)
        # Games with held-out figures encode at once; for a GAN it is an optimisation, too long for every time.
        if built.game.evaluate is not None:
            again = np.asarray(reconstruct(weights, originals, conditions))
            log.picture(name="reconstructions", image=grids.reconstruction_grid(originals, again), **at)

    return show


def _scorer(workdir: Path, settings: Settings, built: Built, spec: Spec, train_set) -> Callable | None:
    if not settings.score.every or built.game.generator is None or jax.process_index():
        return None
    from imggen_jax.evaluation.score import Watch

    return Watch(settings, train_set, sampler(built.game.generator, spec), workdir)


def _agree(received: int) -> int:
    """The signal that any process received: all must stop after the same round."""
    if jax.process_count() == 1:
        return received
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.int32(received))))
