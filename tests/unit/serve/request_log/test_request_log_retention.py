"""Days that go, texts that are erased, and receipts: what is left still adds up."""

import json
from pathlib import Path
from typing import Any

import pytest

from limpide.core.errors import IntegrityError, UsageError
from limpide.release.keys import PublicKey, load_public, new_keys
from limpide.serve.request_log import retention
from limpide.serve.request_log.places import Places, days, heads_path
from limpide.serve.request_log.read import Wanted, find, read
from limpide.serve.request_log.receipts import check_receipt, held_head, receipt
from limpide.serve.request_log.retention import due, erase, match, purge
from limpide.serve.request_log.texts import kept
from request_logs import DAY, NOON, Clock, lines_of, path_of, put, verdict, written

LATER = "2027-06-01"  # 190 days after the first day, 188 after the third


def later() -> Clock:
    return Clock(now=NOON + 190 * DAY)


def public(where: Places) -> PublicKey:
    return load_public(where.public)


def test_days_go_when_their_time_is_over_and_the_last_one_stays(tmp_path: Path) -> None:
    where = written(tmp_path)
    assert due(where.folder, "2027-05-25") == []  # 183 days after the first
    assert due(where.folder, "2027-05-26") == ["2026-11-23"]
    assert due(where.folder, "2030-01-01") == ["2026-11-23", "2026-11-24"]


def test_what_remains_after_a_purge_still_verifies(tmp_path: Path) -> None:
    where = written(tmp_path, days=5)
    before = verdict(where)
    with later().open(tmp_path) as log:
        assert purge(log, "2027-05-27") == ["2026-11-23", "2026-11-24"]
        log.append("answer")
        assert purge(log, "2027-05-28") == ["2026-11-25"]
        assert purge(log, "2027-05-28") == []
    assert days(where.folder) == ["2026-11-26", "2026-11-27", "2027-06-01"]
    assert sorted(path.stem for path in (where.folder / "keys").iterdir()) == ["2026-11-26", "2026-11-27"]
    after = verdict(where)
    assert (after.damage, after.first, after.log) == (None, 36, before.log)
    assert 4 <= after.heads < before.heads + 4
    told = [e.facts for e in read(where.folder, Wanted(event="retention.purge"))]
    assert told == [
        {"first": "2026-11-23", "last": "2026-11-24", "days": 2, "keep_days": 183, "why": None},
        {"first": "2026-11-25", "last": "2026-11-25", "days": 1, "keep_days": 183, "why": None},
    ]
    with pytest.raises(UsageError, match="The log has no entry 3"):
        find(where.folder, 3)
    (where.folder / "tree.json").unlink()
    with later().open(tmp_path) as log:
        assert log.append("answer").seq == after.end
    assert verdict(where).intact


def test_after_a_purge_damage_is_found_as_before(tmp_path: Path) -> None:
    where = written(tmp_path, days=4)
    with later().open(tmp_path) as log:
        purge(log, "2027-05-27")
    lines = lines_of(where, 0)
    put(where, 0, lines[:3] + lines[4:])
    damage = verdict(where).damage
    assert damage is not None
    assert (damage.file, damage.line, damage.seq) == ("2026-11-25.jsonl", 4, 27)
    path_of(where, 0).unlink()
    assert "entries 24 to 35 are missing before 2026-11-26" in str(verdict(where).damage)


@pytest.mark.parametrize("number", [0, 1])
def test_the_record_of_a_purge_cannot_be_left_out_or_changed(tmp_path: Path, number: int) -> None:
    where = written(tmp_path, days=4)
    with later().open(tmp_path) as log:
        purge(log, "2027-05-27")
    path = where.folder / "purged.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for i, line in enumerate(lines) if i != number))
    assert "missing" in str(verdict(where).damage)
    path.write_text("".join(line.replace('"first":', '"first":1') for line in lines))
    assert "signature does not hold" in str(verdict(where).damage)
    path.unlink()
    assert "entries 0 to 23 are missing before 2026-11-25" in str(verdict(where).damage)


