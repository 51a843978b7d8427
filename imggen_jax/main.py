"""Verbs and flags: `python -m imggen_jax.main [VERB] ...`. Each verb is a function of the public API."""
from __future__ import annotations

import argparse
import functools
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from imggen_jax import picture_verbs
from imggen_jax.editing import flags as editing
from imggen_jax.runs.errors import Diverged, Interrupted, RunError, SaveError

TRAIN = """\
Trains what a config describes, or goes on with it: the same command resumes.

examples:
  python -m imggen_jax.main --config configs/avatars_vae.py
  python -m imggen_jax.main --config configs/mnist_vae.py --workdir runs/digits --config.train.batch=64
  python -m imggen_jax.main --config configs/folder_gan.py --config.data.folder=holiday      # your own pictures
  python -m imggen_jax.main --config configs/cifar10_gan.py --coordinator auto        # on every host of a TPU pod

other verbs (each has --help):
  generate     make pictures with a trained run
  evaluate     score a trained run, or two sets of pictures
  describe     print a run's facts as JSON
  prepare      download and prepare a stock TFDS dataset, once
  data         look through a folder of pictures and make a dataset of it
editing, with a trained run:
EDITING
of one picture, without a run:
PICTURE
"""
GENERATE = """\
Writes OUT/<seed of the picture, 6 digits>.png and OUT/grid.png. Picture number k has seed S+k, and is the same whatever
N, the batch size and the number of devices.

examples:
  python -m imggen_jax.main generate --workdir runs/avatars_gan --num 64 --out faces
  python -m imggen_jax.main generate --workdir runs/cifar10_gan --num 16 --label horse --truncation 0.8 --out horses
"""
DESCRIBE = """\
Prints JSON: step, images, parameters per player, sha256 over the whole training state, config.

example:
  python -m imggen_jax.main describe --workdir runs/avatars_vae
"""
EVALUATE = """\
Scores a trained run, or two sets of pictures: a folder, a .npz file, or a TFDS dataset as NAME[@SPLIT].
Frechet distance (FID in the inception space), KID, Inception Score, precision, recall, density, coverage; each with its
spread, and stored with all that must be equal for two scores to compare.

examples:
  python -m imggen_jax.main evaluate --workdir runs/avatars_vae
  python -m imggen_jax.main evaluate --workdir runs/mnist_vae --num 10000 --also likelihood --samples 500
  python -m imggen_jax.main evaluate --real cifar10@train --fake pictures --space inception --json
"""
PREPARE = """\
Downloads a stock TFDS dataset and prepares it as array_record, once; training then needs no TensorFlow. Needs the
`prepare` extra: pip install "imggen_jax[prepare]"

example:
  python -m imggen_jax.main prepare --name cifar10
"""
DATA = """\
Makes a TFDS dataset (array_record) of a folder tree, a zip or a tar of pictures, once, and prints what it found.
Nothing in the folder is changed. Training with --config.data.folder=PATH does the same by itself; this verb is for
looking first, and for what a config does not say: padding, background, licence.

Sub-folders name the labels; train, test and val are splits. NAME.txt beside NAME.jpg is its caption; metadata.csv or
metadata.jsonl (with a column file_name) hold captions (text), source, licence, consent, label and any attributes.

examples:
  python -m imggen_jax.main data --folder holiday
  python -m imggen_jax.main data --folder holiday.zip --size 128 --fit pad --background "#202020" --out prepared
  python -m imggen_jax.main data --folder scans --licence "CC BY 4.0"
"""


