"""What can be wrong with the input of a score. Light to import: the command line knows it before anything starts."""
from __future__ import annotations


class MetricsError(ValueError):
    """A score that cannot be computed; the message is one line that names what is wrong and the remedy."""
