"""Signing keys: P-256, one file each, never overwritten.

The private key is PKCS#8 PEM that only its owner may read; the public key beside it, `<name>.pub`, is what is handed
out. A release does not contain its public key: who could change the files could change that copy too.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from limpide.core.errors import MissingError, UsageError
from limpide.core.files import clear_write_errors

Key = TypeVar("Key")

CURVE = "secp256r1"  # the name `cryptography` gives P-256
LARGEST_KEY = 65_536  # bytes: a PEM key is well under 1 kB, so what is larger is not one and is not read
PASSWORD_VARIABLE = "LIMPIDE_KEY_PASSWORD"  # read by the caller, named here in messages


@dataclass(frozen=True)
class KeyPair:
    """Where a new pair of keys lies. fingerprint: SHA-256 (hex) of the public PEM. encrypted: asks for a password."""

    private: Path
    public: Path
    fingerprint: str
    encrypted: bool


@dataclass(frozen=True)
class PublicKey:
    """A public key read from `source` (shown in messages). pem: canonical form, which the fingerprint is taken of."""

    key: ec.EllipticCurvePublicKey
    pem: bytes
    fingerprint: str
    source: str


def new_keys(private: Path, public: Path | None = None, password: str | None = None) -> KeyPair:
    """Make a pair of P-256 keys: `private` (mode 0600) and `public` (default: `<private without .pem>.pub`).

    Neither file may exist: a lost signing key cannot be made again. Raises UsageError.
    """
    if public is None:
        public = public_path(private)
    if public == private:
        raise UsageError(
            "The private and the public key need different files.", received=private, remedy="limpide keys new PATH.pem"
        )
    if password == "":
        raise UsageError(
            "The password of the key is empty.",
            expected="a password, or none at all",
            remedy=f"give {PASSWORD_VARIABLE} a value, or unset it for a key without a password",
        )
    for path in (private, public):
        if os.path.lexists(path):
            raise _exists(path)
    key = ec.generate_private_key(ec.SECP256R1())
    lock = (
        serialization.NoEncryption()
        if password is None
        else serialization.BestAvailableEncryption(password.encode("utf-8"))
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
    opened = public_of(key, str(public))
    _write_new(private, pem, mode=0o600)
    try:
        _write_new(public, opened.pem, mode=0o644)
    except BaseException:
        private.unlink(missing_ok=True)  # half a pair is of no use, and would stand in the way of the next try
        raise
    return KeyPair(private, public, opened.fingerprint, password is not None)


def public_path(private: Path) -> Path:
    """Where the public key of `private` lies by custom: `release.pem` → `release.pub`, `release` → `release.pub`."""
    return (
        private.with_suffix(".pub") if private.suffix in (".pem", ".key") else private.with_name(private.name + ".pub")
    )


def fingerprint(public_pem: Path) -> str:
    """SHA-256 (lowercase hex) of the public key in canonical PEM: what a signature bundle calls the key's hint."""
    return load_public(public_pem).fingerprint


def public_of(private: ec.EllipticCurvePrivateKey, source: str = "the private key given") -> PublicKey:
    """The public half of `private`."""
    return _public(private.public_key(), source)


def load_private(path: Path, password: str | None = None) -> ec.EllipticCurvePrivateKey:
    """Open a private P-256 key.

    Raises MissingError when there is no such file, UsageError for anything else than a P-256 private key, and for a
    password that is missing, wrong, or given for a key that has none.
    """
    password = password or None  # an empty environment variable is no password
    data = _read(path, "private key", f"limpide keys new {path}")
    if b"PRIVATE KEY-----" not in data:
        if b"PUBLIC KEY-----" in data:
            raise UsageError(
                f"{path} is a public key; signing needs the private one.",
                expected="a file that starts with -----BEGIN PRIVATE KEY-----",
                remedy="give the .pem file made together with it by `limpide keys new`",
            )
        raise _not_a_key(path, "private")
    key = _unlock(path, data, password)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != CURVE:
        raise _wrong_kind(path, key, "limpide keys new PATH")
    return key


