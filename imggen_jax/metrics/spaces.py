"""The feature spaces that come from weight files: `inception` for FID, and `dinov2`."""
from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp

from imggen_jax.errors import MetricsError
from imggen_jax.game import Pretrained
from imggen_jax.metrics import resize
from imggen_jax.metrics.features import Space
from imggen_jax.nets.inception import FEATURES, SIDE
from imggen_jax.weights import dinov2, find
from imggen_jax.weights import inception as inception_file

INCEPTION = ("inception", "inception-tf1")
DINOV2 = ("dinov2-vitb14", "dinov2-vitl14")
NAMES = (*INCEPTION, *DINOV2)
IMAGENET_MEAN = (0.485, 0.456, 0.406)       # of RGB in [0,1]
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def load(name: str) -> Space:
    """A feature space by its name, with the weights that `weights.find` finds.

    "inception": FID's network, resizing as pytorch-fid does. "inception-tf1": the same network, resizing as TensorFlow
    1 and torch-fidelity do. "dinov2-vitb14", "dinov2-vitl14".

    Raises:
      MetricsError: an unknown name.
      WeightsError: a weight file that is missing, damaged, or another one.
    """
    check_there(name)
    pretrained = find.load(_file_of(name))
    if name in INCEPTION:
        return _inception(pretrained, "pytorch-fid" if name == "inception" else "torch-fidelity")
    return _dinov2(pretrained, name)


def check_there(name: str) -> None:
    """Raise the error that `load` would raise for an unknown name or a missing file, without reading the file."""
    if isinstance(name, str) and name in NAMES:
        find.find(_file_of(name))
    elif not isinstance(name, str) or name != "classifier":
        raise MetricsError(f"unknown feature space {name!r}; choose from classifier, {', '.join(NAMES)}")


def _file_of(name: str) -> str:
    return "inception" if name in INCEPTION else name


def inception(path: str | Path, *, resize_as: str) -> Space:
    """The network of FID from a PyTorch weight file with the names of torchvision's Inception-v3.

    Args:
      path: of the file.
      resize_as: "pytorch-fid" or "torch-fidelity".

    Raises:
      WeightsError: the file is damaged or of another network.
    """
    return _inception(inception_file.load(path), resize_as)


def _inception(pretrained: Pretrained, resize_as: str) -> Space:
    recipes = {
        "pytorch-fid": ("inception", "pytorch-fid: bilinear to 299, not antialiased, x / 127.5 - 1", resize.bilinear,
                        (127.5, 127.5)),
        "torch-fidelity": ("inception-tf1", "torch-fidelity: TensorFlow 1's bilinear to 299, (x - 128) / 128",
                           resize.bilinear_corner, (128.0, 128.0)),
    }
    name, recipe, matrix, scale = recipes[resize_as]
    apply = _inception_apply(pretrained.apply["features"], matrix, scale)
    return Space(name, FEATURES, recipe, pretrained.sha256, apply, pretrained.weights)


@functools.cache
def _inception_apply(features: Callable, matrix: Callable, scale: tuple[float, float]) -> Callable:
    def apply(params, images):
        height, width = images.shape[1:3]
        x = resize.apply(resize.to_rgb(images), matrix(height, SIDE), matrix(width, SIDE))
        return features(params, (x - scale[0]) / scale[1])

    return apply


def vision_transformer(path: str | Path, name: str, *, width: int, layers: int, heads: int) -> Space:
    """DINOv2 of any size, from the safetensors file that the transformers package writes and reads.

    Args:
      path: of the file.
      name: of the space.
      width, layers, heads: of the network.

    Raises:
      WeightsError: the file is damaged or of another network.
    """
    return _dinov2(dinov2.load(path, width=width, layers=layers, heads=heads), name)


def _dinov2(pretrained: Pretrained, name: str) -> Space:
    recipe = "shorter side to 224 by Pillow's bicubic, antialiased, central square, ImageNet's mean and deviation"
    width = pretrained.weights["token"].shape[-1]
    return Space(name, width, recipe, pretrained.sha256, _dino_apply(pretrained.apply["features"]), pretrained.weights)


@functools.cache
def _dino_apply(features: Callable) -> Callable:
    side = dinov2.SIDE

    def apply(params, images):
        old = images.shape[1:3]
        new = resize.covered(old[0], old[1], side)
        x = resize.apply(resize.to_rgb(images), resize.bicubic(old[0], new[0]), resize.bicubic(old[1], new[1]),
                         eight_bit=True)
        top, left = (round((n - side) / 2) for n in new)
        x = x[:, top:top + side, left:left + side] / 255
        return features(params, (x - jnp.array(IMAGENET_MEAN)) / jnp.array(IMAGENET_DEVIATION)), None

    return apply
