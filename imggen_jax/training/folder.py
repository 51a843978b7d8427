"""A run's folder: whether it can be trained in, and what a run writes about itself before it starts."""
from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import jax

from imggen_jax import data, devices
from imggen_jax import spec as specs
from imggen_jax.config import Settings, changes, differences, resolve
from imggen_jax.data import sources
from imggen_jax.errors import RunError, SaveError
from imggen_jax.storage import checkpoint
from imggen_jax.storage.files import disk_is_full, write_atomic
from imggen_jax.training import pretrained
from imggen_jax.training.build import Built, parameter_counts
from imggen_jax.training.finetune import Start
from imggen_jax.training.saved import read_json

DATA, INIT, RUN, CONFIG = "data.json", "init.json", "run.json", "config.json"


def check_place(workdir: Path, pictures: str = "") -> None:
    """Refuse a folder that cannot be written to, and one whose files would lie among the user's pictures.

    Args:
      workdir: the run's folder.
      pictures: the folder of pictures to train on; "" for another dataset. The workdir may lie in it.

    Raises:
      RunError: with the reason.
    """
    if pictures and Path(pictures).expanduser().resolve() in (workdir.resolve(), (workdir / "pictures").resolve()):
        raise RunError(f"the run would write its files among the pictures in {pictures}; choose another --workdir, "
                       f"such as {workdir / 'run'}")
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
        again = (f"; to begin there with the weights of this run, add --config.init.workdir={shlex.quote(str(workdir))}"
                 if checkpoint.steps(workdir) else "")
        raise RunError(f"{workdir} holds a run of another config ({'; '.join(differ)}); choose another --workdir"
                       f"{again}")


def config_changes(workdir: Path, config: Mapping) -> list[str]:
    """What a resumed run does otherwise than when it was last started: lengths, intervals, learning rates."""
    old = read_json(workdir / CONFIG)
    return changes(old, config) if old is not None else []


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


def write_facts(workdir: Path, config: Mapping, settings: Settings, train_set: data.Dataset,
                test_set: data.Dataset | None, built: Built, networks: Mapping, chosen: list[devices.Device],
                start: Start | None) -> None:
    """Write what the run is made of: its data, weights, devices, versions and config. Makes the folder.

    Raises:
      RunError: it cannot be written.
    """
    from imggen_jax import __version__

    card = data.card(name=settings.data.name, dir=settings.data.dir)
    facts = ({INIT: start.facts} if start else {}) | {
        DATA: {
            "name": settings.data.name, "dir": str(sources.data_dir(settings.data.dir).absolute()),
            "split": settings.data.split, "test": settings.data.test,
            "spec": specs.to_json(train_set.spec), "fingerprint": train_set.fingerprint,
            "examples": train_set.length,
            **({"held_out_fingerprint": test_set.fingerprint} if test_set else {}), **({"card": card} if card else {}),
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
            write_atomic(workdir / name, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        if disk_is_full(error):
            raise SaveError(f"cannot write to {workdir} ({error.strerror}); make room, then run the same command again"
                            ) from error
        raise RunError(f"cannot write to the workdir {workdir} ({error.strerror}); choose another --workdir") from error
