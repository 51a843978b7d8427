"""Tells what became of every file: card.json, README.md (the dataset's card), ingest.json, ingest.html, ledger.csv."""
from __future__ import annotations

import base64
import csv
import functools
import io
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imggen_jax.data.folders import optout, pairing, similar
from imggen_jax.data.folders.dataset import ledger
from imggen_jax.data.folders.layout import Plan
from imggen_jax.data.folders.members import Place, printable
from imggen_jax.data.folders.notes import LEDGER, Kind
from imggen_jax.data.folders.store import Store
from imggen_jax.storage import templates
from imggen_jax.storage.files import write_atomic

_PAGE, _CARD = (Path(__file__).with_name(name) for name in ("ingest.html.jinja", "card.md.jinja"))
NEAR_BITS = similar.FURTHEST  # of 64 in which the hashes of near duplicates differ at most
NEAR_LEVELS = 8.0        # of 255 by which their small pictures differ on average, at most
_COMPARISONS = 2 * 10**9  # of hashes, at most; a minute or two
_LOOKS = 200_000         # pairs of pictures compared at most
_SIDE = 16               # pixels of the small pictures
SHOWN = 300              # files left out that the page shows; all stand in ingest.json
_SAMPLES, _GROUPS, _THUMB = 64, 60, 72
_ROWS = 3                # rows without a file that the card names
_VALUES = 20             # of a ledger column that the card counts

_LEFT_OUT = """
    select files.name as name, coalesce(files.unused, files.reason, pictures.reason) as reason,
           coalesce(files.unused_detail, files.detail, pictures.detail) as detail, pictures.thumb as thumb
    from files left join pictures on pictures.sha = files.sha
    where coalesce(files.unused, files.reason, pictures.reason) not in ('', 'note')
"""
_COPIES = """
    select examples.name as name, chosen.name as kept from examples join chosen on chosen.key = examples.key
    where examples.name != chosen.name order by examples.name
"""
_SHOWN = "coalesce(nullif(pictures.thumb, x''), pictures.png)"  # the small one of pictures that keep their own size
_PICTURES = "chosen join pictures on pictures.id = chosen.image"


def survey(place: Place, store: Store, plan: Plan, options: Mapping[str, Any]) -> dict[str, Any]:
    """The card: everything worth telling as plain numbers and words, whatever the number of files."""
    copies = store.ask(f"select count(*) from ({_COPIES})")
    pictures = sum(plan.splits.values())
    groups, complete = near_duplicates(store)
    with store.base:
        store.set_fact("near", groups)
    return {
        "path": printable(str(place.path)), "kind": place.kind, "size": options["size"], "fit": options["fit"],
        "background": "#{:02x}{:02x}{:02x}".format(*options["background"]),
        "min_side": options["min_side"], "max_pixels": options["max_pixels"],
        "recipe": options["recipe"], "license": options["license"], "pairs": options["pairs"],
        "files": store.ask("select count(*) from files"),
        "bytes": store.ask("select coalesce(sum(size), 0) from files"),
        "pictures": pictures,
        "splits": plan.splits,
        "formats": _counted(store, "pictures.format"),
        "modes": _counted(store, "pictures.mode"),
        "paired": options["pairs"] in ("side-by-side", "aligned"),
        "masks": store.ask("select count(mask) from chosen"),
        "label_from": plan.label_from, "labels": plan.labels, "folders": plan.folders,
        "one_folder": plan.tree.prefix.rstrip("/").rpartition("/")[2] if plan.folders == 1 else "",
        "looks_paired": options["pairs"] == "" and pairing.looks_paired(plan.labels),
        "captions": plan.captions,
        "attributes": {key: _described(kind) for key, kind in plan.columns.items()},
        "quarantined": dict(store.all(f"select reason, count(*) from ({_LEFT_OUT}) group by reason "
                                      "order by count(*) desc, reason")),
        "opted_out": store.ask("select count(*) from files where reason = ?", optout.REASON),
        "skipped": dict(store.all("select kind, count(*) from skipped group by kind order by count(*) desc, kind")),
        "duplicates": copies,
        "conflicts": dict(store.all("select field, count(*) from conflicts group by field "
                                    "order by count(*) desc, field")),
        "near_duplicates": {"groups": len(groups), "pictures": sum(map(len, groups)), "searched_all": complete},
        "notes": _notes(store),
        "rows_without_picture": store.ask("select count(*) from rows where name not in (select name from files)"),
        "rows_unmatched": store.fact("rows_unmatched"),
        "rows_repeated": store.fact("repeated_rows"),
        "names_repeated": store.fact("repeated") or 0,
        "ledger": _ledger(store, options["license"]),
    }


