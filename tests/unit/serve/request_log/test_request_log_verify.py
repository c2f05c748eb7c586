"""Whatever is done to a log is found, and the place is named."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from limpide.core.errors import MissingError, UsageError
from limpide.release.keys import new_keys
from limpide.serve.request_log.entry import FIRST_PREV, parsed, sealed
from limpide.serve.request_log.heads import Head, signature
from limpide.serve.request_log.places import Places, day_path, days, heads_path, places
from limpide.serve.request_log.verify import LIMIT, verify
from request_logs import (
    NOON,
    Clock,
    chained_again,
    changed,
    lines_of,
    path_of,
    put,
    verdict,
    written,
)

Harm = Callable[[Places], object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State folder of a log of three days of 12 entries: numbers 0–11, 12–23, 24–35."""
    return written(tmp_path_factory.mktemp("log") / "state").folder.parent


@pytest.fixture
def log(whole: Path, tmp_path: Path) -> Places:
    return places(Path(shutil.copytree(whole, tmp_path / "state")))


def edit(day: int, number: int, **facts: object) -> Harm:
    """Change an entry and its hash."""

    def harm(log: Places) -> None:
        lines = lines_of(log, day)
        lines[number] = changed(lines[number], **facts)
        put(log, day, lines)

    return harm


def reorder(day: int, *order: int) -> Harm:
    return lambda log: put(log, day, [lines_of(log, day)[i] for i in order])


def drop(day: int, *numbers: int) -> Harm:
    return lambda log: put(log, day, [line for i, line in enumerate(lines_of(log, day)) if i not in numbers])


def insert(day: int, number: int) -> Harm:
    """A line that follows the one before it, with a hash that holds."""

    def harm(log: Places) -> None:
        lines = lines_of(log, day)
        before, after = parsed(lines[number - 1]), parsed(lines[number])
        forged = sealed(replace(after, prev=before.hash, facts={"n": 99}))[0][:-1]
        put(log, day, [*lines[:number], forged, *lines[number:]])

    return harm


def rewrite(day: int, number: int) -> Harm:
    """Change an entry and chain all that follow again, to the end of the log."""

    def harm(log: Places) -> None:
        lines = lines_of(log, day)
        lines[number] = changed(lines[number], n=99)
        prev = parsed(lines[number]).prev
        for later in range(day, len(days(log.folder))):
            lines = lines if later == day else lines_of(log, later)
            kept = lines[:number] if later == day else []
            put(log, later, kept + chained_again(lines[len(kept) :], prev))
            prev = parsed(lines_of(log, later)[-1]).hash

    return harm


def text(day: int, number: int, was: bytes, becomes: bytes) -> Harm:
    def harm(log: Places) -> None:
        lines = lines_of(log, day)
        assert was in lines[number]
        lines[number] = lines[number].replace(was, becomes)
        put(log, day, lines)

    return harm