def main(words: Sequence[str]) -> int:
    """Run a command line; returns the exit code: 0 done, 1 diverged or disk full, 2 wrong input, 128 + signal.

    The process may also leave by itself, with 3 where another process of the run was lost, and 128 + signal.
    """
    verbs = {"generate": _generate, "evaluate": _evaluate, "describe": _describe, "prepare": _prepare, "data": _data}
    verbs |= {name: functools.partial(_picture, name) for name in picture_verbs.VERBS}
    verbs |= {name: functools.partial(_editing, name) for name in editing.VERBS}
    if any(word.split("=")[0] == "--paint" for word in words):  # a picture's own `edit`; the other one needs a run
        verbs["edit"] = functools.partial(_picture, "edit")
    if words and words[0] not in verbs and not words[0].startswith("-"):
        print(f"error: unknown verb {words[0]!r}; choose {', '.join(verbs)}, or train with --config FILE",
              file=sys.stderr)
        return 2
    verb, rest = (verbs[words[0]], words[1:]) if words and words[0] in verbs else (_train, words)
    try:
        return verb(list(rest))
    except KeyboardInterrupt:
        print("\nInterrupted before anything was trained, or after all was saved.", file=sys.stderr)
        return 128 + signal.SIGINT
    except Exception as error:
        told = _told(error)
        if told is None or os.environ.get("IMGGEN_JAX_TRACEBACK"):
            raise
        print(" ".join(told[1].split()), file=sys.stderr)
        return told[0]


def _told(error: Exception) -> tuple[int, str] | None:
    """(exit code, line) for what a user can do something about; None for a bug, which keeps its traceback."""
    from imggen_jax.data import DataError
    from imggen_jax.metrics.errors import MetricsError
    from imggen_jax.patches import PatchError
    from imggen_jax.pictures.files import PictureError
    from imggen_jax.runs.config import ConfigError

    match error:
        case ConfigError() | DataError() | MetricsError() | PatchError() | PictureError() | RunError():
            return 2, f"error: {error}"
        case SaveError():
            return 1, f"error: {error}"
        case Diverged():
            return 1, f"diverged: {error}"
        case Interrupted():
            return 128 + error.signal, str(error)
    return None


def _train(words: list[str]) -> int:
    edits = "\n".join(f"  {name:13}{verb.summary}" for name, verb in editing.VERBS.items())
    of_one = "\n".join(f"  {name:13}{verb.summary}" for name, verb in picture_verbs.VERBS.items())
    parser = _parser(None, TRAIN.replace("EDITING", edits).replace("PICTURE", of_one))
    parser.add_argument("--config", required=True, metavar="FILE", help="Python file with get_config(); it is executed")
    parser.add_argument("--workdir", metavar="W", help="the run's folder (default: runs/<config's name>)")
    parser.add_argument("--coordinator", metavar="HOST:PORT",
                        help="join several processes; 'auto' on TPU pods and Slurm")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="how many processes there are")
    parser.add_argument("--process", type=int, default=0, metavar="I", help="which one this is, from 0")
    parser.add_argument("--heartbeat", type=int, default=60, metavar="S",
                        help="seconds of silence after which another process is taken for lost (default: 60)")
    parser.epilog = "Any value of the config can be set: --config.key=value"
    args, overrides = parser.parse_known_args(words)
    _check_processes(args)

    from imggen_jax.runs import config

    read = config.read(args.config, overrides)
    config.check(read)
    _start_jax(args)
    from imggen_jax.runs import train as run

    workdir = args.workdir or Path("runs") / Path(args.config).stem
    report = run.train(read, workdir, heartbeat=args.heartbeat)
    print(f"Done. Report: {report}")
    if read.game.name != "classifier":
        print(f"Pictures: python -m imggen_jax.main generate --workdir {workdir} --num 64 --out out")
    return 0


def _check_processes(args: argparse.Namespace) -> None:
    if args.processes < 1 or not 0 <= args.process < args.processes:
        raise RunError(f"--processes is {args.processes} and --process is {args.process}; processes are numbered "
                       "from 0 to one below their number")
    if args.processes > 1 and not args.coordinator:
        raise RunError(f"--processes is {args.processes}; say where they meet: --coordinator HOST:PORT, the "
                       "same for all")
    if args.coordinator not in (None, "auto") and not re.fullmatch(r"\S+:[1-9]\d{0,4}", args.coordinator):
        raise RunError(f"--coordinator is {args.coordinator!r}; it must be HOST:PORT of process 0, or auto")
    if args.heartbeat < 1:
        raise RunError(f"--heartbeat is {args.heartbeat}; it must be at least 1 second")


