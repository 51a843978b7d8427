"""The flags that say how pictures are signed and marked, and the verbs verify, detect, whose, policy and audit."""
from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from imggen_jax import flags, streams

VERIFY = """\
Tells of each picture who signed it, what happened to it, and whether it was changed since; credentials (C2PA) of
others are read, too. Exit code 0 only where all of them are signed and unchanged and, with --trust, where an anchor
vouches for who signed; else 1.

examples:
  imggen verify out/000007.png
  imggen verify out/*.png --json
  imggen verify from_a_colleague.png --trust anchor.pem       # their ~/.config/imggen_jax/anchor.pem
"""
DETECT = """\
Looks for this project's watermark in the pixels alone, also in crops, in other sizes, turned or mirrored. Of unmarked
pictures at most one in a thousand is taken for a marked one (--rate). Exit code 0 where all are marked, else 1.

examples:
  imggen detect screenshot.png
  imggen detect downloads/*.jpg --json --rate 1e-6
  imggen detect collage.jpg --explain                        # where in the picture
"""
WHOSE = """\
Looks for pictures in the log that --fingerprints keeps, by what they look like: in another size, compressed, darker or
mirrored, with or without its watermark. A crop is not found. Exit code 0 where all are found, else 1.

examples:
  imggen generate --model runs/faces --num 64 --out out --fingerprints made.jsonl
  imggen whose screenshot.png --log made.jsonl
"""
POLICY = """\
Tells what a model may be used for, and what is refused before anything runs. A policy is a TOML file: MODEL/policy.toml
for a model, $IMGGEN_JAX_POLICY for all. There is none by default. Exit code 0 where there is one, else 1.

examples:
  imggen policy --example > runs/faces/policy.toml
  imggen policy --model runs/faces
"""
AUDIT = """\
Writes one page about a model: its data and their licenses, copying, balance by attribute and truncation, what signs and
marks its pictures, what was refused. What was not evaluated yet is said, with the command that does.

examples:
  imggen evaluate --model runs/faces --only copying,balance
  imggen audit --workdir runs/faces                          # runs/faces/audit.html
"""


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of a verb that writes pictures."""
    group = parser.add_argument_group("what pictures say of themselves")
    group.add_argument("--no-credentials", action="store_true",
                       help="do not sign: nobody can check who made a picture, or whether it was changed since")
    group.add_argument("--no-watermark", action="store_true",
                       help="do not mark: without its metadata, nothing says that a machine made a picture")
    group.add_argument("--sign-cert", type=flags.path, metavar="PEM",
                       help="certificate chain to sign with (default: $IMGGEN_JAX_SIGN_CERT, or this computer's own)")
    group.add_argument("--sign-key", type=flags.path, metavar="PEM",
                       help="its private key (default: $IMGGEN_JAX_SIGN_KEY)")
    group.add_argument("--sign-tsa", metavar="URL",
                       help="time-stamp authority, asked over the network (default: $IMGGEN_JAX_SIGN_TSA, or none)")
    group.add_argument("--fingerprints", type=flags.path, metavar="L",
                       help="add a robust hash of each picture to this file, for `whose` (default: "
                            "$IMGGEN_JAX_FINGERPRINTS, or none)")
    group.add_argument("--sign-prompt", action="store_true",
                       help="tell the texts that a picture was made from, in its record, signed; else they stay in "
                            "prompts.jsonl beside it")


@contextlib.contextmanager
def using(args: argparse.Namespace) -> Iterator[None]:
    """What the flags ask for, for pictures written inside. Raises RunError for a certificate that cannot sign."""
    from imggen_jax.provenance import publishing

    before = publishing.settings()
    wanted = before._replace(
        credentials=not args.no_credentials, watermark=not args.no_watermark, prompt=args.sign_prompt,
        certificate=args.sign_cert or before.certificate, key=args.sign_key or before.key,
        authority=args.sign_tsa or before.authority, fingerprints=args.fingerprints or before.fingerprints)
    with publishing.using(wanted):
        if args.no_credentials:
            print("note: pictures are not signed: nobody can check who made them, or whether they were changed",
                  file=sys.stderr)
        if args.no_watermark:
            print("note: pictures are not marked: without their metadata, nothing says that a machine made them",
                  file=sys.stderr)
        yield


def verify(words: Sequence[str]) -> int:
    """Check the credentials of pictures; returns the exit code."""
    parser = flags.Parser("verify", VERIFY)
    parser.add_argument("files", nargs="+", type=flags.path, metavar="F", help="pictures")
    parser.add_argument("--json", action="store_true", help="one JSON object a picture")
    parser.add_argument("--trust", type=flags.path, metavar="PEM", help="certificates that may vouch for who signed")
    args = parser.parse_args(words)
    from imggen_jax.provenance.verifying import verify as check

    good = True
    for file in args.files:
        verdict = check(file, anchors=args.trust)
        good &= verdict.holds and (verdict.trusted or args.trust is None)
        streams.say([json.dumps(verdict._asdict())] if args.json else verdict.lines())
    return 0 if good else 1


def detect(words: Sequence[str]) -> int:
    """Look for watermarks; returns the exit code."""
    parser = flags.Parser("detect", DETECT)
    parser.add_argument("files", nargs="+", type=flags.path, metavar="F", help="pictures")
    parser.add_argument("--json", action="store_true", help="one JSON object a picture")
    parser.add_argument("--rate", type=_rate, default=1e-3, metavar="P",
                        help="share of unmarked pictures that may be taken for marked ones (default: 0.001)")
    parser.add_argument("--explain", action="store_true", help="tell where in the picture, by an 8x8 grid")
    args = parser.parse_args(words)
    from imggen_jax.pictures import files
    from imggen_jax.provenance import detection, verifying, watermark

    every = True
    for file in args.files:
        pixels = files.read(Path(file)).pixels
        found = detection.detect(pixels, rate=args.rate)
        facts = {"file": file, "rate": args.rate, **verifying.mark_facts(found)}
        every &= bool(found.marked)
        if args.explain:
            facts["where"] = detection.where(pixels, found).round(1).tolist()
        small = min(pixels.shape[:2]) < watermark.SMALLEST and not found.marked
        streams.say([json.dumps(facts)] if args.json else _lines(facts) + [
            f"  pictures are marked from {watermark.SMALLEST}x{watermark.SMALLEST} pixels up"] * small)
    return 0 if every else 1


def whose(words: Sequence[str]) -> int:
    """Look for pictures in a log of fingerprints; returns the exit code."""
    parser = flags.Parser("whose", WHOSE)
    parser.add_argument("files", nargs="+", type=flags.path, metavar="F", help="pictures")
    parser.add_argument("--log", required=True, type=flags.path, metavar="L", help="file that --fingerprints was given")
    parser.add_argument("--json", action="store_true", help="one JSON object a picture")
    args = parser.parse_args(words)
    from imggen_jax.pictures import files
    from imggen_jax.provenance import fingerprints

    log, every = fingerprints.read(args.log), True
    for file in args.files:
        found = log.whose(files.read(Path(file)).pixels)
        every &= bool(found)
        facts = {"file": file, "found": [one._asdict() for one in found]}
        said = "in the log" if found else f"nothing like it is among the {len(log.made):,} pictures of the log"
        streams.say([json.dumps(facts)] if args.json else [
            f"{file}: {said}",
            *(f"  {one.made.get('file', '')}, by {one.made.get('verb', '')} at {one.made.get('time', '')}"
              f"{', mirrored' if one.mirrored else ''}; {one.distance} of {fingerprints.BITS} bits differ"
              for one in found)])
    return 0 if every else 1


def policy(words: Sequence[str]) -> int:
    """Tell the policies in force; returns the exit code."""
    parser = flags.Parser("policy", POLICY)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", "--workdir", dest="model", type=flags.path, metavar="M",
                      help="the folder of a run or of an exported model")
    what.add_argument("--example", action="store_true", help="print a policy that explains every key")
    args = parser.parse_args(words)
    from imggen_jax.provenance import policy as policies

    if args.example:
        streams.say([policies.EXAMPLE.read_text(encoding="utf-8").rstrip()])
        return 0
    if not Path(args.model).exists():
        parser.error(f"--model {args.model} is not there; name the folder of a run or of an exported model")
    found = policies.in_force(args.model)
    streams.say([line for one in found for line in policies.lines(one)] or [
        f"no policy is in force for {args.model}; a file {policies.FILE} in it is one"])
    return 0 if found else 1


def audit(words: Sequence[str]) -> int:
    """Write a model's audit; returns the exit code."""
    parser = flags.Parser("audit", AUDIT)
    flags.add_model(parser, what="to audit")
    parser.add_argument("--out", type=flags.path, metavar="F",
                        help="the page's file (default: audit.html in the model's folder)")
    args = parser.parse_args(words)
    from imggen_jax.evaluation import audit as audits

    streams.say([f"Audit: {audits.write(args.model, args.out)}"])
    return 0


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0 and 1, such as 0.001")
    return value


def _lines(facts: dict) -> list[str]:
    if not facts["marked"]:
        said = "no watermark found"
    else:
        number = f"payload {facts['payload']}" if facts["payload"] else "whose payload cannot be read"
        said = f"watermark found, {number}"
    rows = [" ".join(" .-+*#"[int(min(max(value, 0), 4.9)) + (value > 0)] for value in row)
            for row in facts.get("where", [])]
    return [f"{facts['file']}: {said}; of unmarked pictures {facts['false_positive_rate']:.1g} look as much like it",
            *(f"  {row}" for row in rows)]
