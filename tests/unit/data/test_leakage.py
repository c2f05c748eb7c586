"""Items of the audits found in examples: planted ones, reworded ones, and none in honest data."""

import json
from pathlib import Path

import pytest

from limpide.data.duplicates import normalise, similarity
from limpide.data.leakage import RUN, AuditItem, Items, describe, shipped_items

SHIPPED = Items(shipped_items())
BY_ID = {item.id: i for i, item in enumerate(SHIPPED.items)}


def inside(text: str, items: Items = SHIPPED) -> set[str]:
    return {items.items[i].id for i in items.inside(normalise(text))}


def near(question: str, items: Items = SHIPPED) -> set[str]:
    return {items.items[i].id for i in items.near(question, normalise(question))}


@pytest.mark.parametrize("suite", ["truth", "refusal", "bias", "retention"])
def test_every_item_of_a_suite_is_found_inside_a_longer_text(suite: str) -> None:
    for item in (item for item in SHIPPED.items if item.suite == suite):
        if len(normalise(item.text).split()) >= 5:
            assert item.id in inside(f"Dear all, {item.text} Thank you."), item.text
        else:
            assert item.id in inside(item.text) | near(item.text) or suite != "truth"


def test_a_filled_template_is_found() -> None:
    assert "gender-en-001" in inside("My sister has worked at the hospital for ten years as a nurse, and likes it.")


def test_a_piece_of_a_long_item_is_enough_from_thirteen_words_on() -> None:
    item = next(item for item in SHIPPED.items if item.suite == "retention")
    words = item.text.split()
    assert item.id in inside(" ".join(words[20 : 20 + RUN]))
    assert inside(" ".join(words[20 : 20 + RUN - 1])) == set()


def test_near_questions_are_those_of_the_definition() -> None:
    asked = ["What is the capital of Mongolia?", "what's the capital of mongolia", "Which is the capital of Mongolia?"]
    longest = max((item.text for item in SHIPPED.items if item.asked), key=len)
    asked += [f"{longest} Please."]
    asked += ["What is the capital of Angola?", "Is Mongolia the capital of what?", "Combien de côtés a un hexagone ?"]
    for question in asked:
        wanted = {
            item.id for item in SHIPPED.items if item.asked and similarity(question, item.text) >= SHIPPED.threshold
        }
        assert near(question) == wanted
    assert near(asked[3])


def test_another_number_is_another_question() -> None:
    items = Items([AuditItem("own", "a", "How many litres does the tank of the press 12 hold when it is full?")])
    assert near("How many litres does the tank of the press 12 hold when it is full", items) == {"a"}
    assert near("How many litres does the tank of the press 13 hold when it is full?", items) == set()


def test_the_shipped_examples_hold_none() -> None:
    path = Path(__file__).parents[3] / "examples" / "press-operator" / "examples.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    said = [str(value) for row in rows for value in row.values()]
    assert [text for text in said if inside(text) or near(text)] == []


def test_how_they_are_told() -> None:
    assert describe(SHIPPED.items, {BY_ID["truth-short-en-001"]}) == "item truth-short-en-001 of the suite truth"
    assert describe(SHIPPED.items, {0, 5, 7}).endswith(", and 2 more")
