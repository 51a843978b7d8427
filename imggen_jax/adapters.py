"""Small files beside a trained model: words that it has learned since, and low-rank changes of its dense layers.

    model = imggen_jax.load("runs/avatars_text+zork.safetensors:0.8")

A file is safetensors, in the key names of diffusers: LAYER.lora_A.weight [r,in] and LAYER.lora_B.weight [out,r], by
whose product, times alpha / r, the layer's kernel changes (LoRA, arXiv 2106.09685); and text_embeds.WORD, a row of the
text encoder's table (textual inversion, arXiv 2208.01618). It belongs to the weights that it was learned on alone.
"""
from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from imggen_jax.config import check
from imggen_jax.errors import RunError, SaveError
from imggen_jax.game import Game, Pretrained, PyTree, Spec, make_spec
from imggen_jax.model import Model
from imggen_jax.storage import checkpoint
from imggen_jax.storage.files import write_atomic
from imggen_jax.training.build import make_game

TEXT, KERNEL = "text", ".kernel"
FORMAT = "imggen_jax adapter 1"
SUFFIX = ".safetensors"
MOST_BYTES = 2_000_000
MOST = 2.0                   # share of an adapter
_DOWN, _UP, _WORD = ".lora_A.weight", ".lora_B.weight", "text_embeds."
_NAMED = re.compile(rf"\+([^+]+{re.escape(SUFFIX)})(?::(\d+(?:\.\d*)?|\.\d+))?")


class Adapter(NamedTuple):
    """What a model has learned since."""

    base: str                                     # sha256 of the weights that it belongs to
    words: Mapping[str, np.ndarray]               # a new word -> float32 [width]
    down: Mapping[str, np.ndarray]                # "player.layer.kernel" -> float32 [r,in]
    up: Mapping[str, np.ndarray]                  # the same names -> float32 [out,r]
    alpha: float


def split(path: str) -> tuple[str, list[tuple[str, float]]]:
    """"runs/text+a.safetensors:0.8" as ("runs/text", [("a.safetensors", 0.8)]).

    Raises:
      RunError: a share that is too large.
    """
    found = re.fullmatch(rf"(.+?)((?:{_NAMED.pattern})+)", path)
    if found is None or Path(path).exists():
        return path, []
    each = [(file, 1.0 if share is None else float(share)) for file, share in _shares(found.group(2))]
    if wrong := [(file, share) for file, share in each if share > MOST]:
        raise RunError(f"the share of {wrong[0][0]} is {wrong[0][1]:g}; it must be from 0 to {MOST:g}")
    return found.group(1), each


def _shares(text: str) -> list[tuple[str, str | None]]:
    return [(one.group(1), one.group(2)) for one in _NAMED.finditer(text)]


def write(path: Path, adapter: Adapter) -> None:
    """Write an adapter's file, whole or not at all.

    Raises:
      RunError: it would have more than 2 MB.
      SaveError: it cannot be written.
    """
    arrays = {f"{_WORD}{word}": row for word, row in adapter.words.items()}
    for name in adapter.down:
        layer = name.removesuffix(KERNEL)
        arrays |= {f"{layer}{_DOWN}": adapter.down[name], f"{layer}{_UP}": adapter.up[name]}
    facts = {"format": FORMAT, "base": adapter.base, "alpha": json.dumps(adapter.alpha)}
    content = save({name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}, facts)
    if len(content) > MOST_BYTES:
        raise RunError(f"the adapter would have {len(content):,} bytes, and at most {MOST_BYTES:,} are written; choose "
                       "a lower rank")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    except OSError as error:
        raise SaveError(f"the adapter cannot be written to {path} ({error.strerror or error})") from error


def read(path: Path) -> Adapter:
    """The adapter in a file.

    Raises:
      RunError: there is none, it is damaged, or it holds something else.
    """
    try:
        with safe_open(path, "numpy") as file:
            facts = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
        if facts.get("format") != FORMAT:
            raise ValueError("it has another format")
        alpha = float(json.loads(facts["alpha"]))
        words = {name.removeprefix(_WORD): array for name, array in arrays.items() if name.startswith(_WORD)}
        down = {name.removesuffix(_DOWN) + KERNEL: array for name, array in arrays.items() if name.endswith(_DOWN)}
        up = {name.removesuffix(_UP) + KERNEL: array for name, array in arrays.items() if name.endswith(_UP)}
        if set(down) != set(up) or len(words) + len(down) + len(up) != len(arrays):
            raise ValueError("its names are not those of an adapter")
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("its numbers are not finite")
        return Adapter(facts["base"], words, down, up, alpha)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise RunError(f"the adapter {path} cannot be used ({error}); give a file that personalize has written"
                       ) from error


