"""The flags of the verbs that need one picture only. Nothing heavy is imported before a verb runs."""
from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from imggen_jax.pictures.files import Picture
    from imggen_jax.provenance.publishing import Origin

_MOSTLY = 0.9            # share of a picture's pixels that differ, from which all of it counts as made
_FILES = ("mask", "use", "paint", "style", "like")
_ASKED = {"seed", "quality", "size", "tileable", "piece", "band", "strength", "width", "wrap", "left", "right", "top",
          "bottom", "box", "mask_means", "grow", "soften", "weights", "keep_colors", "scale", "num", *_FILES}


class Cost(NamedTuple):
    """Seconds of two cores: for each megapixel that is worked at (of the result, or of a hole), and at full size."""

    worked: float
    full: float


class Verb(NamedTuple):
    """One verb of the command line."""

    summary: str                                             # one line, in the list of verbs
    description: str                                         # with examples
    flags: Callable[[argparse.ArgumentParser], None]
    check: Callable[[argparse.Namespace], object]            # the flags alone, before any file is read
    # (arguments, picture, its file, report) -> (ending of the name, pixels) of each result
    make: Callable[[argparse.Namespace, Picture, Path, Callable], Iterator[tuple[str, np.ndarray]]]
    cost: Cost
    size: Callable[[argparse.Namespace, int, int], tuple[int, int]] = lambda args, height, width: (height, width)
    number: Callable[[argparse.Namespace], int] = lambda args: 1


def run(name: str, args: argparse.Namespace) -> int:
    """Runs a verb on all of its inputs; returns the exit code: 0 done, 130 canceled.

    Raises:
      PatchError, PictureError: input that cannot be worked with.
    """
    from imggen_jax.pictures import files

    verb = VERBS[name]
    verb.check(args)
    inputs = args.inputs[:1] if name == "mix" else args.inputs
    jobs = files.jobs(inputs, args.out, overwrite=args.overwrite)
    jobs = [job._replace(done=_done(verb, args, job.out)) for job in jobs]
    try:
        for number, job in enumerate(jobs):
            title = f"{job.source.name} ({number + 1} of {len(jobs)})" if len(jobs) > 1 else job.source.name
            if job.done:
                print(f"{job.out} is there already; --overwrite makes it again")
            else:
                _one(name, args, job, title)
    except KeyboardInterrupt:
        print("\nCanceled; no file was left half written.", file=sys.stderr)
        return 130
    return 0


def _names(verb: Verb, args: argparse.Namespace, out: Path) -> list[Path]:
    if (count := verb.number(args)) == 1:
        return [out]
    return [out.with_name(f"{out.stem}_{k:03}{out.suffix}") for k in range(count)]


def _done(verb: Verb, args: argparse.Namespace, out: Path) -> bool:
    return not args.overwrite and all(path.exists() for path in _names(verb, args, out))


def _one(name: str, args: argparse.Namespace, job, title: str) -> None:
    from tqdm import tqdm

    from imggen_jax.pictures import files

    verb = VERBS[name]
    picture = files.read(job.source)
    for note in picture.notes:
        print(f"note: {job.source.name}: {note}")
    print(f"{title}: {_expected(verb, args, picture)}")
    with tqdm(total=100, desc=title, leave=False, disable=args.quiet or None,
              bar_format="{desc} {bar} {percentage:3.0f}%, {remaining} left") as bar:
        def report(share):
            bar.update(max(0, round(100 * share) - bar.n))

        made = list(verb.make(args, picture, job.source, report))
    paths = _names(verb, args, job.out)
    for number, (ending, pixels) in enumerate(made):         # after the results, a preview
        path = paths[number] if number < len(paths) else job.out.with_name(f"{job.out.stem}{ending}{job.out.suffix}")
        _write(path, picture, pixels, _origin(name, args, job.source, number, picture.pixels, pixels))


