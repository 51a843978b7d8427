"""AdaIN's two files, vgg_normalised.pth and decoder.pth (github.com/naoto0804/pytorch-AdaIN)."""
from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from imggen_jax.game import Option, PyTree
from imggen_jax.nets.adain import Decoder, Encoder, adapt
from imggen_jax.weights.layers import Layers, Network, applied, from_unit, once, to_unit

NAME = "AdaIN (decoder.pth with vgg_normalised.pth beside it)"

ENCODER, DECODER = "vgg_normalised", "decoder"  # names of the files, before their ending
# Places of the convolutions in the two lists of layers, by group; sides are halved or doubled between the groups.
DOWN = ((2, 5), (9, 12), (16, 19, 22, 25), (29,))
UP = ((1,), (5, 8, 11, 14), (18, 21), (25, 28))
STRENGTH = Option(1.0, 0.0, 1.0, "how much of the style: 0 leaves the picture as the network can repeat it")


def knows(names: Collection[str]) -> bool:
    """Whether a file with these names is one of the two."""
    return _is_encoder(names) or {f"{n}.weight" for group in UP for n in group} <= set(names)


def _is_encoder(names: Collection[str]) -> bool:
    return {"0.weight", *(f"{n}.weight" for group in DOWN for n in group)} <= set(names)


def beside(layers: Layers) -> Path:
    """Where the other file of the two lies: in the same folder, with the same ending."""
    return layers.path.with_stem(DECODER if _is_encoder(layers.state) else ENCODER)


def read(layers: Layers, other: Layers) -> Network:
    """The network of both files, in either order.

    Raises:
      WeightsError: a layer is missing, left over or of another size.
    """
    encoder, decoder = (layers, other) if _is_encoder(layers.state) else (other, layers)
    down = {"colors": encoder.conv("0"), **_groups(encoder, DOWN)}
    up = _groups(decoder, UP)
    encoder.ignore(r"^(3[2-9]|4\d|5\d)\.")  # the deeper layers of VGG-19
    source = down["colors"]["kernel"].shape[2]
    first, second = Encoder(_widths(down, DOWN)), Decoder(_widths(up, UP))
    weights = {"encoder": encoder.fit(first, down, (1, 16, 16, source)),
               "decoder": decoder.fit(second, up, (1, 2, 2, _widths(down, DOWN)[-1][-1]))}
    channels = _widths(up, UP)[-1][-1]
    return Network("AdaIN", weights, _decode(first, second), (source, channels), needs=("source", "style"),
                   options=(("strength", STRENGTH),))


def _groups(layers: Layers, places: tuple[tuple[int, ...], ...]) -> dict[str, PyTree]:
    return {f"conv_{group}_{layer}": layers.conv(f"{at}")
            for group, numbers in enumerate(places) for layer, at in enumerate(numbers)}


def _widths(params: PyTree, places: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(params[f"conv_{group}_{layer}"]["kernel"].shape[3] for layer in range(len(numbers)))
                 for group, numbers in enumerate(places))


@once
def _decode(encoder: Encoder, decoder: Decoder) -> Callable:
    def decode(weights, condition, options):
        strength = options.get("strength", STRENGTH.default)
        source = condition["source"]
        content, style = (applied(encoder, weights["encoder"], to_unit(image))
                          for image in (source, condition["style"]))
        mixed = strength * adapt(content, style) + (1 - strength) * content
        made = applied(decoder, weights["decoder"], mixed)
        return from_unit(made[:, :source.shape[1], :source.shape[2]])

    return decode
