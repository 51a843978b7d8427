"""The verbs that need one picture only, no model: their flags, and calls of `patches`."""
from __future__ import annotations

import argparse
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from imggen_jax.picture_verbs import shared
from imggen_jax.picture_verbs.running import Verb, progress

if TYPE_CHECKING:
    import numpy as np

    from imggen_jax.pictures.files import Job, Picture
    from imggen_jax.provenance.publishing import Origin

_FILES = ("mask", "use", "paint", "style", "like")         # flags that name some
_ASKED = {"seed", "quality", "size", "tileable", "piece", "band", "strength", "width", "wrap", "left", "right", "top",
          "bottom", "box", "mask_means", "grow", "soften", "weights", "keep_colors", "scale", "num", *_FILES}


class Cost(NamedTuple):
    """Seconds of two cores: for each megapixel that is worked at (of the result, or of a hole), and at full size."""

    worked: float
    full: float


class Making(NamedTuple):
    """What is particular to one verb."""

    summary: str                                             # one line, in the list of verbs
    description: str                                         # with examples
    flags: Callable[[argparse.ArgumentParser], None]
    check: Callable[[argparse.Namespace], object]            # the flags alone, before any file is read
    # (arguments, picture, its file, report) -> (ending of the name, pixels) of each result
    make: Callable[[argparse.Namespace, Picture, Path, Callable], Iterator[tuple[str, np.ndarray]]]
    cost: Cost
    size: Callable[[argparse.Namespace, int, int], tuple[int, int]] = lambda args, height, width: (height, width)
    number: Callable[[argparse.Namespace], int] = lambda args: 1


def _plan(name: str, args: argparse.Namespace) -> list[Job]:
    from imggen_jax.pictures import files
    from imggen_jax.provenance import policy

    verb = _VERBS[name]
    policy.check(None, name, {})
    verb.check(args)
    jobs = files.jobs(args.inputs[:1] if verb.make is _mix else args.inputs, args.out, overwrite=args.overwrite)
    return [job._replace(done=_done(verb, args, job.out)) for job in jobs]


def _names(verb: Making, args: argparse.Namespace, out: Path) -> list[Path]:
    if (count := verb.number(args)) == 1:
        return [out]
    return [out.with_name(f"{out.stem}_{k:03}{out.suffix}") for k in range(count)]


def _done(verb: Making, args: argparse.Namespace, out: Path) -> bool:
    return not args.overwrite and all(path.exists() for path in _names(verb, args, out))


def _one(name: str, args: argparse.Namespace, job: Job, title: str) -> None:
    from imggen_jax.pictures import files

    verb = _VERBS[name]
    picture = files.read(job.source)
    for note in picture.notes:
        print(f"note: {job.source.name}: {note}")
    print(f"{title}: {_expected(verb, args, picture)}")
    with progress(title, args.quiet) as report:
        made = list(verb.make(args, picture, job.source, report))
    paths = _names(verb, args, job.out)
    for number, (ending, pixels) in enumerate(made):         # after the results, a preview
        path = paths[number] if number < len(paths) else job.out.with_name(f"{job.out.stem}{ending}{job.out.suffix}")
        _write(path, picture, pixels, _origin(name, args, job.source, number, picture.pixels, pixels))


def _origin(name: str, args: argparse.Namespace, source: Path, number: int, before: np.ndarray, made: np.ndarray
            ) -> Origin:
    from imggen_jax.provenance.publishing import Origin

    others = [*args.inputs[1:2]] if name == "mix" else []
    for flag in ("paint", "style", "like"):
        value = getattr(args, flag, None) or []
        others += [value] if isinstance(value, str) else value
    facts = {"arguments": shared.asked(args, _ASKED, _FILES), "number": number}
    return Origin(name, facts=facts, parent=source, others=[Path(one) for one in others],
                  part=_part(args, before, made))


