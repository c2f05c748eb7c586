"""A log: what was appended is read back, and a changed byte anywhere is found where it is."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from limpide.serve.request_log.entry import FIRST_PREV, Entry, fit, parsed, sealed
from limpide.serve.request_log.places import Places, backwards, days, forwards, heads_path, places
from limpide.serve.request_log.retention import purge
from limpide.serve.request_log.verify import verify
from request_logs import DAY, NOON, Clock, written

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FACTS = st.dictionaries(st.sampled_from(["a", "hash_of", "z", "model", "gate", "héros"]), JSON, max_size=4)


@cache
def state() -> Path:
    """A log of four days, of which the first was purged."""
    state.place = tempfile.TemporaryDirectory()  # type: ignore[attr-defined] # kept alive as long as the log
    folder = Path(state.place.name) / "state"  # type: ignore[attr-defined] # set on the line above
    written(folder, days=4, each=6)
    with Clock(now=NOON + 185 * DAY).open(folder) as log:
        assert purge(log, "2027-05-26") == ["2026-11-23"]
    return folder


@contextmanager
def copied() -> Iterator[Places]:
    with tempfile.TemporaryDirectory() as place:
        yield places(Path(shutil.copytree(state(), Path(place) / "state")))


@settings(max_examples=120, deadline=None)
@given(st.data(), st.integers(1, 255))
def test_a_changed_byte_anywhere_is_found_where_it_is(data: st.DataObject, flip: int) -> None:
    with copied() as log:
        files = [log.folder / f"{day}.jsonl" for day in days(log.folder)]
        path = data.draw(st.sampled_from([*files, heads_path(log.heads), log.folder / "purged.jsonl"]))
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1) | st.just(len(content) - 1))
        line = content[:place].count(b"\n") + 1
        last = place == len(content) - 1
        content[place] ^= flip
        path.write_bytes(content)
        found = verify(log.folder, log.public, log.heads)
        if last and path == heads_path(log.heads):  # as a kill leaves it, which is no damage
            assert any("heads.jsonl does not end in a whole line" in note for note in found.notes)
            return
        assert found.damage is not None
        if last and path == log.folder / "purged.jsonl":  # the days it stood for are missing now
            assert "missing before 2026-11-24" in found.damage.what
            return
        assert (found.damage.file, found.damage.line) == (path.name, line)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_cut_of_the_end_is_found(data: st.DataObject) -> None:
    with copied() as log:
        path = log.folder / f"{days(log.folder)[-1]}.jsonl"
        content = path.read_bytes()
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        damage = verify(log.folder, log.public, log.heads).damage
        assert damage is not None
        assert "cut: the head signed" in damage.what


@settings(max_examples=200, deadline=None)
@given(FACTS, st.integers(0, 2**40))
def test_what_is_sealed_is_canonical_and_is_read_back(facts: dict[str, Any], seq: int) -> None:
    entry = Entry(seq, "2026-11-23T12:00:00.000Z", "answer", fit(facts), {}, FIRST_PREV, "")
    line, digest = sealed(entry)
    read_back = parsed(line[:-1])
    assert read_back.hash == digest
    assert line[:-1] == rfc8785.dumps(read_back.record())
    assert read_back.facts == entry.facts


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.integers(1, 9))
def test_lines_are_the_same_from_both_ends(data: bytes, chunk: int) -> None:
    data = data.replace(b"\0", b"\n")
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "file"
        path.write_bytes(data)
        lines = [line for _, line in forwards(path, len(data))]
        assert lines == data.split(b"\n")[:-1]
        from limpide.serve.request_log import places as module

        was, module.CHUNK = module.CHUNK, chunk
        try:
            assert list(backwards(path, len(data))) == lines[::-1]
        finally:
            module.CHUNK = was
