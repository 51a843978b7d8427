"""Find a prepared dataset: a name becomes a folder written by TFDS, and the folder one checked split.

A TFDS data_dir holds <name>/[<config>/]<version>/ with dataset_info.json, features.json and the shards. The folder
is self-contained, so stock datasets and a user's own are read alike, without the code that made them, without
TensorFlow and without the network.
"""
from __future__ import annotations

import difflib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from imggen_jax.data import splits
from imggen_jax.errors import DataError, brief

AVATARS = "avatars"
STACKED_MNIST = "stacked_mnist"
BUILT_IN = (AVATARS, STACKED_MNIST)
# Configs of avatars that are drawn on first use.
DRAWN = tuple(f"{side}x{side}{style}" for style in ("", "_sketch", "_night") for side in (64, 32))

_NAME = re.compile(r"(?P<name>\w[\w.-]*)(/(?P<config>\w[\w.+=-]*))?(:(?P<version>\d+\.\d+\.\d+))?")
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")  # the last in files of old versions of TFDS
_VERSION = re.compile(r"\d+\.\d+\.\d+")


class Name(NamedTuple):
    """A dataset's name, taken apart: `name[/config][:version]`."""

    name: str
    config: str | None
    version: str | None


class Source(NamedTuple):
    """One split of a prepared dataset, checked, not yet read."""

    title: str                       # what to call it in a message: name[/config]:version, split
    folder: Path                     # of the prepared dataset
    builder: Any                     # tfds.core.ReadOnlyBuilder
    features: Mapping[str, Any]      # name -> tfds.features.FeatureConnector
    parts: tuple[splits.Part, ...]   # the examples of the split, in their order
    examples: int                    # > 0
    files: tuple[Path, ...]          # the shards that hold the split
    identity: tuple[Any, ...]        # all that decides the bytes of the examples, cheap to compute

    @property
    def split(self) -> str:
        """The split as an expression that TFDS reads."""
        return splits.format_split(self.parts)


def parse_name(text: str) -> Name:
    """`name[/config][:version]` -> Name; raises DataError."""
    match = _NAME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise DataError(f"dataset name {text!r} is not of the form name[/config][:version], such as 'avatars/32x32' "
                        "or 'mnist:3.0.1'")
    return Name(**match.groupdict())


