"""The parser of the command line, and the flags that several verbs share. Nothing heavy is imported."""
from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from imggen_jax import prompts
from imggen_jax.errors import RunError

OTHER_FORMATS = {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


def program() -> str:
    """How this command was started: "imggen", or "python -m imggen_jax.main"."""
    return "imggen" if Path(sys.argv[0]).stem == "imggen" else "python -m imggen_jax.main"


class Parser(argparse.ArgumentParser):
    """argparse's, with errors of one line and a suggestion for a misspelled flag."""

    def __init__(self, verb: str, description: str, epilog: str | None = None, *, others: str | None = None):
        """`others` is a regular expression for words that are not flags of this parser, and are left to others."""
        self._others = others
        examples = re.sub(r"^  imggen ", f"  {program()} ", description, flags=re.MULTILINE)
        super().__init__(prog=f"{program()} {verb}", description=examples, epilog=epilog,
                         formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Ends with exit code 2."""
        self.exit(2, f"error: {' '.join(message.split())}; see {self.prog} --help\n")

    def parse_known_args(self, args=None, namespace=None):
        """As argparse's, but a misspelled flag is named before a required one is missed."""
        for word in args or ():
            name = word.partition("=")[0]
            known = name in self._option_string_actions or (self._others and re.match(self._others, word))
            if re.match("--[a-z]", word) and not known:
                near = difflib.get_close_matches(name, [one for one in self._option_string_actions if len(one) > 2], 1)
                self.error(f"unknown argument {name!r}{f', did you mean {near[0]}?' if near else ''}")
        found, rest = super().parse_known_args(args, namespace)
        if getattr(found, "adapter", None):
            if found.model is None:
                self.error("--adapter is given without --model")
            found.model = "+".join([found.model, *found.adapter])
        return found, rest


def path(text: str) -> str:
    """The type of a flag that takes a path: not empty, with ~ for the home folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty; write . for the current folder")
    return os.path.expanduser(text)


def adapter(text: str) -> str:
    """The type of --adapter: FILE.safetensors or FILE.safetensors:0.8."""
    if not re.fullmatch(r"[^+]+\.safetensors(:(\d+(\.\d*)?|\.\d+))?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not FILE.safetensors or FILE.safetensors:0.8, without a plus")
    return os.path.expanduser(text)


def label(text: str) -> int | str:
    """The type of a flag that takes a class: #2 is an index, anything else a name."""
    return int(text[1:]) if re.fullmatch(r"#\d{1,9}", text) else text


def add_model(parser: argparse.ArgumentParser, *, required: bool = True, what: str = "to make pictures with") -> None:
    """--model, whose other name is --workdir; in args.model."""
    parser.add_argument("--model", "--workdir", dest="model", required=required, type=path, metavar="M",
                        help=f"model {what}: the folder of a run, an exported folder, or the name of a zoo model")
    parser.add_argument("--adapter", action="append", type=adapter, metavar="F[:X]",
                        help="what personalize has learned, and how much of it, 0 to 2 (default: 1); may be repeated")


def add_out(parser: argparse.ArgumentParser, *, one: bool = False) -> None:
    """--out."""
    file = "; or a .png file for the one picture alone" if one else ""
    parser.add_argument("--out", required=True, type=path, metavar="D",
                        help=f"folder to write to; made if needed{file}")


def add_label(parser: argparse.ArgumentParser) -> None:
    """--label."""
    parser.add_argument("--label", type=label, metavar="L",
                        help="name of a class, or its index as --label=#2, for class-conditional models")


def add_prompt(parser: argparse.ArgumentParser) -> None:
    """--prompt and --negative."""
    parser.add_argument("--prompt", metavar="P", help="what the picture shows, for models that take a text; parts with "
                        "weights as in \"smiling::2 beard::-0.5\"")
    parser.add_argument("--negative", metavar="P", help="what the picture is to be kept from, for models that take it")


def given(args: argparse.Namespace) -> dict[str, Any]:
    """What the flags of `add_label` and `add_prompt` say that pictures are conditioned on.

    Raises:
      RunError: a prompt that cannot be read.
    """
    said = {"label": args.label, "text": None if args.prompt is None else prompts.parse(args.prompt),
            "negative": None if args.negative is None else prompts.parse(args.negative)}
    return {name: value for name, value in said.items() if value is not None}


def pairs(words: Sequence[str], flag: str) -> dict[str, str]:
    """["a=b", ...] as a dictionary.

    Raises:
      RunError: a word of another form, or a name that is given twice.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (equals and name.isidentifier()):
            raise RunError(f"{flag} {word!r} is not of the form NAME=VALUE")
        if name in found:
            raise RunError(f"{flag} {name} is given twice")
        found[name] = value
    return found


def numbers(words: Sequence[str], flag: str) -> dict[str, float]:
    """["steps=32", ...] as a dictionary of numbers; whole ones are integers.

    Raises:
      RunError: a value that is not a number, or a word of another form.
    """
    found = {}
    for name, value in pairs(words, flag).items():
        try:
            found[name] = int(value) if re.fullmatch(r"[+-]?\d+", value) else float(value)
        except ValueError:
            raise RunError(f"{flag} {name}={value}: {value!r} is not a number") from None
    return found


def commas(text: str, flag: str) -> list[str]:
    """"a,b" as a list, without empty parts.

    Raises:
      RunError: nothing is left.
    """
    if not (parts := [part.strip() for part in text.split(",") if part.strip()]):
        raise RunError(f"{flag} {text!r} names nothing; give at least one, separated by commas")
    return parts


def weights(text: str) -> list[float]:
    """--weights "0.7,0.3" as numbers. Raises RunError for what are none."""
    words = commas(text, "--weights")
    try:
        return [float(word) for word in words]
    except ValueError:
        raise RunError(f"weights {text!r} are not numbers; as in --weights 0.7,0.3") from None


@contextlib.contextmanager
def folder(out: str, file: str | None, *, inputs: Sequence[str] = ()) -> Iterator[str]:
    """The folder to write to for --out: `out` itself, or a temporary one from which one file becomes `out`.

    Args:
      out: a folder, or a file with the suffix of `file`.
      file: name in the folder of what alone is wanted if `out` is a file; None where there are several.
      inputs: files that must not be overwritten.

    Raises:
      RunError: `out` is a file and cannot be written, overwrites an input, or several pictures are made.
    """
    target, suffix = Path(out), Path(file or ".png").suffix or ".png"
    kind = target.suffix.lower()
    if target.is_dir() or kind not in {suffix, ".png", *OTHER_FORMATS}:
        yield out
        return
    if kind != suffix:
        raise RunError(f"--out {out} ends in {kind}; give a folder, or a file that ends in {suffix}")
    if file is None:
        raise RunError(f"--out {out} is a file, and several pictures are made; give a folder")
    if target.exists() and any(Path(one).exists() and target.samefile(one) for one in inputs):
        raise RunError(f"--out {out} is the picture itself; choose another file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(dir=target.parent, prefix=".imggen_")
    except OSError as error:
        raise RunError(f"cannot write to {target.parent} ({error.strerror or error}); choose another --out") from error
    with temporary as place:
        yield place
        os.replace(Path(place) / file, target)
        if target.suffix.lower() == ".png":
            from imggen_jax.provenance import private

            private.keep(target.parent, private.read(Path(place)))  # the texts, which stay beside the picture
