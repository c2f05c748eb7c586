"""Dividing examples: shares, topics, groups, declared parts, and refusals."""

from collections import Counter
from collections.abc import Sequence

import pytest

from limpide.core.errors import DataError
from limpide.data.examples import Example, SplitName
from limpide.data.splits import Split, SplitSettings, quotas, split

LINE = "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa"
WORDS = LINE.split()


def row(number: int, topic: str | None = None, question: str = "", **more: str) -> Example:
    question = question or f"{WORDS[number % 16]} {WORDS[number // 16 % 16]} {WORDS[number * 7 % 16]} number {number}"
    return Example.model_validate(
        {
            "id": f"r{number}",
            "topic": topic,
            "source": f"f.jsonl:{number + 1}",
            "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "A"}],
            **more,
        }
    )


def topics(count: int, wordings: int = 5, french: int = 0) -> list[Example]:
    return [
        row(t * wordings + w, f"T{t}", language="fr" if t < french else "en")
        for t in range(count)
        for w in range(wordings)
    ]


def ids(part: Sequence[Example]) -> set[str]:
    return {example.id for example in part}


def refusal(
    examples: Sequence[Example], seed: int = 0, declared: dict[str, SplitName] | None = None, **settings: object
) -> str:
    with pytest.raises(DataError) as caught:
        split(examples, SplitSettings(**settings), seed, declared=declared)  # type: ignore[arg-type]  # by name
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_each_topic_keeps_four_wordings_and_gives_one() -> None:
    parts = split(topics(20), SplitSettings(), seed=3)
    assert Counter(e.topic for e in parts.held_out) == {f"T{t}": 1 for t in range(20)}
    assert Counter(e.topic for e in parts.train) == {f"T{t}": 4 for t in range(20)}
    assert parts.unseen == ()
    assert parts.warnings == ()


def test_seed_decides_and_order_of_rows_does_not() -> None:
    examples = topics(20)
    settings = SplitSettings(unseen_topics=0.2)
    first, again = split(examples, settings, 1), split(examples[::-1], settings, 1)
    for part in ("train", "held_out", "unseen"):
        assert ids(getattr(first, part)) == ids(getattr(again, part))
    other = split(examples, settings, 2)
    assert ids(other.held_out) != ids(first.held_out)
    assert ids(other.unseen) != ids(first.unseen)


def test_named_unseen_topics_go_whole() -> None:
    parts = split(topics(5), SplitSettings(unseen_topics=("T1", "T3")), 0)
    assert Counter(e.topic for e in parts.unseen) == {"T1": 5, "T3": 5}
    assert len(parts.held_out) == 3


def test_drawn_unseen_topics_spread_over_languages() -> None:
    for seed in range(5):
        parts = split(topics(20, french=5), SplitSettings(unseen_topics=0.2), seed)
        drawn = {(e.topic, e.language) for e in parts.unseen}
        assert Counter(language for _, language in drawn) == {"en": 3, "fr": 1}


def test_a_masked_answer_is_kept_for_training() -> None:
    """Nothing is learnt of an answer by testing with a placeholder; where nothing else is left, it is held out."""
    examples = [*topics(4), row(90), row(91)]
    masked = [
        e.model_copy(update={"messages": (e.messages[0], e.messages[1].model_copy(update={"content": "Ask [EMAIL]."}))})
        for e in examples
    ]
    for seed in range(4):
        mixed = [m if k % 2 else e for k, (e, m) in enumerate(zip(examples, masked, strict=True))]
        assert all("[EMAIL]" not in e.answer for e in split(mixed, SplitSettings(), seed).held_out)
    assert split(masked, SplitSettings(), 0).held_out


def test_without_topics_the_share_of_rows_is_held_out() -> None:
    parts = split([row(i) for i in range(50)], SplitSettings(held_out=0.1), 0)
    assert (len(parts.train), len(parts.held_out)) == (45, 5)


def test_topics_of_one_wording_stay_in_train() -> None:
    parts = split([*topics(4), row(90, "single")], SplitSettings(), 0)
    assert "single" in {e.topic for e in parts.train}


