"""Pictures of prompts, in memory or as files that remember how they were made."""
from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imggen_jax import generating, pipelines, prompts, texts
from imggen_jax.editing import finishing
from imggen_jax.errors import RunError
from imggen_jax.loading import find, load
from imggen_jax.model import Model
from imggen_jax.pictures import files
from imggen_jax.prompting import wishes as wishing
from imggen_jax.prompting.flags import NUM
from imggen_jax.prompting.wishes import Wishes
from imggen_jax.prompts import Text
from imggen_jax.provenance import policy, publishing
from imggen_jax.provenance.records import Family
from imggen_jax.storage.files import given_path

MOST = 4096        # pictures of a call
MOST_REPEATS = 40
WIDEST = 16        # pictures of a prompt that stand in one row of the grid


class Job(NamedTuple):
    """One prompt, of which several pictures are made."""

    prompt: str         # without alternatives, as it was given
    text: Text          # what it says
    seeds: range


class Made(NamedTuple):
    """What `generate` did."""

    grid: Path
    files: list[Path]
    said: list[str]     # what the user should know: words that the model never saw
    jobs: list[Job]


def sample(model: Model, prompt: str | Sequence[str], wishes: Wishes = Wishes(), *, num: int = 1, seed: int = 0,
           given: Mapping[str, Any] = {}, **options: float) -> np.ndarray:
    """Pictures of a prompt, or of several; all of the first one come before those of the second.

    Args:
      model: a loaded generator that takes a text.
      prompt: with parts, weights and alternatives, as `prompts` reads them.
      wishes: what is asked for besides.
      num, seed: pictures of each prompt, and the seed of the first of each.
      given: other fields that the model is conditioned on, a value for all pictures.
      **options: other options of the generator.

    Returns:
      uint8 [n,H,W,C].

    Raises:
      RunError: a prompt, wish, field or option that cannot be.
    """
    jobs = plan(model, [prompt] if isinstance(prompt, str) else prompt, num=num, seed=seed)
    return np.stack([image for image, _ in _made(model, "", jobs, wishes, given, options)])


def plan(model: Model, each: Sequence[str], *, num: int = NUM, seed: int = 0, repeat: int = 1) -> list[Job]:
    """The prompts that these stand for, with the seeds of their pictures: seed, seed + 1, ... for each of them.

    Raises:
      RunError: a prompt or number that cannot be, or more pictures than `MOST`.
    """
    if not 1 <= repeat <= MOST_REPEATS:
        raise RunError(f"repeat is {repeat}; it must be from 1 to {MOST_REPEATS}")
    found = [prompt for one in each for prompt in prompts.expand(one)]
    seeds = model.check_seeds(None, num, seed)
    if len(found) * num * repeat > MOST:
        raise RunError(f"{len(found):,} prompts with {num * repeat:,} pictures each are {len(found) * num * repeat:,}; "
                       f"at most {MOST:,} are made at once")
    seeds = model.check_seeds(None, num * repeat, seed)
    return [Job(prompt, prompts.parse(prompt), range(seeds[0], seeds[-1] + 1)) for prompt in found]


def generate(
    model: str | os.PathLike[str], out: str | os.PathLike[str], each: Sequence[str], wishes: Wishes = Wishes(), *,
    num: int = NUM, seed: int = 0, repeat: int = 1, given: Mapping[str, Any] = {}, **options: float,
) -> Made:
    """Write pictures of prompts: out/<seed>.png of one, out/<prompt's number>_<seed>.png of several; and out/grid.png.

    Args:
      model: as for `load`.
      out: folder; made if needed.
      each: prompts, with parts, weights and alternatives.
      wishes: what is asked for besides.
      num, seed: pictures of each prompt, and the seed of the first of each.
      repeat: how many times `num` pictures are made, of further seeds.
      given, **options: as for `sample`.

    Raises:
      RunError: as `sample`; or the model cannot be loaded, or `out` cannot be written to.
      SaveError: the disk is full.
    """
    loaded, out, rounded = load(model), given_path(out, "the images"), []
    if wishes.size is not None and pipelines.resizable(loaded):
        loaded, wishes, rounded = _sized(loaded, wishes)
    wishing.check(loaded, wishes, options)
    jobs = plan(loaded, each, num=num, seed=seed, repeat=repeat)
    policy.check(find(model), generating.VERB, loaded.spec, {**given, wishing.TEXT: [job.text for job in jobs]},
                 drawn=loaded.generator.needs)
    names = [f"{seed:06d}" if len(jobs) == 1 else f"{number:03d}_{seed:06d}"
             for number, job in enumerate(jobs) for seed in job.seeds]
    made = _made(loaded, Path(model).resolve().name, jobs, wishes, given, options)
    pictures = ((name, image, family) for name, (image, family) in zip(names, made))
    columns = len(jobs[0].seeds) if 1 < len(jobs) and len(jobs[0].seeds) <= WIDEST else None
    others = [] if wishes.style is None else [Path(wishes.style)]
    grid = generating.write(out, pictures, publishing.training_facts(loaded.data), columns=columns, others=others)
    return Made(grid, [out / f"{name}.png" for name in names], [*rounded, *unread(loaded, jobs, wishes)], jobs)


def _sized(model: Model, wishes: Wishes) -> tuple[Model, Wishes, list[str]]:
    """A model that makes pictures of any size, for the one that is asked for; a line where it is rounded."""
    assert wishes.size is not None, "asked for"
    made = pipelines.resized(model, wishes.size[1], wishes.size[0])
    height, width, _ = (int(side or 0) for side in made.spec["image"].shape)
    same = (width, height) == wishes.size
    said = f"the size {wishes.size[0]}x{wishes.size[1]} is rounded to {width}x{height}, as the model needs"
    return made, wishes._replace(size=None), [] if same else [said]


def unread(model: Model, jobs: Sequence[Job], wishes: Wishes = Wishes()) -> list[str]:
    """Notes on what the model cannot read of prompts, each once."""
    field = model.spec[wishing.TEXT]
    found = [note for job in jobs for note in texts.notes(job.text, field)]
    for text in (wishes.negative, wishes.no):
        found += [] if text is None else texts.notes(text, field, f"the prompt {text!r:.60}, which is to be avoided")
    return list(dict.fromkeys(found))


def _made(model: Model, run: str, jobs: Sequence[Job], wishes: Wishes, given: Mapping[str, Any],
          options: Mapping[str, float]) -> Iterator[tuple[np.ndarray, Family]]:
    """(image, its record) of each seed of each job; what is asked for is checked at once.

    One call makes the pictures of one job: prompts with other numbers of parts are made by other programs.
    """
    settled = [wishing.settle(model, job.text, wishes, job.seeds, options) for job in jobs]
    checked = [(its.given, model.check_given({**given, **its.given}, len(job.seeds), drawn=True),
                {"truncation": its.options["truncation"], **model.check_options(
                    {name: value for name, value in its.options.items() if name != "truncation"})})
               for job, its in zip(jobs, settled, strict=True)]
    more, style = wishing.asked(wishes), None if wishes.style is None else files.read(wishes.style).pixels
    made = itertools.chain.from_iterable(
        generating.images(model, run, job.seeds, fields, {**given, **said}, chosen, more)
        for job, (said, fields, chosen) in zip(jobs, checked, strict=True))
    wanted = wishing.finishes(wishes)
    return ((finishing.finish(image, wanted, family.record.arguments["seed"], style, wishes.style_strength), family)
            for image, family in made)
