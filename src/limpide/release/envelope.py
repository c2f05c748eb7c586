"""The signed envelope: a statement, who signed it, and the signature, as one JSON file.

Form: Sigstore bundle v0.3 around a DSSE envelope around an in-toto Statement v1, ECDSA P-256 with SHA-256. It is what
model-signing writes as `model.sig`, and what Limpide writes for each attestation.
Reading is strict: exact fields, canonical base64, no field twice. So no byte of the file can change unnoticed, which a
lenient reader would allow for the fields that the signature does not cover.
Source: Sigstore bundle v0.3; DSSE v1.0.0 protocol; in-toto Statement v1.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from limpide.core.errors import IntegrityError
from limpide.release.keys import PublicKey, public_of

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
LARGEST_ENVELOPE = 64 * 2**20  # bytes; a release of 100 000 files needs about 20 MB


class _Malformed(ValueError):
    """Why bytes are not an envelope; becomes an IntegrityError that names the file."""


@dataclass(frozen=True)
class Envelope:
    """hint: fingerprint of the key said to have signed. payload: the statement's bytes. Nothing is verified yet."""

    hint: str
    payload: bytes
    signature: bytes


def pae(payload: bytes) -> bytes:
    """The bytes that are signed: DSSE pre-authentication encoding of `payload`."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def seal(statement: dict[str, Any], private: ec.EllipticCurvePrivateKey) -> bytes:
    """Sign `statement` (JSON); returns the envelope's bytes."""
    payload = json.dumps(statement, indent=2, ensure_ascii=True, allow_nan=False).encode()
    signature = private.sign(pae(payload), ec.ECDSA(hashes.SHA256()))
    bundle = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": public_of(private).fingerprint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(bundle, separators=(",", ":")).encode()


def read_envelope(path: Path, shown: str) -> Envelope:
    """Parse the envelope at `path`, called `shown` in messages, without verifying it. Raises IntegrityError."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_ENVELOPE + 1)
    except OSError as error:
        raise malformed(shown, f"cannot be read: {error.strerror}") from error
    return parse_envelope(data, shown)


def parse_envelope(data: bytes, shown: str) -> Envelope:
    """`read_envelope` for bytes at hand."""
    try:
        if len(data) > LARGEST_ENVELOPE:
            raise _Malformed(f"larger than {LARGEST_ENVELOPE} bytes")
        return _parse(data)
    except _Malformed as error:
        raise malformed(shown, str(error)) from error


def verify_envelope(envelope: Envelope, public: PublicKey, shown: str) -> dict[str, Any]:
    """The statement inside, once the signature by `public` holds. Raises IntegrityError naming both keys."""
    if envelope.hint != public.fingerprint:
        raise IntegrityError(
            f"{shown}: the signature does not match this key.",
            received=f"signed, it says, by key {envelope.hint}",
            expected=f"key {public.fingerprint} ({public.source})",
            remedy="verify with the publisher's own key; if this is it, do not use the release: someone else signed it",
        )
    try:
        public.key.verify(envelope.signature, pae(envelope.payload), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise IntegrityError(
            f"{shown}: the signature does not hold, its content was changed after signing or another key signed it.",
            received=f"a signature said to be by key {envelope.hint}",
            expected=f"a signature by key {public.fingerprint} ({public.source})",
            remedy="do not use the release; fetch it again from its publisher",
        ) from error
    return unverified_statement(envelope, shown)


def unverified_statement(envelope: Envelope, shown: str) -> dict[str, Any]:
    """The statement inside, whoever wrote it. Raises IntegrityError when it is not one."""
    try:
        statement = _object(_json(envelope.payload), {"_type", "subject", "predicateType", "predicate"}, "statement")
    except _Malformed as error:
        raise malformed(shown, str(error)) from error
    if statement["_type"] != STATEMENT_TYPE:
        raise malformed(shown, f"the statement is of type {statement['_type']!r}")
    return statement


def subject(statement: dict[str, Any], shown: str) -> tuple[str, str]:
    """(name, SHA-256) of the one thing a verified statement speaks of. Raises IntegrityError."""
    try:
        (one,) = statement["subject"]
        name, digest = one["name"], one["digest"]["sha256"]
    except (TypeError, KeyError, ValueError) as error:
        raise malformed(shown, "the statement must have one subject with a sha256") from error
    if not isinstance(name, str) or not is_digest(digest):
        raise malformed(shown, "the subject's name or digest is not what it must be")
    return name, digest


def malformed(shown: str, why: str) -> IntegrityError:
    """The error for a signature file that cannot be what Limpide wrote."""
    return IntegrityError(
        f"{shown} is damaged or is not a signature.",
        received=why,
        expected="a Sigstore bundle v0.3 around an in-toto statement, whole",
        remedy="fetch the release again from its publisher",
    )


def is_digest(value: object) -> bool:
    """Whether `value` is a SHA-256 in lowercase hex."""
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def _parse(data: bytes) -> Envelope:
    top = _object(_json(data), {"mediaType", "verificationMaterial", "dsseEnvelope"}, "file")
    material = _object(top["verificationMaterial"], {"publicKey", "tlogEntries"}, "verificationMaterial")
    hint = _object(material["publicKey"], {"hint"}, "publicKey")["hint"]
    dsse = _object(top["dsseEnvelope"], {"payload", "payloadType", "signatures"}, "dsseEnvelope")
    signatures = dsse["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise _Malformed("exactly one signature is expected")
    signed = _object(signatures[0], {"sig", "keyid"}, "signature")
    fixed = {
        "mediaType": (top["mediaType"], MEDIA_TYPE),
        "tlogEntries": (material["tlogEntries"], []),
        "payloadType": (dsse["payloadType"], PAYLOAD_TYPE),
        "keyid": (signed["keyid"], ""),
    }
    for field, (found, expected) in fixed.items():
        if found != expected:
            raise _Malformed(f"{field} is {found!r}, expected {expected!r}")
    if not isinstance(hint, str) or not hint:
        raise _Malformed("it does not say which key signed it")
    return Envelope(hint, _base64(dsse["payload"], "payload"), _base64(signed["sig"], "sig"))


def _json(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_no_field_twice, parse_constant=_no_constant)
    except _Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise _Malformed(f"not JSON: {error}") from error


def _no_field_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers may keep different ones of two equal fields; so there may not be two."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _Malformed("a field is given twice")
    return made


def _no_constant(name: str) -> None:
    raise _Malformed(f"{name} is not a JSON number")


def _object(value: object, fields: set[str], what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != fields:
        found = ", ".join(sorted(value)) if isinstance(value, dict) else type(value).__name__
        raise _Malformed(f"the fields of {what} must be {', '.join(sorted(fields))}; found {found or 'none'}")
    return value


def _base64(value: object, what: str) -> bytes:
    """Decode, and refuse the second spellings that base64 allows (unused last bits, stray characters)."""
    try:
        if not isinstance(value, str):
            raise _Malformed(f"{what} is not text")
        decoded = base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise _Malformed(f"{what} is not base64") from error
    if base64.b64encode(decoded).decode() != value:
        raise _Malformed(f"{what} is not canonical base64")
    return decoded