def _part(args: argparse.Namespace, before: np.ndarray, made: np.ndarray) -> np.ndarray | None:
    """bool [H,W], true where the picture is not the one before, to the bit; None where it is so everywhere."""
    import numpy as np

    height, width = before.shape[:2]
    top, left = getattr(args, "top", 0), getattr(args, "left", (made.shape[1] - width) // 2)
    window = made[top : top + height, max(left, 0) : max(left, 0) + width]
    if window.shape != before.shape:
        return None
    part = np.ones(made.shape[:2], bool)
    part[top : top + height, left : left + width] = (window != before).any(-1)
    return None if part.all() else part


def _write(path: Path, like: Picture, pixels: np.ndarray, origin: Origin) -> None:
    from imggen_jax.provenance import publishing

    for note in publishing.write(path, like._replace(pixels=pixels), origin):
        print(f"note: {path.name}: {note}")
    print(path)


def _expected(verb: Making, args: argparse.Namespace, picture: Picture) -> str:
    """The time and memory that a picture will take, from its size: right within a factor of two on two free cores."""
    from imggen_jax.patches import sizes

    height, width = verb.size(args, *picture.pixels.shape[:2])
    full = height * width / 1e6
    bound = sizes.QUALITIES[getattr(args, "quality", "normal")]
    worked = full * min(1.0, bound / max(height, width, 1)) ** 2
    seconds = verb.number(args) * (2 + verb.cost.worked * worked + verb.cost.full * full)
    gigabytes = 0.25 + 0.4 * worked + 0.08 * full
    return f"{width}x{height}, about {_rounded(seconds)} s and {gigabytes:.1f} GB expected"


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds < 10 else f"{5 * round(seconds / 5)}"


# ----------------------------------------------------------------------------------------------------------- the flags


def _common(parser: argparse.ArgumentParser, several: bool = True) -> None:
    if several:
        parser.add_argument("inputs", nargs="+", metavar="IN", help="picture files, or folders of them")
    parser.add_argument("--out", required=True, metavar="O", help="a file for one picture, or a folder")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="others give other pictures (default: 0)")
    shared.add_common(parser)


def _quality(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quality", choices=("draft", "normal", "best"), default="normal",
                        help="the longer side that is worked at: 384, 768 or 1536 pixels; detail comes from the "
                             "picture at its full size (default: normal)")
    parser.add_argument("--backend", choices=("auto", "exact", "tree"), default="auto",
                        help="search for patches: exact, for GPUs and TPUs; tree, for CPUs (default: auto)")


def _size(text: str) -> tuple[int, int]:
    """WxH -> (height, width)."""
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not WxH in pixels, as in 1024x768")
    width, height = text.split("x")
    return int(height), int(width)


def _options(args: argparse.Namespace, report: Callable) -> dict:
    return dict(seed=args.seed, quality=args.quality, backend=args.backend, report=report)


def _nothing(args: argparse.Namespace) -> None:
    """No check."""


# ----------------------------------------------------------------------------------------------------------- the verbs


def _texture_flags(parser):
    _common(parser)
    parser.add_argument("--size", type=_size, required=True, metavar="WxH", help="of the result, in pixels")
    parser.add_argument("--tileable", action="store_true", help="its sides fit each other; a 3x3 preview is written")
    parser.add_argument("--piece", type=float, default=0.4, metavar="P",
                        help="0.1 to 0.9: side of the pieces that it starts with, as a share of the picture's. Larger "
                             "keeps larger structures and repeats more (default: 0.4)")
    _quality(parser)


def _texture(args, picture, path, report):
    from imggen_jax import patches

    made = patches.texture(picture.pixels, args.size, tileable=args.tileable, piece=args.piece,
                           **_options(args, report))
    yield "", made
    if args.tileable:
        yield from _preview(made)


def _preview(made):
    import numpy as np

    from imggen_jax import patches

    rows, columns = patches.seam(made)
    print(f"gradient across the seams, relative to around them: {rows:.2f} (rows), {columns:.2f} (columns)")
    if made.shape[0] * made.shape[1] * 9 <= 2**26:
        yield "_3x3", np.tile(made, (3, 3, 1))


def _tile_flags(parser):
    _common(parser)
    parser.add_argument("--band", type=float, default=0.12, metavar="B",
                        help="0.03 to 0.4: width of what is made anew at each edge, as a share of the shorter side "
                             "(default: 0.12)")
    _quality(parser)


def _tile(args, picture, path, report):
    from imggen_jax import patches

    made = patches.tile(picture.pixels, band=args.band, **_options(args, report))
    yield "", made
    yield from _preview(made)


def _variations_flags(parser):
    _common(parser)
    parser.add_argument("--num", type=int, default=4, metavar="N", help="how many (default: 4)")
    parser.add_argument("--strength", type=float, default=0.5, metavar="X",
                        help="0 (the same) to 1 (little is left) (default: 0.5)")
    _quality(parser)


def _variations(args, picture, path, report):
    from imggen_jax import patches

    for made in patches.variations(picture.pixels, args.num, strength=args.strength, **_options(args, report)):
        yield "", made


def _check_num(args):
    from imggen_jax.patches import PatchError

    if args.num < 1:
        raise PatchError(f"--num is {args.num}; it must be at least 1")


def _retarget_flags(parser):
    _common(parser)
    parser.add_argument("--size", type=_size, required=True, metavar="WxH", help="of the result, in pixels")
    _quality(parser)


