"""Start from the weights of another run: what is carried over, what is not, and a report of it.

Parameters are known by their names. One of the same name and shape is carried over as it is. Two parts of a network
depend on the classes, and are carried over by their meaning:
- The rows of a class embedding go to the classes of the same names; a class that the other run did not know starts
  from the mean of all.
- Where one run has classes and the other has none, a layer that takes [z, class] keeps its rows for z; its rows for
  the class start from zero, so that at first the pictures are those of the other run.
All else, such as the layers of another size, starts from random values as in any run.

The other run may be of another game, where the game of the new run says in `INHERITS` which of its parameters go where:
a GAN's generator may start as the decoder of a VAE.

Weights that pictures are made from come from the other run's moving average, those of other players as they were last.
Optimizers, averages and whatever else is not trained start anew, except for what the generator reads.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from imggen_jax import data
from imggen_jax.config import Settings
from imggen_jax.errors import RunError
from imggen_jax.game import PyTree, Spec
from imggen_jax.step import TrainState
from imggen_jax.storage import checkpoint
from imggen_jax.training.build import Built, frozen, game_module
from imggen_jax.training.saved import Saved, open_run

Opener = Callable[[Path], Saved]

WHOLE, CLASSES, ROWS, NEW = "whole", "by class", "rows of z", "new"


class Start(NamedTuple):
    """The first state of a run that starts from another one, and what to say of it."""

    state: TrainState  # of NumPy arrays
    facts: Mapping     # JSON: what came from where
    lines: tuple[str, ...]


def open_source(settings: Settings, workdir: Path, opener: Opener = open_run) -> Saved:
    """The run, or what `opener` takes for one, that config.init.workdir names.

    Raises:
      RunError: it is no run, has nothing saved, plays another game, or is the folder that is to be trained in.
    """
    folder = Path(settings.init.workdir)
    if folder.resolve() == workdir.resolve():
        raise RunError(f"config.init.workdir is {folder}, the run's own workdir; choose another --workdir")
    try:
        source = opener(folder)
    except RunError as error:
        raise RunError(f"config.init.workdir: {error}") from error
    theirs, ours = source.settings.game["name"], settings.game["name"]
    if theirs != ours and theirs not in _inherits(ours):
        fit = " or of ".join(["the same game", *_inherits(ours)])
        raise RunError(f"config.init.workdir: {folder} is a run of the game {theirs!r}, and this config is of "
                       f"{ours!r}; choose a run of {fit}")
    return source


def _inherits(game: str) -> Mapping[str, Mapping[str, str]]:
    """{another game: {names of its parameters: their names in this one}}, of the parts that it may start from."""
    return getattr(game_module(game), "INHERITS", {})


def match(settings: Settings, source: Saved, built: Built, spec: Spec) -> dict[str, str]:
    """How each parameter begins: {"vae.encoder.Conv_0.kernel": WHOLE, CLASSES, ROWS or NEW}.

    Raises:
      RunError: no kernel could be carried over, or the tokenizer of a text field is another one.
    """
    for name, field in spec.items():
        if name in source.spec and field.dtype == "int32" and len(field.shape) == 1:
            try:
                data.same_text(source.spec[name], field)
            except data.DataError as error:
                raise RunError(f"config.init.workdir: {error}") from error
    given, wanted = _given(source, settings), checkpoint.flatten(_wanted(built.shape))
    how = {name: _how(name, leaf.shape, given, source.spec, spec) for name, leaf in wanted.items()}
    if all(how[name] == NEW for name, leaf in wanted.items() if leaf.ndim > 1):
        name = next(name for name, leaf in wanted.items() if leaf.ndim > 1)
        theirs = f"has the shape {given[name].shape}" if name in given else "does not have it"
        raise RunError(f"config.init.workdir: nothing of {source.workdir} fits this config: {name} has the shape "
                       f"{wanted[name].shape} here, and that run {theirs}; give config.game the networks of that run")
    return how


def _how(name: str, shape: tuple[int, ...], given: Mapping, theirs: Spec, ours: Spec) -> str:
    if name not in given:
        return NEW
    old = given[name].shape
    embeds = name.endswith(".embedding") and (old[0], shape[0]) == (len(_names_of(theirs)), len(_names_of(ours)))
    if embeds and old[1:] == shape[1:]:
        return CLASSES
    if old == shape:
        return WHOLE
    alike = theirs["image"].shape == ours["image"].shape
    if alike and bool(_names_of(theirs)) != bool(_names_of(ours)) and old[1:] == shape[1:] and len(shape) > 1:
        return ROWS
    return NEW


def _names_of(spec: Spec) -> tuple[str, ...]:
    return spec["label"].names if "label" in spec else ()


def begin(settings: Settings, source: Saved, built: Built, spec: Spec) -> Start:
    """The state before the first step.

    Args:
      settings: of the new run.
      source: from `open_source`.
      built: of the new run.
      spec: of the new run's data.

    Raises:
      RunError: nothing can be carried over.
    """
    how, given = match(settings, source, built, spec), _given(source, settings)
    fresh = jax.tree.map(np.asarray, jax.jit(built.init)())
    label_names = _names_of(spec)
    carry = {
        WHOLE: lambda old, new: np.array(old),
        CLASSES: lambda old, new: _by_class(old, _names_of(source.spec), label_names),
        ROWS: _rows,
    }
    wanted = _wanted(fresh)
    leaves = {name: np.array(leaf) if how[name] == NEW else carry[how[name]](given[name], leaf)
              for name, leaf in checkpoint.flatten(wanted).items()}
    filled = jax.tree.unflatten(jax.tree.structure(wanted), list(leaves.values()))
    params = {who: filled[who] for who in fresh.params}
    mutable = {name: filled.get(name, tree) for name, tree in fresh.mutable.items()}
    state = fresh._replace(
        params=params, mutable=mutable,
        opt={who: jax.tree.map(np.asarray, built.optimizers[who].init(params[who])) for who in fresh.opt},
        average=jax.tree.map(np.array, built.game.weights(params, mutable)),
    )
    facts = _facts(settings, source, how, params, label_names)
    return Start(state, facts, _lines(facts))


def _given(source: Saved, settings: Settings) -> dict[str, np.ndarray]:
    """The weights of a run, averaged where there is an average, by the names that they have in the new run's game."""
    leaves = checkpoint.flatten({**source.state.params, **source.state.average})
    return {new + name.removeprefix(old): leaf for name, leaf in leaves.items()
            for old, new in _names(source, settings).items() if f"{name}.".startswith(f"{old}.")}


