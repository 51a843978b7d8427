"""The verbs that make a picture of a picture with a model: their flags, files and reports."""
from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imggen_jax.errors import RunError
from imggen_jax.picture_verbs import shared
from imggen_jax.picture_verbs.running import Verb, progress

if TYPE_CHECKING:
    import numpy as np

    from imggen_jax.pictures.files import Job, Picture
    from imggen_jax.pictures.through import Made, Tiled
    from imggen_jax.provenance.publishing import Origin

_ASKED = {"scale", "kind", "strength", "denoise", "dejpeg", "direction", "mask", "box", "mask_means"}
HOTTEST = 24                         # levels of 255 by which the brightest pixel of a heat map differs


# ----------------------------------------------------------------------------------------------------------- the flags


def _common(parser: argparse.ArgumentParser, out: str) -> None:
    parser.add_argument("inputs", nargs="*", metavar="IN", help="picture files, or folders of them")
    parser.add_argument("-i", "--input", action="append", default=[], metavar="IN", help="the same, as a flag")
    parser.add_argument("-o", "--out", metavar="O",
                        help=f"a file for one picture, or a folder, in which the inputs keep their names (default: the "
                             f"folder {out})")
    parser.add_argument("-f", "--format", choices=("png", "jpg", "webp", "tif", "avif"),
                        help="of files in a folder (default: the input's)")
    parser.add_argument("-t", "--tile", type=_tile, default=0, metavar="P",
                        help="longest side, in pixels of the input, that is worked at once: less takes less memory "
                             "(default: auto)")
    shared.add_common(parser)


def _shipped(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--model", "--workdir", dest="model", metavar="M",
                        help="folder of a run or of an exported model, or the name of a shipped one (default: the "
                             "shipped one that suits)")
    parser.add_argument("--strength", type=float, default=1.0, metavar="X",
                        help="0 (the input, enlarged by bicubic interpolation) to 1 (the model) (default: 1)")
    parser.add_argument("--report", action="store_true",
                        help="reduce the result again and compare it with the input: dB, and a heat map beside it of "
                             "what the model has changed")


