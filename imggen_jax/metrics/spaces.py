"""The feature spaces that come from weight files: `inception` for FID, and `dinov2`.

Nothing is downloaded. Without its file a space says in one line which one it wants and where to put it.
"""
from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax.errors import MetricsError
from imggen_jax.metrics import resize
from imggen_jax.metrics.features import Space
from imggen_jax.nets import dinov2 as dino
from imggen_jax.nets.inception import CLASSES, FEATURES, SIDE, Inception
from imggen_jax.weights import torch_file

PyTree = Any

# The file of pytorch-fid's release "fid_weights"; torch-fidelity's has another name and the same bytes.
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d"  # the first digits, which are in the file's name
# Name of the space -> (file, where it is published, width, layers, heads).
DINOV2 = {
    "dinov2-vitb14": ("dinov2-base.safetensors", "model.safetensors of facebook/dinov2-base", 768, 12, 12),
    "dinov2-vitl14": ("dinov2-large.safetensors", "model.safetensors of facebook/dinov2-large", 1024, 24, 16),
}
NAMES = ("inception", "inception-tf1", *DINOV2)
DINO_SIDE = 224                             # pixels
IMAGENET_MEAN = (0.485, 0.456, 0.406)       # of RGB in [0,1]
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def folder() -> Path:
    """Where weight files are looked for: $IMGGEN_JAX_WEIGHTS, or ~/.cache/imggen_jax/weights."""
    return Path(os.environ.get("IMGGEN_JAX_WEIGHTS") or "~/.cache/imggen_jax/weights").expanduser()


def load(name: str) -> Space:
    """A feature space by its name, with the weights from `folder`.

    "inception": FID's network, resizing as pytorch-fid does. "inception-tf1": the same network, resizing as TensorFlow
    1 and torch-fidelity do. "dinov2-vitb14", "dinov2-vitl14".

    Raises:
      MetricsError: an unknown name; a weight file that is missing, damaged, or another one.
    """
    if name in ("inception", "inception-tf1"):
        path = _wanted(name, INCEPTION_FILE, "of pytorch-fid's release fid_weights, 91 MB")
        if not (found := _sha256(path)).startswith(INCEPTION_SHA256):
            raise MetricsError(f"{path} is not the file that its name says: its sha256 is {found[:8]}..., not "
                               f"{INCEPTION_SHA256}...; fetch it again")
        return inception(path, resize_as="pytorch-fid" if name == "inception" else "torch-fidelity")
    if name in DINOV2:
        file, source, *_ = DINOV2[name]
        return dinov2(_wanted(name, file, f"the {source}"), name)
    raise MetricsError(f"unknown feature space {name!r}; choose from classifier, {', '.join(NAMES)}")


def check_there(name: str) -> None:
    """Raises MetricsError where `load` would for want of the file, without reading it."""
    if name in ("inception", "inception-tf1"):
        _wanted(name, INCEPTION_FILE, "of pytorch-fid's release fid_weights, 91 MB")
    elif name in DINOV2:
        _wanted(name, DINOV2[name][0], f"the {DINOV2[name][1]}")
    elif name != "classifier":
        raise MetricsError(f"unknown feature space {name!r}; choose from classifier, {', '.join(NAMES)}")


def _wanted(name: str, file: str, what: str) -> Path:
    path = folder() / file
    if not path.is_file():
        raise MetricsError(f"the feature space {name} needs the weight file {file} ({what}); put it into {folder()}, "
                           "or name its folder in IMGGEN_JAX_WEIGHTS")
    return path


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ----------------------------------------------------------------------------------------------------------- inception


