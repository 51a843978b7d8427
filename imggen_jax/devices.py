"""Where the step runs: a device mesh under jit, or pmap; on one host or several."""
from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from imggen_jax import threads
from imggen_jax.storage.cache import cache_folder

AXIS = "data"
Device = Any  # a jax.Device, which JAX declares as a variable of an untyped module

# Dense bfloat16 multiply-adds, counted as two operations, a second: what the makers' data sheets promise of one device.
PEAK_FLOPS = {
    "NVIDIA A100-SXM4-40GB": 312e12, "NVIDIA A100-SXM4-80GB": 312e12, "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12, "NVIDIA H100 PCIe": 756e12, "NVIDIA H200": 989e12, "NVIDIA L4": 121e12,
    "TPU v4": 275e12, "TPU v5 lite": 197e12, "TPU v5": 459e12, "TPU v5p": 459e12, "TPU v6 lite": 918e12,
}


class Engine(NamedTuple):
    """A compiled step and the way in and out of the devices. Batches have a leading axis of steps: [K,B,...]."""

    run: Callable          # (state, batches, key, pretrained) -> (state, logs); the state is donated
    put_state: Callable    # host or device state, or pretrained weights -> the same as `run` takes it
    put_batches: Callable  # this process's rows of the batches, NumPy [K,B/processes,...] -> as `run` takes them
    fetch: Callable        # logs, or any part of a state -> one copy, without the axis that pmap adds
    devices: int           # over which a batch is split
    text: Callable         # (state, batches, key, pretrained) -> the lowered program's text


def use_compile_cache() -> None:
    """Keep compiled programs in the user's cache folder, so that a second start is quick.

    JAX's own variables come first; IMGGEN_JAX_CACHE moves the folder.
    """
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]  JAX adds it
        jax.config.update("jax_compilation_cache_dir", str(cache_folder("compiled")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def connect(coordinator: str, processes: int, process: int, heartbeat: int = 60) -> None:
    """Join several processes into one program; call it before anything else touches JAX.

    Args:
      coordinator: "HOST:PORT" of process 0, or "auto" where the platform tells (TPU pods, Slurm, Open MPI).
      processes: how many there are in all.
      process: which one this is, from 0.
      heartbeat: seconds of silence after which a process is taken for lost.
    """
    # JAX waits a little longer: it can only abort, and training/watchdog.py names the process that was lost.
    patience = heartbeat + 30
    if coordinator == "auto":
        jax.distributed.initialize(heartbeat_timeout_seconds=patience)
    else:
        jax.distributed.initialize(coordinator, processes, process, heartbeat_timeout_seconds=patience)


def choose(count: int) -> list[Device]:
    """The devices to use: all where count is 0.

    Raises:
      ValueError: there are not as many, or none of the kind that JAX_PLATFORMS names.
    """
    try:
        found = jax.devices()
    except RuntimeError as error:
        wanted = os.environ.get("JAX_PLATFORMS") or "default"
        told = str(error).splitlines()[0]
        raise ValueError(f"JAX finds no device of platform {wanted!r} ({told}); set JAX_PLATFORMS to cpu, cuda or tpu, "
                         "or install the package's extra of that name") from None
    if count > len(found):
        raise ValueError(f"config.devices.count is {count}, but there are {len(found)} {found[0].platform} devices; "
                         "0 takes all")
    if found[0].platform == "cpu" and (number := threads.missing()):
        logging.warning("XLA_FLAGS forces more CPU devices than there are cores, and JAX started before imggen_jax was "
                        "imported: collectives may wait for ever; set %s=%d and start again", threads.VARIABLE, number)
    return found[:count] if count else found


def describe(devices: list[Device]) -> str:
    return f"{len(devices)} x {devices[0].device_kind}" + (f" on {n} hosts" if (n := jax.process_count()) > 1 else "")


def peak_flops(devices: list[Device]) -> float | None:
    """What these devices could compute in bfloat16, operations a second; None for a kind that is not known here."""
    one = PEAK_FLOPS.get(devices[0].device_kind)
    return one and one * len(devices)


def count_flops(function: Callable, *args) -> float:
    """Operations of a program as XLA counts them, before it is optimized: two for each multiply-add; loops once.

    Lowered for an accelerator whatever is here, since a CPU's own kernels are not counted.
    """
    lowered = jax.jit(function).trace(*args).lower(lowering_platforms=("tpu",))
    analysis = lowered.cost_analysis()
    assert analysis is not None, "XLA counts the operations of a TPU program"
    return analysis["flops"]


def make(engine: str, devices: list[Device], play: Callable) -> Engine:
    """Compile a step for devices.

    Args:
      engine: "jit" or "pmap".
      devices: from `choose`.
      play: (axis or None) -> function (state, batches, key, pretrained) -> (state, logs).

    Raises:
      ValueError: an unknown engine.
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; choose one of {', '.join(ENGINES)}")
    return ENGINES[engine](devices, play)


def _jit(devices, play) -> Engine:
    # Auto axes: the compiler places the collectives, so the program reads as if there were one device.
    mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
    whole, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(None, AXIS))
    run = jax.jit(play(None), in_shardings=(whole, split, whole, whole), out_shardings=whole, donate_argnums=0)

    def put_batches(batches):
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(split, x), batches)

    return Engine(
        run=run,
        put_state=lambda state: jax.tree.map(lambda x: _replicate(whole, x), state),
        put_batches=put_batches,
        fetch=lambda tree: jax.tree.map(np.asarray, tree),
        devices=len(devices),
        text=lambda *args: run.lower(*args).as_text(),
    )


def _replicate(sharding: NamedSharding, x: Any) -> jax.Array:
    # Every process holds the same value, so each fills its own devices; nothing travels.
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def _pmap(devices, play) -> Engine:
    local = [d for d in devices if d.process_index == jax.process_index()]
    run = jax.pmap(play(AXIS), AXIS, in_axes=(0, 0, None, 0), devices=devices, donate_argnums=0)

    def spread(x):  # [K,B,...] -> [devices here,K,B/devices,...]
        steps, rows, *rest = x.shape
        return np.moveaxis(x.reshape(steps, len(local), rows // len(local), *rest), 1, 0)

    return Engine(
        run=run,
        put_state=lambda state: jax.tree.map(lambda x: np.stack([np.asarray(x)] * len(local)), state),
        put_batches=lambda batches: jax.tree.map(spread, batches),
        fetch=lambda tree: jax.tree.map(lambda x: np.asarray(x.addressable_shards[0].data)[0], tree),
        devices=len(devices),
        text=lambda *args: run.lower(*args).as_text(),
    )


ENGINES = {"jit": _jit, "pmap": _pmap}
