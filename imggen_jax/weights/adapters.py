"""LoRA (arXiv 2106.09685) and textual inversion (arXiv 2208.01618) in the files that others publish.

A LoRA adds strength * alpha / rank * up @ down to a layer. Its names are kohya's
(`lora_unet_..._to_q.lora_down.weight` with alpha beside it, for SDXL in the names of the code that trained it) or
diffusers' (`unet....to_q.lora_A.weight`, and the older `processor.to_q_lora.down.weight`). What matched is counted, and
what did not is named.
"""
from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save

from imggen_jax.errors import SaveError, WeightsError
from imggen_jax.game import PyTree
from imggen_jax.storage.files import write_atomic
from imggen_jax.weights import tensors
from imggen_jax.weights.tensors import Stored

KOHYA = {"lora_unet_": "unet", "lora_te_": "text_encoder", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2"}
DIFFUSERS = ("unet", "transformer", "text_encoder_2", "text_encoder")
# Ends of a name -> what stands there.
ENDS = {"lora_down.weight": "down", "lora_up.weight": "up", "lora_A.weight": "down", "lora_B.weight": "up",
        "lora_A.default.weight": "down", "lora_B.default.weight": "up", "lora.down.weight": "down",
        "lora.up.weight": "up", "lora_linear_layer.down.weight": "down", "lora_linear_layer.up.weight": "up",
        "alpha": "alpha"}
OLD = re.compile(r"\.processor\.(to_q|to_k|to_v|to_out)_lora\.(down|up)\.weight$")
OTHER_KINDS = {"hada_": "LoHa", "lokr_": "LoKr", "dora_scale": "DoRA", "lora_mid": "LoCon with a third matrix",
               "oft_": "OFT"}
VECTORS = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}


class Lora(NamedTuple):
    """A LoRA of a model."""

    layers: Mapping[tuple[str, str], Mapping[str, Stored]]  # (component, layer) -> "down", "up", perhaps "alpha"
    alphas: Mapping[tuple[str, str], float]                 # what the file's notes say of alpha, else of the rank
    unknown: tuple[str, ...]                                # names that matched no layer
    path: Path


def read_lora(path: Path, known: Mapping[str, Iterable[str]], old: Mapping[str, str] = {}) -> Lora:
    """The layers of a file, matched with those of a model.

    Args:
      path: a safetensors file.
      known: component -> the names of its layers, without ".weight".
      old: names that the code that trained the U-Net has for its layers -> today's.

    Raises:
      WeightsError: it cannot be read, is of another kind, incomplete, or nothing of it matches the model.
    """
    header = tensors.open_file(path)
    for name in header.tensors:
        if kind := next((kind for part, kind in OTHER_KINDS.items() if part in name), None):
            raise WeightsError(f"{path} is a {kind}, which is not read here; LoRA is")
    places = {(part, layer) for part, layers in known.items() for layer in layers}
    flat = {(part, layer.replace(".", "_")): layer for part, layer in places}
    flat |= {("unet", name.replace(".", "_")): layer for name, layer in old.items() if ("unet", layer) in places}
    layers: dict[tuple[str, str], dict[str, Stored]] = {}
    unknown = []
    for name, one in header.tensors.items():
        place, role = _place(name, flat)
        if role is None or place not in places:
            unknown.append(name)
        else:
            layers.setdefault(place, {})[role] = one
    if not layers:
        raise WeightsError(f"{path}: none of its {len(header.tensors)} tensors belongs to a layer of this model (the "
                           f"first is {next(iter(header.tensors), 'none')}); it is a LoRA of another one, or none")
    if wrong := [place for place, parts in layers.items() if not {"down", "up"} <= set(parts)]:
        raise WeightsError(f"{path}: of {wrong[0][1]} it has {', '.join(layers[wrong[0]])} alone; get it again")
    return Lora(layers, _alphas(header.about, layers), tuple(unknown), path)


def _place(name: str, flat: Mapping[tuple[str, str], str]) -> tuple[tuple[str, str], str | None]:
    """((component, layer), "down", "up", "alpha" or None) of a name."""
    name = OLD.sub(lambda match: f".{match[1]}{'.0' if match[1] == 'to_out' else ''}.lora.{match[2]}.weight", name)
    end = next((end for end in ENDS if name.endswith(f".{end}")), None)
    if end is None:
        return ("", name), None
    layer = name.removesuffix(f".{end}")
    for prefix, part in KOHYA.items():
        if layer.startswith(prefix):
            inner = layer.removeprefix(prefix)
            return (part, flat.get((part, inner), inner)), ENDS[end]
    for part in DIFFUSERS:
        if layer.startswith(f"{part}."):
            return (part, layer.removeprefix(f"{part}.")), ENDS[end]
    return ("", name), None


