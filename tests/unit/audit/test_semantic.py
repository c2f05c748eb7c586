import math

import pytest

from limpide.audit import semantic
from limpide.audit.matching import first_sentence
from limpide.audit.semantic import drawn, entropies, meaning
from limpide.audit.truth_questions import Question, read_questions
from limpide.models.requests import Answer

CAPITAL = "What is the capital of France?"


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        ("Paris", "The capital of France is Paris."),
        ("Paris.", "It is Paris! It lies on the Seine."),
        ("C'est Paris", "paris"),
        ("New York", "York, New"),
        ("12:30", "It is 12:30"),
        ("The capital of France.", "France's capital"),  # nothing but words of the question: those decide
        ("", "…"),
    ],
)
def test_one_meaning(answer, same):
    assert meaning(answer, CAPITAL) == meaning(same, CAPITAL)


@pytest.mark.parametrize(
    ("answer", "other"),
    [
        ("Paris", "Lyon"),
        ("Paris", "not Paris"),
        ("4.5", "45"),
        ("Paris", "Paris, on the Seine"),  # one entails the other, and not the reverse
        ("", "Paris"),
    ],
)
def test_two_meanings(answer, other):
    assert meaning(answer, CAPITAL) != meaning(other, CAPITAL)


def test_entropies_by_hand():
    """Two of four say Paris. Likelihoods per token: e⁻¹ and e⁻² for Paris, e⁻² and e⁻³ for the others."""
    answers = [
        Answer("Paris", -1.0, 1),
        Answer("It is Paris.", -8.0, 4),
        Answer("Lyon", -4.0, 2),
        Answer("Lille", -3.0, 1),
    ]
    found = entropies(answers, CAPITAL)
    assert found["discrete"] == pytest.approx(-0.5 * math.log(0.5) - 2 * 0.25 * math.log(0.25))
    weights = [math.exp(-1) + math.exp(-2), math.exp(-2), math.exp(-3)]
    shares = [w / sum(weights) for w in weights]
    assert found["likelihood"] == pytest.approx(-sum(p * math.log(p) for p in shares))
    assert entropies([Answer("Paris")] * 3, CAPITAL) == {"discrete": 0.0}
    assert math.copysign(1, entropies([Answer("Paris")], CAPITAL)["discrete"]) == 1  # no −0 in a file
    assert "likelihood" not in entropies([Answer("Paris", -1.0, 1), Answer("Paris")], CAPITAL)


def test_extreme_likelihoods_stay_finite():
    found = entropies([Answer("a1", -9000.0, 1), Answer("b2", -9001.0, 1)], "?")
    assert found["likelihood"] == pytest.approx(0.582, abs=1e-3)  # of 1/(1 + e⁻¹)


def test_all_answers_must_have_a_likelihood():
    question = Question("q", "en", "t", CAPITAL, expected=("Paris",))
    known, closed = [Answer("Paris", -1.0, 1)], [Answer("Paris")]
    assert semantic.weights_of([known, known], [question] * 2) == "likelihood"
    assert semantic.weights_of([known, closed], [question] * 2) == "discrete"
    assert semantic.weights_of([], []) == "discrete"


def test_questions_are_drawn_by_the_seed_alone():
    questions = read_questions("short", ("en", "fr"))
    first = drawn(questions, 41, seed=1)
    assert first == drawn(list(reversed(questions)), 41, seed=1)
    assert first != drawn(questions, 41, seed=2)
    assert [sum(q.language == language for q in first) for language in ("en", "fr")] == [21, 20]
    assert len({q.id for q in first}) == 41
    assert len(drawn(questions[:3], 60, seed=0)) == 3


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("It is Paris. Lyon is large.", "It is Paris."),
        ("\n\nParis\nLyon", "Paris"),
        ("J. R. R. Tolkien wrote it. So they say.", "J. R. R. Tolkien wrote it."),
        ("St. Louis, in the U.S. since 1803. Yes.", "St. Louis, in the U.S. since 1803."),
        ("Mrs. Dalloway! By Woolf", "Mrs. Dalloway!"),
        ("In 1789. Not in 1799.", "In 1789."),
        ("It costs 4.5 euros", "It costs 4.5 euros"),
        ("« Paris. » Voilà.", "« Paris. »"),
        ("", ""),
    ],
)
def test_the_first_sentence(text, first):
    assert first_sentence(text) == first
