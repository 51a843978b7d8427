"""Who signs: a certificate and its key, given by the user, or made for this computer when a picture is first signed.

What this computer makes for itself proves that two pictures were signed by the same computer, and that neither was
changed since. It proves nothing about a name: anybody can make such a certificate.
"""
from __future__ import annotations

import contextlib
import datetime
import functools
import os
import secrets
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from imggen_jax.errors import RunError

VARIABLE = "IMGGEN_JAX_CONFIG"
OWN, ANCHOR = "signing.pem", "anchor.pem"
_DAYS = 3650             # for which an own certificate is valid
_RENEWED = 30            # days before its end from which another is made
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_PEM = serialization.Encoding.PEM


class Identity(NamedTuple):
    """What a picture is signed with."""

    algorithm: str           # as C2PA names it: "es256", "ps256", "ed25519", ...
    chain: bytes             # PEM: the certificate, then those that vouch for it
    key: bytes               # PEM, PKCS#8
    authority: str | None    # URL of a time-stamp authority (RFC 3161), asked for each signature
    own: bool                # made by this computer for itself
    note: str = ""           # what the user should know


def config_folder() -> Path:
    """The folder of the user's settings: $IMGGEN_JAX_CONFIG, or imggen_jax in $XDG_CONFIG_HOME or ~/.config."""
    if folder := os.environ.get(VARIABLE):
        return Path(os.path.expanduser(folder)).absolute()
    if folder := os.environ.get("XDG_CONFIG_HOME"):
        return Path(folder).absolute() / "imggen_jax"
    return Path(os.path.expanduser("~/.config")).absolute() / "imggen_jax"


def given(certificate: str, key: str, authority: str | None = None) -> Identity:
    """The identity of a user's certificate and key.

    Args:
      certificate: PEM file; the chain, with the signer's own certificate first.
      key: PEM file, without a passphrase; P-256, P-384, P-521, RSA of 2048 bits or more, or Ed25519.
      authority: URL of a time-stamp authority.

    Raises:
      RunError: a file cannot be read, the key does not fit the certificate, or the certificate is not valid today.
    """
    chain, secret = _read(certificate, "certificate"), _read(key, "key")
    try:
        first = x509.load_pem_x509_certificates(chain)[0]
    except ValueError as error:
        raise RunError(f"certificate {certificate} is not a PEM file of X.509 certificates; convert it with "
                       "`openssl x509`") from error
    try:
        private = serialization.load_pem_private_key(secret, None)
    except TypeError as error:
        raise RunError(f"key {key} has a passphrase; give one without, in a file that only you can read") from error
    except ValueError as error:
        raise RunError(f"key {key} is not a private key in PEM; convert it with `openssl pkey`") from error
    _check_fit(first, private, certificate, key)
    plain = private.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Identity(_algorithm(private, key), chain, plain, authority, False)


def _read(path: str, what: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise RunError(f"{what} {path} cannot be read ({error.strerror or error}); name a PEM file") from error


def _check_fit(certificate: x509.Certificate, private, name: str, key: str) -> None:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    if certificate.public_key().public_bytes(_PEM, form) != private.public_key().public_bytes(_PEM, form):
        raise RunError(f"key {key} does not belong to the first certificate of {name}; give the two that were issued "
                       "together, the signer's certificate first")
    now = datetime.datetime.now(datetime.UTC)
    if now > certificate.not_valid_after_utc:
        raise RunError(f"certificate {name} expired on {certificate.not_valid_after_utc:%Y-%m-%d}; renew it, or leave "
                       "out --sign-cert to sign with this computer's own key")
    if now < certificate.not_valid_before_utc:
        raise RunError(f"certificate {name} is valid from {certificate.not_valid_before_utc:%Y-%m-%d} on; check the "
                       "computer's clock, or wait")


def _algorithm(private, name: str) -> str:
    match private:
        case ec.EllipticCurvePrivateKey() if private.curve.name in _CURVES:
            return _CURVES[private.curve.name]
        case rsa.RSAPrivateKey() if private.key_size >= 2048:
            return "ps256"
        case ed25519.Ed25519PrivateKey():
            return "ed25519"
    raise RunError(f"key {name} is of a kind that C2PA does not sign with; give one of P-256, P-384, P-521, Ed25519, "
                   "or RSA of at least 2048 bits")


@functools.lru_cache(maxsize=8)
def own(folder: Path | None = None) -> Identity:
    """This computer's identity, made when it is first needed: a private file (mode 600) in the user's config folder.

    A root certificate is made, too, and its key forgotten at once, so that it vouches for nothing else. It is written
    to anchor.pem, which others can trust. Where nothing can be kept, the identity lasts as long as the process, and its
    note says so.
    """
    folder = config_folder() if folder is None else folder
    file = folder / OWN
    try:
        if file.exists() and (known := _parsed(file.read_bytes())):
            return known
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = _made()
        _keep(file, made)
        return _parsed(file.read_bytes()) or made    # another process may have been first
    except OSError as error:
        return _made()._replace(note=f"the key that signs pictures cannot be kept in {folder} "
                                f"({error.strerror or error}), so that each run signs with another one; set {VARIABLE} "
                                "to a folder that can be written to")


def _parsed(content: bytes) -> Identity | None:
    """The identity in an own file; None where it is damaged or about to expire."""
    try:
        private = serialization.load_pem_private_key(content, None)
        chain, algorithm = x509.load_pem_x509_certificates(content), _algorithm(private, OWN)
    except (ValueError, TypeError, RunError):
        return None
    if chain[0].not_valid_after_utc < datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=_RENEWED):
        return None
    return Identity(algorithm, b"".join(each.public_bytes(_PEM) for each in chain),
                    private.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
                    None, True)


def _keep(file: Path, made: Identity) -> None:
    """Write the private file and the anchor; another process's stays, and one that is of no use is kept aside."""
    part = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(made.key + made.chain)
        if file.exists() and _parsed(file.read_bytes()) is None:
            os.replace(file, file.with_name(f"{file.stem}_until_{datetime.date.today()}.pem"))
        with contextlib.suppress(FileExistsError):
            os.link(part, file)
            (file.parent / ANCHOR).write_bytes(x509.load_pem_x509_certificates(made.chain)[-1].public_bytes(_PEM))
    finally:
        part.unlink(missing_ok=True)


def _made() -> Identity:
    """A root that signs one certificate and is then forgotten (C2PA 2.2, 14.5.1: what a certificate must hold)."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    which = secrets.token_hex(4)
    root_name, name = (_name(f"{what} {which}") for what in ("imggen_jax self-made root", "imggen_jax on one computer"))
    root = _certificate(root_name, root_key.public_key(), root_name, root_key, authority=True)
    leaf = _certificate(name, key.public_key(), root_name, root_key, authority=False)
    secret = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Identity("es256", leaf.public_bytes(_PEM) + root.public_bytes(_PEM), secret, None, True)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "imggen_jax, self-signed"),
                      x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(subject, public, issuer, issuer_key, *, authority: bool) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                           "encipher_only", "decipher_only"), False)
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
               .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
               .not_valid_after(now + datetime.timedelta(days=_DAYS))
               .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
               .add_extension(x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority,
                                            crl_sign=authority, **usage), critical=True)
               .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
               .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
                              critical=False))
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