def test_a_purge_that_was_stopped_is_finished_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = written(tmp_path, days=4)
    with later().open(tmp_path) as log, monkeypatch.context() as patch:
        patch.setattr(retention, "_remove", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            purge(log, "2027-05-27")
    found = verdict(where)
    assert found.intact
    assert "2026-11-23.jsonl was purged and is still there" in found.notes[0]
    (where.folder / "tree.json").unlink()
    with later().open(tmp_path) as log:
        log.append("answer")
        assert purge(log, "2027-05-27") == ["2026-11-24"]
    found = verdict(where)
    assert (found.intact, found.notes, found.first) == (True, (), 24)


def test_a_log_that_does_not_verify_is_not_purged(tmp_path: Path) -> None:
    where = written(tmp_path, days=4)
    put(where, 1, lines_of(where, 1)[1:])
    with later().open(tmp_path) as log, pytest.raises(IntegrityError, match="a purge would hide it") as error:
        purge(log, LATER)
    assert "2026-11-24.jsonl:1" in str(error.value)
    assert len(days(where.folder)) == 4


@pytest.mark.parametrize("why", [None, "", "  "])
def test_less_than_six_months_needs_a_reason_which_is_logged(tmp_path: Path, why: str | None) -> None:
    where = written(tmp_path)
    with later().open(tmp_path) as log:
        with pytest.raises(UsageError, match="less than the six months that the AI Act asks for") as error:
            purge(log, LATER, keep_days=30, why=why)
        assert "30 days" in str(error.value)
        with pytest.raises(UsageError, match="kept until it is over"):
            purge(log, LATER, keep_days=0, why="never")
        assert len(purge(log, LATER, keep_days=30, why="the data-protection officer asks")) == 2
    (entry,) = read(where.folder, Wanted(event="retention.purge"))
    assert entry.facts["why"] == "the data-protection officer asks"


def test_a_text_is_matched_to_the_byte_until_its_key_is_erased(tmp_path: Path) -> None:
    where = written(tmp_path)
    assert match(where.folder, 14, "question 2") == retention.Matched(
        14, "2026-11-24T12:00:14.000Z", "matches", ("prompt",)
    )
    assert match(where.folder, 14, "an answer").labels == ("output",)
    assert match(where.folder, 14, "question 2 ").state == "differs"
    assert match(where.folder, 14, "question 3").state == "differs"
    assert match(where.folder, 0, "x").state == "no text"
    with later().open(tmp_path) as log:
        assert erase(log, seq=14, why="asked for") == 1
        assert erase(log, seq=14) == 0
    assert match(where.folder, 14, "question 2").state == "erased"
    assert match(where.folder, 15, "question 3").state == "matches"
    assert verdict(where).intact
    facts = next(e.facts for e in read(where.folder, Wanted(event="text.erase")))
    assert facts == {"day": "2026-11-24", "entry": 14, "keys": 1, "why": "asked for"}


def test_the_keys_of_a_day_are_erased_while_another_process_adds_to_it(tmp_path: Path) -> None:
    clock = Clock()
    with clock.open(tmp_path) as adds, clock.open(tmp_path) as erases:
        one = adds.append("answer", texts={"prompt": "a"})
        assert erase(erases, day="2026-11-23") == 1
        two = adds.append("answer", texts={"prompt": "a"})
    folder = adds.places.folder
    assert (match(folder, one.seq, "a").state, match(folder, two.seq, "a").state) == ("erased", "matches")
    assert kept(folder, "2026-11-23") == {two.seq}
    assert kept(folder, "2026-11-24") == set()
    assert b"0" * 64 in (folder / "keys" / "2026-11-23.jsonl").read_bytes()


def test_only_a_day_of_the_log_can_be_erased(tmp_path: Path) -> None:
    written(tmp_path, 1)
    with later().open(tmp_path) as log:
        for day in ("2020-01-01", "../../x", None):
            with pytest.raises(UsageError, match="no such day"):
                erase(log, day=day)
        with pytest.raises(UsageError, match="no entry 900"):
            erase(log, seq=900)


def test_every_entry_has_a_receipt_that_shows_it_alone(tmp_path: Path) -> None:
    where = written(tmp_path)
    for seq in range(36):
        made = json.loads(json.dumps(receipt(where, public(where), seq)))
        shown = check_receipt(made, public(where))
        assert (shown.entry.seq, shown.head.tree_size, shown.held) == (seq, 36, None)


def test_receipts_after_a_purge_and_from_a_head_that_was_held(tmp_path: Path) -> None:
    where = written(tmp_path, days=4)
    old = heads_path(where.heads).read_text().splitlines(keepends=True)
    with later().open(tmp_path) as log:
        purge(log, "2027-05-27")
    held = tmp_path / "held.jsonl"
    linked = 0
    for line in old:
        held.write_text(line)
        head = held_head(held, public(where))
        if head.tree_size in (1, 19):  # the others end where a subtree that is left does
            with pytest.raises(UsageError, match="within a day that was purged"):
                receipt(where, public(where), 30, head)
            continue
        shown = check_receipt(receipt(where, public(where), 30, head), public(where))
        assert shown.held == head
        linked += 1
    assert linked == len(old) - 2 >= 6


def broken(made: dict[str, Any], **parts: object) -> dict[str, Any]:
    return {**made, **parts}


def test_a_receipt_that_was_changed_does_not_hold(tmp_path: Path) -> None:
    where = written(tmp_path)
    held = held_head(heads_path(where.heads), public(where))
    first = tmp_path / "first.jsonl"
    first.write_text(heads_path(where.heads).read_text().splitlines(keepends=True)[1])
    held = held_head(first, public(where))
    made, other = (receipt(where, public(where), seq, held) for seq in (5, 6))
    for wrong, said in (
        (broken(made, entry={**made["entry"], "n": 99}), "hash"),
        (broken(made, entry=other["entry"]), "path does not lead"),
        (broken(made, path=other["path"]), "path does not lead"),
        (broken(made, path=made["path"][:-1]), "path does not lead"),
        (broken(made, path=["zz"]), "a part of it"),
        (broken(made, path=[7]), "a part of it"),
        (broken(made, head={**made["head"], "tree_size": 35}), "signature"),
        (broken(made, consistency=made["consistency"][:-1]), "does not continue"),
        ({name: part for name, part in made.items() if name != "head"}, "a part of it"),
    ):
        with pytest.raises(IntegrityError, match="receipt does not hold") as error:
            check_receipt(wrong, public(where))
        assert said in str(error.value)
    with pytest.raises(IntegrityError, match="receipt does not hold") as error:
        check_receipt(made, load_public(new_keys(tmp_path / "other.pem").public))
    assert "another key" in str(error.value)
    with pytest.raises(UsageError, match="not a receipt"):
        check_receipt({"kind": "limpide.log.head"}, public(where))


def test_a_receipt_needs_a_head_and_a_log_that_agrees_with_it(tmp_path: Path) -> None:
    where = written(tmp_path / "a", 2)
    other = written(tmp_path / "b", 4)
    with later().open(tmp_path / "a") as log:
        entry = log.append("answer")
        with pytest.raises(UsageError, match=f"No signed head counts entry {entry.seq} yet"):
            receipt(where, public(where), entry.seq)
    with pytest.raises(IntegrityError, match="not one of this log"):
        receipt(where, public(where), 3, held_head(heads_path(other.heads), public(other)))
    lines = lines_of(where, 1)
    put(where, 1, lines[:-1])
    with pytest.raises(IntegrityError, match="not the one that its last head was signed of"):
        receipt(where, public(where), 3)


def test_a_file_without_a_head_or_with_a_wrong_one_is_no_head(tmp_path: Path) -> None:
    where = written(tmp_path, 1)
    empty = tmp_path / "empty"
    empty.write_text("")
    with pytest.raises(UsageError, match="There is no head in"):
        held_head(empty, public(where))
    empty.write_text("{}\n")
    with pytest.raises(IntegrityError, match="line 1"):
        held_head(empty, public(where))


def test_reading_from_the_end_and_by_what_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from limpide.serve.request_log import places

    where = written(tmp_path)
    whole = list(read(where.folder))
    assert [e.seq for e in whole] == list(range(36))
    for chunk in (7, 100, 1 << 16):
        monkeypatch.setattr(places, "CHUNK", chunk)
        for last in (1, 11, 12, 13, 36, 50):
            assert list(read(where.folder, last=last)) == whole[-last:]
    day = Wanted(since="2026-11-24", until="2026-11-25", event="ans*", key="k1")
    assert [e.seq for e in read(where.folder, day)] == list(range(12, 24))
    assert [e.seq for e in read(where.folder, day, last=2)] == [22, 23]
    assert list(read(where.folder, Wanted(key="k2"))) == []
    assert [e.seq for e in read(where.folder, Wanted(event="log.start"))] == [0]
    assert find(where.folder, 12)[0] == "2026-11-24"
    put(where, 1, [b"{}", *lines_of(where, 1)])
    with pytest.raises(IntegrityError, match=r"a line of 2026-11-24\.jsonl does not hold"):
        list(read(where.folder))
