"""Properties of the data room that hold for every input."""

import csv
import json
import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from limpide.core.errors import DataError
from limpide.data.duplicates import Links, find_duplicates, near_pairs, normalise, similarity
from limpide.data.examples import Example, Message, load_examples, save_examples
from limpide.data.personal import find_personal, luhn_is_valid, mask_personal
from limpide.data.reading import read_examples
from limpide.data.rows import CONTROL
from limpide.data.splits import SplitSettings, split

# --- strategies ---

WORDS = "open the main guard valve of press pump now slowly please before after shift oil"
spoken = st.text(min_size=1, max_size=40).filter(lambda t: t.strip() and not CONTROL.search(t))
label = st.none() | st.sampled_from(["pump", "valve", "arrêt", "E-104"])
word = st.sampled_from(WORDS.split())
question = st.lists(word, min_size=1, max_size=8).map(" ".join)


@st.composite
def conversations(draw: st.DrawFn, question: st.SearchStrategy[str] = spoken) -> list[Example]:
    rows = []
    for number in range(draw(st.integers(2, 14))):
        messages = [Message(role="user", content=draw(question)), Message(role="assistant", content=draw(spoken))]
        if draw(st.booleans()):
            messages.insert(0, Message(role="system", content=draw(spoken)))
        more = {name: draw(label) for name in ("topic", "group")}
        more["language"] = draw(st.sampled_from([None, "en", "fr"]))
        rows.append(Example(id=f"r{number}", messages=tuple(messages), source=f"f.jsonl:{number + 1}", **more))
    return rows


# --- reading ---


