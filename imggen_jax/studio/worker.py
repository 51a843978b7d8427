"""The process beside the studio that runs commands: one line of JSON a question, one or more an answer.

It keeps what is slow to load, and can be killed at any time: what a command has finished is whole, the rest is not
there. Questions: {"do": "run", "words": [...], "folder": D}, and those of `live`. Answers: {"share": x} and
{"note": line} on the way, at last {"code": 0, "said": [...], "made": [...]} or {"error": line}.
"""
from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from imggen_jax.errors import ImggenError, brief
from imggen_jax.storage.files import disk_is_full

KEPT = 3                          # loaded models
Main = Callable[[Sequence[str]], int]
Say = Callable[..., None]
Answer = Callable[[dict[str, Any], Say], dict[str, Any]]


def serve(answer: Answer, questions: Iterable[str], answers: TextIO) -> int:
    """Answer questions until there are no more; an interrupt ends the one that is being answered.

    Args:
      answer: (a question, what tells on the way) -> the answer.
      questions: lines of JSON.
      answers: where the answers go, as lines of JSON.
    """
    def say(**told: Any) -> None:
        answers.write(json.dumps(told) + "\n")
        answers.flush()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in questions:
        question = json.loads(line)
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            found = answer(question, say)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            found = {"code": 130, "said": [], "made": made(question.get("folder"))}
        except ImggenError as error:
            found = {"error": str(error)}
        except OSError as error:
            full = disk_is_full(error)
            found = {"error": "the disk is full; make room, then do the same again" if full else brief(error)}
        except Exception as error:  # noqa: BLE001 - a fault of one question must not end the others
            traceback.print_exc()
            found = {"error": f"this went wrong inside ({brief(error)}); the terminal of the studio shows where"}
        try:
            say(**found)
        except BrokenPipeError:   # the studio has ended
            break
    return 0


def start(main: Main) -> int:
    """Serve on the standard streams. main: runs the words of a command, returns its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)      # a cancel while it loads ends it without a word
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)                 # so that nothing else can be taken for an answer
    from imggen_jax import devices, loading  # here: JAX takes seconds, and loads before the first question comes
    from imggen_jax.studio import live

    devices.use_compile_cache()

    def answer(question: dict[str, Any], say: Say) -> dict[str, Any]:
        with loading.keeping(KEPT):
            if question["do"] != "run":
                asked = {name: value for name, value in question.items() if name != "do"}
                return live.ANSWERS[question["do"]](**asked)
            code, said = ran(main, question["words"], say)
        return {"code": code, "said": said, "made": made(question["folder"])}

    return serve(answer, sys.stdin, answers)


def ran(main: Main, words: Sequence[str], say: Say) -> tuple[int, list[str]]:
    """(exit code, what it printed), with what it prints beside told at once."""
    printed, beside = io.StringIO(), _Beside(say)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(beside):
        try:
            code = main(words)
        except SystemExit as end:     # argparse's
            code = end.code if isinstance(end.code, int) else 1
    beside.end()
    return code, [line for line in printed.getvalue().splitlines() if line.strip()]


class _Beside(io.TextIOBase):
    """Standard error of a command: a terminal, so that it draws its bars, whose percentages are told."""

    def __init__(self, say: Say):
        self._say, self._rest, self._share = say, "", -1

    def isatty(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        """Tells whole lines as notes, and of a bar its share."""
        *lines, self._rest = re.split(r"[\r\n]", self._rest + text)
        for line in lines:
            self._tell(line)
        if found := re.findall(r"(\d+)%", self._rest):
            self._percent(int(found[-1]))
        return len(text)

    def end(self) -> None:
        self._tell(self._rest)

    def _tell(self, line: str) -> None:
        line = re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", line).strip()
        if found := re.search(r"(\d+)%[,|]", line):
            self._percent(int(found[1]))
        elif line:
            self._say(note=line)

    def _percent(self, percent: int) -> None:
        if percent != self._share:
            self._share = percent
            self._say(share=percent / 100)


def made(folder: str | None) -> list[dict[str, Any]]:
    """What the records of the pictures in a folder say: the prompt and seed of each, where there is a record."""
    from imggen_jax import prompts
    from imggen_jax.provenance import publishing, records

    found = []
    for path in sorted(Path(folder).glob("*.png")) if folder else ():
        try:
            family = publishing.read(path)
        except ImggenError:
            continue
        if family is None:
            continue
        record = family.record
        text, seed = records.text_of(record.given.get("text")), record.arguments.get("seed")
        shown = "" if text is None else text if isinstance(text, str) else prompts.show(text)
        found.append({"file": path.name, "verb": record.verb, "prompt": shown[:1000],
                      "seed": seed if isinstance(seed, int) else None})
    return found
