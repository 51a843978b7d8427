"""Fill in the defaults of a config, check its values, and compare two configs."""
from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import json
import math
import pkgutil
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence

from ml_collections import ConfigDict

from imggen_jax.config.schema import SECTIONS, Player, Settings
from imggen_jax.errors import ConfigError

OPEN = ("transforms", "game", "players", "pretrained")  # sections whose keys are not declared in the schema
# Paths of one machine, which say nothing elsewhere.
PLACES = ("data.dir", "data.folder", "data.opt_out", "init.workdir")
SUPPLIED = {"dtype", "pretrained"}        # keyword arguments of a game's `make` that other sections of the config give


# ------------------------------------------------------------------------------------------------------------ resolving


def resolve(config: ConfigDict | Mapping) -> dict:
    """A config with every key: what it does not name has the default of the schema, of the game or of the optimizer.

    Returns:
      Nested dicts, lists, numbers and strings, equal to what comes back from their JSON. Values are not checked.

    Raises:
      ConfigError: a value that JSON cannot hold.
    """
    given = to_dict(config)
    if not isinstance(given, Mapping):
        return given
    full = {"seed": Settings.seed, **{name: {} for name in (*SECTIONS, *OPEN)}, **given}
    for name, kind in SECTIONS.items():
        full[name] = _filled(full[name], defaults(kind))
    full["game"] = _filled(full["game"], game_defaults(full["game"]))
    if isinstance(full["transforms"], Mapping):
        full["transforms"] = {name: _filled(options, _defaults(_make(name, "transforms")))
                              for name, options in full["transforms"].items()}
    if isinstance(full["players"], Mapping):
        full["players"] = {who: _filled(options, defaults(Player) | optimizer_defaults(options))
                           for who, options in full["players"].items()}
    return json.loads(json.dumps(full))


def defaults(kind: type) -> dict:
    """{key: default} of a section of the schema."""
    return {field.name: field.default for field in dataclasses.fields(kind)}


def game_defaults(options: Mapping) -> dict:
    """{key: default} of the game that config.game names; {} for an unknown one."""
    return _defaults(_make(options.get("name"), "games")) if isinstance(options, Mapping) else {}


def _defaults(make: Callable | None) -> dict:
    return {name: one.default for name, one in _options(make).items() if _is_value(one.default)} if make else {}


def optimizer_defaults(options: Mapping) -> dict:
    """{key: default} of the options of a player's optax optimizer; {} for an unknown one."""
    parameters = _optax_options(options.get("optimizer", Player.optimizer)) if isinstance(options, Mapping) else None
    return {name: one.default for name, one in (parameters or {}).items() if _is_value(one.default)}


def game_keys(options: Mapping) -> list[str]:
    """All keys of config.game for the game that it names; [] for an unknown one."""
    make = _make(options.get("name"), "games")
    return ["name", *_options(make)] if make else []


def player_keys(options: Mapping) -> list[str]:
    """All keys of a player whose optimizer its options name."""
    return [*defaults(Player), *(_optax_options(options.get("optimizer")) or ())]


def _filled(given, default: Mapping):
    """The defaults, overwritten by what is given; an int for a float becomes one."""
    if not isinstance(given, Mapping):
        return given
    return {**default, **{name: float(value) if type(value) is int and isinstance(default.get(name), float) else value
                          for name, value in given.items()}}


def _is_value(default) -> bool:
    return isinstance(default, (bool, int, float, str, tuple)) and default is not inspect.Parameter.empty


