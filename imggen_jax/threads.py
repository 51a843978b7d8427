"""Enough threads for CPU devices that XLA_FLAGS forces. Nothing here imports JAX."""
from __future__ import annotations

import os
import re
import sys

VARIABLE = "NPROC"  # XLA's name; it is read once, when JAX starts
PER_DEVICE = 4      # all-reduces of one program can be under way at once, and each blocks a thread of every device


def missing() -> int:
    """The number of threads that XLA's CPU client needs, where it would have fewer and NPROC says nothing; else 0.

    `--xla_force_host_platform_device_count=N` makes N devices that share a pool of as many threads as there are cores.
    The participants of an all-reduce wait for each other in that pool: with too few threads some never start, and XLA
    ends the process after 40 seconds.
    """
    forced = re.findall(r"--xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    if not forced or os.environ.get(VARIABLE) or int(forced[-1]) <= _cores():
        return 0
    return PER_DEVICE * int(forced[-1])


def provide() -> None:
    """Set NPROC where it is needed; without effect once JAX has started."""
    started = getattr(sys.modules.get("jax._src.xla_bridge"), "backends_are_initialized", bool)()
    if not started and (number := missing()):
        os.environ[VARIABLE] = str(number)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
