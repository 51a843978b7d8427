"""Weights over several devices, by the shardings of jax.jit: for models that one device cannot hold."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from imggen_jax.model import Model

LEAST = 4096     # numbers: smaller arrays are whole on every device
MOST = 0.6       # share of a device's memory that weights may take: computations need some, too
Devices = Sequence[Any]


def spread(model: Model, devices: Devices | None = None) -> Model:
    """A model whose weights lie over devices, each with a part of every large array.

    Programs are compiled for all of them together, and who sends what to whom is the compiler's. Sums over what lies on
    several devices are added up in another order, so pictures differ in the last bits of their float32 values.

    Args:
      model: of `load`, or any other.
      devices: None for all of this process.
    """
    put = putter(jax.local_devices() if devices is None else devices)
    return model._replace(weights=jax.tree.map(put, model.weights))


def putter(devices: Devices) -> Callable[[Any], jax.Array]:
    """A function that puts an array over devices, split along its last axis or else along another that they divide;
    without devices, on the first of all."""
    if len(devices) < 2:
        return jnp.asarray
    mesh = Mesh(np.array(devices), ("weights",))

    def put(leaf: Any) -> jax.Array:
        axes = [axis for axis in reversed(range(np.ndim(leaf))) if np.shape(leaf)[axis] % len(devices) == 0]
        split = PartitionSpec()
        if axes and np.size(leaf) >= LEAST:
            split = PartitionSpec(*(None,) * axes[0], "weights")
        return jax.device_put(leaf, NamedSharding(mesh, split))

    return put


def wanted(size: int) -> Devices:
    """The devices that are needed for so many bytes of weights: none, or all accelerators of this process."""
    devices = jax.local_devices()
    known = (devices[0].memory_stats() or {}).get("bytes_limit", 0) if devices[0].platform != "cpu" else 0
    return devices if len(devices) > 1 and 0 < MOST * known < size else ()
