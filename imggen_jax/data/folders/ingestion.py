"""A messy folder, zip or tar becomes a TFDS dataset, once: find, decode, choose, write, tell."""
from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import tqdm

from imggen_jax.data import sources
from imggen_jax.data.folders import (
    checking,
    dataset,
    identity,
    layout,
    matching,
    merging,
    notes,
    options,
    optout,
    pairing,
    pixels,
    report,
    worker,
)
from imggen_jax.data.folders.checking import Damaged
from imggen_jax.data.folders.members import UNREADABLE, Member, Place, Skipped, find, members, opened, read, stamp
from imggen_jax.data.folders.options import MAX_PIXELS
from imggen_jax.data.folders.optout import OptOut
from imggen_jax.data.folders.pixels import Refused, Wanted
from imggen_jax.data.folders.store import Store, stem
from imggen_jax.errors import DataError, SaveError, brief
from imggen_jax.storage.cache import cache_folder
from imggen_jax.storage.files import disk_is_full, given_path, write_atomic
from imggen_jax.storage.lock import exclusive

_FORMAT = 2              # of datasets; another one is made anew
_SAVE_EVERY = 1.0        # seconds between commits
_SHARE = 8               # pictures below which a process takes longer to start (a quarter of a second) than to save


class Ingested(NamedTuple):
    """A dataset made of someone's own pictures."""

    name: str     # for config.data.name, with `dir`: folder_KEY:VERSION
    dir: str      # TFDS data_dir
    folder: Path  # of the dataset: the shards, README.md, card.json, ingest.json, ingest.html, ledger.csv
    card: dict[str, Any]  # what was found, as in card.json


def ingest(folder: str | os.PathLike[str], *, size: int = 64, out: str | os.PathLike[str] = "", fit: str = "crop",
           background: str = "white", license: str = "", min_side: int | None = None, max_pixels: int = MAX_PIXELS,
           pairs: str = "", workers: int | None = None, verify: bool = False, opt_out: str | os.PathLike[str] = ""
           ) -> Ingested:
    """Makes a TFDS dataset (array_record) of the pictures in a folder tree, a zip or a tar; a second call finds it.

    The dataset's name is folder_<key>, and the key a sha256 over its pixels, their order and what shaped them. Where
    only what is said about the same pictures differs (captions, labels, names of files), the dataset gets another
    version, 1.0.1 and so on; see `identity`. A call that was killed goes on where it was. A dataset that is damaged is
    set aside and made again.

    Args:
      folder: a folder with any tree in it, a zip, or a tar (also compressed). Sub-folders name the labels.
      size: side of the pictures in pixels; 0 to keep each picture's own size.
      out: the TFDS data_dir to write to; "" for $IMGGEN_JAX_CACHE/folders or ~/.cache/imggen_jax/folders.
      fit: "crop" to the central square, or "pad" to a square.
      background: color behind transparency and padding, as CSS writes it: "white", "#20a040".
      license: of pictures for which no table names one.
      min_side: pixels; a picture whose shorter side is below is left out. None for half of `size`.
      max_pixels: a picture with more is left out.
      pairs: "" for pictures alone or with masks, "side-by-side" for files that hold A and B side by side, "aligned" for
        folders A and B with pictures of equal names, "unaligned" for folders A and B as two domains; see `pairing`.
      workers: processes that decode; None for one more than there are cores, 16 at most, fewer for few pictures.
      verify: compare the checksums of a dataset that is there already, instead of the sizes and times of its files.
      opt_out: list of pictures that must not be trained on, see `optout`; "" for $IMGGEN_JAX_OPT_OUT, or none. What is
        left out is counted in the card.

    Raises:
      DataError: nothing usable there, an argument or a table that makes no sense, pairs that are not complete, or no
        place to write to.
      SaveError: the disk is full.
    """
    pairing.check_mode(pairs)
    wanted = options.wanted(size=size, fit=fit, background=background, min_side=min_side, max_pixels=max_pixels,
                            halves=pairs == "side-by-side")
    if not isinstance(license, str):
        raise DataError(f"license is {license!r}; give a text, such as 'CC BY 4.0'")
    if workers is not None:
        workers = options.integer("workers", workers, 1, "a number of processes")
    place, root = find(folder), home(out)
    job = Job(place, root, wanted, notes.clean(license), pairs, optout.read(opt_out))
    mark = hashlib.sha256(json.dumps([_FORMAT, stamp(place), job.options()]).encode()).hexdigest()[:32]
    try:
        with _alone(root, mark):
            known = _known(root, mark, verify)
            return known if known is not None else _make(job, mark, workers)
    except OSError as error:
        if disk_is_full(error):
            raise SaveError(f"cannot write to {root} ({error.strerror}); make room, then run the same command again"
                            ) from error
        raise DataError(f"cannot write to {root} ({error.strerror or error}); give another folder by "
                        "--out, or by $IMGGEN_JAX_CACHE") from error
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise SaveError(f"cannot write to {root} (no space left); make room, then run the same command again"
                            ) from error
        raise DataError(f"{root / '.ingest' / mark} cannot be used ({brief(error)}); make room on the disk, or move "
                        "that folder away, and run the same command again") from error