def load_public(path: Path) -> PublicKey:
    """Open a public P-256 key. Raises MissingError or UsageError, as `load_private`."""
    data = _read(path, "public key", "ask the publisher of the release for the .pub file, or give its right path")
    if b"PRIVATE KEY-----" in data:
        raise UsageError(
            f"{path} is a private key; verifying needs the public one only.",
            expected="a file that starts with -----BEGIN PUBLIC KEY-----",
            remedy=f"give {public_path(path)}; and if this private key was sent to you, tell its owner to replace it",
        )
    if b"PUBLIC KEY-----" not in data:
        raise _not_a_key(path, "public")
    key = _parse(path, "public", lambda: serialization.load_pem_public_key(data))
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != CURVE:
        raise _wrong_kind(path, key, "ask the publisher which key signs this release")
    return _public(key, str(path))


def _public(key: ec.EllipticCurvePublicKey, source: str) -> PublicKey:
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(key, pem, hashlib.sha256(pem).hexdigest(), source)


def _unlock(path: Path, data: bytes, password: str | None) -> object:
    locked = b"ENCRYPTED" in data
    if locked and password is None:
        raise UsageError(
            f"The private key {path} is protected by a password, and none was given.",
            remedy=f"export {PASSWORD_VARIABLE} with the password, then run the same command again",
        )
    if not locked and password is not None:
        raise UsageError(
            f"A password was given, but the private key {path} is not protected by one: whoever copies it can sign.",
            remedy=f"unset {PASSWORD_VARIABLE}, or make a protected key: limpide keys new PATH",
        )
    secret = password.encode("utf-8") if password is not None else None
    try:
        return _parse(path, "private", lambda: serialization.load_pem_private_key(data, secret))
    except UsageError as error:
        if not locked:
            raise
        raise UsageError(
            f"The private key {path} does not open.",
            expected="the password it was made with",
            remedy=f"check the value of {PASSWORD_VARIABLE}; if it is right, the file is damaged: restore it",
        ) from error


def _parse(path: Path, kind: str, load: Callable[[], Key]) -> Key:
    try:
        return load()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _not_a_key(path, kind) from error


def _read(path: Path, kind: str, remedy: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_KEY)
    except FileNotFoundError as error:
        raise MissingError(f"There is no {kind} at {path}.", remedy=remedy) from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise UsageError(f"{path} is not a file.", expected=f"a {kind} file", remedy=remedy) from error
    except PermissionError as error:
        raise UsageError(
            f"Limpide may not read the {kind} {path}.",
            received=error.strerror,
            remedy="run as the owner of the key",
        ) from error


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Create `path` with exactly `mode`; the exclusive flag makes 'never overwrite' hold against a race too."""
    with clear_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise _exists(path) from error
        try:
            with os.fdopen(handle, "wb") as file:
                path.chmod(mode)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _exists(path: Path) -> UsageError:
    return UsageError(
        f"{path} already exists, and a key is never overwritten: releases signed with it could not be signed again.",
        remedy="choose another path: limpide keys new OTHER.pem",
    )


def _not_a_key(path: Path, kind: str) -> UsageError:
    remedy = "limpide keys new PATH" if kind == "private" else "ask the publisher of the release for the .pub file"
    return UsageError(f"{path} is not a {kind} key.", expected=f"a {kind} P-256 key in PEM", remedy=remedy)


def _wrong_kind(path: Path, key: object, remedy: str) -> UsageError:
    curve = getattr(getattr(key, "curve", None), "name", None)
    received = f"curve {curve}" if curve else type(key).__name__.strip("_")
    return UsageError(
        f"{path} is a key of another kind.", received=received, expected="P-256 (secp256r1)", remedy=remedy
    )
