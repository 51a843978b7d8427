"""Verbs and flags: `imggen VERB ...` or `python -m imggen_jax.main VERB ...`. Each verb is a function of the API."""
from __future__ import annotations

import argparse
import contextlib
import difflib
import functools
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from imggen_jax import flags, hub, picture_verbs, streams
from imggen_jax.editing import flags as editing
from imggen_jax.errors import Diverged, ImggenError, Interrupted, RunError, SaveError
from imggen_jax.flags import datasets, scores, trust
from imggen_jax.prompting import flags as prompting
from imggen_jax.prompting import teaching
from imggen_jax.serving import flags as serving

TRAIN = """\
Trains what a config describes, or resumes it: the same command continues a run that was stopped. The word `train` may
be left out.

examples:
  imggen train --config avatars_vae
  imggen train --config mnist_vae --workdir runs/digits --config.train.batch=64
  imggen train --config folder_gan --config.data.folder=holiday      # your own pictures
  imggen train --config cifar10_gan --coordinator auto               # on every host of a TPU pod
  imggen train --config my_config.py --print-config                 # every key, without training

other verbs (each has --help):
  generate     make pictures with a model
  evaluate     score a model, or two sets of pictures
  describe     print a model's facts as JSON, or a picture's caption
  personalize  teach a text model a word for what some pictures show
  export       write a model's weights, config and card to a folder
  prepare      download and prepare a stock TFDS dataset, once
  data         look through a folder of pictures and make a dataset of it
  forget       train a model anew without some pictures
  verify       who signed a picture, and whether it was changed since
  detect       find this project's watermark in a picture
  whose        find a picture in the log of those that were made here
  policy       what a model may be used for, and what is refused
  audit        one page about a model: data, copying, balance, marks, refusals
  fetch        download a text-to-image model of others
  adapt        add LoRA and words to such a model, or give it another size
  studio       all of this in a browser
  serve        models over HTTP, for programs: OpenAI's Images API
editing, with a model:
EDITING
of one picture, without a model:
PICTURE
of pictures, with a model that makes pictures of pictures:
TRANSLATION
"""
GENERATE = """\
Writes OUT/<seed of the picture, 6 digits>.png and OUT/grid.png, or one picture to a file OUT.png. Picture number k has
seed S+k, and is the same whatever N, the batch size and the number of devices.

examples:
  imggen generate --model runs/avatars_gan --num 64 --out faces
  imggen generate --model runs/avatars_gan --num 1 --seed 7 --out face.png
  imggen generate --model runs/cifar10_gan --num 16 --label horse --truncation 0.8 --out horses
  imggen generate --model runs/avatars_text --prompt "a {smiling, sad} person with blue hair" --num 4 --out faces
"""
DESCRIBE = """\
Of a model, prints JSON: step, images, parameters per player, sha256 over the whole training state, config. Of a
picture, prints a caption: the one that the model's own likelihood of the picture is highest under, and how sure each of
its words is; or what a classifier sees.

examples:
  imggen describe --model runs/avatars_vae
  imggen describe face.png --model runs/avatars_text
  imggen describe face.png --classifier runs/moods
"""
EXPORT = """\
Writes a folder with weights (safetensors), config and card that `--model` and imggen_jax.load take.

examples:
  imggen export --model runs/avatars_gan --out avatars_gan
  imggen export --model runs/avatars_gan --out avatars_gan --stablehlo
  imggen export --model runs/my_autoencoder --out my_vae --format diffusers
"""


_NUMBERED = "--processes is {} and --process is {}; processes are numbered from 0 to one below their number"


