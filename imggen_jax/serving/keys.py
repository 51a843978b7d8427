"""API keys and their quotas: a file that knows hashes of keys, and beside it what was used today.

A key is 32 random bytes, so that a plain SHA-256 cannot be tried through; it is told once, when it is made.
"""
from __future__ import annotations

import datetime
import hashlib
import json
import os
import secrets
import threading
from pathlib import Path
from typing import NamedTuple

from imggen_jax.errors import ImggenError, RunError
from imggen_jax.provenance.keys import config_folder
from imggen_jax.storage.files import write_atomic

FILE, USED = "service_keys.json", "service_used.json"
PREFIX = "sk-imggen-"
_LONGEST = 200           # characters of what is presented as a key


class Key(NamedTuple):
    """One of the file."""

    id: str              # random; owners of pictures and jobs are called so
    name: str            # for whoever runs the service
    sha256: str
    quota: int | None    # pictures a day (UTC); None: no bound


class Spent(ImggenError):
    """A quota is used up; `seconds` is when the next day begins."""

    def __init__(self, quota: int, seconds: int):
        super().__init__(f"the quota of {quota:,} pictures a day is used up; it begins anew in {seconds:,} s")
        self.seconds = seconds


def default_file() -> Path:
    """The file of keys of this user."""
    return config_folder() / FILE


def read(file: Path) -> list[Key]:
    """The keys of a file; none where there is no such file.

    Raises:
      RunError: it cannot be read, or others can write it.
    """
    try:
        open_to_others = file.stat().st_mode & 0o022
        said = json.loads(file.read_text(encoding="utf-8"))
        found = [Key(str(each["id"]), str(each["name"]), str(each["sha256"]),
                     None if each["quota"] is None else int(each["quota"])) for each in said["keys"]]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"the file of keys {file} cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"the file of keys {file} is damaged; name another with --keys") from error
    if open_to_others:
        raise RunError(f"the file of keys {file} can be written by others; run: chmod 600 {file}")
    return found


def add(file: Path, name: str, quota: int | None = None) -> str:
    """Make a key and write its hash; returns the key, which nobody can look up later.

    Raises:
      RunError: there is a key of this name, or the file cannot be read or written.
    """
    known = read(file)
    if not name.isprintable() or not 1 <= len(name) <= 64:
        raise RunError(f"the key's name {name!r:.80} is empty, longer than 64 characters or not printable")
    if any(key.name == name for key in known):
        raise RunError(f"{file} has a key called {name}; choose another name")
    if quota is not None and quota < 1:
        raise RunError(f"the quota is {quota}; it must be at least 1 picture a day")
    key = PREFIX + secrets.token_urlsafe(32)
    known.append(Key(secrets.token_hex(8), name, _hash(key), quota))
    content = json.dumps({"keys": [each._asdict() for each in known]}, indent=1)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _write_private(file, content)
    except OSError as error:
        raise RunError(f"the file of keys {file} cannot be written ({error.strerror or error}); name another with "
                       "--keys") from error
    return key


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _write_private(file: Path, content: str) -> None:
    def write(opened) -> None:
        os.fchmod(opened.fileno(), 0o600)
        opened.write(content.encode())

    write_atomic(file, write)


class Keys:
    """The keys that a service takes, and what they used today."""

    def __init__(self, file: Path):
        """Raises RunError where the file cannot be read, or holds no key."""
        self._keys = {key.sha256: key for key in read(file)}
        if not self._keys:
            raise RunError(f"there are no keys in {file}; make one: imggen serve --add-key NAME")
        self._used_file, self._lock = file.with_name(USED), threading.Lock()
        self._day, self._used = self._stored()

    def owner(self, presented: str | None) -> Key | None:
        """Whose key is presented, by "Bearer KEY" or as it is."""
        if not presented or len(presented) > _LONGEST:
            return None
        return self._keys.get(_hash(presented.strip()))

    def charge(self, key: Key, pictures: int) -> None:
        """Count pictures against a quota; a number below 0 gives them back.

        Raises:
          Spent: they are more than is left today.
        """
        if key.quota is None:
            return
        now = datetime.datetime.now(datetime.UTC)
        with self._lock:
            if self._day != now.date().isoformat():
                self._day, self._used = now.date().isoformat(), {}
            used = self._used.get(key.id, 0) + pictures
            if pictures > 0 and used > key.quota:
                tomorrow = datetime.datetime.combine(now.date() + datetime.timedelta(1), datetime.time(),
                                                     datetime.UTC)
                raise Spent(key.quota, int((tomorrow - now).total_seconds()) + 1)
            self._used[key.id] = max(used, 0)
            try:
                _write_private(self._used_file, json.dumps({"day": self._day, "used": self._used}))
            except OSError:  # on a full disk a quota holds until the service ends
                pass

    def _stored(self) -> tuple[str, dict[str, int]]:
        try:
            said = json.loads(self._used_file.read_text(encoding="utf-8"))
            return str(said["day"]), {str(name): int(used) for name, used in said["used"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return "", {}
