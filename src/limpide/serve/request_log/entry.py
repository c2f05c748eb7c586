"""One entry of the log: one canonical JSON line (RFC 8785), chained to the one before.

    {"at":"2026-11-23T08:20:00.123Z","event":"answer",…facts…,"hash":H,"prev":P,"seq":17,"texts":{…},"v":1}

H is the SHA-256 of the same canonical record without its `hash`; P is the H of entry 16. `at` is UTC, to the
millisecond; the order of entries is that of `seq`, not of `at`, as clocks jump. `texts` holds commitments, never texts.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import rfc8785

from limpide.core.errors import LimpideError

VERSION = 1
FIRST_PREV = "0" * 64  # `prev` of entry 0, which has none before it
OWN = ("v", "seq", "at", "event", "prev", "hash", "texts")  # what no fact may be called
LONGEST = (
    1_000  # characters of one text among the facts: who asks chooses some of them, and the log is not theirs to fill
)
DEEPEST = 8  # levels of lists and objects in one fact


@dataclass(frozen=True)
class Entry:
    """What one line says. facts: JSON values by name; texts: {"prompt": commitment, …}, hex."""

    seq: int
    at: str
    event: str
    facts: Mapping[str, Any]
    texts: Mapping[str, str]
    prev: str
    hash: str

    def record(self) -> dict[str, Any]:
        """The JSON object of the line."""
        texts = {"texts": dict(self.texts)} if self.texts else {}
        own = {"v": VERSION, "seq": self.seq, "at": self.at, "event": self.event, "prev": self.prev, "hash": self.hash}
        return {**self.facts, **texts, **own}


class NotAnEntry(ValueError):
    """A line that is not a canonical record whose hash holds; says why."""


def sealed(entry: Entry) -> tuple[bytes, str]:
    """The line, newline included, of an entry whose hash is not known yet, and that hash.

    Canonical form sorts members by name, so the hash has one place: between those before and those after its name. That
    spares a second pass, which would be half of what an entry costs.
    """
    record = entry.record()
    before = _canonical({name: value for name, value in record.items() if name < "hash"})[:-1]
    after = _canonical({name: value for name, value in record.items() if name > "hash"})[1:]
    digest = hashlib.sha256(before + b"," + after).hexdigest()
    return b"".join((before, b',"hash":"', digest.encode(), b'",', after, b"\n")), digest


def parsed(line: bytes) -> Entry:
    """The entry of one line, without its newline, as `sealed` wrote it. Raises NotAnEntry."""
    try:
        record = _DECODER.decode(line.decode())
        if not isinstance(record, dict):
            raise NotAnEntry("it is not a JSON object")
        # Every number was held against its canonical form when it was read, so plain sorting is canonical; the library,
        # which is slower, has the last word.
        if _ENCODE(record).encode() != line and rfc8785.dumps(record) != line:
            raise NotAnEntry("it is not in canonical form")
        entry = _entry(record)
    except NotAnEntry:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotAnEntry("it is not JSON of an entry") from error
    if hashlib.sha256(line.replace(b'"hash":"%s",' % entry.hash.encode(), b"", 1)).hexdigest() != entry.hash:
        raise NotAnEntry("its hash does not hold")
    return entry


def _entry(record: dict[str, Any]) -> Entry:
    version, seq, texts = record.pop("v"), record.pop("seq"), record.pop("texts", {})
    at, event, prev, digest = (record.pop(name) for name in ("at", "event", "prev", "hash"))
    if version != VERSION or type(seq) is not int or seq < 0 or not isinstance(texts, dict):
        raise NotAnEntry("it is not an entry of this version of the log")
    if not all(type(value) is str for value in (at, event, prev, digest)):
        raise NotAnEntry("it is not an entry of this version of the log")
    return Entry(seq, at, event, record, texts, prev, digest)


def _canonical_number(text: str) -> float:
    if rfc8785.dumps(float(text)).decode() != text:
        raise NotAnEntry("a number in it is not in canonical form")
    return float(text)


_DECODER = json.JSONDecoder(parse_float=_canonical_number)
_ENCODE = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


# What Python writes otherwise than RFC 8785: whole floats (2.0), exponents (1e-05, 1e+16), names in another order
# beyond ASCII. Text that looks like it only costs time.
_OTHERWISE = re.compile(r"[0-9](?:\.0[,\]}]|e[-+])")


def _canonical(value: Any) -> bytes:
    """The form of RFC 8785. The library takes three times as long; it writes what Python's encoder writes otherwise."""
    text = _ENCODE(value)
    return text.encode() if text.isascii() and not _OTHERWISE.search(text) else rfc8785.dumps(value)


def fit(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts as JSON can hold them. What a caller may have chosen is never refused: long texts are cut, numbers no
    JSON reader holds exactly become text. Raises LimpideError for a name that the entry itself uses."""
    taken = [name for name in facts if name in OWN]
    if taken:
        raise LimpideError(f"No fact of the log can be called {taken[0]}.", expected=f"another name than {OWN}")
    return {name: _fit(value) for name, value in facts.items()}


def _fit(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return _text(value)
    if value is None or (isinstance(value, int | float) and abs(value) < 2**53):  # which NaN is not
        return int(value) if isinstance(value, float) and value.is_integer() else value  # canonical JSON has no 1.0
    if depth < DEEPEST and isinstance(value, Mapping):
        return {_text(str(name)): _fit(inner, depth + 1) for name, inner in value.items()}
    if depth < DEEPEST and isinstance(value, list | tuple | set | frozenset):
        return [_fit(inner, depth + 1) for inner in value]
    return _text(str(value))


def _text(text: str) -> str:
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 1]}…"
    # Half of a surrogate pair is a character of Python and of JSON, and of no Unicode text.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def stamp(when: float) -> str:
    """when: seconds since 1970, as the log writes times: 2026-11-23T08:20:00.123Z, which begins with the day."""
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%dT%H:%M:%S}.{int(when * 1000) % 1000:03d}Z"


def seconds(at: str) -> float:
    """What `stamp` wrote, as seconds since 1970."""
    return datetime.fromisoformat(at).timestamp()
