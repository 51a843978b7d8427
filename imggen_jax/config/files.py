"""Config files: find one by path or shipped name, run it, and apply overrides from the command line."""
from __future__ import annotations

import contextlib
import difflib
import functools
import re
import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from absl import flags
from ml_collections import ConfigDict, config_dict, config_flags

from imggen_jax import configs
from imggen_jax.config.values import game_keys, player_keys, resolve, to_dict, unknown_key
from imggen_jax.errors import ConfigError

_OVERRIDE = re.compile(r"--?(no)?config\.([^=]+)(=.*)?", re.DOTALL)


def shipped() -> dict[str, Path]:
    """{name: file} of the configs of this package."""
    return {path.stem: path for path in sorted(configs.FOLDER.glob("*.py")) if path.stem != "__init__"}


def find(name: str) -> Path:
    """The file of a config, given by its path or, for a shipped one, by its name.

    Raises:
      ConfigError: there is neither.
    """
    path, known = Path(name).expanduser(), shipped()
    if path.is_file():
        return path
    if name in known:
        return known[name]
    near = difflib.get_close_matches(path.stem, known, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(f"config file {name!r} not found{hint or '; shipped configs are ' + ', '.join(known)}")


def merge(base: Mapping, changes: Mapping) -> dict:
    """A copy of a config in which the values of `changes` replace those of `base`, section by section."""
    merged = dict(base)
    for name, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = merge(merged[name], value) if both else value
    return merged


def read(name: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Run a config file's `get_config()`, fill in the defaults and apply overrides. A config file is code: it runs.

    Args:
      name: path of the file, or the name of a shipped config.
      overrides: command-line words such as "--config.train.batch=32"; values are parsed as the type of the key. Keys
        that the file does not name can be overridden too.

    Returns:
      The resolved config: every key is there. Values are checked by `check`.

    Raises:
      ConfigError: no such file, an error in it, an unknown key, or a value of a wrong type.
    """
    if isinstance(overrides, str) or not isinstance(overrides, Sequence):
        raise ConfigError(f"overrides are {overrides!r:.100}; give a list of words such as '--config.train.batch=32'")
    words = [str(word) for word in overrides]
    given = _get_config(find(name))
    if not isinstance(given, Mapping):
        raise ConfigError(f"config {name}: get_config returns {type(given).__name__}; it must return a dict or a "
                          "ConfigDict")
    return _override(name, given, words)


def _get_config(path: Path):
    with _importable(path.resolve().parent):
        try:
            content = runpy.run_path(str(path))
            if "get_config" not in content:
                raise ConfigError(f"config {path}: there is no function get_config in it")
            given = content["get_config"]()
        except ConfigError:
            raise
        except ModuleNotFoundError as error:
            raise ConfigError(f"config {path} imports {error.name!r}, which is not found; import a shipped config as "
                              "imggen_jax.configs.NAME, and another file of the same folder as NAME") from error
        except Exception as error:
            raise ConfigError(f"config {path}: {_first_line(error)}") from error
    return to_dict(given)


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Lets a config import others of its folder by name, as a script can; they are read anew each time."""
    before = set(sys.modules)
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).parent == folder and "." not in name:
                del sys.modules[name]


def _override(name: str, given: dict, words: list[str]) -> ConfigDict:
    """The resolved config with overrides. Those that name a game or optimizer decide which defaults there are."""
    names = [word for word in words if re.fullmatch(r"--?config\.(game\.name|players\.[^.=]+\.optimizer)=.*", word)]
    for override in names:
        path, _, value = override.partition("=")
        section = given
        *sections, last = path.split(".")[1:]
        for each in sections:
            section = section.setdefault(each, {}) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section[last] = value
    full = ConfigDict(_tuples(resolve(given)))
    for word in words:
        if match := _OVERRIDE.fullmatch(word):
            _check_key(match[2], full)
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_dict("config", full, flag_values=values, sys_argv=["config", *words])
    try:
        rest = values(["config", *words])[1:]
    except Exception as error:
        raise ConfigError(_wrong_value(error, words, full) or f"config {name}: {_first_line(error)}") from error
    if rest:
        raise ConfigError(f"unexpected argument {rest[0]!r}; overrides look like --config.train.batch=32")
    return holder.value


def _wrong_value(error: Exception, words: Sequence[str], full: ConfigDict) -> str:
    """A line for absl's error about the value of an override; "" for another error."""
    match = re.match(r"flag --(config\.[^=]+)=", str(error))
    if not match:
        return ""
    given = [f", not {word.partition('=')[2]!r}" for word in words if word.startswith(f"--{match[1]}=")]
    value = functools.reduce(lambda section, name: section[name], match[1].split(".")[1:], cast(Any, full))
    kind = "section" if isinstance(value, ConfigDict) else type(value).__name__
    return f"{match[1]} must be of type {kind}{given[-1] if given else ''}"


def _check_key(path: str, full: ConfigDict) -> None:
    """Refuses an override of an unknown key; makes room for one that has no default, such as sgd's momentum."""
    *sections, last = path.split(".")
    here, where = cast(Any, full), "config"
    for each in sections:
        if where == "config.pretrained" and each not in here:
            here[each] = {}
        if not isinstance(here.get(each), ConfigDict):
            raise ConfigError(unknown_key(where, each, here) if each not in here else
                              f"{where}.{each} is a value, not a section; it has no key {last!r}")
        here, where = here[each], f"{where}.{each}"
    if last in here:
        return
    known = _further_keys(sections, here)
    if last not in known:
        raise ConfigError(unknown_key(where, last, [*here, *known]))
    here[last] = config_dict.placeholder(object)


def _further_keys(sections: Sequence[str], here: Any) -> list[str]:
    """Keys that a section may have, besides those that it has."""
    if sections == ["game"]:
        return game_keys(here)
    if len(sections) == 2 and sections[0] == "players":
        return player_keys(here)
    return ["weights", "workdir"] if len(sections) == 2 and sections[0] == "pretrained" else []


def _tuples(value: Any) -> Any:
    """Lists as tuples, which command-line flags can replace."""
    if isinstance(value, dict):
        return {name: _tuples(each) for name, each in value.items()}
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