def main(words: Sequence[str]) -> int:
    """Run a command line; returns the exit code: 0 done, 1 diverged or disk full, 2 wrong input, 128 + signal.

    The process may also leave by itself, with 3 where another process of the run was lost, and 128 + signal.
    """
    verbs = {"train": _train, "generate": _generate, "evaluate": _evaluate, "describe": _describe, "export": _export,
             "prepare": datasets.prepare, "data": datasets.ingest,
             "forget": _forget, "verify": trust.verify, "detect": trust.detect,
             "whose": trust.whose, "policy": trust.policy, "audit": trust.audit,
             "fetch": hub.fetch, "adapt": functools.partial(hub.adapt, start=_start_jax),
             "personalize": _personalize, "studio": _studio,
             "serve": functools.partial(serving.serve, start=_start_jax)}
    verbs |= {name: functools.partial(_editing, name) for name in editing.VERBS}
    verbs |= {name: functools.partial(_picture, name) for name in picture_verbs.VERBS if name not in verbs}
    if any(word.partition("=")[0] == "--paint" for word in words):  # a picture's own `edit`; the other needs a model
        verbs["edit"] = functools.partial(_picture, "edit")
    named = bool(words) and not words[0].startswith("-")
    try:
        _check_words(words, verbs if named else ())
        return verbs[words[0]](list(words[1:])) if named else _train(list(words))
    except streams.ReaderGone:
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print("\nInterrupted before anything was trained, or after all was saved.", file=sys.stderr)
        return 128 + signal.SIGINT
    except Exception as error:
        told = _told(error)
        if told is None or os.environ.get("IMGGEN_JAX_TRACEBACK"):
            raise
        print(" ".join(told[1].split()), file=sys.stderr)
        return told[0]


def _check_words(words: Sequence[str], verbs) -> None:
    for word in words:
        if not word.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in word):
            raise RunError(f"argument {ascii(word)} is not valid UTF-8; rename the file or folder, or set the locale "
                           "of your terminal to UTF-8")
    if verbs and words[0] not in verbs:
        near = difflib.get_close_matches(words[0], verbs, 1)
        hint = f"did you mean {near[0]}?" if near else f"choose {', '.join(verbs)}"
        raise RunError(f"unknown verb {words[0]!r}; {hint}")


def _told(error: Exception) -> tuple[int, str] | None:
    """(exit code, line) for what a user can do something about; None for a bug, which keeps its traceback."""
    match error:
        case SaveError():
            return 1, f"error: {error}"
        case Diverged():
            return 1, f"diverged: {error}"
        case Interrupted():
            return 128 + error.signal, str(error)
        case ImggenError():
            return 2, f"error: {error}"
    return None


def _train(words: list[str]) -> int:
    from imggen_jax import configs

    edits = "\n".join(f"  {name:13}{verb.summary}" for name, verb in editing.VERBS.items())
    of_one, with_model = ("\n".join(f"  {name:13}{verb.summary}" for name, verb in group.items())
                          for group in (picture_verbs.OF_ONE, picture_verbs.WITH_MODEL))
    names = ", ".join(sorted(file.stem for file in configs.FOLDER.glob("*.py")))
    parser = flags.Parser("train", TRAIN.replace("EDITING", edits).replace("PICTURE", of_one).replace(
        "TRANSLATION", with_model), epilog=f"""\
Any value of the config can be set: --config.key=value
Shipped configs: {names}""", others=r"--(no)?config\.")
    parser.add_argument("--config", required=True, metavar="C",
                        help="name of a shipped config, or a Python file with get_config(); it is executed")
    parser.add_argument("--workdir", type=flags.path, metavar="W",
                        help="the run's folder (default: runs/<config's name>)")
    parser.add_argument("--print-config", action="store_true",
                        help="print the config with all defaults and overrides as JSON, and do nothing else")
    parser.add_argument("--coordinator", metavar="HOST:PORT",
                        help="join several processes; 'auto' on TPU pods and Slurm")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="how many processes there are")
    parser.add_argument("--process", type=int, default=0, metavar="I", help="which one this is, from 0")
    parser.add_argument("--heartbeat", type=int, default=60, metavar="S",
                        help="seconds of silence after which another process is taken for lost (default: 60)")
    args, overrides = parser.parse_known_args(words)
    _check_processes(args)

    from imggen_jax import config

    read = config.read(args.config, overrides)
    config.check(read)
    if args.print_config:
        streams.say([json.dumps(config.resolve(read), indent=2)])
        return 0
    _start_jax(args)
    from imggen_jax import api

    workdir = args.workdir or str(Path("runs") / Path(args.config).stem)
    report = api.train(read, workdir, heartbeat=args.heartbeat, leave=os._exit)
    more = [] if cast(Any, read).game.name == "classifier" else [
        f"Pictures: {flags.program()} generate --model {shlex.quote(workdir)} --num 64 --out out"]
    streams.say([f"Done. Report: {report}", *more])
    return 0