def _origin(name: str, args: argparse.Namespace, source: Path, number: int, before: np.ndarray, made: np.ndarray
            ) -> Origin:
    """What is signed of a result: the flags, with the names of files alone, and the pictures that it was made from."""
    from imggen_jax.provenance.publishing import Origin

    others = [*args.inputs[1:2]] if name == "mix" else []
    asked = {}
    for flag in _ASKED & set(vars(args)):
        value = getattr(args, flag)
        asked[flag] = [Path(one).name for one in ([value] if isinstance(value, str) else value)] if (
            flag in _FILES and value) else value
        if flag in ("paint", "style", "like"):
            others += [value] if isinstance(value, str) else value
    facts = {"arguments": {key: value for key, value in asked.items() if value not in (None, [], "")}, "number": number}
    return Origin(name, facts=facts, parent=source, others=[Path(one) for one in others],
                  part=_part(args, before, made))


def _part(args: argparse.Namespace, before: np.ndarray, made: np.ndarray) -> np.ndarray | None:
    """bool [H,W], true where the picture is not the one before, to the bit; None where little of that is left."""
    import numpy as np

    height, width = before.shape[:2]
    top, left = getattr(args, "top", 0), getattr(args, "left", (made.shape[1] - width) // 2)
    window = made[top : top + height, max(left, 0) : max(left, 0) + width]
    if window.shape != before.shape:
        return None
    part = np.ones(made.shape[:2], bool)
    part[top : top + height, left : left + width] = (window != before).any(-1)
    return None if part.mean() > _MOSTLY else part


def _write(path: Path, like: Picture, pixels: np.ndarray, origin: Origin) -> None:
    from imggen_jax.provenance import publishing

    for note in publishing.write(path, like._replace(pixels=pixels), origin):
        print(f"note: {path.name}: {note}")
    print(path)


def _expected(verb: Verb, args: argparse.Namespace, picture: Picture) -> str:
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
    parser.add_argument("--overwrite", action="store_true", help="make again what is there, even an input")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="others give other pictures (default: 0)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _quality(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quality", choices=("draft", "normal", "best"), default="normal",
                        help="the longer side that is worked at: 384, 768 or 1536 pixels; detail comes from the "
                             "picture at its full size (default: normal)")
    parser.add_argument("--backend", choices=("auto", "exact", "tree"), default="auto",
                        help="search for patches: exact, for GPUs and TPUs; tree, for CPUs (default: auto)")


def _masks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mask", metavar="M", help="a picture of the same size, or a folder of them named like the "
                        "inputs: white, or transparent, is changed. Default: where the input is transparent")
    parser.add_argument("--box", action="append", default=[], type=_box, metavar="X,Y,W,H",
                        help="a rectangle that is changed, from the upper left corner; may be repeated")
    parser.add_argument("--mask-means", choices=("change", "keep"), default="change",
                        help="what white means in the mask (default: change)")


