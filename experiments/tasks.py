"""Evaluate finished runs on a published task, and write the results into that task's folder.

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
from PIL import Image

import imggen_jax

HERE = Path(__file__).parent
ROWS = 8  # of the picture, for models without classes


class Task(NamedTuple):
    """An evaluator and its arguments."""

    evaluator: str
    num: int | None           # images that are generated, or held-out ones that are scored; None for 10,000
    figures: tuple[str, ...]  # results that are averaged over the runs
    columns: int = 20         # of the picture


TASKS = {
    "mnist_likelihood": Task("likelihood", None, ("importance_bound", "elbo")),
    "stacked_mnist": Task("modes", 26_000, ("modes", "kl")),
    "mnist_usefulness": Task("usefulness", 60_000, ("accuracy_from_generated", "accuracy_from_real")),
}


def cost(workdir: Path) -> dict[str, float]:
    """Cost of a run: images, minutes of wall-clock time, and minutes of two cores, from the processor time.

    The runs from which it was initialized are included.
    """
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if "seconds" in line][-1]
    spent = {"images": last["images"], "minutes": last["seconds"] / 60, "two_core_minutes": last["cpu_seconds"] / 120}
    if (begun := workdir / "init.json").is_file():
        before = cost(Path(json.loads(begun.read_text())["workdir"]))
        spent = {name: value + before[name] for name, value in spent.items()}
    return {name: round(value, 1) for name, value in spent.items()}


def evaluate(task: Task, workdir: Path) -> dict:
    """{"run", "seed", its cost, "result"}."""
    results = imggen_jax.evaluate(workdir, num=task.num, only=[task.evaluator])
    seed = imggen_jax.load(workdir).config["seed"]
    return {"run": workdir.name, "seed": seed, **cost(workdir), "result": results[task.evaluator]}


def summary(task: Task, runs: Sequence[dict]) -> dict:
    """Mean and standard deviation over the runs, for each figure."""
    summed = {}
    for name in task.figures:
        values = [run["result"][name] for run in runs]
        summed[name] = {"mean": statistics.fmean(values), "of_each_run": values,
                        "deviation": statistics.stdev(values) if len(values) > 1 else None}
    return summed


def draw(workdir: Path, columns: int, path: Path) -> None:
    """Write a PNG of new images: one row per class, or eight rows for a model without classes."""
    model = imggen_jax.load(workdir)
    rows = [{"label": k} for k in range(len(model.label_names))] or [{}] * ROWS
    images = np.stack([model.sample(num=columns, seed=k * columns, given=given) for k, given in enumerate(rows)])
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)  # [R,N,H,W,C]
    page = np.concatenate(np.concatenate(padded, axis=1), axis=1)
    Image.fromarray(page.squeeze()).save(path, optimize=True)


def main(name: str, workdirs: Sequence[Path]) -> None:
    task, folder = TASKS[name], HERE / name
    runs = []
    for workdir in workdirs:
        runs.append(evaluate(task, workdir))
        print(json.dumps(runs[-1]), flush=True)
    folder.mkdir(exist_ok=True)
    results = {"summary": summary(task, runs), "runs": runs}
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(workdirs[0], task.columns, folder / "samples.png")
    print(json.dumps(results["summary"], indent=1))


if __name__ == "__main__":
    main(sys.argv[1], [Path(word) for word in sys.argv[2:]])
