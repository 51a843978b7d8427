"""Small models that ship with the package: each a folder as `imggen export` writes it, with its card in README.md."""
from __future__ import annotations

import difflib
from pathlib import Path

HOME = Path(__file__).parent


def names() -> list[str]:
    """Names of the models, sorted; `load` takes each."""
    return sorted(path.parent.name for path in HOME.glob("*/model.json"))


def find(name: str) -> Path | None:
    """The folder of a model; None where there is none of this name."""
    return HOME / name if name in names() else None


def ships(folder: Path) -> bool:
    """Whether a folder is that of a model here, which is left as it is."""
    return find(folder.name) == folder.absolute()


def nearest(name: str) -> str:
    """"; did you mean ...?" for a name that is close to one of the models, else "" ."""
    near = difflib.get_close_matches(name, names(), 1)
    return f"; did you mean the model {near[0]!r}?" if near else ""
