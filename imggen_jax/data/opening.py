"""How a dataset is had: what it will be, and whether it is kept in memory or read from disk as it is needed."""
from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np

from imggen_jax.data import decoding, resident, sources, stacked_mnist, streamed
from imggen_jax.errors import DataError

MEMORY = ("auto", "resident", "stream")


class Facts(NamedTuple):
    """What is known of a dataset before any picture is decoded."""

    size: int      # side in pixels
    channels: int  # 1 or 3
    classes: int   # 0 without labels


def peek(*, name: str, split: str, dir: str, size: int, label: str, memory: str = "resident") -> Facts:
    """What `open_dataset` with the same arguments will give; raises its DataErrors, but not for broken pictures.

    Takes a second or two, unless it is avatars' first use: they are drawn then.
    """
    _check_mode(memory)
    title, shape, classes = _peek(name=name, split=split, dir=dir, size=size, label=label)
    if memory == "resident":
        resident.check_memory(title, shape)
    return Facts(shape[1], shape[3], classes)


def old_open(
    *, name: str, split: str, dir: str, size: int, label: str, memory: str
) -> resident.Dataset | streamed.Streamed:
    """A dataset to `gather` from: the same examples and fingerprint, wherever they lie.

    memory: "resident" to decode it once and keep it, "stream" to read and decode pictures as they are needed, "auto" to
            stream, and say so on stderr, only what would take more than half of the free memory
    The other arguments are those of `load`. Raises DataError.
    """
    _check_mode(memory)
    asked = dict(name=name, split=split, dir=dir, size=size, label=label)
    if memory == "auto":
        title, shape, _ = _peek(**asked)
        memory = "resident" if resident.fits(shape) else "stream"
        if memory == "stream":
            print(f"{title} {resident.too_large(shape)}: its pictures are read and decoded as they are needed "
                  "(data.memory)", file=sys.stderr, flush=True)
    return streamed.stream(**asked) if memory == "stream" else resident.load(**asked)


class Dataset(NamedTuple):
    spec: object
    length: int
    read: object
    fingerprint: str
    threads: int
    title: str


def open_dataset(*, name, split, dir, size, label, memory="auto", text="", crop=0, fields=()):
    import functools

    from imggen_jax.data.attributes import load_attributes
    from imggen_jax.spec import Field, make_spec

    asked = dict(name=name, split=split, dir=dir, size=size, label=label)
    facts = peek(memory=memory, **asked)

    @functools.cache
    def opened():
        return old_open(memory=memory, **asked)

    more = {}
    names = {}
    fields = tuple(each for each in fields if each != "image")
    if label:
        title, shape, classes = _peek(**asked)
        from imggen_jax.data import sources as src
        if src.parse_name(name).name == "stacked_mnist":
            names["label"] = stacked_mnist.LABEL_NAMES
        else:
            names["label"] = src.open_source(name=name, split=split, dir=dir, label=label).label_names
    title, shape, classes = _peek(**asked)
    if fields:
        found = load_attributes(name=name, split=split, dir=dir, names=fields)
        for k, (one, values) in enumerate(zip(found.names, found.values)):
            names[one], more[one] = values, found.labels[:, k]
    spec = {key: Field((), "int32", tuple(value)) for key, value in names.items()}
    spec["image"] = Field((facts.size, facts.size, facts.channels), "uint8")

    def read(indices):
        images, labels = opened().read(np.asarray(indices))
        out = {"image": images}
        if labels is not None:
            out["label"] = labels
        return out | {key: value[indices] for key, value in more.items()}

    class D(Dataset):
        @property
        def fingerprint(self):
            return opened().fingerprint

        @property
        def fingerprints(self):
            return {"image": opened().fingerprint}

        @property
        def threads(self):
            return opened().threads

    return D(make_spec(**spec), shape[0], read, "", 1, title)


def class_labels(*, name, split="train", dir=""):
    from imggen_jax.data.attributes import load_attributes

    found = load_attributes(name=name, split=split, dir=dir)
    return dict(zip(found.names, found.values))


def _check_mode(memory: str) -> None:
    if memory not in MEMORY:
        raise DataError(f"unknown data.memory {memory!r}; choose one of {', '.join(MEMORY)}")


def _peek(*, name: str, split: str, dir: str, size: int, label: str) -> tuple[str, tuple[int, int, int, int], int]:
    """What to call a dataset, its shape [N,S,S,C] and its number of classes; raises DataError."""
    if sources.parse_name(name).name == sources.STACKED_MNIST:
        part = stacked_mnist.part(name=name, split=split, size=size, label=label)
        with stacked_mnist.explained():
            decoding.open_pictures(name="mnist", split=part.base, dir=dir, size=28, label="label")
        return f"stacked_mnist, split {split!r}", part.shape, stacked_mnist.CLASSES if label else 0
    pictures = decoding.open_pictures(name=name, split=split, dir=dir, size=size, label=label)
    return pictures.source.title, pictures.shape, len(pictures.source.label_names)
