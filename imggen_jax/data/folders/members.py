"""What lies in a folder, a zip or a tar: its files, one after the other, read in place.

Nothing of an archive is written to disk, so no member can land anywhere. Those that would (names that climb out,
links, devices) are refused all the same, in folders too: what such a thing shows is not what lies there. Memory does
not grow with what the files hold; a name costs some hundred bytes (of one directory at a time, or of a whole zip).
"""
from __future__ import annotations

import codecs
import hashlib
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, NamedTuple

from imggen_jax.data.folders.pixels import Refused
from imggen_jax.errors import DataError, brief

# Left by systems beside the user's own files. Names of files, and of folders with all that is in them.
_SYSTEM_FILES = re.compile(r"\._.*|\.DS_Store|Thumbs\.db|desktop\.ini|\.directory", re.IGNORECASE)
_SYSTEM_FOLDERS = re.compile(r"__MACOSX|\$RECYCLE\.BIN|@eaDir", re.IGNORECASE)
# Folders that hold what this program or TFDS wrote, by what lies in them: (kind, one of these sets of names).
_WRITTEN = (("run", (("config.json", "metrics.jsonl"), ("config.json", "checkpoints"))),
            ("prepared dataset", (("dataset_info.json", "features.json"),)))
# A tar that unpacks to more than this many times its own size is no archive of pictures, which hardly shrink.
_MOST_GROWTH, _GROWTH_FREE = 100, 2**30
# In this order: the mark of UTF-32 begins as that of UTF-16 does. These codecs take the mark off.
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
                     (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# What reading a damaged or forbidden member of an archive, or a file, raises.
UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, tarfile.TarError, EOFError, OSError, NotImplementedError,
              RuntimeError)


class Member(NamedTuple):
    """A file that was found. Archives are read in order: use `open` before the next one is asked for."""

    name: str                            # its path within, with "/"; unprintable bytes as \\xNN
    size: int                            # bytes
    refused: tuple[str, str] | None      # the reason and what exactly, where it must not be opened
    open: Callable[[], IO[bytes]] | None  # raises Refused; None where it must not be opened


class Skipped(NamedTuple):
    """A folder that is passed over with all that is in it."""

    name: str  # its path within
    kind: str  # "hidden folder", "system folder", "run" or "prepared dataset"


class Place(NamedTuple):
    """A folder or an archive that can be read."""

    path: Path
    kind: str  # "folder", "zip" or "tar"


def find(path: str | os.PathLike[str]) -> Place:
    """Tells what PATH is; raises DataError where nothing can be read from it."""
    if not os.fspath(path).strip():
        raise DataError("the path of the pictures is empty; give a folder of pictures, a zip or a tar, or . for the "
                        "current folder")
    place = Path(path).expanduser()
    shown = printable(str(place))
    try:
        if place.is_dir():
            if passed_over("", os.listdir(place).__contains__) == "prepared dataset":
                raise DataError(f"{shown} is a prepared dataset, not a folder of pictures; train with it by "
                                "config.data.name and config.data.dir")
            return Place(place.resolve(), "folder")
        if not place.is_file():
            raise DataError(f"{shown} is {'neither a folder nor a file' if place.exists() else 'not there'}; give a "
                            "folder of pictures, a zip or a tar")
        with open(place, "rb") as file:
            empty = not file.read(1)
        if not empty and zipfile.is_zipfile(place):
            return Place(place.resolve(), "zip")
        if not empty and tarfile.is_tarfile(place):
            return Place(place.resolve(), "tar")
    except OSError as error:
        raise DataError(f"{shown} cannot be read ({error.strerror or error}); give a folder of pictures, a zip or a "
                        "tar that you may read") from error
    except (EOFError, zlib.error) as error:
        raise _damaged(place, error) from error
    raise DataError(f"{shown} is a file but neither a zip nor a tar{', it is empty' if empty else ''}; give a folder "
                    "of pictures, a zip or a tar")


