"""Texts that pictures are made from stay on the computer that made them, unless they are to be signed.

A picture's record names such a text by a keyed hash (HMAC-SHA256, RFC 2104; the key is derived from this computer's own
and never leaves it, so that nobody can try texts until one fits). The text itself is kept beside the picture, in
prompts.jsonl, which only its owner can read: `recall` and the editing verbs find it there.
"""
from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from imggen_jax.provenance import keys, records
from imggen_jax.provenance.records import SAID, Family, Record

FILE = "prompts.jsonl"
PREFIX = "private:"
_MOST_BYTES = 50_000_000     # of the file that is read


def is_hidden(value: object) -> bool:
    """Whether a value of a record's `given` stands for a text that is not there, or for several of which one is not."""
    return any(isinstance(each, str) and each.startswith(PREFIX) for each in _texts(value) or [value])


def _texts(value: object) -> list:
    """A value of `given` that is several texts with their shares; else []."""
    return value if isinstance(value, list) and records.text_of(value) is not None else []


def hidden(family: Family) -> tuple[Family, dict[str, str]]:
    """A family without the texts that its pictures were made from, and those texts by what stands for them."""
    texts: dict[str, str] = {}

    def hide(value: object) -> object:
        if not isinstance(value, str) or is_hidden(value):
            return value
        name = PREFIX + hmac.new(_key(), value.encode(), hashlib.sha256).hexdigest()[:32]
        texts[name] = value
        return name

    return _mapped(family, hide), texts


def _key() -> bytes:
    return hashlib.sha256(b"imggen_jax prompts" + keys.own(keys.config_folder()).key).digest()


def shown(family: Family, folder: Path) -> Family:
    """A family with the texts that the folder's file keeps; those that it does not stay hidden."""
    if not any(is_hidden(value) for one in (family.record, *family.ancestors.values()) for value in one.given.values()):
        return family
    known = read(folder)
    return _mapped(family, lambda value: known.get(value, value) if isinstance(value, str) else value)


def keep(folder: Path, texts: Mapping[str, str]) -> None:
    """Add texts to the folder's file, which is made for its owner alone (mode 600).

    Raises:
      OSError: it cannot be written.
    """
    known = read(folder)
    lines = [json.dumps({"name": name, "text": text}) for name, text in texts.items() if name not in known]
    if lines:
        descriptor = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")     # at once: several processes may add to it


def read(folder: Path) -> dict[str, str]:
    """The texts that a folder's file keeps, by what stands for them; what is damaged is left out."""
    try:
        with open(folder / FILE, encoding="utf-8", errors="replace") as file:
            lines = file.read(_MOST_BYTES).splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            continue
        name, text = (said.get(key) for key in ("name", "text")) if isinstance(said, dict) else (None, None)
        if is_hidden(name) and isinstance(text, str) and len(text) <= SAID:
            found[name] = text
    return found


def _mapped(family: Family, change: Callable[[object], object]) -> Family:
    """The family with other values in `given`; names are hashes of what is in a record, and change with it."""
    done: dict[str, Record] = {}
    for name, old in (*((name, family.ancestors[name]) for name in _eldest_first(family)), ("", family.record)):
        parents = tuple(done[each].name if each in done else each for each in old.parents)
        given = {key: [change(each) for each in value] if _texts(value) else change(value)
                 for key, value in old.given.items()}
        done[name] = old._replace(given=given, parents=parents)
    return Family(done[""], {done[name].name: done[name] for name in family.ancestors})


def _eldest_first(family: Family) -> list[str]:
    """Names of the ancestors, parents before their children; a name is a hash of its parents', so there is no ring."""
    order: dict[str, None] = {}
    todo = [(name, False) for name in family.ancestors]
    while todo:
        name, parents_done = todo.pop()
        if name in order:
            continue
        if parents_done:
            order[name] = None
        else:
            todo.append((name, True))
            todo += [(each, False) for each in family.ancestors[name].parents if each in family.ancestors]
    return list(order)
