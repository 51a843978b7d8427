"""Content Credentials: a signed manifest in a picture's file that says who made it, how, and from what (C2PA 2.2).

Written and read with c2pa-python; nothing is fetched from a network, unless a time-stamp authority is named.
"""
from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import c2pa
import numpy as np

from imggen_jax.errors import RunError, brief
from imggen_jax.pictures import files
from imggen_jax.provenance.keys import Identity

LABEL = "imggen-jax.made"    # of the assertion that holds what this project says
TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "TIFF": "image/tiff", "AVIF": "image/avif",
         "GIF": "image/gif"}
CREATED, COMPOSITE = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"
IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_KINDS = {CREATED: c2pa.C2paDigitalSourceType.TRAINED_ALGORITHMIC_MEDIA,
          COMPOSITE: c2pa.C2paDigitalSourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA}
OFFLINE = {"verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
           "builder": {"thumbnail": {"enabled": False}}}


class Statement(NamedTuple):
    """What is signed of a picture."""

    title: str                       # of the file
    verb: str                        # that made it
    kind: str                        # CREATED or COMPOSITE
    facts: Mapping[str, Any]         # JSON
    parent: Path | None = None       # the picture that was edited
    others: Sequence[Path] = ()      # pictures that it was made from besides
    marked: bool = False             # it carries a watermark


@functools.cache                     # it reads a file, which takes as long as a signature
def version() -> str:
    """Of this package."""
    try:
        return importlib.metadata.version("imggen_jax")
    except importlib.metadata.PackageNotFoundError:   # started from a checkout
        return "0"


def check(identity: Identity) -> None:
    """Raises RunError where C2PA does not sign with an identity: a certificate may lack what its profile asks for."""
    blank = files.encoded("PNG", files.Picture(np.zeros((8, 8, 3), np.uint8)))
    try:
        signed = sign(blank, "PNG", Statement("blank.png", "check", CREATED, {}), identity._replace(authority=None))
        state = c2pa.Reader("image/png", io.BytesIO(signed), context=_context(None)).get_validation_state()
    except c2pa.C2paError as error:
        raise RunError(f"C2PA does not sign with this certificate ({brief(error)}); it needs the key usage "
                       "digitalSignature and the extended key usage emailProtection or documentSigning") from error
    if state not in ("Valid", "Trusted"):
        raise RunError("what this certificate signs is not valid under C2PA; it needs the key usage digitalSignature "
                       "and the extended key usage emailProtection or documentSigning")


def sign(data: bytes, kind: str, statement: Statement, identity: Identity) -> bytes:
    """`sign_file` of the bytes of a file, as bytes."""
    out = io.BytesIO()
    sign_file(io.BytesIO(data), out, kind, statement, identity)
    return out.getvalue()


def sign_file(file: BinaryIO, out: BinaryIO, kind: str, statement: Statement, identity: Identity) -> None:
    """Writes a picture's file with a signed manifest in it; the pixels are the same.

    Args:
      file: read from its beginning.
      out: written to, and read.
      kind: Pillow's name of its format, one of TYPES.
      statement: what is signed. Credentials that its parent and other pictures have are kept inside.
      identity: who signs.

    Raises:
      c2pa.C2paError: it cannot be signed.
    """
    edited = statement.parent is not None
    actions = []
    if edited:
        actions.append({"action": "c2pa.edited", "digitalSourceType": IPTC + statement.kind,
                        "description": f"imggen_jax {statement.verb}"})
    if statement.marked:
        actions.append({"action": "c2pa.watermarked.unbound", "description": "imggen_jax watermark"})
    definition = {"claim_generator_info": [{"name": "imggen_jax", "version": version()}], "title": statement.title,
                  "assertions": [{"label": LABEL, "data": {"verb": statement.verb, **statement.facts}}]}
    with c2pa.Builder.from_json(json.dumps(definition), context=_context(identity)) as builder:
        if edited:
            builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
        else:
            builder.set_intent(c2pa.C2paBuilderIntent.CREATE, _KINDS[statement.kind])
        if statement.parent is not None:
            _add(builder, statement.parent, "parentOf")
        for path in statement.others:
            _add(builder, path, "inputTo")
        for action in actions:
            builder.add_action(action)
        builder.sign(TYPES[kind], file, out)


def _add(builder: c2pa.Builder, path: Path, relation: str) -> None:
    """Adds a picture as an ingredient, with the credentials that it has; of others than C2PA reads, the pixels."""
    said = json.dumps({"title": path.name, "relationship": relation})
    kind = files.WRITTEN.get(path.suffix.lower(), path.suffix[1:].upper())
    try:
        builder.add_ingredient(said, TYPES[kind], io.BytesIO(path.read_bytes()))
    except (KeyError, c2pa.C2paError):
        builder.add_ingredient(said, "image/png", io.BytesIO(files.encoded("PNG", files.read(path))))


@functools.lru_cache(maxsize=8)
def _context(identity: Identity | None) -> c2pa.Context:
    """With a signer, for one identity; it may serve many pictures."""
    settings = c2pa.Settings.from_dict(OFFLINE)
    if identity is None:
        return c2pa.Context(settings=settings)
    info = c2pa.C2paSignerInfo(identity.algorithm, identity.chain, identity.key, identity.authority)
    return c2pa.Context(settings=settings, signer=c2pa.Signer.from_info(info))


def pixel_hash(pixels: np.ndarray) -> str:
    """SHA-256 of uint8 or uint16 [H,W,C], hex: what is signed, so that a change of pixels is told from one of metadata.
    """
    hashed = PixelHash(pixels.shape, pixels.dtype)
    hashed.add(pixels)
    return hashed.hex()


class PixelHash:
    """`pixel_hash` of a picture that comes in bands."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype):
        self._dtype = dtype.newbyteorder("<")
        self._hash = hashlib.sha256(f"{self._dtype.str} {tuple(shape)}".encode())

    def add(self, band: np.ndarray) -> None:
        """The next rows."""
        self._hash.update(np.ascontiguousarray(band.astype(self._dtype, copy=False)).data)

    def hex(self) -> str:
        """Of all rows."""
        return self._hash.hexdigest()
