"""The verbs `prepare` and `data`, and the flags of `forget`. Nothing heavy is imported before one runs."""
from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

from imggen_jax import flags, streams

PREPARE = """\
Downloads a stock TFDS dataset and prepares it as array_record, once; training then needs no TensorFlow. Needs the
`prepare` extra: pip install "imggen_jax[prepare]"

example:
  imggen prepare --name cifar10
"""
DATA = """\
Makes a TFDS dataset (array_record) of a folder tree, a zip or a tar of pictures, once, and prints what it found.
Nothing in the folder is changed. Training with --config.data.folder=PATH does the same by itself; this verb is for
looking first, and for what a config does not say: padding, background, license, pairs.

Sub-folders name the labels; train, test and val are splits. NAME.txt beside NAME.jpg is its caption; metadata.csv or
metadata.jsonl (with a column file_name) hold captions (text), source, license, consent, label and any attributes.
NAME_mask.png beside NAME.jpg, or mask/NAME.png, is its mask. With --pairs, B is the picture and A what it is made from.

examples:
  imggen data --folder holiday
  imggen data --folder holiday.zip --size 128 --fit pad --background "#202020" --out prepared
  imggen data --folder scans --license "CC BY 4.0"
  imggen data --folder facades --pairs side-by-side
  imggen data --folder portraits --opt-out withdrawn.txt
"""
FORGET = """\
Takes pictures out of a model, in the one way that does: it is trained anew without them, into another folder, from the
same config and folder of pictures. Without --retrain it is refused, and nothing is changed: weights do not forget. The
model of before is not touched; it is yours to retire. Exit code 0 too where none of the pictures is in its data.

examples:
  imggen forget --workdir runs/faces --files withdrawn/*.jpg
  imggen forget --workdir runs/faces --files withdrawn/*.jpg --retrain runs/faces_2
"""


def prepare(words: Sequence[str]) -> int:
    """Prepare a stock TFDS dataset; returns the exit code."""
    parser = flags.Parser("prepare", PREPARE)
    parser.add_argument("--name", required=True, metavar="NAME", help="TFDS name, such as cifar10")
    parser.add_argument("--dir", type=flags.path, metavar="D", help="TFDS data_dir (default: TFDS's own)")
    args = parser.parse_args(words)
    from imggen_jax import data

    data.prepare(args.name, args.dir or "")
    return 0


def ingest(words: Sequence[str]) -> int:
    """Make a dataset of a folder, zip or tar of pictures; returns the exit code."""
    from imggen_jax import data
    from imggen_jax.data import folders

    parser = flags.Parser("data", DATA)
    parser.add_argument("--folder", required=True, type=flags.path, metavar="PATH", help="a folder, a zip or a tar")
    parser.add_argument("--size", type=int, default=64, metavar="S",
                        help="side in pixels, 0 to keep each picture's own size (default: 64)")
    parser.add_argument("--out", type=flags.path, metavar="DIR",
                        help="TFDS data_dir to write to (default: $IMGGEN_JAX_CACHE/folders or "
                             "~/.cache/imggen_jax/folders)")
    parser.add_argument("--fit", default="crop", metavar="F", help="crop to the central square, or pad (default: crop)")
    parser.add_argument("--background", default="white", metavar="C",
                        help="color behind transparency and padding, as white or #20a040 (default: white)")
    parser.add_argument("--license", default="", metavar="L", help="of pictures for which the metadata name none")
    parser.add_argument("--pairs", default="", metavar="P",
                        help="side-by-side: A and B in one file; aligned: folders A and B, or trainA, trainB, ..., "
                             "with equal names; unaligned: the same folders as two domains (default: no pairs)")
    parser.add_argument("--opt-out", type=flags.path, metavar="L",
                        help="list of pictures that must not be trained on: a line each, sha256 or path; they and what "
                             "looks like them are left out and counted (default: $IMGGEN_JAX_OPT_OUT, or none)")
    parser.add_argument("--min-side", type=int, metavar="P",
                        help="pixels; pictures with a shorter side are left out (default: half of S)")
    parser.add_argument("--max-pixels", type=int, default=folders.MAX_PIXELS, metavar="P",
                        help=f"pictures with more are left out (default: {folders.MAX_PIXELS})")
    args = parser.parse_args(words)
    made = data.ingest(args.folder, size=args.size, out=args.out or "", fit=args.fit, background=args.background,
                       license=args.license, min_side=args.min_side, max_pixels=args.max_pixels, pairs=args.pairs,
                       verify=True, opt_out=args.opt_out or "")
    facts = [*folders.lines(made.card), ("Every file", made.folder / "ingest.html"), ("Dataset", made.folder)]
    config = [f"--config.data.name={made.name}", f"--config.data.dir={made.dir}", f"--config.data.size={args.size}"]
    command = shlex.join([*flags.program().split(), "train", "--config", "folder_gan", *config])
    streams.say(f"{what:18}{value}" for what, value in [*facts, ("Train with it", command)])
    return 0


def parse_forget(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of `forget`."""
    parser = flags.Parser("forget", FORGET)
    parser.add_argument("--workdir", required=True, type=flags.path, metavar="W", help="the run's folder")
    parser.add_argument("--files", required=True, nargs="+", type=flags.path, metavar="F",
                        help="pictures, or their names in ledger.csv of the dataset")
    parser.add_argument("--retrain", type=flags.path, metavar="NEW", help="folder of the run without them")
    return parser.parse_args(words)