D = ["2026-11-23.jsonl", "2026-11-24.jsonl", "2026-11-25.jsonl"]
HARMS: dict[str, tuple[Harm, str, int | None, int | None, str]] = {
    # what is done: (how, file, line, seq, what is said)
    "edited": (text(1, 3, b'"n":3', b'"n":4'), D[1], 4, 15, "this line was changed: its hash does not hold"),
    "spaced": (text(1, 3, b'"n":3', b'"n": 3'), D[1], 4, 15, "not in canonical form"),
    "emptied": (text(1, 3, b'{"', b""), D[1], 4, 15, "not JSON of an entry"),
    "edited and hashed": (edit(1, 3, n=4), D[1], 5, 16, "entry 15, or this one, was changed and hashed again"),
    "first edited": (edit(0, 0, log="ab"), D[0], 2, 1, "entry 0, or this one"),
    "last edited": (edit(2, 11, n=4), D[2], 8, 31, "entries 31 to 35, something was changed and all hashed again"),
    "rewritten": (rewrite(1, 3), D[1], 1, 12, "entries 12 to 18, something was changed and all hashed again"),
    "rewritten later": (rewrite(1, 10), D[1], 8, 19, "entries 19 to 23"),
    "removed line": (drop(1, 3), D[1], 4, 15, "entry 15 is missing before this line: lines were removed"),
    "removed lines": (drop(1, 3, 4, 5), D[1], 4, 15, "entries 15 to 17 are missing"),
    "removed first": (drop(0, 0), D[0], 1, 0, "entry 0 is missing before 2026-11-23"),
    "removed first of a day": (drop(1, 0), D[1], 1, 12, "missing between 2026-11-23 and 2026-11-24"),
    "removed last of a day": (drop(0, 11), D[1], 1, 11, "entry 11 is missing between 2026-11-23 and 2026-11-24"),
    "reordered": (reorder(1, 0, 1, 3, 2, *range(4, 12)), D[1], 3, 14, "entry 15 stands before entry 14"),
    "doubled": (reorder(1, 0, 1, 1, *range(2, 12)), D[1], 3, 14, "a line was inserted or moved"),
    "inserted": (insert(1, 3), D[1], 5, 16, "entry 15 stands here after entry 15"),
    "cut": (
        drop(2, 9, 10, 11),
        D[2],
        9,
        33,
        "the end was cut: the head signed on 2026-11-25T12:00:35.000Z counts 36",
    ),
    "day gone": (lambda log: path_of(log, 1).unlink(), D[2], 1, 12, "files of whole days were removed"),
    "first day gone": (lambda log: path_of(log, 0).unlink(), D[1], 1, 0, "entries 0 to 11 are missing before"),
    "last day gone": (lambda log: path_of(log, 2).unlink(), D[1], 12, 24, "or whole days after it"),
    "emptied day": (lambda log: path_of(log, 2).write_bytes(b""), D[2], None, 24, "the end was cut"),
    "emptied middle": (lambda log: path_of(log, 1).write_bytes(b""), D[2], 1, 12, "are missing between"),
    "torn middle": (lambda log: path_of(log, 1).write_bytes(path_of(log, 1).read_bytes()[:-1]), D[1], 12, 23, "cut"),
    "renamed": (
        lambda log: path_of(log, 2).rename(day_path(log.folder, "2026-12-31")),
        "2026-12-31.jsonl",
        1,
        24,
        "this entry, of 2026-11-25, is not in the file of its day",
    ),
    "no heads": (lambda log: shutil.rmtree(log.heads), "heads.jsonl", None, None, "no signed head of this log"),
    "forged purge": (
        lambda log: (log.folder / "purged.jsonl").write_text('{"kind":"limpide.log.purged"}\n'),
        "purged.jsonl",
        1,
        None,
        "does not hold",
    ),
}


@pytest.mark.parametrize("name", list(HARMS))
def test_what_was_done_is_found_and_its_place_is_named(log: Places, name: str) -> None:
    harm, file, line, seq, said = HARMS[name]
    assert verdict(log).intact
    harm(log)
    found = verdict(log)
    assert not found.intact
    damage = found.damage
    assert damage is not None
    assert (damage.file, damage.line, damage.seq) == (file, line, seq), damage
    assert said in damage.what
    assert str(damage).startswith(file)


def test_a_whole_log_verifies(log: Places) -> None:
    found = verdict(log)
    assert (found.intact, found.first, found.end, found.days) == (
        True,
        0,
        36,
        ("2026-11-23", "2026-11-24", "2026-11-25"),
    )
    assert (found.covered, found.covered_at, found.notes) == (36, "2026-11-25T12:00:35.000Z", ())
    assert found.heads == len(heads_path(log.heads).read_text().splitlines())


def test_what_no_head_counts_can_be_rewritten_and_the_verdict_says_how_much(log: Places) -> None:
    """The honest limit, and how a head that was kept elsewhere moves it."""
    heads = heads_path(log.heads)
    kept = log.folder.parent / "kept.jsonl"
    kept.write_bytes(heads.read_bytes().splitlines(keepends=True)[-1])
    heads.write_bytes(b"".join(heads.read_bytes().splitlines(keepends=True)[:-1]))
    rewrite(2, 9)(log)
    found = verdict(log)
    assert (found.intact, found.covered, found.end) == (True, 31, 36)
    assert "since the last head that is held elsewhere" in LIMIT
    kept.write_bytes(kept.read_bytes().rstrip())  # as it is when it was copied by hand
    held = verdict(log, kept)
    assert held.damage is not None
    assert (held.damage.file, held.damage.line, held.damage.seq) == (D[2], 8, 31)
    drop(2, 8, 9, 10, 11)(log)
    assert verdict(log).intact
    assert "the end was cut" in str(verdict(log, kept).damage)


