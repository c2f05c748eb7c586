import pytest

from limpide.audit import domain
from limpide.audit.matching import contains_answer, normalise, token_f1


def test_the_domain_compares_with_the_same_rule():
    assert domain.normalise is normalise


@pytest.mark.parametrize(
    ("answer", "expected", "f1"),
    [
        ("the Seine", "Seine", 2 / 3),
        ("Seine", "Seine", 1.0),
        ("Rhône", "Seine", 0.0),
        ("", "Seine", 0.0),
        ("", "", 1.0),
        ("la la", "la", 2 / 3),  # a repeated word counts once
        ("« La Seine. »", "la seine", 1.0),
        ("a b c d", "c d e f", 0.5),
    ],
)
def test_token_f1_by_hand(answer, expected, f1):
    assert token_f1(answer, expected) == pytest.approx(f1)
    assert token_f1(expected, answer) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("It is Paris.", "paris"),
        ("Paris", "Paris"),
        ("L’heure : 12:30, environ", "12:30"),
        ("the river Seine, in France", "River Seine"),
        ("C'est Delemont.", "Delémont"),
        ("palais de l'elysee", "Élysée"),
        ("Carl Linnæus", "Linnaeus"),
        ("le coelacanthe", "cœlacanthe"),
        ("Čapek", "Capek"),
    ],
)
def test_an_answer_holds_the_expected_words(answer, expected):
    assert contains_answer(answer, expected)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Parisian", "Paris"),
        ("13", "3"),
        ("4.5", "5"),
        ("-5", "5"),
        ("river of Seine", "river Seine"),
        ("anything", ""),
        ("anything", "!"),
        ("", "Paris"),
    ],
)
def test_parts_of_words_and_of_numbers_do_not_count(answer, expected):
    assert not contains_answer(answer, expected)


def test_accents_still_count_where_two_answers_are_compared():
    assert normalise("arrêté") != normalise("arrete")
    assert token_f1("arrêté", "arrete") == 0