def inception(path: str | Path, *, resize_as: str) -> Space:
    """The network of FID from a PyTorch weight file with the names of torchvision's Inception-v3.

    Args:
      path: of the file.
      resize_as: "pytorch-fid" or "torch-fidelity".

    Raises:
      MetricsError: the file is damaged or of another network.
    """
    weights = _inception_weights(torch_file.read(path), path)
    recipes = {
        "pytorch-fid": ("inception", "pytorch-fid: bilinear to 299, not antialiased, x / 127.5 - 1", resize.bilinear,
                        (127.5, 127.5)),
        "torch-fidelity": ("inception-tf1", "torch-fidelity: TensorFlow 1's bilinear to 299, (x - 128) / 128",
                           resize.bilinear_corner, (128.0, 128.0)),
    }
    name, recipe, matrix, scale = recipes[resize_as]
    return Space(name, FEATURES, recipe, _sha256(Path(path)), _inception_apply(matrix, scale), weights)


@functools.cache
def _inception_apply(matrix: Callable, scale: tuple[float, float]) -> Callable:
    def apply(weights, images):
        height, width = images.shape[1:3]
        x = resize.apply(resize.to_rgb(images), matrix(height, SIDE), matrix(width, SIDE))
        with jax.default_matmul_precision("highest"):  # GPUs would round to ten bits
            return Inception().apply({"params": weights}, (x - scale[0]) / scale[1])

    return apply


def _inception_weights(state: Mapping[str, np.ndarray], path) -> PyTree:
    images = jnp.zeros((1, SIDE, SIDE, 3))
    shapes = jax.eval_shape(lambda: Inception().init(jax.random.key(0), images))["params"]
    take = _taker(state, path, "FID's Inception-v3")

    def fill(tree, prefix):
        if "scale" in tree:
            # BatchNorm2d in evaluation: (x - mean) / sqrt(variance + 1e-3) weight + bias.
            weight, bias, mean, variance = (take(f"{prefix}bn.{name}", tree["scale"].shape)
                                            for name in ("weight", "bias", "running_mean", "running_var"))
            scale = weight / np.sqrt(variance + 1e-3)
            h, w, c, o = tree["conv"]["kernel"].shape
            kernel = take(f"{prefix}conv.weight", (o, c, h, w)).transpose(2, 3, 1, 0)
            return {"conv": {"kernel": kernel}, "scale": scale, "shift": bias - mean * scale}
        return {name: fill(below, f"{prefix}{name}.") for name, below in tree.items()}

    fc = take("fc.weight", (CLASSES, FEATURES)).T
    return {**fill({name: below for name, below in shapes.items() if name != "fc"}, ""), "fc": {"kernel": fc}}


# -------------------------------------------------------------------------------------------------------------- dinov2


def dinov2(path: str | Path, name: str) -> Space:
    """DINOv2 from the safetensors file that the transformers package writes and reads.

    Args:
      path: of the file.
      name: of `DINOV2`, which says how large the network is.

    Raises:
      MetricsError: the file is damaged or of another network.
    """
    _, _, width, layers, heads = DINOV2[name]
    return vision_transformer(path, name, width=width, layers=layers, heads=heads)


def vision_transformer(path: str | Path, name: str, *, width: int, layers: int, heads: int) -> Space:
    """`dinov2` of any size."""
    weights = _dino_weights(_safetensors(path), path, width, layers)
    recipe = ("shorter side to 224 by Pillow's bicubic, antialiased, central square, ImageNet's mean and deviation")
    return Space(name, width, recipe, _sha256(Path(path)), _dino_apply(width, layers, heads), weights)


@functools.cache
def _dino_apply(width: int, layers: int, heads: int) -> Callable:
    net = dino.DinoV2(width, layers, heads)

    def apply(weights, images):
        old = images.shape[1:3]
        new = resize.covered(*old, DINO_SIDE)
        x = resize.apply(resize.to_rgb(images), resize.bicubic(old[0], new[0]), resize.bicubic(old[1], new[1]),
                         eight_bit=True)
        top, left = (round((n - DINO_SIDE) / 2) for n in new)
        x = x[:, top:top + DINO_SIDE, left:left + DINO_SIDE] / 255
        with jax.default_matmul_precision("highest"):
            x = (x - jnp.array(IMAGENET_MEAN)) / jnp.array(IMAGENET_DEVIATION)
            return net.apply({"params": weights}, x), None

    return apply


