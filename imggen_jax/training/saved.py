"""A trained run as it lies on disk: its resolved config, and its newest checkpoint."""
from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from imggen_jax import spec as specs
from imggen_jax.config import Settings, check
from imggen_jax.errors import ConfigError, RunError
from imggen_jax.game import PyTree, Spec
from imggen_jax.step import TrainState
from imggen_jax.storage import checkpoint
from imggen_jax.training.build import Built, build


class Saved(NamedTuple):
    """A run's newest checkpoint, and all that gives it a meaning."""

    workdir: Path
    config: Mapping
    settings: Settings
    spec: Spec         # of the examples that the game sees
    built: Built
    step: int          # steps trained
    state: TrainState  # of NumPy arrays; of a run opened with `weights_only`, shapes but for the average
    data: Mapping      # what data.json says of the dataset

    @property
    def weights(self) -> PyTree:
        """What the models read: the averaged parameters, and the weights of pretrained networks."""
        return {**self.state.average, **self.built.pretrained}


def open_run(workdir: Path, *, weights_only: bool = False) -> Saved:
    """The newest checkpoint of a run; nothing in its folder is changed.

    Args:
      workdir: the run's folder.
      weights_only: restore what the models read and nothing else.

    Raises:
      RunError: there is no run, nothing has been saved yet, or a file of it is damaged.
    """
    from imggen_jax.training import pretrained  # which opens runs too

    config, facts = _read(workdir / "config.json"), _read(workdir / "data.json")
    try:
        settings, spec = check(config), specs.from_json(facts["spec"])
        networks = pretrained.load_all(settings)
        pretrained.check_unchanged(workdir, networks, read_json(workdir / pretrained.FILE))
        built = build(settings, spec, networks)
    except (ConfigError, KeyError, TypeError) as error:
        raise RunError(f"config.json or data.json in {workdir} is damaged, or of another version of imggen_jax "
                       f"({type(error).__name__}: {error})") from error
    step = checkpoint.newest(workdir, set_aside=False, say=lambda line: print(line, file=sys.stderr))
    if step is None:
        raise RunError(f"{workdir} has no checkpoint yet; train it first")
    if weights_only:
        average = checkpoint.restore(workdir, step, built.shape.average, prefix="average")
        state = built.shape._replace(average=average)
    else:
        state = checkpoint.restore(workdir, step, built.shape)
    return Saved(workdir, config, settings, built.spec, built, step, state, facts)


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
