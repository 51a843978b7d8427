"""The layers of a PyTorch state dict as parameters of Flax modules, taken one by one, so that what is left is known."""
from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from imggen_jax.errors import WeightsError
from imggen_jax.game import Option, PyTree

EPSILON = 1e-5  # of batch normalization

F = TypeVar("F", bound=Callable)


def once(make: F) -> F:
    """`functools.cache` for functions of Flax modules, which are hashed by their fields though no type says so."""
    return cast(F, functools.cache(make))


class Network(NamedTuple):
    """A network from picture to picture, read from a file."""

    name: str                    # and its size, in words
    weights: Mapping[str, PyTree]
    # (weights, condition, options) -> float32 [n,H,W,C] in [-1,1]. The condition holds `needs`: pictures float32
    # [n,H,W,C] in [-1,1], the mask [n,H,W,1] in [0,1]. Networks of one size share it, so that one program serves all.
    decode: Callable
    channels: tuple[int, int]    # of the source and of the result
    scale: int = 1               # sides of the result over those of the source
    # Pixels of the source, to each side, that a pixel of the result depends on; None: on the whole picture.
    reach: int | None = None
    multiple: int = 1            # a tile's corner must lie at multiples of it, for tiles to be as the whole
    needs: tuple[str, ...] = ("source",)
    options: tuple[tuple[str, Option], ...] = ()


class Layers:
    """The arrays of a weight file, taken by name. Every method raises WeightsError for what is missing or misshapen."""

    def __init__(self, state: Mapping[str, np.ndarray], path: str | Path):
        self.state = state
        self.path = Path(path)
        self.left = dict.fromkeys(state)

    def __contains__(self, name: str) -> bool:
        return name in self.state

    def renamed(self, rename: Callable[[str], str]) -> Layers:
        """The same arrays under other names."""
        return Layers({rename(name): array for name, array in self.state.items()}, self.path)

    def wrong(self, reason: str) -> WeightsError:
        """An error about this file."""
        return WeightsError(f"the weight file {self.path} cannot be used: {reason}")

    def array(self, name: str, ndim: int) -> np.ndarray:
        """float32, of so many axes."""
        if name not in self.state:
            raise self.wrong(f"{name} is missing")
        array = self.state[name]
        self.left.pop(name, None)
        if array.ndim != ndim or not array.size:
            raise self.wrong(f"{name} is {list(array.shape)}, and {ndim} axes are needed")
        return np.asarray(array, np.float32)

    def shape(self, name: str, ndim: int = 4) -> tuple[int, ...]:
        """Of an array of so many axes."""
        return self.array(name, ndim).shape

    def conv(self, name: str, *, turned: bool = False) -> dict[str, np.ndarray]:
        """A convolution, with its bias where there is one; `turned`: a transposed one."""
        kernel = self.array(f"{name}.weight", 4).transpose((2, 3, 0, 1) if turned else (2, 3, 1, 0))
        return {"kernel": kernel} | ({"bias": self.array(f"{name}.bias", 1)} if f"{name}.bias" in self else {})

    def batch_norm(self, name: str) -> dict[str, np.ndarray]:
        """Scale, shift, mean and variance of batch normalization."""
        parts = {"scale": "weight", "shift": "bias", "mean": "running_mean", "variance": "running_var"}
        return {part: self.array(f"{name}.{key}", 1) for part, key in parts.items()}

    def folded(self, conv: Mapping[str, np.ndarray], norm: str, *, shift: bool = True) -> dict[str, np.ndarray]:
        """A convolution with the batch normalization after it, by its fixed statistics, as one convolution.

        `shift=False` leaves the shift to another convolution, whose result is added before the normalization.
        """
        found = self.batch_norm(norm)
        if found["scale"].shape != conv["kernel"].shape[-1:]:
            raise self.wrong(f"{norm}.weight is {list(found['scale'].shape)}, and {conv['kernel'].shape[-1]} numbers "
                             "are needed")
        scale = found["scale"] / np.sqrt(found["variance"] + EPSILON)
        bias = (conv.get("bias", 0) - found["mean"]) * scale + found["shift"]
        return {"kernel": conv["kernel"] * scale} | ({"bias": bias} if shift else {})

    def count(self, pattern: str) -> int:
        """How many different numbers the pattern's group takes in the names."""
        return len({match[1] for name in self.state if (match := re.match(pattern, name))})

    def ignore(self, pattern: str) -> None:
        """What matches is not needed."""
        self.left = {name: None for name in self.left if not re.search(pattern, name)}

    def stack(self, blocks: Sequence[PyTree]) -> PyTree:
        """Trees of equal blocks as one, with a new first axis."""
        try:
            return jax.tree.map(lambda *leaves: np.stack(leaves), *blocks)
        except (TypeError, ValueError):  # of no blocks; of different ones
            raise self.wrong("its blocks are not all of one size") from None

    def root(self, number: float, what: str) -> int:
        """The whole square root."""
        root = round(number**0.5)
        if root < 1 or root * root != number:
            raise self.wrong(f"{what} is no square")
        return root

    def fit(self, net: nn.Module, params: PyTree, *inputs: tuple[int, ...]) -> PyTree:
        """The parameters, if they are those of a network for inputs of these shapes, and nothing else is left."""
        if self.left:
            names = list(self.left)
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise self.wrong(f"{', '.join(names[:3])}{more} belong to no layer of this network")
        wanted = jax.eval_shape(lambda: net.init(jax.random.key(0), *map(jnp.zeros, inputs)))["params"]
        have, need = (dict(_paths(tree)) for tree in (params, wanted))
        for name in sorted({*have, *need}):
            if have.get(name) != need.get(name):
                raise self.wrong(f"{name} is {_said(have.get(name))}, and {_said(need.get(name))} is needed")
        return params


def _paths(tree: PyTree) -> list[tuple[str, tuple[int, ...]]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(".".join(str(key.key) for key in path), leaf.shape) for path, leaf in leaves]


def _said(shape: Any) -> str:
    return "missing" if shape is None else str(list(shape))


def applied(net: nn.Module, params: PyTree, *inputs: jax.Array) -> jax.Array:
    """The result of a network of one result."""
    return cast(jax.Array, net.apply({"params": params}, *inputs))


def to_unit(images: jax.Array) -> jax.Array:
    """[-1,1] to [0,1]."""
    return images * 0.5 + 0.5


def from_unit(images: jax.Array) -> jax.Array:
    """[0,1] to [-1,1]; what lies outside is clipped."""
    return jnp.clip(images * 2 - 1, -1, 1)