def test_a_head_that_was_changed_or_is_of_another_key_is_named(log: Places, tmp_path: Path) -> None:
    path = heads_path(log.heads)
    lines = path.read_text().splitlines(keepends=True)
    for harm, said in (
        (lines[1].replace('"tree_size":8', '"tree_size":9'), "signature does not hold"),
        (lines[1].replace('"kind":"limpide.log.head"', '"kind":"limpide.log.purged"'), "not a record of the kind"),
        ("{}\n", "not a record of the kind"),
        ("{\n", "not a signed record"),
        (lines[1].replace('"at"', ' "at"'), "canonical"),
        (json.dumps({**json.loads(lines[1]), "key_id": "ab"}) + "\n", "signed by another key, ab"),
        (json.dumps({**json.loads(lines[1]), "signature": "?"}) + "\n", "not a signed record"),
    ):
        path.write_text(lines[0] + harm + "".join(lines[2:]))
        damage = verdict(log).damage
        assert damage is not None
        assert (damage.file, damage.line) == ("heads.jsonl", 2)
        assert said in damage.what
    path.write_text("".join(lines))
    other = new_keys(tmp_path / "other.pem")
    damage = verify(log.folder, other.public, log.heads).damage
    assert damage is not None
    assert "signed by another key" in damage.what
    shutil.rmtree(log.heads)
    damage = verify(log.folder, other.public, log.heads).damage
    assert damage is not None
    assert (damage.file, damage.line, damage.seq) == (D[0], 1, 0)
    assert "the log was begun with another key" in damage.what


def test_two_signed_heads_that_disagree_do_not_pass(log: Places) -> None:
    """Whoever holds the key signs a second story: the first one still speaks."""
    rewrite(1, 3)(log)
    from limpide.release.keys import load_private

    path = heads_path(log.heads)
    last = Head(**{k: v for k, v in json.loads(path.read_text().splitlines()[-1]).items() if k != "kind"})
    forged = replace(last, root="00" * 32, signature="")
    forged = replace(forged, signature=signature(forged.record(), load_private(log.key)))
    with path.open("a") as file:
        file.write(json.dumps(forged.record(), sort_keys=True, separators=(",", ":")) + "\n")
    damage = verdict(log).damage
    assert damage is not None
    assert damage.seq == 12


def test_verifying_while_entries_are_added_and_without_the_right_to_write(log: Places) -> None:
    clock = Clock(now=NOON + 10 * 86_400)
    with clock.open(log.folder.parent) as writer:
        writer.append("answer")
        assert (verdict(log).intact, verdict(log).covered, verdict(log).end) == (True, 36, 37)
        before = {path: path.read_bytes() for path in log.folder.rglob("*.jsonl")}
        verdict(log)
        assert {path: path.read_bytes() for path in log.folder.rglob("*.jsonl")} == before
    (log.folder / "lock").unlink()
    assert verdict(log).intact
    assert not (log.folder / "lock").exists()


def test_a_half_line_at_the_end_is_told_and_is_no_damage(log: Places) -> None:
    with path_of(log, 2).open("ab") as file:
        file.write(b'{"at":"20')
    found = verdict(log)
    assert found.intact
    assert "2026-11-25.jsonl ends in 9 bytes of a line that was not written whole" in found.notes[0]


def test_where_there_is_no_log_or_no_key(log: Places, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="There is no request log in"):
        verify(tmp_path / "nowhere", log.public, log.heads)
    with pytest.raises(MissingError, match="no file of heads at"):
        verdict(log, tmp_path / "none.jsonl")
    with pytest.raises(MissingError, match="no public key"):
        verify(log.folder, tmp_path / "none.pub", log.heads)
    with pytest.raises(UsageError, match="private key"):
        verify(log.folder, log.key, log.heads)


def test_a_log_that_was_only_begun(tmp_path: Path) -> None:
    with Clock().open(tmp_path) as log:
        pass
    found = verdict(log.places)
    assert (found.intact, found.end, found.before) == (True, 1, FIRST_PREV)