def _make(name, room: str) -> Callable | None:
    """`make` of imggen_jax/ROOM/NAME.py, or of a user's own module by its dotted name; None where there is none."""
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        return None
    module = name if "." in name else f"imggen_jax.{room}.{name}"
    try:
        return getattr(importlib.import_module(module), "make", None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        return None


def _options(make: Callable) -> dict[str, inspect.Parameter]:
    """The keyword arguments that a config gives."""
    return {name: one for name, one in inspect.signature(make).parameters.items()
            if one.kind is inspect.Parameter.KEYWORD_ONLY and name not in SUPPLIED}


def _optax_options(optimizer) -> dict[str, inspect.Parameter] | None:
    """The options of an optax optimizer that are not keys of `Player`; None for an unknown optimizer."""
    import optax

    make = getattr(optax, optimizer, None) if isinstance(optimizer, str) else None
    if not inspect.isfunction(make) or "learning_rate" not in inspect.signature(make).parameters:
        return None
    return {name: one for name, one in inspect.signature(make).parameters.items() if name not in defaults(Player)}


# ------------------------------------------------------------------------------------------------------------- checking


def check(config: ConfigDict | Mapping) -> Settings:
    """The settings of a config, with the defaults of the keys that it does not name.

    Raises:
      ConfigError: an unknown key, or a value of a wrong type or out of range; names the first one.
    """
    full = resolve(config)
    _known("config", full, defaults(Settings))
    sections = {name: _section(f"config.{name}", full[name], kind) for name, kind in SECTIONS.items()}
    _value("config.seed", full["seed"], int, dataclasses.fields(Settings)[0].metadata)
    _transforms(full["transforms"])
    _game(full["game"])
    _players(full["players"])
    _pretrained(full["pretrained"])
    settings = Settings(seed=full["seed"], **sections, **{name: full[name] for name in OPEN})
    _data(settings)
    return settings


def _section(where: str, section, kind: type):
    """A dataclass of the schema, from a section that has every key."""
    _known(where, section, defaults(kind))
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        _value(f"{where}.{field.name}", section[field.name], typing.get_origin(hint) or hint, field.metadata)
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in section.items()})


def _value(where: str, value, kind: type, limits: Mapping) -> None:
    check_type(where, value, Sequence if kind is tuple else kind)
    if kind is tuple and (wrong := [each for each in value if not isinstance(each, str)]):
        raise ConfigError(f"{where} must be of type list of str; {wrong[0]!r} is not one")
    least, most, choices, pattern = (limits[name] for name in ("least", "most", "choices", "pattern"))
    if (least is not None and value < least) or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{where} is {value}; it must be {bounds}")
    if choices and value not in choices:
        raise ConfigError(f"unknown {where} {value!r}; choose one of {', '.join(map(repr, choices))}")
    if pattern and not re.fullmatch(pattern, value):
        raise ConfigError(f"{where} is {value!r}; write such as 'bytes:128' or 'words:32', or '' for none")


def _transforms(wanted) -> None:
    check_type("config.transforms", wanted, Mapping)
    for name, options in wanted.items():
        where, make = f"config.transforms.{name}", _make(name, "transforms")
        if make is None:
            raise ConfigError(f"unknown transform {where}; choose one of {', '.join(_modules('transforms'))}, or the "
                              f"dotted name of a module of your own{_nearest(name, _modules('transforms'))}")
        _known(where, options, _options(make))
        _complete(where, options, make, f"transform {name}")


def _complete(where: str, options: Mapping, make: Callable, what: str) -> None:
    for name, one in _options(make).items():
        if one.default is inspect.Parameter.empty and name not in options:
            raise ConfigError(f"{where}.{name} is missing; {what} has no default for it")


def _game(options) -> None:
    check_type("config.game", options, Mapping)
    if "name" not in options:
        raise ConfigError(f"config.game.name is missing; choose one of {', '.join(games())}")
    check_type("config.game.name", options["name"], str)
    make = _make(options["name"], "games")
    if make is None:
        raise ConfigError(f"unknown config.game.name {options['name']!r}; choose one of {', '.join(games())}, or the "
                          f"dotted name of a module of your own{_nearest(options['name'], games())}")
    _known("config.game", options, game_keys(options))
    _complete("config.game", options, make, f"game {options['name']}")


def games() -> list[str]:
    """Names of the package's games."""
    return _modules("games")


def _modules(room: str) -> list[str]:
    path = importlib.import_module(f"imggen_jax.{room}").__path__
    return sorted(module.name for module in pkgutil.iter_modules(path))


def _players(players) -> None:
    check_type("config.players", players, Mapping)
    for who, options in players.items():
        where = f"config.players.{who}"
        check_type(where, options, Mapping)
        _section(where, {name: value for name, value in options.items() if name in defaults(Player)}, Player)
        if _optax_options(options["optimizer"]) is None:
            raise ConfigError(f"{where}.optimizer: optax has no optimizer {options['optimizer']!r}; choose such as "
                              "'adam', 'adamw' or 'sgd'")
        _known(where, options, player_keys(options))
        for name, value in options.items():
            if isinstance(value, float):
                check_type(f"{where}.{name}", value, float)


