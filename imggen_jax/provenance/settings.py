"""What pictures get when they are written: a setting of the caller's context, as JAX's are.

    with settings.using(settings.Settings(watermark=False)):
        imggen_jax.generate(...)
"""
from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

from imggen_jax.errors import RunError
from imggen_jax.provenance import credentials, fingerprints, keys

CERTIFICATE, KEY, AUTHORITY = "IMGGEN_JAX_SIGN_CERT", "IMGGEN_JAX_SIGN_KEY", "IMGGEN_JAX_SIGN_TSA"
FINGERPRINTS = "IMGGEN_JAX_FINGERPRINTS"


class Settings(NamedTuple):
    """What pictures get when they are written."""

    credentials: bool = True
    watermark: bool = True
    prompt: bool = False                 # tell the texts that a picture was made from: in its record, and signed
    certificate: str | None = None       # PEM files; None: this computer's own
    key: str | None = None
    authority: str | None = None         # URL of a time-stamp authority
    fingerprints: str | None = None      # file to which the fingerprint of each picture is added


_settings: contextvars.ContextVar[Settings | None] = contextvars.ContextVar("imggen_jax_publishing", default=None)
_said: set[str] = set()


def settings() -> Settings:
    """Those in force here; where none are set, the environment names certificate, key, authority and fingerprints."""
    found = _settings.get()
    if found is not None:
        return found
    return Settings(certificate=os.environ.get(CERTIFICATE) or None, key=os.environ.get(KEY) or None,
                    authority=os.environ.get(AUTHORITY) or None, fingerprints=os.environ.get(FINGERPRINTS) or None)


@contextlib.contextmanager
def using(wanted: Settings) -> Iterator[None]:
    """Settings for what is written inside.

    Raises:
      RunError: certificate and key do not fit each other, are not valid, or only one of them is given; the log of
        fingerprints cannot be written to.
    """
    if wanted.credentials:
        identity(wanted)
    if wanted.fingerprints:
        fingerprints.check(wanted.fingerprints)
    before = _settings.set(wanted)
    try:
        yield
    finally:
        _settings.reset(before)


def identity(wanted: Settings) -> keys.Identity:
    """Who signs under some settings.

    Raises:
      RunError: certificate and key do not fit each other, are not valid, or only one of them is given.
    """
    if bool(wanted.certificate) != bool(wanted.key):
        raise RunError("a certificate and its key are given together: --sign-cert and --sign-key, or the variables "
                       f"{CERTIFICATE} and {KEY}")
    if not wanted.certificate or not wanted.key:
        return keys.own(keys.config_folder())._replace(authority=wanted.authority)
    return _given(wanted.certificate, wanted.key, wanted.authority)


@functools.lru_cache(maxsize=8)
def _given(certificate: str, key: str, authority: str | None) -> keys.Identity:
    found = keys.given(certificate, key, authority)
    credentials.check(found)
    return found


def note(line: str) -> None:
    """A line on stderr, once in a process."""
    if line not in _said:
        _said.add(line)
        print(f"note: {line}", file=sys.stderr)