def _retarget(args, picture, path, report):
    from imggen_jax import patches

    yield "", patches.retarget(picture.pixels, args.size, **_options(args, report))


def _panorama_flags(parser):
    _common(parser)
    parser.add_argument("--width", type=int, required=True, metavar="W", help="of the result, in pixels")
    parser.add_argument("--wrap", action="store_true", help="close it: its right side goes on at its left")
    _quality(parser)


def _panorama(args, picture, path, report):
    from imggen_jax import patches

    yield "", patches.panorama(picture.pixels, args.width, wrap=args.wrap, **_options(args, report))


def _outpaint_flags(parser):
    _common(parser)
    for side in ("left", "right", "top", "bottom"):
        parser.add_argument(f"--{side}", type=int, default=0, metavar="P", help="pixels to add there")
    _quality(parser)


def _outpaint(args, picture, path, report):
    from imggen_jax import patches

    yield "", patches.outpaint(picture.pixels, left=args.left, right=args.right, top=args.top, bottom=args.bottom,
                               **_options(args, report))


def _remove_flags(parser):
    _common(parser)
    shared.add_masks(parser)
    parser.add_argument("--use", metavar="M", help="a mask: white is where patches may be taken from")
    parser.add_argument("--grow", type=int, default=0, metavar="P", help="pixels to widen the mask by (default: 0)")
    parser.add_argument("--soften", type=int, default=0, metavar="P",
                        help="pixels inside the mask over which the picture passes into the filling (default: 0)")
    _quality(parser)


def _remove(args, picture, path, report):
    import numpy as np

    from imggen_jax import patches
    from imggen_jax.pictures import files

    change, opaque = shared.mask_of(args, picture, path)
    use = None if args.use is None else shared.marked(files.read(shared.beside(Path(args.use), path)).pixels)
    made = patches.remove(opaque.pixels, change, use=use, grow=args.grow, soften=args.soften, **_options(args, report))
    if made.shape[-1] < picture.pixels.shape[-1]:            # its alpha was the mask: filled, it is opaque
        alpha = picture.pixels[..., -1:].copy()
        alpha[change] = np.iinfo(alpha.dtype).max
        made = np.concatenate([made, alpha], -1)
    yield "", made


def _edit_flags(parser):
    _common(parser)
    parser.add_argument("--paint", required=True, metavar="COPY",
                        help="a copy of the picture, roughly edited: cut, pasted, painted")
    _quality(parser)


def _edit(args, picture, path, report):
    from imggen_jax import patches

    paint = shared.with_channels(shared.other(args.paint, picture), picture.pixels)
    yield "", patches.edit(picture.pixels, paint, **_options(args, report))


def _mix_flags(parser):
    parser.add_argument("inputs", nargs=2, metavar=("A", "B"), help="two picture files")
    _common(parser, several=False)
    shared.add_masks(parser)
    _quality(parser)


def _mix(args, picture, path, report):
    from imggen_jax import patches

    second = shared.with_channels(shared.other(args.inputs[1], picture), picture.pixels)
    inside = shared.mask_of(args, picture, path)[0] if args.mask or args.box else None
    yield "", patches.mix(picture.pixels, second, inside, **_options(args, report))


def _stylize_flags(parser):
    _common(parser)
    parser.add_argument("--style", required=True, action="append", metavar="PAINTING",
                        help="a picture whose strokes and palette are taken; may be repeated")
    parser.add_argument("--weights", metavar="W1,W2", help="one for each style (default: equal)")
    parser.add_argument("--strength", type=float, default=1.0, metavar="X", help="0 (the picture) to 1 (default: 1)")
    parser.add_argument("--keep-colors", action="store_true", help="take over strokes, not the palette")
    parser.add_argument("--scale", type=float, default=1.0, metavar="S",
                        help="0.25 to 4: size of the strokes (default: 1)")
    _quality(parser)


def _weights(args):
    from imggen_jax.patches import PatchError

    try:
        return None if args.weights is None else [float(word) for word in args.weights.split(",")]
    except ValueError:
        raise PatchError(f"--weights {args.weights!r} are not numbers; as in --weights 0.7,0.3") from None


def _stylize(args, picture, path, report):
    from imggen_jax import patches

    styles = [shared.other(style, picture) for style in args.style]
    yield "", patches.stylize(picture.pixels, styles, weights=_weights(args), strength=args.strength,
                              keep_colors=args.keep_colors, scale=args.scale, **_options(args, report))


def _recolor_flags(parser):
    _common(parser)
    parser.add_argument("--like", required=True, metavar="REFERENCE", help="a picture whose palette is taken")
    parser.add_argument("--strength", type=float, default=1.0, metavar="X", help="0 (the picture) to 1 (default: 1)")


