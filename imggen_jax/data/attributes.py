"""All class labels of a dataset at once: what a classifier of attributes learns, and what balance is measured in."""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from imggen_jax.data import resident, sources
from imggen_jax.errors import DataError

_DIGITS = tuple("0123456789")
# Stacked MNIST's one label of 1,000 values is three digits.
_STACKED = {"red": _DIGITS, "green": _DIGITS, "blue": _DIGITS}


class Attributes(NamedTuple):
    """Labels of every example of a split, in the order of `load`'s pictures."""

    names: tuple[str, ...]               # of the K labels
    values: tuple[tuple[str, ...], ...]  # for each label, the names of its values
    labels: np.ndarray                   # int32 [N,K]


def label_names(*, name: str, split: str, dir: str) -> tuple[str, ...]:
    """The class labels that a dataset has; none of its examples is read. Raises DataError: no such dataset or split."""
    if sources.parse_name(name).name == sources.STACKED_MNIST:
        return tuple(_STACKED)
    return tuple(sources.class_labels(sources.open_source(name=name, split=split, dir=dir, label="")))


def load_attributes(*, name: str, split: str, dir: str, names: Sequence[str] | None = None) -> Attributes:
    """The class labels of a dataset; `name`, `split` and `dir` as in `load`. No picture is decoded.

    names: the labels wanted; None for all there are, without one that only repeats another. Of stacked_mnist they are
           red, green and blue, its three digits.

    Raises DataError: no such dataset, split or label, or none at all.
    """
    if sources.parse_name(name).name == sources.STACKED_MNIST:
        return _stacked_mnist(name=name, split=split, dir=dir, names=names)
    source = sources.open_source(name=name, split=split, dir=dir, label="")
    known = sources.class_labels(source)
    chosen = _chosen(name, known, names)
    labels = sources.attributes(source, chosen)
    if names is None:
        keep = [k for k, one in enumerate(chosen) if not _repeats(k, one, chosen, known, labels)]
        chosen, labels = [chosen[k] for k in keep], labels[:, keep]
    return Attributes(tuple(chosen), tuple(known[one] for one in chosen), labels)


def _chosen(name: str, known: dict, names: Sequence[str] | None) -> list[str]:
    if not known:
        raise DataError(f"dataset {name!r} has no class labels; this needs one with labels")
    for one in names or ():
        if one not in known:
            raise DataError(f"dataset {name!r} has no class label {one!r}; it has {', '.join(known)}")
    return list(known) if names is None else list(names)


def _repeats(k: int, one: str, chosen: list[str], known: dict, labels: np.ndarray) -> bool:
    """Whether a feature named "label" says again what another one says: avatars' is the expression."""
    return one == "label" and any(
        j != k and known[other] == known[one] and np.array_equal(labels[:, j], labels[:, k])
        for j, other in enumerate(chosen))


def _stacked_mnist(*, name: str, split: str, dir: str, names: Sequence[str] | None) -> Attributes:
    chosen = _chosen(name, _STACKED, names)
    labels = resident.load(name=name, split=split, dir=dir, size=0, label="label").labels
    digits = np.stack([labels // 100, labels // 10 % 10, labels % 10], axis=-1).astype(np.int32)
    return Attributes(tuple(chosen), tuple(_DIGITS for _ in chosen),
                      digits[:, [list(_STACKED).index(one) for one in chosen]])
