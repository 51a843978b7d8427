"""The error of the data room."""
from __future__ import annotations


class DataError(ValueError):
    """A dataset that cannot be loaded as requested; the message is one line that names it and the remedy."""


def brief(error: Exception) -> str:
    """The type and the first line of an error, for a message of one line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"[:200]
