"""Generators as the authors' PyTorch code of CycleGAN and pix2pix, and of CUT, saves them: latest_net_G.pth."""
from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from imggen_jax.game import Option, PyTree
from imggen_jax.nets.cyclegan import MULTIPLE, ResNet, UNet
from imggen_jax.weights.layers import Layers, Network, applied, once

NAME = "generators of CycleGAN, pix2pix and CUT (resnet, unet)"

# Batch normalization alone has a choice. The authors' test script normalizes by the picture's own statistics.
OWN = Option(1, 0, 1, "1: normalized by the picture's own statistics, as in the authors' test; 0: by the training's")


def knows(names: Collection[str]) -> bool:
    """Whether a file with these names is one."""
    return _is_unet(names) or ("model.1.weight" in names
                               and any(re.match(r"model\.\d+\.conv_block\.1\.weight", name) for name in names))


def _is_unet(names: Collection[str]) -> bool:
    return {"model.model.0.weight", "model.model.1.model.1.weight"} <= set(names)


def read(layers: Layers) -> Network:
    """The network of a file.

    Raises:
      WeightsError: a layer is missing, left over or of another size.
    """
    return _unet(layers) if _is_unet(layers.state) else _resnet(layers)


def _resnet(layers: Layers) -> Network:
    layers = layers.renamed(lambda name: name.removeprefix("model."))
    # CUT's filters are always binomial; each takes a place in the list of layers.
    filtered = any(name.endswith(".filt") for name in layers.state)
    blocks = layers.count(r"(\d+)\.conv_block\.")
    width = layers.shape("1.weight")[0]
    step = 4 if filtered else 3
    first = 4 + 2 * step   # block
    after = first + blocks
    # Where the convolutions before and after the blocks stand; each is followed by its normalization.
    places = {"first": 1, "down1": 4, "down2": 4 + step,
              **{f"up{n + 1}": after + n * step + filtered for n in range(2)}}
    norm: Any = _normalization(layers, "2")
    params: dict[str, PyTree] = {
        f"conv_{name}": layers.conv(f"{at}", turned=name in ("up1", "up2") and not filtered)
        for name, at in places.items()}
    params |= {f"norm_{name}": layers.batch_norm(f"{at + 1}") for name, at in places.items() if norm["batch"]}
    params["blocks"] = layers.stack([_block(layers, f"{first + i}.conv_block", norm["batch"]) for i in range(blocks)])
    params["conv_last"] = layers.conv(f"{after + 2 * step + 1}")
    layers.ignore(r"\.filt$")
    source, channels = params["conv_first"]["kernel"].shape[2], params["conv_last"]["kernel"].shape[3]
    net = ResNet(channels, width, blocks, filtered, bias="bias" in params["conv_first"], **norm)
    layers.fit(net, params, (1, 8, 8, source))
    kind = "CUT's generator" if filtered else "CycleGAN's generator"
    return _network(net, params, f"{kind} with {blocks} blocks of width {4 * width}", (source, channels), MULTIPLE)


def _block(layers: Layers, name: str, batch: bool) -> PyTree:
    second = 5 if f"{name}.5.weight" in layers and layers.state[f"{name}.5.weight"].ndim == 4 else 6  # with dropout
    return {f"conv_{n}": layers.conv(f"{name}.{at}") for n, at in ((1, 1), (2, second))} | (
        {f"norm_{n}": layers.batch_norm(f"{name}.{at + 1}") for n, at in ((1, 1), (2, second))} if batch else {})


def _unet(layers: Layers) -> Network:
    # A level is a list of its convolution down, the level below it, and its convolution up; but the outermost one is
    # preceded by an activation.
    layers = layers.renamed(lambda name: name.removeprefix("model."))
    depth = 1 + max(name.count(".model.") for name in layers.state)
    levels = ["model.", "model.1.model."] + ["model.1.model." + "3.model." * n for n in range(1, depth - 1)]
    norm: Any = _normalization(layers, f"{levels[1]}2" if depth > 2 else f"{levels[1]}4")
    params: dict[str, PyTree] = {}
    for n, level in enumerate(levels):
        outer, inner = n == 0, n == depth - 1
        params[f"conv_down{n}"] = layers.conv(f"{level}{0 if outer else 1}")
        up = 3 if outer or inner else 5
        params[f"conv_up{n}"] = layers.conv(f"{level}{up}", turned=True)
        if norm["batch"] and not outer:
            params[f"norm_up{n}"] = layers.batch_norm(f"{level}{up + 1}")
        if norm["batch"] and not outer and not inner:
            params[f"norm_down{n}"] = layers.batch_norm(f"{level}2")
    source, channels = params["conv_down0"]["kernel"].shape[2], params["conv_up0"]["kernel"].shape[3]
    widths = tuple(params[f"conv_down{n}"]["kernel"].shape[3] for n in range(depth))
    net = UNet(channels, widths, bias="bias" in params["conv_down0"], **norm)
    multiple = 2**depth
    layers.fit(net, params, (1, multiple, multiple, source))
    return _network(net, params, f"pix2pix's U-Net of {depth} levels", (source, channels), multiple)


def _normalization(layers: Layers, name: str) -> dict[str, bool]:
    """Batch normalization has parameters; what instance normalization once kept of the training was never used."""
    batch = f"{name}.weight" in layers
    if not batch:
        layers.ignore(r"\.running_(mean|var)$")
    return {"batch": batch}


def _network(net: nn.Module, params: PyTree, name: str, channels: tuple[int, int], multiple: int) -> Network:
    options = (("own_statistics", OWN),) if getattr(net, "batch") else ()
    return Network(name, {"net": params}, _decode(net), channels, multiple=multiple, options=options)


@once
def _decode(net: nn.Module) -> Callable:
    def decode(weights, condition, options):
        own = bool(options.get("own_statistics", OWN.default))
        return jnp.clip(applied(net.clone(own=own), weights["net"], condition["source"]), -1, 1)

    return decode
