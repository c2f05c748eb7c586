"""Names of people: the rule, and its error rates on sentences that were not used to adjust it."""

import json
from pathlib import Path

import pytest

from limpide.data.names import Found, find_names, shortened, words

LABELLED = Path(__file__).with_name("names_labelled.jsonl")


def labelled(part: str) -> list[tuple[str, list[str]]]:
    rows = [json.loads(line) for line in LABELLED.read_text(encoding="utf-8").splitlines()]
    return [(row["text"], row["names"]) for row in rows if row["part"] == part]


def counts(rows: list[tuple[str, list[str]]]) -> tuple[int, int, int]:
    """(names found, taken for names and none, missed)."""
    right = wrong = missed = 0
    for text, names in rows:
        found = {one.text for one in find_names(text)}
        right += len(found & set(names))
        wrong += len(found - set(names))
        missed += len(set(names) - found)
    return right, wrong, missed


@pytest.mark.parametrize(("text", "names"), labelled("adjusted"))
def test_what_the_rule_was_made_for(text: str, names: list[str]) -> None:
    assert [found.text for found in find_names(text)] == names


def test_error_rates_are_those_the_module_says() -> None:
    rows = labelled("tried")
    assert len(rows) == 57
    assert counts(rows) == (27, 2, 8)  # finds 77 % of the names; 93 % of what it finds are names


def test_a_name_whole_and_its_kind() -> None:
    assert find_names("Écrivez à Jean-Luc de la Tour avant midi.") == [
        Found("full_name", 10, 29, "Jean-Luc de la Tour")
    ]
    (found,) = find_names("Merci Nathalie")
    assert (found.kind, shortened(found)) == ("first_name", "N…")


def test_no_word_is_in_two_kinds_of_the_list() -> None:
    kinds = [words(kind) for kind in ("plain", "word", "thing")]
    assert all(kinds)
    assert sum(map(len, kinds)) == len(frozenset.union(*kinds))
    assert words("verb") <= words("word")


def test_the_shipped_example_has_no_name() -> None:
    path = Path(__file__).parents[3] / "examples" / "press-operator" / "examples.jsonl"
    assert find_names(path.read_text(encoding="utf-8")) == []


def test_long_texts_take_linear_time() -> None:
    for text in ("Mr " * 10_000, "Jean " * 10_000, "A" * 200_000, "Jean-" * 10_000, "the " * 50_000, "D’" * 20_000):
        find_names(text)
