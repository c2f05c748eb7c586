"""Receipts: that one entry is in the log, shown to somebody who has the public key and nothing else of the log.

A receipt holds the entry, a signed head, and the path of digests that leads from the one to the root of the other. With
a head that was held since before, it also shows that nothing the older head counted was changed or removed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from json import loads
from pathlib import Path
from typing import Any

import rfc8785

from limpide.core.errors import IntegrityError, UsageError
from limpide.release.keys import PublicKey
from limpide.serve.request_log.entry import Entry, NotAnEntry, parsed
from limpide.serve.request_log.heads import Head, NotSigned, last_head, parse_head, signed_lines
from limpide.serve.request_log.merkle import Tree, is_consistent, leaf, root_of_inclusion
from limpide.serve.request_log.places import Places, day_path, forwards, sizes
from limpide.serve.request_log.purged import log_id, purged_days
from limpide.serve.request_log.read import find
from limpide.serve.request_log.tail import REMEDY, subtrees

KIND = "limpide.log.receipt"


@dataclass(frozen=True)
class Shown:
    """What a receipt shows. held: the older head that `head` is shown to continue."""

    entry: Entry
    head: Head
    held: Head | None = None


def held_head(path: Path, public: PublicKey) -> Head:
    """The largest head of a file of heads (JSON lines) that was kept apart. Raises UsageError, IntegrityError."""
    found: list[Head] = []
    for number, head in signed_lines(path, parse_head, public):
        if isinstance(head, NotSigned):
            raise IntegrityError(f"A head in {path} does not hold: line {number}, {head}.")
        found.append(head)
    if not found:
        raise UsageError(f"There is no head in {path}.", expected="a copy of heads/heads.jsonl, or some lines of it")
    return max(found, key=lambda head: head.tree_size)


def receipt(places: Places, public: PublicKey, seq: int, held: Head | None = None) -> dict[str, Any]:
    """The receipt of entry `seq`, as JSON. Raises UsageError when no head counts the entry yet; IntegrityError when the
    log is not the one that the heads were signed of."""
    _, entry = find(places.folder, seq)
    head = last_head(places.heads, public, log_id(places.folder) or "")
    if head is None or head.tree_size <= seq:
        raise UsageError(
            f"No signed head counts entry {seq} yet.",
            received=f"the last head counts {head.tree_size if head else 0} entries",
            remedy="limpide log sign  (the service does so every few minutes, and when it stops)",
        )
    if held is not None and (held.log, held.tree_size > head.tree_size) != (head.log, False):
        raise IntegrityError(
            "The head that was held is not one of this log, or counts more than the log now has.",
            received=f"{held.tree_size} entries of log {held.log}",
            expected=f"at most {head.tree_size} of log {head.log}",
            remedy=REMEDY,
        )
    tree = _tree(places.folder, public)
    try:
        whole = tree.digest(0, head.tree_size).hex() == head.root
        consistency = tree.consistency(held.tree_size, head.tree_size) if held is not None else []
    except KeyError as error:
        raise UsageError(
            "The head that was held ends within a day that was purged: the digests that would link it are gone.",
            remedy="hold a newer head",
        ) from error
    except IndexError:
        whole = False
    if not whole:
        raise IntegrityError("The log is not the one that its last head was signed of.", remedy=REMEDY)
    return {
        "kind": KIND,
        "entry": entry.record(),
        "path": [digest.hex() for digest in tree.inclusion(seq, head.tree_size)],
        "head": head.record(),
        "held": held.record() if held is not None else None,
        "consistency": [digest.hex() for digest in consistency],
    }


def _tree(folder: Path, public: PublicKey) -> Tree:
    purged = purged_days(folder, public)
    gone = {day.day for day in purged}
    leaves = [
        leaf(loads(line)["hash"])
        for day, size in sizes(folder).items()
        if day not in gone
        for _, line in forwards(day_path(folder, day), size)
    ]
    nodes = [(start, end, digest) for day in purged for (start, end), digest in subtrees(day)]
    return Tree(purged[-1].end if purged else 0, leaves, nodes)


def check_receipt(receipt: Mapping[str, Any], public: PublicKey) -> Shown:
    """What the receipt shows. Raises IntegrityError when it does not; UsageError when it is no receipt."""
    if receipt.get("kind") != KIND:
        raise UsageError("This file is not a receipt.", received=receipt.get("kind"), expected=KIND)
    try:
        entry = parsed(rfc8785.dumps(receipt["entry"]))
        head = parse_head(rfc8785.dumps(receipt["head"]), public)
        path = [bytes.fromhex(digest) for digest in receipt["path"]]
        held = None if receipt["held"] is None else parse_head(rfc8785.dumps(receipt["held"]), public)
        consistency = [bytes.fromhex(digest) for digest in receipt["consistency"]]
    except (NotAnEntry, NotSigned) as error:
        raise _broken(str(error)) from error
    except (KeyError, TypeError, ValueError) as error:
        raise _broken("a part of it is missing or is not what it should be") from error
    root = root_of_inclusion(leaf(entry.hash), entry.seq, head.tree_size, path)
    if root is None or root.hex() != head.root:
        raise _broken("its path does not lead from the entry to the root of the head")
    if held is not None and not (
        held.log == head.log
        and is_consistent(
            held.tree_size, bytes.fromhex(held.root), head.tree_size, bytes.fromhex(head.root), consistency
        )
    ):
        raise _broken("its head does not continue the one that was held")
    return Shown(entry, head, held)


def _broken(why: str) -> IntegrityError:
    return IntegrityError(
        "The receipt does not hold.", received=why, expected="a receipt as limpide log receipt wrote it"
    )