def _counted(store: Store, column: str) -> dict[str, int]:
    return dict(store.all(f"select {column}, count(*) from {_PICTURES} group by {column} "
                          f"order by count(*) desc, {column}"))


def _described(kind: Kind) -> dict[str, Any]:
    return {"kind": kind.kind, **({"classes": len(kind.names), "names": list(kind.names[:_VALUES])}
                                  if kind.kind == "class" else {})}


def _notes(store: Store) -> dict[str, int]:
    found: Counter[str] = Counter()
    for notes, count in store.all(f"select notes, count(*) from {_PICTURES} where notes != '[]' group by notes"):
        for note in json.loads(notes):
            found[note] += count
    return dict(found)


def _ledger(store: Store, license: str) -> dict[str, dict[str, Any]]:
    """{column: {"stated": pictures, "missing": pictures, "values": {the most frequent: pictures}, "different": n}}"""
    counted = {key: Counter() for key in LEDGER}
    stated, many = Counter(), Counter()
    for picture in store.chosen(pixels=False):
        for key, value in ledger(picture, license).items():
            stated[key] += bool(value)
            if value and (value in counted[key] or len(counted[key]) < 10_000):
                counted[key][value] += 1
            elif value:
                many[key] += 1  # addresses, as a rule: each its own
    total = store.ask("select count(*) from chosen")
    return {key: {"stated": stated[key], "missing": total - stated[key], "different": len(counts) + many[key],
                  "values": dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_VALUES])}
            for key, counts in counted.items()}


# --------------------------------------------------------------------------------------------------- near duplicates


def near_duplicates(store: Store) -> tuple[list[list[str]], bool]:
    """Groups of pictures that look alike, as sorted names, and whether the search came to its end."""
    query = f"select pictures.id, hash from {_PICTURES} order by chosen.name"
    rows = np.fromiter(store.all(query), np.dtype([("id", "i8"), ("hash", "i8")]))
    if not len(rows):
        return [], True
    # Pictures of one hash, as blank ones, are compared with the first of them.
    hashes, first, group = np.unique(rows["hash"].view("u8"), return_index=True, return_inverse=True)
    others = np.setdiff1d(np.arange(len(rows)), first)
    small = functools.lru_cache(maxsize=50_000)(lambda place: _small(store, int(rows["id"][place])))
    limit = [_LOOKS]

    def alike(i: int, j: int) -> bool:
        limit[0] -= 1
        return limit[0] >= 0 and float(np.abs(small(i) - small(j)).mean()) <= NEAR_LEVELS

    def pairs() -> Iterator[tuple[int, int]]:
        for i in others.tolist():
            if alike(i, int(first[group[i]])):
                yield i, int(first[group[i]])
        for i, j in similar.near_pairs(hashes, NEAR_BITS, _COMPARISONS):
            for a, b in zip(first[i].tolist(), first[j].tolist()):
                if alike(a, b):
                    yield a, b

    found = similar.groups(pairs())
    names = [name for name, in store.all("select name from chosen order by name")] if found else []
    return [[names[place] for place in members] for members in found], limit[0] >= 0


