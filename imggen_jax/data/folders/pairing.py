"""Which pictures make one example: one alone, one with its mask, or a pair.

    mode ""               every picture alone; with a mask each, where there are masks
    mode "side-by-side"   each file holds a pair, A on its left half and B on its right one
    mode "aligned"        A and B lie in folders of these names, or trainA, trainB, testA, ...; names tell the partners
    mode "unaligned"      the same folders, but the pictures are each an example of the domain A or B

Of a pair, B becomes the feature `image` and A the feature `source`, from which it is to be made. The mask of
DIR/NAME.jpg is DIR/NAME_mask.png or DIR/mask/NAME.png, or that of DIR/images/NAME.jpg DIR/masks/NAME.png; it becomes
the feature `mask`, of one channel. Names are compared without their endings, as `matching.fold` says.
"""
from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from imggen_jax.data.folders.layout import SPLITS
from imggen_jax.data.folders.matching import fold
from imggen_jax.data.folders.store import Store, stem
from imggen_jax.errors import DataError

MODES = ("", "side-by-side", "aligned", "unaligned")
_SIDE = re.compile(rf"({'|'.join(SPLITS)})?[ _-]?([AB])", re.IGNORECASE)
_ENDINGS = (".jpg", ".jpeg", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp")
_NO_PICTURE = "('note', 'system file', 'not a picture', 'link or device', 'outside the archive')"
_SIDES = {"image": "B", "source": "A", "mask": "masks"}
# All of one example: the names and paths of its files, and for each what became of it.
_ROLES = ("image", "source", "mask")
_JOINED = ("select image.path" + "".join(
    f", {role}.name, {role}_file.sha, {role}_picture.reason, {role}_picture.id, {role}_picture.width, "
    f"{role}_picture.height, {role}_picture.pixels" for role in _ROLES) + " from parts as image" + "".join(
    f" left join parts as {role} on {role}.key = image.key and {role}.role = '{role}'" for role in _ROLES[1:])
    + "".join(
    f" left join files as {role}_file on {role}_file.name = {role}.name"
    f" left join pictures as {role}_picture on {role}_picture.sha = {role}_file.sha" for role in _ROLES)
    + " where image.role = 'image' order by image.name")


class Part(NamedTuple):
    """What a name says about a picture's part in an example."""

    role: str  # "image", "source", "mask", or "" where it has none
    path: str  # the name without what tells the pictures of an example apart


class _Seen(NamedTuple):
    """One picture of an example."""

    name: str | None  # None where there is none
    sha: bytes | None
    reason: str | None
    id: int | None
    width: int | None
    height: int | None
    pixels: bytes | None


def check_mode(mode: str) -> None:
    """Raises DataError for a mode that there is not."""
    if not isinstance(mode, str) or mode not in MODES:
        raise DataError(f"unknown pairs {mode!r}; choose {', '.join(filter(None, MODES))}, or leave it out")


def looks_paired(labels: Iterable[str]) -> bool:
    """Whether labels look as if their folders were those of pairs."""
    sides = [_SIDE.fullmatch(label) for label in labels]
    return len(sides) > 1 and all(sides) and {side[2].upper() for side in sides if side} == {"A", "B"}


def part(name: str, mode: str) -> Part:
    """What a file's name says in a mode."""
    *folders, file = name.split("/")
    role, path, split = ("", [], "") if mode in ("aligned", "unaligned") else ("image", [], "")
    domain = 0  # where in `path` the domain's letter belongs
    for folder in folders:
        side = _SIDE.fullmatch(folder) if mode in ("aligned", "unaligned") and not role else None
        if side:
            role = "image" if side[2].upper() == "B" else "source"
            path += [side[1]] if side[1] else []
            split = side[1] or ""
            domain = len(path)
        elif mode != "unaligned" and role != "mask" and folder.lower() in ("mask", "masks"):
            role = "mask"
        elif mode == "unaligned" or folder.lower() not in ("image", "images"):
            path.append(folder)
    if mode == "unaligned" and role:  # train/A/..., also of trainA/... and A/train/...
        domain += not split and domain < len(path) and path[domain].lower() in SPLITS
        path.insert(domain, "B" if role == "image" else "A")
    base, ending = stem(file), file[len(stem(file)):]
    if mode != "unaligned" and base.lower().endswith("_mask"):
        role, file = "mask", base[:-len("_mask")] + ending
    return Part(role, "/".join([*path, file]))


def check_names(store: Store, mode: str) -> None:
    """Raises DataError where pairs are not complete, as far as names tell: before any picture is decoded."""
    if mode in ("", "aligned"):
        named = " or ".join(f"name like '%{ending}'" for ending in _ENDINGS)
        _note_parts(store, mode, f"reason is null and ({named})")
        _check_parts(store, mode)


def arrange(store: Store, mode: str) -> None:
    """Makes the examples, and leaves out pictures that belong to none. Part of the transaction that is open.

    Raises DataError where a partner or a mask is missing, or is of another size than its picture.
    """
    store.begin_examples()
    if mode in ("", "aligned"):
        _note_parts(store, mode, f"reason is null or reason not in {_NO_PICTURE}")
        if _check_parts(store, mode):
            return _join(store, mode)
    store.base.execute("""
        insert into examples select files.name, files.name, pictures.id, null, null, files.sha,
        cast(pictures.pixels || files.sha as blob), null from files join pictures on pictures.sha = files.sha
        where pictures.reason = ''""")
    if mode == "unaligned":
        _set_domains(store)


def _note_parts(store: Store, mode: str, where: str) -> None:
    """Fills the table of parts, of files that may be pictures; empty where each picture is alone."""
    store.base.execute("create temp table if not exists parts (name text primary key, role text, path text, key text)")
    store.base.execute("create index if not exists parts_key on parts (key, role)")
    store.base.execute("delete from parts")
    if mode == "" and not store.ask(
            "select 1 from files where name like '%\\_mask.%' escape '\\' or name like 'mask/%' or name like 'masks/%' "
            "or name like '%/mask/%' or name like '%/masks/%' limit 1"):
        return
    parts = ((name, part(name, mode)) for name, in store.all(f"select name from files where {where} order by name"))
    store.base.executemany("insert into parts values (?, ?, ?, ?)",
                           ((name, one.role, one.path, fold(stem(one.path))) for name, one in parts))


def _check_parts(store: Store, mode: str) -> bool:
    """Whether examples have several pictures. Raises DataError where some have not all of them."""
    counts = dict(store.all("select role, count(*) from parts where role != '' group by role"))
    if mode == "aligned" and not {"image", "source"} <= counts.keys():
        raise DataError("there are no pictures in folders A and B, or trainA and trainB; pairs lie in folders of these "
                        "names, or side by side in one file (side-by-side)")
    partnered = store.ask("select 1 from parts as a join parts as b on a.key = b.key where a.role = 'image' "
                          "and b.role = 'mask' limit 1")
    if mode == "" and not partnered:
        return False
    for role in counts:
        twice = store.base.execute("select min(name), max(name) from parts where role = ? group by key "
                                   "having count(*) > 1 limit 1", (role,)).fetchone()
        if twice:
            raise DataError(f"{twice[0]} and {twice[1]} have one name but for their endings, so their partners cannot "
                            "be told apart; rename one with its partner")
    names = _SIDES if mode == "aligned" else {"image": "pictures", "mask": "masks"}
    for role in counts:
        for other in counts:
            lone = store.ask("select name from parts where role = ? and key not in (select key from parts where "
                             "role = ?) order by name limit 1", role, other)
            if lone is not None:
                told = " and ".join(f"{counts[key]:,} in {names[key]}" if mode == "aligned" else
                                    f"{counts[key]:,} {names[key]}" for key in sorted(counts, key=_ROLES.index))
                raise DataError(f"there are {told}, and {lone} has no partner of its name among the "
                                f"{names[other] if mode != 'aligned' else f'pictures of {names[other]}'}; add it, or "
                                f"move {lone} to another folder")
    return True


def _join(store: Store, mode: str) -> None:
    for name, in list(store.all("select name from parts where role = ''")):
        store.leave_out(name, "outside the pairs", "it lies neither in a folder A nor in a folder B")
    rows = []
    for path, *cells in store.all(_JOINED):
        seen = [_Seen(*cells[7 * i:7 * i + 7]) for i in range(3)]
        there = [one for one in seen if one.name is not None]
        broken = next((one.name for one in there if one.reason != ""), None)
        if broken is not None:
            for one in there:
                if one.reason == "" and one.name is not None:
                    store.leave_out(one.name, "partner left out", f"{broken}, which belongs to it, cannot be used")
            continue
        image = seen[0]
        for one in there[1:]:
            if (one.width, one.height) != (image.width, image.height):
                raise DataError(f"{image.name} is {image.width}x{image.height} pixels and {one.name} {one.width}x"
                                f"{one.height}; pictures that belong together must have one size")
        key = hashlib.sha256(b"".join(one.sha or b"-" for one in seen)).digest()
        also = json.dumps([one.name for one in there[1:] if one is not seen[2]])
        rows.append((image.name, path, *(one.id for one in seen), key, (image.pixels or b"") + key, also))
        if len(rows) == 1000:
            _insert(store, rows)
    _insert(store, rows)


def _insert(store: Store, rows: list[tuple[object, ...]]) -> None:
    store.base.executemany("insert into examples values (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    rows.clear()


def _set_domains(store: Store) -> None:
    domains = set()
    for name, in list(store.all("select name from examples")):
        one = part(name, "unaligned")
        if one.role:
            domains.add(one.role)
            store.base.execute("update examples set path = ? where name = ?", (one.path, name))
        else:
            store.leave_out(name, "outside the pairs", "it lies neither in a folder A nor in a folder B")
    if len(domains) < 2:
        raise DataError("unaligned pairs need pictures in a folder A and in a folder B, or in trainA and trainB; "
                        f"there are {'some in one of them only' if domains else 'none in either'}")
