"""The flags of the editing verbs, and what is printed. Nothing heavy is imported before a verb runs."""
from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from imggen_jax import flags

if TYPE_CHECKING:
    from imggen_jax.editing.writing import Done


class Verb(NamedTuple):
    """One verb of the command line."""

    summary: str                                         # one line, in the list of verbs
    description: str                                     # with examples
    flags: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], list[str]]       # lines to print


def _common(parser: argparse.ArgumentParser, out: bool = True, one: bool = False) -> None:
    flags.add_model(parser, what="to edit with")
    if out:
        flags.add_out(parser, one=one)


def _condition(parser: argparse.ArgumentParser, truncation: bool = True) -> None:
    flags.add_label(parser)
    flags.add_prompt(parser)
    if truncation:
        parser.add_argument("--truncation", type=float, default=1.0, metavar="T",
                            help="factor on the latents of seeds; below 1: fewer failures, less variety (default: 1)")


def _picture(parser: argparse.ArgumentParser) -> None:
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument("--seed", type=int, metavar="S", help="seed of the picture, as for generate")
    one.add_argument("--image", type=flags.path, metavar="F",
                     help="a picture's file: one made with this model, or your own")


def _draw(parser: argparse.ArgumentParser, num: int = 16) -> None:
    parser.add_argument("--num", type=int, default=num, metavar="N", help=f"how many (default: {num})")
    parser.add_argument("--draw", type=int, default=0, metavar="R",
                        help="seed of what is drawn for the first one; others give other pictures (default: 0)")


def _name(args: argparse.Namespace) -> str:
    return str(args.seed) if args.image is None else _file(args.image)


def _file(path: str) -> str:
    """A file whose name is all digits is not a seed."""
    return f"./{path}" if path.isdecimal() else path


def _make(out: str, file: str | None, make: Callable[[str], Done], inputs: Sequence[str] = ()) -> list[str]:
    """Lines about what `make` wrote to a folder, or about the one file that `out` names."""
    from imggen_jax.editing import verbs

    with flags.folder(out, file, inputs=inputs) as folder:
        done = make(folder)
    files = done.files if folder == out else [out]
    figures = [verbs.figures_line(done.figures)] if done.figures else []
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return [*done.said, *figures, f"{files[0]}{more}"]


def _inputs(args: argparse.Namespace) -> list[str]:
    return [] if args.image is None else [args.image]


# ------------------------------------------------------------------------------------------------------------ the verbs


def _interpolate_flags(parser):
    _common(parser)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--seeds", metavar="1,2[,3]", help="seeds of the pictures, in order")
    where.add_argument("--images", metavar="A,B[,C]", help="files of the pictures, in order")
    where.add_argument("--prompts", nargs="+", metavar="P", help="sentences, in order, for models that take a text")
    parser.add_argument("--seed", type=int, default=0, metavar="S",
                        help="with --prompts: seed of the picture of all sentences (default: 0)")
    parser.add_argument("--frames", type=int, default=24, metavar="N", help="frames, ends among them (default: 24)")
    parser.add_argument("--even", choices=("picture", "latent"), default="picture",
                        help="frames at even steps of what is seen, or of the latent (default: picture)")
    _condition(parser)


def _interpolate(args):
    from imggen_jax import prompts
    from imggen_jax.editing import verbs
    from imggen_jax.errors import RunError

    given = flags.given(args)
    if args.prompts is not None:
        if args.prompt is not None:
            raise RunError("sentences are given twice, by --prompts and by --prompt; leave out one of them")
        names = [str(args.seed)] * len(args.prompts)
        given = [{**given, "text": prompts.parse(prompt)} for prompt in args.prompts]
    else:
        names = (flags.commas(args.seeds, "--seeds") if args.images is None else
                 [_file(name) for name in flags.commas(args.images, "--images")])
    _no_files(args.seeds, names)
    return _make(args.out, None, lambda out: verbs.interpolate(
        args.model, out, names, frames=args.frames, even=args.even == "picture", given=given,
        truncation=args.truncation))


def _no_files(seeds: str | None, names: list[str]) -> None:
    from imggen_jax.errors import RunError

    if seeds is not None and (wrong := [name for name in names if not name.lstrip("-").isdecimal()]):
        raise RunError(f"seed {wrong[0]!r} is not a whole number; files are given with --images")


