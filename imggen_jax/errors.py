"""Exceptions of the package. Nothing here needs JAX: the command line knows them before it starts it.

Every message is one line that names what is wrong and what to do.
"""
from __future__ import annotations


class ImggenError(Exception):
    """Base class of all exceptions that the package raises on purpose."""


class ConfigError(ImggenError, ValueError):
    """A config that cannot be run; names the key."""


class DataError(ImggenError, ValueError):
    """A dataset that cannot be loaded; names it."""


class MetricsError(ImggenError, ValueError):
    """A score that cannot be computed from its input."""


class WeightsError(ImggenError, ValueError):
    """A weight file that is missing, damaged or of another network; names it."""


class RunError(ImggenError, ValueError):
    """A run or model that cannot start, go on or do what is asked of it."""


class SaveError(ImggenError, RuntimeError):
    """A file of a run could not be written, as on a full disk; what was saved before is intact."""


class Diverged(ImggenError, RuntimeError):
    """A loss or gradient that is not finite; the last checkpoint is from before it."""


class Interrupted(ImggenError):
    """SIGTERM or Ctrl-C: the run has saved and can be resumed. `signal` is its number."""

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.signal = signal_number


def brief(error: BaseException) -> str:
    """The type and the first line of an error, for a message of one line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"[:200]
