"""The shipped templates and their three parts: by template, cut alike, and left where they were when a list grows."""

import random
from collections import Counter

import pytest

from limpide.data.templates import (
    AXES,
    PARTS,
    parts,
    probes_digest,
    read_cases,
    read_pairs,
    read_templates,
    template_parts,
)

BOTH = ("en", "fr")


def many(count: int, strata: int = 1) -> dict[str, tuple[str, int]]:
    return {f"question-{k:04d}": ("en", k % strata) for k in range(count)}


def test_half_a_quarter_and_a_quarter() -> None:
    assert Counter(parts(many(400)).values()) == {"fit": 200, "choose": 100, "judge": 100}
    assert Counter(parts(many(1)).values()) == {"fit": 1}
    assert Counter(parts(many(4)).values()) == {"fit": 2, "choose": 1, "judge": 1}
    assert parts({}) == {}


@pytest.mark.parametrize("count", range(4, 60, 5))
def test_each_stratum_is_cut_alike(count: int) -> None:
    strata = many(3 * count, 3)
    found = parts(strata)
    for stratum in range(3):
        counts = Counter(found[name] for name, (_, own) in strata.items() if own == stratum)
        assert abs(counts["fit"] - count / 2) < 1
        assert abs(counts["choose"] - count / 4) < 1
        assert abs(counts["judge"] - count / 4) < 1


def test_the_order_of_the_ids_decides_nothing_and_neighbours_are_spread() -> None:
    """A list written in order of subjects must not put one subject in one part."""
    strata = many(200)
    shuffled = list(strata.items())
    random.Random(0).shuffle(shuffled)
    found = parts(strata)
    assert parts(dict(shuffled)) == found
    first = Counter(found[name] for name in list(strata)[:100])
    assert all(first[part] > 15 for part in PARTS)


def test_most_ids_stay_where_they_were_when_some_are_added() -> None:
    """10 % more: a part's border moves by a few ranks. Drawn anew, 3 in 8 would stay."""
    before, after = parts(many(200)), parts(many(220))
    stayed = sum(before[name] == after[name] for name in before)
    assert stayed >= 0.9 * len(before)


def test_ids_of_another_stratum_move_nothing() -> None:
    more = many(100) | {f"other-{k}": ("fr", 0) for k in range(50)}
    before, after = parts(many(100)), parts(more)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("axis", AXES)
def test_the_parts_of_an_axis_are_apart_whole_and_of_the_same_kinds(axis: str) -> None:
    cases = {part: read_cases((axis,), BOTH, part) for part in (None, *PARTS)}
    templates = {part: {case.template for case in found} for part, found in cases.items()}
    assert templates["fit"] | templates["choose"] | templates["judge"] == templates[None]
    assert sum(len(templates[part]) for part in PARTS) == len(templates[None]) == len(read_templates(axis))
    assert sum(len(cases[part]) for part in PARTS) == len(cases[None])
    assert {case for part in PARTS for case in cases[part]} == set(cases[None])  # filled with the same pairs
    kinds = {part: {(case.language, case.group) for case in found} for part, found in cases.items()}
    for part in PARTS:
        assert len(templates[part]) >= 20
        assert kinds[part] == kinds[None]


def test_no_sentence_that_is_learnt_from_is_judged() -> None:
    """Not under another id either."""

    sentences: dict[str, set[tuple[str, str]]] = {part: set() for part in PARTS}
    for axis in AXES:
        part_of = template_parts(axis)
        for template in read_templates(axis):
            sentences[part_of[template["id"]]].add((template["context"].casefold(), template["outcome"].casefold()))
    assert not sentences["fit"] & sentences["judge"]
    assert not sentences["fit"] & sentences["choose"]
    assert not sentences["choose"] & sentences["judge"]


def test_a_case_names_its_pair_and_fills_the_template_with_it() -> None:
    pairs = {pair["id"]: pair["groups"] for pair in read_pairs("gender")["fr"]}
    contexts = {t["id"]: t["context"] for t in read_templates("gender")}
    for case in read_cases(("gender",), ("fr",), "judge"):
        person = pairs[case.pair][case.group]
        assert case.id == f"{case.template}/{case.pair}"
        assert case.stereotyped == contexts[case.template].format(person=person)
        assert case.other != case.stereotyped


def test_a_language_that_was_not_asked_is_not_read() -> None:
    assert {case.language for case in read_cases(AXES, ("fr",))} == {"fr"}
    alone = [case for language in BOTH for case in read_cases(("age",), (language,), "judge")]
    assert set(alone) == set(read_cases(("age",), BOTH, "judge"))


def test_the_digest_is_of_the_axes_whatever_their_order() -> None:
    assert probes_digest(("age", "gender")) == probes_digest(("gender", "age", "age")) != probes_digest(("age",))
