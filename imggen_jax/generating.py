"""New images of seeds with the records that make them again, and the folders that they are written to."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imggen_jax.errors import RunError, SaveError
from imggen_jax.model import Model
from imggen_jax.pictures import grids
from imggen_jax.prompts import Mixture, Text
from imggen_jax.provenance import publishing, records
from imggen_jax.provenance.publishing import Origin
from imggen_jax.provenance.records import Family, Record
from imggen_jax.sampling import Fields
from imggen_jax.storage import checkpoint
from imggen_jax.storage.files import disk_is_full

AT_ONCE = 512   # images made at a time, so that memory does not grow with their number
ON_GRID = 1024  # images on the grid
VERB = "generate"


def images(
    model: Model, run: str, numbers: np.ndarray | range | list[int], fields: Fields, given: Mapping[str, Any] | None,
    asked: Mapping[str, Any], more: Mapping[str, Any] = {}, check: Callable[[], object] | None = None,
) -> Iterator[tuple[np.ndarray, Family]]:
    """(image uint8 [H,W,C], its record) of each seed, made `AT_ONCE` at a time.

    Args:
      model: a loaded generator.
      run: name of its folder, for the records.
      numbers: seeds, as `Model.check_seeds` gives them.
      fields: what the images are conditioned on, as `Model.check_given` gives them.
      given: the same, as the user gave it: a value for all images, or one for each.
      asked: "truncation", and the options of the generator.
      more: what else the records are to say of how the images were asked for.
      check: is called at each step of a sampler, and stops it by an exception.
    """
    weights = checkpoint.fingerprint(model.weights)
    options = {name: value for name, value in asked.items() if name != "truncation"}
    for start in range(0, len(numbers), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        chosen = {name: value[rows] for name, value in fields.items()}
        latents = model.sampler.draw(model.weights, numbers[rows], chosen, asked["truncation"])
        for row, image in enumerate(model.sampler.show(model.weights, latents, options, check)):
            its = {name: value[row] for name, value in latents.given.items()}
            said = records.given_of(model.spec, its, _texts(given, start + row))
            arguments = {"seed": int(numbers[start + row]), **asked, **more}
            yield image, Family(Record(VERB, run, weights, b"", said, int(latents.places[row]), arguments, ()), {})


def _texts(given: Mapping[str, Any] | None, row: int) -> dict[str, Text]:
    """The fields of image `row` that were given as text."""
    each = {name: value[row] if isinstance(value, Sequence) and not isinstance(value, str | Mixture) else value
            for name, value in (given or {}).items()}
    return {name: value for name, value in each.items() if isinstance(value, str | Mixture)}


def missing(out: Path, model: Model, numbers: Sequence[int] | np.ndarray, given: Mapping[str, Any] | None,
            asked: Mapping[str, Any]) -> np.ndarray:
    """Those of seeds, uint32 [n], whose picture, by this model of the same words and options, is not in a folder yet.

    Arguments as of `images`; of `given`, a value for all images.
    """
    weights, wanted = checkpoint.fingerprint(model.weights), dict(given or {})

    def is_there(number: int) -> bool:
        try:
            family = publishing.read(out / f"{number:06d}.png")
        except RunError:  # cut off while it was written, or another program's
            return False
        if family is None or family.record.weights != weights:
            return False
        record = family.record
        return record.arguments == {"seed": number, **asked} and all(
            _told(model, name, value) == record.given.get(name) for name, value in wanted.items())

    return np.array([number for number in numbers if not is_there(int(number))], np.uint32)


def _told(model: Model, name: str, value: Any) -> Any:
    """What a record says of a value that is given."""
    if name in model.spec and model.spec[name].classes:
        index = model.label_index(value, name)
        return [index, model.spec[name].names[index]]
    return records.given_of(model.spec, {name: np.zeros(0)}, {name: value}).get(name)


def share(numbers: np.ndarray | range, process: int, processes: int) -> np.ndarray | range:
    """The seeds of one of several processes: a run of them, since neighbors fill one batch."""
    first, last = (len(numbers) * each // processes for each in (process, process + 1))
    return numbers[first:last]


def write(out: Path, pictures: Iterable[tuple[str, np.ndarray, Family]], facts: Mapping[str, Any], *,
          columns: int | None = None, others: Sequence[Path] = (), grid: bool = True) -> Path:
    """Write out/<name>.png of each picture, and out/grid.png with the first 1,024 of them.

    Args:
      out: folder; made if needed.
      pictures: (name, uint8 [H,W,C], record), at least one.
      facts: signed besides, `publishing.training_facts`.
      columns: of the grid; None: about as many as rows.
      others: files of pictures that these were made from, too.
      grid: whether there is one.

    Returns:
      The path of the grid; without one, of the folder.

    Raises:
      RunError: `out` cannot be written to.
      SaveError: the disk is full.
    """
    shown: list[tuple[np.ndarray, Family]] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, image, family in pictures:
            publishing.write_png(out / f"{name}.png", image, Origin(VERB, family, facts, others=others))
            if grid and len(shown) < ON_GRID:
                shown.append((image, family))
        if not grid:
            return out
        sheet, families = zip(*shown)
        origin = Origin(VERB, records.sheet(families, columns), facts, others=others)
        publishing.write_png(out / "grid.png", grids.grid(np.stack(sheet), columns), origin)
    except OSError as error:
        if disk_is_full(error):
            raise SaveError(f"cannot write images to {out} ({error.strerror}); make room, then run the same command "
                            "again") from error
        raise RunError(f"cannot write images to {out} ({error.strerror or error}); choose another folder") from error
    return out / "grid.png"
