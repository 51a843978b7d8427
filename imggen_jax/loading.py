"""Load a model: the folder of a run, an exported folder, the name of one that ships, or a weight file of others."""
from __future__ import annotations

import collections
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from imggen_jax import adapters, exporting, pipelines, zoo
from imggen_jax.config import check
from imggen_jax.errors import RunError
from imggen_jax.game import Pretrained
from imggen_jax.model import Model
from imggen_jax.storage.files import given_path
from imggen_jax.training import pretrained
from imggen_jax.training.saved import Saved, open_run
from imggen_jax.weights import foreign

_STAMPED = ("", "model.json", "model.safetensors", "config.json", "checkpoints")  # what changes when a model does
_kept: collections.OrderedDict[tuple[str, str | None, tuple[int, ...]], Model] = collections.OrderedDict()
_most = 0  # models that are kept


@contextlib.contextmanager
def keeping(most: int) -> Iterator[None]:
    """Inside, `load` keeps the models that were loaded last, `most` of them, until their files change.

    For processes that live long, as the studio's: what they load again is there at once.
    """
    global _most
    before, _most = _most, most
    try:
        yield
    finally:
        _most = before


def load(path: str | os.PathLike[str], name: str | None = None) -> Model:
    """A trained model, without what only training needs.

    Of a run, the newest checkpoint; one that is damaged is named on stderr, and the one before it is loaded. Nothing on
    disk is changed: the run may be training at this moment.

    Args:
      path: folder of a run, of an exported model or of a text-to-image model of others (`pipelines.load`), a weight
        file of others that `weights.foreign` knows, or the name of a model that ships with the package
        (`imggen_jax.zoo.names()`). What exists under this name comes first.
      name: of the model, where a game trains several; None for "main", or the first.

    What `personalize` has learned of a model is named after it: "runs/text+zork.safetensors:0.8+more.safetensors"; and
    after a text-to-image model of others, LoRA and words of textual inversion, of which stderr says what matched.

    Raises:
      RunError: there is no such model, nothing has been saved yet, or a file of it is damaged; or an adapter is of
        another model.
      WeightsError: a weight file that cannot be read or is of no known network.
    """
    if not _most:
        return _load(path, name)
    key = (str(path), name, _stamp(path))
    if key not in _kept:
        _kept[key] = _load(path, name)
        while len(_kept) > _most:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]


def _stamp(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """When the files of a model and of its adapters were changed, as far as they are there."""
    base, learned = adapters.split(str(path))
    files = [*(find(base) / name for name in _STAMPED), *(Path(file).expanduser() for file, _ in learned)]
    return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)


def _load(path: str | os.PathLike[str], name: str | None) -> Model:
    base, learned = adapters.split(str(path))
    if learned and pipelines.is_pipeline(find(base)):
        model = load(base, name)
        for file, share in learned:
            model, said = pipelines.with_adapter(model, Path(file).expanduser(), share)
            print(said, file=sys.stderr)
        return model
    if learned:
        each = [(adapters.read(Path(file).expanduser()), share) for file, share in learned]
        model = load(base, name)
        return adapters.apply(model, each, networks(base, model))
    folder = find(path)
    if pipelines.is_pipeline(folder):
        model = pipelines.load(folder, name)
    elif foreign.is_weight_file(folder):
        model = _of_others(folder, name)
    else:
        model = exporting.read(folder, name) if exporting.is_export(folder) else _of_run(folder, name)
    if model.name not in model.game.models:
        raise RunError(f"{path} has no model {name!r}; it has {', '.join(model.game.models)}")
    return model


def open_start(path: str | os.PathLike[str]) -> Saved:
    """The run, exported model or shipped model, by its name, whose weights another run starts from.

    Raises:
      RunError: there is none, or a file of it is damaged.
    """
    folder = Path(path)
    if not folder.exists():
        folder = zoo.find(str(path)) or folder
    return exporting.as_run(folder) if exporting.is_export(folder) else open_run(folder)


def is_used_as_it_is(path: Path) -> bool:
    """Whether a path is a model of others, or an exported one: there is no run behind it."""
    return exporting.is_export(path) or foreign.is_weight_file(path) or pipelines.is_pipeline(path)


def networks(path: str | os.PathLike[str], model: Model) -> dict[str, Pretrained]:
    """The networks that a loaded model, of this path, uses and does not train."""
    folder = find(path)
    if foreign.is_weight_file(folder) or pipelines.is_pipeline(folder):
        return {}
    return exporting.networks(folder) if exporting.is_export(folder) else pretrained.load_all(check(model.config))


def find(path: str | os.PathLike[str]) -> Path:
    """The folder or weight file of a model, named as for `load`. Raises RunError where there is none."""
    path = adapters.split(str(path))[0]
    folder = given_path(path, "the model")
    if folder.exists():
        return folder
    if (shipped := zoo.find(str(path))) is not None:
        return shipped
    ships = ", ".join(zoo.names()) or "none"
    raise RunError(f"{path} is neither a folder nor the name of a shipped model ({ships}){zoo.nearest(str(path))}")


def _of_others(file: Path, name: str | None) -> Model:
    read = foreign.load(file)
    config = {"game": {"name": foreign.GAME, **read.facts}, "train": {"batch": 0}}
    return Model(config, read.spec, 0, read.weights, read.game, name or "main")


def _of_run(workdir: Path, name: str | None) -> Model:
    run = open_run(workdir, weights_only=True)
    names = run.built.game.models
    return Model(run.config, run.spec, run.step, run.weights, run.built.game,
                 name or ("main" if "main" in names else next(iter(names))), run.data)
