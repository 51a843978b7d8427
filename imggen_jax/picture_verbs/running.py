"""The way of every verb through its inputs: which are done, what cannot be worked with, progress, and Ctrl-C."""
from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from imggen_jax.errors import ImggenError, RunError, SaveError, brief

if TYPE_CHECKING:
    from imggen_jax.pictures.files import Job


class Verb(NamedTuple):
    """One verb of the command line."""

    summary: str                                             # one line, in the list of verbs
    description: str                                         # with examples
    flags: Callable[[argparse.ArgumentParser], None]
    plan: Callable[[argparse.Namespace], list[Job]]          # checks the flags; which files are made of which
    # loads what is needed; then (job, its title) makes one of them
    begin: Callable[[argparse.Namespace], Callable[[Job, str], object]]
    needs_jax: bool = False


def run(verb: Verb, args: argparse.Namespace) -> int:
    """Runs a verb on all of its inputs; returns the exit code: 0 done, 2 some inputs failed, 130 canceled.

    Raises:
      ImggenError: input that cannot be worked with, unless `args.keep_going`; or a full disk.
    """
    jobs = verb.plan(args)
    failed: list[str] = []
    try:
        make = None
        for number, job in enumerate(jobs):
            title = f"{job.source.name} ({number + 1} of {len(jobs)})" if len(jobs) > 1 else job.source.name
            if job.done:
                print(f"{job.out} is there already; --overwrite makes it again")
                continue
            make = make or verb.begin(args)
            try:
                _one(make, job, title)
            except ImggenError as error:
                if isinstance(error, SaveError) or not args.keep_going or len(jobs) == 1:
                    raise
                failed.append(str(job.source))
                print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nCanceled; no file was left half written.", file=sys.stderr)
        return 130
    if failed:
        print(f"error: {len(failed)} of {len(jobs)} pictures could not be made: {_listed(failed)}", file=sys.stderr)
    return 2 if failed else 0


def _one(make: Callable[[Job, str], object], job: Job, title: str) -> None:
    try:
        make(job, title)
    except MemoryError as error:
        raise RunError(f"{job.source} needs more memory than there is; give a smaller picture") from error
    except RuntimeError as error:    # JAX's own, whose type has moved between versions
        if isinstance(error, ImggenError) or "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise RunError(f"{job.source} needs more memory than there is ({brief(error)}); give smaller tiles or a "
                       "smaller picture") from error


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


@contextlib.contextmanager
def progress(title: str, quiet: bool) -> Iterator[Callable[[float], None]]:
    """A bar with the time left, moved by a function of the share that is done; none where stderr is no terminal."""
    from tqdm import tqdm

    with tqdm(total=100, desc=title, leave=False, disable=quiet or None,
              bar_format="{desc} {bar} {percentage:3.0f}%, {remaining} left") as bar:
        def report(share: float) -> None:
            bar.update(max(0, round(100 * share) - bar.n))

        yield report
