"""Checkpoints: the state, what belongs to it, and a sha256 manifest, all in one folder that appears at once.

    checkpoints/1200/state.npz    every leaf of the training state; np.load reads it
    checkpoints/1200/meta.json    {"images": ...}
    checkpoints/1200/SHA256SUMS   of every file beside it, as `sha256sum --check` reads it

The folder is written under another name and renamed when all of it is on disk, the manifest included. So a kill at any
moment leaves a checkpoint with its manifest or none, and whatever differs from the manifest was damaged later.

Every process of a run holds the whole state, on the host as NumPy arrays once it is to be saved. So the first process
writes it, each reads it, and none waits for another. Nothing is pickled. (Older versions wrote by orbax, whose threads
outlive a full disk: its checkpoints are read, not written.)
"""
from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np

from imggen_jax.errors import RunError, SaveError
from imggen_jax.game import PyTree

SUMS, STATE = "SHA256SUMS", "state.npz"
DAMAGED = "damaged-"  # a checkpoint that was set aside: damaged-1200
_PARTIAL = ".partial"  # one that is being written: 1200.partial
_KILLED = re.compile(rf"\d+({re.escape(_PARTIAL)}|\.orbax-checkpoint-tmp.*)")


class Saver:
    """Writes the checkpoints of a run, one at a time, in the background.

    A checkpoint that cannot be written, as on a full disk, is told and left out: earlier ones stay, the run goes on,
    and the next one is tried as if nothing had happened. Only `wait` raises, for the last one.
    """

    def __init__(self, workdir: Path, *, keep: int, keep_every: int = 0, say: Callable[[str], None] = print):
        """
        Args:
          workdir: of the run; what killed saves left in it is removed.
          keep: how many of the last checkpoints stay.
          keep_every: rounds; a checkpoint whose round is a multiple stays for good. 0 for none.
          say: is given one line for each checkpoint that cannot be written.
        """
        self._folder = (workdir / "checkpoints").absolute()
        self._keep, self._keep_every, self._say = keep, keep_every, say
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            if _KILLED.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future | None = None
        self._failure: SaveError | None = None

    def save(self, state: PyTree, meta: Mapping) -> None:
        """Begin to write, once the checkpoint before is done.

        Args:
          state: a TrainState of NumPy arrays that nobody changes.
          meta: what else belongs to it, JSON.
        """
        self._settle(block=True)
        self._failure = None
        self._writing = self._writer.submit(self._write, int(state.step), flatten(state), dict(meta))

    def check(self) -> None:
        """Tell of a failure as soon as there is one; never waits."""
        self._settle(block=False)

    def wait(self) -> None:
        """Until everything is on disk; a process that ends without it loses what is still being written.

        Raises:
          SaveError: the last checkpoint could not be written.
        """
        self._settle(block=True)
        if self._failure is not None:
            raise self._failure

    def settle(self) -> None:
        """`wait` without raising: a failure is told, as it is by `save`."""
        self._settle(block=True)

    def close(self) -> None:
        """For the end of a run that has told of the failure, or ends by another."""
        self.settle()
        self._writer.shutdown()

    def _settle(self, block: bool) -> None:
        if self._writing is None or not (block or self._writing.done()):
            return
        writing, self._writing = self._writing, None
        if (error := writing.exception()) is None:
            return
        kept = steps(self._folder.parent)
        earlier = f"the checkpoint of step {kept[-1]} is intact" if kept else "nothing has been saved yet"
        self._failure = SaveError(
            f"a checkpoint cannot be written to {self._folder} ({_reason(error)}); {earlier}. Make room or change the "
            "folder's permissions, then run the same command again")
        self._failure.__cause__ = error
        self._say(f"warning: a checkpoint cannot be written to {self._folder} ({_reason(error)}); {earlier}. The run "
                  "goes on, and tries again at the next one")

    def _write(self, step: int, leaves: Mapping[str, np.ndarray], meta: Mapping) -> None:
        """In the thread: everything into a partial folder, then its manifest, then its name."""
        partial, final = self._folder / f"{step}{_PARTIAL}", self._folder / str(step)
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            _write_arrays(partial / STATE, leaves)
            (partial / "meta.json").write_text(json.dumps(meta) + "\n", encoding="utf-8")
            _write_manifest(partial)
            os.rename(partial, final)
            _sync(self._folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)  # on a full disk every byte counts
            raise
        for old in steps(self._folder.parent)[:-self._keep]:
            if not (self._keep_every and old % self._keep_every == 0):
                shutil.rmtree(self._folder / str(old), ignore_errors=True)


def steps(workdir: Path) -> list[int]:
    """Rounds played at each checkpoint of a run, ascending, damaged or not."""
    folder = workdir / "checkpoints"
    found = list(folder.iterdir()) if folder.is_dir() else []
    return sorted(int(path.name) for path in found if re.fullmatch(r"0|[1-9]\d*", path.name) and path.is_dir())


def newest(workdir: Path, *, set_aside: bool, say: Callable[[str], None]) -> int | None:
    """Rounds played at the newest checkpoint that is not damaged; None where nothing has ever been saved.

    Args:
      workdir: of the run.
      set_aside: rename newer ones that are damaged to damaged-<step>; False changes nothing on disk, for looking at a
        run that may be training at this moment.
      say: is given a line for each damaged checkpoint, and for one that cannot be checked.

    Raises:
      RunError: there are checkpoints, but all are damaged; none is touched.
    """
    folder = workdir / "checkpoints"
    while True:
        there, damaged = steps(workdir), {}
        good = None
        for step in reversed(there):
            if (reason := damage(folder / str(step))) is None:
                good = step
                break
            damaged[step] = reason
        # A run that trains at this moment removes old checkpoints while they are read here: look again.
        if not damaged or steps(workdir) == there:
            break
    if good is None:
        _refuse_to_start_over(workdir, damaged)
        return None
    for step, reason in damaged.items():
        where = ""
        if set_aside:
            where = f"moved to {_set_aside(folder / str(step)).name}, "
        say(f"warning: checkpoint {folder / str(step)} is damaged ({reason}): {where}using the one of step {good}")
    if not (folder / str(good) / SUMS).is_file():
        say(f"note: checkpoint {folder / str(good)} is of an older version, without {SUMS}: it cannot be checked")
    return good


