"""The life of a run: start or resume, train, and stop in good order."""
from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, cast

import jax
import numpy as np
from ml_collections import ConfigDict

from imggen_jax import data, devices
from imggen_jax.config import Settings, check
from imggen_jax.errors import RunError, SaveError
from imggen_jax.game import Generator, Pretrained, PyTree
from imggen_jax.storage import checkpoint, lock
from imggen_jax.storage.files import given_path
from imggen_jax.training import finetune, folder, loop, pretrained, report, watchdog
from imggen_jax.training.build import Built, build, check_devices, flops_per_step
from imggen_jax.training.dataset import ingested, open_split, transformed
from imggen_jax.training.heldout import evaluator
from imggen_jax.training.log import open_log, read_metrics
from imggen_jax.training.saved import open_run
from imggen_jax.training.shown import shower
from imggen_jax.training.signals import Signals

# (settings, built, training set, workdir) -> a function (average, step, images) -> {name: float}; {} for no score
Scorer = Callable[[Settings, Built, data.Dataset, Path], Callable]


class Parts(NamedTuple):
    """What a run needs, found and checked before anything long starts."""

    settings: Settings
    chosen: list[devices.Device]
    train_set: data.Dataset
    test_set: data.Dataset | None
    networks: Mapping[str, Pretrained]
    built: Built
    start: finetune.Start | None  # of a run that starts from another one, and has not been saved yet
    latest: int | None            # the step to resume from
    saved: Mapping                # what was saved with that step
    changes: list[str]            # of the config, since the run was last started


