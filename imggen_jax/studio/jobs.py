"""What is being made: commands that a process beside the studio runs, with their progress, and an end when asked.

A command that is canceled is interrupted; where it does not come back within `PATIENCE`, its process is killed, and
another one takes its place. Either way all whole pictures stay.
"""
from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from imggen_jax.errors import ImggenError, RunError, SaveError
from imggen_jax.studio import commands
from imggen_jax.studio.home import Home
from imggen_jax.studio.index import Picture

PATIENCE = 0.4        # seconds from an interrupt to a kill
LONG = 4.0            # seconds from which a draft is worth its time
CANCELED = 130        # exit code


class Ended(ImggenError):
    """The process beside the studio has ended in the middle of a question."""


class Job:
    """One command that is being run; only its own thread writes to it."""

    def __init__(self, words: Sequence[str], folder: Path | None, expected: int, seconds: float | None):
        self.words, self.folder = tuple(words), folder
        self.expected, self.seconds = expected, seconds  # pictures; how long it takes, by what was measured before
        self.began = time.monotonic()
        self.share = 0.0                    # that is done, 0 to 1
        self.notes: list[str] = []          # what the user should know
        self.said: list[str] = []           # what the command printed
        self.drafts: list[bytes] = []       # PNG files of what it will look like, while it runs
        self.pictures: list[Picture] = []
        self.code: int | None = None        # None while it runs
        self.error = ""
        self.canceled = False
        self.done = threading.Event()

    @property
    def took(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self.began

    def written(self) -> int:
        """Pictures that are finished."""
        return sum(1 for _ in self.folder.glob("[0-9]*.png")) if self.folder and self.folder.is_dir() else 0

    def progress(self) -> float:
        """The share that is done, as far as can be seen; 0 to 0.99."""
        counted = self.written() / self.expected if self.expected > 1 else 0.0
        timed = 1 - 0.5 ** (1.5 * self.took / self.seconds) if self.seconds else 0.0
        return min(0.99, max(self.share, counted, timed))


class Jobs:
    """Runs one command after the other."""

    def __init__(self, home: Home, command: Sequence[str] = ()):
        """command: starts a process that answers as `worker.start` does; (): the one that does."""
        self._home, self._command = home, list(command) or commands.process(["studio", "--worker"])
        self._turn, self._process = threading.Lock(), None   # the turn: of who talks to the process
        self._running: Job | None = None
        self._closed = False
        self._begin()

    def start(self, words: Sequence[str], *, parents: Sequence[str] = (), expected: int = 1, files: bool = True,
              file: str = "", draft: Sequence[str] = (), then: Callable[[Job], object] | None = None) -> Job:
        """Begin a command, after those before it, in a thread of its own. Returns at once.

        Args:
          words: after `imggen`. With `files`, --out is added to them: a new folder of the studio.
          parents: ids of the pictures that it is made from.
          expected: how many pictures it makes.
          files: whether it writes pictures, which are then taken in.
          file: name in that folder of the one picture that is made; "" where the command names its files.
          draft: further words that make a quick draft, which is shown first where the command takes long.
          then: called with the job before it is done, if it went well.
        """
        folder = self._home.new_folder() if files else None
        if folder is not None:
            words = [*words, "--out", str(folder / file if file else folder)]
        job = Job(words, folder, expected, self._home.index.rate(_kind(words, expected)))
        long = job.seconds is not None and job.seconds > LONG   # what is not known may be short, or be compiled first
        threading.Thread(target=self._run, args=(job, parents, draft if long else (), then), daemon=True).start()
        return job

    def ask(self, do: str, **question: Any) -> dict[str, Any]:
        """The answer to a question that writes no picture, as of `live`. Raises RunError with what is wrong."""
        with self._turn:
            try:
                answer = self._talk({"do": do, **question}, lambda answer: None)
            except Ended as error:
                raise RunError(str(error)) from None
        if "error" in answer:
            raise RunError(answer["error"])
        return answer

    @property
    def busy(self) -> bool:
        """Whether a command is being run."""
        return self._running is not None

    def cancel(self, job: Job) -> None:
        """End a job: within `PATIENCE` and a moment if it runs, at once if it waits. Returns when that is settled."""
        job.canceled = True
        process = self._process
        if self._running is not job or process is None or job.done.is_set():
            return
        process.send_signal(signal.SIGINT)
        if not job.done.wait(PATIENCE) and self._running is job:
            process.kill()
            job.done.wait(5)

    def close(self) -> None:
        """End the process beside the studio."""
        self._closed = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _begin(self) -> None:
        if not self._closed:
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                             encoding="utf-8", errors="replace", start_new_session=True)

    def _run(self, job: Job, parents: Sequence[str], draft: Sequence[str],
             then: Callable[[Job], object] | None) -> None:
        try:
            with self._turn:
                if job.canceled:
                    job.code = CANCELED
                    return
                job.began, self._running = time.monotonic(), job
                folder = None if job.folder is None else str(job.folder)
                try:
                    if draft:
                        self._draft(job, draft)
                    answer = {"code": CANCELED} if job.canceled else self._talk(
                        {"do": "run", "words": job.words, "folder": folder},
                        lambda told: self._told(job, told))
                except Ended as error:
                    answer = {"code": CANCELED} if job.canceled else {"code": 1, "error": str(error)}
            self._finish(job, answer, parents, then)
        except Exception as error:  # noqa: BLE001 - said in the page: a thread has nobody else to tell
            job.code, job.error = 1, job.error or str(error)
        finally:
            self._running = None if self._running is job else self._running
            job.done.set()

    def _draft(self, job: Job, draft: Sequence[str]) -> None:
        """Make a job's draft; one that cannot be made is left out, as the job itself says why."""
        with tempfile.TemporaryDirectory(dir=self._home.cache) as place:
            words = [*job.words[:-2], *draft, "--no-credentials", "--no-watermark", "--out", place]
            self._talk({"do": "run", "words": words, "folder": None}, lambda told: None)
            job.drafts = [path.read_bytes() for path in sorted(Path(place).glob("[0-9]*.png"))]

    def _finish(self, job: Job, answer: dict[str, Any], parents: Sequence[str],
                then: Callable[[Job], object] | None) -> None:
        code = answer.get("code", 1)
        job.said, job.error = answer.get("said", []), answer.get("error", "")
        if code == 0 or job.canceled:
            job.error = ""
        elif not job.error:           # the last line that a command writes beside its output says why it ended
            job.error = (job.notes.pop() if job.notes else f"it ended with code {code}").removeprefix("error: ")
        if job.folder is not None and job.folder.is_dir():
            job.pictures = self._home.take_in(job.folder, job.words, answer.get("made", []), parents)
        if code == 0 and not job.canceled:
            with contextlib.suppress(SaveError):      # a full disk: what was made is there
                self._home.index.set_rate(_kind(job.words, job.expected), job.took)
            if then is not None:
                then(job)
        job.code = CANCELED if job.canceled and code != 0 else code

    @staticmethod
    def _told(job: Job, told: dict[str, Any]) -> None:
        job.share = max(job.share, told.get("share", 0.0))
        if "note" in told and told["note"] not in job.notes:
            job.notes.append(told["note"].removeprefix("note: "))

    def _talk(self, question: dict[str, Any], told: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The last answer to a question; those on the way go to `told`. The caller has the turn."""
        if self._process is None or self._process.poll() is not None:
            self._begin()
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None, "just begun"
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                answer = json.loads(line)
                if "share" in answer or "note" in answer:
                    told(answer)
                else:
                    return answer
        except (OSError, ValueError):
            pass
        code = process.wait()
        self._begin()
        why = f"by {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"with code {code}"
        raise Ended(f"the process that makes pictures has ended ({why}), often for lack of memory; nothing finished "
                    "is lost. Try fewer or smaller pictures")


def _kind(words: Sequence[str], expected: int) -> str:
    """What commands that take about as long have in common: pictures are made together, so their number is one of few.
    """
    model = words[words.index("--model") + 1] if "--model" in words[:-1] else ""
    return f"seconds {words[0]} {os.path.basename(model)} {expected.bit_length()}"
