"""What a run writes about itself while it trains: metrics.jsonl, TensorBoard events, pictures, and a progress bar."""
from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from imggen_jax.pictures import grids
from imggen_jax.storage.files import write_atomic


def open_log(
    workdir: str | Path, total_images: int, resume_step: int = 0, *, redo: bool = False, enabled: bool = True
) -> Log:
    """Begin or continue the log of a run.

    What was logged after `resume_step` is dropped, from metrics.jsonl and from what TensorBoard shows, since it will be
    trained again; so every step is there once, however often the run was interrupted. That holds if the lines of a step
    are logged before its checkpoint is saved.

    Args:
      workdir: the run's folder.
      total_images: length of the run, for the progress bar.
      resume_step: the step that was restored; 0 starts over and drops everything.
      redo: the held-out metrics of the restored step will be logged again, so existing ones are dropped.
      enabled: False returns a log that writes nothing, for all processes of a run but the first.
    """
    if not enabled:
        return Log(None, total_images, None, None, {})
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / "metrics.jsonl"
    kept = [line for line in read_metrics(path) if resume_step and line["step"] <= resume_step
            and not (redo and line["step"] == resume_step and "seconds" not in line)]
    write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept))
    taken = {name: max((line.get(name, 0.0) for line in kept), default=0.0) for name in ("seconds", "cpu_seconds")}
    return Log(workdir, total_images, Appender(path), _event_writer(workdir / "tensorboard", resume_step), taken)


def _event_writer(folder: Path, resume_step: int):
    from tensorboardX import SummaryWriter
    from tensorboardX.record_writer import register_writer_factory

    # On a full disk tensorboardX's own files end its thread, and soon after the run would wait for that thread forever.
    register_writer_factory(_Appenders.PREFIX, _Appenders())
    return SummaryWriter(
        f"{_Appenders.PREFIX}:{folder}",
        purge_step=resume_step + 1 if resume_step else 0,
        flush_secs=1,  # a killed run loses at most this from TensorBoard, and nothing from metrics.jsonl
        filename_suffix=f".{time.time_ns()}",  # starts within one second would share a file, and the last empty it
    )


def read_metrics(path: str | Path) -> list[dict]:
    """Return the lines of a metrics.jsonl, in order; none if the file does not exist.

    An incomplete line, as a killed process or a full disk leaves it, is skipped.
    """
    path = Path(path)
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


class Appender:
    """A file that is appended to; what does not fit on the disk is kept in memory until there is room.

    The file always holds whole writes, whatever happens in between.
    """

    def __init__(self, path: str | Path):
        self.path, self.error = Path(path), None  # error: the OSError of the last flush, None if it went well
        self._waiting = b""
        self.path.touch()

    def write(self, data: bytes) -> None:
        self._waiting += data

    def flush(self) -> None:
        """Write what waits; on a failure, `error` says why."""
        if not self._waiting:
            return
        self.error = None
        try:
            with open(self.path, "ab", buffering=0) as file:
                before, rest = file.tell(), memoryview(self._waiting)
                try:
                    while rest:
                        rest = rest[file.write(rest):]
                except OSError:
                    file.truncate(before)
                    raise
            self._waiting = b""
        except OSError as error:
            self.error = error

    def close(self) -> None:
        self.flush()


class _Appenders:
    """The file factory of tensorboardX for folders with this prefix."""

    PREFIX = "imggen_jax"

    def open(self, path: str) -> Appender:
        return Appender(path.removeprefix(f"{self.PREFIX}:"))

    def directory_check(self, path: str) -> None:
        Path(path.removeprefix(f"{self.PREFIX}:")).mkdir(parents=True, exist_ok=True)


