"""What a user can do something about."""
from __future__ import annotations

from imggen_jax.errors import ImggenError


class PatchError(ImggenError, ValueError):
    """A picture, mask or number that cannot be worked with; the message is one line: what is wrong, and what to do."""
