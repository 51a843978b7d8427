"""A run's folder: whether it can be trained in, and what a run writes about itself before it starts."""
from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import jax

from imggen_jax import data, devices
from imggen_jax import spec as specs
from imggen_jax.config import Settings, differences, resolve
from imggen_jax.errors import RunError
from imggen_jax.training import pretrained
from imggen_jax.training.build import Built, parameter_counts
from imggen_jax.training.finetune import Start
from imggen_jax.training.saved import read_json

DATA, INIT, RUN, CONFIG = "data.json", "init.json", "run.json", "config.json"


def check_place(workdir: Path) -> None:
    """Refuse a folder that cannot be written to.

    Raises:
      RunError: with the reason.
    """
    above = next(folder for folder in (workdir, *workdir.absolute().parents) if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        reason = "not writable" if above.is_dir() else "not a folder"
        raise RunError(f"the workdir {workdir} cannot be used: {above} is {reason}; choose another --workdir")


def check_workdir(workdir: Path, config: Mapping) -> None:
    """Refuse a folder in which another config trains.

    Raises:
      RunError: with the reason, naming the keys that differ.
    """
    old = read_json(workdir / CONFIG)
    if old is None and (workdir / "checkpoints").exists():
        raise RunError(f"{workdir} has checkpoints but no config.json to say what they are; choose another --workdir")
    if differ := differences(old, config) if old is not None else []:
        raise RunError(f"{workdir} holds a run of another config ({'; '.join(differ)}); choose another --workdir")


def check_same(workdir: Path, settings: Settings, train_set: data.Dataset, built: Built, networks: Mapping,
               start: Start | None) -> None:
    """Refuse to resume on other data, or with other weights, than a run began with.

    Raises:
      RunError: naming what has changed.
    """
    if (old := read_json(workdir / DATA)) and old.get("fingerprint") != train_set.fingerprint:
        raise RunError(f"the images of {settings.data.folder or settings.data.name!r} are not those that {workdir} "
                       "was trained on; choose another --workdir, or put back the dataset")
    if start and (old := read_json(workdir / INIT)) and old.get("sha256") != start.facts["sha256"]:
        raise RunError(f"{settings.init.workdir} has changed since {workdir} began with its weights, and nothing was "
                       "saved there since; choose another --workdir to begin with the new ones")
    pretrained.check_unchanged(workdir, networks, read_json(workdir / pretrained.FILE))


def write_facts(workdir: Path, config: Mapping, settings: Settings, train_set: data.Dataset, built: Built,
                networks: Mapping, chosen: list[jax.Device], start: Start | None) -> None:
    """Write what the run is made of: its data, weights, devices, versions and config. Makes the folder.

    Raises:
      RunError: it cannot be written.
    """
    from imggen_jax import __version__

    card = data.card(name=settings.data.name, dir=settings.data.dir)
    facts = ({INIT: start.facts} if start else {}) | {
        DATA: {
            "name": settings.data.name, "dir": settings.data.dir, "split": settings.data.split,
            "spec": specs.to_json(train_set.spec), "fingerprint": train_set.fingerprint,
            "examples": train_set.length, **({"card": card} if card else {}),
        },
        **({pretrained.FILE: pretrained.facts(networks)} if networks else {}),
        RUN: {
            "players": parameter_counts(built.shape.params), "devices": devices.describe(chosen),
            "versions": {"imggen_jax": __version__, "jax": jax.__version__}, "seed": settings.seed,
        },
        # The last one: a folder with a config is a run.
        CONFIG: resolve(config),
    }
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        for name, content in facts.items():
            temporary = workdir / f".{name}.tmp"
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            os.replace(temporary, workdir / name)
    except OSError as error:
        raise RunError(f"cannot write to the workdir {workdir} ({error.strerror}); choose another --workdir") from error