def _safetensors(path: str | Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(str(path))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:  # the last: dtypes NumPy lacks
        raise MetricsError(f"the weight file {path} is damaged, or no safetensors file of float32 "
                           f"({type(error).__name__}: {error})") from error


def _dino_weights(state: Mapping[str, np.ndarray], path, width: int, layers: int) -> PyTree:
    take = _taker(state, path, f"DINOv2 with {layers} layers of width {width}")

    def dense(name, into, out):
        return {"kernel": take(f"{name}.weight", (out, into)).T, "bias": take(f"{name}.bias", (out,))}

    def norm(name):
        return {"scale": take(f"{name}.weight", (width,)), "bias": take(f"{name}.bias", (width,))}

    # The published files have the first of these names; the transformers package writes the second since version 5.
    newer = "encoder.layer.0.attention.q_proj.weight" in state
    parts = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}

    def layer(at):
        attention = {old: f"{at}.attention.{new}" if newer else f"{at}.attention.attention.{old}"
                     for old, new in parts.items()}
        last = f"{at}.attention.o_proj" if newer else f"{at}.attention.output.dense"
        return {
            "norm1": norm(f"{at}.norm1"), "norm2": norm(f"{at}.norm2"),
            **{part: dense(name, width, width) for part, name in attention.items()},
            "attention": dense(last, width, width),
            "fc1": dense(f"{at}.mlp.fc1", width, 4 * width), "fc2": dense(f"{at}.mlp.fc2", 4 * width, width),
            "scale1": take(f"{at}.layer_scale1.lambda1", (width,)),
            "scale2": take(f"{at}.layer_scale2.lambda1", (width,)),
        }

    patch = take("embeddings.patch_embeddings.projection.weight", (width, 3, dino.PATCH, dino.PATCH))
    token = take("embeddings.cls_token", (1, 1, width))
    return {
        "patches": {"kernel": patch.transpose(2, 3, 1, 0),
                    "bias": take("embeddings.patch_embeddings.projection.bias", (width,))},
        "token": token,
        "positions": _positions(take("embeddings.position_embeddings", None), width, path),
        **{f"layer_{i}": layer(f"encoder.layer.{i}") for i in range(layers)},
        "norm": norm("layernorm"),
    }


def _positions(embeddings: np.ndarray, width: int, path) -> np.ndarray:
    """Position embeddings of the class token and of a grid of patches, the grid resized to the one used here."""
    side = round((embeddings.shape[1] - 1) ** 0.5) if embeddings.ndim == 3 else 0
    if not side or embeddings.shape != (1, 1 + side * side, width):
        raise MetricsError(f"the weight file {path} is of another network: embeddings.position_embeddings is "
                           f"{list(embeddings.shape)}")
    grid = embeddings[0, 1:].reshape(side, side, width)
    new = DINO_SIDE // dino.PATCH
    if side != new:
        matrix = resize.bicubic_border(side, new)
        grid = np.einsum("uh,vw,hwc->uvc", matrix, matrix, grid, optimize=True)
    return np.concatenate([embeddings[:, :1], grid.reshape(1, new * new, width)], axis=1).astype(np.float32)


def _taker(state: Mapping[str, np.ndarray], path, network: str) -> Callable:
    """A function (name, shape or None for any) -> float32 array; raises MetricsError for what is not there."""
    def take(name, shape):
        if name not in state:
            raise MetricsError(f"the weight file {path} is of another network than {network}: it has no {name}")
        if shape is not None and state[name].shape != tuple(shape):
            raise MetricsError(f"the weight file {path} is of another network than {network}: {name} is "
                               f"{list(state[name].shape)}, not {list(shape)}")
        return np.asarray(state[name], np.float32)

    return take
