"""The list of the studio's pictures: how each was made, from which others, and what to find it by. Knows no Gradio.

It can be made again from the pictures' folders, so one that is damaged is set aside and no picture is lost.
"""
from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from imggen_jax.errors import RunError, SaveError

ID = re.compile(r"[0-9a-f]{16}")
NEWEST = 400          # pictures of a page of results, at most
_SCHEMA = """
CREATE TABLE IF NOT EXISTS pictures(
  id TEXT PRIMARY KEY, file TEXT NOT NULL, time REAL NOT NULL, verb TEXT NOT NULL, model TEXT NOT NULL,
  prompt TEXT NOT NULL, seed INTEGER, width INTEGER NOT NULL, height INTEGER NOT NULL, command TEXT NOT NULL,
  deleted INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS parents(child TEXT NOT NULL, parent TEXT NOT NULL, place INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS rates(name TEXT PRIMARY KEY, value REAL NOT NULL);
CREATE INDEX IF NOT EXISTS by_time ON pictures(deleted, time DESC, id);
CREATE INDEX IF NOT EXISTS by_child ON parents(child);
CREATE INDEX IF NOT EXISTS by_parent ON parents(parent);
"""
_FIELDS = "id, file, time, verb, model, prompt, seed, width, height, command"


class Picture(NamedTuple):
    """One picture of the studio."""

    id: str                  # 16 hex digits; how a browser names it
    file: str                # below the studio's folder
    time: float              # seconds since 1970
    verb: str                # that made it; "own" for a picture that was brought
    model: str               # as --model takes it; "" where there was none
    prompt: str
    seed: int | None
    width: int
    height: int
    command: tuple[str, ...]  # the words after `imggen`

    @property
    def title(self) -> str:
        """A few words for who cannot see it."""
        what = self.prompt or (f"{self.verb}, {self.model}" if self.model else self.verb)
        return what if self.seed is None else f"{what}, seed {self.seed}"


class Asked(NamedTuple):
    """What is searched for; empty fields ask for nothing."""

    words: str = ""          # all of them in the prompt, model or verb
    model: str = ""
    after: float = 0.0       # seconds since 1970
    before: float = 0.0
    family: str = ""         # id of a picture, of which ancestors and descendants are wanted


