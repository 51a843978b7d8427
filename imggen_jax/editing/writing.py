"""Pictures of the editing verbs, with their records, and the files that they are written to."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imggen_jax import api
from imggen_jax.editing import finishing, sources
from imggen_jax.editing.sources import Found, Open
from imggen_jax.editing.space import join, rows_of, show
from imggen_jax.errors import RunError
from imggen_jax.loading import find
from imggen_jax.model import MOST_SEEDS
from imggen_jax.pictures import grids
from imggen_jax.provenance import policy, publishing, records
from imggen_jax.provenance.publishing import Origin
from imggen_jax.provenance.records import Family, Record
from imggen_jax.sampling import Latents


class Done(NamedTuple):
    """What a verb did."""

    files: list[Path]          # the first is the one to look at
    said: list[str]            # what the user should know
    figures: dict[str, Any]    # measured, JSON


def opened(workdir, verb: str = "", given: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
           names: Sequence[str] = ()) -> Open:
    """A model to edit with, by what `load` takes, if a policy lets the verb make pictures of what is given with it.

    `given` may be a list, with that of each picture; `names` of pictures may be seeds, of which labels are drawn. A run
    that is open already is taken as it is: whoever opened it has asked the policy.
    """
    if isinstance(workdir, Open):
        return workdir
    run = sources.open_run(workdir, api.load(workdir))
    drawn = run.model.generator.needs if any(name.strip().isdecimal() for name in names) else ()
    for each in [given] if given is None or isinstance(given, Mapping) else given:
        policy.check(find(workdir), verb, run.model.spec, each, drawn=drawn)
    return run


def said(found: Sequence[Found]) -> list[str]:
    """What the user should know of the pictures that were named, each once."""
    return list(dict.fromkeys(line for one in found for line in one.said))


def make(
    run: Open, verb: str, latents: Latents, arguments: Mapping[str, Any], found: Sequence[Found],
    texts: Sequence[str] = (),
) -> tuple[np.ndarray, list[Family]]:
    """Pictures of latents, each with its record, made with the options of the first of `found`.

    `texts` may condition them, beside those of `found`.
    """
    parents = [one.family for one in found]
    options = sources.options_of(run.model, parents[0].record) if parents else {}
    families = []
    for row, w in enumerate(latents.w):
        fields = rows_of(latents.given, row)
        given = records.given_of(run.model.spec, fields, sources.said_of(run.model, fields, found, texts))
        record = Record(verb, run.run, run.weights, records.encode_latent(w), given, int(latents.places[row]),
                        {**options, **arguments, "number": row}, tuple(parent.record.name for parent in parents))
        families.append(records.family(record, parents))
    return show(run.model, latents, **options), families


def origin_of(run: Open, family: Family | None, found: Sequence[Found], verb: str = "") -> Origin:
    """What a picture's credentials say of it: the files that were named are what it was made from."""
    return Origin(verb if family is None else family.record.verb, family, publishing.training_facts(run.model.data),
                  others=[one.file for one in found if one.file is not None], composite=family is None)


def write(run: Open, out, images: np.ndarray, families: Sequence[Family], found: Sequence[Found],
           names: Sequence[str] | None = None, before: tuple[np.ndarray, Family | None] | None = None) -> list[Path]:
    """Writes the sheet and the pictures; `before` stands first on the sheet.

    A sheet with a user's own picture, which has no family, says nothing of itself: no latent makes that picture.
    """
    out = Path(out)
    names = names or [f"{k:03d}" for k in range(len(images))]
    on_sheet = images if before is None else np.concatenate([before[0][None], images])
    members = families if before is None else [before[1], *families]
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
        files = [out / "sheet.png", *(out / f"{name}.png" for name in names)]
        sheet = None if None in members else records.sheet(members)
        publishing.write_png(files[0], grids.grid(on_sheet), origin_of(run, sheet, found, families[0].record.verb))
        for path, image, family in zip(files[1:], images, families, strict=True):
            publishing.write_png(path, image, origin_of(run, family, found))
    return files


def again(run: Open, family: Family, title: str) -> np.ndarray:
    """The picture that a record tells of: uint8 [H,W,C]."""
    record = family.record
    if record.verb == records.SHEET and record.weights == run.weights:
        members = [family.ancestors[name] for name in record.parents if name in family.ancestors]
        if not members or len(members) < len(record.parents) or any(one.verb == records.SHEET for one in members):
            raise RunError(f"{title} does not name all of its pictures; recall them one by one")
        images = _all_again(run, members, title)
        columns = record.arguments.get("columns")
        if columns is not None and not (isinstance(columns, int) and 1 <= columns <= len(images)):
            raise RunError(f"the metadata of {title} is damaged (columns); recall its pictures one by one")
        return grids.grid(images, columns)
    options = sources.options_of(run.model, record)
    return _finished(show(run.model, sources.latents_of(run, family, title), **options)[0], record)


def _all_again(run: Open, members: Sequence[Record], title: str) -> np.ndarray:
    """The pictures of a sheet, uint8 [n,H,W,C]: made together where they were made with the same options and as many
    texts."""
    latents = [sources.latents_of(run, Family(one, {}), title) for one in members]
    kinds = [(tuple(sorted(sources.options_of(run.model, one).items())),
              tuple(sorted((name, value.shape) for name, value in its.given.items())))
             for one, its in zip(members, latents)]
    made = {}
    for kind in set(kinds):
        rows = [row for row, its in enumerate(kinds) if its == kind]
        images = show(run.model, join([latents[row] for row in rows]), **dict(kind[0]))
        made |= {row: _finished(image, members[row]) for row, image in zip(rows, images, strict=True)}
    return np.stack([made[row] for row in range(len(members))])


def _finished(image: np.ndarray, record: Record) -> np.ndarray:
    seed = record.arguments.get("seed", 0)
    if not (isinstance(seed, int) and 0 <= seed < MOST_SEEDS):
        raise RunError("the picture's metadata is damaged (seed); to use its pixels alone, project it")
    return finishing.finish(image, record.arguments, seed)


@contextlib.contextmanager
def explained(out) -> Iterator[None]:
    """Raises RunError where a folder cannot be written to."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write to {out} ({error.strerror or error}); choose another folder") from error


def names_of(found: Sequence[Found]) -> Iterator[str]:
    """What the pictures that a user named are called: their seeds, or their files' names."""
    for one in found:
        arguments = one.family.record.arguments
        yield str(arguments.get("seed", arguments.get("file", one.family.record.name)))
