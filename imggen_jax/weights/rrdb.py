"""RRDBNet: ESRGAN, Real-ESRGAN (x4plus, x2plus, x4plus_anime_6B, RealESRNet) and BSRGAN, in all spellings of names."""
from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection

from imggen_jax.nets.rrdb import RRDBNet
from imggen_jax.weights.layers import Layers, Network, applied, from_unit, once, to_unit

OLD = "model.1.sub.0.RDB1.conv1.0.weight"
NAME = "RRDBNet (ESRGAN, Real-ESRGAN, BSRGAN)"

BSRGAN = ((r"^RRDB_trunk\.(\d+)\.RDB(\d)\.", r"body.\1.rdb\2."), (r"^trunk_conv\.", "conv_body."),
          (r"^upconv(\d)\.", r"conv_up\1."), (r"^HRconv\.", "conv_hr."))


def knows(names: Collection[str]) -> bool:
    """Whether a file with these names is one."""
    return any(first in names for first in ("body.0.rdb1.conv1.weight", "RRDB_trunk.0.RDB1.conv1.weight", OLD))


def read(layers: Layers) -> Network:
    """The network of a file.

    Raises:
      WeightsError: a layer is missing, left over or of another size.
    """
    layers = layers.renamed(_spelling(layers.state))
    blocks, doublings = layers.count(r"body\.(\d+)\."), layers.count(r"conv_up(\d+)\.")
    width, entering, *_ = layers.shape("conv_first.weight")
    channels, growth = (layers.shape(f"{name}.weight")[0] for name in ("conv_last", "body.0.rdb1.conv1"))
    # Real-ESRGAN's networks of scale 2 and 1 see 2x2 and 4x4 pixels as one.
    folded = {4 * channels: 2, 16 * channels: 4}.get(entering, 1)
    if folded > 2**doublings:
        raise layers.wrong(f"its scale would be {2**doublings}/{folded}")
    net = RRDBNet(channels, width, growth, blocks, doublings, folded)
    params = {name: layers.conv(name) for name in (
        "conv_first", "conv_body", *(f"conv_up{n + 1}" for n in range(doublings)), "conv_hr", "conv_last")}
    params["blocks"] = layers.stack([{
        f"dense_{j}": {f"conv_{k}": layers.conv(f"body.{i}.rdb{j}.conv{k}") for k in range(1, 6)}
        for j in range(1, 4)} for i in range(blocks)])
    source = entering // folded**2
    weights = {"net": layers.fit(net, params, (1, 4, 4, source))}
    # 15 convolutions a block and 2 more at the low resolution; those above add less than 2 of its pixels.
    return Network(f"RRDBNet with {blocks} blocks of width {width}", weights, _decode(net), (source, channels),
                   scale=2**doublings // folded, reach=folded * (15 * blocks + 4), multiple=folded)


@once
def _decode(net: RRDBNet) -> Callable:
    def decode(weights, condition, options):
        del options
        return from_unit(applied(net, weights["net"], to_unit(condition["source"])))

    return decode


def _spelling(names: Collection[str]) -> Callable[[str], str]:
    """What turns a name of any of the three spellings into Real-ESRGAN's."""
    if OLD not in names:
        return lambda name: functools.reduce(lambda name, rule: re.sub(*rule, name), BSRGAN, name)
    # ESRGAN's first: a list of layers, each doubling being two of them and an activation.
    last = max(int(match[1]) for name in names if (match := re.match(r"model\.(\d+)\.", name)))
    body = max(int(match[1]) for name in names if (match := re.match(r"model\.1\.sub\.(\d+)\.", name)))
    rules = {"model.0.": "conv_first.", f"model.1.sub.{body}.": "conv_body.", f"model.{last - 2}.": "conv_hr.",
             f"model.{last}.": "conv_last.", **{f"model.{3 * n}.": f"conv_up{n}." for n in range(1, last // 3)}}

    def rename(name: str) -> str:
        name = re.sub(r"^model\.1\.sub\.(\d+)\.RDB(\d)\.(conv\d)\.0\.", r"body.\1.rdb\2.\3.", name)
        start = next((start for start in rules if name.startswith(start)), "")
        return rules.get(start, "") + name.removeprefix(start)

    return rename
