"""FID's Inception-v3, from the PyTorch file in which its weights are published (github.com/mseitzer/pytorch-fid)."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax.game import Pretrained, PyTree
from imggen_jax.nets.inception import CLASSES, FEATURES, SIDE, Inception
from imggen_jax.weights import torch_file
from imggen_jax.weights.checks import sha256, taker


def load(path: str | Path) -> Pretrained:
    """Read a file with the names of torchvision's Inception-v3.

    Returns:
      Pretrained with apply["features"]: (weights, float32 [B,299,299,3] in [-1,1]) -> (features float32 [B,2048], class
      logits float32 [B,1008]), in full float32 precision on every device.

    Raises:
      WeightsError: the file is missing, damaged or of another network.
    """
    weights = _convert(torch_file.read(path), path)
    return Pretrained(weights, {"features": features}, sha256(path))


def features(weights: PyTree, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """See `load`."""
    with jax.default_matmul_precision("highest"):  # GPUs would round to ten bits
        return cast(tuple[jax.Array, jax.Array], Inception().apply({"params": weights}, images))


def _convert(state: Mapping[str, np.ndarray], path: str | Path) -> PyTree:
    images = jnp.zeros((1, SIDE, SIDE, 3))
    shapes = jax.eval_shape(lambda: Inception().init(jax.random.key(0), images))["params"]
    take = taker(state, path, "FID's Inception-v3")

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
