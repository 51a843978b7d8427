"""Checkpoints: orbax, asynchronous, the state together with what is needed to go on from it."""
from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from imggen_jax.game import PyTree
from imggen_jax.runs.errors import RunError, SaveError


def open_manager(
    workdir: Path, *, keep: int = 1, keep_every: int = 0, read_only: bool = False
) -> ocp.CheckpointManager:
    """The checkpoints of a run.

    Args:
      workdir: of the run.
      keep: how many of the last ones stay.
      keep_every: rounds; a checkpoint whose round is a multiple stays for good. 0 for none.
      read_only: for looking at a run that may be training at this moment; nothing is made or removed.
    """
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        keep_period=keep_every or None,
        # Not orbax's own read_only, which warns of each option that it changes.
        create=not read_only,
        cleanup_tmp_directories=not read_only,  # saves that were killed would pile up
        enable_async_checkpointing=True,
    )
    return ocp.CheckpointManager((workdir / "checkpoints").resolve(), options=options)


def latest_step(workdir: Path) -> int | None:
    """Rounds played at the newest checkpoint of a run, None where there is none."""
    if not (workdir / "checkpoints").is_dir():
        return None
    manager = open_manager(workdir, read_only=True)
    step = manager.latest_step()
    manager.close()
    return step


def save(manager: ocp.CheckpointManager, state: PyTree, meta: Mapping) -> None:
    """Write in the background. `state` holds NumPy arrays that nobody changes; `meta` is JSON.

    Raises:
      SaveError: this save, or the one before it, cannot be written.
    """
    args = ocp.args.Composite(state=ocp.args.StandardSave(flatten(state)), meta=ocp.args.JsonSave(dict(meta)))
    with _explained(manager):
        manager.save(int(state.step), args=args)


def finish(manager: ocp.CheckpointManager) -> None:
    """Wait until everything is on disk; a process that ends without it loses what is still being written.

    Raises:
      SaveError: it cannot be written.
    """
    with _explained(manager):
        manager.close()


@contextlib.contextmanager
def _explained(manager: ocp.CheckpointManager) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a full disk is a ValueError of tensorstore's or an OSError, by the file that it hits
        told = re.search(r"([^:]+) \[os_error_code|\[Errno \d+\] ([^:]+)", str(error))
        reason = (told[1] or told[2]).strip() if told else _brief(error)
        raise SaveError(f"a checkpoint cannot be written to {manager.directory} ({reason}); make room or change the "
                        "folder's permissions, then run the same command again: earlier checkpoints are intact"
                        ) from error


def restore(manager: ocp.CheckpointManager, step: int, shape: PyTree) -> PyTree:
    """The state saved at a step, as NumPy arrays in the structure of `shape`.

    Raises:
      RunError: naming a checkpoint that is damaged or of another shape.
    """
    target = {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in flatten(shape).items()}
    args = ocp.args.Composite(state=ocp.args.StandardRestore(target))
    try:
        flat = manager.restore(step, args=args)["state"]
    except Exception as error:  # by what is damaged, of many types
        raise RunError(f"checkpoint {manager.directory / str(step)} cannot be restored ({_brief(error)}); delete that "
                       "folder to go on from the one before it") from error
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
        leaf = np.asarray(leaf)  # whose tobytes is in C order, whatever its strides
        digest.update(f"{name} {leaf.dtype} {leaf.shape}\n".encode())
        digest.update(leaf.tobytes())
    return digest.hexdigest()


def _brief(error: Exception) -> str:
    """The type of an error and the start of what it says."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
