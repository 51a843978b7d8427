"""What every reader of a weight file checks."""
from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from imggen_jax.errors import WeightsError
from imggen_jax.weights import tensors


def sha256(path: str | Path) -> str:
    """Of a file, 64 hex digits.

    Raises:
      WeightsError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"the weight file {path} cannot be read ({error.strerror or error})") from error


def taker(state: Mapping[str, np.ndarray], path: str | Path, network: str) -> Callable:
    """Return a function (name, shape or None for any) -> float32 array of `state`.

    It raises WeightsError, naming the file and the network, for an array that is missing or of another shape.
    """
    def take(name, shape):
        if name not in state:
            raise WeightsError(f"the weight file {path} is of another network than {network}: it has no {name}")
        if shape is not None and state[name].shape != tuple(shape):
            raise WeightsError(f"the weight file {path} is of another network than {network}: {name} is "
                               f"{list(state[name].shape)}, not {list(shape)}")
        return np.asarray(state[name], np.float32)

    return take


def safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Read {name: array} of a safetensors file.

    Raises:
      WeightsError: it is missing or damaged, or another file under this name.
    """
    return {name: one.read() for name, one in tensors.open_file(Path(path)).tensors.items()}
