"""What a model may be used for, and what is refused before anything runs: a TOML file, none by default.

    policy.check("runs/faces", "generate", model.spec, given)     # raises RunError, one line

MODEL/policy.toml holds for a model, $IMGGEN_JAX_POLICY for all; policy_example.toml, beside this file, explains every
key. What was refused is added to refused.jsonl beside the policy: when, by which verb and rule, and not the text.
"""
from __future__ import annotations

import contextlib
import datetime
import difflib
import json
import os
import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imggen_jax.errors import RunError
from imggen_jax.prompts import Mixture
from imggen_jax.spec import Field

FILE, REFUSED, VARIABLE = "policy.toml", "refused.jsonl", "IMGGEN_JAX_POLICY"
EXAMPLE = Path(__file__).with_name("policy_example.toml")
NEGATIVE = "negative"        # the field of a text that is steered away from: it may name what is refused


class Policy(NamedTuple):
    """What a file says."""

    file: Path
    intended: str = ""
    not_for: tuple[str, ...] = ()
    contact: str = ""
    words: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    labels: Mapping[str, tuple[str, ...]] = {}    # field -> values


def read(file: str | Path) -> Policy:
    """A policy's file.

    Raises:
      RunError: it cannot be read, is no TOML, or has a key or value that no policy has.
    """
    file = Path(file)
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"the policy {file} cannot be read ({getattr(error, 'strerror', None) or 'no UTF-8'}); name a "
                       "TOML file, as `imggen policy --example` prints one") from error
    except tomllib.TOMLDecodeError as error:
        raise RunError(f"the policy {file} is not TOML ({error}); `imggen policy --example` prints one") from error
    refuse = said.pop("refuse", {})
    if not isinstance(refuse, dict):
        raise RunError(f"the policy {file} has refuse = {refuse!r:.60}; write a table, [refuse]")
    labels = refuse.pop("labels", {})
    if not isinstance(labels, dict):
        raise RunError(f"the policy {file} has labels = {labels!r:.60}; write a table, [refuse.labels]")
    _check_keys(file, said, ("intended", "not_for", "contact", "refuse"))
    _check_keys(file, refuse, ("words", "verbs", "labels"))
    return Policy(
        file, _text(file, "intended", said), _texts(file, "not_for", said), _text(file, "contact", said),
        _texts(file, "words", refuse), _texts(file, "verbs", refuse),
        {name: _texts(file, name, labels) for name in labels})


def _check_keys(file: Path, found: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise RunError(f"the policy {file} has an unknown key {key!r}; "
                           f"{f'did you mean {near[0]}?' if near else 'it takes ' + ', '.join(known)}")


def _text(file: Path, key: str, found: Mapping[str, Any]) -> str:
    value = found.get(key, "")
    if not isinstance(value, str):
        raise RunError(f"the policy {file} has {key} = {value!r:.60}; write a text in quotes")
    return value


def _texts(file: Path, key: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    value = found.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, str) and one.strip() for one in value):
        raise RunError(f'the policy {file} has {key} = {value!r:.60}; write a list of texts, as in {key} = ["one"]')
    return tuple(value)


def in_force(model: str | Path | None) -> list[Policy]:
    """The policies that hold for a model, by its folder; an empty list where there are none.

    Raises:
      RunError: as `read`.
    """
    files = [] if model is None else [Path(model) / FILE]
    found = [read(file) for file in files if file.is_file()]
    return found + ([read(os.environ[VARIABLE])] if os.environ.get(VARIABLE) else [])


def check(model: str | Path | None, verb: str, spec: Mapping[str, Field], given: Mapping[str, Any] | None = None, *,
          drawn: tuple[str, ...] = ()) -> None:
    """Whether a model may be asked for something; cheap, and to be called before anything runs.

    Args:
      model: its folder, or None for the policy of this computer alone.
      verb: that asks.
      spec: of the model.
      given: what its pictures are to be conditioned on, as `Model.sample` takes it: texts, labels by name or index,
        one or a list of them.
      drawn: label fields that are drawn at random where they are not given.

    Raises:
      RunError: a policy refuses it; names the policy and the rule. Or a policy cannot be read.
    """
    for one in in_force(model):
        for rule, said in _broken(one, verb, spec, given or {}, drawn):
            _note(one, model, verb, rule)
            use = f"; it is meant for: {one.intended}" if one.intended else ""
            ask = f" (questions: {one.contact})" if one.contact else ""
            raise RunError(f"the policy {one.file} refuses {said}{use}{ask}")