def data_dir(dir: str) -> Path:
    """The folder of prepared datasets: `dir`, or for "" TFDS's own, $TFDS_DATA_DIR or ~/tensorflow_datasets."""
    dir = os.fsdecode(dir)
    if "://" in dir:
        raise DataError(f"data dir {dir!r} is not a local folder; copy the prepared dataset to a disk first")
    return Path(dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def prepared(root: Path) -> list[str]:
    """Names of the datasets prepared in `root`, as name or name/config, sorted."""
    names = []
    for folder in _folders(root):
        names += [folder.name] if _versions(folder) else []
        names += [f"{folder.name}/{config.name}" for config in _folders(folder) if _versions(config)]
    return names


def open_source(*, name: str, split: str, dir: str, check: Callable[[str, Mapping[str, Any]], Any]) -> Source:
    """Finds the dataset, its newest version unless one is named, and checks all that needs no example to be read.

    Avatars that are not prepared yet are drawn now. Nothing here touches the network.

    check: called with what to call the dataset and its features; raises DataError where those do not suffice.

    Raises DataError.
    """
    wanted, root = parse_name(name), data_dir(dir)
    folder = find_prepared(wanted, root)
    if folder is None and wanted.name == AVATARS:
        folder = draw_avatars(wanted, root, split=split, check=check)
    if folder is None:
        raise _not_found(name, wanted, root, dir)
    builder = _builder(folder)
    info = builder.info
    title = ":".join(info.full_name.rsplit("/", 1))
    if info.file_format is None or info.file_format.value not in ("array_record", "tfrecord"):
        raise DataError(f"{title} is stored as {info.file_format and info.file_format.value}; prepare it as "
                        "array_record")
    check(title, dict(info.features.items()))
    return _part(folder, builder, title, split)


def whole(source: Source, split: str) -> Source:
    """All of a prepared split of the same dataset."""
    return _part(source.folder, source.builder, source.identity[0], split)


def _part(folder: Path, builder: Any, title: str, split: str) -> Source:
    info = builder.info
    parts = splits.parse_split(split, {key: info.splits[key].num_examples for key in info.splits}, dataset=title)
    span = info.splits[splits.format_split(parts)]
    stored = tuple((key, info.splits[key].num_bytes, tuple(info.splits[key].shard_lengths))
                   for key in sorted({part.split for part in parts}))
    if info.name == AVATARS:  # the same are drawn everywhere, but packed by each machine's own zlib
        stored = () if info.config_name in DRAWN else (info.config_description,)
    return Source(
        title=f"{title}, split {split!r}", folder=folder, builder=builder, features=dict(info.features.items()),
        parts=parts, examples=sum(part.stop - part.start for part in parts),
        files=tuple(Path(part.filename) for part in span.file_instructions),
        identity=(title, tuple(map(tuple, parts)), stored))


def _builder(folder: Path) -> Any:
    import tensorflow_datasets as tfds  # here and not above: half a second that not every program needs

    try:
        _refuse_code(folder)
        builder = tfds.builder_from_directory(folder)
        str(builder.info.features)  # read now, so that damage shows
    except DataError:
        raise
    except Exception as error:  # whatever a damaged JSON file makes the parsers inside TFDS raise
        raise DataError(f"dataset_info.json or features.json in {folder} cannot be read ({brief(error)}); "
                        "prepare the dataset again") from error
    return builder


def find_prepared(wanted: Name, root: Path) -> Path | None:
    """The folder of the prepared version that is wanted, or None; raises DataError where the name leaves a choice."""
    folder = root / wanted.name / (wanted.config or "")
    versions = _versions(folder)
    if not versions and wanted.config is None and wanted.name != AVATARS:
        configs = [config for config in _folders(folder) if _versions(config)]
        if len(configs) > 1:
            raise DataError(f"dataset {wanted.name!r} in {root} has several configs; name one: "
                            + ", ".join(f"{wanted.name}/{config.name}" for config in configs))
        versions = _versions(configs[0]) if configs else []
    if wanted.version and versions and wanted.version not in [version.name for version in versions]:
        raise DataError(f"dataset {wanted.name!r} is prepared in {root} as version "
                        + ", ".join(version.name for version in versions) + f", not as {wanted.version}")
    chosen = [version for version in versions if wanted.version in (None, version.name)]
    return chosen[-1] if chosen else None


def draw_avatars(wanted: Name, root: Path, *, split: str = "train",
                 check: Callable[[str, Mapping[str, Any]], Any] = lambda title, features: None) -> Path:
    """Prepares avatars in `root`, after checking that they have such a split and features; returns their folder."""
    from imggen_jax.data import avatars

    if wanted.config is None:
        raise DataError("dataset 'avatars' comes in several sizes; name one, such as avatars/32x32 or avatars/64x64")
    try:
        builder: Any = avatars.builder(wanted.config, str(root))
    except ValueError as error:
        raise DataError(str(error)) from error
    if wanted.version not in (None, str(builder.version)):
        raise DataError(f"avatars/{wanted.config} has the version {builder.version}, not {wanted.version}")
    config = builder.builder_config
    splits.parse_split(split, {"train": config.train, "test": config.test}, dataset=f"avatars/{config.name}")
    check(f"avatars/{config.name}", dict(builder.info.features.items()))
    return write_avatars(builder, wanted, root)


def write_avatars(builder: Any, wanted: Name, root: Path) -> Path:
    """Draws the avatars of a TFDS builder into `root`, and returns their folder; raises DataError."""
    print(f"drawing avatars/{wanted.config} into {root}: once, about a minute", file=sys.stderr, flush=True)
    try:
        builder.download_and_prepare(file_format="array_record")
    except OSError as error:
        if find_prepared(wanted, root) is None:  # otherwise another process was quicker, which is as good
            raise DataError(f"cannot write avatars/{wanted.config} into {root} ({brief(error)}); "
                            "set data.dir to a folder that can be written") from error
    return Path(builder.data_dir)


def config_description(folder: Path) -> str:
    """What a prepared dataset's own config says of itself."""
    return _builder(folder).info.config_description or ""


def _refuse_code(folder: Path) -> None:
    """TFDS imports whatever module features.json names as the class of a feature; only its own are let through."""
    def names(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            yield from (part[key] for key in _CLASS_KEYS if isinstance(part.get(key), str))
        for child in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            yield from names(child)

    for name in names(json.loads((folder / "features.json").read_text(encoding="utf-8"))):
        if not name.startswith("tensorflow_datasets.core.features."):
            raise DataError(f"features.json in {folder} names code, {name!r}, which would be run; only TFDS's own "
                            "features are read: prepare the dataset again with those")


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []


def _versions(folder: Path) -> list[Path]:
    """Prepared versions in `folder`, oldest first; what a killed preparation left has another name."""
    complete = [child for child in _folders(folder) if _VERSION.fullmatch(child.name)
                and (child / "features.json").is_file() and (child / "dataset_info.json").is_file()]
    return sorted(complete, key=lambda child: tuple(int(part) for part in child.name.split(".")))


def _not_found(name: str, wanted: Name, root: Path, dir: str) -> DataError:
    import tensorflow_datasets as tfds

    here = prepared(root)
    if wanted.name in tfds.list_builders(with_community_datasets=False):
        where = f" --dir {dir}" if dir else ""
        return DataError(f"dataset {name!r} is not prepared in {root}; prepare it once: "
                         f"python -m imggen_jax.main prepare --name {name}{where}")
    close = difflib.get_close_matches(name, here + [f"{AVATARS}/32x32", f"{AVATARS}/64x64", STACKED_MNIST])
    hint = f"did you mean {' or '.join(close)}?" if close else f"prepared there: {', '.join(here) or 'nothing'}"
    return DataError(f"dataset {name!r} is not in {root}, not built in and not known to TFDS; {hint}")
