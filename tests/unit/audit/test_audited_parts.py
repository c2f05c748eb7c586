"""What a correction learnt from, chose its strength on and is judged on: apart, and whole together."""

from collections import Counter

import pytest

from limpide.audit import bias, refusal, truth
from limpide.audit.items import load_items
from limpide.audit.refusal import read_asks
from limpide.audit.truth_questions import read_questions
from limpide.data import questions
from limpide.data.templates import PARTS

BOTH = ("en", "fr")


def whole_and_apart(everything, of_part):
    """everything: ids. of_part: part → ids."""
    found = [set(of_part(part)) for part in PARTS]
    assert sum(map(len, found)) == len(set().union(*found)) == len(everything)
    assert set().union(*found) == set(everything)
    return [len(one) / len(everything) for one in found]


@pytest.mark.parametrize("kind", ["options", "short", "unanswerable"])
def test_questions_are_cut_alike_in_each_language_and_topic(kind):
    shares = whole_and_apart(
        [q.id for q in read_questions(kind, BOTH)], lambda part: [q.id for q in read_questions(kind, BOTH, of=part)]
    )
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.05)
    judged = Counter((q.language, q.topic) for q in read_questions(kind, BOTH, of="judge"))
    for stratum, count in Counter((q.language, q.topic) for q in read_questions(kind, BOTH)).items():
        assert abs(judged[stratum] - count / 4) < 1


def test_a_question_asked_in_two_ways_is_of_one_part():
    """Else the entropy of what was learnt from would be judged."""
    for part in PARTS:
        assert read_questions("semantic", BOTH, of=part) == read_questions("short", BOTH, of=part)


@pytest.mark.parametrize("kind", ["short", "unanswerable"])
def test_what_may_be_learnt_from_is_what_is_not_judged(kind):
    """Corrections read the questions elsewhere: both cut them alike."""
    for part in PARTS:
        learnt = questions.read_questions(kind, BOTH, part)
        assert [q.id for q in learnt] == [q.id for q in read_questions(kind, BOTH, of=part)]


def test_a_part_does_not_hang_on_the_languages_or_the_limit():
    alone = [q for language in BOTH for q in read_questions("short", (language,), of="choose")]
    assert alone == read_questions("short", BOTH, of="choose")
    assert read_questions("short", ("fr",), 5, "choose") == read_questions("short", ("fr",), of="choose")[:5]


def test_both_requests_of_a_pair_are_of_one_part():
    shares = whole_and_apart(
        [ask.id for ask in read_asks(BOTH)], lambda part: [ask.id for ask in read_asks(BOTH, part)]
    )
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.1)  # 5 or 6 pairs a topic
    for part in PARTS:
        asks = read_asks(BOTH, part)
        assert set(Counter(ask.pair for ask in asks).values()) == {2}
        assert {(ask.language, ask.topic) for ask in asks} == {(ask.language, ask.topic) for ask in read_asks(BOTH)}


@pytest.mark.parametrize(
    ("suite", "settings"),
    [(bias, {"axes": ("gender",)}), (truth, {"parts": ("options", "short", "unanswerable")}), (refusal, {})],
)
def test_a_suite_asks_its_part_alone_and_says_so(suite, settings, tmp_path, fake, tools):
    fake.likelihood = lambda context, continuation: -1.0 - len(str(context)) % 7
    methods, asked = {}, {}
    for part in (None, *PARTS):
        result = tools.audit(suite.operation, tmp_path / str(part), part=part, **settings)
        methods[part] = {m.method for m in result.measures}
        asked[part] = {item.cluster for item in load_items(tmp_path / str(part))}
    assert all("part=" not in method for method in methods[None])
    for part in PARTS:
        assert all(f"part={part}" in method for method in methods[part])
    assert asked["fit"] | asked["choose"] | asked["judge"] == asked[None]
    assert not asked["fit"] & asked["judge"]
    assert not asked["fit"] & asked["choose"]


def test_a_part_that_is_none_is_refused():
    for suite in (bias, truth, refusal):
        with pytest.raises(ValueError, match="'fit', 'choose' or 'judge'"):
            suite.operation.settings(part="test")