def _recolor(args, picture, path, report):
    from imggen_jax import patches

    yield "", patches.recolor(picture.pixels, shared.other(args.like, picture), strength=args.strength, seed=args.seed,
                              report=report)


def _examples(text: str, *lines: str) -> str:
    return text + "\n\nexamples:\n" + "\n".join(f"  imggen {line}" for line in lines) + "\n"


def _of_size(args, height, width):
    return args.size


_VERBS = {
    "texture": Making("a larger piece of the same material", _examples(
        "Makes more of a material: stone, bark, cloth, clouds. What it shows is arranged anew.",
        "texture stone.jpg --size 2048x2048 --out larger.png",
        "texture stone.jpg --size 1024x1024 --tileable --out floor.png"),
        _texture_flags, _nothing, _texture, Cost(16, 1.0), _of_size),
    "tile": Making("change a picture as little as needed so that it tiles", _examples(
        "Evens out light between opposite edges and makes a band along them anew. Writes a 3x3 preview, too, and "
        "measures\nthe seam.", "tile grass.jpg --out tile.png", "tile photos --band 0.2 --out tiles"),
        _tile_flags, _nothing, _tile, Cost(12, 1.0)),
    "variations": Making("the scene of a picture, rearranged", _examples(
        "Writes NAME_000.png, ...; number k has seed S+k.", "variations lake.jpg --num 8 --out lakes",
        "variations lake.jpg --num 1 --strength 0.8 --out other.png"),
        _variations_flags, _check_num, _variations, Cost(28, 1.0), number=lambda args: args.num),
    "retarget": Making("another aspect, without stretching", _examples(
        "Repeats or leaves out what the picture shows, so that things keep their shapes.",
        "retarget beach.jpg --size 1600x600 --out banner.jpg"),
        _retarget_flags, _nothing, _retarget, Cost(22, 1.0), _of_size),
    "panorama": Making("widen a picture, to 360 degrees if wanted", _examples(
        "Continues a picture on both sides; the picture itself is in the middle, to the bit.",
        "panorama beach.jpg --width 3000 --out wide.jpg", "panorama beach.jpg --width 4096 --wrap --out around.jpg"),
        _panorama_flags, _nothing, _panorama, Cost(22, 1.0), lambda args, h, w: (h, args.width)),
    "remove": Making("fill what a mask or a box marks", _examples(
        "White in the mask, or transparent, is filled from the rest; what lies outside is returned to the bit.",
        "remove beach.jpg --mask people.png --out empty.png", "remove beach.jpg --box 205,50,195,340 --out empty.png",
        "remove photos --mask masks --grow 3 --out cleaned"),
        _remove_flags, _nothing, _remove, Cost(8, 1.0)),
    "outpaint": Making("continue a picture beyond its edges", _examples(
        "The picture itself is in the result to the bit.", "outpaint house.jpg --left 200 --right 200 --out wide.png"),
        _outpaint_flags, _nothing, _outpaint, Cost(22, 1.0),
        lambda args, h, w: (h + args.top + args.bottom, w + args.left + args.right)),
    "stylize": Making("paint a picture as another is painted", _examples(
        "Content from the picture, strokes and palette from the style.",
        "stylize house.jpg --style starry_night.jpg --out painted.png",
        "stylize photos --style a.jpg --style b.jpg --weights 2,1 --strength 0.6 --out painted"),
        _stylize_flags, _weights, _stylize, Cost(32, 0.7)),
    "mix": Making("two pictures made one, without a seam", _examples(
        "The second picture where the mask is white; without a mask the right part, from the best seam on.",
        "mix lake.jpg mountains.jpg --out both.png", "mix lake.jpg boat.jpg --mask boat_mask.png --out both.png"),
        _mix_flags, _nothing, _mix, Cost(8, 1.0)),
    "edit": Making("make a rough copy-and-paste edit seamless", _examples(
        "Copy the picture, move or paste things in it roughly, and give both.",
        "edit street.png --paint street_edited.png --out street_clean.png"),
        _edit_flags, _nothing, _edit, Cost(8, 1.0)),
    "recolor": Making("the palette of another picture", _examples(
        "Grain and edges stay.", "recolor lake.jpg --like sunset.jpg --out evening.jpg"),
        _recolor_flags, _nothing, _recolor, Cost(0, 1.5)),
}
VERBS = {name: Verb(verb.summary, verb.description, verb.flags, functools.partial(_plan, name),
                    lambda args, name=name: functools.partial(_one, name, args)) for name, verb in _VERBS.items()}
