"""The dataset of a run: a prepared one, or one that is made of a folder of images; when it trains, and afterwards."""
from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from imggen_jax import data
from imggen_jax.config import Settings, check, schema
from imggen_jax.data import folders, sources
from imggen_jax.data.dataset import sha256
from imggen_jax.errors import ConfigError, DataError
from imggen_jax.game import Field, Pretrained, make_spec
from imggen_jax.training.build import build, make_transform
from imggen_jax.weights import foreign


def open_split(settings: Settings, split: str) -> data.Dataset:
    """A split of a run's dataset; nothing is decoded yet. Raises DataError."""
    wanted, fields = settings.data, tuple(settings.data.fields)
    common: dict[str, Any] = dict(dir=wanted.dir, split=split, size=wanted.size, memory=wanted.memory)
    conditions: dict[str, Any] = dict(label=wanted.label, text=wanted.text)
    if not wanted.source:
        if wanted.pairs == "unaligned":
            return _two_domains(wanted, common)
        if wanted.pairs and not fields:
            fields = ("source", "image")
        return data.open_dataset(name=wanted.name, fields=fields, crop=wanted.crop, **common, **conditions)
    apart = wanted.crop if wanted.pairs == "unaligned" else 0
    images = data.open_dataset(name=wanted.name, fields=fields, crop=apart, **common, **conditions)
    sources = data.open_dataset(name=wanted.source, fields=("image",), crop=apart, **common)
    sources = data.select(sources, ["image"], {"image": "source"})
    if wanted.pairs == "unaligned":
        return data.unaligned(sources, images)
    made = data.zipped(sources, images)
    return data.cropped(made, wanted.crop) if wanted.crop else made


def _two_domains(wanted: schema.Data, common: Mapping[str, Any]) -> data.Dataset:
    """Unaligned pairs of a dataset whose pictures have a class label "domain": sources of A, images of B."""
    domains = data.open_dataset(name=wanted.name, fields=("domain",), **common)
    names, values = domains.spec["domain"].names, domains.read(np.arange(domains.length))["domain"]
    if set(names) != {"A", "B"}:
        raise DataError(f"the domains of {domains.title} are {', '.join(names)}, not A and B")
    pictures = data.open_dataset(name=wanted.name, fields=("image",), crop=wanted.crop, **common)
    a, b = (data.take(pictures, np.flatnonzero(values == names.index(name))) for name in ("A", "B"))
    return data.unaligned(data.select(a, ["image"], {"image": "source"}), b)


def transformed(settings: Settings, dataset: data.Dataset) -> data.Dataset:
    """Examples as the model sees them: config.transforms applied, with random numbers from an example's index alone."""
    if not settings.transforms:
        return dataset
    transform = make_transform(settings, dataset.spec)

    def one(example, index):
        batch = transform.apply(jax.tree.map(lambda leaf: leaf[None], example), jax.random.key(index))
        return jax.tree.map(lambda leaf: leaf[0], batch)

    apply = jax.jit(jax.vmap(one))

    def read(indices: np.ndarray, *bits: np.ndarray) -> dict[str, np.ndarray]:
        return jax.tree.map(np.asarray, apply(dataset.read(indices, *bits), np.asarray(indices, np.uint32)))

    marks = {field: dataset.fingerprints.get(field) or sha256(field, settings.transforms, dataset.fingerprint)
             for field in transform.spec}
    return dataset._replace(spec=transform.spec, read=read, fingerprints=marks)