def stamp(place: Place) -> str:
    """sha256 hex of what the disk says without a file being opened: where, which names, sizes, times of change."""
    digest = hashlib.sha256(os.fsencode(place.path))
    root = os.fsencode(place.path)
    paths = (path for path, _, skipped in _walk(root) if not skipped) if place.kind == "folder" else [root]
    for path in paths:
        try:
            told = os.lstat(path)
        except OSError:  # gone this moment; reading will say so
            continue
        facts = (told.st_mode, told.st_size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino)
        digest.update(b"%b\0%b\0" % (path, repr(facts).encode()))
    return digest.hexdigest()


def members(place: Place) -> Iterator[Member | Skipped]:
    """All files of a place, and the folders passed over, in an order that is always the same.

    Raises DataError if an archive is damaged.
    """
    try:
        if place.kind == "folder":
            yield from _in_folder(place.path)
        elif place.kind == "zip":
            with zipfile.ZipFile(place.path) as archive:
                yield from _in_zip(archive)
        else:
            # As a stream: tarfile's index would grow with the archive.
            with tarfile.open(place.path, "r|*") as archive:
                yield from _in_tar(archive, place.path)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, NotImplementedError, UnicodeError) as error:
        raise _damaged(place.path, error) from error
    except OSError as error:
        raise DataError(f"{printable(str(place.path))} cannot be read ({error.strerror or error})") from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"the archive {printable(str(path))} is damaged ({brief(error)}); make it again, or unpack what "
                     "can be saved and give that folder")


def _in_folder(root: Path) -> Iterator[Member | Skipped]:
    base = os.fsencode(root)
    for path, mode, skipped in _walk(base):
        name, size = _clean(path[len(base):].lstrip(b"/")), 0
        if skipped:
            yield Skipped(name, skipped)
            continue
        refused = _refused(name)
        if refused is None and not stat.S_ISREG(mode):
            kind = "link" if stat.S_ISLNK(mode) else "folder that cannot be read" if stat.S_ISDIR(mode) else "device"
            refused = "link or device", f"a {kind}"
        if refused is None:
            try:
                size = os.lstat(path).st_size
            except OSError as error:
                refused = "unreadable", error.strerror or brief(error)
        yield Member(name, size, refused, None if refused else _opener(path))


def _walk(root: bytes) -> Iterator[tuple[bytes, int, str]]:
    """(path, mode, "") of all that is no folder and of folders that cannot be listed, (path, mode, kind) of folders
    passed over. Links are not followed. Without recursion, since folders may be nested deeper than Python's stack."""
    waiting = [(root, _mode(root))]
    while waiting:
        path, mode = waiting.pop()
        if not stat.S_ISDIR(mode):
            yield path, mode, ""
            continue
        try:
            names = os.listdir(path)
        except OSError:
            yield path, mode, ""
            continue
        kind = "" if path == root else passed_over(os.fsdecode(os.path.basename(path)),
                                                   lambda name, names=names: os.fsencode(name) in names)
        if kind:
            yield path, mode, kind
            continue
        paths = [os.path.join(path, name) for name in sorted(names, reverse=True)]
        waiting += [(path, _mode(path)) for path in paths]


def _mode(path: bytes) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return stat.S_IFREG  # gone this moment, or too long a name; opening it will say so


def passed_over(folder: str, holds: Callable[[str], bool]) -> str:
    """Why a folder of this name is passed over, "" if it is not. holds: whether something of a name lies in it."""
    if _SYSTEM_FOLDERS.fullmatch(folder):
        return "system folder"
    if folder.startswith("."):
        return "hidden folder"
    return next((kind for kind, sets in _WRITTEN if any(all(map(holds, names)) for names in sets)), "")


def _opener(path: bytes) -> Callable[[], IO[bytes]]:
    def open_it() -> IO[bytes]:
        try:
            # Neither through a link nor waiting for a pipe, should one have come into the file's place.
            number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            file = os.fdopen(number, "rb")
        except OSError as error:
            raise Refused("unreadable", error.strerror or str(error)) from error
        if not stat.S_ISREG(os.fstat(number).st_mode):
            file.close()
            raise Refused("link or device", "not an ordinary file any more")
        return file
    return open_it


