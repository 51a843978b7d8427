"""A trained run as it lies on disk: what it was asked to be, and its newest checkpoint."""
from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from imggen_jax.config import Settings, check
from imggen_jax.errors import ConfigError, RunError
from imggen_jax.game import Spec
from imggen_jax.step import TrainState
from imggen_jax.storage import checkpoint
from imggen_jax.training.build import Built, build


class Saved(NamedTuple):
    """A run's newest checkpoint, and all that gives it a meaning."""

    workdir: Path
    config: Mapping
    settings: Settings
    spec: Spec
    label_names: tuple[str, ...]
    built: Built
    step: int          # rounds played
    state: TrainState  # of NumPy arrays


def open_run(workdir: Path) -> Saved:
    """The newest checkpoint of a run; nothing in its folder is changed.

    Raises:
      RunError: there is no run, nothing has been saved yet, or a file of it is damaged.
    """
    config, facts = _read(workdir / "config.json"), _read(workdir / "data.json")
    try:
        settings, spec = check(config), Spec(**{name: facts[name] for name in Spec._fields})
        label_names = tuple(facts["label_names"])
        built = build(settings, spec)
    except (ConfigError, KeyError, TypeError) as error:
        raise RunError(f"config.json or data.json in {workdir} is damaged, or of another version of imggen_jax "
                       f"({type(error).__name__}: {error})") from error
    step = checkpoint.newest(workdir, set_aside=False, say=lambda line: print(line, file=sys.stderr))
    if step is None:
        raise RunError(f"{workdir} has no checkpoint yet; train it first")
    state = checkpoint.restore(workdir, step, built.shape)
    return Saved(workdir, config, settings, spec, label_names, built, step, state)


def read_json(path: Path) -> dict | None:
    """What a run wrote about itself, None where there is no such file.

    Raises:
      RunError: it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # ValueErrors: not JSON, not even text, or no dictionary
        raise RunError(f"{path} cannot be read ({error}); restore that file, or choose another --workdir") from error
    return content


def _read(path: Path) -> dict:
    content = read_json(path)
    if content is None:
        raise RunError(f"{path.parent} is not the folder of a run: it has no {path.name}; train one with --config")
    return content
