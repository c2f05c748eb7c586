import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpide.core import digests

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text().filter(str.isprintable), JSON, min_size=2, max_size=4))
def test_order_of_keys_does_not_count(value: dict[str, object]) -> None:
    assert digests.of_value(value) == digests.of_value(dict(reversed(value.items())))


def test_values_that_differ_have_other_digests() -> None:
    values = [1, 1.5, "1", True, None, [], {}, [1], {"1": 1}, "é", "e\u0301"]
    assert len({digests.of_value(v) for v in values}) == len(values)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_say_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        digests.of_value(value)


def test_of_file_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digests.of_file(tmp_path / "a") == digests.of_bytes(b"abc") == hashlib.sha256(b"abc").hexdigest()


def test_of_folder_sees_bytes_names_and_depth_alone(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub" / "b").write_bytes(b"2")
        (tmp_path / folder / "a").write_bytes(b"1")
    same = digests.of_folder(tmp_path / "one")
    assert list(digests.of_files(tmp_path / "one")) == ["a", "sub/b"]
    assert digests.of_folder(tmp_path / "two") == same
    (tmp_path / "two" / "a").write_bytes(b"3")
    assert digests.of_folder(tmp_path / "two") != same
    (tmp_path / "one" / "a").rename(tmp_path / "one" / "c")
    assert digests.of_folder(tmp_path / "one") != same


def test_code_counts_sources_and_data_and_not_compiled_files(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    (room / "a.py").write_text("x = 1")
    before = digests.of_code(room)
    (room / "__pycache__").mkdir()
    (room / "__pycache__" / "a.pyc").write_bytes(b"\0")
    assert digests.of_code(room) == before
    (room / "probe.jsonl").write_text("{}")
    with_data = digests.of_code(room)
    (room / "a.py").write_text("x = 2")
    assert len({before, with_data, digests.of_code(room)}) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("audit-base", "audit-base"),
        ("Mon Modèle!", "mon-modele"),
        ("../..", "unnamed"),
        ("", "unnamed"),
        ("v1.0", "v1.0"),
    ],
)
def test_slug(text: str, expected: str) -> None:
    assert digests.slug(text) == expected


@given(st.text())
def test_a_slug_is_safe_in_any_file_system(text: str) -> None:
    slug = digests.slug(text)
    assert slug
    assert "/" not in slug
    assert slug[0] not in ".-"
    assert slug == digests.slug(slug)
