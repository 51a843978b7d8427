"""Checkpoints: the state, what belongs to it, and a sha256 manifest, all in one folder that appears at once.

    checkpoints/1200/state.npz    every leaf of the training state; np.load reads it
    checkpoints/1200/meta.json    {"images": ...}
    checkpoints/1200/SHA256SUMS   of every file beside it, as `sha256sum --check` reads it

The folder is written under another name and renamed when all of it is on disk, the manifest included. So a kill at any
moment leaves a checkpoint with its manifest or none, and a listed file that differs from the manifest was damaged
later. Files that the manifest does not list, such as those that file managers leave behind, are ignored.

Every process of a run holds the whole state, on the host as NumPy arrays once it is to be saved. So the first process
writes it, each reads it, and none waits for another. Nothing is pickled.
"""
from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np

from imggen_jax.errors import RunError, SaveError
from imggen_jax.game import PyTree
from imggen_jax.storage import manifest
from imggen_jax.storage.files import sync_folder

STATE, META = "state.npz", "meta.json"
DAMAGED = "damaged-"  # a checkpoint that was set aside: damaged-1200
_PARTIAL = ".partial"  # one that is being written: 1200.partial
_KILLED = re.compile(rf"\d+{re.escape(_PARTIAL)}")


class Saver:
    """Writes the checkpoints of a run, one at a time, in the background.

    A checkpoint that cannot be written, as on a full disk, is reported and skipped: earlier ones stay, the run
    continues, and the next one is tried as usual. Only `wait` raises, for the last one.
    """

    def __init__(self, workdir: Path, *, keep: int, keep_every: int = 0, say: Callable[[str], None] = print):
        """
        Args:
          workdir: the run's folder; what killed saves left in it is removed.
          keep: how many of the last checkpoints stay.
          keep_every: a checkpoint whose step is a multiple of it stays for good. 0 for none.
          say: called with one line for each checkpoint that cannot be written.
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
        self._written: int | None = None  # the last step on disk

    def save(self, state: PyTree, meta: Mapping) -> None:
        """Start writing in the background, after waiting for the checkpoint before. A step is written once.

        Args:
          state: a TrainState of NumPy arrays that must not change until it is written.
          meta: what else belongs to it, JSON.
        """
        self._settle(block=True)
        self._failure = None
        if int(state.step) == self._written:  # a signal may have it saved from another thread, and then from this one
            return
        self._writing = self._writer.submit(self._write, int(state.step), flatten(state), dict(meta))

    def check(self) -> None:
        """Report a failure if there is one by now; never waits."""
        self._settle(block=False)

    def wait(self) -> None:
        """Wait until everything is on disk; a process that ends before loses what is still being written.

        Raises:
          SaveError: the last checkpoint could not be written.
        """
        self._settle(block=True)
        if self._failure is not None:
            raise self._failure

    def settle(self) -> None:
        """As `wait`, but a failure is reported, as by `save`, and not raised."""
        self._settle(block=True)

    def close(self) -> None:
        """End the background thread; a failure is reported and not raised."""
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
                  "continues, and tries again at the next one")

    def _write(self, step: int, leaves: Mapping[str, np.ndarray], meta: Mapping) -> None:
        """Run in the thread: write everything into a partial folder, then its manifest, then rename it."""
        partial, final = self._folder / f"{step}{_PARTIAL}", self._folder / str(step)
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            _write_arrays(partial / STATE, leaves)
            (partial / META).write_text(json.dumps(meta) + "\n", encoding="utf-8")
            manifest.write(partial, (META, STATE), sync=True)
            os.rename(partial, final)
            sync_folder(self._folder)
            self._written = step
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)  # on a full disk every byte counts
            raise
        for old in steps(self._folder.parent)[:-self._keep]:
            if not (self._keep_every and old % self._keep_every == 0):
                shutil.rmtree(self._folder / str(old), ignore_errors=True)


def steps(workdir: Path) -> list[int]:
    """Steps at which a run has checkpoints, ascending, damaged or not."""
    folder = workdir / "checkpoints"
    paths = list(folder.iterdir()) if folder.is_dir() else []
    return sorted(int(path.name) for path in paths if re.fullmatch(r"0|[1-9]\d*", path.name) and path.is_dir())


def newest(workdir: Path, *, set_aside: bool, say: Callable[[str], None]) -> int | None:
    """Step of the newest checkpoint that is not damaged; None where nothing has ever been saved.

    Args:
      workdir: the run's folder.
      set_aside: rename newer ones that are damaged to damaged-<step>; False changes nothing on disk, for reading a run
        that may be training at this moment.
      say: called with one line for each damaged checkpoint.

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
    return good