def train(
    config: ConfigDict | Mapping, workdir: str | os.PathLike, *, heartbeat: int = 60, scorer: Scorer | None = None,
    opener: finetune.Opener = open_run, leave: Callable[[int], object] | None = None,
) -> Path:
    """Train to the end, from the start or from where an earlier call stopped; the result is the same to the bit.

    Args:
      config: as from a file in configs/.
      workdir: the run's folder; made if needed.
      heartbeat: seconds of silence after which another process of the run counts as lost.
      scorer: makes the function that scores images during training, where config.score asks for it.
      opener: opens the run that config.init.workdir names, or what it takes for one.
      leave: ends the process with an exit code, from any thread: `os._exit`, for the command line, which then leaves at
        once when a signal comes or another process is lost. None never ends the process; see `Signals`, `watchdog`.

    Returns:
      The path of the run's report.html.

    Raises:
      ConfigError, data.DataError, MetricsError, RunError: before anything starts, for what cannot work.
      Diverged: a loss or gradient is not finite.
      SaveError: a file cannot be written.
      Interrupted: SIGTERM or Ctrl-C came; everything is saved. KeyboardInterrupt: it came twice.
    """
    workdir = given_path(workdir, "the workdir")
    settings = check(config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(watchdog.watch(heartbeat, leave))
        folder.check_place(workdir, settings.data.folder)
        chosen = check_devices(settings)
        if jax.process_index() == 0:
            stack.enter_context(lock.hold(workdir))
        folder.check_workdir(workdir, cast(Mapping, config))  # a ConfigDict reads as one
        return _train(config, workdir, settings, chosen, scorer, opener, leave)


def _train(config, workdir: Path, settings: Settings, chosen, scorer: Scorer | None, opener: finetune.Opener, leave
           ) -> Path:
    batch = settings.train.batch
    steps = loop.up(settings.train.images, batch, settings.devices.steps_per_call)
    latest = _newest(workdir)
    saved = checkpoint.meta(workdir, latest) if latest is not None else {}
    if latest is not None and latest >= steps and (not saved.get("left") or _report_is_new(workdir)):
        return _complete(workdir, latest * batch)
    parts = _parts(workdir, settings, chosen, latest, saved, opener)
    parts = parts._replace(changes=folder.config_changes(workdir, config))
    try:
        # From here on the folder is a run, and is left in good order.
        with _memory_explained(settings, chosen), Signals(leave) as signals:
            if jax.process_index() == 0:
                folder.check_same(workdir, parts.settings, parts.train_set, parts.built, parts.networks, parts.start)
                folder.write_facts(workdir, config, parts.settings, parts.train_set, parts.test_set, parts.built,
                                   parts.networks, chosen, parts.start)
            run, host = _begin(workdir, parts, steps, scorer)
            try:
                loop.run(run, host, saved, signals)
            finally:
                with contextlib.closing(run.log):
                    if run.saver is not None:
                        run.saver.close()
        return _report(workdir)
    except OSError as error:
        raise SaveError(f"cannot write to {workdir} ({error.strerror or error}); make room or change the folder's "
                        "permissions, then run the same command again: the checkpoints are intact") from error


def _newest(workdir: Path) -> int | None:
    """The step to resume from. The first process looks, and all agree."""
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


def _parts(workdir: Path, settings: Settings, chosen, latest: int | None, saved: Mapping, opener: finetune.Opener
           ) -> Parts:
    # A run that has a checkpoint needs the one that it started from no more.
    begins = settings.init.workdir and latest is None
    source = finetune.open_source(settings, workdir, opener) if begins else None
    networks = pretrained.load_all(settings)
    settings = ingested(settings, networks)
    train_set = open_split(settings, settings.data.split)
    built = build(settings, train_set.spec, networks)  # what cannot work is refused before images are decoded
    if source:
        finetune.match(settings, source, built, built.spec)
    test_set = open_split(settings, settings.data.test) if settings.data.test else None
    start = finetune.begin(settings, source, built, built.spec) if source else None
    return Parts(settings, chosen, train_set, test_set, networks, built, start, latest, saved, [])


def _begin(workdir: Path, parts: Parts, steps: int, scorer: Scorer | None) -> tuple[loop.Loop, PyTree]:
    """All that the steps need, and the state to start or resume from, on the host."""
    settings, built, latest, start = parts.settings, parts.built, parts.latest, parts.start
    batch, wanted = settings.train.batch, settings.log
    intervals = {name: loop.up(getattr(wanted, name), batch, settings.devices.steps_per_call)
                 for name in ("every", "evaluate", "show")}
    if settings.score.every:
        intervals["score"] = loop.up(settings.score.every, batch, settings.devices.steps_per_call)
    # Saved where a line of metrics ends, so that a resumed run's lines are means over the same steps.
    intervals["save"] = loop.up(wanted.save, batch, intervals["every"])
    keep_every = loop.up(wanted.keep_every, batch, intervals["save"]) if wanted.keep_every else 0
    engine = devices.make(settings.devices.engine, parts.chosen, built.play)
    if latest is not None:
        host = checkpoint.restore(workdir, latest, built.shape)
    else:
        host = start.state if start else jax.tree.map(np.asarray, jax.jit(built.init)())
    first = jax.process_index() == 0
    redo = bool({"evaluate", "score"} & set(parts.saved.get("left", ())))
    log = open_log(workdir, steps * batch, int(host.step), redo=redo, enabled=first)
    makes = any(isinstance(model, Generator) for model in built.game.models.values())
    score = scorer(settings, built, parts.train_set, workdir) if scorer and first and makes and settings.score.every \
        else None
    log.progress(int(host.step) * batch)
    if latest is not None:
        log.say(f"Resuming {workdir} at {latest * batch:,} images.")
    for line in parts.changes:
        log.say(f"  changed: {line}")
    saver = checkpoint.Saver(workdir, keep=wanted.keep, keep_every=keep_every, say=log.say) if first else None
    if start:
        for line in start.lines:
            log.say(line)
    if start and saver is not None:
        # From which it is resumed, whatever becomes of the other run. A copy, as for every save.
        saver.save(jax.tree.map(np.array, host), {"images": 0})
    show = shower(settings, built, transformed(settings, parts.test_set or parts.train_set), log)
    test_set = parts.test_set and transformed(settings, parts.test_set)
    evaluate = evaluator(built.game, test_set, batch, settings.seed, built.pretrained)
    peak = devices.peak_flops(parts.chosen)
    utilization = peak and flops_per_step(settings, parts.train_set.spec, built) / batch / peak
    return loop.Loop(settings, built, engine, engine.put_state(built.pretrained), parts.train_set, show, evaluate,
                     score, log, saver, workdir, steps, intervals, utilization), host


@contextlib.contextmanager
def _memory_explained(settings: Settings, chosen: list[devices.Device]) -> Iterator[None]:
    """Says what to change where a device has too little memory."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        train, reason = settings.train, " ".join(str(error).split())[:120]
        wider = "" if train.dtype == "bfloat16" else ' config.train.dtype="bfloat16",'
        raise RunError(
            f"out of memory: {devices.describe(chosen)} cannot hold a step of config.train.batch = {train.batch} "
            f"({reason}); take a smaller batch (config.train.accumulate keeps the size of an update),{wider} or more "
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
