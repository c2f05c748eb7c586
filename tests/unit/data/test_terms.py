import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpide.data.terms import cut, find, find_apart, forms, holds_text, term


def places(wanted: str, text: str) -> list[str]:
    return [place.words for place in find(term(wanted), cut(text))]


@pytest.mark.parametrize(
    ("wanted", "text", "found"),
    [
        ("press", "The Press stops; the pressure falls.", ["Press"]),
        ("valve", "Close both valves.", ["valves"]),
        ("valves", "Close the valve.", ["valve"]),
        ("journal", "les journaux", ["journaux"]),
        ("tuyau", "deux tuyaux", ["tuyaux"]),
        ("body", "bodies", ["bodies"]),
        ("box", "boxes and a box", ["boxes", "box"]),
        ("light curtain", "Light curtains are dirty; the light-curtain too", ["Light curtains"]),
        ("pêche", "la peche", []),
        ("pêche", "la pe\u0302che", ["pêche"]),
        ("aspiration", "la crépine d’aspiration", ["aspiration"]),
        ("l'huile", "L’HUILE", ["L'HUILE"]),
        ("US", "Tell us about the US", ["US"]),
        ("API", "two APIs, an api", ["APIs"]),
        ("E-104", "e-104 and E-1045", ["e-104"]),
        ("R&D", "our R&D team", ["R&D"]),
        ("C++", "C++ or C+", ["C++"]),
        ("a", "as an a", ["a"]),
        ("press", "presses", ["presses"]),
        ("press", "pres", []),
        ("corps", "corps", ["corps"]),
        ("ram", "program", []),
        ("ram", "ram, Ram. RAM!", ["ram", "Ram", "RAM"]),
        ("a b", "a", []),
    ],
)
def test_what_is_found(wanted: str, text: str, found: list[str]) -> None:
    assert places(wanted, text) == found


@pytest.mark.parametrize("text", ["", "  ", "…", "—!"])
def test_terms_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="at least one letter or digit"):
        term(text)


def test_numbers_and_short_words_have_no_plural() -> None:
    assert forms("62") == {"62"}
    assert forms("v3") == {"v3"}
    assert forms("as") == {"as"}


def apart(unwanted: str, wanted: str, text: str) -> list[str]:
    return [place.words for place in find_apart([term(unwanted)], [term(wanted)], cut(text))]


def test_a_word_inside_the_right_term_is_no_wrong_word() -> None:
    assert apart("filter", "return filter", "Change the return filters.") == []
    assert apart("filter", "return filter", "Change the filter, the return filter.") == ["filter"]
    assert apart("main pump motor", "main pump", "the main pump motor") == ["main pump motor"]
    assert apart("pump", "pump", "the pump") == ["pump"]


def test_pieces_of_text() -> None:
    assert holds_text("Demandez  À l’équipe.", "à l'équipe")
    assert holds_text("emergency", "merge")
    assert not holds_text("a l'equipe", "à l'équipe")


@given(st.text(min_size=1, max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_a_term_is_found_where_it_stands_alone(wanted: str, before: str, after: str) -> None:
    try:
        one = term(wanted)
    except ValueError:
        return
    assert find(one, cut(f"{before} {wanted} {after}"))


@given(st.text(alphabet="abcdeilnosuxyz", min_size=1, max_size=8))
def test_a_plural_finds_its_singular_and_back(word: str) -> None:
    for form in forms(word):
        assert word in forms(form) or len(word) < 3
