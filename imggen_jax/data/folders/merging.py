"""What is said about copies of one picture becomes what is said about the picture; where they disagree, it is listed.

Of consents and licenses the strictest counts, so that no copy widens what another one narrows. Of everything else the
first statement counts, in the order of the names.
"""
from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from imggen_jax.data.folders.layout import Plan, Tree
from imggen_jax.data.folders.notes import CAPTION, UNKNOWN, Value, as_text
from imggen_jax.data.folders.store import Store

_NO = {"no", "n", "false", "0", "none", "denied", "refused", "withdrawn", "revoked", "nein", "non"}
_YES = {"yes", "y", "true", "1", "ok", "given", "granted", "ja", "oui"}
# From the strictest to the freest; what is none of these, such as a name or an address, may forbid anything.
_LICENSES = (r"all rights reserved|proprietary|©|copyright", r"by-nc-nd", r"by-nc-sa", r"by-nc", r"by-nd", r"by-sa",
             r"by\b", r"cc-?0|cc-zero|public-domain|pdm|unlicense")


class Copy(NamedTuple):
    """A file of a picture, and what is said beside it."""

    name: str
    caption: str
    row: Mapping[str, Value]


class Conflict(NamedTuple):
    """Two copies that disagree."""

    name: str   # the copy that counts
    other: str  # the one that does not
    field: str
    kept: str
    dropped: str


def consent_rank(value: str) -> int:
    """The smaller the stricter: no, anything that is neither, yes."""
    word = value.strip().casefold()
    return 0 if word in _NO else 2 if word in _YES else 1


def license_rank(value: str) -> int:
    """The smaller the stricter."""
    words = re.sub(r"[\W_]+", "-", value.casefold())
    words = words.replace("noncommercial", "nc").replace("attribution", "by").replace("sharealike", "sa")
    for rank, pattern in enumerate(_LICENSES[1:], 2):
        if re.search(pattern, words):
            return rank
    return 0 if re.search(_LICENSES[0], value.casefold()) else 1


_STRICTEST = {"consent": consent_rank, "license": license_rank}


def _rank(rank: Callable[[str], int], statement: tuple[str, Value]) -> int:
    return rank(as_text(statement[1]))


def merge(copies: Sequence[Copy]) -> tuple[str, dict[str, Value], list[Conflict]]:
    """(the caption, the columns, where the copies disagree)."""
    said: dict[str, list[tuple[str, Value]]] = {}
    for copy in copies:
        columns = {**copy.row, CAPTION: copy.row.get(CAPTION) or copy.caption}
        for key, value in columns.items():
            if as_text(value):
                said.setdefault(key, []).append((copy.name, value))
    merged, conflicts = {}, []
    for key, statements in said.items():
        rank = _STRICTEST.get(key)
        name, kept = statements[0] if rank is None else min(statements, key=functools.partial(_rank, rank))
        merged[key] = kept
        conflicts += [Conflict(name, other, key, as_text(kept), as_text(value)) for other, value in statements
                      if as_text(value) != as_text(kept)]
    return as_text(merged.pop(CAPTION, "")), merged, conflicts


def choose(store: Store, tree: Tree) -> None:
    """Chooses one of the examples of each key, and merges what is said about them. Part of the open transaction.

    Which one: that of a held-out split, so that nothing is trained on that is tested on; then one with a label; then
    the first in the order of the names.
    """
    store.base.execute("""
        insert into chosen select min(place), key, min(name), path, image, source, mask, null, null from examples
        group by key having count(*) = 1 and min(also) is null""")
    keys = [key for key, in store.all(
        "select key from examples group by key having count(*) > 1 or min(also) is not null")]
    for key in keys:
        rows = sorted(store.all("select name, path, place, image, source, mask, also from examples where key = ?", key),
                      key=lambda row: (-_held_out(tree.split(row[1])), tree.folder(row[1]) == UNKNOWN, row[0]))
        name, path, place, *pictures, _ = rows[0]
        names = [each for row in rows for each in (row[0], *json.loads(row[6] or "[]"))]
        caption, columns, conflicts = merge([Copy(each, store.caption(each), store.row(each)) for each in names])
        conflicts += [Conflict(name, row[0], "split", tree.split(path), tree.split(row[1])) for row in rows[1:]
                      if tree.split(row[1]) != tree.split(path)]
        store.base.execute("insert into chosen values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                           (place, key, name, path, *pictures, caption, json.dumps(columns, ensure_ascii=False)))
        store.base.executemany("insert into conflicts values (?, ?, ?, ?, ?)", conflicts)


def note_labels(store: Store, plan: Plan) -> None:
    """Lists copies in sub-folders of other labels than that of the copy that counts. Part of the open transaction."""
    if plan.label_from != "folders":
        return
    copies = store.all("select chosen.name, examples.name, chosen.path, examples.path from examples join chosen "
                       "on chosen.key = examples.key where examples.name != chosen.name")
    labels = ((name, other, plan.tree.folder(path), plan.tree.folder(its)) for name, other, path, its in copies)
    store.base.executemany("insert into conflicts values (?, ?, 'label', ?, ?)", [
        row for row in labels if row[2] != row[3] and UNKNOWN not in row[2:]])


def _held_out(split: str) -> int:
    return ("train", "validation", "test").index(split)