def _small(store: Store, number: int) -> np.ndarray:
    """float32 [16,16,3], levels"""
    png = store.ask(f"select {_SHOWN} from pictures where id = ?", number)
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32)


# ------------------------------------------------------------------------------------------------------------- files


def write(folder: Path, name: str, store: Store, card: Mapping[str, Any]) -> None:
    """Writes all five into a folder; ledger.csv and ingest.json grow with the files, the others do not.

    Those of an earlier call are replaced, each at once.
    """
    groups = store.fact("near")
    _put(folder / "card.json", [json.dumps(card, indent=2, ensure_ascii=False) + "\n"])
    _put(folder / "ingest.json", _whole(store, card, groups))
    if card["pictures"]:
        _put(folder / "README.md", [templates.render(_CARD, name=name, card=card, lines=lines(card))])
        _put(folder / "ledger.csv", _ledger_rows(store, card))
    _put(folder / "ingest.html", [_html(store, card, groups)])


def _put(file: Path, text: Iterable[str]) -> None:
    write_atomic(file, lambda out: out.writelines(line.encode() for line in text))


def _whole(store: Store, card: Mapping[str, Any], groups: list[list[str]]) -> Iterator[str]:
    """ingest.json: the card and the full lists, one entry a line, none of them held in memory."""
    lists = {
        "left_out": ({"name": name, "reason": reason, "detail": detail} for name, reason, detail, _ in
                     store.all(f"{_LEFT_OUT} order by name")),
        "conflicts": (dict(zip(("name", "other", "field", "kept", "dropped"), row)) for row in
                      store.all("select * from conflicts order by name, field, other")),
        "skipped": ({"name": name, "kind": kind} for name, kind in store.all("select * from skipped order by name")),
        "duplicates": ({"name": name, "of": kept} for name, kept in store.all(_COPIES)),
        "near_duplicates": iter(groups),
        "rows_without_picture": (name for name, in store.all(
            "select name from rows where name not in (select name from files) order by name")),
    }
    yield '{"card": ' + json.dumps(card, ensure_ascii=False)
    for key, entries in lists.items():
        yield f',\n"{key}": ['
        for number, entry in enumerate(entries):
            yield (",\n" if number else "\n") + json.dumps(entry, ensure_ascii=False)
        yield "]"
    yield "}\n"


def _ledger_rows(store: Store, card: Mapping[str, Any]) -> Iterator[str]:
    """ledger.csv, line by line."""
    line = io.StringIO()
    table = csv.writer(line)
    rows = ([picture.name, picture.place[:32].hex(), *ledger(picture, card["license"]).values()]
            for picture in store.chosen(pixels=False))
    for row in itertools.chain([["name", "sha256_of_pixels", *LEDGER]], rows):
        line.seek(0)
        line.truncate()
        table.writerow(row)
        yield line.getvalue()


def _html(store: Store, card: Mapping[str, Any], groups: list[list[str]]) -> str:
    """ingest.html: one page that needs nothing but itself."""
    left_out = [(name, reason, detail, _uri(thumb) if thumb else "") for name, reason, detail, thumb in
                store.all(f"{_LEFT_OUT} order by reason, name limit {SHOWN}")]
    samples = [(name, _thumb(png)) for name, png in store.all(
        f"select chosen.name, {_SHOWN} from {_PICTURES} order by chosen.place limit {_SAMPLES}")]
    png = f"select {_SHOWN} from {_PICTURES} where chosen.name = ?"
    near = [[(name, _thumb(store.ask(png, name))) for name in group[:8]]
            for group in groups[:_GROUPS]]
    copies = list(store.all(f"{_COPIES} limit {SHOWN}"))
    conflicts = list(store.all(f"select * from conflicts order by name, field, other limit {SHOWN}"))
    return templates.render(_PAGE, card=card, conflicts=conflicts, lines=lines(card), left_out=left_out,
                            samples=samples, near=near, groups=groups, copies=copies, title=Path(card["path"]).name)


