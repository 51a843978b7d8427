"""SPAN, with its convolutions of several parts fused to one each."""
from __future__ import annotations

import re
from collections.abc import Callable, Collection

import numpy as np

from imggen_jax.nets.span import BLOCKS, MEAN, Span
from imggen_jax.weights.layers import Layers, Network, applied, from_unit, once, to_unit

NAME = "SPAN"


def knows(names: Collection[str]) -> bool:
    """Whether a file with these names is one."""
    return "conv_cat.weight" in names and any(
        f"block_1.c1_r.{part}.weight" in names for part in ("sk", "eval_conv"))


def read(layers: Layers) -> Network:
    """The network of a file.

    Raises:
      WeightsError: a layer is missing, left over or of another size.
    """
    params = {"conv_first": _fused(layers, "conv_1"), "conv_body": _fused(layers, "conv_2"),
              "conv_join": layers.conv("conv_cat"), "conv_last": layers.conv("upsampler.0"),
              **{f"block_{i}": {f"conv_{k}": _fused(layers, f"block_{i}.c{k}_r") for k in (1, 2, 3)}
                 for i in range(1, BLOCKS + 1)}}
    source, width = params["conv_first"]["kernel"].shape[2:]
    scale = layers.root(params["conv_last"]["kernel"].shape[3] / source, "its number of channels out over that in")
    normalized = "no_norm" not in layers
    if normalized and source != len(MEAN):
        raise layers.wrong(f"it takes pictures of {source} channels, and the mean that it takes away has {len(MEAN)}")
    layers.ignore("^no_norm$")
    net = Span(source, width, scale, normalized)
    weights = {"net": layers.fit(net, params, (1, 4, 4, source))}
    return Network(f"SPAN of width {width}", weights, _decode(net), (source, source), scale=scale,
                   reach=3 * BLOCKS + 3)


@once
def _decode(net: Span) -> Callable:
    def decode(weights, condition, options):
        del options
        return from_unit(applied(net, weights["net"], to_unit(condition["source"])))

    return decode


def _fused(layers: Layers, name: str) -> dict[str, np.ndarray]:
    """One 3x3 convolution of its training form: three in a row, 1x1, 3x3 and 1x1, plus a 1x1 beside them.

    A file may hold the fused one too, made at an earlier time of the training; it is used where nothing else is there.
    """
    if f"{name}.sk.weight" not in layers:
        return layers.conv(f"{name}.eval_conv")
    layers.ignore(rf"^{re.escape(name)}\.eval_conv\.")
    one, three, last = (layers.conv(f"{name}.conv.{i}") for i in range(3))
    skip = layers.conv(f"{name}.sk")
    try:
        kernel = np.einsum("ab,hwbc,cd->hwad", one["kernel"][0, 0], three["kernel"], last["kernel"][0, 0])
        bias = (one["bias"] @ three["kernel"].sum((0, 1)) + three["bias"]) @ last["kernel"][0, 0] + last["bias"]
        kernel[1, 1] += skip["kernel"][0, 0]
        return {"kernel": kernel, "bias": bias + skip["bias"]}
    except (KeyError, ValueError):
        raise layers.wrong(f"the parts of {name} do not fit together") from None
