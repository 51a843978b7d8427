"""Trainings that the studio has begun: processes of their own, which can be stopped and go on, and outlive the studio.

What is known of a run is read from its folder, as the run itself writes it. Knows no Gradio.
"""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from imggen_jax.errors import RunError
from imggen_jax.storage import lock
from imggen_jax.storage.files import write_atomic
from imggen_jax.studio import commands
from imggen_jax.studio.index import Index
from imggen_jax.training.log import read_metrics

FACTS, SAID = "studio.json", "studio.log"
PROBE = 2_000             # pictures that a run sees by which a machine is measured
MOST_IMAGES = 20_000_000


class Preset(NamedTuple):
    """How long one wants to wait, and what is trained meanwhile."""

    title: str
    minutes: int
    config: str
    size: int             # pixels
    guess: float          # pictures per second of two CPU cores, until this machine is measured


# Speeds from the configs' own pages; docs/studio.md tells what to expect of each.
PRESETS = {"quick": Preset("15 minutes: soft pictures, 32 x 32", 15, "folder_vae", 32, 800.0),
           "hour": Preset("An hour: sharper pictures, 32 x 32", 60, "folder_gan", 32, 300.0),
           "night": Preset("Overnight: sharper pictures, 64 x 64", 480, "folder_gan", 64, 75.0)}


class State(NamedTuple):
    """What is known of a run."""

    name: str
    folder: Path
    state: str            # "running", "stopped", "complete" or "failed"
    images: int           # seen so far
    total: int
    left: float | None    # seconds, while it runs and its speed is known
    speed: float | None   # images per second
    losses: dict[str, list[tuple[int, float]]]   # name -> [(images, value)]
    samples: Path | None  # the newest grid
    said: str             # the last line that it printed


