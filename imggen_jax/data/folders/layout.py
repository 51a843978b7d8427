"""What the pictures that are used have in common: splits and labels from folders, and what the tables' columns are."""
from __future__ import annotations

import os.path
from collections import Counter
from typing import NamedTuple

from imggen_jax.data.folders import notes
from imggen_jax.data.folders.notes import CAPTION, LABEL, LEDGER, UNKNOWN, Column, Kind
from imggen_jax.data.folders.store import Picture, Store
from imggen_jax.data.sources import DataError

_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test", "val": "validation",
           "valid": "validation", "validation": "validation", "dev": "validation"}
_MOST_COLUMNS = 500


class Plan(NamedTuple):
    """How the dataset is laid out."""

    prefix: str                 # folders that all pictures share, with the last "/"
    splits: dict[str, int]      # split -> pictures
    bytes: dict[str, int]       # split -> bytes of the encoded pictures
    by_split: bool              # whether the first folders are called train, test, ...
    label: Kind | None          # None for no labels
    label_from: str             # "folders", "table" or ""
    labels: dict[str, int]      # label -> pictures, in the order of their numbers
    folders: int                # different sub-folders, whether they are labels or not
    captions: int               # pictures that have one
    columns: dict[str, Kind]    # attributes, by name

    def split(self, name: str) -> str:
        return _SPLITS[self._parts(name)[0].lower()] if self.by_split else "train"

    def folder(self, name: str) -> str:
        """The sub-folder that names the label; UNKNOWN for what lies outside of all of them."""
        parts = self._parts(name)[self.by_split:]
        return notes.clean(parts[0]) if len(parts) > 1 else UNKNOWN

    def label_of(self, picture: Picture) -> str:
        if self.label_from == "folders":
            return self.folder(picture.name)
        return notes.as_text(picture.row.get(LABEL, UNKNOWN))

    def _parts(self, name: str) -> list[str]:
        return name[len(self.prefix):].split("/")


def plan(store: Store) -> Plan:
    """Reads the names and the rows of the chosen pictures, once each. Raises DataError for a senseless table."""
    ends = [store.ask(f"select {end}(name) from chosen") or "" for end in ("min", "max")]
    shared = os.path.commonprefix(ends)  # of the first and the last in order, hence of all
    made = Plan(shared[:shared.rfind("/") + 1], {}, {}, False, None, "", {}, 0, 0, {})
    tops = {made._parts(name)[0].lower() if "/" in name[len(made.prefix):] else ""
            for name, in store.all("select name from chosen")}
    made = made._replace(by_split=tops <= set(_SPLITS) and "train" in {_SPLITS[top] for top in tops} and len(tops) > 1)
    splits, size, folders, columns, captions = Counter(), Counter(), Counter(), {}, 0
    for picture in store.chosen(pixels=False):
        split = made.split(picture.name)
        splits[split] += 1
        size[split] += picture.bytes
        folders[made.folder(picture.name)] += 1
        captions += bool(caption(picture))
        for key, value in picture.row.items():
            if key not in columns:
                columns[key] = Column()
                if len(columns) > _MOST_COLUMNS:
                    raise DataError(f"the metadata has over {_MOST_COLUMNS} columns, such as {key}; put what is not "
                                    "about all pictures into one column as JSON")
            columns[key].see(value)
    total = sum(splits.values())
    label, label_from, labels = _label(columns.get(LABEL), folders, total)
    attributes = {key: columns[key].kind(total) for key in sorted(columns) if key not in (*LEDGER, CAPTION, LABEL)}
    order = {split: splits[split] for split in ("train", "validation", "test") if split in splits}
    made = made._replace(splits=order, bytes=dict(size), label=label, label_from=label_from, captions=captions,
                         folders=len(folders), columns=attributes)
    if label_from == "table":
        counted = Counter(made.label_of(picture) for picture in store.chosen(pixels=False))
        labels = {name: counted[name] for name in label.names}
    return made._replace(labels=labels)


def caption(picture: Picture) -> str:
    """A table's caption, else that of NAME.txt."""
    return notes.as_text(picture.row.get(CAPTION, "")) or picture.caption


def _label(column: Column | None, folders: Counter, total: int) -> tuple[Kind | None, str, dict[str, int]]:
    """A table's labels, else the sub-folders where there are several of two pictures on average."""
    if column is not None:
        kind = column.kind(total, label=True)
        if kind.kind != "class":
            raise DataError(f"the metadata's column label has over {notes.MOST_CLASSES} different values; call it "
                            "otherwise if it is no label")
        return kind, "table", {}
    if len(folders) < 2 or 2 * len(folders) > total or len(folders) > notes.MOST_CLASSES:
        return None, "", {}
    names = sorted(folders, key=lambda name: (name == UNKNOWN, name))
    return Kind("class", tuple(names)), "folders", {name: folders[name] for name in names}