def _generate(words: list[str]) -> int:
    parser = _parser("generate", GENERATE)
    parser.add_argument("--workdir", required=True, metavar="W", help="folder of a trained run")
    parser.add_argument("--num", type=int, required=True, metavar="N", help="how many pictures")
    parser.add_argument("--out", required=True, metavar="D", help="folder to write to; made if needed")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the first picture (default: 0)")
    parser.add_argument("--label", metavar="L", help="number or name of a class, for class-conditional runs")
    parser.add_argument("--truncation", type=float, default=1.0, metavar="T",
                        help="factor on the latents; below 1: fewer failures, less variety (default: 1)")
    args = parser.parse_args(words)
    _start_jax()
    from imggen_jax import api

    grid = api.generate(args.workdir, args.out, num=args.num, seed=args.seed, label=args.label,
                        truncation=args.truncation)
    print(f"{args.num} pictures in {args.out}; all together: {grid}")
    return 0


def _evaluate(words: list[str]) -> int:
    parser = _parser("evaluate", EVALUATE)
    parser.add_argument("--workdir", metavar="W", help="folder of a trained run")
    parser.add_argument("--real", metavar="A", help="real pictures: a folder, a .npz file or NAME[@SPLIT]")
    parser.add_argument("--fake", metavar="B", help="pictures to be scored, as --real")
    parser.add_argument("--num", type=int, metavar="N",
                        help="of a run: pictures in each set, beside as many real ones (default: 10000, or all)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first picture, and of what is drawn")
    parser.add_argument("--resamples", type=int, default=3, metavar="R",
                        help="of a run: sets of pictures; else random halves (default: 3)")
    parser.add_argument("--space", default="classifier", metavar="F",
                        help="feature space: classifier, inception, inception-tf1, dinov2-vitb14, dinov2-vitl14 "
                             "(default: classifier, trained on the dataset's labels, once)")
    parser.add_argument("--also", default="", metavar="X,Y",
                        help="of a run, further questions: likelihood, usefulness, modes, copying, balance")
    parser.add_argument("--only", default="", metavar="X,Y",
                        help="of a run, these questions alone, without scores: of few pictures, too")
    parser.add_argument("--samples", type=int, metavar="K",
                        help="for likelihood: samples a picture, 1 to 5000 (default: 500)")
    parser.add_argument("--against", metavar="FILE", help="a stored report to compare with, of the same recipe")
    parser.add_argument("--data-dir", default="", metavar="D", help="TFDS data_dir of --real and --fake")
    parser.add_argument("--out", metavar="O", help="folder for pages and charts (default: W/scores)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, and nothing else")
    args = parser.parse_args(words)
    if (args.workdir is None) == (args.real is None and args.fake is None) or (args.real is None) != (
            args.fake is None):
        parser.error("give either --workdir, or both --real and --fake")
    other = ("data_dir",) if args.workdir is not None else ("num", "also", "only", "samples", "out")
    if stray := [f"--{name.replace('_', '-')}" for name in other if getattr(args, name) not in (None, "")]:
        parser.error(f"{stray[0]} goes with {'--real and --fake' if args.workdir is not None else '--workdir'}")
    _start_jax()
    from imggen_jax import api

    common = dict(space=args.space, seed=args.seed, resamples=args.resamples, against=args.against)
    if args.workdir is not None:
        also, only = (tuple(word for word in words.split(",") if word) for words in (args.also, args.only))
        found = api.evaluate(args.workdir, num=args.num, also=also, only=only, out=args.out,
                             samples=500 if args.samples is None else args.samples, **common)
    else:
        found = api.compare(args.real, args.fake, dir=args.data_dir, **common)
    print(json.dumps(found, allow_nan=False) if args.json else api.score_table(found))
    return 0


