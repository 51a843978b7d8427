"""The family tree of a picture as one HTML page that needs nothing but itself."""
from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from imggen_jax.errors import RunError
from imggen_jax.provenance.records import Family
from imggen_jax.storage import templates

TEMPLATE = Path(__file__).with_name("lineage.html.jinja")
WIDE, HIGH, PICTURE = 190, 230, 112   # of a place in the tree, and of the picture in it, in CSS pixels


class Person(NamedTuple):
    """One picture in the tree."""

    x: float         # of its middle
    y: float         # of its top
    src: str         # data URI; "" where it cannot be made
    title: str       # the verb
    lines: tuple[str, ...]


class Line(NamedTuple):
    """From a parent's bottom to a child's top, as an SVG path."""

    path: str


def page(family: Family, make: Callable[[Family], np.ndarray], title: str) -> str:
    """The HTML of a family tree, the picture at the bottom and its eldest ancestors at the top.

    Args:
      family: of the picture. Whatever it says is shown as text and nothing else.
      make: the picture of a record: a family of one -> uint8 [H,W,C]. Raises RunError where it cannot.
      title: of the page.
    """
    people = {family.record.name: family.record, **family.ancestors}
    generations = _generations(family)
    rows: dict[int, list[str]] = {}
    for name, generation in generations.items():
        rows.setdefault(generation, []).append(name)
    top, widest = max(rows), max(map(len, rows.values()))
    places = {name: ((i + 0.5 + (widest - len(row)) / 2) * WIDE, (top - generation) * HIGH + 10)
              for generation, row in rows.items() for i, name in enumerate(row)}
    shown = [Person(*places[name], _source(Family(people[name], {}), make), people[name].verb, _lines(people[name]))
             for name in places]
    lines = [_line(places[parent], places[name]) for name in places for parent in people[name].parents
             if parent in places]
    return templates.render(
        TEMPLATE, title=title, people=shown, lines=lines, picture=PICTURE, wide=WIDE, width=widest * WIDE,
        height=(top + 1) * HIGH + 20, run=family.record.run, weights=family.record.weights)


def _generations(family: Family) -> dict[str, int]:
    """How many steps above the picture everybody stands, at most, in an order that keeps families together."""
    people = {family.record.name: family.record, **family.ancestors}
    depths = {family.record.name: 0}
    row = [family.record.name]
    for depth in range(1, len(people) + 1):  # a name is a hash of its parents' names, so nobody is their own ancestor
        row = list(dict.fromkeys(parent for name in row for parent in people[name].parents if parent in people))
        if not row:
            break
        for name in row:
            depths.pop(name, None)
            depths[name] = depth
    return depths


def _lines(record) -> tuple[str, ...]:
    """What was asked for, briefly."""
    found = [f"{key} {', '.join(map(str, value)) if isinstance(value, list | tuple) else value}"
             for key, value in record.arguments.items() if value not in (None, [], "")]
    return tuple(line if len(line) <= 60 else line[:57] + "..." for line in found[:6])


def _source(one: Family, make: Callable[[Family], np.ndarray]) -> str:
    try:
        image = make(one)
    except RunError:  # of other weights, or damaged: an empty frame says so
        return ""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _line(parent: tuple[float, float], child: tuple[float, float]) -> Line:
    (x1, y1), (x2, y2) = parent, child
    y1 += HIGH - 22
    return Line(f"M{x1:.1f} {y1:.1f} C{x1:.1f} {y1 + 14:.1f} {x2:.1f} {y2 - 20:.1f} {x2:.1f} {y2 - 4:.1f}")
