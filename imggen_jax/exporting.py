"""Exported models: a folder of safetensors, config and card that loads without orbax, checkpoints or the dataset.

    model.safetensors   the averaged weights, one array a parameter, "generator.synthesis.Dense_0.kernel"
    model.json          resolved config, fields of the data, steps, sha256 of the weights
    README.md           the card: what it makes, license of the data, recipe, scores
    pretrained/NAME/    networks that the model uses, exported alike
    model.stablehlo     on request: seeds (and labels) to images, for programs without this package
    orbax/              on request: the weights as an orbax checkpoint, for other programs written in JAX
    SHA256SUMS          of every file, as `sha256sum --check` reads it
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from imggen_jax import sampling
from imggen_jax import spec as specs
from imggen_jax.config import Settings, check, without_places
from imggen_jax.errors import ConfigError, RunError
from imggen_jax.game import Generator, Pretrained, PyTree
from imggen_jax.model import Model
from imggen_jax.step import TrainState
from imggen_jax.storage import checkpoint, manifest
from imggen_jax.storage.files import write_atomic
from imggen_jax.training.build import build
from imggen_jax.training.pretrained import network
from imggen_jax.training.saved import Saved
from imggen_jax.weights import find

FORMAT = 1
WEIGHTS, FACTS, CARD, PROGRAM = "model.safetensors", "model.json", "README.md", "model.stablehlo"
ORBAX = "orbax"
PLATFORMS = ("cpu", "cuda", "tpu")
DTYPES = ("float32", "float16")  # of stored weights


def is_export(folder: Path) -> bool:
    """Whether a folder is an exported model."""
    return (folder / FACTS).is_file()


def write(model: Model, networks: Mapping[str, Pretrained], folder: Path, *, card: str, dtype: str = "float32",
          stablehlo: bool = False, orbax: bool = False) -> None:
    """Write a model to a folder, which is made.

    Args:
      model: to be exported.
      networks: pretrained networks that it uses, by name; those from a run are exported too, those from a weight file
        are named.
      folder: must not hold anything yet.
      card: text of README.md.
      dtype: of the stored weights, "float32" or "float16"; they are float32 again when loaded.
      stablehlo: also write the program from seeds to images.
      orbax: also write the weights as an orbax checkpoint, a tree of float32 arrays.

    Raises:
      RunError: the folder is not empty or cannot be written, or the model has no such program.
    """
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise RunError(f"dtype is {dtype!r}; choose {' or '.join(DTYPES)}")
    program = _program(model) if stablehlo else None
    own = {name: tree for name, tree in model.weights.items() if name not in networks}
    leaves = {name: np.asarray(leaf) for name, leaf in checkpoint.flatten(own).items()}
    stored = {name: leaf.astype(dtype) if leaf.dtype == np.float32 else leaf for name, leaf in leaves.items()}
    facts = {"format": FORMAT, "config": without_places(model.config), "spec": specs.to_json(model.spec),
             "step": model.step, "model": model.name, "dtype": dtype,
             "data": _without_places(model.data),
             "pretrained": {name: _sha256(one, model.config["pretrained"][name], dtype)
                            for name, one in networks.items()}}
    try:
        if folder.exists() and any(folder.iterdir()):
            raise RunError(f"{folder} is not empty; choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / WEIGHTS, save({name: np.asarray(leaf, order="C") for name, leaf in stored.items()}))
        (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        (folder / CARD).write_text(card, encoding="utf-8")
        if program is not None:
            (folder / PROGRAM).write_bytes(program)
        manifest.write(folder, (WEIGHTS, FACTS, CARD, *([PROGRAM] if program else [])))
        if orbax:
            _write_orbax(own, folder / ORBAX)
    except OSError as error:
        raise RunError(f"cannot write to {folder} ({error.strerror or error}); choose another --out") from error


def _sha256(one: Pretrained, entry: Mapping, dtype: str) -> str:
    """Of a network as it will be read: that of a run is exported too, and its weights rounded."""
    if "weights" in entry:
        return one.sha256
    return checkpoint.fingerprint(jax.tree.map(
        lambda leaf: leaf.astype(dtype).astype(leaf.dtype) if leaf.dtype == np.float32 else leaf,
        jax.tree.map(np.asarray, one.weights)))


def _without_places(data: Mapping) -> dict:
    """What a run says of its dataset, without folders of the machine that it was trained on."""
    out = dict(data)
    if "dir" in out:
        out["dir"] = ""
    if (out.get("card") or {}).get("path"):
        out["card"] = {**out["card"], "path": Path(out["card"]["path"]).name}
    return out


def _write_orbax(weights: PyTree, folder: Path) -> None:
    import orbax.checkpoint as ocp  # here and not above: it takes seconds

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.absolute(), jax.tree.map(np.asarray, weights))


def read(folder: Path, name: str | None = None) -> Model:
    """An exported model.

    Args:
      folder: as `write` left it.
      name: of the model, where the game trains several; None for the one that was exported.

    Raises:
      RunError: a file is missing, changed or of another version.
    """
    facts, run, networks = _opened(folder)
    weights = {**run.state.average, **{each: one.weights for each, one in networks.items()}}
    return Model(facts["config"], run.spec, facts["step"], weights, run.built.game, name or facts["model"],
                 facts["data"])


def as_run(folder: Path) -> Saved:
    """An exported model as a run that another one may start from: of its state there is the average alone.

    Raises:
      RunError: as `read`.
    """
    return _opened(folder)[1]


def _opened(folder: Path) -> tuple[dict, Saved, dict[str, Pretrained]]:
    """What model.json says, the model as a run, and the networks that it uses."""
    if damage := manifest.damage(folder, (WEIGHTS, FACTS)):
        raise RunError(f"the exported model in {folder} is damaged ({damage}); export it again, or put the file back")
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}; this version reads {FORMAT}")
        settings, spec = check(facts["config"]), specs.from_json(facts["spec"])
        networks = _networks(folder, settings, facts)
        built = build(settings, spec, networks)
        weights = _weights(folder / WEIGHTS, built.shape.average)
    except (ConfigError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise RunError(f"the exported model in {folder} is of another version of imggen_jax "
                       f"({type(error).__name__}: {error})") from error
    step, finite = jax.tree.map(jnp.asarray, (facts["step"], True))
    state = TrainState(step, {}, {}, {}, weights, finite)
    return facts, Saved(folder, facts["config"], settings, spec, built, facts["step"], state, facts["data"]), networks


def networks(folder: Path) -> dict[str, Pretrained]:
    """The networks that an exported model, which `read` has read, uses and does not train."""
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return _networks(folder, check(facts["config"]), facts)


def _networks(folder: Path, settings: Settings, facts: Mapping) -> dict[str, Pretrained]:
    return {each: _network(folder, each, settings.pretrained[each], sha256)
            for each, sha256 in facts["pretrained"].items()}


def _network(folder: Path, name: str, entry: Mapping, sha256: str) -> Pretrained:
    inside = folder / "pretrained" / name
    found = None
    if is_export(inside):
        model = read(inside)
        found = network(model.part, model.weights)
    if found is None:
        found = find.load(entry["weights"])
    if found.sha256 != sha256:
        raise RunError(f"the pretrained network {name!r} of {folder} has changed; put back the old weights")
    return found


def _weights(path: Path, shape: PyTree) -> dict[str, PyTree]:
    flat, wanted = load_file(path), checkpoint.flatten(shape)
    if missing := sorted(set(wanted) - set(flat)) or sorted(set(flat) - set(wanted)):
        raise ValueError(f"{missing[0]} is in one of weights and network only")
    for name, leaf in wanted.items():
        if flat[name].shape != leaf.shape:
            raise ValueError(f"{name} is {flat[name].shape} there, {leaf.shape} here")
    leaves = [np.asarray(flat[name], leaf.dtype) for name, leaf in wanted.items()]
    return dict(jax.tree.unflatten(jax.tree.structure(shape), leaves))


def _program(model: Model) -> bytes:
    """The program from seeds uint32 [n] (and labels int32 [n], one argument for each field) to images, for any n."""
    from jax import export

    generator, spec = model.generator, model.spec
    assert isinstance(generator, Generator)
    if other := [name for name in generator.needs if not spec[name].classes]:
        raise RunError(f"a StableHLO program takes seeds and labels, and this model needs {other[0]!r} too; export it "
                       "without --stablehlo")
    sampler = sampling.sampler(generator, spec)

    def sample(seeds, *labels):
        fields = dict(zip(generator.needs, labels, strict=True))
        w = sampler.trace(model.weights, seeds, fields, jnp.float32(1))[0]
        return sampling.to_uint8(sampler.decode(model.weights, w, fields))

    n, = export.symbolic_shape("n")
    arguments = [jax.ShapeDtypeStruct((n,), jnp.uint32)]
    arguments += [jax.ShapeDtypeStruct((n,), jnp.int32)] * len(generator.needs)
    return bytes(export.export(jax.jit(sample), platforms=PLATFORMS)(*arguments).serialize())