def _check_processes(args: argparse.Namespace) -> None:
    if args.processes < 1 or not 0 <= args.process < args.processes:
        raise RunError(_NUMBERED.format(args.processes, args.process))
    if args.processes > 1 and not args.coordinator:
        raise RunError(f"--processes is {args.processes}; say where they meet: --coordinator HOST:PORT, the "
                       "same for all")
    if args.coordinator not in (None, "auto") and not re.fullmatch(r"\S+:[1-9]\d{0,4}", args.coordinator):
        raise RunError(f"--coordinator is {args.coordinator!r}; it must be HOST:PORT of process 0, or auto")
    if args.heartbeat < 1:
        raise RunError(f"--heartbeat is {args.heartbeat}; it must be at least 1 second")


def _generate(words: list[str]) -> int:
    parser = flags.Parser("generate", GENERATE)
    flags.add_model(parser)
    given_words = {word.partition("=")[0] for word in words}
    parser.add_argument("--num", type=int, required=not given_words & prompting.ASKING, metavar="N",
                        help=f"how many pictures; of each prompt (default, with a prompt: {prompting.NUM})")
    flags.add_out(parser, one=True)
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the first picture (default: 0)")
    flags.add_label(parser)
    parser.add_argument("--given", action="append", default=[], metavar="FIELD=VALUE",
                        help="what the model is conditioned on, as text=\"a red hat\"; may be repeated")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=X",
                        help="option of the model's sampler, as steps=32; may be repeated")
    parser.add_argument("--truncation", type=float, default=1.0, metavar="T",
                        help="factor on the latents; below 1: fewer failures, less variety (default: 1)")
    parser.add_argument("--processes", type=int, metavar="P",
                        help="how many processes make the pictures, each its share; those that are there stay")
    parser.add_argument("--process", type=int, default=0, metavar="I", help="which of them this is, from 0")
    prompting.add(parser)
    trust.add(parser)
    args = parser.parse_args(words)
    prompted, part = prompting.asked(args), _part(args)
    given: dict[str, Any] = {**flags.pairs(args.given, "--given")}
    options: dict[str, Any] = {**flags.numbers(args.option, "--option")}
    if own := sorted({"seeds", "num", "seed", "given", "truncation", "model", "out", "part"} & set(options)):
        raise RunError(f"--option {own[0]} is not an option of a sampler; see imggen generate --help")
    if args.label is not None and "label" in given:
        raise RunError("the label is given twice, by --label and by --given; leave out one of them")
    label = flags.label(given.pop("label")) if "label" in given else args.label
    if label is not None:
        given["label"] = label
    if prompted:
        if part is not None:
            raise RunError("--processes goes with --num and --given text=\"...\", not with --prompt; write it so")
        with trust.using(args):
            streams.say(prompting.generate(args, given, options, _start_jax))
        return 0
    old = [] if part is not None else _pictures(args.out)
    with trust.using(args), flags.folder(args.out, f"{args.seed:06d}.png" if args.num == 1 else None) as folder:
        _start_jax()
        from imggen_jax import api

        grid = api.generate(args.model, folder, num=args.num, seed=args.seed, given=given,
                            truncation=args.truncation, **options, **cast(Any, {} if part is None else {"part": part}))
    if part is not None:
        streams.say([f"process {args.process} of {args.processes}: its share of {args.num} pictures is in {args.out}"])
        return 0
    whole = folder == args.out
    if whole and (others := sum(not args.seed <= number < args.seed + args.num for number in old)):
        print(f"note: {args.out} holds {others:,} pictures of other seeds from before; they are not on the grid",
              file=sys.stderr)
    streams.say([f"{args.num} pictures in {args.out}; all together: {grid}" if whole else args.out])
    return 0


def _part(args: argparse.Namespace) -> tuple[int, int] | None:
    """(which process this is, of how many), where the pictures of `generate` are made by several."""
    if args.processes is None:
        if args.process:
            raise RunError("--process says which of several this is, not how many they are; add --processes")
        return None
    if args.processes < 1 or not 0 <= args.process < args.processes:
        raise RunError(_NUMBERED.format(args.processes, args.process))
    return args.process, args.processes


def _pictures(out: str) -> list[int]:
    """Seeds of the pictures that an earlier call has left in a folder, as their names say."""
    return [int(path.stem) for path in Path(out).glob("*.png") if re.fullmatch(r"\d{6,10}", path.stem)]


