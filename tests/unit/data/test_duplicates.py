"""Same, nearly the same, and contradictory questions."""

import time

import pytest

from limpide.data.duplicates import codes, find_duplicates, near_pairs, normalise, same_codes, similarity
from limpide.data.examples import Example


def rows(*pairs: tuple[str, str], system: str = "") -> list[Example]:
    return [
        Example.model_validate(
            {
                "id": str(i),
                "source": f"f:{i}",
                "messages": [
                    *([{"role": "system", "content": system}] if system else []),
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": answer},
                ],
            }
        )
        for i, (question, answer) in enumerate(pairs)
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("What does E-104 mean?", "what  does E 104 mean"),
        ("L’arrêt\u00a0: quoi ?", "l'arrêt, quoi"),
        ("ﬁne", "FINE"),
        ("3,6 V", "3.6 V!"),
    ],
)
def test_normalised_alike(first: str, second: str) -> None:
    assert normalise(first) == normalise(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Is -5 °C fine?", "Is 5 °C fine?"),
        ("C#", "C"),
        ("C++", "C"),
        ("3.6 V", "36 V"),
        ("x > 5", "x < 5"),
        ("50%", "50"),
    ],
)
def test_normalised_apart(first: str, second: str) -> None:
    assert normalise(first) != normalise(second)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("E-104 now", "now E-105", False),
        ("E-104", "F-104", False),
        ("E-104", "E 104", True),
        ("5.5 bar", "5,5 bar", True),
        ("5.5 bar", "55 bar", False),
        ("at 8 bar", "at 8 bar in 3 steps", False),
        ("62-litre tank", "tank of 62 litres", True),
    ],
)
def test_codes(first: str, second: str, same: bool) -> None:
    assert same_codes(codes(first), codes(second)) is same


def test_near_duplicates_but_not_across_codes() -> None:
    texts = [
        "What should I do when the press shows fault E-104?",
        "What should I do when the press shows fault E-105?",
        "what should I do when the press shows the fault E-104",
        "How is the main cylinder bled?",
    ]
    assert similarity(texts[0], texts[1]) > 0.8
    assert near_pairs(texts, 0.8) == [(0, 2)]


def test_groups_conflicts_and_what_must_stay_together() -> None:
    found = find_duplicates(
        rows(
            ("How is the main cylinder bled?", "At 8 bar."),
            ("how is the main cylinder bled", "at 8 bar"),
            ("How is the main cylinder bled?", "At 9 bar."),
            ("How is the main cylinder bled now?", "At 8 bar."),
            ("Who cleans the curtain?", "You."),
        )
    )
    assert found.exact == ((0, 1),)
    assert found.conflicts == ((0, 1, 2),)
    assert found.near == found.together == ((0, 1, 2, 3),)


def test_a_shared_system_message_is_no_likeness() -> None:
    found = find_duplicates(rows(("Who?", "You."), ("When?", "Now."), system="You are the helper of a press. " * 20))
    assert found.together == ()


def test_nothing_is_found_where_nothing_was_planted() -> None:
    names = ("pump", "valve", "guard", "filter", "curtain")
    found = find_duplicates(
        rows(*((f"Where do I find the {name} of machine {i}?", "There.") for name in names for i in range(9)))
    )
    assert (found.exact, found.near, found.conflicts) == ((), (), ())


def test_ten_thousand_templated_questions_take_seconds() -> None:
    texts = [
        f"Does employee {chr(97 + i % 26)}{chr(97 + i // 26 % 26)}{chr(97 + i // 676)}xy have access?"
        for i in range(10_000)
    ]
    start = time.perf_counter()
    near_pairs(texts, 0.8)
    assert time.perf_counter() - start < 60  # about 2 s alone; all pairs one by one would take minutes
