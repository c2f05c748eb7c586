"""Texts are not in the log: a keyed commitment of each is, and the key lies apart, where it can be erased.

A plain digest of a short prompt could be guessed by trying prompts. HMAC-SHA256 under a random key of the entry cannot,
once the key is gone; as long as it is there, whoever holds the text can prove that it is the one of entry N.
The keys of a day lie in `keys/<day>.jsonl`, a line an entry: {"key": 64 hex digits, "seq": 17}. Erasing writes zeros
over the key in its place: the file is never replaced, so a process that is adding to it loses nothing. What a file
system or a disk kept of the overwritten block (snapshots, flash memory, backups) is out of reach of any program.
"""

import hmac
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

KEY_LINE = re.compile(rb'\{"key":"([0-9a-f]{64})","seq":(\d+)\}\n')  # found within a line that a kill left half written
ERASED = b"0" * 64


def keys_path(log: Path, day: str) -> Path:
    return log / "keys" / f"{day}.jsonl"


def key_line(seq: int, key: bytes) -> bytes:
    return b'{"key":"%s","seq":%d}\n' % (key.hex().encode(), seq)


def commitments(texts: Mapping[str, str], key: bytes) -> dict[str, str]:
    """{label: hex} of texts; the label is part of what is committed to, so equal texts do not show."""
    return {label: _commitment(label, text, key) for label, text in texts.items()}


def _commitment(label: str, text: str, key: bytes) -> str:
    return hmac.digest(key, label.encode() + b"\0" + text.encode("utf-8", "surrogatepass"), "sha256").hex()


def key_of(log: Path, day: str, seq: int) -> bytes | None:
    """The key of an entry; None when it was erased or never was."""
    found = None
    for _, digits, owner in _keys(keys_path(log, day)):
        if owner == seq:  # the last one counts: one before it is of a write that did not come to its end
            found = digits
    return None if found in (None, ERASED) else bytes.fromhex(found.decode())


def matching(committed: Mapping[str, str], text: str, key: bytes) -> list[str]:
    """The labels under which this text was committed to."""
    return [label for label, digest in committed.items() if hmac.compare_digest(_commitment(label, text, key), digest)]


def erase(log: Path, day: str, seq: int | None = None) -> int:
    """Write zeros over the key of one entry, or of all of a day (seq None), and onto the disk. Returns how many."""
    path = keys_path(log, day)
    places = [place for place, digits, owner in _keys(path) if digits != ERASED and (seq is None or owner == seq)]
    if places:
        handle = os.open(path, os.O_RDWR)
        try:
            for place in places:
                os.pwrite(handle, ERASED, place)
            os.fsync(handle)
        finally:
            os.close(handle)
    return len(places)


def kept(log: Path, since: str) -> set[int]:
    """The entries of the day `since` and later whose texts can still be matched."""
    found: dict[int, bytes] = {}
    folder = log / "keys"
    for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else ():
        if path.stem >= since:
            found |= {owner: digits for _, digits, owner in _keys(path)}
    return {owner for owner, digits in found.items() if digits != ERASED}


def _keys(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """(place of the digits, digits, seq) of every key of a file."""
    data = path.read_bytes() if path.exists() else b""
    for found in KEY_LINE.finditer(data):
        yield found.start(1), found[1], int(found[2])
