"""The studio's folder: where its pictures, datasets, runs and exports lie, and how files enter and leave it."""
from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from imggen_jax.errors import ImggenError, RunError, SaveError
from imggen_jax.pictures import files
from imggen_jax.storage.files import disk_is_full, write_atomic
from imggen_jax.studio.index import ID, Index, Picture, new_id

FACTS = "made.json"
THUMB = 256                       # pixels, longer side of a thumbnail; smaller pictures are their own
MOST_BYTES = 200_000_000          # of a picture that is brought
# What stands beside the pictures that a command makes.
NOT_PICTURES = re.compile(r"(grid|sheet|strip_.*|.*_report|.*_3x3)\.\w+|.*\.gif|\..*")
SHOWN = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif"}


class Home:
    """A folder, made where it is not there."""

    def __init__(self, folder: str | os.PathLike[str]):
        """Raises RunError where the folder cannot be made or written to, SaveError where the disk is full."""
        self.folder = Path(folder).expanduser().resolve()
        self.made, self.own, self.runs = self.folder / "made", self.folder / "own", self.folder / "runs"
        self.collections, self.exports = self.folder / "collections", self.folder / "exports"
        self.models, self.cache, self.deleted = (self.folder / name for name in ("models", "cache", "deleted"))
        try:
            for each in (self.made, self.own, self.runs, self.collections, self.exports, self.models, self.cache,
                         self.deleted):
                each.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(None, "not writable")
        except OSError as error:
            raise _explained(error, self.folder) from error
        self.index = Index(self.folder / "index.sqlite")
        if self.index.rebuilt:
            self.rebuild()
        else:
            self._find_lost()

    def new_folder(self) -> Path:
        """A folder for what is made next; it does not exist yet."""
        return self.made / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"

    def path(self, picture: Picture) -> Path:
        """The file of a picture. Raises RunError where it is not there any more."""
        path = (self.folder / picture.file).resolve()
        if self.folder not in path.parents or not path.is_file():
            raise RunError(f"the file of this picture, {picture.file}, is not in the studio's folder any more")
        return path

    def take_in(self, folder: Path, command: Sequence[str], said: Sequence[dict[str, Any]] = (),
                parents: Sequence[str] = ()) -> list[Picture]:
        """Add the pictures that a command has written to one of the studio's folders, in the order of their names.

        Args:
          folder: of `new_folder`.
          command: words after `imggen`.
          said: what the pictures' records say: {"file", "prompt", "seed", "verb"}.
          parents: ids of what they were made from.

        Raises:
          SaveError: the disk is full. The pictures are where they were.
        """
        facts = {"command": list(command), "parents": list(parents), "time": time.time(), "said": list(said)}
        found = self._found(folder, facts)
        facts["ids"] = {Path(one.file).name: one.id for one in found}   # for `rebuild`
        try:
            write_atomic(folder / FACTS, json.dumps(facts))
        except OSError as error:
            raise _explained(error, folder) from error
        self.index.add(found, parents)
        return found

    def _found(self, folder: Path, facts: dict[str, Any]) -> list[Picture]:
        told, command = {one["file"]: one for one in facts["said"]}, tuple(facts["command"])
        ids: dict[str, str] = facts.get("ids", {})
        found = []
        for number, path in enumerate(sorted(folder.iterdir())):
            frame = command[0] == "interpolate" and path.suffix != ".webp"   # of the animation
            if frame or path.suffix.lower() not in SHOWN or NOT_PICTURES.fullmatch(path.name):
                continue
            its = told.get(path.name, {})
            # The first one comes first among the newest.
            try:
                one = _described(path, self.folder, facts["time"] - 1e-4 * number, its.get("verb") or command[0],
                                 _flag(command, "--model"), its.get("prompt") or _flag(command, "--prompt"),
                                 its.get("seed"), command)
            except OSError:           # half of a picture, as a full disk leaves it
                continue
            found.append(one._replace(id=ids.get(path.name, one.id)))
        return found

    def bring(self, source: Path, name: str) -> Picture:
        """Copy a picture of the user into the studio.

        Args:
          source: its file.
          name: by which the user knows it, for display.

        Raises:
          PictureError: it is no picture that can be read.
          RunError: it is too large, or of a kind that is not kept.
          SaveError: the disk is full.
        """
        if source.stat().st_size > MOST_BYTES:
            raise RunError(f"the picture has more than {MOST_BYTES // 10**6} MB; give a smaller one")
        picture, id = files.read(source), new_id()
        kind = _kind(source)
        out = self.own / f"{id}{kind or '.png'}"
        try:
            if kind:
                shutil.copyfile(source, out)
            else:                     # as browsers cannot show it, or its kind is not written
                files.write(out, picture)
        except OSError as error:
            out.unlink(missing_ok=True)
            raise _explained(error, self.own) from error
        title = "".join(letter for letter in name if letter.isprintable())[:100]
        found = _described(out, self.folder, time.time(), "own", "", title, None, ("own",))._replace(id=id)
        self.index.add([found])
        return found

    def thumbnail(self, picture: Picture) -> Path:
        """A file of at most `THUMB` pixels a side that shows a picture: made on first use, or the picture itself."""
        path = self.path(picture)
        if max(picture.width, picture.height) <= THUMB and path.suffix.lower() in SHOWN:
            return path
        thumb = self.cache / "thumbs" / picture.id[:2] / f"{picture.id}.webp"
        if not thumb.is_file():
            pixels = Image.fromarray(_color(files.read(path)))
            pixels.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
            thumb.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(thumb, lambda file: pixels.save(file, "WEBP", quality=82))
        return thumb

    def delete(self, picture: Picture) -> None:
        """Move a picture to the folder "deleted", from which `restore` brings it back."""
        path = self.path(picture)
        self.index.delete(picture.id)
        os.replace(path, self.deleted / f"{picture.id}{path.suffix}")

    def restore_id(self, id: str) -> None:
        """Bring a deleted picture back. Raises RunError where its file is gone."""
        self.index.delete(id, False)
        picture = self.index.get(id)
        path = self.folder / picture.file
        aside = self.deleted / f"{id}{path.suffix}"
        if not aside.is_file():
            self.index.delete(id)
            raise RunError(f"the picture is not in {self.deleted} any more")
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(aside, path)

    def rebuild(self) -> None:
        """Fill an empty list again from what the folders hold: the same pictures, of the same parents.

        What the list alone knows is lost: the names of pictures that were brought, and what was measured.
        """
        for path in sorted(self.made.glob(f"*/{FACTS}")):
            try:
                facts = json.loads(path.read_text())
                self.index.add(self._found(path.parent, facts), facts["parents"])
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue              # what cannot be read stays where it is
        for path in sorted(self.own.iterdir()):
            try:
                one = _described(path, self.folder, path.stat().st_mtime, "own", "", "", None, ("own",))
                self.index.add([one._replace(id=path.stem) if ID.fullmatch(path.stem) else one])
            except (OSError, ImggenError):
                continue

    def _find_lost(self) -> None:
        """Add pictures that are in the folders and not in the list: the disk was full, or the studio was killed."""
        known = self.index.folders()
        for folder in sorted(self.made.iterdir()):
            if not folder.is_dir() or str(folder.relative_to(self.folder)) in known:
                continue
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, SaveError):
                facts = {"command": ["found"], "parents": [], "time": folder.stat().st_mtime, "said": []}
                if (folder / FACTS).is_file():
                    facts = json.loads((folder / FACTS).read_text())
                self.index.add(self._found(folder, facts), facts["parents"])

    def named(self, below: Path, name: str) -> Path:
        """A folder for what a user has named. Raises RunError for a name that none can have."""
        if not re.fullmatch(r"[\w][\w .-]{0,59}", name.strip(), re.UNICODE) or name.strip().endswith("."):
            raise RunError(f"the name {name.strip()[:60]!r} cannot be taken: use letters, digits, spaces, - and _, "
                           "60 at most")
        return below / name.strip()


def _described(path: Path, home: Path, when: float, verb: str, model: str, prompt: str, seed: int | None,
               command: tuple[str, ...]) -> Picture:
    with Image.open(path) as picture:
        width, height = picture.size
    return Picture(new_id(), str(path.relative_to(home)), when, verb, model, prompt, seed, width, height, command)


def _kind(path: Path) -> str:
    """The ending for a picture's own bytes, by what they are and not by what the file is called; "" for others."""
    with Image.open(path) as picture:
        return {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}.get(str(picture.format), "")


def _color(picture: files.Picture):
    pixels = picture.pixels if picture.pixels.dtype == "uint8" else (picture.pixels // 257).astype("uint8")
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _flag(command: Sequence[str], flag: str) -> str:
    return command[command.index(flag) + 1] if flag in command[:-1] else ""


def _explained(error: OSError, folder: Path) -> ImggenError:
    if disk_is_full(error):
        return SaveError(f"the disk is full: nothing could be written to {folder}; what was made before is kept. Make "
                         "room, then do the same again")
    return RunError(f"the folder {folder} cannot be used ({error.strerror or error}); choose another with --folder")