def _own(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("-n", "--workdir", "--model", dest="model", required=True, metavar="W",
                        help=f"folder of a run or of an exported model that {what}")


def _tile(text: str) -> int:
    if text == "auto":
        return 0
    if not text.isdecimal() or 0 < int(text) < 32:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a number of pixels from 32")
    return int(text)


def _plan(out: Callable[[argparse.Namespace], str], args: argparse.Namespace) -> list[Job]:
    from imggen_jax.pictures import files

    inputs = [*args.inputs, *args.input]
    if not inputs:
        raise RunError("no input is given; name picture files, or folders of them")
    return files.jobs(inputs, args.out or out(args), overwrite=args.overwrite,
                      ending=f".{args.format}" if args.format else None)


# ------------------------------------------------------------------------------------------------------------ one file


def _make(name: str, args: argparse.Namespace, steps: Sequence[tuple[Tiled, dict[str, Any]]], job: Job, title: str, *,
          prepare: Callable[[Picture, Path], tuple[Picture, np.ndarray | None]] = lambda picture, path: (picture, None)
          ) -> None:
    """Takes a file through one model, or through several, of which all but the last have scale 1."""
    from imggen_jax.pictures import files, through
    from imggen_jax.provenance import publishing

    source = files.read(job.source)
    for note in source.notes:
        print(f"note: {job.source.name}: {note}")
    source, mask = prepare(source, job.source)
    source, notes = files.fitted(job.out, source, steps[-1][0].sight.scale)
    for note in notes:
        print(f"note: {job.out.name}: {note}")
    print(f"{title}: {_expected(args, steps, job, source)}")
    picture, check = source, None
    with progress(title, args.quiet) as report:
        for number, (tiled, options) in enumerate(steps):
            made = through.translated(
                picture, tiled, mask=mask, tile=args.tile or None,
                report=lambda share, number=number: report((number + share) / len(steps)), **options)
            if number < len(steps) - 1:
                picture = picture._replace(pixels=through.collected(made))
        if getattr(args, "report", False):
            made, check = _checked(made, source, steps[-1][0].sight.scale)
        same = (made.shape[2] >= 3) == (source.pixels.shape[2] >= 3)
        like, origin = source if same else source._replace(icc=None), _origin(name, args, steps, job.source, mask)
        publishing.write_bands(job.out, like, made.shape, made.bands, origin)
    print(job.out)
    if check is not None:
        _report(check(), job.out, steps[-1][0].sight.scale, origin)


def _origin(name: str, args: argparse.Namespace, steps: Sequence[tuple[Tiled, dict]], source: Path,
            mask: np.ndarray | None) -> Origin:
    from imggen_jax.provenance.publishing import Origin

    facts = {"arguments": shared.asked(args, _ASKED, ("mask",)), **steps[-1][0].facts}
    if len(steps) > 1:
        facts["models before"] = [dict(tiled.facts) for tiled, _ in steps[:-1]]
    return Origin(name, facts=facts, parent=source, part=mask)


def _expected(args: argparse.Namespace, steps: Sequence[tuple[Tiled, dict]], job: Job, picture: Picture) -> str:
    """Size, tiles and memory. Raises RunError where the memory is not there."""
    from imggen_jax.data.memory import free_memory
    from imggen_jax.pictures import encoding, files, through

    height, width, channels = picture.pixels.shape
    scale = steps[-1][0].sight.scale
    held = encoding.held(files.check_output(job.out), (scale * height, scale * width, channels), picture.pixels.dtype)
    plan, needed = None, 0
    for tiled, _ in steps:
        plan = through.covered(picture, tiled, args.tile or None)
        needed = max(needed, through.memory(picture, tiled, plan, held=held or len(steps) > 1))
    assert plan is not None, "there is a step"
    size = f"{width}x{height} to {scale * width}x{scale * height}"
    if needed - through.BASE > (free := free_memory()):
        raise RunError(f"{job.source}, {size}, would take {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} are "
                       "free; give --tile or a smaller picture")
    number = len(plan.rows) * len(plan.columns)
    return f"{size}, {number} tile{'s' * (number > 1)} of {plan.width}x{plan.height}, at most {needed / 1e9:.1f} GB"


# -------------------------------------------------------------------------------------------------------- what it made


def _checked(made: Made, source: Picture, scale: int) -> tuple[Made, Callable[[], np.ndarray]]:
    """The same bands, and what gives, after the last one, how the reduced result differs from the source: [H,W]."""
    import numpy as np

    from imggen_jax.pictures import resize

    height, width, given = source.pixels.shape
    channels = made.shape[2] - (made.shape[2] in (2, 4))
    reduced = resize.Reduced(height, width, channels, scale)

    def bands() -> Iterator[np.ndarray]:
        for band in made.bands:
            reduced.add(band[..., :channels])
            yield band

    def difference() -> np.ndarray:
        top = np.iinfo(made.dtype).max
        found = np.abs(reduced.pixels - source.pixels[..., :channels]) * (255 / top)
        # What alpha hides is not looked at: the model was given other colors there.
        return found * (source.pixels[..., -1:] / top) if given in (2, 4) else found

    return made._replace(bands=bands()), difference


def _report(difference: np.ndarray, out: Path, scale: int, origin: Origin) -> None:
    import numpy as np

    from imggen_jax.pictures import files
    from imggen_jax.provenance import publishing

    error = float(np.mean(np.square(difference)))
    quality = f"{10 * np.log10(255**2 / error):.2f} dB" if error else "equal"
    heat = 3 * np.clip(difference.mean(-1, keepdims=True) / HOTTEST, 0, 1) - np.arange(3)
    file = out.with_name(f"{out.stem}_report.png")           # black, red, yellow, white
    with publishing.using(publishing.settings()._replace(watermark=False)):  # it is a measurement
        publishing.write(file, files.Picture((255 * np.clip(heat, 0, 1)).astype(np.uint8)),
                         origin._replace(facts={**origin.facts, "report": True}, part=None))
    what = f"reduced by {scale}, against the input" if scale > 1 else "against the input"
    print(f"{file}: the result, {what}: {quality}, at most {difference.max():.0f} of 255")


# ----------------------------------------------------------------------------------------------------------- the verbs


def _upscale_flags(parser):
    _common(parser, "upscaled_x2, or as the scale is")
    parser.add_argument("-s", "--scale", type=int, choices=(2, 3, 4), help="(default: 2, or that of --model)")
    parser.add_argument("--kind", choices=("clean", "photo"), default="clean",
                        help="clean: without noise and compression; photo: as cameras and the web make them (default: "
                             "clean)")
    parser.add_argument("-dn", "--denoise", type=float, metavar="X",
                        help="0 to 1: how much noise is taken out, by realesr-general-x4v3 with "
                             "realesr-general-wdn-x4v3 beside it (default: the model's own)")
    _shipped(parser)


def _upscale(args):
    from imggen_jax import translators

    tiled = translators.upscaler(args.model, args.scale, args.kind, args.denoise)
    return functools.partial(_make, "upscale", args, [(tiled, {"strength": _strength(args)})])


def _strength(args):
    if not 0 <= args.strength <= 1:
        raise RunError(f"--strength is {args.strength}; it must be from 0 to 1")
    return args.strength


def _restore_flags(parser):
    _common(parser, "restored")
    parser.add_argument("--denoise", type=float, metavar="X", help="0 to 1: how much of the noise is taken out")
    parser.add_argument("--dejpeg", action="store_true", help="take out what JPEG compression left. The model that "
                        "ships takes out both: --denoise then says how much of its result is taken")
    _shipped(parser)


def _restore(args):
    from imggen_jax import translators

    steps = translators.restorers(args.model, denoise=args.denoise, dejpeg=args.dejpeg, strength=_strength(args))
    return functools.partial(_make, "restore", args, [(tiled, {"strength": share}) for tiled, share in steps])


def _complete_flags(parser):
    _common(parser, "completed")
    _own(parser, "makes pictures of a source and a mask")
    shared.add_masks(parser)


def _complete(args):
    from imggen_jax import translators

    def prepare(picture, path):
        change, opaque = shared.mask_of(args, picture, path)
        if not change.any():
            raise RunError(f"the mask of {path.name} marks nothing; white is what is made anew")
        return shared.filled(picture, opaque, change), change

    return functools.partial(_make, "complete", args, [(translators.completer(args.model), {})], prepare=prepare)


def _translate_flags(parser):
    _common(parser, "translated")
    _own(parser, "makes pictures of a source")
    parser.add_argument("--direction", choices=("a2b", "b2a"), help="for a model that was trained both ways")


def _translate(args):
    from imggen_jax import translators

    return functools.partial(_make, "translate", args, [(translators.translator(args.model, args.direction), {})])


def _sketch_flags(parser):
    _common(parser, "sketched")
    _own(parser, "makes pictures of edges")


def _sketch(args):
    from imggen_jax import translators

    return functools.partial(_make, "sketch", args, [(translators.translator(args.model, None, "sketch"), {})],
                             prepare=lambda picture, path: (translators.drawn(picture), None))


def _verb(summary, text, examples, flags, begin, out) -> Verb:
    lines = "\n".join(f"  imggen {line}" for line in examples)
    return Verb(summary, f"{text}\n\nexamples:\n{lines}\n", flags, functools.partial(_plan, out), begin, True)


VERBS = {
    "upscale": _verb(
        "a larger picture, by a whole factor",
        "Makes pictures 2, 3 or 4 times as large, of any size and kind. Alpha, color profile, metadata, 16 bits and "
        "gray are kept.",
        ["upscale photo.jpg --scale 2 --out larger.png", "upscale photos --kind photo --out larger",
         "upscale -i photo.jpg -o larger.png -s 2 --strength 0.7 --report"],
        _upscale_flags, _upscale, lambda args: f"upscaled_x{args.scale or 2}"),
    "restore": _verb(
        "take out noise and compression",
        "Cleans pictures at their size.",
        ["restore scan.jpg --out clean.png", "restore photos --denoise 0.6 --dejpeg --keep-going --out clean"],
        _restore_flags, _restore, lambda args: "restored"),
    "complete": _verb(
        "fill what a mask marks, with a model",
        "White in the mask, or transparent, is made anew; what lies outside is returned to the bit.",
        ["complete face.png --mask hole.png --workdir runs/faces --out whole.png"],
        _complete_flags, _complete, lambda args: "completed"),
    "translate": _verb(
        "into another domain, with a model",
        "Makes of a picture what the model was trained to make of its like.",
        ["translate plan.png --workdir runs/facades --out facade.png",
         "translate photos --workdir runs/seasons --direction b2a --out winter"],
        _translate_flags, _translate, lambda args: "translated"),
    "sketch": _verb(
        "a picture of a line drawing, with a model",
        "Lines may be dark on light or light on dark.",
        ["sketch drawing.png --workdir runs/sketches --out picture.png"],
        _sketch_flags, _sketch, lambda args: "sketched"),
}
