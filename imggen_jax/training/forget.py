"""Forgetting pictures: a model is trained anew without them, or the request is refused. Weights do not forget.

What is called unlearning elsewhere moves weights until a test no longer notices; nothing shows that nothing is left.
Only a run that never saw a picture has forgotten it, so that is what is offered.
"""
from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from imggen_jax.data import folders, sources
from imggen_jax.data.folders import optout, pixels
from imggen_jax.errors import DataError, RunError
from imggen_jax.storage.files import given_path, write_atomic
from imggen_jax.training.folder import CONFIG, DATA
from imggen_jax.training.saved import read_json

LIST = "forgotten.txt"


class Known(NamedTuple):
    """What a run's data have of some pictures."""

    sums: dict[str, str]     # name in the dataset -> sha256 of its pixels, of those that are in it
    asked: int               # how many pictures were asked for
    config: dict[str, Any]   # of the run


def look(workdir: str | Path, files: Sequence[str | Path]) -> Known:
    """Which pictures are in the data of a run, by their pixels or by their names in its dataset.

    Args:
      workdir: the run's folder.
      files: pictures, or their names as ledger.csv of the dataset has them.

    Raises:
      RunError: it is no run, or it was not trained on a folder of pictures, so that nobody can look them up.
      DataError: its dataset is gone; a picture is neither a file nor a name in it, or cannot be read.
    """
    folder = given_path(workdir, "the run")
    config, facts = read_json(folder / CONFIG), read_json(folder / DATA) or {}
    if config is None:
        raise RunError(f"{folder} is not the folder of a run; name one with --workdir")
    card = facts.get("card")
    if not card:
        raise RunError(f"{folder} was not trained on a folder of pictures but on {facts.get('name')!r}; nothing says "
                       "which pictures it has, so that none can be taken out of it")
    by_name = _ledger(facts)
    by_sum = {digest: name for name, digest in by_name.items()}
    found = {}
    for file in map(str, files):
        name = file if file in by_name else by_sum.get(_digest(Path(file), card))
        if name is not None:
            found[name] = by_name[name]
    return Known(found, len(files), config)


def _ledger(facts: dict[str, Any]) -> dict[str, str]:
    """{name: sha256 of its pixels} of every picture of a dataset."""
    place = sources.find_prepared(sources.parse_name(facts["name"]), sources.data_dir(facts.get("dir", "")))
    try:
        if place is None:
            raise FileNotFoundError("its dataset is not there any more")
        with open(Path(place) / "ledger.csv", encoding="utf-8", newline="") as file:
            return {row["name"]: row["sha256_of_pixels"] for row in csv.DictReader(file)}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"what {facts['name']} was made of cannot be read ({error}); ingest its folder again with "
                        "imggen data") from error


def _digest(file: Path, card: dict[str, Any]) -> str:
    """sha256 of a picture's pixels, as its ingestion would make them."""
    opened = folders.open_picture(file, size=card["size"], **folders.picture_options(card))
    return pixels.digest(Image.fromarray(opened.image))


def refusal(workdir: str | Path, known: Known) -> RunError:
    """Why a run cannot forget, and what it takes."""
    return RunError(f"{len(known.sums):,} of {known.asked:,} pictures are in the data of {workdir}, and weights do not "
                    "forget; train it anew without them: the same command with --retrain and a new folder")


def prepare(known: Known, retrain: str | Path) -> dict[str, Any]:
    """The config of a run without some pictures, whose list is written to the new run's folder.

    Raises:
      RunError: the folder holds a run already or cannot be written to; or the run started from weights of another one,
        which may have seen the pictures, too.
    """
    folder, config = given_path(retrain, "the new run"), known.config
    if (folder / CONFIG).exists():
        raise RunError(f"{folder} holds a run already; name a new folder with --retrain")
    if start := (config.get("init") or {}).get("workdir"):
        raise RunError(f"the run started from the weights of {start}, which may have seen these pictures; train that "
                       "one anew first, and this one from it")
    if not config["data"].get("folder"):
        raise RunError("the run names no folder of pictures in its config, so that it cannot be made anew without some "
                       "of it; ingest the folder with --opt-out, and train on it")
    before = optout.read(config["data"].get("opt_out", ""))
    sums = sorted({*known.sums.values(), *(one.hex() for one in before.sums)})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / LIST, "\n".join(["# sha256 of pixels or files that must not be trained on", *sums, ""]))
    except OSError as error:
        raise RunError(f"cannot write to {folder} ({error.strerror or error}); name another folder with --retrain"
                       ) from error
    return {**config, "data": {**config["data"], "opt_out": str((folder / LIST).absolute())}}
