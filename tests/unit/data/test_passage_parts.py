"""Held-out passages: whole documents or places, about the share asked for, and no near copy on both sides."""

import pytest

from limpide.data.passage_parts import divide, near_passages
from limpide.data.passages import Passage
from tiny_documents import prose


def passage(document: str, place: str | None, text: str) -> Passage:
    return Passage(id=f"{document}-{place}-{text[:12]}", document=document, place=place, text=text)


def many(documents: int, places: int, each: int = 2) -> list[Passage]:
    return [
        passage(f"d{d}", f"page {p}", prose(40, f"d{d}p{p}e{e}x"))
        for d in range(documents)
        for p in range(places)
        for e in range(each)
    ]


@pytest.mark.parametrize(("documents", "by"), [(10, "document"), (2, "place")])
def test_whole_documents_or_whole_places_are_held_out(documents: int, by: str) -> None:
    parts = divide(many(documents, 10), 0.2, seed=3)
    assert parts.by == by
    for side in (parts.train, parts.held_out):
        other = parts.held_out if side is parts.train else parts.train
        key = (lambda p: p.document) if by == "document" else (lambda p: (p.document, p.place))
        assert not {key(p) for p in side} & {key(p) for p in other}
    assert len(parts.held_out) == pytest.approx(0.2 * len(parts.train + parts.held_out), abs=1)
    assert parts.warnings == ()


def test_near_copies_stay_on_one_side() -> None:
    passages = many(1, 20, 1)
    copies = [p.model_copy(update={"place": f"annex {i}", "text": p.text + " more"}) for i, p in enumerate(passages)]
    for seed in range(5):
        parts = divide([*passages, *copies], 0.3, seed)
        held = {p.text.removesuffix(" more") for p in parts.held_out}
        assert held
        assert not held & {p.text.removesuffix(" more") for p in parts.train}
    assert len(parts.near) == 20


def test_a_number_that_differs_does_not_hide_a_near_copy() -> None:
    text = prose(60)
    assert near_passages([passage("a", None, text), passage("b", None, f"{text} 5 bar")], 0.8) == ((0, 1),)
    assert near_passages([passage("a", None, text), passage("b", None, prose(60, "other"))], 0.8) == ()


def test_the_division_follows_the_seed_and_not_the_order() -> None:
    passages = many(3, 10)
    held = [{p.id for p in divide(order, 0.2, 1).held_out} for order in (passages, passages[::-1])]
    assert held[0] == held[1]
    assert held[0] != {p.id for p in divide(passages, 0.2, 2).held_out}


def test_what_hangs_together_is_not_torn_apart() -> None:
    parts = divide([passage("a", "page 1", prose(50)), passage("a", "page 1", prose(50, "other"))], 0.2, 0)
    assert parts.held_out == ()
    assert parts.warnings == (
        "No passage is held out: the 2 passages hang together in 1 part by place, so the training on texts cannot be "
        "tested. Give more documents.",
    )
