"""Verbs as functions: train, load, generate, evaluate, compare, describe, export, forget; `data` has the other two.

`build` is what a run is made of, for those who measure or embed it.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from imggen_jax import cards, exporting
from imggen_jax.config import check
from imggen_jax.errors import RunError, SaveError
from imggen_jax.evaluation import watch
from imggen_jax.evaluation.run import compare, evaluate, score_table
from imggen_jax.loading import find, load
from imggen_jax.model import Model, check_truncation
from imggen_jax.pictures import grids
from imggen_jax.provenance import policy, publishing, records
from imggen_jax.provenance.publishing import Origin
from imggen_jax.sampling import Fields
from imggen_jax.spec import Spec
from imggen_jax.storage import checkpoint
from imggen_jax.storage.files import disk_is_full, given_path, write_atomic
from imggen_jax.training import build as building
from imggen_jax.training import forget as forgetting
from imggen_jax.training import pretrained
from imggen_jax.training import train as training
from imggen_jax.training.saved import open_run
from imggen_jax.weights import foreign

__all__ = ["Model", "RunError", "build", "compare", "describe", "evaluate", "export", "forget", "generate", "load",
           "score_table", "train"]

AT_ONCE = 512   # images made and written at a time, so that memory does not grow with their number
ON_GRID = 1024  # images on the grid


def train(
    config: ConfigDict | Mapping[str, Any], workdir: str | os.PathLike[str], *, heartbeat: int = 60,
    leave: Callable[[int], object] | None = None
) -> Path:
    """`training.train.train`, with scores during training where config.score asks for them."""
    settings = check(config)
    watch.check(settings)
    return training.train(config, workdir, heartbeat=heartbeat, scorer=watch.scorer, leave=leave)


def forget(workdir: str | os.PathLike[str], files: Sequence[str | os.PathLike[str]], *,
           retrain: str | os.PathLike[str] | None = None) -> Path | None:
    """Train a run anew without some pictures; without a folder for that, refuse. See `training.forget`.

    Args:
      workdir: the run's folder.
      files: pictures, or their names in its dataset.
      retrain: folder of the new run.

    Returns:
      The new run's report.html; None where none of the pictures is in the run's data, and nothing is done.

    Raises:
      RunError: some are, and `retrain` is None; or it cannot be done, and why.
      ConfigError, DataError, Diverged, SaveError, Interrupted: as `train`, which goes on if called again.
    """
    known = forgetting.look(os.fspath(workdir), [os.fspath(file) for file in files])
    if not known.sums:
        return None
    if retrain is None:
        raise forgetting.refusal(os.fspath(workdir), known)
    return train(forgetting.prepare(known, os.fspath(retrain)), retrain)


def build(config: ConfigDict | Mapping[str, Any], spec: Spec) -> building.Built:
    """The parts of a run of a config, without data, files or any computation: to measure them, or to embed them.

        built = imggen_jax.build(config, spec)
        engine = devices.make("jit", devices.choose(0), built.play)
        state, networks = engine.put_state(jax.jit(built.init)()), engine.put_state(built.pretrained)
        state, logs = engine.run(state, engine.put_batches(batches), key, networks)   # batches: [steps,B,*shape]

    Args:
      config: as `read_config` gives it, or a dict of what it changes.
      spec: the fields of an example, see `spec.make_spec`.

    Returns:
      `Built`: the game, the optimizers, `init` of the state and its shapes, the step as `devices.make` takes it, and
      the weights of the networks that are not trained.

    Raises:
      ConfigError: a key, game, network, player or option that cannot be used, or a size that the network cannot make.
      RunError: a pretrained network that cannot be read.
    """
    settings = check(config)
    return building.build(settings, spec, pretrained.load_all(settings))


def generate(
    model: str | os.PathLike[str], out: str | os.PathLike[str], *, seeds: Sequence[int] | None = None,
    num: int | None = None, seed: int = 0, given: Mapping[str, Any] | None = None, **options: float,
) -> Path:
    """Write new images of a model: out/<seed, 6 digits>.png, and out/grid.png with all of them, 1,024 at most.

    Args:
      model: as for `load`.
      out: folder; made if needed.
      seeds, num, seed, given, **options: as for `Model.sample`.

    Returns:
      The path of the grid.

    Raises:
      RunError: the model cannot be loaded or does not take what is asked for, a policy refuses it, or `out` cannot be
        written to.
      SaveError: the disk is full.
    """
    loaded, out = load(model), given_path(out, "the images")
    numbers = loaded.check_seeds(seeds, num, seed)
    truncation = check_truncation(options.pop("truncation", 1.0))
    asked = {"truncation": truncation, **loaded.check_options(options)}
    policy.check(find(model), "generate", loaded.spec, given, drawn=loaded.generator.needs)
    fields = loaded.check_given(given, len(numbers), drawn=True)
    weights, run = checkpoint.fingerprint(loaded.weights), Path(model).resolve().name
    facts = publishing.training_facts(loaded.data)
    shown: list[tuple[np.ndarray, records.Family]] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for row, (image, conditions, place) in enumerate(_images(loaded, numbers, fields, asked)):
            said = records.given_of(loaded.spec, conditions, _texts(given, row))
            arguments = {"seed": int(numbers[row]), **asked}
            family = records.Family(records.Record("generate", run, weights, b"", said, place, arguments, ()), {})
            publishing.write_png(out / f"{numbers[row]:06d}.png", image, Origin("generate", family, facts))
            if len(shown) < ON_GRID:
                shown.append((image, family))
        images, families = zip(*shown)
        sheet = Origin("generate", records.sheet(families), facts)
        publishing.write_png(out / "grid.png", grids.grid(np.stack(images)), sheet)
    except OSError as error:
        if disk_is_full(error):
            raise SaveError(f"cannot write images to {out} ({error.strerror}); make room, then run the same command "
                            "again") from error
        raise RunError(f"cannot write images to {out} ({error.strerror or error}); choose another folder") from error
    return out / "grid.png"


def _images(model: Model, numbers: np.ndarray | range, fields: Fields, asked: Mapping[str, Any]
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray], int]]:
    """(image, its row of the fields, its place) of each seed, made AT_ONCE at a time."""
    options = {name: value for name, value in asked.items() if name != "truncation"}
    for start in range(0, len(numbers), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        given = {name: value[rows] for name, value in fields.items()}
        latents = model.sampler.draw(model.weights, numbers[rows], given, asked["truncation"])
        images = model.sampler.show(model.weights, latents, options)
        for row, image in enumerate(images):
            yield image, {name: value[row] for name, value in latents.given.items()}, int(latents.places[row])


def _texts(given: Mapping[str, Any] | None, row: int) -> dict[str, str]:
    """The fields of image `row` that were given as text."""
    each = {name: value if isinstance(value, str) or not isinstance(value, Sequence) else value[row]
            for name, value in (given or {}).items()}
    return {name: value for name, value in each.items() if isinstance(value, str)}


def describe(model: str | os.PathLike[str]) -> dict[str, Any]:
    """Facts of a run: step, images, parameters of each player, sha256 over the whole training state, config.

    Of an exported or shipped model, or of a weight file of others, the parameters are those of each of its parts, and
    the sha256 is over its weights.

    Raises:
      RunError: there is no such model, or a file of it is damaged.
    """
    folder = find(model)
    if exporting.is_export(folder) or foreign.is_weight_file(folder):
        one = load(folder)
        return {"step": one.step, "images": one.images_seen, "parameters": building.parameter_counts(one.weights),
                "sha256": checkpoint.fingerprint(one.weights), "config": one.config}
    run = open_run(folder)
    return {"step": run.step, "images": run.step * run.settings.train.batch,
            "parameters": building.parameter_counts(run.state.params), "sha256": checkpoint.fingerprint(run.state),
            "config": run.config}


def export(
    model: str | os.PathLike[str], out: str | os.PathLike[str], *, dtype: str = "float32", stablehlo: bool = False,
    orbax: bool = False, about: str = "",
) -> Path:
    """Write a model as a folder of safetensors, config and card, which `load` takes without a checkpoint.

    Args:
      model: folder of a run.
      out: folder; must be empty or new.
      dtype: of the stored weights, "float32" or "float16".
      stablehlo: also write model.stablehlo, a program from seeds to images for any batch size on CPU, CUDA and TPU
        (`jax.export`).
      orbax: also write orbax/, a checkpoint of the weights for other programs written in JAX.
      about: Markdown for the card: what the model is for, its figures, the command that makes it again.

    Returns:
      The folder.

    Raises:
      RunError: the model cannot be loaded, or the folder cannot be written.
    """
    if foreign.is_weight_file(path := given_path(model, "the model")):
        raise RunError(f"{path} is a weight file of others, which is used as it is; only runs are exported")
    run, out = open_run(path), given_path(out, "the export")
    networks = pretrained.load_all(run.settings)
    card = cards.of_run(run, about)
    exporting.write(load(model), networks, out, card=card, dtype=dtype, stablehlo=stablehlo, orbax=orbax)
    if (path / policy.FILE).is_file():
        write_atomic(out / policy.FILE, (path / policy.FILE).read_bytes())
    for name, entry in run.settings.pretrained.items():
        if "workdir" in entry:
            export(entry["workdir"], out / "pretrained" / name, dtype=dtype)
    return out