def test_groups_and_duplicates_stay_on_one_side() -> None:
    examples = [row(i, group=f"g{i // 4}") for i in range(40)]
    for seed in range(8):
        parts = split(examples, SplitSettings(), seed)
        assert len(parts.held_out) == 8
        assert not {e.group for e in parts.train} & {e.group for e in parts.held_out}
    twice = [row(i, question=f"{WORDS[i // 2]} {WORDS[(i // 2 + 3) % 16]} please{'!' * (i % 2)}") for i in range(20)]
    for seed in range(8):
        parts = split(twice, SplitSettings(), seed)
        assert {int(e.id[1:]) // 2 for e in parts.held_out}.isdisjoint(int(e.id[1:]) // 2 for e in parts.train)


def test_a_share_that_groups_forbid_is_said() -> None:
    parts = split([row(i, group=f"g{i // 10}") for i in range(30)], SplitSettings(), 0)
    assert len(parts.held_out) == 10
    assert "33% of the known rows are held out where 20% was asked for" in parts.warnings[0]


def test_nothing_to_hold_out_is_refused_with_numbers() -> None:
    text = refusal([row(i, group="g") for i in range(10)])
    assert "No row can be held out" in text
    assert "10 rows in 1 blocks" in text
    assert "{group: null}" in text
    assert "No row can be held out" in refusal([row(0)])
    assert "3 topics" in refusal([row(i, f"T{i}") for i in range(3)])


def test_unseen_topics_that_cannot_be() -> None:
    assert "Did you mean 'T1'?" in refusal(topics(3), unseen_topics=("T-1",))
    assert "names all 2 topics" in refusal(topics(2), unseen_topics=("T0", "T1"))
    assert "needs a topic for each row" in refusal([row(i) for i in range(9)], unseen_topics=0.5)
    assert "No topic can be kept unseen" in refusal(topics(1), unseen_topics=0.1)


def test_an_unseen_topic_tied_to_a_known_one_is_refused() -> None:
    examples = [
        *topics(3),
        row(80, "T0", "where is the yellow handle of the pump"),
        row(81, "T1", "Where is the yellow handle of the pump?"),
    ]
    text = refusal(examples, unseen_topics=("T0",))
    assert "f.jsonl:81: unseen topic 'T0', but says nearly the same as f.jsonl:82" in text
    assert len(split(examples, SplitSettings(unseen_topics=("T0", "T1")), 0).unseen) == 12
    for seed in range(10):
        drawn = {e.topic for e in split(examples, SplitSettings(unseen_topics=0.34), seed).unseen}
        assert drawn == {"T2"}


def declare(examples: Sequence[Example], **parts: str) -> dict[str, SplitName]:
    return {e.id: parts.get(e.id, "train") for e in examples}  # type: ignore[misc]  # names of parts


def test_declared_parts_win() -> None:
    examples = topics(3)
    declared = declare(examples, r0="held_out", **{f"r{i}": "unseen" for i in range(10, 15)})
    parts: Split = split(examples, SplitSettings(unseen_topics=("T0",)), 0, declared=declared)
    assert ids(parts.held_out) == {"r0"}
    assert ids(parts.unseen) == {f"r{i}" for i in range(10, 15)}


def test_declared_parts_that_leak_are_refused() -> None:
    examples = [*topics(2), row(80, "T0", "Where is the yellow handle?"), row(81, "T0", "where is the yellow handle")]
    text = refusal(examples, declared=declare(examples, r0="held_out", r81="held_out"))
    assert "f.jsonl:82: held_out, but says the same, or nearly, as f.jsonl:81 (train)" in text
    grouped = [row(1, group="g"), row(2, group="g"), row(3)]
    text = refusal(grouped, declared=declare(grouped, r2="held_out"))
    assert "has the group 'g' of f.jsonl:2 (train)" in text
    text = refusal(topics(2), declared=declare(topics(2), r0="held_out", r1="unseen"))
    assert "f.jsonl:2: topic 'T0' is unseen here and in train at f.jsonl:5" in text


def test_declared_parts_with_holes_are_refused() -> None:
    examples = topics(2)
    declared = declare(examples, r0="held_out")
    del declared["r4"]
    assert "f.jsonl:5: no value in the split column" in refusal(examples, declared=declared)
    text = refusal(examples, declared=declare(examples))
    assert "The split column leaves no row to test on." in text
    assert "10 train, 0 held_out, 0 unseen" in text


def test_quotas_take_the_share_and_leave_one() -> None:
    assert quotas({"a": 5, "b": 5, "c": 1}, 0.2, 0) == {"a": 1, "b": 1, "c": 0}
    assert sum(quotas(dict.fromkeys(range(20), 2), 0.2, 0).values()) == 8
    assert quotas({"a": 30}, 0.1, 0) == {"a": 3}
