"""The models that are served: known by an id, loaded when one is asked for, within a bound of memory."""
from __future__ import annotations

import collections
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from imggen_jax import loading, pipelines, zoo
from imggen_jax.errors import ImggenError, RunError
from imggen_jax.game import PyTree
from imggen_jax.model import Model
from imggen_jax.storage import checkpoint

SIZES = 8        # of pictures that a model is kept for
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Unknown(ImggenError):
    """No model of this id is served."""


class Vanished(ImggenError):
    """A model that is served cannot be loaded any more."""


class Entry(NamedTuple):
    """What is known of a model without its weights."""

    id: str
    path: str                # as for `loading.load`; never told to who asks
    folder: Path             # where a policy would be
    model: Model             # without weights: it checks what it is given
    size: int                # bytes of its weights
    sha256: str              # of its weights


def shipped() -> list[str]:
    """The models that ship with the package and make pictures of seeds or sentences, those of sentences first."""
    names = [name for name in zoo.names() if not name.startswith("upscale")]
    return sorted(names, key=lambda name: name != "avatars")


def parse(text: str | None) -> dict[str, str]:
    """--models "A,faces=runs/B" as {id: path}; None for the shipped ones.

    Raises:
      RunError: an id that is none, or is given twice.
    """
    if text is None:
        return {name: name for name in shipped()}
    found: dict[str, str] = {}
    for part in (part.strip() for part in text.split(",")):
        name, equals, path = part.partition("=")
        path = path if equals else name
        name = name if equals else Path(name.partition("+")[0]).name.partition(".")[0]
        if not part or not path or not _ID.fullmatch(name):
            raise RunError(f"--models {text!r}: {part!r} names no model; give folders of runs, exported models or "
                           f"shipped ones ({', '.join(shipped())}), or ID=FOLDER with letters, digits, . _ -")
        if name in found:
            raise RunError(f"--models {text!r}: two models are called {name}; give one another id, as in "
                           f"{name}_2={path}")
        found[name] = path
    return found


class Models:
    """Models by id. The least recently used weights leave when others need their memory; programs stay compiled."""

    def __init__(self, paths: Mapping[str, str], *, memory: int | None = None,
                 load: Callable[[str], Model] = loading.load):
        """Loads each model once.

        Args:
          paths: id -> what `load` takes.
          memory: bytes of all weights that are loaded at a time; None: no bound.
          load: what loads a model.

        Raises:
          RunError: a model cannot be loaded, or is larger than the bound.
        """
        self._memory, self._load = memory, load
        self._entries: dict[str, Entry] = {}
        self._loaded: collections.OrderedDict[str, PyTree] = collections.OrderedDict()   # the last used one last
        self._sized: dict[str, collections.OrderedDict[tuple[int, int], Model]] = {}
        self._lock = threading.RLock()
        for name, path in paths.items():
            self._add(name, path)

    def _add(self, name: str, path: str) -> None:
        model = self._load(path)
        _ = model.generator                                  # a classifier makes no pictures
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(model.weights))
        if self._memory is not None and size > self._memory:
            raise RunError(f"the model {name} has {size / 1e6:,.0f} MB of weights, and --memory allows "
                           f"{self._memory / 1e6:,.0f}; allow more")
        folder = loading.find(path) if self._load is loading.load else Path(path)
        self._entries[name] = Entry(name, path, folder, model._replace(weights=None), size,
                                    checkpoint.fingerprint(model.weights))
        self._keep(name, model.weights)

    @property
    def ids(self) -> Sequence[str]:
        """Of all models, in the order in which they were given."""
        return tuple(self._entries)

    @property
    def loaded(self) -> Sequence[str]:
        """Ids of those whose weights are in memory."""
        with self._lock:
            return tuple(self._loaded)

    def entry(self, name: str | None) -> Entry:
        """What is known of a model; None for the first one. Raises Unknown."""
        found = self._entries.get(self.ids[0] if name is None else name)
        if found is None:
            raise Unknown(f"the model {name!r:.80} is not served; there are {', '.join(self.ids)}")
        return found

    def sized(self, entry: Entry, size: tuple[int, int]) -> Model:
        """A model, without weights, for pictures of another (width, height).

        Raises:
          RunError: it makes none of this size.
        """
        with self._lock:
            known = self._sized.setdefault(entry.id, collections.OrderedDict())
            if size not in known:                            # kept, since compiled programs belong to it
                known[size] = pipelines.resized(entry.model, size[1], size[0])
            known.move_to_end(size)
            if len(known) > SIZES:
                known.popitem(last=False)[1].sampler.release()
            return known[size]

    def get(self, name: str) -> Model:
        """A model with its weights.

        Raises:
          Unknown: there is none of this id.
          Vanished: its files are gone or damaged.
        """
        entry = self.entry(name)
        with self._lock:
            if name in self._loaded:
                self._loaded.move_to_end(name)
            else:
                self._make_room(entry.size)
                try:
                    model = self._load(entry.path)
                except (ImggenError, OSError) as error:
                    raise Vanished(f"the model {name} cannot be loaded any more; the log of the service says why"
                                   ) from error
                if checkpoint.fingerprint(model.weights) != entry.sha256:
                    raise Vanished(f"the weights of the model {name} are not those that the service was started with; "
                                   "it has to be started again")
                self._keep(name, model.weights)
            return entry.model._replace(weights=self._loaded[name])

    def _keep(self, name: str, weights: PyTree) -> None:
        self._make_room(self._entries[name].size)
        self._loaded[name] = weights

    def _make_room(self, size: int) -> None:
        """Lets weights go, the least recently used first, until so many bytes are free."""
        while self._memory is not None and self._loaded and self._bytes(self._loaded) + size > self._memory:
            name, _ = self._loaded.popitem(last=False)
            for model in (self._entries[name].model, *self._sized.get(name, {}).values()):
                model.sampler.release()

    def _bytes(self, names: Iterable[str]) -> int:
        return sum(self._entries[name].size for name in names)

    def facts(self) -> list[dict[str, Any]]:
        """Of each model: id, size of its pictures, what it is given, its options."""
        return [{"id": entry.id, **_facts(entry.model)} for entry in self._entries.values()]


def _facts(model: Model) -> dict[str, Any]:
    height, width, _ = model.spec["image"].shape
    options = {name: {"default": one.default, "help": one.help} for name, one in model.generator.options.items()}
    labels = {name: list(model.spec[name].names) for name in model.generator.needs if model.spec[name].classes}
    return {"size": f"{width}x{height}" if width and height else "any", "needs": list(model.generator.needs),
            "options": options, "labels": labels}
