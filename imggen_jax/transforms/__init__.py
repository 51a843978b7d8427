"""Transforms: what is done to examples on the device before a game sees them, such as degradations and masks.

A dataset of single images becomes one of pairs: a transform adds a field, as the low-resolution `source` of each image.
One file a transform; its module's name is the name in `config.transforms`.
"""
from __future__ import annotations

import importlib
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from imggen_jax.game import Batch, Key, Spec

__all__ = ["Transform", "chain", "module"]


class Transform(NamedTuple):
    """The fields that examples have afterwards, and how they come about."""

    spec: Spec  # a transform of a spec that it made itself leaves it as it is
    # (batch, key) -> batch; to be traced. Each example draws its own random numbers, and all images of an example are
    # treated alike.
    apply: Callable[[Batch, Key], Batch]


def module(name: str) -> types.ModuleType:
    """The module of a transform: one of imggen_jax/transforms, or any other by its dotted name."""
    return importlib.import_module(name if "." in name else f"imggen_jax.transforms.{name}")


def chain(spec: Spec, wanted: Mapping[str, Mapping[str, Any]]) -> Transform:
    """Several transforms one after the other, in the order of their names.

    Args:
      spec: the fields of an example of the dataset.
      wanted: {name: keyword arguments of the `make` of its module}; {} leaves examples as they are.

    Raises:
      ValueError: examples do not have what a transform needs, or an option is out of range.
      TypeError: an unknown option.
    """
    steps = []
    for name in sorted(wanted):
        transform = module(name).make(spec, **wanted[name])
        spec = transform.spec
        steps.append(transform.apply)

    def apply(batch: Batch, key: Key) -> Batch:
        for place, step in enumerate(steps):
            batch = step(batch, jax.random.fold_in(key, place))
        return batch

    return Transform(spec, apply)
