"""Networks from picture to picture that others trained, from the files in which they are published.

A file is known by the names of its arrays, and the size of the network by their shapes, so that its own name does not
matter. Nothing in a file is run.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax.augment import to_float
from imggen_jax.errors import WeightsError
from imggen_jax.game import Field, Game, Generator, Option, PyTree, Spec, make_spec
from imggen_jax.weights import adain, compact, cyclegan, lama, rrdb, span, torch_file
from imggen_jax.weights.checks import safetensors, sha256
from imggen_jax.weights.layers import Layers, Network

GAME = "foreign"  # the name of such a model's game in its config
READERS: tuple[ModuleType, ...] = (rrdb, compact, span, lama, cyclegan, adain)
# Where authors put a state dict in a file, and what they put before all of its names.
SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
WRAPPERS = ("model_state_dict", "state_dict", "params_ema", "params-ema", "params", "model", "net")
PREFIXES = ("module.", "netG.", "params_ema.", "params.")


class Foreign(NamedTuple):
    """A network of others, as a game of nobody's: it has a model, and nobody trains it."""

    game: Game            # whose only model is a Generator called "main"; its prior draws nothing
    spec: Spec            # the fields that the model needs, and "image", what it makes; any size
    weights: PyTree       # float32
    facts: Mapping[str, Any]  # JSON: architecture, scale, reach, multiple (of `Network`), file, sha256


def is_weight_file(path: Path) -> bool:
    """Whether a path is a file with the ending of one."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def load(path: str | Path) -> Foreign:
    """Read a file of any of `READERS`: a safetensors file, or one of torch.save or torch.jit.save.

    Real-ESRGAN's general network is blended with the one for weak denoising, and AdaIN's decoder needs its encoder,
    where such a file lies in the same folder under its published name.

    Raises:
      WeightsError: the file cannot be read, is of no network that is known here, or its layers are not those of the
        network; the message names them.
    """
    path = Path(path)
    layers = _layers(path)
    network = _network(layers)
    facts = {"architecture": network.name, "scale": network.scale, "reach": network.reach,
             "multiple": network.multiple, "file": path.name, "sha256": sha256(path)}
    source, made = (Field((None, None, channels), "uint8") for channels in network.channels)
    fields = {name: Field((None, None, 1), "uint8") if name == "mask" else source for name in network.needs}
    game = _game(network.decode, network.needs, network.options)
    return Foreign(game, make_spec(image=made, **fields), jax.tree.map(jnp.asarray, network.weights), facts)


def _layers(path: Path) -> Layers:
    state = safetensors(path) if path.suffix.lower() == ".safetensors" else torch_file.read(path, wrappers=WRAPPERS)
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): array for name, array in state.items()}
    return Layers({name: array for name, array in state.items() if not name.endswith("num_batches_tracked")}, path)


def _network(layers: Layers) -> Network:
    reader = next((reader for reader in READERS if reader.knows(layers.state)), None)
    if reader is None:
        names = list(layers.state)
        raise WeightsError(f"the weight file {layers.path} is of no network that is known here (its arrays are "
                           f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}); known are "
                           f"{'; '.join(each.NAME for each in READERS)}")
    if reader is compact:
        other = compact.beside(layers)
        return compact.read(layers, _layers(other) if other else None)
    if reader is adain:
        other = adain.beside(layers)
        if not other.is_file():
            raise WeightsError(f"the weight file {layers.path} is one of AdaIN's two; put the other one, {other.name}, "
                               "beside it")
        return adain.read(layers, _layers(other))
    return reader.read(layers)


@functools.cache
def _game(decode: Callable, needs: tuple[str, ...], options: tuple[tuple[str, Option], ...]) -> Game:
    def condition(weights, fields):
        del weights
        return {name: _mask(fields[name]) if name == "mask" else to_float(fields[name]) for name in needs}

    main = Generator(lambda key, n, condition: (), lambda weights, z, *given: decode(weights, *given), condition, needs,
                     dict(options))
    return Game(lambda key, spec: ({}, {}), (), lambda params, mutable: params, {"main": main})


def _mask(mask: jax.Array) -> jax.Array:
    return mask.astype(jnp.float32) / 255 if mask.dtype == np.uint8 else mask