def _vary_flags(parser):
    _common(parser)
    _picture(parser)
    parser.add_argument("--strength", default="subtle", metavar="X",
                        help="0 (the same) to 1 (unrelated), or subtle (0.3), strong (0.6) (default: subtle)")
    _draw(parser)
    _condition(parser)


def _vary(args):
    from imggen_jax.editing import verbs

    return _make(args.out, "000.png" if args.num == 1 else None, lambda out: verbs.vary(
        args.model, out, _name(args), num=args.num, strength=args.strength, draw=args.draw, given=flags.given(args),
        truncation=args.truncation), _inputs(args))


def _breed_flags(parser):
    _common(parser)
    parser.add_argument("--parents", required=True, metavar="1,2,face.png", help="1 to 5 seeds or files")
    parser.add_argument("--weights", metavar="W1,W2", help="one for each parent (default: equal)")
    parser.add_argument("--mutate", default="subtle", metavar="X", help="strength of a variation (default: subtle)")
    parser.add_argument("--crossover", type=float, default=0.0, metavar="C",
                        help="0 to 1: share of the latent's axes that come from a single parent (default: 0)")
    parser.add_argument("--inherit", action="append", default=[], metavar="GENE=P",
                        help="an attribute from parent number P, as in hair_colour=2; needs genes; may be repeated")
    _draw(parser)
    _condition(parser)


def _breed(args):
    from imggen_jax.editing import verbs

    weights = None if args.weights is None else flags.weights(args.weights)
    parents = flags.commas(args.parents, "--parents")
    return _make(args.out, "000.png" if args.num == 1 else None, lambda out: verbs.breed(
        args.model, out, parents, num=args.num, weights=weights, mutate=args.mutate, crossover=args.crossover,
        inherit=args.inherit, draw=args.draw, given=flags.given(args), truncation=args.truncation), parents)


def _project_flags(parser):
    _common(parser, one=True)
    parser.add_argument("--image", required=True, type=flags.path, metavar="F", help="your picture's file")
    parser.add_argument("--steps", type=int, metavar="N",
                        help="of the optimizer (default: 300, or 0 where the model has an encoder)")
    _condition(parser, truncation=False)


def _project(args):
    from imggen_jax.editing import verbs

    return _make(args.out, "projection.png", lambda out: verbs.project(
        args.model, out, args.image, given=flags.given(args), steps=args.steps), _inputs(args))


def _genes_flags(parser):
    _common(parser, out=False)
    parser.add_argument("--learn", action="store_true",
                        help="learn them first, and keep them in M/genes.npz, or in the cache for a model that ships")
    parser.add_argument("--method", choices=("labels", "sefa", "pca"), default="labels",
                        help="from the dataset's labels, or without any (default: labels)")
    parser.add_argument("--labels", metavar="A,B", help="the dataset's labels to learn (default: all)")
    parser.add_argument("--samples", type=int, default=8000, metavar="N",
                        help="of the model's own pictures to learn from (default: 8000)")
    parser.add_argument("--faces", type=int, default=200, metavar="N",
                        help="random pictures on which genes are measured (default: 200)")


def _genes(args):
    from imggen_jax.editing import verbs

    options = dict(method=args.method, labels=None if args.labels is None else flags.commas(args.labels, "--labels"),
                   samples=args.samples, faces=args.faces) if args.learn else {}
    return verbs.genes(args.model, learn=args.learn, **options)[1]


def _edit_flags(parser):
    _common(parser, one=True)
    _picture(parser)
    parser.add_argument("--gene", action="append", default=[], metavar="G[:X]",
                        help="a gene, and how far to go: -3 to +3 as a rule; without X, to its goal; may be repeated. "
                             "Of words: \"glasses|no glasses:+1\"")
    parser.add_argument("--swap", metavar="W=W", help="a word of the picture's prompt for another, as smiling=sad")
    parser.add_argument("--was", metavar="P", help="what the picture shows, where its file does not remember a prompt")
    _condition(parser)


def _edit(args):
    from imggen_jax import prompts
    from imggen_jax.editing import verbs

    given = flags.given(args)
    prompt = given.pop("text", None)
    if args.was is not None:
        given["text"] = prompts.parse(args.was)
    return _make(args.out, "edited.png", lambda out: verbs.edit(
        args.model, out, _name(args), args.gene, prompt=prompt, swap=args.swap, given=given,
        truncation=args.truncation), _inputs(args))


