"""What a charter teaches: every pair breaks exactly the rule it is for, and what is audited is not taught."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from limpide.core import files
from limpide.data import charter_pairs
from limpide.data.charter import Charter, load_charter
from limpide.data.charter_pairs import Made, make, said_of
from limpide.data.charter_rules import breaks
from limpide.data.duplicates import similarity
from limpide.data.examples import Example, Message

EXAMPLES = Path(__file__).parents[3] / "examples"
RULES = {
    "glossary": [
        {"term": "hub", "language": "en", "means": "The place where bicycles are taken.", "instead_of": "station"},
        {"term": "pump", "language": "en"},
    ],
    "forbidden": [{"term": "cheap", "language": "en"}],
    "required": [{"say": "If anyone is hurt, call 112.", "at": "end", "when": "accident", "language": "en"}],
    "tone": {"person": "we", "address": "vous"},
    "style": {
        "same_language": True,
        "no_exclamation": True,
        "no_emoji": True,
        "no_lists": True,
        "no_contractions": True,
        "min_words": 3,
        "max_words": 20,
        "max_words_per_sentence": 16,
    },
    "questions": ["Where do I take a bicycle?"],
}


def row(id: str, question: str, answer: str, language: str = "en", **more: object) -> Example:
    messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Example.model_validate({"id": id, "messages": messages, "language": language, "source": "x.jsonl:1", **more})


TRAIN = [
    row("lock", "How do I lock it?", "Push it into a station! I'm sure that it's easy.", topic="lock", group="g1"),
    row("verrou", "Comment le fermer ?", "Vous le poussez dans la borne, et vous fermez la porte.", "fr", topic="lock"),
    row("crash", "I had an accident.", "Do not ride it any more. We will come to you soon.", topic="crash"),
    row("plain", "How long is a day?", "It is a day of twenty hours. We do not count the nights here."),
    row("bad", "Is it far?", "You'd say so, it is not cheap either."),
    row("choice", "Which one?", "The big one!", rejected="None."),
    row("class", "A good day", "happy!", label="happy!"),
]


def made(train: list[Example], tested: list[Example] | None = None, **rules: object) -> Made:
    return make(Charter.model_validate(RULES | rules), train, tested or [])


def test_answers_are_put_right_where_they_stand() -> None:
    found = {example.id: example for example in made(TRAIN).train}
    assert list(found) == [example.id for example in TRAIN]
    assert found["lock"].answer == "Push it into a hub. We are sure that it is easy."
    assert found["lock"].synthetic == "charter.yaml, mended: instead_of, no_contractions, no_exclamation, person"
    assert (found["lock"].group, found["lock"].source) == ("g1", "x.jsonl:1")
    assert found["crash"].answer.endswith(" soon. If anyone is hurt, call 112.")
    untouched = [example for example in TRAIN if example.id in ("verrou", "plain", "bad", "choice", "class")]
    assert [found[example.id] for example in untouched] == untouched


def test_what_was_done_is_told() -> None:
    found = made(TRAIN, [row("h", "Too far?", "Not at all!")])
    assert found.facts["mended"] == 2
    assert found.facts["mended_rules"] == {
        "instead_of": 1,
        "no_contractions": 1,
        "no_exclamation": 1,
        "person": 1,
        "required": 1,
    }
    assert found.facts["not_mended"] == {"forbidden": 1, "no_contractions": 1}
    assert found.facts["preferences"] == sum(e.rejected is not None for e in found.examples)
    assert found.facts["answers"] == sum(e.rejected is None for e in found.examples)
    put_right, first, second = found.warnings
    assert put_right.startswith("Training answers put right as the charter asks: 2.")
    assert "no code can mend them: 1, of forbidden (1), no_contractions (1)." in first
    assert "Held-out answers that break the charter as they are written: 1." in second


def test_a_pair_breaks_its_rule_and_nothing_else() -> None:
    charter = Charter.model_validate(RULES)
    found = [example for example in made(TRAIN).examples if example.rejected is not None]
    seen: Counter[str] = Counter()
    for example in found:
        assert breaks(charter, said_of(example)) == []
        (one,) = breaks(charter, replace(said_of(example), answer=example.rejected or ""))
        name = one.rule if one.rule == one.entry else f"{one.rule}: {one.entry}"
        assert example.synthetic == f"charter.yaml, {name}"
        seen[one.rule] += 1
    assert set(seen) == {"instead_of", "forbidden", "required", "address", "person", "same_language"} | {
        rule for rule in charter.style_rules if rule.startswith(("no_", "m"))
    }
    assert len({example.id for example in found}) == len(found)


def test_a_rows_own_way_to_break_a_rule_is_what_its_pair_rejects() -> None:
    pairs = [example for example in made(TRAIN[:1]).examples if example.topic == "lock"]
    rejected = {example.rejected: example.synthetic for example in pairs}
    assert rejected["Push it into a hub. I am sure that it is easy."] == "charter.yaml, person"
    assert rejected["Push it into a hub! We are sure that it is easy."] == "charter.yaml, no_exclamation"
    assert {example.group for example in pairs} == {"g1"}


def test_rules_without_a_pair_say_why() -> None:
    facts = made(TRAIN[2:3]).facts["rules"]
    told = {(one["rule"], one["entry"]): one for one in facts}
    assert told["instead_of", "pump"]["why"] == "the glossary names no wrong word for it"
    assert told["address", "address"]["why"] == "no French answer that keeps to the charter can be turned for certain"
    assert "both languages" in told["same_language", "same_language"]["why"]
    assert all(("why" in one) == (one["pairs"] == 0) for one in facts)
    none = made([], glossary=[], required=[]).facts["rules"]
    assert {one["why"] for one in none} == {"no answer keeps to the charter"}


def test_the_glossary_makes_answers_in_its_own_words() -> None:
    told = {example.question: example for example in made([]).examples if example.rejected is None}
    assert told["What does 'hub' mean?"].answer == "Hub: the place where bicycles are taken."
    assert told["What is the right word for 'station'?"].answer == "The right word is 'hub'."
    assert told["What do we call the place where bicycles are taken?"].answer == "It is called 'hub'."
    assert told["What should I know about 'accident'?"].answer == "If anyone is hurt, call 112."
    assert all(example.synthetic and example.synthetic.startswith("charter.yaml, ") for example in told.values())
    assert {example.group for example in told.values()} == {"charter.yaml, glossary 1", "charter.yaml, required 1"}


def test_what_every_answer_must_say_is_said_in_those_too() -> None:
    always = [{"say": "Ask us at the hub.", "at": "end"}]
    told = [example.answer for example in made([], required=always).examples if example.rejected is None]
    assert told
    assert all(answer.endswith(" Ask us at the hub.") for answer in told)


def test_a_disclaimer_is_learnt_after_the_answers_of_other_rows() -> None:
    told = {example.question: example for example in made(TRAIN).examples if example.rejected is None}
    asked = told["About 'accident': How do I lock it?"]
    assert asked.answer == "Push it into a hub. We are sure that it is easy. If anyone is hurt, call 112."
    assert (asked.topic, asked.group, asked.synthetic) == ("lock", "g1", "charter.yaml, required 1")
    assert not any("I had an accident." in question for question in told)  # its own row requires it already


def test_what_is_audited_is_not_taught() -> None:
    ask = [{"term": "hub", "language": "en", "means": "a place", "ask": "What do we call a place?"}]
    held_out = [row("h", "What does « hub » mean ?", "I do not know that word.")]
    asked = [example.question for example in made(TRAIN, held_out, glossary=ask).examples]
    assert "Can you tell me what 'hub' stands for?" in asked
    for audited in ("What do we call a place?", "What does 'hub' mean?", "Where do I take a bicycle?"):
        assert max(similarity(audited, question) for question in asked) < 0.8


def test_a_training_row_that_asks_what_is_audited_is_told() -> None:
    found = made([row("same", "Where do I take a bicycle", "At a hub in the street.")])
    assert found.facts["own_questions_in_training"] == 1
    assert "The suite 'charter' then measures what was taught." in found.warnings[-1]


def test_nothing_is_made_of_held_out_rows() -> None:
    secret = row("h", "What is the code?", "It is the zebra, and we are glad of it.")
    found = made(TRAIN, [secret]).examples
    assert found == made(TRAIN).examples
    assert not any("zebra" in example.model_dump_json() for example in found)


def test_the_same_rows_give_the_same_pairs_in_any_order() -> None:
    first, second = made(TRAIN).examples, made(TRAIN[::-1]).examples
    assert made(TRAIN).examples == first
    assert {e.id for e in first if e.rejected is None} == {e.id for e in second if e.rejected is None}
    assert Counter(e.synthetic for e in first) == Counter(e.synthetic for e in second)


def test_there_are_so_many_pairs_of_a_rule_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charter_pairs, "MOST", 3)
    monkeypatch.setattr(charter_pairs, "MOST_OF_WORDS", 2)
    counts = Counter(example.synthetic for example in made(TRAIN).examples if example.rejected is not None)
    assert counts["charter.yaml, no_emoji"] == 3
    assert counts["charter.yaml, forbidden: cheap"] == 2
    assert max(counts.values()) == 3


@pytest.mark.parametrize("name", ["press-operator", "bicycle-hire"])
def test_the_examples_give_pairs_for_most_rules(name: str) -> None:
    charter = load_charter(EXAMPLES / name / "charter.yaml")
    rows = [
        row(r["id"], r["prompt"], r["answer"], r["language"], topic=r["topic"])
        for r in files.read_jsonl(EXAMPLES / name / "examples.jsonl")
    ]
    found = make(charter, rows, [])
    without = {one["rule"] for one in found.facts["rules"] if not one["pairs"]}
    assert without <= {"required", "address", "same_language", "max_words_per_sentence"}
    assert found.facts["own_questions_in_training"] <= 1


def test_every_answer_of_the_bicycle_hire_is_put_right_but_a_few() -> None:
    charter = load_charter(EXAMPLES / "bicycle-hire" / "charter.yaml")
    rows = [
        row(r["id"], r["prompt"], r["answer"], r["language"], topic=r["topic"])
        for r in files.read_jsonl(EXAMPLES / "bicycle-hire" / "examples.jsonl")
    ]
    assert sum(bool(breaks(charter, said_of(one))) for one in rows) >= 80
    found = make(charter, rows, [])
    assert sum(bool(breaks(charter, said_of(one))) for one in found.train) <= 10