def _box(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(,\d+){3}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not X,Y,W,H in pixels, as in 120,80,200,160")
    return tuple(int(word) for word in text.split(","))


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


def _mask(args: argparse.Namespace, picture: Picture, path: Path) -> tuple[np.ndarray, Picture]:
    """bool [H,W], true where the picture is changed, and the picture, opaque where its own alpha was the mask."""
    import numpy as np

    from imggen_jax.patches import PatchError
    from imggen_jax.pictures import files

    height, width, channels = picture.pixels.shape
    change = np.zeros((height, width), bool)
    if args.mask:
        marked = _marked(files.read(_beside(Path(args.mask), path)).pixels)
        if marked.shape != change.shape:
            raise PatchError(f"the mask is {marked.shape[1]}x{marked.shape[0]} and {path.name} {width}x{height}; they "
                             "must be of one size")
        change |= marked if args.mask_means == "change" else ~marked
    for x, y, w, h in args.box:
        if x >= width or y >= height or not w or not h:
            raise PatchError(f"the box {x},{y},{w},{h} lies outside {path.name}, which is {width}x{height}")
        change[y : y + h, x : x + w] = True
    if not args.mask and not args.box:
        if channels not in (2, 4) or picture.pixels[..., -1].min() > 0:
            raise PatchError("say what is to be changed: --mask FILE, --box X,Y,W,H, or a picture that is transparent "
                             "there")
        change = picture.pixels[..., -1] == 0
        picture = picture._replace(pixels=picture.pixels[..., :-1])
    return change, picture


def _marked(pixels: np.ndarray) -> np.ndarray:
    top = 65535 if pixels.dtype.itemsize == 2 else 255
    if pixels.shape[-1] in (2, 4) and pixels[..., -1].min() < top / 2:
        return pixels[..., -1] < top / 2                     # as in OpenAI's API: transparent is edited
    return pixels[..., :3].max(-1) >= top / 2


def _beside(mask: Path, path: Path) -> Path:
    """The mask of an input: the file itself, or the one of the same name in a folder."""
    from imggen_jax.pictures import files

    if not mask.is_dir():
        return mask
    found = [f for f in sorted(mask.iterdir()) if f.stem == path.stem and f.suffix.lower() in files.READ]
    if not found:
        raise files.PictureError(f"the folder {mask} holds no mask named {path.stem}, for {path.name}")
    return found[0]


def _other(path: str, like: Picture) -> np.ndarray:
    """Another picture, with its colors in the profile, and of the depth, of the first."""
    from imggen_jax.pictures import files

    other = files.read(path)
    for note in other.notes:
        print(f"note: {Path(path).name}: {note}")
    return _deep(files.in_profile(other, like.icc), like.pixels.dtype)


def _deep(pixels: np.ndarray, dtype) -> np.ndarray:
    if pixels.dtype == dtype:
        return pixels
    return (pixels.astype(dtype) * 257 if dtype.itemsize == 2 else (pixels // 257).astype(dtype))


def _channels(pixels: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Pixels with the channels of another picture: gray repeated, alpha added or left."""
    import numpy as np

    color, wanted = pixels[..., : 3 if pixels.shape[-1] >= 3 else 1], like.shape[-1]
    if wanted >= 3 and color.shape[-1] == 1:
        color = np.repeat(color, 3, -1)
    if wanted < 3 and color.shape[-1] == 3:
        color = np.rint(color.mean(-1, keepdims=True)).astype(pixels.dtype)
    if wanted in (1, 3):
        return color
    alpha = pixels[..., -1:] if pixels.shape[-1] in (2, 4) else np.full_like(color[..., :1], np.iinfo(color.dtype).max)
    return np.concatenate([color, alpha], -1)


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
    _masks(parser)
    parser.add_argument("--use", metavar="M", help="a mask: white is where patches may be taken from")
    parser.add_argument("--grow", type=int, default=0, metavar="P", help="pixels to widen the mask by (default: 0)")
    parser.add_argument("--soften", type=int, default=0, metavar="P",
                        help="pixels inside the mask over which the picture passes into the filling (default: 0)")
    _quality(parser)


def _remove(args, picture, path, report):
    import numpy as np

    from imggen_jax import patches
    from imggen_jax.pictures import files

    change, opaque = _mask(args, picture, path)
    use = None if args.use is None else _marked(files.read(_beside(Path(args.use), path)).pixels)
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

    paint = _channels(_other(args.paint, picture), picture.pixels)
    yield "", patches.edit(picture.pixels, paint, **_options(args, report))


def _mix_flags(parser):
    parser.add_argument("inputs", nargs=2, metavar=("A", "B"), help="two picture files")
    _common(parser, several=False)
    _masks(parser)
    _quality(parser)


def _mix(args, picture, path, report):
    from imggen_jax import patches

    second = _channels(_other(args.inputs[1], picture), picture.pixels)
    inside = _mask(args, picture, path)[0] if args.mask or args.box else None
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

    styles = [_other(style, picture) for style in args.style]
    yield "", patches.stylize(picture.pixels, styles, weights=_weights(args), strength=args.strength,
                              keep_colors=args.keep_colors, scale=args.scale, **_options(args, report))


def _recolor_flags(parser):
    _common(parser)
    parser.add_argument("--like", required=True, metavar="REFERENCE", help="a picture whose palette is taken")
    parser.add_argument("--strength", type=float, default=1.0, metavar="X", help="0 (the picture) to 1 (default: 1)")


def _recolor(args, picture, path, report):
    from imggen_jax import patches

    yield "", patches.recolor(picture.pixels, _other(args.like, picture), strength=args.strength, seed=args.seed,
                              report=report)


def _examples(text: str, *lines: str) -> str:
    return text + "\n\nexamples:\n" + "\n".join(f"  imggen {line}" for line in lines) + "\n"


def _of_size(args, height, width):
    return args.size


VERBS = {
    "texture": Verb("a larger piece of the same material", _examples(
        "Makes more of a material: stone, bark, cloth, clouds. What it shows is arranged anew.",
        "texture stone.jpg --size 2048x2048 --out larger.png",
        "texture stone.jpg --size 1024x1024 --tileable --out floor.png"),
        _texture_flags, _nothing, _texture, Cost(16, 1.0), _of_size),
    "tile": Verb("change a picture as little as needed so that it tiles", _examples(
        "Evens out light between opposite edges and makes a band along them anew. Writes a 3x3 preview, too, and "
        "measures\nthe seam.", "tile grass.jpg --out tile.png", "tile photos --band 0.2 --out tiles"),
        _tile_flags, _nothing, _tile, Cost(12, 1.0)),
    "variations": Verb("the scene of a picture, rearranged", _examples(
        "Writes NAME_000.png, ...; number k has seed S+k.", "variations lake.jpg --num 8 --out lakes",
        "variations lake.jpg --num 1 --strength 0.8 --out other.png"),
        _variations_flags, _check_num, _variations, Cost(28, 1.0), number=lambda args: args.num),
    "retarget": Verb("another aspect, without stretching", _examples(
        "Repeats or leaves out what the picture shows, so that things keep their shapes.",
        "retarget beach.jpg --size 1600x600 --out banner.jpg"),
        _retarget_flags, _nothing, _retarget, Cost(22, 1.0), _of_size),
    "panorama": Verb("widen a picture, to 360 degrees if wanted", _examples(
        "Continues a picture on both sides; the picture itself is in the middle, to the bit.",
        "panorama beach.jpg --width 3000 --out wide.jpg", "panorama beach.jpg --width 4096 --wrap --out around.jpg"),
        _panorama_flags, _nothing, _panorama, Cost(22, 1.0), lambda args, h, w: (h, args.width)),
    "remove": Verb("fill what a mask or a box marks", _examples(
        "White in the mask, or transparent, is filled from the rest; what lies outside is returned to the bit.",
        "remove beach.jpg --mask people.png --out empty.png", "remove beach.jpg --box 205,50,195,340 --out empty.png",
        "remove photos --mask masks --grow 3 --out cleaned"),
        _remove_flags, _nothing, _remove, Cost(8, 1.0)),
    "outpaint": Verb("continue a picture beyond its edges", _examples(
        "The picture itself is in the result to the bit.", "outpaint house.jpg --left 200 --right 200 --out wide.png"),
        _outpaint_flags, _nothing, _outpaint, Cost(22, 1.0),
        lambda args, h, w: (h + args.top + args.bottom, w + args.left + args.right)),
    "stylize": Verb("paint a picture as another is painted", _examples(
        "Content from the picture, strokes and palette from the style.",
        "stylize house.jpg --style starry_night.jpg --out painted.png",
        "stylize photos --style a.jpg --style b.jpg --weights 2,1 --strength 0.6 --out painted"),
        _stylize_flags, _weights, _stylize, Cost(32, 0.7)),
    "mix": Verb("two pictures made one, without a seam", _examples(
        "The second picture where the mask is white; without a mask the right part, from the best seam on.",
        "mix lake.jpg mountains.jpg --out both.png", "mix lake.jpg boat.jpg --mask boat_mask.png --out both.png"),
        _mix_flags, _nothing, _mix, Cost(8, 1.0)),
    "edit": Verb("make a rough copy-and-paste edit seamless", _examples(
        "Copy the picture, move or paste things in it roughly, and give both.",
        "edit street.png --paint street_edited.png --out street_clean.png"),
        _edit_flags, _nothing, _edit, Cost(8, 1.0)),
    "recolor": Verb("the palette of another picture", _examples(
        "Grain and edges stay.", "recolor lake.jpg --like sunset.jpg --out evening.jpg"),
        _recolor_flags, _nothing, _recolor, Cost(0, 1.5)),
}
