"""The flags of prompts. Nothing heavy is imported before a verb runs."""
from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imggen_jax import flags, prompts
from imggen_jax.errors import RunError

if TYPE_CHECKING:
    from imggen_jax.prompting.wishes import Wishes

NUM = 4                # pictures of a prompt
LONGEST = 2_000_000    # bytes of a file of prompts
_DEFAULTS = {"negative": None, "no": None, "guidance": None, "steps": None, "chaos": 0.0, "stylize": 100.0,
             "weird": 0.0, "quality": 1.0, "draft": False, "size": None, "repeat": 1, "zoom_out": None, "pan": None,
             "tile": False, "style_of": None}
LIKENESS = 0.7
ASKING = {"--prompt", "--prompts", "--image", "--blend", "--like"}  # that say what `generate` is to show


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `generate` that say what a sentence is to become."""
    group = parser.add_argument_group("a sentence", "for models that were trained with captions")
    group.add_argument("--prompt", action="append", metavar="P",
                       help="what the pictures show; weights as in \"smiling::2 beard::-0.5\", alternatives as in "
                            "\"a {red, blue} hat\"; may be repeated")
    group.add_argument("--prompts", type=flags.path, metavar="FILE", help="a text file with one prompt a line")
    group.add_argument("--negative", metavar="P", help="what guidance leads away from (default: nothing)")
    group.add_argument("--no", action="append", metavar="P", help="what is to be missing: a part of weight -0.5")
    group.add_argument("--guidance", type=float, metavar="G",
                       help="how strictly the prompt is followed; 1: as trained (default: the model's)")
    group.add_argument("--steps", type=int, metavar="K", help="steps of the sampler (default: the model's)")
    group.add_argument("--chaos", type=float, default=0.0, metavar="C",
                       help="0 to 100: by how many percent, at most, each picture leaves the prompt (default: 0)")
    group.add_argument("--stylize", type=float, default=100.0, metavar="S",
                       help="0 to 1000: the model's taste against the prompt; 100: as it is (default)")
    group.add_argument("--weird", type=float, default=0.0, metavar="W",
                       help="0 to 3000: how unusual pictures are for the model (default: 0)")
    group.add_argument("--quality", type=float, default=1.0, metavar="Q",
                       help="0.25, 0.5, 1, 2 or 4 times the model's steps (default: 1)")
    group.add_argument("--draft", action="store_true", help="a quarter of the steps")
    group.add_argument("--size", type=_size, metavar="WxH", help="of the pictures; as the model makes them")
    group.add_argument("--repeat", type=int, default=1, metavar="R",
                       help="1 to 40: N pictures of each prompt, R times, of further seeds (default: 1)")
    group.add_argument("--zoom-out", type=float, metavar="Z",
                       help="continue pictures on all sides, to a canvas Z times as large, above 1 to 2")
    group.add_argument("--pan", choices=("left", "right", "up", "down"), help="continue pictures on one side, by half")
    group.add_argument("--tile", action="store_true", help="make the sides of pictures fit each other")
    group.add_argument("--style-of", metavar="F[:X]",
                       help="paint pictures with the strokes and colors of this one, 0 to 1 (default: 1)")
    group.add_argument("--like", metavar="F[:X]",
                       help="pictures like this one under other words, 0 (unlike) to 1 (default: 0.7)")
    group.add_argument("--image", action="append", type=flags.path, metavar="F",
                       help="vary this picture; it shows --was, or the prompt. Without --strength, a model that takes "
                            "references makes pictures beside it; for those it may be repeated")
    group.add_argument("--strength", metavar="X",
                       help="with --image: 0 (the same) to 1 (unrelated), or subtle (0.3), strong (0.6) (default: "
                            "subtle)")
    group.add_argument("--mask", type=flags.path, metavar="M",
                       help="with --image: make anew what is white in this picture, and keep the rest to the bit")
    group.add_argument("--was", metavar="P", help="with --image: what it shows, where its file does not remember it")
    group.add_argument("--blend", metavar="A,B[,C]", help="2 to 5 pictures' files or prompts as one")
    group.add_argument("--weights", metavar="W1,W2", help="with --blend: one for each (default: equal)")


def asked(args: argparse.Namespace) -> bool:
    """Whether pictures of a prompt, or of a picture, are asked for; --like becomes --image and --strength.

    Raises RunError for flags that need one, or do not go together.
    """
    _check_together(args)
    if args.prompt is not None or args.prompts is not None or args.image or args.blend:
        return True
    if given := _given(args):
        raise RunError(f"--{given[0]} says how a prompt is followed, and none is given; add --prompt \"what it shows\"")
    return False


def generate(args: argparse.Namespace, given: Mapping[str, Any], options: Mapping[str, float],
             start: Callable[[], None]) -> list[str]:
    """Writes pictures of prompts; returns lines to print. start: lets JAX start."""
    if "text" in given:
        raise RunError("the text is given twice, by --prompt and by --given; leave out one of them")
    if args.image or args.blend:
        if options:
            raise RunError(f"--option {next(iter(options))} does not go with --image or --blend; leave it out")
        return _revised(args, given, start)
    each, num = _prompts(args), NUM if args.num is None else args.num
    alone = num * args.repeat == 1 and len(each) == 1 and len(prompts.expand(each[0])) == 1
    with flags.folder(args.out, f"{args.seed:06d}.png" if alone else None) as folder:
        start()
        from imggen_jax.prompting import making

        made = making.generate(args.model, folder, each, _wishes(args), num=num, seed=args.seed, repeat=args.repeat,
                               given=given, **options)
    for line in made.said:
        print(f"note: {line}", file=sys.stderr)
    if folder != args.out:
        return [args.out]
    named = [f"{number:03d}_*.png: {job.prompt}" for number, job in enumerate(made.jobs)] if len(made.jobs) > 1 else []
    return [*named, f"{len(made.files)} pictures in {args.out}; all together: {made.grid}"]


def add_described(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """The flags of `describe`; required: whether --model is, as it is without --classifier."""
    parser.add_argument("picture", nargs="?", type=flags.path, metavar="F",
                        help="a picture's file (default: the model)")
    flags.add_model(parser, required=required, what="to describe, or to describe the picture with")
    parser.add_argument("--classifier", type=flags.path, metavar="M",
                        help="run of a classifier that names what it sees")
    parser.add_argument("--captions", type=flags.path, metavar="FILE",
                        help="sentences to take words from, one a line (default: those of the model's dataset)")


def describe(args: argparse.Namespace, start: Callable[[], None]) -> list[str]:
    """What a picture shows, as lines to print."""
    if (args.model is None) == (args.classifier is None):
        raise RunError("a picture is described by --model, one that was trained with captions, or by --classifier; "
                       "give one of them")
    captions = None if args.captions is None else lines(args.captions)
    start()
    from imggen_jax.prompting import describing

    if args.classifier is not None:
        seen, notes = describing.classify_file(args.classifier, args.picture)
        said = [f"{target}: {value} ({share:.0%})" for target, (value, share) in seen.items()]
    else:
        found, notes = describing.describe_file(args.model, args.picture, captions)
        order = sorted(found.certain.items(), key=lambda item: item[1][1])
        said = [found.caption, *(f"  {word}, rather than {other}: {gap:.4g}" for word, (other, gap) in order),
                f"{found.tried} texts were compared; a number is by how much the other word explains the picture worse"]
    for line in notes:
        print(f"note: {line}", file=sys.stderr)
    return said


def _given(args: argparse.Namespace) -> list[str]:
    """Names of the flags of a prompt that are given."""
    return [name.replace("_", "-") for name, default in _DEFAULTS.items() if getattr(args, name) != default]


def _check_together(args: argparse.Namespace) -> None:
    """Raises RunError for flags that need another one, or do not go with it."""
    if args.like is not None:
        if args.image or args.strength is not None:
            raise RunError("--like F:X is --image F with the strength 1-X; leave out --image and --strength")
        file, share = _file_and_share(args.like, LIKENESS, "--like")
        args.image, args.strength = [file], f"{1 - share:g}"
    for name, needed in (("strength", ("image", "blend")), ("mask", ("image",)), ("was", ("image",)),
                         ("weights", ("blend",))):
        if getattr(args, name) is not None and not any(getattr(args, each) for each in needed):
            raise RunError(f"--{name} goes with --{' or --'.join(needed)}, and none is given")
    if args.image and args.blend:
        raise RunError("--image and --blend are both given; --blend takes pictures, too")
    if args.mask and len(args.image) > 1:
        raise RunError("--mask makes a part of one picture anew; give one --image")
    if args.mask and (args.strength is not None or args.was is not None):
        raise RunError("--mask makes what it marks anew, from --prompt alone; leave out --strength and --was")
    if args.image or args.blend:
        if given := _given(args):
            raise RunError(f"--{given[0]} does not go with --{'image' if args.image else 'blend'}; leave it out")


def _revised(args: argparse.Namespace, given: Mapping[str, Any], start: Callable[[], None]) -> list[str]:
    """Writes pictures that are made from pictures, or blends."""
    each, num = _prompts(args), NUM if args.num is None else args.num
    if len(each) > 1 or each and len(prompts.expand(each[0])) > 1:
        raise RunError("several prompts are given for one picture; give one, without alternatives")
    prompt = prompts.parse(prompts.expand(each[0])[0]) if each else None
    was = None if args.was is None else prompts.parse(args.was)
    if args.mask and prompt is None:
        raise RunError("--mask needs --prompt: what the whole picture is to show")
    weights = None if args.weights is None else flags.weights(args.weights)
    blended = flags.commas(args.blend, "--blend") if args.blend else []
    inputs = [one for one in (*(args.image or ()), args.mask, *blended) if one]
    with flags.folder(args.out, "000.png" if num == 1 else None, inputs=inputs) as folder:
        start()
        from imggen_jax.prompting import revising

        common: dict[str, Any] = dict(num=num, seed=args.seed, given=given)
        if args.mask:
            assert prompt is not None, "refused above"
            done = revising.fill(args.model, folder, args.image[0], args.mask, prompt=prompt, **common)
        elif args.blend:
            done = revising.blend(args.model, folder, blended, weights=weights, prompt=prompt,
                                  strength=args.strength or 0.0, truncation=args.truncation, **common)
        else:
            done = revising.vary(args.model, folder, args.image, prompt=prompt, was=was,
                                 strength=args.strength, truncation=args.truncation, **common)
    for line in done.said:
        print(f"note: {line}", file=sys.stderr)
    return [args.out if folder != args.out else f"{num} pictures in {args.out}; all together: {done.files[0]}"]


def _prompts(args: argparse.Namespace) -> list[str]:
    each: list[str] = [] if args.prompt is None else list(args.prompt)
    if args.prompts is not None:
        each += lines(args.prompts)
    for prompt in each:  # before JAX starts
        for one in prompts.expand(prompt):
            prompts.parse(one)
    return each


def lines(file: str) -> list[str]:
    """The sentences of a file, one a line. Raises RunError where it cannot be read, or holds none."""
    try:
        if Path(file).stat().st_size > LONGEST:
            raise RunError(f"{file} has more than {LONGEST:,} bytes; give fewer sentences")
        content = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise RunError(f"the file {file} cannot be read ({reason}); give a text file with one sentence a line"
                       ) from error
    return prompts.read_lines(content, file)


def _wishes(args: argparse.Namespace) -> Wishes:
    from imggen_jax.prompting.wishes import Wishes

    style, strength = (None, 1.0) if args.style_of is None else _file_and_share(args.style_of, 1.0, "--style-of")
    return Wishes(args.negative, None if args.no is None else ", ".join(args.no), args.guidance, args.steps, args.chaos,
                  args.stylize, args.weird, args.quality, args.draft, args.size, args.truncation, args.zoom_out,
                  args.pan, args.tile, style, strength)


def _file_and_share(text: str, share: float, flag: str) -> tuple[str, float]:
    """"F:0.6" as (F, 0.6). Raises RunError for a share that is none."""
    file, colon, number = text.rpartition(":")
    if not colon or Path(text).is_file():
        return flags.path(text), share
    if not re.fullmatch(r"0(\.\d*)?|1(\.0*)?|\.\d+", number):
        raise RunError(f"{flag} {text}: {number!r} is not a number from 0 to 1; as in {flag} {file}:0.6")
    return flags.path(file), float(number)


def _size(text: str) -> tuple[int, int]:
    if not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT in pixels, as 64x64")
    width, height = text.split("x")
    return int(width), int(height)
