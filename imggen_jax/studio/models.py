"""Which models a page can offer: those that ship, runs, exported ones. Read from their files, without loading them."""
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from imggen_jax import zoo

MAKERS = ("gan", "vae", "flow")
TRANSLATORS = ("paired", "unpaired", "inpaint")


class Known(NamedTuple):
    """A model, as far as its files tell."""

    path: str          # as --model takes it
    name: str          # for display, unique in a list
    kind: str          # "maker", "translator", "sketch", "enlarger" or "other"
    text: bool         # whether it takes a prompt
    card: str = ""     # a line about it


def known(folders: Sequence[Path]) -> list[Known]:
    """The models that ship, and those in folders of runs and exports; the first of a name comes first.

    A run without a checkpoint is left out, as it makes no picture yet.
    """
    found = [_of(zoo.HOME / name, name) for name in zoo.names()]
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if (path / "model.json").is_file() or any(path.glob("checkpoints/[0-9]*")):
                found.append(_of(path, str(path)))
    names: dict[str, int] = {}
    unique = []
    for one in found:
        if one is not None:
            names[one.name] = count = names.get(one.name, 0) + 1
            unique.append(one if count == 1 else one._replace(name=f"{one.name} ({count})"))
    return unique


def makers(every: Sequence[Known]) -> list[Known]:
    """Models that make pictures of nothing, a label or a prompt: those that take a prompt first."""
    return sorted((one for one in every if one.kind == "maker"), key=lambda one: not one.text)


def _of(folder: Path, path: str) -> Known | None:
    config, spec = _read(folder)
    game = config.get("game", {}).get("name", "")
    if not game:
        return None
    transforms = config.get("transforms", {})
    kind = ("maker" if game in MAKERS else "sketch" if game == "paired" and "edges" in transforms else
            "translator" if game in TRANSLATORS else "enlarger" if game == "restore" else "other")
    text = kind == "maker" and "text" in spec
    sides = spec.get("image", {}).get("shape", [])
    size = f"{sides[1]}x{sides[0]}" if len(sides) == 3 and all(sides) else "any size"
    what = {"maker": "faces and pictures from words" if text else "pictures", "enlarger": "larger pictures"}
    return Known(path, folder.name, kind, text, f"{what.get(kind, kind)}, {size}")


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(config, spec) of a model's folder; empty where its files cannot be read."""
    try:
        if (folder / "model.json").is_file():
            content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            return content["config"], content["spec"]
        return (json.loads((folder / "config.json").read_text(encoding="utf-8")),
                json.loads((folder / "data.json").read_text(encoding="utf-8"))["spec"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}, {}