class Job(NamedTuple):
    """What is to be made of what."""

    place: Place
    root: Path     # TFDS data_dir
    wanted: Wanted
    license: str
    pairs: str
    out: OptOut

    def options(self) -> dict[str, Any]:
        """All that shapes the dataset besides the files."""
        shaped = {"recipe": pixels.RECIPE, **self.wanted._asdict(), "license": self.license, "pairs": self.pairs}
        return shaped | ({"opt_out": digest} if (digest := self.out.digest()) else {})


def home(out: str | os.PathLike[str] = "") -> Path:
    """The TFDS data_dir of ingested folders."""
    if os.fspath(out):
        return given_path(out, "the datasets").absolute()
    return cache_folder("folders")


def card(*, name: str, dir: str) -> dict[str, Any] | None:
    """What card.json of a prepared dataset says, as `Ingested.card`; None for one that was not ingested."""
    folder = sources.find_prepared(sources.parse_name(name), sources.data_dir(dir))
    if folder is None:
        return None
    try:
        return json.loads((folder / "card.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / 'card.json'} cannot be read ({brief(error)}); ingest the folder again") from error


def check(*, name: str, dir: str, full: bool = False) -> None:
    """Raises DataError where a prepared dataset was ingested and is damaged; says nothing of other datasets.

    full: compare checksums, and not only the sizes of the files.
    """
    folder = sources.find_prepared(sources.parse_name(name), sources.data_dir(dir))
    if folder is None or not any((folder / file).exists() for file in (checking.FILE, identity.FILE)):
        return
    try:
        checking.verify(folder, full=True) if full else checking.verify_sizes(folder)
    except Damaged as error:
        raise DataError(f"{error}; give the pictures' folder again (data --folder, or config.data.folder): the damaged "
                        "dataset is then set aside and made again") from error


@contextlib.contextmanager
def _alone(root: Path, mark: str) -> Iterator[None]:
    """Only one process at a time makes this dataset; the others wait, and find it made."""
    base = root / ".ingest"
    base.mkdir(parents=True, exist_ok=True)

    def wait(holder: str) -> None:
        print(f"another process ({holder}) ingests this folder; waiting for it", file=sys.stderr, flush=True)

    with exclusive(base / f"{mark}.lock", waiting=wait):
        yield


# ------------------------------------------------------------------------------------------------ what is there already


def _known(root: Path, mark: str, full: bool) -> Ingested | None:
    """What an earlier call made of the same; None if it is not there any more, or was damaged and is set aside."""
    pointer = root / ".ingest" / f"{mark}.json"
    try:
        told = json.loads(pointer.read_text())
        folder = root / told["name"] / told["version"]
        verified = told["verified"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    if not folder.is_dir():
        return None
    try:
        stamp = checking.verify(folder, known=verified, full=full)
    except Damaged as error:
        _set_aside(folder, error)
        return None
    if stamp != verified:
        _point(root, mark, told | {"verified": stamp})
    return _opened(root, told["name"], told["version"])


def _point(root: Path, mark: str, told: dict[str, Any]) -> None:
    write_atomic(root / ".ingest" / f"{mark}.json", json.dumps(told) + "\n")


def _set_aside(folder: Path, error: Damaged) -> None:
    """Renames a damaged dataset, to a name that no reader takes for a version of it."""
    numbers = itertools.count(1)
    aside = next(path for path in (folder.with_name(f"damaged-{folder.name}-{n}") for n in numbers)
                 if not path.exists())
    os.rename(folder, aside)
    print(f"{error}; the dataset is made again, and the damaged one kept as {aside}", file=sys.stderr, flush=True)


def _opened(root: Path, name: str, version: str) -> Ingested:
    folder = root / name / version
    return Ingested(f"{name}:{version}", str(root), folder, json.loads((folder / "card.json").read_text("utf-8")))


# -------------------------------------------------------------------------------------------------------------- make


def _make(job: Job, mark: str, workers: int | None) -> Ingested:
    work = job.root / ".ingest" / mark
    work.mkdir(exist_ok=True)
    with contextlib.closing(Store(work / "work.sqlite")) as store:
        try:
            plan = _read(job, store, workers)
        except DataError:  # once the files are mended, their stamp is another, and nothing would use this folder again
            shutil.rmtree(work, ignore_errors=True)
            raise
        card = report.survey(job.place, store, plan, job.options())
        if not card["pictures"]:
            report.write(work, "nothing", store, card)
            raise DataError(f"{card['path']} has no picture that can be used: {report.counts(card['quarantined'])}; "
                            f"see {work / 'ingest.html'}")
        name, version, stamp = _write(job, work, store, plan, card)
    _point(job.root, mark, {"name": name, "version": version, "of": str(job.place.path), "verified": stamp})
    shutil.rmtree(work)
    return _opened(job.root, name, version)


def _read(job: Job, store: Store, workers: int | None) -> layout.Plan:
    """Everything up to what the dataset will be; goes on where an earlier call was stopped."""
    if not store.fact("scanned"):
        _scan(job, store)
    if not store.fact("decoded"):
        _decode(job, store, workers)
    with store.base:
        pairing.arrange(store, job.pairs)
        tree = layout.tree(store)
        merging.choose(store, tree)
        plan = layout.plan(store, tree, domain=job.pairs == "unaligned")
        merging.note_labels(store, plan)
    return plan


def _write(job: Job, work: Path, store: Store, plan: layout.Plan,
           card: dict[str, Any]) -> tuple[str, str, checking.Stamp]:
    """Writes the dataset, unless it is there but for what its reports say; its name, version and files."""
    form = dataset.Form(job.wanted.size, job.license, card["paired"], card["masks"] > 0, job.pairs == "unaligned")
    made = identity.compute(store, plan, form)
    shaped = [made.pixels, job.wanted.size, job.wanted.fit, job.wanted.background, job.pairs]
    name = f"folder_{hashlib.sha256(json.dumps(shaped).encode()).hexdigest()[:16]}"
    with _alone(job.root, name):
        version, stamp = _version(job.root / name, made)
        folder = job.root / name / version
        if stamp is not None:
            report.write(folder, name, store, card)
            return name, version, stamp
        part = work / "dataset"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        dataset.write(part, name, version, store, plan, form, made.words)
        (part / identity.FILE).write_text(json.dumps(made.as_json(), indent=1) + "\n")
        checking.write(part)
        report.write(part, name, store, card)
        folder.parent.mkdir(exist_ok=True)
        os.replace(part, folder)
        return name, version, checking.verify(folder)


def _version(folder: Path, made: identity.Identity) -> tuple[str, checking.Stamp | None]:
    """The version that holds the same and is intact, with its files; else the first that is free, and None."""
    for number in itertools.count():
        version = folder / f"1.0.{number}"
        if not version.exists():
            return version.name, None
        try:
            if json.loads((version / identity.FILE).read_text()) != made.as_json():
                continue
        except (OSError, ValueError):
            _set_aside(version, Damaged(f"{version / identity.FILE} cannot be read"))
            return version.name, None
        try:
            return version.name, checking.verify(version)
        except Damaged as error:
            _set_aside(version, error)
            return version.name, None
    raise AssertionError


# -------------------------------------------------------------------------------------------------------------- scan


def _scan(job: Job, store: Store) -> None:
    """Notes every file, and reads what is said about pictures. All in one transaction: it is quick."""
    place = job.place
    progress = tqdm.tqdm(desc=f"looking through {place.path.name}", unit=" files", delay=2, mininterval=1, leave=False,
                         disable=None)
    with store.base, progress:
        store.begin_scan()
        repeated = 0
        for member in members(place):
            if isinstance(member, Skipped):
                store.add_skipped(member)
                continue
            name = member.name.rpartition("/")[2]
            if member.refused is None and name.lower() in notes.TABLES:
                repeated += _read_table(member, store)
                member = member._replace(refused=("note", "table"))
            elif member.refused is None and name.lower().endswith(".txt"):
                member = member._replace(refused=_read_caption(member, store))
            store.add_file(member)
            progress.update()
        if place.kind != "folder":
            store.skip_in_archive()
        store.set_fact("repeated_rows", repeated)
        matching.match(store)
        pairing.check_names(store, job.pairs)
        store.set_fact("scanned", True)


def _read_table(member: Member, store: Store) -> int:
    """Keeps the rows of a table; returns how many repeat a name. Raises DataError where it cannot be read."""
    try:
        with opened(member) as file:
            return store.add_rows(notes.rows(member.name, file))
    except DataError:
        raise
    except (Refused, *UNREADABLE) as error:
        said = str(error) if isinstance(error, Refused) else brief(error)
        raise DataError(f"{member.name} cannot be read ({said}); mend it, or take it out and the pictures go without "
                        "what it says") from error


def _read_caption(member: Member, store: Store) -> tuple[str, str]:
    """Keeps the text of NAME.txt; what the file is from then on."""
    if member.size > notes.MOST_TEXT:
        return "not a picture", "a text too long for a caption"
    try:
        with opened(member) as file:
            text = notes.caption_text(read(file, b"", notes.MOST_TEXT))
    except (Refused, *UNREADABLE) as error:
        return (error.reason, str(error)) if isinstance(error, Refused) else ("broken", brief(error))
    if text is None:
        return "note", "caption in another encoding"
    store.add_caption(stem(member.name), text)
    return "note", "caption"


# ------------------------------------------------------------------------------------------------------------ decode


class _Done(NamedTuple):
    """A file on its way through a worker."""

    name: str
    sha: bytes | None                  # None where it was not read to its end
    refused: tuple[str, str] | None
    decoded: worker.Decoded | None


def _decode(job: Job, store: Store, workers: int | None) -> None:
    """Reads and decodes every file that is not yet; commits every second."""
    place = job.place
    total = store.ask("select count(*) from files where reason is null")
    done = store.ask("select count(*) from files where reason is null and sha is not null")
    progress = tqdm.tqdm(total=total, initial=done, desc=f"reading {place.path.name}", unit=" pictures", delay=2,
                         mininterval=1, leave=False, disable=None)
    if workers is None:
        workers = min((os.cpu_count() or 1) + 1, 16, max(1, math.ceil((total - done) / _SHARE)))
    saved = time.monotonic()
    with store.base:  # commits in its midst too
        with worker.crew(workers, job.wanted) as idle, ThreadPoolExecutor(workers) as pool, progress:
            looks = optout.looks(job.out, idle) if job.out.pictures else optout.Looks()
            for result in _stream(_tasks(place, store, idle, pool), 2 * workers):
                _keep(store, result, job.out, looks)
                progress.update()
                if time.monotonic() - saved > _SAVE_EVERY:
                    store.base.commit()
                    saved = time.monotonic()
        store.set_fact("decoded", True)


def _keep(store: Store, result: _Done, out: OptOut, looks: optout.Looks) -> None:
    if result.refused is not None:
        store.add_refusal(result.name, *result.refused)
    elif result.sha is not None and result.decoded is not None:
        if out.sums and (said := optout.names(out, looks, result.sha, result.decoded)):
            return store.add_refusal(result.name, optout.REASON, said)
        store.add_picture(result.name, result.sha, result.decoded)


def _tasks(place: Place, store: Store, idle: SimpleQueue[worker.Worker],
           pool: ThreadPoolExecutor) -> Iterator[Future[_Done]]:
    """One future for each pending file. A folder's files are read by the threads, an archive's here, in its order."""
    taken: set[str] | None = set() if store.fact("repeated") else None
    for member in members(place):
        if isinstance(member, Member) and member.refused is None and store.pending(member.name):
            if taken is not None:  # of a name that an archive repeats, the first is read
                if member.name in taken:
                    continue
                taken.add(member.name)
            if place.kind == "folder":
                yield pool.submit(lambda member=member: _through(member.name, *_bytes(member), idle))
            else:
                yield pool.submit(_through, member.name, *_bytes(member), idle)


def _stream(tasks: Iterator[Future[_Done]], most: int) -> Iterator[_Done]:
    """Results as they come, with at most so many on their way."""
    running: set[Future[_Done]] = set()
    for task in tasks:
        running.add(task)
        if len(running) >= most:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (each.result() for each in done)
    yield from (each.result() for each in running)


def _bytes(member: Member) -> tuple[bytes, tuple[str, str] | None]:
    """A file's content, or why there is none. Of what is no picture only the head is read."""
    try:
        with opened(member) as file:
            head = file.read(pixels.HEAD)
            pixels.sniff(head)
            return read(file, head, pixels.MAX_BYTES), None
    except Refused as error:
        return b"", (error.reason, str(error))
    except Exception as error:  # noqa: BLE001 - zipfile and tarfile raise many types for damaged members
        return b"", ("broken", brief(error))


def _through(name: str, data: bytes, refused: tuple[str, str] | None, idle: SimpleQueue[worker.Worker]) -> _Done:
    if refused is not None:
        return _Done(name, None, refused, None)
    decoder = idle.get()
    try:
        return _Done(name, hashlib.sha256(data).digest(), None, decoder.decode(data))
    finally:
        idle.put(decoder)
