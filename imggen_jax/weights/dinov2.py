"""DINOv2's vision transformer, from the safetensors file that transformers writes (facebook/dinov2-base)."""
from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import jax
import numpy as np

from imggen_jax.errors import WeightsError
from imggen_jax.game import Pretrained, PyTree
from imggen_jax.nets.dinov2 import PATCH, DinoV2
from imggen_jax.weights.checks import safetensors, sha256, taker

SIDE = 224       # pixels
HEAD_WIDTH = 64  # of every published size


def load(path: str | Path, *, width: int | None = None, layers: int | None = None, heads: int | None = None
         ) -> Pretrained:
    """Read a file of any size of the network, but for ViT-g, whose layers differ.

    Args:
      path: of the file.
      width, layers: that the network must have; None takes those of the file.
      heads: None for one for each 64 of the width, as in every published size.

    Returns:
      Pretrained with apply["features"]: (weights, float32 [B,224,224,3], normalized by ImageNet's mean and standard
      deviation) -> float32 [B,width], in full float32 precision on every device.

    Raises:
      WeightsError: the file is missing, damaged or of another network.
    """
    state = safetensors(path)
    token = state.get("embeddings.cls_token")
    wide: int = width or (token.shape[-1] if token is not None and token.ndim else 0)
    deep: int = layers or len({match[1] for name in state if (match := re.match(r"encoder\.layer\.(\d+)\.", name))})
    weights = _convert(state, path, wide, deep)
    heads = heads or max(1, wide // HEAD_WIDTH)
    return Pretrained(weights, {"features": _features(wide, deep, heads)}, sha256(path))


@functools.cache
def _features(width: int, layers: int, heads: int) -> Callable:
    net = DinoV2(width, layers, heads)

    def features(weights: PyTree, images: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):  # GPUs would round to ten bits
            return cast(jax.Array, net.apply({"params": weights}, images))

    return features


def _convert(state: Mapping[str, np.ndarray], path: str | Path, width: int, layers: int) -> PyTree:
    take = taker(state, path, f"DINOv2 with {layers} layers of width {width}")

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

    patch = take("embeddings.patch_embeddings.projection.weight", (width, 3, PATCH, PATCH))
    token = take("embeddings.cls_token", (1, 1, width))
    return {
        "patches": {"kernel": patch.transpose(2, 3, 1, 0),
                    "bias": take("embeddings.patch_embeddings.projection.bias", (width,))},
        "token": token,
        "positions": _positions(take("embeddings.position_embeddings", None), width, path),
        **{f"layer_{i}": layer(f"encoder.layer.{i}") for i in range(layers)},
        "norm": norm("layernorm"),
    }


def _positions(embeddings: np.ndarray, width: int, path: str | Path) -> np.ndarray:
    """Position embeddings of the class token and of a grid of patches, the grid resized to the one used here."""
    side = round((embeddings.shape[1] - 1) ** 0.5) if embeddings.ndim == 3 else 0
    if not side or embeddings.shape != (1, 1 + side * side, width):
        raise WeightsError(f"the weight file {path} is of another network: embeddings.position_embeddings is "
                           f"{list(embeddings.shape)}")
    grid = embeddings[0, 1:].reshape(side, side, width)
    new = SIDE // PATCH
    if side != new:
        matrix = bicubic(side, new)
        grid = np.einsum("uh,vw,hwc->uvc", matrix, matrix, grid, optimize=True)
    return np.concatenate([embeddings[:, :1], grid.reshape(1, new * new, width)], axis=1).astype(np.float32)


def bicubic(old: int, new: int) -> np.ndarray:
    """A resizing matrix, float64 [new,old], as torch's interpolate(mode="bicubic", align_corners=False).

    Keys 1981, "Cubic convolution interpolation", eq. 4 with a = -3/4, not antialiased, the border repeated. The
    transformers package resizes position embeddings with it.
    """
    at = (np.arange(new) + 0.5) * (old / new) - 0.5
    first = np.floor(at).astype(int)
    matrix = np.zeros((new, old))
    for tap in range(-1, 3):
        x = np.abs(at - first - tap)
        near = (1.25 * x - 2.25) * x**2 + 1
        far = -0.75 * (((x - 5) * x + 8) * x - 4)
        weights = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
        np.add.at(matrix, (np.arange(new), np.clip(first + tap, 0, old - 1)), weights)
    return matrix
