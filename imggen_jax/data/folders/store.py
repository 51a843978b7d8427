"""What an ingestion knows so far: one SQLite file, so that a kill at any moment loses a second's work at most, and so
that a million files need no more memory than a hundred."""
from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from imggen_jax.data.folders.members import Member, Skipped, passed_over
from imggen_jax.data.folders.notes import CAPTION, as_text
from imggen_jax.data.folders.worker import Decoded

Cell = str | bytes | int | float | None  # what SQLite keeps

_SCHEMA = """
create table files (      -- what was found
    name text primary key, size integer, sha blob,
    reason text, detail text,  -- why it was left out unopened
    unused text, unused_detail text   -- why a picture that could be used is not
) without rowid;
create index files_sha on files (sha);
create table pictures (   -- what became of the bytes, whatever they are called
    id integer primary key, sha blob unique, reason text, detail text, format text, mode text, width integer,
    height integer, notes text, hash integer, pixels blob, source_pixels blob, bytes integer, png blob, source blob,
    thumb blob
);
create table skipped (name text primary key, kind text) without rowid;   -- folders
create table captions (name text primary key, text text) without rowid;  -- NAME.txt, by the name without its ending
create table rows (name text primary key, row text) without rowid;       -- of metadata tables, as JSON
create table facts (key text primary key, value text);
"""
# Made anew once everything is decoded. An example is one picture, or several that belong together, each a row of
# `pictures`; of examples with the same key, which is made of the files' contents, one is chosen. `place` is its place
# in the dataset: the sha256 of its pixels and its key, which neither names nor folders nor metadata shape.
_EXAMPLES = """
drop table if exists examples;
create table examples (name text primary key, path text, image integer, source integer, mask integer, key blob,
                       place blob, also text) without rowid;
drop table if exists chosen;
create table chosen (place blob primary key, key blob unique, name text unique, path text, image integer,
                     source integer, mask integer, caption text, row text) without rowid;
drop table if exists conflicts;
create table conflicts (name text, other text, field text, kept text, dropped text);
update files set unused = null, unused_detail = null where unused is not null;
"""
_CHOSEN = """
    select chosen.place, chosen.name, chosen.path, {image}, {source}, {mask}, image.pixels,
           coalesce(source.pixels, image.source_pixels), mask.pixels, image.bytes, chosen.caption, chosen.row
    from chosen join pictures as image on image.id = chosen.image left join pictures as source on
    source.id = chosen.source left join pictures as mask on mask.id = chosen.mask order by chosen.place
"""


class Picture(NamedTuple):
    """An example that is used, with what is said about it."""

    place: bytes    # what it is ordered by
    name: str       # of the file
    path: str       # what names its split and label: the name, without what tells the pictures of a pair apart
    png: bytes      # b"" unless asked for
    source: bytes   # PNG of the picture that belongs to it, b"" for none
    mask: bytes     # PNG of its mask, b"" for none
    pixels: bytes   # sha256 of the pixels of each of these
    source_pixels: bytes
    mask_pixels: bytes
    bytes: int      # length of `png`
    caption: str    # "" for none
    row: dict[str, Any]  # of a metadata table


