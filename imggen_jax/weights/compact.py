"""SRVGGNetCompact of Real-ESRGAN (realesr-general-x4v3, realesr-animevideov3) and the many networks of its form."""
from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import jax

from imggen_jax.game import Option
from imggen_jax.nets.compact import Compact
from imggen_jax.weights.layers import Layers, Network, applied, from_unit, once, to_unit

NAME = "SRVGGNetCompact (realesr-general-x4v3, realesr-animevideov3)"

# Beside realesr-general-x4v3 stands a network of the same shape that was trained to leave noise in.
STRONG, WEAK = "-general-", "-general-wdn-"
DENOISE = Option(1.0, 0.0, 1.0, "1 for this network alone, 0 for the one beside it that leaves noise in")


def knows(names: Collection[str]) -> bool:
    """Whether a file with these names is one."""
    return {"body.0.weight", "body.1.weight", "body.2.weight"} <= set(names)


def beside(layers: Layers) -> Path | None:
    """Where the file lies with which this one is blended; None where there is none."""
    name = layers.path.name
    other = layers.path.with_name(name.replace(STRONG, WEAK))
    return other if STRONG in name and WEAK not in name and other.is_file() else None


def read(layers: Layers, weak: Layers | None = None) -> Network:
    """The network of a file, or a blend of two: weights d strong + (1 - d) weak, with d the option "denoise".

    Raises:
      WeightsError: a layer is missing, left over or of another size.
    """
    net, channels = _net(layers)
    weights = {"net": layers.fit(net, _params(layers, net), (1, 4, 4, channels))}
    if weak is not None:
        weights["weak"] = weak.fit(net, _params(weak, net), (1, 4, 4, channels))
    return Network(f"SRVGGNetCompact with {net.layers} layers of width {net.width}", weights,
                   _decode(net, weak is not None), (channels, channels), scale=net.scale, reach=net.layers + 2,
                   options=() if weak is None else (("denoise", DENOISE),))


def _net(layers: Layers) -> tuple[Compact, int]:
    last = layers.count(r"body\.(\d+)\.") - 1
    width, channels, *_ = layers.shape("body.0.weight")
    scale = layers.root(layers.shape(f"body.{last}.weight")[0] / channels, "its number of channels out over that in")
    return Compact(width, last // 2 - 1, scale), channels


def _params(layers: Layers, net: Compact) -> dict:
    numbers = range(net.layers + 1)
    return {**{f"conv_{i}": layers.conv(f"body.{2 * i}") for i in numbers},
            **{f"slope_{i}": layers.array(f"body.{2 * i + 1}.weight", 1) for i in numbers},
            "conv_last": layers.conv(f"body.{2 * len(numbers)}")}


@once
def _decode(net: Compact, blended: bool) -> Callable:
    def decode(weights, condition, options):
        params = weights["net"]
        if blended:
            d = options.get("denoise", DENOISE.default)
            params = jax.tree.map(lambda strong, weak: d * strong + (1 - d) * weak, params, weights["weak"])
        return from_unit(applied(net, params, to_unit(condition["source"])))

    return decode
