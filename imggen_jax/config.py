"""Configs: read a file with its overrides, check the sections every run has, and compare two of them."""
from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from imggen_jax.data import MEMORY
from imggen_jax.errors import ConfigError


class Data(NamedTuple):
    name: str    # TFDS name, with config and version if wished: "mnist", "avatars/32x32"; "" with a folder
    folder: str  # a folder, zip or tar of one's own pictures, ingested on the first use; "" for none
    split: str   # pictures to train on
    test: str    # held-out pictures; "" for none
    dir: str     # TFDS data_dir; "" for TFDS's own
    size: int    # side in pixels to resize to; 0 for the data's own
    label: str   # ClassLabel feature that conditions the model; "" for none
    flip: bool   # mirror half of the pictures, at random, each time
    memory: str  # "resident" decodes once and keeps all, "stream" decodes as needed, "auto" streams what is too large
    text: str = ""
    crop: int = 0
    fields: Sequence = ()


class Init(NamedTuple):
    workdir: str      # folder of a run whose weights this one starts from; "" to start from random ones
    freeze: Sequence  # names of parameters that stay as they are, with wildcards: "vae.encoder.*"; () for none


class Train(NamedTuple):
    images: int      # length of the run
    batch: int       # images per round, over all devices
    accumulate: int  # rounds per update of the parameters
    dtype: str       # of the computations: "float32" or "bfloat16"


class Ema(NamedTuple):
    halflife: int  # images
    rampup: float  # share of the images seen that bounds the half-life; 0 for no bound


class Devices(NamedTuple):
    engine: str          # "jit" or "pmap"
    count: int           # 0 for all there are
    steps_per_call: int  # rounds compiled into one call


class Log(NamedTuple):
    every: int       # images between lines of metrics
    evaluate: int    # images between evaluations on held-out pictures, for games that have one
    show: int        # images between grids of pictures
    save: int        # images between checkpoints
    keep: int        # last checkpoints kept
    keep_every: int  # images between checkpoints kept for good; 0 for none


class Score(NamedTuple):
    every: int    # images between scores of what the generator makes; 0 for none
    num: int      # pictures in each of three sets, and at most as many real ones
    space: str    # where features are compared: "classifier", or one of metrics/spaces.py
    share: float  # of the run's time that scores may take; one that is expected to pass it is left out


SECTIONS = {"data": Data, "init": Init, "train": Train, "ema": Ema, "devices": Devices, "log": Log, "score": Score}
# What may differ when a run is taken up again: how long, where and how often, but not what is computed.
# Not where a folder lies either: a run checks that its pictures are the same.
FREE = ("train.images", "devices.", "log.", "score.", "data.dir", "data.folder", "data.memory")


class Settings(NamedTuple):
    """The checked sections of a config. `game` and `players` are keyword arguments for those who make them."""

    seed: int
    data: Data
    init: Init
    train: Train
    ema: Ema
    devices: Devices
    log: Log
    score: Score
    game: Mapping
    players: Mapping
    pretrained: Mapping = {}