def _evaluate(words: list[str]) -> int:
    args = scores.parse(words)
    _start_jax()
    from imggen_jax import api

    common = dict(space=args.space, seed=args.seed, resamples=args.resamples, against=args.against,
                  num=args.num, out=args.out)
    if args.model is not None:
        found = api.evaluate(args.model, also=args.also, only=args.only, samples=args.samples, where=args.data or "",
                             allow_changed=args.changed_data, **common)
    else:
        found = api.compare(args.real, args.fake, dir=args.data_dir or "", **common)
    streams.say([json.dumps(found, allow_nan=False) if args.json else api.score_table(found)])
    return 0


def _describe(words: list[str]) -> int:
    parser = flags.Parser("describe", DESCRIBE)
    prompting.add_described(parser, required="--classifier" not in [word.partition("=")[0] for word in words])
    args = parser.parse_args(words)
    if args.picture is not None:
        streams.say(prompting.describe(args, _start_jax))
        return 0
    if args.classifier or args.captions:
        parser.error("give --model to describe a model, and a picture's file to describe a picture")
    _start_jax()
    from imggen_jax import api

    streams.say([json.dumps(api.describe(args.model), indent=2)])
    return 0


def _forget(words: list[str]) -> int:
    args = datasets.parse_forget(words)
    _start_jax()
    from imggen_jax import api

    report = api.forget(args.workdir, args.files, retrain=args.retrain)
    streams.say([f"Done. Report: {report}" if report else
                 f"None of the {len(args.files):,} pictures is in the data of {args.workdir}, as far as their pixels "
                 "and names tell."])
    return 0


def _export(words: list[str]) -> int:
    parser = flags.Parser("export", EXPORT)
    flags.add_model(parser, what="to export")
    flags.add_out(parser)
    parser.add_argument("--about", metavar="FILE", help="Markdown for the card: what the model is for, its figures")
    parser.add_argument("--stablehlo", action="store_true",
                        help="also write a jax.export program that makes pictures without this package")
    parser.add_argument("--orbax", action="store_true", help="also write the weights as an orbax checkpoint")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32",
                        help="of the stored weights (default: float32)")
    parser.add_argument("--format", choices=("imggen_jax", "diffusers"), default="imggen_jax",
                        help="diffusers: for that library, where it has such a network (default: imggen_jax)")
    args = parser.parse_args(words)
    if args.format == "diffusers" and (args.stablehlo or args.orbax or args.dtype != "float32"):
        raise RunError("--format diffusers is one of float32 weights alone; leave out --stablehlo, --orbax and --dtype")
    _start_jax()
    from imggen_jax import api

    about = ""
    if args.about:
        try:
            about = Path(args.about).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            parser.error(f"--about {args.about} cannot be read: {error}")
    api.export(args.model, args.out, dtype=args.dtype, stablehlo=args.stablehlo, orbax=args.orbax, about=about,
               **({} if args.format == "imggen_jax" else {"format": args.format}))
    streams.say([f"Exported to {args.out}"])
    return 0


def _personalize(words: list[str]) -> int:
    parser = flags.Parser("personalize", teaching.DESCRIPTION)
    teaching.add(parser)
    args = parser.parse_args(words)
    captions = None if args.captions is None else prompting.lines(args.captions)
    streams.say(teaching.run(args, captions, _start_jax))
    return 0


def _studio(words: list[str]) -> int:
    from imggen_jax.studio import command

    return command.run(words, main)


def _editing(name: str, words: list[str]) -> int:
    verb = editing.VERBS[name]
    parser = flags.Parser(name, verb.description)
    verb.flags(parser)
    if name == "genes":                       # writes no picture
        args, said = parser.parse_args(words), contextlib.nullcontext()
    else:
        trust.add(parser)
        args = parser.parse_args(words)
        said = trust.using(args)
    with said:
        _start_jax()
        streams.say(verb.run(args))
    return 0


def _picture(name: str, words: list[str]) -> int:
    verb = picture_verbs.VERBS[name]
    parser = flags.Parser(name, verb.description)
    verb.flags(parser)
    trust.add(parser)
    args = parser.parse_args(words)
    with trust.using(args):
        if verb.needs_jax:
            _start_jax()
        return picture_verbs.run(verb, args)


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


def command() -> NoReturn:
    """The command `imggen`: the words of this process, and its exit code."""
    streams.prepare()
    try:
        code = main(sys.argv[1:])
    except SystemExit as end:  # argparse's
        code = end.code or 0
    if not streams.finish():
        code = code or 128 + signal.SIGPIPE
    if code in (1, 2):  # JAX would wait for the other processes of a run, which learn of the failure another way
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    command()
