"""How often each value of each label occurs in generated images, beside the data's, by truncation, with a chart.

Generated and real images are counted by the same classifier, so that its errors do not look like the generator's; the
real ones are held out where there are any, since a classifier is right more often on images that it was trained on.
"""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from imggen_jax.evaluation import store
from imggen_jax.evaluation.context import Context, batches, generate, labeller, require_classifier
from imggen_jax.metrics import counts
from imggen_jax.storage.files import write_atomic

TRUNCATIONS = (0.4, 0.6, 0.8, 1.0)
COLUMNS = 2  # of the chart


def check(context: Context) -> None:
    """Raises RunError for data without labels."""
    require_classifier(context, "balance")


def evaluate(context: Context) -> dict:
    """For each label the shares of its values, with 95% intervals, and the total variation between generated and real
    images, 0 to 1, beside what two samples of one population would show by chance."""
    model, terms = context.model, context.terms
    classifier = labeller(context)
    real_set = context.train_set if context.test_set is None else context.test_set
    rows = np.sort(np.random.default_rng(0).permutation(real_set.length)[:terms.num])
    real = np.concatenate([classifier.predict(images) for images in batches(real_set, rows)])
    generated = {truncation: classifier.predict(generate(context, terms.num, terms.seed, truncation=truncation))
                 for truncation in TRUNCATIONS}
    attributes = {name: {
        "values": list(values), "classifier_accuracy": classifier.accuracy[name],
        "data": [one._asdict() for one in counts.shares(real[:, k], len(values))],
        "generated": [_beside(labels[:, k], real[:, k], len(values), truncation, terms.seed)
                      for truncation, labels in generated.items()],
    } for k, (name, values) in enumerate(zip(classifier.names, classifier.values))}
    full = {name: each["generated"][-1] for name, each in attributes.items()}
    worst = max(full, key=lambda name: full[name]["total_variation"] - full[name]["by_chance"])
    results = {"truncations": list(TRUNCATIONS), "pictures": terms.num, "real": len(rows), "attributes": attributes}
    return results | {
        "worst_attribute": worst, "worst_total_variation": full[worst]["total_variation"],
        "chart": store.write_page(terms.out, f"balance_{model.images_seen:09d}.png",
                                  lambda path: draw(results, path)),
        "recipe": {"weights_sha256": classifier.sha256}}


def _beside(labels: np.ndarray, real: np.ndarray, classes: int, truncation: float, seed: int) -> dict:
    return {"truncation": truncation, "shares": [one._asdict() for one in counts.shares(labels, classes)],
            "total_variation": counts.total_variation(labels, real, classes),
            "by_chance": counts.total_variation_by_chance(labels, real, classes, seed=seed)}


def draw(results: Mapping, path: Path) -> None:
    """Write a PNG: for each label, bars of the data and of each truncation for every value, with 95% intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    attributes = results["attributes"]
    rows = -(-len(attributes) // COLUMNS)
    figure = Figure(figsize=(6.2 * COLUMNS, 2.5 * rows + 0.6), dpi=90, layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    series = ["data", *(f"truncation {t:g}" for t in results["truncations"])]
    shades = ["#3b3835", *(_shade(i, len(series) - 1) for i in range(len(series) - 1))]
    width = 0.8 / len(series)
    for axis, (name, each) in zip(axes, attributes.items()):
        bars = [each["data"], *(one["shares"] for one in each["generated"])]
        for i, (shares, shade) in enumerate(zip(bars, shades)):
            at = [k + (i - (len(series) - 1) / 2) * width for k in range(len(shares))]
            values = [100 * share["value"] for share in shares]
            reach = [[value - 100 * share["low"] for value, share in zip(values, shares)],
                     [100 * share["high"] - value for value, share in zip(values, shares)]]
            axis.bar(at, values, width, color=shade, yerr=reach, error_kw={"elinewidth": 0.8, "ecolor": "#888"})
        last = each["generated"][-1]
        title = f"{name.replace('_', ' ')}: at truncation {last['truncation']:g}, total variation "
        title += f"{last['total_variation']:.3f} (by chance under {last['by_chance']:.3f})"
        axis.set_title(title, fontsize=9, loc="left")
        axis.set_xticks(range(len(each["values"])), each["values"], fontsize=8)
        axis.tick_params(axis="y", labelsize=8)
        axis.set_ylabel("%", fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(attributes):]:
        axis.set_visible(False)
    handles = [_patch(shade) for shade in shades]
    figure.legend(handles, series, loc="outside lower center", ncols=len(series), fontsize=8, frameon=False)
    write_atomic(path, FigureCanvasAgg(figure).print_png)


def _shade(i: int, of: int) -> tuple[float, float, float]:
    """From a pale to a full orange."""
    share = (i + 1) / of
    return 1 - share * (1 - 0.81), 1 - share * (1 - 0.39), 1 - share * (1 - 0.07)


def _patch(color):
    from matplotlib.patches import Patch

    return Patch(color=color)