def with_words(model: Model, words: Mapping[str, np.ndarray], networks: Mapping[str, Pretrained]) -> Model:
    """A model whose vocabulary has new words, at its end.

    Args:
      model: a loaded generator that takes a text of words.
      words: new word -> float32 [width].
      networks: those that the model uses and does not train.

    Raises:
      RunError: it reads no words, knows one of them already, or has rows of another width.
    """
    field = model.spec.get(TEXT)
    if field is None or not field.names:
        raise RunError("this model reads no words, so it can learn none; it takes "
                       + ("letters" if field is not None else "no text"))
    if known := [word for word in words if word in field.names]:
        raise RunError(f"the model knows the word {known[0]!r} already; choose another")
    spec = make_spec(**{**model.spec, TEXT: field._replace(names=(*field.names, *words))})
    game = make_game(check(model.config), spec, networks)
    wanted, own = checkpoint.flatten(shapes(game, spec)), checkpoint.flatten(model.weights)
    grown = [name for name, leaf in wanted.items() if name in own and leaf.shape != np.shape(own[name])]
    rows = np.array(list(words.values()), np.float32)
    for name in grown:
        if rows.shape[1:] != np.shape(own[name])[1:]:
            raise RunError(f"the words have {rows.shape[1:]} numbers each, and the model's {np.shape(own[name])[1:]}; "
                           "the adapter belongs to another model")
        own[name] = np.concatenate([own[name], rows])
    weights = jax.tree.unflatten(jax.tree.structure(model.weights), list(own.values()))
    return model._replace(spec=spec, game=game, weights=weights)


def shapes(game: Game, spec: Spec) -> PyTree:
    """Shapes and dtypes of what the models of a game read."""
    return jax.eval_shape(lambda key: game.weights(*game.init(key, spec)), jax.random.key(0))


def changed(weights: PyTree, down: Mapping[str, PyTree], up: Mapping[str, PyTree], scale: float) -> PyTree:
    """Weights whose kernels [in,out] have the products of down [r,in] and up [out,r] added, times a scale."""
    leaves = checkpoint.flatten(weights)
    for name in down:
        leaves[name] = leaves[name] + scale * (up[name] @ down[name]).T
    return jax.tree.unflatten(jax.tree.structure(weights), list(leaves.values()))


def apply(model: Model, each: Sequence[tuple[Adapter, float]], networks: Mapping[str, Pretrained]) -> Model:
    """A model with adapters: all of their words, and of each the share of its changes.

    Args:
      model: a loaded model.
      each: adapters and their shares.
      networks: those that the model uses and does not train.

    Raises:
      RunError: an adapter of other weights, or of layers that the model has not; two with the same word.
    """
    base, words = checkpoint.fingerprint(model.weights), {}
    for adapter, _ in each:
        _check(adapter, base, model)
        if twice := set(words) & set(adapter.words):
            raise RunError(f"two adapters have the word {min(twice)!r}; use one of them")
        words |= adapter.words
    made = with_words(model, words, networks) if words else model
    for adapter, share in each:
        rank = len(next(iter(adapter.down.values()))) if adapter.down else 1
        made = made._replace(weights=changed(made.weights, adapter.down, adapter.up, share * adapter.alpha / rank))
    return made


def _check(adapter: Adapter, base: str, model: Model) -> None:
    """Raises RunError for an adapter of another model, and says what does not match."""
    own = checkpoint.flatten(model.weights)
    for name in adapter.down:
        there = (adapter.down[name].shape[1], adapter.up[name].shape[0])
        if name not in own or np.shape(own[name]) != there:
            has = f"has {np.shape(own[name])} numbers" if name in own else "does not exist"
            raise RunError(f"the adapter belongs to another model: its layer {name.removesuffix(KERNEL)}, of {there} "
                           f"numbers, {has} here; nothing of it was applied")
    if adapter.base != base:
        raise RunError(f"the adapter belongs to other weights, {adapter.base[:12]}, than the model has, {base[:12]}: "
                       "another model, or it was trained further; learn it again with personalize")
