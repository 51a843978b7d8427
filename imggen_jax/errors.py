"""Exceptions of the package. Nothing here needs JAX: the command line knows them before it starts it.

Every message is one line that names what is wrong and what to do.
"""
from __future__ import annotations

import re

_LONGEST = 900  # characters of a message


class ImggenError(Exception):
    """Base class of all exceptions that the package raises on purpose.

    A value in the message may be an array or a long list: lines are joined, and the middle of a long text is left out.
    """

    def __init__(self, message: str = ""):
        text = re.sub(r"\s*\n\s*", " ", str(message))
        if len(text) > _LONGEST:
            text = f"{text[:_LONGEST // 2]} ... {text[-_LONGEST // 3:]}"
        super().__init__(text)


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
