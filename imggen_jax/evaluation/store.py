"""Reports, pages and charts on disk. A result that cannot be stored is still a result: a note says so, and it goes on.
"""
from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from imggen_jax.errors import MetricsError, RunError
from imggen_jax.metrics import scores as metric_scores
from imggen_jax.metrics.scores import Report
from imggen_jax.storage.files import write_atomic


def check_folder(folder: Path) -> None:
    """Create a folder that results are to be stored in.

    Raises:
      RunError: it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / ".writable", b"")
        (folder / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot write to {folder} ({error.strerror or error}); choose another --out") from error


def write(folder: Path | None, stem: str, content: Mapping, images_seen: int | None = None) -> str | None:
    """Write JSON as folder/<stem>.json, or folder/<stem>_<images seen, 9 digits>.json.

    Returns:
      The path; None without a folder, and where it cannot be written, which a note on stderr says.
    """
    name = stem if images_seen is None else f"{stem}_{images_seen:09d}"
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    return write_page(folder, f"{name}.json", lambda path: write_atomic(path, text))


def write_page(folder: Path | None, name: str, write: Callable[[Path], object]) -> str | None:
    """Call write(folder / name), which writes a file there. Returns the path, or None as `write` does."""
    if folder is None:
        return None
    path = folder / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except OSError as error:
        print(f"note: {path} cannot be written ({error.strerror or error}); to keep it, name another folder with --out",
              file=sys.stderr, flush=True)
        return None
    return str(path)


def newest(folder: Path, name: str) -> dict | None:
    """The newest stored result of an evaluator; None where there is none that can be read.

    Args:
      folder: of the stored results, such as scores/ of a run.
      name: of the evaluator.
    """
    for path in sorted(folder.glob(f"{name}_*.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))[name]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(found, dict):
            return found
    return None


def read_report(path: str | Path) -> Report:
    """A stored report of scores. Raises MetricsError where there is none."""
    try:
        return metric_scores.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise MetricsError(f"{path} cannot be read as a report of scores ({error})") from error