def images_of(preset: Preset, speed: float | None) -> int:
    """How many pictures a preset shows a model on a machine of this speed."""
    return int(min(MOST_IMAGES, max(4_000, preset.minutes * 60 * 0.92 * (speed or preset.guess)) // 1000 * 1000))


def speed_of(index: Index, preset: Preset) -> float | None:
    """Pictures per second that were measured on this machine; None where they were not."""
    return index.rate(_rate(preset))


def measure(index: Index, preset: Preset, folder: str, scratch: Path, stop: threading.Event) -> float:
    """Pictures per second of a short run on this machine, which is kept. Takes about a minute; `stop` ends it.

    Raises:
      RunError: the run ended badly, with what it said, or was stopped; or no speed could be seen.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="measure_") as place:
        words = [word for word in commands.train(preset.config, folder, f"{place}/run", preset.size, PROBE)
                 if not word.startswith("--config.log.")]
        said = Path(place) / SAID
        with open(said, "wb") as log:
            process = subprocess.Popen(commands.process([*words, "--config.log.every=500", "--config.log.show=100000",
                                                         "--config.log.save=100000"]),
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        while process.poll() is None:
            if stop.wait(0.2):
                process.kill()
                process.wait()
                raise RunError("canceled: nothing was trained")
        if process.returncode:
            raise RunError((_last_line(said) or "the training has ended").removeprefix("error: "))
        speeds = [line["images_per_second"] for line in read_metrics(Path(place) / "run" / "metrics.jsonl")
                  if line.get("images_per_second")]
    if not speeds:
        raise RunError("the speed of this machine could not be seen; try again")
    index.set_rate(_rate(preset), speeds[-1])
    return speeds[-1]


def begin(workdir: Path, preset: Preset, folder: str, images: int) -> list[str]:
    """Start a run, in a process of its own; returns the words of its command.

    Raises:
      RunError: there is a run of this name.
      OSError: it could not be begun, as on a full disk; nothing of it is left.
    """
    if workdir.exists():
        raise RunError(f"there is a run {workdir.name!r} already; choose another name, or go on with that one")
    words = commands.train(preset.config, folder, str(workdir), preset.size, images)
    workdir.mkdir(parents=True)
    try:
        write_atomic(workdir / FACTS, json.dumps({"words": words, "images": images, "folder": folder}))
        _spawn(workdir, words)
    except OSError:                # so that the name is free when the same is tried again
        shutil.rmtree(workdir, ignore_errors=True)
        raise
    return words


def go_on(workdir: Path) -> list[str]:
    """Continue a run that was stopped, by the command that began it. Raises RunError where it runs, or is none."""
    if state(workdir).state == "running":
        raise RunError(f"{workdir.name} is running already")
    words = _facts(workdir)["words"]
    _spawn(workdir, words)
    return words


def stop(workdir: Path) -> None:
    """Ask a run to save and end. Raises RunError where it does not run."""
    process = _process(workdir)
    if process is None:
        raise RunError(f"{workdir.name} is not running")
    os.kill(process, signal.SIGTERM)


def rename(workdir: Path, name: Path) -> None:
    """Give a run that is not running another folder. Raises RunError."""
    if state(workdir).state == "running":
        raise RunError(f"{workdir.name} is running; stop it first")
    if name.exists():
        raise RunError(f"there is a run {name.name!r} already; choose another name")
    facts = _facts(workdir)
    facts["words"] = [str(name) if word == str(workdir) else word for word in facts["words"]]
    write_atomic(workdir / FACTS, json.dumps(facts))
    os.replace(workdir, name)


def every(folder: Path) -> list[State]:
    """The runs of a folder, those that changed last first."""
    found = [path for path in folder.iterdir() if (path / FACTS).is_file()]
    return [state(path) for path in sorted(found, key=lambda path: -_changed(path))]


def state(workdir: Path) -> State:
    """What is known of a run. Raises RunError where the studio has begun none there."""
    facts, lines = _facts(workdir), read_metrics(workdir / "metrics.jsonl")
    images, total = max((line.get("images", 0) for line in lines), default=0), facts["images"]
    speeds = [line["images_per_second"] for line in lines[-5:] if line.get("images_per_second")]
    running, speed = _process(workdir) is not None, sorted(speeds)[len(speeds) // 2] if speeds else None
    saved = any(workdir.glob("checkpoints/[0-9]*"))
    now = ("running" if running else "complete" if images >= total else
           "stopped" if saved or not (workdir / SAID).exists() else "failed")
    left = (total - images) / speed if running and speed else None
    samples = sorted(workdir.glob("pictures/samples*.png"), key=_changed)
    return State(workdir.name, workdir, now, images, total, left, speed, _losses(lines),
                 samples[-1] if samples else None, _last_line(workdir / SAID))


def archive(folder: Path, to: Path) -> Path:
    """A zip of an exported folder, in another one."""
    return Path(shutil.make_archive(str(to / folder.name), "zip", folder.parent, folder.name))


def _losses(lines: Sequence[dict]) -> dict[str, list[tuple[int, float]]]:
    """What a curve is drawn of: the losses of the players, and those of held-out pictures."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for name, value in line.items():
            if name.rpartition("/")[2] in ("loss", "elbo") and isinstance(value, int | float):
                found.setdefault(name, []).append((line["images"], value))
    return found


def _spawn(workdir: Path, words: Sequence[str]) -> None:
    with open(workdir / SAID, "ab") as log:
        process = subprocess.Popen(commands.process(words), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   start_new_session=True)
    _children.append(process)    # which reaps it when it has ended
    write_atomic(workdir / "studio.pid", str(process.pid))


_children: list[subprocess.Popen] = []


def _process(workdir: Path) -> int | None:
    """The number of the process that trains in a folder; None where none does."""
    _children[:] = [child for child in _children if child.poll() is None]
    try:
        number = int((workdir / "studio.pid").read_text())
        os.kill(number, 0)
    except (OSError, ValueError):
        return None
    if any(child.pid == number for child in _children):
        return number
    try:                          # begun by an earlier studio: the number may be another process's by now
        with lock.exclusive(workdir / lock.NAME):
            return None
    except lock.Locked:
        return number


def _facts(workdir: Path) -> dict:
    try:
        return json.loads((workdir / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise RunError(f"{workdir.name} is no run that the studio has begun") from None


def _rate(preset: Preset) -> str:
    return f"images/s {preset.config} {preset.size}"


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _last_line(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 4000))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def age(seconds: float) -> str:
    """A time in words."""
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