class Index:
    """The pictures of one folder. Safe to use from several threads; each call opens the file by itself."""

    def __init__(self, path: Path):
        """Raises SaveError where the file cannot be made."""
        self.path = path
        try:
            with self._open() as base:
                base.executescript(_SCHEMA)
                base.execute(f"SELECT {_FIELDS} FROM pictures LIMIT 1").fetchall()
                self.rebuilt = False
        except sqlite3.DatabaseError:
            if path.exists():
                os.replace(path, path.with_name(f"{path.name}.damaged.{int(time.time())}"))
            with self._open() as base:
                base.executescript(_SCHEMA)
            self.rebuilt = True   # to be filled again

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=20)) as base, base:
                yield base
        except sqlite3.OperationalError as error:
            if isinstance(error, sqlite3.DatabaseError) and "full" in str(error):
                raise SaveError("the disk is full: the list of pictures could not be written; the pictures are "
                                "kept. Make room, then start the studio again") from error
            raise

    def add(self, pictures: Iterable[Picture], parents: Sequence[str] = ()) -> None:
        """Add pictures that were all made from the same ones.

        Raises:
          SaveError: the disk is full.
        """
        rows = list(pictures)
        with self._open() as base:
            base.executemany(f"INSERT OR REPLACE INTO pictures({_FIELDS}) VALUES(?,?,?,?,?,?,?,?,?,?)",
                             [(*one[:-1], json.dumps(one.command)) for one in rows])
            base.executemany("INSERT INTO parents VALUES(?,?,?)",
                             [(one.id, parent, place) for one in rows for place, parent in enumerate(parents)])

    def get(self, id: str) -> Picture:
        """A picture by its id. Raises RunError where there is none."""
        if ID.fullmatch(id):
            with self._open() as base:
                rows = base.execute(f"SELECT {_FIELDS} FROM pictures WHERE id=? AND deleted=0", (id,)).fetchall()
            if rows:
                return _picture(rows[0])
        raise RunError("this picture is not in the studio any more; choose another")

    def find(self, asked: Asked = Asked(), offset: int = 0, limit: int = NEWEST) -> list[Picture]:
        """Pictures that are asked for, the newest first."""
        where, values = self._where(asked)
        with self._open() as base:
            rows = base.execute(f"SELECT {_FIELDS} FROM pictures WHERE {where} ORDER BY time DESC, id LIMIT ? OFFSET ?",
                                (*values, max(0, min(limit, NEWEST)), max(0, offset))).fetchall()
        return [_picture(row) for row in rows]

    def count(self, asked: Asked = Asked()) -> int:
        """How many pictures are asked for."""
        where, values = self._where(asked)
        with self._open() as base:
            return base.execute(f"SELECT COUNT(*) FROM pictures WHERE {where}", values).fetchone()[0]

    def models(self) -> list[str]:
        """Models of which there are pictures, sorted."""
        with self._open() as base:
            rows = base.execute("SELECT DISTINCT model FROM pictures WHERE deleted=0 AND model<>''").fetchall()
        return sorted(row[0] for row in rows)

    def folders(self) -> set[str]:
        """Those of all pictures, also of deleted ones, below the studio's folder."""
        with self._open() as base:
            return {os.path.dirname(row[0]) for row in base.execute("SELECT file FROM pictures")}

    def parents(self, id: str) -> list[Picture]:
        """What a picture was made from, in order."""
        return self._beside(id, "child", "parent")

    def children(self, id: str) -> list[Picture]:
        """What was made from a picture, the newest first."""
        return self._beside(id, "parent", "child")

    def _beside(self, id: str, known: str, wanted: str) -> list[Picture]:
        fields = ", ".join(f"p.{name}" for name in _FIELDS.split(", "))
        order = "r.place" if wanted == "parent" else "p.time DESC, p.id"
        with self._open() as base:
            rows = base.execute(f"SELECT {fields} FROM pictures p JOIN parents r ON r.{wanted}=p.id WHERE r.{known}=? "
                                f"AND p.deleted=0 ORDER BY {order} LIMIT {NEWEST}", (id,)).fetchall()
        return [_picture(row) for row in rows]

    def family(self, id: str) -> set[str]:
        """A picture with all its ancestors and descendants."""
        with self._open() as base:
            up, down = (base.execute(
                f"WITH RECURSIVE line(id) AS (SELECT ? UNION SELECT r.{wanted} FROM parents r JOIN line ON "
                f"r.{known}=line.id) SELECT id FROM line", (id,)).fetchall()
                for known, wanted in (("child", "parent"), ("parent", "child")))
        return {row[0] for row in up + down}

    def delete(self, id: str, deleted: bool = True) -> None:
        """Take a picture out of the list, or, with deleted=False, back into it. Its file is not touched."""
        with self._open() as base:
            base.execute("UPDATE pictures SET deleted=? WHERE id=?", (int(deleted), id))

    def rate(self, name: str) -> float | None:
        """A number that was measured before, by its name."""
        with self._open() as base:
            row = base.execute("SELECT value FROM rates WHERE name=?", (name,)).fetchone()
        return None if row is None else row[0]

    def set_rate(self, name: str, value: float) -> None:
        """Keep a number that was measured."""
        with self._open() as base:
            base.execute("INSERT OR REPLACE INTO rates VALUES(?,?)", (name, value))

    def _where(self, asked: Asked) -> tuple[str, list]:
        parts, values = ["deleted=0"], []
        for word in asked.words.split()[:20]:
            word = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            parts.append(r"(prompt || ' ' || model || ' ' || verb) LIKE ? ESCAPE '\'")
            values.append(f"%{word}%")
        for text, value in (("model=?", asked.model), ("time>=?", asked.after), ("time<?", asked.before)):
            if value:
                parts.append(text)
                values.append(value)
        if asked.family:
            members = sorted(self.family(asked.family))[:30_000]
            parts.append(f"id IN ({','.join('?' * len(members))})")
            values += members
        return " AND ".join(parts), values


def new_id() -> str:
    """The id of a new picture, which nobody can guess."""
    return secrets.token_hex(8)


def _picture(row: Sequence) -> Picture:
    return Picture._make((*row[:-1], tuple(json.loads(row[-1]))))