def _in_zip(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        if info.is_dir():
            continue
        name = _clean(info.filename.replace("\\", "/").encode(errors="surrogateescape"))
        mode = info.external_attr >> 16 if info.create_system == 3 else 0
        refused = _refused(name)
        if refused is None and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            refused = "link or device", "a link" if stat.S_ISLNK(mode) else "a device"
        if refused is None and info.flag_bits & 1:
            refused = "encrypted", "unpack it with its password and give the folder"
        yield Member(name, info.file_size, refused, None if refused else _zip_opener(archive, info))


def _zip_opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    def open_it() -> IO[bytes]:
        try:
            return archive.open(info)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
            raise Refused("broken", brief(error)) from error
    return open_it


def _in_tar(archive: tarfile.TarFile, path: Path) -> Iterator[Member]:
    allowed = max(_GROWTH_FREE, _MOST_GROWTH * path.stat().st_size)
    while (info := archive.next()) is not None:
        archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]  public, and tarfile would keep them all
        if info.isdir():
            continue
        name = _clean(info.name.encode(errors="surrogateescape"))
        if info.offset_data + info.size > allowed:  # it would have to be unpacked even to be passed over
            raise DataError(f"the archive {path} unpacks to over {allowed / 2**30:.1f} GiB at its member {name}, which "
                            "no archive of pictures does; unpack it yourself if you trust it, and give the folder")
        refused = _refused(name)
        if refused is None and not info.isreg():
            refused = "link or device", "a link" if info.issym() or info.islnk() else "a device"
        yield Member(name, info.size, refused, None if refused else _tar_opener(archive, info))


def _tar_opener(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def open_it() -> IO[bytes]:
        file = archive.extractfile(info)
        assert file is not None, "only regular files are opened"
        return file
    return open_it


def opened(member: Member) -> IO[bytes]:
    """The open file of a member that may be opened. Raises Refused."""
    assert member.open is not None, f"{member.name} is refused"
    return member.open()


def _refused(name: str) -> tuple[str, str] | None:
    """Why a file of this name is left out unopened, if it is."""
    parts = name.split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in parts:
        return "outside the archive", "its name climbs out of the archive"
    if _SYSTEM_FILES.fullmatch(parts[-1]):
        return "system file", "left by the operating system or a program"
    return None


def _clean(name: bytes) -> str:
    """A name that is text wherever it goes: what is not UTF-8, and control characters, as \\xNN."""
    text = printable(name.decode("utf-8", "backslashreplace"))
    return re.sub(r"^(\./)+|(?<=/)(\./|/)+", "", text) or "?"


def printable(text: str) -> str:
    """Text without control characters and lone surrogates: \\xNN and \\uNNNN stand for them."""
    text = re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\x{ord(match[0]):02x}", text)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def read(file: IO[bytes], head: bytes, most: int) -> bytes:
    """The rest of a file whose first bytes were read; raises Refused if it is larger than `most`."""
    try:
        rest = file.read(most + 1 - len(head))
    except UNREADABLE as error:
        raise Refused("broken" if not isinstance(error, OSError) else "unreadable", brief(error)) from error
    if len(head) + len(rest) > most:
        raise Refused("too large", f"the file is larger than {most // 2**20} MiB")
    return head + rest


def text_of(file: IO[bytes]) -> Iterator[str]:
    """A file as lines of text, by its byte order mark UTF-16 or UTF-32, else UTF-8; raises UnicodeDecodeError.

    Files within a tar cannot seek, which all of Python's own wrappers want.
    """
    head = file.read(4)
    decode = codecs.getincrementaldecoder(marked(head) or "utf-8")().decode
    rest, blocks = "", chain([head], iter(partial(file.read, 2**16), b""), [b""])
    for block in blocks:
        *lines, rest = (rest + decode(block, not block)).split("\n")
        yield from (line + "\n" for line in lines)
    if rest:
        yield rest


def marked(head: bytes) -> str | None:
    """The encoding that the byte order mark at the start of a file tells, None where there is none."""
    return next((encoding for mark, encoding in _BYTE_ORDER_MARKS if head.startswith(mark)), None)
