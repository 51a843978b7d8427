"""How a run may end, apart from its end. Nothing here needs JAX: the command line knows these before it starts it."""
from __future__ import annotations


class RunError(ValueError):
    """A run that cannot start, go on or give what is asked of it; the message is one line: why, and what to do."""


class SaveError(RuntimeError):
    """A file of a run could not be written, as on a full disk; what was saved before is intact."""


class Diverged(RuntimeError):
    """A loss or gradient that is not finite; the last checkpoint is from before it."""


class Interrupted(Exception):
    """SIGTERM or Ctrl-C: the run has saved and can be resumed. `signal` is its number."""

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.signal = signal_number