def _thumb(png: bytes) -> str:
    with Image.open(io.BytesIO(png)) as picture:
        picture.thumbnail((_THUMB, _THUMB))
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=85)
    return _uri(out.getvalue())


def _uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


# ------------------------------------------------------------------------------------------------------------- words


def counts(table: Mapping[str, int] | Iterable[tuple[str, int]], most: int = 12) -> str:
    """{"a": 2, "b": 1} -> "a 2, b 1", with the rest in a word."""
    items = list(dict(table).items())
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(f"{name} {count:,}" for name, count in items[:most]) + more or "none"


def _labels(card: Mapping[str, Any]) -> str:
    if card["labels"]:
        hint = "; --pairs aligned or unaligned makes pairs of them" if card["looks_paired"] else ""
        return f"{len(card['labels'])} from {card['label_from']}: {counts(card['labels'])}{hint}"
    if card["folders"] > 1:
        return f"none ({card['folders']:,} sub-folders are too many for {card['pictures']:,} pictures)"
    return f"none (all pictures lie in one sub-folder, {card['one_folder']})" if card["one_folder"] else "none"


def lines(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The card in words: (what, value), for the screen, the page and README.md."""
    near, said = card["near_duplicates"], []
    say = said.append
    say(("Files", f"{card['files']:,}, {card['bytes'] / 1e6:,.1f} MB"))
    side = f"{card['size']}x{card['size']}" if card["size"] else "each of its own size"
    say(("Pictures used", f"{card['pictures']:,}{' pairs' if card['paired'] else ''}, {side}"
         + (f": {counts(card['splits'])}" if len(card["splits"]) > 1 else "")))
    if card["masks"]:
        say(("Masks", f"{card['masks']:,}"))
    say(("Left out", f"{sum(card['quarantined'].values()):,}: {counts(card['quarantined'])}"
         if card["quarantined"] else "none"))
    if card["skipped"]:
        say(("Passed over", f"{counts(card['skipped'])}, with all that is in them"))
    say(("Exact duplicates", f"{card['duplicates']:,} dropped"))
    if card["conflicts"]:
        say(("Copies disagree", f"in {counts(card['conflicts'])}; of consent and license the strictest counts, else "
             "the first"))
    say(("Near duplicates", f"{near['pictures']:,} pictures in {near['groups']:,} groups, all kept"
         + ("" if near["searched_all"] else "; the search was cut short, there may be more")))
    say(("Formats", counts(card["formats"])))
    say(("Domains" if card["pairs"] == "unaligned" else "Labels", _labels(card)))
    say(("Captions", f"{card['captions']:,} of {card['pictures']:,}"))
    kinds = (f"{key} ({value['classes']} classes)" if value["kind"] == "class" else f"{key} ({value['kind']})"
             for key, value in card["attributes"].items())
    say(("Attributes", ", ".join(kinds) or "none"))
    for key, column in card["ledger"].items():
        missing = f"; {column['missing']:,} not stated" if column["missing"] else ""
        values = counts(column["values"], 5) if column["different"] <= 5 else f"{column['different']:,} different"
        say((key.capitalize(), f"{values}{missing}" if column["stated"] else "not stated"))
    said += [("Note", text) for text in _notes_in_words(card)]
    return said


def _notes_in_words(card: Mapping[str, Any]) -> Iterator[str]:
    for note, count in card["notes"].items():
        yield f"{note}: {count:,} pictures"
    if card["rows_without_picture"]:
        yield f"{card['rows_without_picture']:,} metadata rows name no file that is there: " + "; ".join(
            name + (f" (the nearest is {near})" if near else "") for name, near in card["rows_unmatched"][:_ROWS])
    for key, text in (("rows_repeated", "metadata rows repeat a name; the first counts"),
                      ("names_repeated", "members of the archive repeat a name; the first counts")):
        if card[key]:
            yield f"{card[key]:,} {text}"
