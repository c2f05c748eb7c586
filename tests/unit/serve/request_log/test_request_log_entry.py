"""One line of the log: canonical, chained, and nothing a caller chose can break it."""

import hashlib
import json
import math

import pytest
import rfc8785

from limpide.core.errors import LimpideError
from limpide.serve.request_log.entry import (
    DEEPEST,
    FIRST_PREV,
    LONGEST,
    Entry,
    NotAnEntry,
    fit,
    parsed,
    sealed,
    seconds,
    stamp,
)


def line_of(**facts: object) -> bytes:
    return sealed(Entry(3, "2026-11-23T12:00:00.000Z", "answer", fit(facts), {"prompt": "ab"}, FIRST_PREV, ""))[0][:-1]


def test_a_line_is_the_canonical_form_of_its_record_and_its_hash_is_of_the_rest() -> None:
    line = line_of(zeta="last", alpha=[1, 0.5, None], hash_of="a fact that begins like it", tokens=3)
    record = json.loads(line)
    assert rfc8785.dumps(record) == line
    digest = record.pop("hash")
    assert hashlib.sha256(rfc8785.dumps(record)).hexdigest() == digest
    entry = parsed(line)
    assert (entry.seq, entry.event, entry.texts, entry.hash) == (3, "answer", {"prompt": "ab"}, digest)
    assert entry.record() == {**record, "hash": digest}


@pytest.mark.parametrize(
    ("was", "becomes", "why"),
    [
        (b'"tokens":3', b'"tokens":4', "hash"),
        (b'"tokens":3', b'"tokens": 3', "canonical"),
        (b'"tokens":3', b'"tokens":3.0', "canonical"),
        (b'"tokens":3', b'"tokens":3,"tokens":3', "canonical"),
        (b'"v":1', b'"v":2', "version"),
        (b'"seq":3', b'"seq":"3"', "version"),
        (b'"prev":"00', b'"prev":["00"],"q":"', "version"),
        (b'"at"', b'"as"', "JSON of an entry"),
        (b"answer", b"answ\xffr", "JSON of an entry"),
        (b"}", b"", "JSON of an entry"),
        (b'"tokens":3', b'"tokens":' + b"[" * 9000 + b"]" * 9000, "JSON of an entry"),
    ],
)
def test_a_line_that_was_changed_is_none(was: bytes, becomes: bytes, why: str) -> None:
    line = line_of(tokens=3)
    assert was in line
    with pytest.raises(NotAnEntry, match=why):
        parsed(line.replace(was, becomes, 1))


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b"17", b'"x"'])
def test_what_is_no_object_is_no_entry(line: bytes) -> None:
    with pytest.raises(NotAnEntry):
        parsed(line)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("x" * 5000, "x" * (LONGEST - 1) + "…"),
        ("half a pair \ud800", "half a pair ?"),
        (2**70, str(2**70)),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        ({"a": (1, 2)}, {"a": [1, 2]}),
        ({1: None}, {"1": None}),
        (ValueError("an object"), "an object"),
        (True, True),
        (1e-7, 1e-7),
        (1e22, "1e+22"),
        (2.0**53, "9007199254740992.0"),
    ],
)
def test_a_fact_that_json_cannot_hold_is_made_to_fit(given: object, kept: object) -> None:
    assert parsed(line_of(fact=given)).facts["fact"] == kept


def test_a_fact_of_endless_depth_ends() -> None:
    endless: list[object] = []
    endless.append(endless)
    depth, inner = 0, parsed(line_of(fact=endless)).facts["fact"]
    while isinstance(inner, list):
        depth, inner = depth + 1, inner[0]
    assert depth == DEEPEST


def test_a_fact_cannot_take_a_name_of_the_entry() -> None:
    with pytest.raises(LimpideError, match="can be called prev"):
        fit({"prev": "x"})


@pytest.mark.parametrize("when", [0.0, 1_795_435_200.999, 1_795_435_199.9996])
def test_times_are_utc_to_the_millisecond(when: float) -> None:
    assert 0 <= when - seconds(stamp(when)) < 0.001001
    assert len(stamp(when)) == 24
