"""Checkpoints: orbax, asynchronous, the state together with what is needed to go on from it."""
from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from imggen_jax.game import PyTree


def open_manager(
    workdir: Path, *, keep: int = 1, keep_every: int = 0, read_only: bool = False
) -> ocp.CheckpointManager:
    """The checkpoints of a run.

    Args:
      workdir: of the run.
      keep: how many of the last ones stay.
      keep_every: rounds; a checkpoint whose round is a multiple stays for good. 0 for none.
      read_only: for looking at a run that may be training at this moment.
    """
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        keep_period=keep_every or None,
        cleanup_tmp_directories=not read_only,  # saves that were killed would pile up
        read_only=read_only,
        enable_async_checkpointing=True,
    )
    return ocp.CheckpointManager((workdir / "checkpoints").resolve(), options=options)


def save(manager: ocp.CheckpointManager, state: PyTree, meta: Mapping) -> None:
    """Write in the background. `state` holds NumPy arrays that nobody changes; `meta` is JSON."""
    args = ocp.args.Composite(state=ocp.args.StandardSave(flatten(state)), meta=ocp.args.JsonSave(dict(meta)))
    manager.save(int(state.step), args=args)


def restore(manager: ocp.CheckpointManager, step: int, shape: PyTree) -> PyTree:
    """The state saved at a step, as NumPy arrays in the structure of `shape`."""
    target = {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in flatten(shape).items()}
    args = ocp.args.Composite(state=ocp.args.StandardRestore(target))
    flat = manager.restore(step, args=args)["state"]
    return jax.tree.unflatten(jax.tree.structure(shape), [np.asarray(flat[name]) for name in flatten(shape)])


def flatten(tree: PyTree) -> dict[str, PyTree]:
    """{"params.vae.encoder.kernel": leaf, ...} in the tree's own order."""
    def name(part) -> str:
        return str(next(getattr(part, field) for field in ("key", "name", "idx") if hasattr(part, field)))

    return {".".join(map(name, path)): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def fingerprint(state: PyTree) -> str:
    """sha256 over every name, dtype, shape and byte of a state."""
    digest = hashlib.sha256()
    for name, leaf in sorted(flatten(state).items()):
        leaf = np.ascontiguousarray(leaf)
        digest.update(f"{name} {leaf.dtype} {leaf.shape}\n".encode())
        digest.update(leaf.tobytes())
    return digest.hexdigest()