def _pretrained(networks) -> None:
    check_type("config.pretrained", networks, Mapping)
    for name, source in networks.items():
        where = f"config.pretrained.{name}"
        check_type(where, source, Mapping)
        _known(where, source, ("weights", "workdir"))
        for word, value in source.items():
            check_type(f"{where}.{word}", value, str)
        if len([value for value in source.values() if value]) != 1:
            raise ConfigError(f"{where} must have one of two keys: weights, a name or a file; or workdir, a run's "
                              "folder")


def _data(settings: Settings) -> None:
    data = settings.data
    if data.folder and data.name:
        raise ConfigError(f"config.data.name is {data.name!r} and config.data.folder is {data.folder!r}; set one of "
                          "them, the other to ''")
    if data.source and (data.folder or data.pairs == "side-by-side"):
        raise ConfigError(f"config.data.source is {data.source!r}, the partner of a dataset that config.data.name "
                          "names; unset config.data.folder, and set config.data.pairs to 'aligned' or 'unaligned'")
    if data.crop and data.size:
        raise ConfigError(f"config.data.crop is {data.crop} and config.data.size is {data.size}; crops are of pictures "
                          "at their own size, so set one of them to 0")
    if data.folder and not data.size and not data.crop:
        raise ConfigError("config.data.size is 0 and config.data.folder is set; set config.data.size to the side of "
                          "square pictures, or config.data.crop to that of random crops")


def _known(where: str, section, known: Iterable[str]) -> None:
    known = list(known)
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where} must be a section with the keys {', '.join(known)}")
    if unknown := sorted(set(section) - set(known)):
        raise ConfigError(unknown_key(where, unknown[0], known))


def unknown_key(where: str, name: str, known: Iterable[str]) -> str:
    """A line for a key that a section does not have."""
    known = list(dict.fromkeys(known))
    return f"unknown key {where}.{name}{_nearest(name, known) or '; known are ' + ', '.join(known)}"


def _nearest(name, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1) if isinstance(name, str) else []
    return f"; did you mean {near[0]}?" if near else ""


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


# ------------------------------------------------------------------------------------------------------------ comparing


def differences(old: Mapping, new: Mapping) -> list[str]:
    """Lines "train.batch: 64 before, 32 now" for the keys that a run must not change when it is resumed."""
    return _differing(old, new, free=False)


def changes(old: Mapping, new: Mapping) -> list[str]:
    """Lines as those of `differences` for the keys that differ and may: lengths, places, intervals, learning rates."""
    return _differing(old, new, free=True)


def _differing(old: Mapping, new: Mapping, *, free: bool) -> list[str]:
    old, new = flatten(resolve(old)), flatten(resolve(new))
    nothing = "not set"
    return [f"{name}: {old.get(name, nothing)!r} before, {new.get(name, nothing)!r} now"
            for name in sorted(set(old) | set(new))
            if old.get(name, nothing) != new.get(name, nothing)
            and (_is_free(name) and not _switches(name, old, new)) == free]


def _switches(name: str, old: Mapping, new: Mapping) -> bool:
    """Whether gradient clipping is switched on or off, which the state of the optimizer does not survive."""
    return name.startswith("players.") and name.endswith(".clip") and bool(old.get(name)) != bool(new.get(name))


def _is_free(name: str) -> bool:
    section, *rest = name.split(".")
    kind = Player if section == "players" else SECTIONS.get(section)
    declared = {field.name: field for field in dataclasses.fields(kind)} if kind and rest else {}
    return rest[-1:] != [] and rest[-1] in declared and declared[rest[-1]].metadata["free"]


def to_dict(config: ConfigDict | Mapping) -> dict:
    """As plain nested dicts and lists, equal to what comes back from its JSON.

    Raises:
      ConfigError: a value that JSON cannot hold, such as bytes.
    """
    plain = config.to_dict() if isinstance(config, ConfigDict) else config
    values = flatten(plain, "config.") if isinstance(plain, Mapping) else {"what get_config returns": plain}
    for name, value in values.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{name} is of type {type(value).__name__} ({value!r:.100}); a config holds "
                              "numbers, strings, True, False, lists and sections") from error
    return json.loads(json.dumps(plain))


def without_places(config: Mapping) -> dict:
    """A resolved config without the paths of the machine that it was used on."""
    plain = to_dict(config)
    for section, name in (path.split(".") for path in PLACES):
        if name in plain.get(section, {}):
            plain[section][name] = ""
    return plain


def flatten(config: Mapping, prefix: str = "") -> dict:
    """{"train.batch": 64, ...}"""
    flat = {}
    for name, value in config.items():
        path = f"{prefix}{name}"
        flat |= flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return flat
