"""Verbs as functions: train, load, generate, evaluate, compare, describe, export, forget; `data` has the other two.

`build` is what a run is made of, for those who measure or embed it.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from imggen_jax import cards, exporting, generating, pipelines
from imggen_jax.config import check
from imggen_jax.errors import RunError
from imggen_jax.evaluation import watch
from imggen_jax.evaluation.run import compare, evaluate, score_table
from imggen_jax.loading import find, is_used_as_it_is, load, open_start
from imggen_jax.model import Model, check_truncation
from imggen_jax.pipelines import interchange
from imggen_jax.provenance import policy, publishing
from imggen_jax.spec import Spec
from imggen_jax.storage import checkpoint
from imggen_jax.storage.files import given_path, write_atomic
from imggen_jax.training import build as building
from imggen_jax.training import forget as forgetting
from imggen_jax.training import pretrained
from imggen_jax.training import train as training
from imggen_jax.training.saved import open_run
from imggen_jax.weights import foreign

__all__ = ["Model", "RunError", "build", "compare", "describe", "evaluate", "export", "forget", "generate", "load",
           "score_table", "train"]


def train(
    config: ConfigDict | Mapping[str, Any], workdir: str | os.PathLike[str], *, heartbeat: int = 60,
    leave: Callable[[int], object] | None = None
) -> Path:
    """`training.train.train`, which may start from an exported or a shipped model too; with scores during training
    where config.score asks for them."""
    settings = check(config)
    watch.check(settings)
    return training.train(config, workdir, heartbeat=heartbeat, scorer=watch.scorer, opener=open_start,
                          leave=leave)


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
    num: int | None = None, seed: int = 0, given: Mapping[str, Any] | None = None,
    part: tuple[int, int] | None = None, **options: float,
) -> Path:
    """Write new images of a model: out/<seed, 6 digits>.png, and out/grid.png with all of them, 1,024 at most.

    Args:
      model: as for `load`.
      out: folder; made if needed.
      seeds, num, seed, given, **options: as for `Model.sample`; of a sentence with weights or alternatives, see
        `prompting`.
      part: (number from 0, of how many processes): this one's share of the seeds. Images that are there already, of the
        same model, words and options, stay, and there is no grid.

    Returns:
      The path of the grid; with `part`, of the folder.

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
    if part is not None:
        process, processes = part
        if not 0 <= process < processes:
            raise RunError(f"part is {part}; processes are numbered from 0 to one below their number")
        loaded.check_given(given, len(numbers), drawn=True)
        numbers = generating.missing(out, loaded, generating.share(numbers, process, processes), given, asked)
        if not len(numbers):
            return out
    fields = loaded.check_given(given, len(numbers), drawn=True)
    made = generating.images(loaded, Path(model).resolve().name, numbers, fields, given, asked)
    named = ((f"{seed:06d}", image, family) for seed, (image, family) in zip(numbers, made))
    return generating.write(out, named, publishing.training_facts(loaded.data), grid=part is None)


def describe(model: str | os.PathLike[str]) -> dict[str, Any]:
    """Facts of a run: step, images, parameters of each player, sha256 over the whole training state, config.

    Of an exported or shipped model, or of a weight file of others, the parameters are those of each of its parts, and
    the sha256 is over its weights.

    Raises:
      RunError: there is no such model, or a file of it is damaged.
    """
    folder = find(model)
    if is_used_as_it_is(folder):
        one = load(folder)
        return {"step": one.step, "images": one.images_seen, "parameters": building.parameter_counts(one.weights),
                "sha256": checkpoint.fingerprint(one.weights), "config": one.config}
    run = open_run(folder)
    return {"step": run.step, "images": run.step * run.settings.train.batch,
            "parameters": building.parameter_counts(run.state.params), "sha256": checkpoint.fingerprint(run.state),
            "config": run.config}


def export(
    model: str | os.PathLike[str], out: str | os.PathLike[str], *, dtype: str = "float32", stablehlo: bool = False,
    orbax: bool = False, about: str = "", format: str = "imggen_jax",
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
      format: "diffusers" writes config.json and weights that diffusers loads, where it has such a network
        (`pipelines.interchange`), in float32, and nothing else.

    Returns:
      The folder.

    Raises:
      RunError: the model cannot be loaded, or the folder cannot be written.
    """
    path = given_path(model, "the model")
    if foreign.is_weight_file(path) or pipelines.is_pipeline(path):
        raise RunError(f"{path} is a model of others, which is used as it is; only runs are exported")
    run, out = open_run(path), given_path(out, "the export")
    if format == "diffusers":
        inner = run.settings.pretrained.get("autoencoder", {}).get("workdir")
        interchange.write(load(model), None if inner is None else load(inner), out, cards.of_run(run, about))
        return out
    networks = pretrained.load_all(run.settings)
    card = cards.of_run(run, about)
    exporting.write(load(model), networks, out, card=card, dtype=dtype, stablehlo=stablehlo, orbax=orbax)
    if (path / policy.FILE).is_file():
        write_atomic(out / policy.FILE, (path / policy.FILE).read_bytes())
    for name, entry in run.settings.pretrained.items():
        if "workdir" in entry:
            export(entry["workdir"], out / "pretrained" / name, dtype=dtype)
    return out