def ingested(settings: Settings, networks: Mapping[str, Pretrained] | None = None) -> Settings:
    """With the dataset that config.data.folder was made into, now or earlier, in place of the folder."""
    wanted = settings.data
    if not wanted.folder:
        if not wanted.name:
            raise ConfigError("no data are named; set --config.data.folder=PATH to a folder, zip or tar of images, "
                              "or --config.data.name to a TFDS dataset")
        return settings
    if wanted.size and not wanted.text and not wanted.fields and not wanted.pairs:
        # What cannot work is refused before images are read.
        label = {"label": Field((), "int32", ("0", "1"))} if wanted.label else {}
        build(settings, make_spec(image=Field((wanted.size, wanted.size, 3), "uint8"), **label), networks)
    made = data.ingest(wanted.folder, size=wanted.size, pairs=wanted.pairs, opt_out=wanted.opt_out)
    if jax.process_index() == 0:
        left_out = sum(made.card["quarantined"].values())
        print(f"{wanted.folder}: {made.card['pictures']:,} pictures, {left_out:,} files left out; see "
              f"{made.folder / 'ingest.html'}", file=sys.stderr, flush=True)
    split, test = wanted.split, wanted.test
    own = folders.splits(made.card)[1]
    if test.startswith("train[") and not own.startswith("train["):
        # The folder holds out pictures of its own; none of its training pictures need be.
        split, test = "train", own
        if jax.process_index() == 0:
            print(f"{wanted.folder}: its own {own} pictures are held out", file=sys.stderr, flush=True)
    _check_held_out(wanted.folder, split, test, made.card["splits"])
    chosen = dataclasses.replace(wanted, name=made.name, dir=made.dir, split=split, test=test)
    return dataclasses.replace(settings, data=chosen)


def _check_held_out(folder: str, split: str, test: str, splits: Mapping[str, int]) -> None:
    """Raises DataError where there are too few images to train on a part of them and hold out another."""
    for part in filter(None, (split, test)):
        try:
            data.parse_split(part, splits, dataset=folder)
        except DataError:
            data.parse_split(part, dict.fromkeys(splits, 10**6), dataset=folder)  # raises where more would not help
            number = sum(splits.values())
            raise DataError(f"{folder} has {number} picture{'s' if number != 1 else ''}, too few for a part {part!r}; "
                            "add pictures, or hold none out with --config.data.split=train --config.data.test="
                            ) from None


def of_run(config: Mapping, recorded: Mapping, where: str = "") -> Settings:
    """The settings of a trained run, with its dataset as it can be found now.

    Args:
      config: of the run.
      recorded: what it wrote to data.json about the dataset.
      where: where the dataset is now, if it was moved: a TFDS data_dir, or a folder, zip or tar of images; "" to find
        the one that was used, whose place and name are recorded.

    Raises:
      DataError: it is not there any more, or the model was not trained here.
    """
    if config["game"]["name"] == foreign.GAME:
        raise DataError(f"{config['game']['file']} is a weight file of others, and what it was trained on is not known "
                        "here; name a model that was trained here, or compare pictures that it made")
    settings = check(config)
    wanted = settings.data
    name, place = recorded.get("name", ""), recorded.get("dir", "")
    if where and _is_there(name, where):
        return _at(settings, recorded["name"], str(Path(where).expanduser().absolute()), recorded)
    if where:
        return ingested(dataclasses.replace(settings, data=dataclasses.replace(wanted, name="", dir="", folder=where)))
    if wanted.folder and place and _is_there(name, place):
        # The images may have been moved, or the run be used from another folder; what was made of them is still there.
        return _at(settings, name, place, recorded)
    if not wanted.folder and not wanted.name:
        raise DataError("an exported model does not say where its own pictures are; name their folder, or the data_dir "
                        "of what was made of them, with --data")
    return ingested(settings)


def _is_there(name: str, dir: str) -> bool:
    """Whether a dataset `name[/config][:version]` is prepared in a folder."""
    stored = "mnist" if name == sources.STACKED_MNIST else name  # from which it is made
    root = Path(dir).expanduser()
    return bool(name) and sources.find_prepared(sources.parse_name(stored), root) is not None


def _at(settings: Settings, name: str, dir: str, recorded: Mapping) -> Settings:
    wanted = dataclasses.replace(settings.data, name=name, dir=dir, folder="", split=recorded["split"],
                                 test=recorded.get("test", settings.data.test))
    return dataclasses.replace(settings, data=wanted)
