"""Planted texts for each change, and what holds for any text: seeded, digits and codes kept, never the same text."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpide.data import perturbations
from limpide.data.perturbations import PERTURBATIONS, Perturbation, codes, is_code, is_negation, neighbours, perturb

TEMPLATES = {"a": "Please answer: {q}", "b": "{q}\nAnswer briefly."}
SOME = """
What does fault E-104 mean ? not never n'est don’t l'été à 48 °C, 12:30 (4.5) «déjà» HP-80 DNA x_1 a@b.fr
PAS Straße œuf ﬁn 5 mA 10 000 İl .. E-2... ½ ² ! : ;
"""
WORDS = st.sampled_from(SOME.split())
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(WORDS, max_size=14).map(" ".join),
    st.text("aé1E-.? '’«»: ;_/\u00a0\u0301\n", max_size=25),
)


def changed(kind: Perturbation, text: str, language: str | None = "en", seed: int = 0) -> str | None:
    return perturb(kind, text, language, random.Random(seed), TEMPLATES)


@pytest.mark.parametrize("kind", PERTURBATIONS)
@given(text=TEXTS, language=st.sampled_from(("en", "fr", None)), seed=st.integers(0, 5))
def test_any_text(kind: Perturbation, text: str, language: str | None, seed: int) -> None:
    made = changed(kind, text, language, seed)
    assert made == changed(kind, text, language, seed)
    if made is None:
        return
    assert made != text
    assert made.strip()
    assert re.findall(r"\d", made) == re.findall(r"\d", text)
    assert codes(made) == codes(text)
    letters = sum(map(str.isalpha, text))
    shortest, longest = {
        "typos": (len(text) - max(1, letters // 12), len(text) + max(1, letters // 12)),
        "accents": (1, len(text)),
        "lowercase": (len(text), 3 * len(text)),
        "uppercase": (len(text), 3 * len(text)),
        "spacing": (1, 2 * len(text) + 2),
        "punctuation": (1, len(text) - 1),
        "rewording": (len(text) + 1, len(text) + 20),
    }[kind]
    assert shortest <= len(made) <= longest


@given(TEXTS)
def test_accents_are_dropped_once_and_for_all(text: str) -> None:
    once = changed("accents", text)
    assert once is None or changed("accents", once) is None


@given(st.lists(WORDS, min_size=1, max_size=14).map(" ".join), st.integers(0, 9))
def test_negations_keep_their_letters(text: str, seed: int) -> None:
    made = changed("typos", text, seed=seed) or text
    assert [t for t in made.split() if is_negation(t)] == [t for t in text.split() if is_negation(t)]


def test_seeds_differ() -> None:
    text = "Which mountain range separates the two old kingdoms of the north?"
    assert len({changed("typos", text, seed=seed) for seed in range(20)}) > 15


def test_typos_are_one_for_twelve_letters() -> None:
    text = "abcdefghijkl mnopqrstuvwx yzabcdefghij"
    made = changed("typos", text)
    assert made is not None
    assert sum(a != b for a, b in zip(made.split(), text.split(), strict=True)) == 3
    assert [w[0] for w in made.split()] == [w[0] for w in text.split()]


@pytest.mark.parametrize(
    "text", ["", "E-104", "is it on?", "NOT NEVER", "never without", "HP-80 V3 12:30", "DNA?", "don't n'existe"]
)
def test_texts_that_hold_no_place_for_a_typo(text: str) -> None:
    assert changed("typos", text) is None


def test_short_words_hold_a_typo_only_where_there_are_no_long_ones() -> None:
    assert all((changed("typos", "fait circuler", seed=s) or "").startswith("fait ") for s in range(20))
    assert changed("typos", "qui fait quoi") != "qui fait quoi"


def test_keys_that_touch() -> None:
    assert set(neighbours("s", "en")) == set("adwezx")
    assert set(neighbours("a", "fr")) == set("zq")
    assert set(neighbours("q", "en")) == set("wa")
    assert neighbours("é", "fr") == ""


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("accents", "L'été où ça s'arrêta, à 48 °C", "L'ete ou ca s'arreta, a 48 °C"),
        ("accents", "e\u0301te\u0301", "ete"),
        ("accents", "défaut É-104", "defaut É-104"),
        ("accents", "No accent, пойми, हिन्दी, ½", None),
        ("lowercase", "What does Fault E-104 mean on an HP press?", "what does fault E-104 mean on an hp press?"),
        ("lowercase", "already low", None),
        ("uppercase", "set it to 5 mA, été", "SET IT TO 5 mA, ÉTÉ"),
        ("uppercase", "call a@b.org", "CALL a@b.org"),
        ("punctuation", "Qui est-ce ?", "Qui est-ce"),
        ("punctuation", "Really?! ", "Really"),
        ("punctuation", "« azyme » ?", "« azyme »"),
        ("punctuation", "no mark ", None),
        ("punctuation", "?", None),
        ("rewording", " ", None),
    ],
)
def test_what_each_change_does(kind: Perturbation, text: str, expected: str | None) -> None:
    assert changed(kind, text, "fr") == expected


def test_spacing_doubles_a_space_drops_the_french_one_and_leaves_some_at_the_end() -> None:
    made = changed("spacing", "Combien font 10 000 fois deux ?", "fr")
    assert made is not None
    assert "deux?" in made
    assert "10 000" in made
    assert made.count("  ") >= 1
    assert made != made.rstrip()
    assert " ".join(made.split()) == "Combien font 10 000 fois deux?"


def test_rewordings_hold_any_question() -> None:
    assert perturbations.reword("{q} {x}?", "A: {q}.") == "A: {q} {x}?."
    assert {changed("rewording", "Why?", seed=s) for s in range(9)} == {"Please answer: Why?", "Why?\nAnswer briefly."}
    assert perturb("rewording", "Why?", "de", random.Random(0), {}) is None


@pytest.mark.parametrize("token", ["E-104", "4.5", "x_1", "a@b.org", "km/h", "½", "file.txt", "C:\\"])
def test_codes(token: str) -> None:
    assert is_code(token)


@pytest.mark.parametrize("token", ["press", "l'été", "HP", "end.", "...", "—"])
def test_words_that_are_no_codes(token: str) -> None:
    assert not is_code(token)


def test_codes_stand_without_the_punctuation_around() -> None:
    assert codes("Is (E-104) 4.5, or « x_1 »?") == ("E-104", "4.5", "x_1")


@pytest.mark.parametrize("token", ["not", "Don't", "don’t", "n'est-ce", "SANS", "jamais,"])
def test_negations(token: str) -> None:
    assert is_negation(token)