def _names(source: Saved, settings: Settings) -> Mapping[str, str]:
    """{part of the other run: part of the new one}; within one game each part of what a run has is itself."""
    theirs, ours = source.settings.game["name"], settings.game["name"]
    if theirs != ours:
        return _inherits(ours)[theirs]
    return {part: part for part in {**source.state.params, **source.state.average}}


def _wanted(state: TrainState) -> dict:
    """What a run may start with: its players' parameters, and what else the generator reads."""
    return {**state.params, **{name: state.mutable[name] for name in state.average if name in state.mutable}}


def _by_class(old: np.ndarray, theirs: Sequence[str], ours: Sequence[str]) -> np.ndarray:
    """Rows of an embedding [classes,...] by the names of the classes, for new ones the mean of all."""
    mean = np.mean(old, axis=0)
    return np.stack([old[theirs.index(name)] if name in theirs else mean for name in ours])


def _rows(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The first rows of `old`, then zeros, in the shape of `new`."""
    out = np.zeros_like(new)
    number = min(len(old), len(new))
    out[:number] = old[:number]
    return out


def _facts(settings: Settings, source: Saved, how: Mapping, params: PyTree, label_names: Sequence[str]) -> dict:
    sizes = {name: leaf.size for name, leaf in checkpoint.flatten(params).items()}
    players = {who: {
        "parameters": sum(size for name, size in sizes.items() if name.startswith(f"{who}.")),
        "carried_over": sum(size for name, size in sizes.items() if name.startswith(f"{who}.") and how[name] != NEW),
        "averaged": any(old.partition(".")[0] in source.state.average and new.partition(".")[0] == who
                        for old, new in _names(source, settings).items()),
    } for who in params}
    by_class = [name for name in how if how[name] == CLASSES]
    return {
        "workdir": str(source.workdir), "step": source.step, "images": source.step * source.settings.train.batch,
        "sha256": checkpoint.fingerprint(source.state), "players": players, "by_class": by_class,
        "classes_known": [name for name in label_names if name in _names_of(source.spec)] if by_class else [],
        "classes_new": [name for name in label_names if name not in _names_of(source.spec)] if by_class else [],
        "rows_of_z": [name for name in how if how[name] == ROWS], "new": [name for name in how if how[name] == NEW],
        "frozen": sorted(frozen(settings.init.freeze, params)),
    }


def _lines(facts: Mapping) -> tuple[str, ...]:
    lines = [f"Starting from {facts['workdir']} at {facts['images']:,} images:"]
    for who, player in facts["players"].items():
        which = "averaged" if player["averaged"] else "as they were last"
        share = f"{player['carried_over']:,} of {player['parameters']:,}"
        lines.append(f"  {who}: {share} parameters carried over, {which}")
    if facts["by_class"]:
        lines.append(f"  classes known by name: {len(facts['classes_known'])}; new, from the mean of all: "
                     f"{', '.join(facts['classes_new']) or 'none'}")
    for key, says in (("rows_of_z", "carried over but for the class"), ("new", "from random values"),
                      ("frozen", "frozen")):
        if facts[key]:
            lines.append(f"  {says}: {_short(facts[key])}")
    return tuple(lines)


def _short(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more (init.json)" if len(names) > most else ""
    return ", ".join(names[:most]) + more
