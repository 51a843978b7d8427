"""LaMa's generator (big-lama), from its TorchScript file or its state dict."""
from __future__ import annotations

from collections.abc import Callable, Collection

import jax.numpy as jnp

from imggen_jax.game import PyTree
from imggen_jax.nets.lama import LaMa
from imggen_jax.weights.layers import Layers, Network, applied, from_unit, once, to_unit

NAME = "LaMa (big-lama)"

PREFIXES = ("generator.model.", "model.model.", "model.")
TRAINING = r"^(discriminator|evaluator|val_evaluator|test_evaluator|loss_\w+)\."  # what a checkpoint has beside it
FIRST = "1.ffc.convl2l.weight"


def knows(names: Collection[str]) -> bool:
    """Whether a file with these names is one."""
    return any(prefix + FIRST in names for prefix in PREFIXES)


def read(layers: Layers) -> Network:
    """The network of a file.

    Raises:
      WeightsError: a layer is missing, left over or of another size.
    """
    prefix = next(prefix for prefix in PREFIXES if prefix + FIRST in layers)
    layers = layers.renamed(lambda name: name.removeprefix(prefix))
    layers.ignore(TRAINING)
    deep, blocks = layers.count(r"(\d+)\.ffc\."), layers.count(r"(\d+)\.conv1\.")
    halvings = deep - 1
    width = layers.shape(FIRST)[0]
    numbers = [deep + 1 + i for i in range(blocks)]
    inside = layers.shape(f"{numbers[0]}.conv1.ffc.convg2g.conv1.0.weight")[0] if numbers else 0
    ups = [deep + 2 + blocks + 3 * n for n in range(halvings)]
    last = 3 + deep + blocks + 3 * halvings
    params: dict[str, PyTree] = {
        "first": _ffc(layers, 1), **{f"down_{n}": _ffc(layers, n + 1) for n in range(1, halvings)},
        f"down_{halvings}_local": _ffc(layers, deep),
        f"down_{halvings}_global": layers.folded(layers.conv(f"{deep}.ffc.convl2g"), f"{deep}.bn_g"),
        "blocks": layers.stack([{f"conv_{k}": _fourier_conv(layers, f"{i}.conv{k}") for k in (1, 2)}
                                for i in numbers]),
        **{f"up_{n + 1}": layers.folded(layers.conv(f"{at}", turned=True), f"{at + 1}") for n, at in enumerate(ups)},
        "last": layers.conv(f"{last}"),
    }
    channels, local = (params[name]["kernel"].shape[3] for name in ("last", f"down_{halvings}_local"))
    net = LaMa(channels, width, local, inside, halvings, blocks)
    side = 2 * 2**halvings
    shapes = (1, side, side, channels), (1, side, side, 1)
    weights = {"net": layers.fit(net, params, *shapes)}
    return Network(f"LaMa with {blocks} blocks, {width} channels at first", weights, _decode(net), (channels, channels),
                   multiple=2**halvings, needs=("source", "mask"))


def _ffc(layers: Layers, number: int) -> PyTree:
    """A layer of local channels only."""
    return layers.folded(layers.conv(f"{number}.ffc.convl2l"), f"{number}.bn_l")


def _fourier_conv(layers: Layers, name: str) -> PyTree:
    """Both sums are normalized as sums: their scale goes to both convolutions, their shift to one."""
    ffc, spectral, l, g = f"{name}.ffc", f"{name}.ffc.convg2g", f"{name}.bn_l", f"{name}.bn_g"
    return {
        "local_local": layers.folded(layers.conv(f"{ffc}.convl2l"), l),
        "global_local": layers.folded(layers.conv(f"{ffc}.convg2l"), l, shift=False),
        "local_global": layers.folded(layers.conv(f"{ffc}.convl2g"), g),
        "global_global": {
            "conv_1": layers.folded(layers.conv(f"{spectral}.conv1.0"), f"{spectral}.conv1.1"),
            "fourier": {"conv": layers.folded(layers.conv(f"{spectral}.fu.conv_layer"), f"{spectral}.fu.bn")},
            "conv_2": layers.folded(layers.conv(f"{spectral}.conv2"), g, shift=False)},
    }


@once
def _decode(net: LaMa) -> Callable:
    def decode(weights, condition, options):
        del options
        # What a lossy file or a resize left near black is no part of the mask.
        mask = (condition["mask"] > 0.5).astype(jnp.float32)
        return from_unit(applied(net, weights["net"], to_unit(condition["source"]), mask))

    return decode
