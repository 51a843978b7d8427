"""The words of commands, from what a page was told: pure functions. What is as by default is left out."""
from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Words = list[str]


class Wanted(NamedTuple):
    """What the Create page asks for."""

    prompt: str = ""
    num: int = 4
    seed: int = 0
    negative: str = ""
    guidance: float | None = None
    steps: int | None = None
    chaos: float = 0
    stylize: float = 100
    weird: float = 0
    truncation: float = 1
    tile: bool = False
    style: str = ""           # file of a picture
    label: str = ""


def shown(words: Sequence[str]) -> str:
    """A command as one types it."""
    return f"imggen {shlex.join(words)}"


def process(words: Sequence[str]) -> Words:
    """The words of a process of its own that runs a command."""
    return [sys.executable, *"-m imggen_jax.main".split(), *words]


def generate(model: str, text: bool, wanted: Wanted) -> Words:
    """text: whether the model takes a prompt; what belongs to one is left out where it does not."""
    words = ["generate", "--model", model, "--num", f"{wanted.num:d}", "--seed", f"{wanted.seed:d}"]
    if wanted.label:
        words += ["--label", wanted.label]
    if wanted.truncation != 1:
        words += ["--truncation", f"{wanted.truncation:g}"]
    if not text:
        return words
    words += _text("--prompt", wanted.prompt)
    words += _text("--negative", wanted.negative) if wanted.negative.strip() else []
    for flag, value, default in (("guidance", wanted.guidance, None), ("steps", wanted.steps, None),
                                 ("chaos", wanted.chaos, 0), ("stylize", wanted.stylize, 100),
                                 ("weird", wanted.weird, 0)):
        words += [] if value is None or value == default else [f"--{flag}", f"{value:g}"]
    words += ["--tile"] if wanted.tile else []
    return words + (["--style-of", wanted.style] if wanted.style else [])


def vary(model: str, image: str, num: int = 6, strength: float = 0.3, draw: int = 0) -> Words:
    return ["vary", "--model", model, "--image", image, "--num", f"{num:d}", "--strength", f"{strength:g}",
            *(["--draw", f"{draw:d}"] if draw else [])]


def breed(model: str, images: Sequence[str], num: int = 6, mutate: float = 0.3, draw: int = 0) -> Words:
    return ["breed", "--model", model, "--parents", ",".join(images), "--num", f"{num:d}", "--mutate", f"{mutate:g}",
            *(["--draw", f"{draw:d}"] if draw else [])]


def interpolate(model: str, images: Sequence[str], frames: int = 24) -> Words:
    return ["interpolate", "--model", model, "--images", ",".join(images), "--frames", f"{frames:d}"]


def edit(model: str, image: str, amounts: Mapping[str, float]) -> Words:
    """amounts: gene -> how far; those of 0 are left out."""
    moved = [word for gene, amount in amounts.items() if amount for word in ("--gene", f"{gene}:{amount:+g}")]
    return ["edit", "--model", model, "--image", image, *moved]


def project(model: str, image: str, prompt: str = "") -> Words:
    return ["project", "--model", model, "--image", image, *(_text("--prompt", prompt) if prompt.strip() else [])]


def upscale(image: str, scale: int = 4) -> Words:
    return ["upscale", image, "--scale", f"{scale:d}"]


def fill(model: str, image: str, mask: str, prompt: str, num: int = 4, seed: int = 0) -> Words:
    return ["generate", "--model", model, "--image", image, "--mask", mask, *_text("--prompt", prompt),
            "--num", f"{num:d}", *(["--seed", f"{seed:d}"] if seed else [])]


def remove(image: str, mask: str, quality: str = "normal") -> Words:
    return ["remove", image, "--mask", mask, *_quality(quality)]


def outpaint(image: str, sides: Mapping[str, int], quality: str = "normal") -> Words:
    """sides: "left", "right", "top", "bottom" -> pixels."""
    return ["outpaint", image, *(word for side, pixels in sides.items() if pixels
                                 for word in (f"--{side}", f"{pixels:d}")), *_quality(quality)]


def stylize(image: str, style: str, strength: float = 1.0, quality: str = "normal") -> Words:
    return ["stylize", image, "--style", style, *(["--strength", f"{strength:g}"] if strength != 1 else []),
            *_quality(quality)]


def texture(image: str, width: int, height: int, quality: str = "normal") -> Words:
    return ["texture", image, "--size", f"{width:d}x{height:d}", *_quality(quality)]


def tile(image: str, quality: str = "normal") -> Words:
    return ["tile", image, *_quality(quality)]


def translate(verb: str, image: str, model: str) -> Words:
    """verb: "translate" or "sketch"."""
    return [verb, image, "--model", model]


def look(folder: str, size: int) -> Words:
    return ["data", "--folder", folder, "--size", f"{size:d}"]


def train(config: str, folder: str, workdir: str, size: int, images: int) -> Words:
    """A run on a folder of pictures; how often it shows and saves follows from its length."""
    every = max(500, images // 40)
    return ["train", "--config", config, "--workdir", workdir, f"--config.data.folder={folder}",
            f"--config.data.size={size:d}", f"--config.train.images={images:d}", f"--config.log.every={every:d}",
            f"--config.log.show={2 * every:d}", f"--config.log.save={2 * every:d}"]


def export(model: str, out: str) -> Words:
    return ["export", "--model", model, "--out", out]


def _text(flag: str, text: str) -> Words:
    """A flag with a text, which may begin as a flag does."""
    return [f"{flag}={text.strip()}"] if text.strip().startswith("-") else [flag, text.strip()]


def _quality(quality: str) -> Words:
    return [] if quality == "normal" else ["--quality", quality]
