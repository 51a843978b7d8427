"""Where files are kept that can be computed, or downloaded by hand, again."""
from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path

VARIABLE = "IMGGEN_JAX_CACHE"
WEIGHTS_VARIABLE = "IMGGEN_JAX_WEIGHTS"  # a folder of weight files by itself, often on a disk that machines share


def cache_folder(kind: str) -> Path:
    """Return the folder of one kind of cached files; it may not exist.

    Args:
      kind: "compiled" (XLA programs), "native" (C++ kernels), "data" (decoded datasets), "folders" (ingested pictures),
        "classifiers", "genes" (of models that ship) or "weights".

    Returns:
      $IMGGEN_JAX_CACHE/<kind>, or ~/.cache/imggen_jax/<kind> where the variable is unset or empty, absolute. For
      "weights", $IMGGEN_JAX_WEIGHTS comes first. Without a home folder, one that lasts as long as the process.
    """
    if kind == "weights" and (folder := os.environ.get(WEIGHTS_VARIABLE)):
        return Path(os.path.expanduser(folder)).absolute()
    if folder := os.environ.get(VARIABLE):
        return Path(os.path.expanduser(folder)).absolute() / kind
    try:
        return Path.home().absolute() / ".cache" / "imggen_jax" / kind
    except RuntimeError:  # HOME is unset and the user has no entry in the password database, as in some containers
        return Path(_temporary().name) / kind


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="imggen_jax_")
