"""Signed records: tree heads, and what is left of purged days. Each is a canonical JSON line signed with the log's key.

A head says that at a time the log had so many entries and such a Merkle root. Whoever holds a head, on another disk, in
a mailbox, on paper, can show later that the entries up to it are still the ones it was made of.
"""

import base64
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from json import loads
from pathlib import Path
from typing import Any, TypeVar

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from limpide.release.keys import PublicKey
from limpide.serve.request_log.places import backwards, heads_path

HEAD, PURGED = "limpide.log.head", "limpide.log.purged"  # `kind`: one can't be passed off as the other


@dataclass(frozen=True)
class Head:
    """tree_size: entries. root: hex. at: when it was signed. log: the log's id. key_id: fingerprint of the key."""

    tree_size: int
    root: str
    at: str
    log: str
    key_id: str
    signature: str = ""

    def record(self) -> dict[str, Any]:
        return {"kind": HEAD, **asdict(self)}


@dataclass(frozen=True)
class Purged:
    """A day whose file was removed: entries [first, end), the hash of the last, and the digests of the whole subtrees
    that stand for them (`merkle.cover(first, end)`), so that what remains still adds up to every later head."""

    day: str
    first: int
    end: int
    last_hash: str
    nodes: tuple[str, ...]
    at: str
    log: str
    key_id: str
    signature: str = ""

    def record(self) -> dict[str, Any]:
        return {"kind": PURGED, **asdict(self), "nodes": list(self.nodes)}


class NotSigned(ValueError):
    """A line that is not a record of its kind signed by the key; says why."""


def signature(record: Mapping[str, Any], key: ec.EllipticCurvePrivateKey) -> str:
    """Base64 of the ECDSA signature (P-256, SHA-256) over the canonical record without its `signature`."""
    return base64.b64encode(key.sign(_signed_bytes(record), ec.ECDSA(SHA256()))).decode()


Signable = TypeVar("Signable", Head, Purged)


def signed(record: Signable, key: ec.EllipticCurvePrivateKey) -> Signable:
    """The record with its signature."""
    return replace(record, signature=signature(record.record(), key))


def _signed_bytes(record: Mapping[str, Any]) -> bytes:
    return rfc8785.dumps({name: value for name, value in record.items() if name != "signature"})


def parse_head(line: bytes, public: PublicKey) -> Head:
    """Raises NotSigned."""
    fields = _opened(line, HEAD, public)
    try:
        return Head(**fields)
    except TypeError as error:
        raise NotSigned("it lacks a field, or has one too many") from error


def parse_purged(line: bytes, public: PublicKey) -> Purged:
    """Raises NotSigned."""
    fields = _opened(line, PURGED, public)
    try:
        return Purged(**{**fields, "nodes": tuple(fields["nodes"])})
    except (TypeError, KeyError) as error:
        raise NotSigned("it lacks a field, or has one too many") from error


def _opened(line: bytes, kind: str, public: PublicKey) -> dict[str, Any]:
    try:
        record = loads(line)
        if not isinstance(record, dict) or record.pop("kind", None) != kind:
            raise NotSigned(f"it is not a record of the kind {kind}")
        if record.get("key_id") != public.fingerprint:
            raise NotSigned(f"it is signed by another key, {record.get('key_id')}")
        claimed = base64.b64decode(record["signature"], validate=True)
        public.key.verify(claimed, _signed_bytes({"kind": kind, **record}), ec.ECDSA(SHA256()))
        if rfc8785.dumps({"kind": kind, **record}) != line:
            raise NotSigned("it is not in canonical form")
    except InvalidSignature as error:
        raise NotSigned("its signature does not hold") from error
    except NotSigned:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotSigned("it is not a signed record") from error
    return record


Record = TypeVar("Record")
Parse = Callable[[bytes, PublicKey], Record]


def signed_lines(path: Path, parse: Parse[Record], public: PublicKey) -> Iterator[tuple[int, Record | NotSigned]]:
    """(line, counted from 1; the record, or why it is none) of a file of signed records, which may not be there. Half a
    line at its end, as a kill leaves it, was never relied upon, and is left out."""
    *lines, rest = path.read_bytes().split(b"\n") if path.exists() else [b""]
    for number, line in enumerate([*lines, rest] if rest else lines, 1):
        try:
            yield number, parse(line, public)
        except NotSigned as error:
            if number <= len(lines):
                yield number, error


def add_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append a record and wait until the disk has it. The half line that a kill left is cut off first: what was not
    written whole was never relied upon. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            whole = path.read_bytes()
            size = whole.rfind(b"\n") + 1
            os.ftruncate(handle, size)
        line = rfc8785.dumps(dict(record)) + b"\n"
        try:
            while line:
                line = line[os.write(handle, line) :]
        except OSError:
            os.ftruncate(handle, size)
            raise
        os.fsync(handle)
    finally:
        os.close(handle)


def last_head(heads: Path, public: PublicKey, log: str) -> Head | None:
    """The largest of the last heads written for this log, as several processes may have written out of order. Lines
    that do not hold are left to `verify`."""
    path = heads_path(heads)
    found: list[Head] = []
    if path.exists():
        for _, line in zip(range(64), backwards(path, path.stat().st_size), strict=False):
            try:
                found.append(parse_head(line, public))
            except NotSigned:
                continue
    found = [head for head in found if head.log == log]
    return max(found, key=lambda head: head.tree_size, default=None)
