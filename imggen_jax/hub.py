"""The verbs `fetch` and `adapt`: text-to-image models of others, and what is added to them. Nothing heavy is imported.
"""
from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from imggen_jax import flags, streams
from imggen_jax.errors import RunError

FETCH = """\
Downloads a model from the Hugging Face Hub, after it has shown its license and asked. Only safetensors and JSON are
taken. `--model OUT` then uses it.

examples:
  imggen fetch stable-diffusion-v1-5/stable-diffusion-v1-5 --out sd15
  imggen fetch stabilityai/stable-diffusion-xl-base-1.0 --out sdxl --yes
"""
ADAPT = """\
Adds LoRA and words of textual inversion to a text-to-image model of others, or gives it another size or other defaults,
and writes OUT, a small folder that `--model` takes like the model itself. The weights are not copied.

examples:
  imggen adapt --model sd15 --lora pen.safetensors:0.8 --out sd15_pen
  imggen adapt --model sd15 --word cat-toy.safetensors --out sd15_toy           # in prompts by the word that it prints
  imggen adapt --model sd15 --decoder taesd --option steps=12 --out sd15_draft      # quick, for a first look
  imggen adapt --model sdxl --size 768x1152 --option steps=20 --option guidance=6 --out sdxl_tall
"""


def fetch(words: Sequence[str]) -> int:
    """The verb `fetch`."""
    parser = flags.Parser("fetch", FETCH)
    parser.add_argument("repo", metavar="OWNER/NAME", help="repository of the model")
    flags.add_out(parser)
    parser.add_argument("--yes", action="store_true", help="accept the license without being asked")
    args = parser.parse_args(words)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", args.repo):
        raise RunError(f"{args.repo!r} is no repository; write OWNER/NAME")
    from imggen_jax.pipelines import fetching

    offer = fetching.look(args.repo)
    print(f"{offer.repo}: license {offer.license}, {offer.size / 2**30:.1f} GiB; its text: "
          f"https://huggingface.co/{offer.repo}", file=sys.stderr)
    if not args.yes and not _agreed(input):
        raise RunError("nothing was downloaded; the license was not accepted")
    fetching.fetch(offer, Path(args.out), lambda line: print(line, file=sys.stderr))
    streams.say([f"Fetched. Pictures: {flags.program()} generate --model {args.out} --num 1 "
                 "--given text=\"a red house\" --out house.png"])
    return 0


def _agreed(ask: Callable[[str], str]) -> bool:
    if not sys.stdin.isatty():
        raise RunError("the license has to be accepted: run this in a terminal, or add --yes")
    return ask("Do you accept this license? [y/N] ").strip().lower() in ("y", "yes")


def adapt(words: Sequence[str], start: Callable[[], None]) -> int:
    """The verb `adapt`. start: lets JAX start."""
    parser = flags.Parser("adapt", ADAPT)
    flags.add_model(parser, what="of others, to be adapted")
    flags.add_out(parser)
    parser.add_argument("--lora", action="append", default=[], metavar="FILE[:X]",
                        help="a LoRA and how strongly it counts (default: 1); may be repeated")
    parser.add_argument("--word", action="append", default=[], metavar="FILE[:WORD]",
                        help="a file of textual inversion and how prompts name it; may be repeated")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=X",
                        help="a default of an option of the model, as steps=20; may be repeated")
    parser.add_argument("--size", type=size, metavar="WxH", help="of the pictures (default: the model's)")
    parser.add_argument("--decoder", type=flags.path, metavar="DIR",
                        help="a small decoder, TAESD in diffusers' layout, in the place of the model's own")
    args = parser.parse_args(words)
    if not (args.lora or args.word or args.size or args.option or args.decoder):
        raise RunError("nothing is to be changed; give --lora, --word, --size, --decoder or --option")
    options = flags.numbers(args.option, "--option")
    loras = [_lora(text) for text in args.lora]
    named = [_word(text) for text in args.word]
    start()
    from imggen_jax.pipelines import adapted

    said = adapted.write(args.model, args.out, loras=loras, words=named, size=args.size, options=options,
                         decoder=args.decoder)
    streams.say([*said, f"Adapted: {args.out}"])
    return 0


def _lora(text: str) -> tuple[str, float]:
    file, colon, strength = text.rpartition(":")
    if colon and re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)", strength):
        return flags.path(file), float(strength)
    return flags.path(text), 1.0


def _word(text: str) -> tuple[str, str | None]:
    file, colon, word = text.rpartition(":")
    return (flags.path(file), word) if colon and not Path(text).exists() else (flags.path(text), None)


def size(text: str) -> tuple[int, int]:
    """The type of a flag that takes WIDTHxHEIGHT."""
    if not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT in pixels, as 768x512")
    width, height = text.split("x")
    return int(width), int(height)