def _alphas(about: Mapping[str, str], layers: Iterable[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """What peft's notes say: "unet.lora_alpha", and "unet.alpha_pattern" for single layers."""
    try:
        notes = json.loads(about.get("lora_adapter_metadata", "{}"))
        found = {}
        for part, layer in layers:
            alpha = notes.get(f"{part}.lora_alpha")
            special = notes.get(f"{part}.alpha_pattern") or {}
            alpha = next((value for pattern, value in special.items() if layer.endswith(pattern)), alpha)
            if alpha is not None:
                found[part, layer] = float(alpha)
        return found
    except (ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"the notes of a LoRA, lora_adapter_metadata, cannot be read ({error})") from error


def add_lora(weights: Mapping[str, PyTree], lora: Lora, strength: float) -> dict[str, PyTree]:
    """Weights with a LoRA added; what it does not change is shared with the old ones.

    Args:
      weights: component -> parameters.
      lora: of `read_lora`.
      strength: factor on it; 1 as trained, below 0 for the opposite.

    Raises:
      WeightsError: a layer of another size.
    """
    made = dict(weights)
    for part in sorted({part for part, _ in lora.layers}):
        leaves, structure = jax.tree_util.tree_flatten_with_path(weights[part])
        made[part] = jax.tree.unflatten(structure, [
            _added(leaf, (part, tensors.tensor_name(path).removesuffix(".weight")), lora, strength)
            if tensors.tensor_name(path).endswith(".weight") else leaf for path, leaf in leaves])
    return made


def _added(leaf: jax.Array, place: tuple[str, str], lora: Lora, strength: float) -> jax.Array:
    if place not in lora.layers:
        return leaf
    parts = lora.layers[place]
    dtype = jnp.promote_types(leaf.dtype, jnp.float32)
    down, up = (np.asarray(parts[name].read(), dtype) for name in ("down", "up"))
    rank = down.shape[0]
    alpha = float(np.asarray(parts["alpha"].read(), np.float32)) if "alpha" in parts else lora.alphas.get(place, rank)
    try:
        if leaf.ndim == 4:  # a convolution [h,w,in,out]; up is one of 1x1
            change = np.einsum("or,rihw->hwio", up.reshape(up.shape[0], rank), down)
        else:
            change = down.reshape(rank, -1).T @ up.reshape(up.shape[0], rank).T
        if change.shape != leaf.shape:
            raise ValueError(f"it is for {list(change.shape)}, and the layer is {list(leaf.shape)}")
    except ValueError as error:
        raise WeightsError(f"{lora.path}: {place[1]} does not fit this model ({error}); it is a LoRA of another one"
                           ) from None
    factor = strength * alpha / rank
    return (leaf.astype(dtype) + factor * jnp.asarray(change)).astype(leaf.dtype)


def write_lora(path: Path, layers: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]], names: str) -> None:
    """Write a LoRA, whole or not at all; alpha is the rank, so that a change is up @ down.

    Args:
      path: of the file.
      layers: (component, layer) -> down float [r,in], up float [out,r].
      names: whose: "diffusers" or "kohya".

    Raises:
      SaveError: it cannot be written.
    """
    content: dict[str, Any] = {}
    for (part, layer), (down, up) in layers.items():
        if names == "kohya":
            place = next(prefix for prefix, known in KOHYA.items() if known == part) + layer.replace(".", "_")
            content |= {f"{place}.lora_down.weight": down, f"{place}.lora_up.weight": up,
                        f"{place}.alpha": np.array(len(down), np.float32)}
        else:
            content |= {f"{part}.{layer}.lora_A.weight": down, f"{part}.{layer}.lora_B.weight": up}
    rank = max(len(down) for down, _ in layers.values())
    about = {"ss_network_dim": str(rank), "ss_network_alpha": str(rank)} if names == "kohya" else {"format": "pt"}
    arrays = {name: np.asarray(value, np.float32, order="C") for name, value in content.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, save(arrays, about))
    except OSError as error:
        raise SaveError(f"the LoRA cannot be written to {path} ({error.strerror or error})") from error


class Embedding(NamedTuple):
    """Vectors that stand for a word."""

    word: str
    vectors: Mapping[str, np.ndarray]  # text encoder -> float32 [n,width]


def read_embedding(path: Path, encoders: Mapping[str, int]) -> Embedding:
    """A file of textual inversion: of diffusers ({word: vectors}), kohya (emb_params) or for SDXL (clip_l, clip_g).

    Args:
      path: a safetensors file; where it does not name its word, the name of the file is the word.
      encoders: text encoder -> width of its vectors.

    Raises:
      WeightsError: it cannot be read, or holds no vectors of these widths.
    """
    found = tensors.open_file(path).tensors
    vectors: dict[str, np.ndarray] = {}
    word, first = path.stem, next(iter(encoders))
    for name, one in found.items():
        array = np.atleast_2d(np.asarray(one.read(), np.float32))
        if name in VECTORS:
            vectors[VECTORS[name]] = array
        elif len(found) == 1:
            vectors[first] = array
            word = word if name == "emb_params" else name
        else:
            raise WeightsError(f"{path} is no file of textual inversion: it holds {name} beside others")
    for encoder, width in encoders.items():
        array = vectors.get(encoder)
        if array is None or array.ndim != 2 or array.shape[1] != width:
            has = "none" if array is None else str(list(array.shape))
            raise WeightsError(f"{path} has {has} for {encoder}, and vectors of {width} numbers are needed; it is of "
                               "another model")
    if extra := sorted(set(vectors) - set(encoders)):
        raise WeightsError(f"{path} has vectors for {extra[0]} too, which this model lacks; it is of another model")
    if len({len(array) for array in vectors.values()}) != 1:
        raise WeightsError(f"{path} has other numbers of vectors for its text encoders; get it again")
    return Embedding(word, vectors)


def layer_names(wanted: PyTree) -> list[str]:
    """The names of the layers of a network, without ".weight"."""
    return [name.removesuffix(".weight") for name in tensors.stored_shapes(wanted) if name.endswith(".weight")]


def with_rows(table: Any, rows: np.ndarray) -> jax.Array:
    """An embedding table float [words,width] with further rows."""
    return jnp.concatenate([table, jnp.asarray(rows, table.dtype)])