def read(path: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Run a config file's `get_config()` and apply overrides. A config file is code: it is executed.

    Args:
      path: of the file.
      overrides: command-line words such as "--config.train.batch=32"; values are read as the type that the key has.

    Raises:
      ConfigError: no such file, an error in it, an unknown key, a value of a wrong type.
    """
    if not Path(path).is_file():
        raise ConfigError(f"config file {path!r} not found; the shipped ones are in configs/")
    words = ["config", f"--config={path}", *overrides]
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=words)
    # A variant imports its parent as `configs.parent`, wherever the command is run from.
    root = str(Path(path).resolve().parent.parent)
    sys.path.insert(0, root)
    try:
        rest = values(words)[1:]
    except Exception as error:  # absl wraps whatever the file raises; every case is the config's fault
        raise ConfigError(f"config {path}: {_first_line(error)}") from error
    finally:
        sys.path.remove(root)
        # ml_collections runs each file inside the module of the one before, and would find that one's get_config.
        sys.modules.pop("config_config", None)
    if rest:
        raise ConfigError(f"unexpected argument {rest[0]!r}; overrides look like --config.train.batch=32")
    return holder.value


def check(config: ConfigDict | Mapping) -> Settings:
    """The sections of a config with every key present, none unknown, and of the right type.

    Raises:
      ConfigError: naming the first key that is wrong.
    """
    config = to_dict(config)
    config.setdefault("pretrained", {})
    wanted = {"seed", "game", "players", "pretrained", *SECTIONS}
    _same_keys("config", config, wanted)
    sections = {name: _section(f"config.{name}", config[name], kind) for name, kind in SECTIONS.items()}
    settings = Settings(seed=config["seed"], game=config["game"], players=config["players"],
                        pretrained=config["pretrained"], **sections)
    check_type("config.seed", settings.seed, int)
    check_type("config.game", settings.game, Mapping)
    if "name" not in settings.game:
        raise ConfigError("config.game.name is missing; it is a module of imggen_jax/games, such as 'vae'")
    check_type("config.game.name", settings.game["name"], str)
    check_type("config.players", settings.players, Mapping)
    for who, options in settings.players.items():
        check_type(f"config.players.{who}", options, Mapping)
    _ranges(settings)
    _one_source(settings.data)
    return settings


def _one_source(data: Data) -> None:
    if data.folder and data.name:
        raise ConfigError(f"config.data.name is {data.name!r} and config.data.folder is {data.folder!r}; set one of "
                          "them, the other to ''")
    if data.folder and data.size < 1:
        raise ConfigError("config.data.size is 0; pictures of a folder are made square, of a side that it gives")


def _section(where: str, section: Mapping, kind: type):
    section = {**kind._field_defaults, **section}
    _same_keys(where, section, set(kind._fields))
    types = {"str": str, "int": int, "float": float, "bool": bool, "Sequence": Sequence}
    for key, annotation in kind.__annotations__.items():
        name = annotation if isinstance(annotation, str) else getattr(annotation, "__forward_arg__", None)
        check_type(f"{where}.{key}", section[key], types[name])
        if name == "Sequence" and (wrong := [each for each in section[key] if not isinstance(each, str)]):
            raise ConfigError(f"{where}.{key} must be of type list of str; {wrong[0]!r} is not one")
    return kind(**section)


def _same_keys(where: str, section, wanted: set[str]) -> None:
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where} must be a section with the keys {', '.join(sorted(wanted))}")
    if unknown := sorted(set(section) - wanted):
        raise ConfigError(f"unknown key {where}.{unknown[0]}; known are {', '.join(sorted(wanted))}")
    if missing := sorted(wanted - set(section)):
        raise ConfigError(f"{where}.{missing[0]} is missing; every key stands in the config")


def check_type(where: str, value, kind: type) -> None:
    """An integer is a float too, but a bool is no number, and a string is no sequence.

    Raises:
      ConfigError: the value is of another type, or a number that nothing can be computed with.
    """
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    fits = fits and not (kind is Sequence and isinstance(value, str))
    if not fits and not (kind is float and type(value) is int):
        name = {Mapping: "section", Sequence: "list"}.get(kind, kind.__name__)
        raise ConfigError(f"{where} must be of type {name}, not {type(value).__name__} ({value!r})")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where} is {value}; it must be a finite number")
    if isinstance(value, int) and not -2**63 <= value < 2**63:
        raise ConfigError(f"{where} is {value}; it must fit into 64 bits")


def _ranges(settings: Settings) -> None:
    if not 0 <= settings.seed < 2**32:
        raise ConfigError(f"config.seed is {settings.seed}; it must be from 0 to {2**32 - 1}")
    least = {"train.images": 1, "train.batch": 1, "train.accumulate": 1, "devices.steps_per_call": 1, "log.every": 1,
             "log.evaluate": 1, "log.show": 1, "log.save": 1, "log.keep": 1, "log.keep_every": 0, "ema.halflife": 0,
             "ema.rampup": 0, "devices.count": 0, "data.size": 0, "score.every": 0, "score.num": 2, "score.share": 0}
    for key, bound in least.items():
        section, name = key.split(".")
        value = getattr(getattr(settings, section), name)
        if value < bound:
            raise ConfigError(f"config.{key} is {value}; it must be at least {bound}")
    if settings.data.memory not in MEMORY:
        raise ConfigError(f"unknown config.data.memory {settings.data.memory!r}; choose one of {', '.join(MEMORY)}")
    if settings.train.dtype not in ("float32", "bfloat16"):
        raise ConfigError(f"unknown config.train.dtype {settings.train.dtype!r}; choose float32 or bfloat16")


def to_dict(config: ConfigDict | Mapping) -> dict:
    """As plain nested dicts and lists, equal to what comes back from its JSON.

    Raises:
      ConfigError: naming a value that JSON has no word for, such as bytes.
    """
    plain = config.to_dict() if isinstance(config, ConfigDict) else config
    values = flatten(plain, "config.") if isinstance(plain, Mapping) else {"what get_config returns": plain}
    for key, value in values.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{key} is of type {type(value).__name__} ({value!r:.100}); a config holds "
                              "numbers, strings, True, False, lists and sections") from error
    return json.loads(json.dumps(plain))


def flatten(config: Mapping, prefix: str = "") -> dict:
    """{"train.batch": 64, ...}"""
    flat = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def differences(old: Mapping, new: Mapping) -> list[str]:
    """Lines "train.batch: 64 there, 32 here" for the keys in which two runs would compute something else."""
    old, new = flatten(to_dict(old)), flatten(to_dict(new))
    nothing = "not set"
    return [
        f"{key}: {old.get(key, nothing)!r} there, {new.get(key, nothing)!r} here"
        for key in sorted(set(old) | set(new))
        if old.get(key, nothing) != new.get(key, nothing) and not key.startswith(FREE)
    ]


def _first_line(error: Exception) -> str:
    cause = error.args[0] if error.args and isinstance(error.args[0], KeyError) else error
    if isinstance(cause, KeyError):  # ml_collections says "'key'", and on a second line which key it may be
        key, *hint = str(cause.args[0]).splitlines()
        return " ".join([f"unknown key {key};", *hint]).removesuffix(";")
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