def _recall_flags(parser):
    _recorded(parser)
    _common(parser, one=True)


def _recorded(parser):
    parser.add_argument("picture", type=flags.path, metavar="PICTURE", help="a PNG file that this project has written")


def _recall(args):
    from imggen_jax.editing import verbs

    return _make(args.out, f"{Path(args.picture).stem}.png", lambda out: verbs.recall(args.model, out, args.picture),
                 [args.picture])


def _lineage_flags(parser):
    _recorded(parser)
    _common(parser)


def _lineage(args):
    from imggen_jax.editing import verbs

    return _make(args.out, "lineage.html", lambda out: verbs.lineage(args.model, out, args.picture))


def _examples(text: str, *lines: str) -> str:
    return text + "\n\nexamples:\n" + "\n".join(f"  imggen {line}" for line in lines) + "\n"


VERBS = {
    "interpolate": Verb("a smooth way between pictures, as frames and animations", _examples(
        "Writes OUT/000.png, ..., sheet.png, animation.webp and animation.gif; tells the perceptual path length.",
        "interpolate --model runs/avatars_gan --seeds 1,2,3 --frames 36 --out way",
        "interpolate --model runs/avatars_vae --images mine.png,yours.png --out way",
        'interpolate --model runs/avatars_text --prompts "a smiling person" "a sad person" --seed 3 --out way'),
        _interpolate_flags, _interpolate),
    "vary": Verb("variations of a picture", _examples(
        "Writes OUT/000.png, ... and sheet.png. Variation k is the same whatever N.",
        "vary --model runs/avatars_gan --seed 7 --strength 0.4 --num 64 --out variations",
        "vary --model runs/avatars_gan --image face.png --strength strong --out variations"), _vary_flags, _vary),
    "breed": Verb("children of one to five pictures", _examples(
        "Writes OUT/000.png, ... and sheet.png: a mixture of the parents, each child mutated in its own way. With one "
        "parent,\nits children are like it.",
        "breed --model runs/avatars_gan --parents 1,2,face.png --weights 2,1,1 --mutate 0.3 --out children",
        "breed --model runs/avatars_vae --parents 1,2 --crossover 0.5 --inherit hair_colour=2 --out children"),
        _breed_flags, _breed),
    "project": Verb("find your own picture in a model", _examples(
        "Writes OUT/projection.png, which is the model's picture nearest to yours, and sheet.png with both. Tells the "
        "PSNR in dB\nand the distance from the prior, of which 1 is typical.",
        "project --model runs/avatars_gan --image face.png --out found"), _project_flags, _project),
    "genes": Verb("list a model's genes, or learn them", _examples(
        "Prints each gene with how often it reaches its goal and what it changes besides, as measured on random "
        "pictures by a\nclassifier that was trained on real ones.",
        "genes --model runs/avatars_vae --learn", "genes --model runs/avatars_vae",
        "genes --model runs/my_run --learn --method sefa          # without labels"), _genes_flags, _genes),
    "edit": Verb("move a picture along genes", _examples(
        "Writes OUT/edited.png, sheet.png (before, after) and for each gene a strip from -3 to +3.",
        "edit --model runs/avatars_vae --seed 3 --gene expression=smiling --gene hair_colour=blue --out edited",
        "edit --model runs/avatars_vae --image face.png --gene expression=smiling:+1.5 --out edited",
        "edit --model runs/avatars_text --image out/000003.png --swap smiling=sad --out edited",
        'edit --model runs/avatars_text --image out/000003.png --gene "glasses|no glasses:+1" --out edited'),
        _edit_flags, _edit),
    "recall": Verb("make a picture again, from its metadata", _examples(
        "Writes OUT/<the picture's name>.png and tells whether it is the same in every bit.",
        "recall variations/003.png --model runs/avatars_gan --out again"), _recall_flags, _recall),
    "lineage": Verb("the family tree of a picture", _examples(
        "Writes OUT/lineage.html, one page with all ancestors of a picture that vary, breed or edit have made.",
        "lineage children/003.png --model runs/avatars_gan --out tree"), _lineage_flags, _lineage),
}
