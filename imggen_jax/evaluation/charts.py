"""Charts of scores, as PNG files."""
from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

COLUMNS = 2


def balance(found: Mapping, path: Path) -> Path:
    """What `questions` found of balance: for each attribute a bar of the data and of each truncation for every value,
    with 95% intervals. Returns the path of the PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    attributes = found["attributes"]
    rows = -(-len(attributes) // COLUMNS)
    figure = Figure(figsize=(6.2 * COLUMNS, 2.5 * rows + 0.6), dpi=90, layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    series = ["data", *(f"truncation {t:g}" for t in found["truncations"])]
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
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    FigureCanvasAgg(figure).print_png(str(part))
    os.replace(part, path)
    return path


def _shade(i: int, of: int) -> tuple[float, float, float]:
    """From a pale to a full orange."""
    share = (i + 1) / of
    return tuple(1 - share * (1 - c) for c in (0.81, 0.39, 0.07))


def _patch(colour):
    from matplotlib.patches import Patch

    return Patch(color=colour)
