"""The built-in dataset `avatars`: 22,000 cartoon faces with their factors and a caption, drawn on this machine.

    builder = avatars.builder("64x64", data_dir=None)
    builder.download_and_prepare(file_format="array_record")   # once; nothing is downloaded, TensorFlow is not needed
    source = builder.as_data_source("train")

An example has `image` uint8 [S,S,3], one ClassLabel per factor of `faces.FACTORS`, `label` (the expression again) and
`caption`, an English sentence that names every factor. Guaranteed on every machine are the decoded pixels, the labels
and the captions; the bytes of the PNG files depend on the zlib that packs them.
"""
from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from imggen_jax.data import faces

SPLITS = ("train", "test")


@dataclasses.dataclass(eq=False)
class AvatarsConfig(tfds.core.BuilderConfig):
    """What one folder of avatars holds. Other sizes, numbers and skews make a config of their own, with its own name.

    size: side in pixels: 16, 32, or 64 or more. train, test: the number of faces.
    weights: factor -> one weight per value, for a known skew (`faces.sample_factors`); None for even factors.
    style: one of `faces.STYLES`; face i has the same outlines in all of them, pixel by pixel.
    """

    size: int = 64
    train: int = 20_000
    test: int = 2_000
    weights: Mapping[str, Sequence[float]] | None = None
    style: str = "plain"


class Avatars(tfds.core.GeneratorBasedBuilder):
    """Cartoon faces whose ten factors are drawn evenly and independently. Face i is the same face in every config."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        AvatarsConfig(name="64x64", description="Faces of 64 by 64 pixels.", size=64),
        AvatarsConfig(name="32x32", description="The same faces, averaged over squares of 2 pixels.", size=32),
        *(AvatarsConfig(name=f"{size}x{size}_{style}", size=size, style=style, description=f"The same faces, {how}.")
          for style, how in (("sketch", "in pencil"), ("night", "by moonlight")) for size in (64, 32)),
    ]

    @property
    def _config(self) -> AvatarsConfig:
        assert isinstance(self.builder_config, AvatarsConfig)
        return self.builder_config

    def _info(self) -> tfds.core.DatasetInfo:
        size = self._config.size
        labels = {name: tfds.features.ClassLabel(names=values) for name, values in faces.FACTORS.items()}
        return self.dataset_info_from_configs(
            description="Cartoon faces drawn by a program from ten named factors, with captions.",
            features=tfds.features.FeaturesDict({
                "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                "label": tfds.features.ClassLabel(names=faces.FACTORS["expression"]),
                "caption": tfds.features.Text(),
                **labels,
            }),
            supervised_keys=("image", "label"),
            disable_shuffling=True,  # faces are independent already, so record i is face i
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        return {"train": self._generate_examples("train", self._config.train),
                "test": self._generate_examples("test", self._config.test)}

    def _generate_examples(self, split: str, number: int) -> Iterator[tuple[int, dict[str, Any]]]:
        config, first = self._config, face_number(split, 0)
        drawn = faces.draw_many(range(first, first + number), config.size, config.weights, style=config.style)
        for index, (factors, image) in enumerate(drawn):
            yield index, {"image": _png(image), "label": factors["expression"],
                          "caption": caption(factors, first + index), **factors}


def builder(config: str = "64x64", data_dir: str | None = None) -> Avatars:
    """The TFDS builder. config: "64x64" or "32x32", or these with "_sketch" or "_night". data_dir: None for TFDS's own.

    Raises ValueError for another config.
    """
    names = [known.name for known in Avatars.BUILDER_CONFIGS]
    if config not in names:
        raise ValueError(f"avatars has no config {config!r}; it has {', '.join(names)}")
    return Avatars(config=config, data_dir=data_dir)


def own_builder(config: AvatarsConfig, data_dir: str) -> Avatars:
    """The TFDS builder of a config that is none of the built-in ones."""
    class Own(Avatars, skip_registration=True):
        name = Avatars.name
        BUILDER_CONFIGS = [config]  # TFDS warns of a config that its builder does not list

    return Own(config=config, data_dir=data_dir)


def face_number(split: str, index: int) -> int:
    """The number, for `faces`, of face `index` in a split: no two splits share one."""
    return (SPLITS.index(split) << 32) + index


def _png(image: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG", compress_level=4)
    file.seek(0)
    return file


# ---------------------------------------------------------------------------------------------------------------------
# Captions

_HAIR = {"bald": "a bald head with {} eyebrows", "short": "short {} hair", "spiky": "spiky {} hair",
         "curly": "curly {} hair", "bob": "{} hair in a bob", "long": "long {} hair", "bun": "{} hair in a bun"}
_NOUNS = ("person", "cartoon character", "avatar")
_TOPS = ("top", "shirt", "jumper")


def caption(factors: Mapping[str, int], face: int) -> str:
    """An English sentence that names every factor; the face's number chooses wording and order."""
    is_ = {name: faces.FACTORS[name][i] for name, i in factors.items()}
    template, noun, top, turn = faces.uniform(face, "words", 4).tolist()
    noun, top = _NOUNS[int(noun * len(_NOUNS))], f"a {is_['clothing_colour']} {_TOPS[int(top * len(_TOPS))]}"
    mood = "neutral-looking" if is_["expression"] == "neutral" else is_["expression"]
    who, ground = _a(f"{mood} {noun}"), f"a {is_['background_colour']} background"
    glasses = "no glasses" if is_["glasses"] == "none" else f"{is_['glasses']} glasses"
    shape = "heart-shaped" if is_["face_shape"] == "heart" else is_["face_shape"]
    traits = [f"{is_['skin_tone']} skin", _a(f"{shape} face"), _HAIR[is_["hair_style"]].format(is_["hair_colour"]),
              f"{is_['eye_colour']} eyes",
              "no facial hair" if is_["facial_hair"] == "none" else f"a {is_['facial_hair']}"]
    start = int(turn * len(traits))
    traits = traits[start:] + traits[:start]
    match int(template * 4):
        case 0:
            text = f"{who} with {_list(traits)} is wearing {_list([top, glasses])} in front of {ground}."
        case 1:
            text = f"on {ground}, there is {who} in {top} with {_list([*traits, glasses])}."
        case 2:
            text = f"the picture shows {who} with {_list([*traits, glasses])}, in {top} against {ground}."
        case _:
            text = f"{who} in {top} on {ground} has {_list([glasses, *traits])}."
    return text[0].upper() + text[1:]


def captions(number: int) -> list[str]:
    """The captions of the first faces of the training split, in every built-in config; nothing is drawn."""
    return [caption(faces.sample_factors(face), face) for face in range(number)]


def _a(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _list(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
