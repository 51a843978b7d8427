"""Model cards: what a model makes, the license of its data, its recipe and scores, as Markdown."""
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from imggen_jax.config import PLACES, flatten
from imggen_jax.errors import MetricsError
from imggen_jax.evaluation import store
from imggen_jax.game import Generator
from imggen_jax.metrics import scores
from imggen_jax.provenance import policy
from imggen_jax.training.folder import DATA
from imggen_jax.training.log import read_metrics
from imggen_jax.training.saved import Saved, read_json


def of_run(run: Saved, about: str = "") -> str:
    """The card of a run's model.

    Args:
      run: of the model.
      about: Markdown that stands under its first line: what it is for, its figures, the command that makes it again.
    """
    facts = read_json(run.workdir / DATA) or {}
    main = run.built.game.main
    needs = main.needs if isinstance(main, Generator) else ()
    image = run.spec["image"].shape
    if any(run.spec[name].is_image for name in needs):
        what = f"Makes images of {' and '.join(needs)} of any size; trained on crops of {image[1]}x{image[0]} pixels"
    else:
        what = f"Images of {image[1]}x{image[0]} pixels, {image[2]} channels" + (
            f", conditioned on {', '.join(needs)}" if needs else "")
    return "\n".join([
        f"# {run.workdir.resolve().name}",
        "",
        f"{what}; {run.step * run.settings.train.batch:,} images seen.",
        "",
        *([about.strip(), ""] if about.strip() else []),
        "## Use",
        "",
        *_use(run.workdir),
        "",
        "## Known bias",
        "",
        *_bias(run.workdir),
        "",
        "## Data",
        "",
        *_data(facts),
        "",
        "## Recipe",
        "",
        f"The game `{run.settings.game['name']}` of imggen_jax; the resolved config:",
        "",
        "```json",
        json.dumps({key: value for key, value in flatten(run.config).items() if key not in PLACES}, indent=1),
        "```",
        "",
        "## Scores",
        "",
        *_scores(run.workdir),
        "",
    ])


def _use(workdir: Path) -> list[str]:
    """What its policy says that it is for."""
    if not (workdir / policy.FILE).is_file():
        return [f"Nothing was said of what it is for; a file {policy.FILE} beside it would, and would be obeyed."]
    one = policy.read(workdir / policy.FILE)
    rules = len(one.words) + len(one.verbs) + sum(map(len, one.labels.values()))
    lines = [f"Intended: {one.intended}"] if one.intended else []
    lines += [f"Not for: {', '.join(one.not_for)}."] if one.not_for else []
    lines += [f"{policy.FILE} refuses {rules} words, verbs and labels."] if rules else []
    return [line for each in lines + ([f"Questions: {one.contact}"] if one.contact else []) for line in (each, "")][:-1]


def _bias(workdir: Path) -> list[str]:
    """How much more or less often than in the data each attribute's values are made."""
    found = store.newest(workdir / "scores", "balance")
    if found is None:
        return ["It was not measured; `imggen evaluate --only balance` does, for data with labels."]
    rows = ["Share of each value in generated images, at truncation 1, beside the data's; counted by one classifier, "
            f"over {found['pictures']:,} images. Values that differ by more than both intervals are in bold.", "",
            "| attribute | value | data | generated |", "| --- | --- | --- | --- |"]
    for name, each in found["attributes"].items():
        for value, data, made in zip(each["values"], each["data"], each["generated"][-1]["shares"]):
            apart = made["low"] > data["high"] or made["high"] < data["low"]
            share = f"{made['value']:.1%}"
            rows.append(f"| {name} | {value} | {data['value']:.1%} | {f'**{share}**' if apart else share} |")
    return rows


def _data(facts: Mapping) -> list[str]:
    lines = [f"Dataset `{facts.get('name')}`, split `{facts.get('split')}`, {facts.get('examples', 0):,} examples, "
             f"fingerprint `{str(facts.get('fingerprint'))[:16]}`."]
    ledger = (facts.get("card") or {}).get("ledger") or {}
    stated = {name: (ledger.get(name) or {}).get("values") or {} for name in ("license", "origin")}
    if stated["license"]:
        lines += [row for name, values in stated.items() if values for row in (
            "", f"| {name} | images |", "| --- | --- |",
            *(f"| {value} | {number:,} |" for value, number in sorted(values.items())))]
    elif str(facts.get("name")).startswith("avatars/"):
        lines.append("Drawn by imggen_jax itself, from no picture or person; under the package's license.")
    else:
        lines.append("No license of the data is recorded; see the dataset's own page.")
    return lines


def _scores(workdir: Path) -> list[str]:
    """The scores of the newest report of each space."""
    reports = sorted((workdir / "scores").glob("*.json"), key=lambda path: path.stat().st_mtime)
    newest = {}
    for path in reports:
        try:
            report = store.read_report(path)
        except MetricsError:  # the result of another evaluator, or damaged
            continue
        newest[report.recipe["space"]] = scores.table(report)
    said = _held_out(workdir)
    if not newest:
        return said or ["None were computed; `imggen evaluate` does."]
    return said + [line for space, table in newest.items()
                   for line in (f"Space `{space}`:", "", "```", table, "```", "")]


def _held_out(workdir: Path) -> list[str]:
    """The last metrics of held-out examples that were logged while it trained."""
    lines = [{key.removeprefix("test/"): value for key, value in line.items() if key.startswith("test/")}
             for line in read_metrics(workdir / "metrics.jsonl")]
    last = next((line for line in reversed(lines) if line), {})
    said = ", ".join(f"{name} {value:.5g}" for name, value in last.items())
    return [f"Of held-out examples: {said}.", ""] if said else []