def _refuse_to_start_over(workdir: Path, damaged: Mapping[int, str]) -> None:
    folder = workdir / "checkpoints"
    if damaged:
        step, reason = next(iter(damaged.items()))
        one, many = f"checkpoint {folder / str(step)} is", f"all {len(damaged)} checkpoints in {folder} are"
        raise RunError(f"{many if len(damaged) > 1 else one} damaged (step {step}: {reason}), so there is nothing to "
                       "continue from; restore that file from a copy, or start over in another --workdir")
    if left := sorted(folder.glob(f"{DAMAGED}*")):
        raise RunError(f"{folder} holds only the damaged {left[-1].name}; restore a good checkpoint from a copy, or "
                       "start over in another --workdir")


def meta(workdir: Path, step: int) -> dict:
    """Return what was saved with the state of a step.

    Raises:
      RunError: it cannot be read.
    """
    path = workdir / "checkpoints" / str(step) / META
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({_reason(error)})") from error


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, in a few words that name the file; None for nothing."""
    return manifest.damage(folder, (META, STATE))


def restore(workdir: Path, step: int, shape: PyTree, *, prefix: str = "") -> PyTree:
    """Return the state saved at a step, or a part of it, as NumPy arrays.

    Args:
      workdir: the run's folder.
      step: of the checkpoint.
      shape: structure, shapes and dtypes of the result: those of a TrainState, or of the part.
      prefix: names the part: `restore(workdir, step, shape.average, prefix="average")` reads the averaged weights and
        nothing else from the disk. "" for the whole state.

    Raises:
      RunError: the checkpoint cannot be read, or holds other arrays than `shape`; it names the first that differs.
    """
    folder = workdir / "checkpoints" / str(step)
    dot = f"{prefix}." if prefix else ""
    expected = {f"{dot}{name}": leaf for name, leaf in flatten(shape).items()}
    try:
        with np.load(folder / STATE, allow_pickle=False) as archive:  # whose members are read one by one
            saved = [name for name in archive.files if name.startswith(dot)]
            _check_names(folder, saved, expected)
            leaves = [_fitting(folder, name, archive[name], leaf) for name, leaf in expected.items()]
    except RunError:
        raise
    except Exception as error:  # depending on the damage, of many types
        raise RunError(f"{folder / STATE} cannot be read ({_brief(error)})") from error
    return jax.tree.unflatten(jax.tree.structure(shape), leaves)


def _check_names(folder: Path, saved: Sequence[str], expected: Mapping[str, PyTree]) -> None:
    if missing := [name for name in expected if name not in saved]:
        raise RunError(f"checkpoint {folder} has no array {missing[0]}, which this run has; {_OTHER_VERSION}")
    if more := sorted(set(saved) - set(expected)):
        raise RunError(f"checkpoint {folder} has an array {more[0]}, which this run does not have; {_OTHER_VERSION}")


# The files agree with their checksums where this is said.
_OTHER_VERSION = ("it was probably saved by another version of imggen_jax: use the one that run.json in the workdir "
                  "names")


def _fitting(folder: Path, name: str, array: np.ndarray, leaf) -> np.ndarray:
    """The array of a leaf, of its shape and dtype."""
    expected = np.dtype(leaf.dtype)
    if array.dtype.kind == "V" and array.dtype.itemsize == expected.itemsize:
        array = array.view(expected)  # bfloat16 and its like, whose names NumPy's format does not know
    if (array.shape, array.dtype) == (tuple(leaf.shape), expected):
        return array
    cause = _OTHER_VERSION
    if array.shape == tuple(leaf.shape) and array.dtype.kind == expected.kind:
        if jax.config.read("jax_enable_x64") and expected.itemsize == 8:
            cause = "JAX_ENABLE_X64 is set here and was not when it was saved: unset it"
        elif array.dtype.itemsize == 8:
            cause = "it was saved with JAX_ENABLE_X64=1: set it here too"
    raise RunError(f"checkpoint {folder} does not fit this run: {name} is {array.dtype} {list(array.shape)} in the "
                   f"checkpoint and {expected} {list(leaf.shape)} in this run; {cause}")


def _write_arrays(path: Path, leaves: Mapping[str, np.ndarray]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, leaf in leaves.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(leaf), allow_pickle=False)


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