class Log:
    """The open files of a run and its progress bar; made by `open_log`."""

    def __init__(self, workdir, total_images, metrics, events, taken):
        self._workdir, self._total = workdir, total_images
        self._metrics, self._events = metrics, events
        self._taken, self._start, self._cpu_start = taken, time.monotonic(), time.process_time()
        self._bar, self._warned = None, False
        self._terminal = _fits_a_bar(sys.stderr)

    def train(
        self, *, step: int, images: int, scalars: Mapping[str, float], images_per_second: float | None
    ) -> None:
        """Log a training interval: scalars by name (`generator/loss`), and the speed if it is known.

        The line also holds `seconds`, the time the run has taken so far: compilation, evaluation and pictures count,
        the time between an interruption and its resumption does not; and `cpu_seconds`, that of all threads of this
        process, which other work on the machine hardly changes.
        """
        if self._workdir is None:
            return
        seconds = self._taken["seconds"] + time.monotonic() - self._start
        cpu_seconds = self._taken["cpu_seconds"] + time.process_time() - self._cpu_start
        speed = math.nan if images_per_second is None else images_per_second
        self._write(step, images, {"seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds, 3)},
                    {"images_per_second": speed, **scalars})
        main = {name.removesuffix("/loss"): value for name, value in scalars.items() if _is_main(name)}
        losses = "  ".join(f"{name} {value:.4g}" for name, value in main.items())
        if self._terminal:
            self.progress(images)
            if self._bar is not None:
                self._bar.set_postfix_str(losses)
        else:
            pace = f"{speed:.0f} images/s  {_duration((self._total - images) / speed)} left  " if speed > 0 else ""
            self.say(f"{_count(images)} of {_count(self._total)} images ({100 * images / self._total:.0f}%)  "
                     f"{pace}{losses}")

    def evaluate(self, *, step: int, images: int, scalars: Mapping[str, float]) -> None:
        """Log metrics of held-out data, named with their split: `test/elbo`."""
        if self._workdir is None:
            return
        self._write(step, images, {}, scalars)
        self.say(f"{_count(images)} images: " + "  ".join(f"{name} {value:.5g}" for name, value in scalars.items()))

    def picture(self, *, step: int, images: int, name: str, image: np.ndarray) -> None:
        """Write a picture, uint8 [H,W,3], as pictures/<name>_<images, 9 digits>.png, and for TensorBoard."""
        if self._workdir is None:
            return
        path = self._workdir / "pictures" / f"{name}_{images:09d}.png"
        try:
            grids.write_png(path, image)  # not signed: a resumed run ends with the same files, to the bit
        except OSError as error:
            self.say(f"warning: {path} cannot be written ({error.strerror or error}) and is skipped; the run continues")
        self._events.add_image(name, image, step, dataformats="HWC")

    def progress(self, images: int) -> None:
        """Move the bar to `images` seen so far.

        Call it once before the first step, so that the speed of a resumed run does not include earlier images.
        """
        if self._workdir is None or not self._terminal:
            return
        if self._bar is None:
            from tqdm import tqdm

            # A short bar leaves room for the losses.
            form = "{percentage:3.0f}%|{bar:6}| {n_fmt}/{total_fmt} [{elapsed}<{remaining},{rate_fmt}{postfix}]"
            self._bar = tqdm(total=self._total, initial=images, unit=" images", unit_scale=True, dynamic_ncols=True,
                             bar_format=form)
        self._bar.update(images - self._bar.n)

    def say(self, line: str) -> None:
        """Print a line to stderr, above the bar where there is one."""
        if self._workdir is None:
            return
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.write(line, file=sys.stderr)

    def close(self) -> None:
        """Finish the bar and close the files. Safe to call twice.

        Raises:
          OSError: lines of metrics.jsonl still wait for room on the disk, and are lost.
        """
        if self._workdir is None:
            return
        if self._bar is not None:
            self._bar.close()
        self._events.close()
        self._metrics.close()
        if self._metrics.error is not None:
            raise self._metrics.error

    def _write(self, step, images, timing, scalars):
        scalars = {name: float(value) for name, value in scalars.items()}
        line = {"step": int(step), "images": int(images), **timing, **{k: _number(v) for k, v in scalars.items()}}
        self._metrics.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        self._metrics.flush()
        if (error := self._metrics.error) is not None and not self._warned:
            self.say(f"warning: {self._metrics.path} cannot be written ({error.strerror or error}); its lines are kept "
                     "until there is room, and the run continues")
        self._warned = error is not None
        for name, value in scalars.items():
            if math.isfinite(value):
                self._events.add_scalar(name, value, step)


def _number(value: float) -> float | None:
    # Nine significant digits restore a float32 exactly; JSON has neither infinity nor NaN.
    return float(f"{value:.9g}") if math.isfinite(value) else None


def _fits_a_bar(stream) -> bool:
    # A terminal without a size, as in some containers, gets plain lines: tqdm would draw nothing there.
    return stream.isatty() and min(os.get_terminal_size(stream.fileno())) > 0


def _is_main(name: str) -> bool:
    return name.rpartition("/")[2] in ("loss", "elbo")


def _count(n: int) -> str:
    return f"{n / 1e6:.2f}M" if n >= 1e6 else f"{n / 1e3:.1f}k" if n >= 1e4 else str(n)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