def _broken(one: Policy, verb: str, spec: Mapping[str, Field], given: Mapping[str, Any], drawn: tuple[str, ...]
            ) -> Iterator[tuple[str, str]]:
    """(rule, what is refused) of each rule that is broken."""
    if verb in one.verbs:
        yield f"verb {verb}", f"the verb {verb}"
    for name, value in given.items():
        values = [value] if isinstance(value, str | Mixture) or not np.iterable(value) else list(value)
        if name in spec and spec[name].classes:
            names = {_named(spec, name, each) for each in values}
            for refused in one.labels.get(name, ()):
                if refused in names:
                    yield f"{name} {refused}", f"the {name} {refused!r}"
        elif name != NEGATIVE:
            for text in (text for each in values for text in _wanted(each)):
                if word := _refused(text, one.words):
                    yield f"word {word}", f"the word {word!r} in the {name}"
    for name in drawn:
        if given.get(name) is None and one.labels.get(name):
            yield f"{name} drawn", (f"some values of the {name}, which is drawn at random where it is not given: "
                                    f"{', '.join(one.labels[name])}; give another")


def _wanted(value: Any) -> list[str]:
    """The texts that a picture is to show: what has a share below 0 is avoided."""
    if isinstance(value, Mixture):
        return [text for text, share in zip(*value) if share > 0]
    return [value] if isinstance(value, str) else []


def _named(spec: Mapping[str, Field], name: str, value: Any) -> str:
    """The name of a label's value, which may be an index; "" for one that the model has not."""
    names = spec[name].names
    if isinstance(value, str):
        return value
    try:
        return names[int(value)]
    except (TypeError, ValueError, IndexError):
        return ""


def _refused(text: str, words: tuple[str, ...]) -> str | None:
    """The first of the words and phrases that a text holds."""
    held = [part.removesuffix("*") for part in _folded(text)]
    for word in words:
        wanted = _folded(word)
        for start in range(len(held) - len(wanted) + 1):
            pairs = zip(held[start:], wanted)
            if all(there.startswith(part[:-1]) if part.endswith("*") else there == part for there, part in pairs):
                return word
    return None


def _folded(text: str) -> list[str]:
    """Words without case, accents and characters that cannot be seen; a star stays at the end of one."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text)
                    if unicodedata.category(letter) not in ("Mn", "Cf"))
    return re.findall(r"[\w]+\*?|\*", plain.casefold())


def _note(one: Policy, model: str | Path | None, verb: str, rule: str) -> None:
    said = {"time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "verb": verb, "rule": rule,
            "model": "" if model is None else Path(model).resolve().name}
    with contextlib.suppress(OSError), open(one.file.with_name(REFUSED), "a", encoding="utf-8") as log:
        log.write(json.dumps(said) + "\n")      # a policy in a folder of others is obeyed without a log


def refusals(file: Path) -> list[Mapping[str, str]]:
    """What a policy's log says was refused, the oldest first; damaged lines are left out."""
    try:
        lines = file.with_name(REFUSED).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            said = json.loads(line)
            if isinstance(said, dict):
                found.append({key: str(said.get(key, ""))[:200] for key in ("time", "verb", "rule", "model")})
    return found


def lines(one: Policy) -> list[str]:
    """A policy in words."""
    said = [f"{one.file}:", *([f"  meant for: {one.intended}"] if one.intended else [])]
    said += [f"  not for: {each}" for each in one.not_for]
    rules = {"words": one.words, "verbs": one.verbs, **one.labels}
    said += [f"  refuses {name}: {', '.join(values)}" for name, values in rules.items() if values]
    return said + ([f"  questions: {one.contact}"] if one.contact else [])
