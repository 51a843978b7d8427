"""What the pictures that are used have in common: splits and labels from folders, and what the tables' columns are."""
from __future__ import annotations

import os.path
from collections import Counter
from typing import NamedTuple

from imggen_jax.data.folders import notes
from imggen_jax.data.folders.notes import CAPTION, LABEL, LEDGER, UNKNOWN, Column, Kind
from imggen_jax.data.folders.store import Picture, Store
from imggen_jax.errors import DataError

SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test", "val": "validation",
           "valid": "validation", "validation": "validation", "dev": "validation"}
_MOST_COLUMNS = 500


class Tree(NamedTuple):
    """What the folders are."""

    prefix: str     # folders that all pictures share, or in which train, test, ... lie; with the last "/"
    by_split: bool  # whether the folders in it are called train, test, ...

    def split(self, path: str) -> str:
        return SPLITS[self._parts(path)[0].lower()] if self.by_split else "train"

    def folder(self, path: str) -> str:
        """The sub-folder that names the label; UNKNOWN for what lies outside of all of them."""
        parts = self._parts(path)[self.by_split:]
        return notes.clean(parts[0]) if len(parts) > 1 else UNKNOWN

    def _parts(self, path: str) -> list[str]:
        return path[len(self.prefix):].split("/")


class Plan(NamedTuple):
    """How the dataset is laid out."""

    tree: Tree
    splits: dict[str, int]      # split -> pictures
    bytes: dict[str, int]       # split -> bytes of the encoded pictures
    label: Kind | None          # None for no labels
    label_from: str             # "folders", "table" or ""
    labels: dict[str, int]      # label -> pictures, in the order of their numbers
    folders: int                # different sub-folders, whether they are labels or not
    captions: int               # pictures that have one
    columns: dict[str, Kind]    # attributes, by name

    def split(self, picture: Picture) -> str:
        return self.tree.split(picture.path)

    def label_of(self, picture: Picture) -> str:
        if self.label_from == "folders":
            return self.tree.folder(picture.path)
        return notes.as_text(picture.row.get(LABEL, UNKNOWN))


def tree(store: Store) -> Tree:
    """What the folders of the examples are. Leaves out those beside folders that are splits.

    Folders are splits where a train lies beside a test or validation, and at least half of the examples are in them.
    Part of the transaction that is open.
    """
    inside: dict[str, Counter[str]] = {}
    for path, in store.all("select path from examples"):
        parts = path.split("/")[:-1]
        for depth, part in enumerate(parts):
            if split := SPLITS.get(part.lower()):
                inside.setdefault("".join(f"{each}/" for each in parts[:depth]), Counter())[split] += 1
                break
    candidates = {prefix: splits for prefix, splits in inside.items() if "train" in splits and len(splits) > 1}
    prefix = max(candidates, key=lambda key: (candidates[key].total(), key), default="")
    if not candidates or 2 * candidates[prefix].total() < store.ask("select count(*) from examples"):
        ends = [store.ask(f"select {end}(path) from examples") or "" for end in ("min", "max")]
        shared = os.path.commonprefix(ends)  # of the first and the last in order, hence of all
        return Tree(shared[:shared.rfind("/") + 1], False)
    _leave_strays_out(store, prefix)
    return Tree(prefix, True)


def _leave_strays_out(store: Store, prefix: str) -> None:
    strays = [name for name, path in store.all("select name, path from examples")
              if not path.startswith(prefix) or "/" not in path[len(prefix):]
              or path[len(prefix):].split("/")[0].lower() not in SPLITS]
    for name in strays:
        store.leave_out(name, "outside the splits", f"{prefix}train and the folders beside it are splits; move it into "
                        "one of them to use it")


def plan(store: Store, tree: Tree, *, domain: bool = False) -> Plan:
    """Reads the names and the rows of the chosen pictures, once each. Raises DataError for a senseless table.

    domain: whether the sub-folders are the two domains of unaligned pairs.
    """
    splits, size, folders, columns, captions = Counter(), Counter(), Counter(), {}, 0
    for picture in store.chosen(pixels=False):
        split = tree.split(picture.path)
        splits[split] += 1
        size[split] += picture.bytes
        folders[tree.folder(picture.path)] += 1
        captions += bool(picture.caption)
        for key, value in picture.row.items():
            if key not in columns:
                columns[key] = Column()
                if len(columns) > _MOST_COLUMNS:
                    raise DataError(f"the metadata has over {_MOST_COLUMNS} columns, such as {key}; put what is not "
                                    "about all pictures into one column as JSON")
            columns[key].see(value)
    total = sum(splits.values())
    label, label_from, labels = _label(None if domain else columns.get(LABEL), folders, total, tree, domain)
    attributes = {key: columns[key].kind(total) for key in sorted(columns) if key not in (*LEDGER, CAPTION)
                  and (domain or key != LABEL)}
    order = {split: splits[split] for split in ("train", "validation", "test") if split in splits}
    made = Plan(tree, order, dict(size), label, label_from, labels, len(folders), captions, attributes)
    if label_from == "table" and label is not None:
        counted = Counter(made.label_of(picture) for picture in store.chosen(pixels=False))
        made = made._replace(labels={name: counted[name] for name in label.names})
    return made


def _label(column: Column | None, folders: Counter[str], total: int, tree: Tree,
           domain: bool) -> tuple[Kind | None, str, dict[str, int]]:
    """A table's labels, else the sub-folders where there are several of two pictures on average.

    Of splits that all have the same single sub-folder, that is the label: it was put there on purpose.
    """
    if column is not None:
        kind = column.kind(total, label=True)
        if kind.kind != "class":
            raise DataError(f"the metadata's column label has over {notes.MOST_CLASSES} different values; call it "
                            "otherwise if it is no label")
        return kind, "table", {}
    single = tree.by_split and len(folders) == 1 and UNKNOWN not in folders
    several = 2 <= len(folders) <= min(total // 2, notes.MOST_CLASSES)
    if not (single or several or domain):
        return None, "", {}
    names = sorted(folders, key=lambda name: (name == UNKNOWN, name))
    return Kind("class", tuple(names)), "folders", {name: folders[name] for name in names}