@given(conversations())
@settings(deadline=None)
def test_saved_examples_load_equal(rows: list[Example]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save_examples(Path(folder) / "a.jsonl", rows)
        assert load_examples(Path(folder) / "a.jsonl") == rows


@given(conversations(), st.sampled_from(["jsonl", "json", "csv"]), st.sampled_from([",", ";", "\t"]))
@settings(deadline=None)
def test_what_is_dumped_is_what_is_read(rows: list[Example], kind: str, delimiter: str) -> None:
    last = (Message(role="user", content="The last row differs."), Message(role="assistant", content="Yes."))
    rows = [*rows, Example(id="last", messages=last, source="")]
    names = ["id", "topic", "group", "language", "system", "prompt", "answer"]
    table = [[r.id, r.topic or "", r.group or "", r.language or "", r.system, r.question, r.answer] for r in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{kind}"
        if kind == "csv":
            with path.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, delimiter=delimiter).writerows([names, *table])
        else:
            objects = [dict(zip(names, cells, strict=True)) for cells in table]
            lines = [json.dumps(o, ensure_ascii=False) for o in objects]
            path.write_text(
                "\n".join(lines) if kind == "jsonl" else f"[{','.join(lines)}]", encoding="utf-8", newline=""
            )
        read = read_examples(path).examples
    assert [r.model_dump(exclude={"source"}) for r in read] == [r.model_dump(exclude={"source"}) for r in rows]


@given(st.binary(max_size=300), st.sampled_from(["jsonl", "json", "csv"]))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes, kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{kind}"
        path.write_bytes(data)
        try:
            read_examples(path)
        except DataError as error:
            said = error.record()
            assert said["what"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["messages", "prompt", "answer", "role", "content", "id", "split", "system"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=6), st.sampled_from(["jsonl", "json"]), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_json_is_read_or_refused_and_every_row_is_accounted_for(rows: list[object], kind: str, skip: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{kind}"
        path.write_text(json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows)))
        try:
            reading = read_examples(path, skip_bad_rows=skip)
        except DataError:
            return
    assert reading.rows == len(rows)
    assert reading.rows == len(reading.examples) + len({fault.line for fault in reading.faults}) or kind == "json"


# --- duplicates ---


@given(st.text(max_size=60))
@settings(deadline=None)
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@given(st.lists(question, min_size=2, max_size=25), st.sampled_from([0.5, 0.7, 0.8, 0.95, 1.0]))
@settings(deadline=None)
def test_near_duplicates_are_those_of_the_definition(texts: list[str], threshold: float) -> None:
    fast, slow = Links(len(texts)), Links(len(texts))
    for a, b in near_pairs(texts, threshold):
        assert similarity(texts[a], texts[b]) >= threshold - 1e-9
        fast.join(a, b)
    for b in range(len(texts)):
        for a in range(b):
            if similarity(texts[a], texts[b]) >= threshold - 1e-9:
                slow.join(a, b)
    assert fast.groups() == slow.groups()


# --- splits ---


@given(conversations(question), st.integers(0, 5), st.sampled_from([0.0, 0.3]), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_a_split_is_a_partition_without_leaks_whatever_the_order(
    rows: list[Example], seed: int, unseen: float, random: object
) -> None:
    chosen = SplitSettings(held_out=0.3, unseen_topics=unseen)
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    try:
        parts = split(rows, chosen, seed)
    except DataError:
        try:
            split(shuffled, chosen, seed)
        except DataError:
            return
        raise AssertionError("refused in one order only") from None
    names = ("train", "held_out", "unseen")
    side = {row.id: name for name in names for row in getattr(parts, name)}
    assert sum(len(getattr(parts, name)) for name in names) == len(rows) == len(side)
    assert parts.train
    assert parts.held_out
    again = split(shuffled, chosen, seed)
    assert {row.id: name for name in names for row in getattr(again, name)} == side
    for group in find_duplicates(rows, chosen.near_duplicate).together:
        assert len({side[rows[i].id] for i in group}) == 1
    for name in {row.group for row in rows} - {None}:
        assert len({side[row.id] for row in rows if row.group == name}) == 1
    kept_out = {row.topic for row in parts.unseen}
    assert not kept_out & {row.topic for row in (*parts.train, *parts.held_out)}
    assert {row.topic for row in parts.held_out} <= {row.topic for row in parts.train}


# --- personal data ---

digits = st.text("0123456789", min_size=1, max_size=1)
noise = st.text("abé @.+-0123456789FR()/\n\u00a0", max_size=25)


def iban(country: str, body: str) -> str:
    moved = "".join(str(int(c, 36)) for c in f"{body}{country}00")
    return f"{country}{98 - int(moved) % 97:02}{body}"


def nir(sex: str, year: int, month: int, department: str, rest: int) -> str:
    number = f"{sex}{year:02}{month:02}{department}{rest:06}"
    return f"{number}{97 - int(number.replace('2A', '19').replace('2B', '18')) % 97:02}"


def card(start: str) -> str:
    return next(start + d for d in "0123456789" if luhn_is_valid(start + d))


ibans = st.builds(
    iban,
    st.just("FR"),
    st.text("0123456789", min_size=10, max_size=10).flatmap(
        lambda bank: st.text("0123456789ABCXYZ", min_size=11, max_size=11).map(lambda account: f"{bank}{account}42")
    ),
)
nirs = st.builds(
    nir,
    st.sampled_from("12"),
    st.integers(0, 99),
    st.integers(1, 12),
    st.sampled_from(["01", "75", "2A", "2B", "99"]),
    st.integers(1000, 999_999),
)
cards = st.builds(card, st.text("0123456789", min_size=14, max_size=14).map(lambda d: f"4{d}"))
emails = st.builds(
    "{}@{}.org".format, st.text("abcz09.", min_size=1, max_size=9), st.text("abcz", min_size=1, max_size=9)
)
phones = st.builds("0{}{}".format, st.integers(1, 9), st.lists(digits, min_size=8, max_size=8).map("".join)).map(
    lambda n: " ".join(n[i : i + 2] for i in range(0, 10, 2))
)
values = {"iban": ibans, "nir": nirs, "card": cards, "email": emails, "phone": phones}
personal = st.one_of(*values.values())


@given(st.lists(noise | personal, max_size=6), st.sampled_from(["", " ", ", "]))
@settings(max_examples=400, deadline=None)
def test_masking_removes_what_is_found(pieces: list[str], between: str) -> None:
    text = between.join(pieces)
    found = find_personal(text)
    assert all(text[f.start : f.end] == f.text for f in found)
    assert all(a.end <= b.start for a, b in pairwise(found))
    masked, counts = mask_personal(text)
    assert find_personal(masked) == []
    assert counts.total() >= len(found)
    assert (masked == text) == (not found)


@given(st.data())
@settings(deadline=None)
def test_a_value_is_found_and_with_one_digit_changed_it_is_not(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["iban", "nir", "card"]))
    value = data.draw(values[kind])
    assert [f.kind for f in find_personal(f"Here: {value}.")] == [kind]
    at = data.draw(st.sampled_from([i for i, c in enumerate(value) if c.isdigit()]))
    other = data.draw(st.sampled_from([d for d in "0123456789" if d != value[at]]))
    changed = f"{value[:at]}{other}{value[at + 1 :]}"
    assert kind not in {f.kind for f in find_personal(f"Here: {changed}.")}


@given(personal, st.sampled_from(["", "Here: ", "(", "«\u00a0"]), st.sampled_from(["", ".", ", thanks", ")", "\n"]))
@settings(deadline=None)
def test_values_are_found_in_a_sentence(value: str, before: str, after: str) -> None:
    assert len(find_personal(f"{before}{value}{after}")) == 1