class Store:
    """The tables, read and written by one process at a time."""

    def __init__(self, file: Path):
        self.base = sqlite3.connect(file)
        self.base.execute("pragma journal_mode = wal")
        self.base.execute("pragma synchronous = normal")
        if not self.ask("select count(*) from sqlite_master where name = 'facts'"):
            with self.base:
                self.base.executescript(f"begin; {_SCHEMA} commit;")

    def close(self) -> None:
        self.base.close()

    def ask(self, query: str, *values: Cell) -> Any:
        """The first cell of the first row, None where there is none."""
        row = self.base.execute(query, values).fetchone()
        return row[0] if row else None

    def all(self, query: str, *values: Cell) -> Iterator[tuple[Any, ...]]:
        return self.base.execute(query, values)

    def fact(self, key: str) -> Any:
        value = self.ask("select value from facts where key = ?", key)
        return None if value is None else json.loads(value)

    def set_fact(self, key: str, value: object) -> None:
        """In the transaction that is open."""
        self.base.execute("insert or replace into facts values (?, ?)", (key, json.dumps(value)))

    def begin_scan(self) -> None:
        """Forgets a scan that did not come to its end."""
        for table in ("files", "skipped", "captions", "rows"):
            self.base.execute(f"delete from {table}")

    def add_file(self, member: Member) -> None:
        reason, detail = member.refused or (None, None)
        added = self.base.execute("insert or ignore into files (name, size, reason, detail) values (?, ?, ?, ?)",
                                  (member.name, member.size, reason, detail)).rowcount
        if not added:  # archives may repeat a name; the first is read
            self.set_fact("repeated", (self.fact("repeated") or 0) + 1)

    def add_skipped(self, folder: Skipped) -> None:
        self.base.execute("insert or ignore into skipped values (?, ?)", folder)

    def skip_in_archive(self) -> None:
        """Passes over the folders of an archive that would be passed over on disk; its names are known only now."""
        kinds: dict[str, str] = {}
        for name, in self.all("select name from files where name like '%/%'"):
            folder = ""
            for part in name.split("/")[:-1]:
                folder = f"{folder}/{part}" if folder else part
                if folder not in kinds:
                    kinds[folder] = passed_over(part, partial(self._holds, folder))
                if kinds[folder]:
                    break
        for folder, kind in kinds.items():
            if kind:
                self.add_skipped(Skipped(folder, kind))
                for table in ("files", "captions", "rows"):
                    self.base.execute(f"delete from {table} where name > ? and name < ?", (folder + "/", folder + "0"))

    def _holds(self, folder: str, name: str) -> bool:
        path = f"{folder}/{name}"  # of a file, or of a folder with a file in it: "0" is the letter after "/"
        return self.ask("select 1 from files where name = ? or (name > ? and name < ?)", path, path + "/",
                        path + "0") is not None

    def pending(self, name: str) -> bool:
        return self.ask("select 1 from files where name = ? and sha is null and reason is null", name) is not None

    def add_caption(self, stem: str, text: str) -> None:
        self.base.execute("insert or replace into captions values (?, ?)", (stem, text))

    def add_rows(self, rows: Iterable[tuple[str, dict[str, Any]]]) -> int:
        """Returns how many of the names were there already; the first row of a name stays."""
        repeated = 0
        for name, row in rows:
            text = json.dumps(row, ensure_ascii=False, sort_keys=True)
            repeated += not self.base.execute("insert or ignore into rows values (?, ?)", (name, text)).rowcount
        return repeated

    def add_refusal(self, name: str, reason: str, detail: str) -> None:
        self.base.execute("update files set reason = ?, detail = ? where name = ?", (reason, detail, name))

    def leave_out(self, name: str, reason: str, detail: str) -> None:
        """A picture that could be used is not."""
        self.base.execute("update files set unused = ?, unused_detail = ? where name = ?", (reason, detail, name))
        self.base.execute("delete from examples where name = ?", (name,))

    def add_picture(self, name: str, sha: bytes, decoded: Decoded) -> None:
        facts = decoded.facts
        signed = decoded.hash - (1 << 64) if decoded.hash >> 63 else decoded.hash
        pixels, source_pixels = (*map(bytes.fromhex, decoded.digests), None, None)[:2]
        self.base.execute(
            "insert or ignore into pictures (sha, reason, detail, format, mode, width, height, notes, hash, pixels, "
            "source_pixels, bytes, png, source, thumb) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (sha, decoded.reason, decoded.detail, *(facts[:4] if facts else [None] * 4),
             json.dumps(facts.notes if facts else ()), signed, pixels, source_pixels, len(decoded.png),
             decoded.png, decoded.source, decoded.thumb))
        self.base.execute("update files set sha = ? where name = ?", (sha, name))

    def begin_examples(self) -> None:
        """Forgets what was chosen of the pictures, if it was. Ends the transaction that is open and begins another."""
        self.base.executescript(f"commit; begin; {_EXAMPLES}" if self.base.in_transaction else f"begin; {_EXAMPLES}")

    def caption(self, name: str) -> str:
        return self.ask("select text from captions where name = ?", stem(name)) or ""

    def row(self, name: str) -> dict[str, Any]:
        return json.loads(self.ask("select row from rows where name = ?", name) or "{}")

    def chosen(self, *, pixels: bool) -> Iterator[Picture]:
        """The examples that are used, in their order in the dataset."""
        said = any(self.ask(f"select 1 from {table} limit 1") for table in ("captions", "rows"))
        columns = dict(image="image.png", source="coalesce(source.png, image.source)", mask="mask.png")
        for *cells, caption, row in self.all(_CHOSEN.format_map(columns if pixels else dict.fromkeys(columns, "x''"))):
            place, name, path, png, source, mask, shown_pixels, source_pixels, mask_pixels, length = cells
            if row is None:  # one file with nothing to merge
                caption, row = self._said(name) if said else ("", {})
            else:
                row = json.loads(row)
            yield Picture(place, name, path, png or b"", source or b"", mask or b"", shown_pixels or b"",
                          source_pixels or b"", mask_pixels or b"", length, caption, row)

    def _said(self, name: str) -> tuple[str, dict[str, Any]]:
        """The caption of a file, a table's before that of NAME.txt, and the other columns of its row."""
        row = self.row(name)
        return as_text(row.pop(CAPTION, "")) or self.caption(name), row


def stem(name: str) -> str:
    """A name without its ending."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)
