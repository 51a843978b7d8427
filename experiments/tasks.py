"""Asks finished runs the question of a published task, and writes the answers into that task's folder.

    python experiments/tasks.py stacked_mnist runs/stacked_mnist_0 runs/stacked_mnist_1

Writes experiments/TASK/results.json, with the mean and the spread over the runs, and samples.png, from the first run.
"""
from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import imggen_jax
from imggen_jax.api import Model
from imggen_jax.config import check
from imggen_jax.evaluation import questions
from imggen_jax.evaluation.score import CLASSIFIER
from imggen_jax.pictures import grids
from imggen_jax.training.train import ingested

HERE = Path(__file__).parent


class Task(NamedTuple):
    """A question of `evaluate --also`, and how it is asked."""

    question: str
    num: int                   # pictures that are generated, or held-out ones that are scored; 0 for all of these
    figures: tuple[str, ...]   # those of the answer that are averaged over the runs
    sets: int = 1              # of generated pictures, from seeds of their own
    samples: int = 500
    columns: int = 20          # of the picture


TASKS = {
    "mnist_likelihood": Task("likelihood", 0, ("importance_bound", "elbo")),
    "stacked_mnist": Task("modes", 26_000, ("modes", "kl"), sets=3),
    "mnist_usefulness": Task("usefulness", 60_000, ("accuracy_from_generated", "accuracy_from_real")),
}


def cost(workdir: Path) -> dict[str, float]:
    """What a run took: images, minutes on the clock, and minutes of two cores by its processor time. Runs that it was
    started from count too, for their time was needed."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if "seconds" in line][-1]
    found = {"images": last["images"], "minutes": last["seconds"] / 60, "two_core_minutes": last["cpu_seconds"] / 120}
    if (begun := workdir / "init.json").is_file():
        before = cost(Path(json.loads(begun.read_text())["workdir"]))
        found = {name: value + before[name] for name, value in found.items()}
    return {name: round(value, 1) for name, value in found.items()}


def answer(task: Task, workdir: Path) -> dict:
    """{"run", "seed", its cost, "answer"}."""
    model = imggen_jax.load(workdir)
    settings = ingested(check(model.config))
    sets = questions.datasets(settings.data)
    terms = questions.Terms(task.num, 0, task.sets, task.samples, CLASSIFIER, workdir / "scores")
    found = questions.answer(task.question, model, settings, *sets, terms)
    return {"run": workdir.name, "seed": settings.seed, **cost(workdir), "answer": found}


def summary(task: Task, runs: Sequence[dict]) -> dict:
    """Of each figure: the mean over the runs, and their standard deviation."""
    found = {}
    for name in task.figures:
        values = [run["answer"][name] for run in runs]
        found[name] = {"mean": statistics.fmean(values), "of_each_run": values,
                       "deviation": statistics.stdev(values) if len(values) > 1 else None}
    return found


def rows(model: Model, columns: int) -> np.ndarray:
    """A grid of new pictures: a row for each class, or eight rows of a model without classes."""
    labels = range(model.spec.classes) if model.spec.classes else [None] * 8
    made = [model.sample(columns, seed=row * columns, label=label) for row, label in enumerate(labels)]
    return grids.grid(np.concatenate(made), columns=columns)


def main(name: str, workdirs: Sequence[Path]) -> None:
    task, folder = TASKS[name], HERE / name
    runs = []
    for workdir in workdirs:
        runs.append(answer(task, workdir))
        print(json.dumps(runs[-1]), flush=True)
    folder.mkdir(exist_ok=True)
    results = {"summary": summary(task, runs), "runs": runs}
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    grids.write_png(folder / "samples.png", rows(imggen_jax.load(workdirs[0]), task.columns))
    print(json.dumps(results["summary"], indent=1))


if __name__ == "__main__":
    main(sys.argv[1], [Path(word) for word in sys.argv[2:]])
