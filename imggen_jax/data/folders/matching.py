"""Which file a caption or a row of a table is about, before any picture is decoded.

Names are compared as they are first; where that finds nothing, without regard to case and to how Unicode composes
accents (macOS takes them apart, and what it packs keeps them so).
"""
from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

from imggen_jax.data.folders.store import Store, stem
from imggen_jax.errors import DataError

_NAMED = 20         # rows for which the nearest file is looked for
_COMPARED = 20_000  # files that are compared with one of them, at most


def fold(name: str) -> str:
    """What two names that mean the same file share."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def match(store: Store) -> None:
    """Gives captions and rows the names of their files, and notes those that have none.

    Part of the transaction that is open. Raises DataError for captions whose encoding is not known.
    """
    _match_captions(store)
    store.set_fact("repeated_rows", (store.fact("repeated_rows") or 0) + _match_rows(store))
    store.set_fact("rows_unmatched", _nearest(store))


def _match_captions(store: Store) -> None:
    """A text beside which there is no picture of its name is a file like any other that is no picture."""
    captions = store.all("select name, detail from files where reason = 'note' and detail like 'caption%'")
    alone = [(name, detail) for name, detail in captions if not _pictured(store, stem(name))]
    if alone:
        _fold_names(store, (stem(name) for name, in store.all("select name from files where reason is null")))
    for name, _ in alone:
        found = _folded(store, stem(name))
        if found and not store.caption(found):
            store.base.execute("update captions set name = ? where name = ?", (found, stem(name)))
        else:
            store.add_refusal(name, "not a picture", "a text beside which there is no picture of its name")
    unknown = [name for name, in store.all(
        "select name from files where reason = 'note' and detail = 'caption in another encoding' order by name")]
    if unknown:
        more = f" and {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
        raise DataError(f"the caption {unknown[0]}{more} is not UTF-8, and what encoding it is in cannot be told for "
                        "certain; save it as UTF-8, for Latin-1 by iconv -f latin1 -t utf-8")


def _pictured(store: Store, name: str) -> bool:
    """Whether there is a file NAME.<ending> besides the text; "/" is the letter after ".", so these are in a row."""
    return any(stem(other) == name for other, in store.all(
        "select name from files where name > ? and name < ? and coalesce(detail, '') not like 'caption%'", name + ".",
        name + "/"))


def _match_rows(store: Store) -> int:
    """How many rows turn out to be about a file that has a row already."""
    unmatched = [name for name, in store.all("select name from rows where name not in (select name from files)")]
    if not unmatched:
        return 0
    _fold_names(store, (name for name, in store.all("select name from files")))
    repeated = 0
    for name in unmatched:
        if found := _folded(store, name):
            changed = store.base.execute("update or ignore rows set name = ? where name = ?", (found, name)).rowcount
            if not changed:
                store.base.execute("delete from rows where name = ?", (name,))
                repeated += 1
    return repeated


def _fold_names(store: Store, names: Iterable[str]) -> None:
    store.base.execute("create temp table if not exists folded (key text, name text, unique (key, name))")
    store.base.execute("delete from folded")
    store.base.executemany("insert or ignore into folded values (?, ?)", ((fold(name), name) for name in names))


def _folded(store: Store, name: str) -> str | None:
    """The one name that means the same; None where there is none or several."""
    found = [other for other, in store.all("select name from folded where key = ? limit 2", fold(name))]
    return found[0] if len(found) == 1 else None


def _nearest(store: Store) -> list[tuple[str, str]]:
    """(the name in a row for which there is no file, the nearest name of a file or ""), of the first such rows."""
    names = [name for name, in store.all("select name from rows where name not in (select name from files) "
                                         f"order by name limit {_NAMED}")]
    if not names:
        return []
    files = {fold(name): name for name, in store.all(
        f"select name from files where reason is null order by name limit {_COMPARED}")}
    close = (difflib.get_close_matches(fold(name), files, n=1) for name in names)
    return [(name, files[found[0]] if found else "") for name, found in zip(names, close)]