def _refuse_to_start_over(workdir: Path, damaged: Mapping[int, str]) -> None:
    folder = workdir / "checkpoints"
    if damaged:
        step, reason = next(iter(damaged.items()))
        one, many = f"checkpoint {folder / str(step)} is", f"all {len(damaged)} checkpoints in {folder} are"
        raise RunError(f"{many if len(damaged) > 1 else one} damaged (step {step}: {reason}), so there is nothing to "
                       f"go on from; put back that file, or delete {folder} to start over")
    if left := sorted(folder.glob(f"{DAMAGED}*")):
        raise RunError(f"{folder} holds nothing but the damaged {left[-1].name}; put back a good checkpoint, or delete "
                       "that folder to start over")


def meta(workdir: Path, step: int) -> dict:
    """What was saved with the state of a step; {} with a checkpoint of an older version."""
    path = workdir / "checkpoints" / str(step) / "meta.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, in a few words that name the file; None for nothing."""
    try:
        there = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()} - {SUMS}
        if not there:
            return "it is empty"
        if not (folder / SUMS).is_file():
            # Those of older versions, whose manifest was never written, have their facts elsewhere.
            old = (folder / "meta" / "metadata").is_file() and (folder / "state").is_dir()
            return None if old else f"{SUMS} is missing"
        sums = _read_manifest((folder / SUMS).read_bytes())
        if sums is None:
            return f"{SUMS} cannot be read"
        for name in sorted(set(sums) | there):
            if name not in there:
                return f"{name} is missing"
            if name not in sums:
                return f"{name} is not in {SUMS}"
            if _sha256(folder / name) != sums[name]:
                return f"{name} differs from its sha256"
    except OSError as error:
        return f"{error.filename or folder}: {error.strerror or error}"
    return None


def restore(workdir: Path, step: int, shape: PyTree) -> PyTree:
    """The state saved at a step, as NumPy arrays in the structure of `shape`.

    Raises:
      RunError: naming a checkpoint of another shape, or an unchecked one that is damaged.
    """
    folder = (workdir / "checkpoints" / str(step)).absolute()
    wanted = flatten(shape)
    try:
        flat = _read_arrays(folder / STATE) if (folder / STATE).is_file() else _read_orbax(folder, wanted)
        leaves = [_fitting(name, flat, leaf) for name, leaf in wanted.items()]
        if more := sorted(set(flat) - set(wanted)):
            raise ValueError(f"it has {more[0]}, which this run has not")
    except Exception as error:  # by what differs, of many types
        raise RunError(f"checkpoint {folder} cannot be restored ({_brief(error)}); it may be of another version of "
                       "imggen_jax; delete that folder to go on from the one before it") from error
    return jax.tree.unflatten(jax.tree.structure(shape), leaves)


def _fitting(name: str, flat: Mapping[str, np.ndarray], leaf) -> np.ndarray:
    """The array of a leaf, of its shape and type."""
    if name not in flat:
        raise ValueError(f"it has no {name}")
    array = np.asarray(flat[name])
    if array.dtype.kind == "V":  # bfloat16 and its like, whose names NumPy's format does not know
        array = array.view(leaf.dtype)
    if (array.shape, array.dtype) != (tuple(leaf.shape), np.dtype(leaf.dtype)):
        raise ValueError(f"{name} is {array.dtype} {array.shape} there, {leaf.dtype} {tuple(leaf.shape)} here")
    return array


def _write_arrays(path: Path, leaves: Mapping[str, np.ndarray]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, leaf in leaves.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(leaf), allow_pickle=False)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _read_orbax(folder: Path, wanted: PyTree) -> Mapping[str, np.ndarray]:
    import orbax.checkpoint as ocp

    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me}, barrier_sync_key_prefix=str(me))
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
    target = {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in wanted.items()}
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        return checkpointer.restore(folder / "state", args=ocp.args.StandardRestore(target))


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


def _write_manifest(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{_sha256(path, sync=True)}  {path.relative_to(folder)}\n" for path in files]
    with open(folder / SUMS, "w", encoding="utf-8") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        _sync(path)


def _read_manifest(content: bytes) -> dict[str, str] | None:
    """{name: sha256}, None where a line is not one or the last one is cut."""
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return None
    matches = [re.fullmatch(r"([0-9a-f]{64})  (.+)", line) for line in lines[:-1]]
    if lines[-1] or not matches or None in matches:
        return None
    return {match[2]: match[1] for match in matches}


def _sha256(path: Path, sync: bool = False) -> str:
    with open(path, "rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    """A rename is on disk once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint; the number after the dot tells those of one step apart."""
    names = (f"{DAMAGED}{folder.name}" + (f".{number}" if number else "") for number in range(1_000_000))
    target = next(folder.with_name(name) for name in names if not folder.with_name(name).exists())
    try:
        os.rename(folder, target)
    except OSError as error:
        raise RunError(f"checkpoint {folder} is damaged and cannot be moved to {target.name} ({error.strerror}); "
                       "change the folder's permissions") from error
    return target


def _reason(error: BaseException) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else _brief(error)


def _brief(error: BaseException) -> str:
    """The type of an error and the start of what it says."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
