"""What an ingestion knows so far: one SQLite file, so that a kill at any moment loses a second's work at most, and so
that a million files need no more memory than a hundred."""
from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from imggen_jax.data.folders.members import Member, Skipped, passed_over
from imggen_jax.data.folders.pixels import Facts
from imggen_jax.data.folders.worker import Decoded

_SCHEMA = """
create table files (      -- what was found
    name text primary key, size integer, sha blob,
    reason text, detail text   -- why it was left out unopened
) without rowid;
create table pictures (   -- what became of the bytes, whatever they are called
    id integer primary key, sha blob unique, reason text, detail text, format text, mode text, width integer,
    height integer, notes text, hash integer, bytes integer, png blob, thumb blob
);
create table skipped (name text primary key, kind text) without rowid;   -- folders
create table captions (name text primary key, text text) without rowid;  -- NAME.txt, by the name without its ending
create table rows (name text primary key, row text) without rowid;       -- of metadata tables, as JSON
create table facts (key text primary key, value text);
"""
# The first name of each picture, of those that are used. `chosen` is made once everything is decoded.
_CHOOSE = """
create table chosen as
    select files.sha as sha, min(files.name) as name from files join pictures on pictures.sha = files.sha
    where pictures.reason = '' group by files.sha;
create unique index chosen_sha on chosen (sha);
create unique index chosen_name on chosen (name);
"""


class Picture(NamedTuple):
    """A picture that is used, with what is said about it."""

    sha: bytes     # sha256 of the file
    name: str
    png: bytes     # b"" unless asked for
    bytes: int     # its length
    caption: str   # from NAME.txt, "" for none
    row: dict      # of a metadata table


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

    def ask(self, query: str, *values) -> object:
        """The first cell of the first row, None where there is none."""
        row = self.base.execute(query, values).fetchone()
        return row[0] if row else None

    def all(self, query: str, *values) -> Iterator[tuple]:
        return self.base.execute(query, values)

    def fact(self, key: str) -> object:
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
        added = self.base.execute("insert or ignore into files values (?, ?, null, ?, ?)",
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

    def add_rows(self, rows: Iterable[tuple[str, dict]]) -> int:
        """Returns how many of the names were there already; the first row of a name stays."""
        repeated = 0
        for name, row in rows:
            text = json.dumps(row, ensure_ascii=False, sort_keys=True)
            repeated += not self.base.execute("insert or ignore into rows values (?, ?)", (name, text)).rowcount
        return repeated

    def add_refusal(self, name: str, reason: str, detail: str) -> None:
        self.base.execute("update files set reason = ?, detail = ? where name = ?", (reason, detail, name))

    def add_picture(self, name: str, sha: bytes, decoded: Decoded) -> None:
        facts = decoded.facts or Facts(None, None, None, None, ())
        signed = decoded.hash - (1 << 64) if decoded.hash >> 63 else decoded.hash
        self.base.execute(
            "insert or ignore into pictures (sha, reason, detail, format, mode, width, height, notes, hash, bytes, "
            "png, thumb) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (sha, decoded.reason, decoded.detail, facts.format, facts.mode, facts.width, facts.height,
             json.dumps(facts.notes), signed, len(decoded.png), decoded.png, decoded.thumb))
        self.base.execute("update files set sha = ? where name = ?", (sha, name))

    def choose(self) -> None:
        with self.base:
            self.base.executescript(f"begin; drop table if exists chosen; {_CHOOSE} commit;")

    def caption(self, name: str) -> str:
        return self.ask("select text from captions where name = ?", stem(name)) or ""

    def row(self, name: str) -> dict:
        return json.loads(self.ask("select row from rows where name = ?", name) or "{}")

    def chosen(self, *, pixels: bool) -> Iterator[Picture]:
        """The pictures that are used, by the sha256 of their files: an order that names and folders do not shape."""
        png = "pictures.png" if pixels else "x''"
        for sha, name, data, length in self.all(
                f"select chosen.sha, chosen.name, {png}, pictures.bytes from chosen join pictures "
                "on pictures.sha = chosen.sha order by chosen.sha"):
            yield Picture(sha, name, data, length, self.caption(name), self.row(name))


def stem(name: str) -> str:
    """A name without its ending."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)