def _describe(words: list[str]) -> int:
    parser = _parser("describe", DESCRIBE)
    parser.add_argument("--workdir", required=True, metavar="W", help="folder of a run")
    args = parser.parse_args(words)
    _start_jax()
    from imggen_jax import api

    print(json.dumps(api.describe(args.workdir), indent=2))
    return 0


def _prepare(words: list[str]) -> int:
    parser = _parser("prepare", PREPARE)
    parser.add_argument("--name", required=True, metavar="NAME", help="TFDS name, such as cifar10")
    parser.add_argument("--dir", default="", metavar="D", help="TFDS data_dir (default: TFDS's own)")
    args = parser.parse_args(words)
    from imggen_jax import data

    data.prepare(args.name, args.dir)
    return 0


def _data(words: list[str]) -> int:
    from imggen_jax import data
    from imggen_jax.data import folders

    parser = _parser("data", DATA)
    parser.add_argument("--folder", required=True, metavar="PATH", help="a folder, a zip or a tar")
    parser.add_argument("--size", type=int, default=64, metavar="S", help="side in pixels (default: 64)")
    parser.add_argument("--out", default="", metavar="DIR",
                        help="TFDS data_dir to write to (default: $IMGGEN_JAX_CACHE/folders or "
                             "~/.cache/imggen_jax/folders)")
    parser.add_argument("--fit", default="crop", metavar="F", help="crop to the central square, or pad (default: crop)")
    parser.add_argument("--background", default="white", metavar="C",
                        help="colour behind transparency and padding, as white or #20a040 (default: white)")
    parser.add_argument("--licence", default="", metavar="L", help="of pictures for which the metadata name none")
    parser.add_argument("--min-side", type=int, metavar="P",
                        help="pixels; pictures with a shorter side are left out (default: half of S)")
    parser.add_argument("--max-pixels", type=int, default=folders.MAX_PIXELS, metavar="P",
                        help=f"pictures with more are left out (default: {folders.MAX_PIXELS})")
    args = parser.parse_args(words)
    made = data.ingest(args.folder, size=args.size, out=args.out, fit=args.fit, background=args.background,
                       licence=args.licence, min_side=args.min_side, max_pixels=args.max_pixels)
    for what, value in folders.lines(made.card):
        print(f"{what:18}{value}")
    print(f"{'Every file':18}{made.folder / 'ingest.html'}")
    print(f"{'Dataset':18}{made.folder}")
    print(f"{'Train with it':18}--config configs/folder_gan.py --config.data.name={made.name} "
          f"--config.data.dir={shlex.quote(made.dir)} --config.data.size={args.size}")
    return 0


def _editing(name: str, words: list[str]) -> int:
    verb = editing.VERBS[name]
    parser = _parser(name, verb.description)
    verb.flags(parser)
    args = parser.parse_args(words)
    _start_jax()
    for line in verb.run(args):
        print(line)
    return 0


def _picture(name: str, words: list[str]) -> int:
    verb = picture_verbs.VERBS[name]
    parser = _parser(name, verb.description)
    verb.flags(parser)
    return picture_verbs.run(name, parser.parse_args(words))


def _parser(verb: str | None, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog="python -m imggen_jax.main" + (f" {verb}" if verb else ""), description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)


def _start_jax(args: argparse.Namespace | None = None) -> None:
    from absl import logging

    from imggen_jax import devices

    logging.set_verbosity(logging.FATAL)  # orbax logs the traceback of every error that it also raises
    devices.use_compile_cache()
    if args is not None and args.coordinator:
        try:
            devices.connect(args.coordinator, args.processes, args.process, heartbeat=args.heartbeat)
        except (RuntimeError, ValueError) as error:  # JAX's, for another machine's address, or no platform to ask
            raise RunError(f"cannot join other processes by --coordinator {args.coordinator} ({error}); give HOST:PORT "
                           "of process 0, free there and reachable from here") from error
    try:
        devices.choose(0)
    except ValueError as error:
        raise RunError(str(error)) from error


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `describe | head` ends quietly
    code = main(sys.argv[1:])
    if code in (1, 2):  # JAX would wait for the other processes of a run, which are told otherwise that this one failed
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
