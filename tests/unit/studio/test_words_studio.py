"""Both languages say the same things, and French is written as French."""

import json
import re
import string
from pathlib import Path

import pytest

from limpide.core.errors import LimpideError
from limpide.studio import words
from limpide.studio.words import LANGUAGES, WORDS, language, preferred

PAGES = ("ask", "data", "model", "recipe", "release", "report", "run", "service")


def files(code: str) -> dict[str, dict[str, str]]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (WORDS / code).glob("*.json")}


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_both_languages_have_the_same_sentences_with_the_same_places() -> None:
    english, french = files("en"), files("fr")
    assert set(english) <= set(french)
    for page in english:
        assert set(english[page]) == set(french[page]), page
        for key, text in english[page].items():
            # '.one' may spell the number out in one language and write it in another
            assert placeholders(text) ^ placeholders(french[page][key]) <= {"count"}, key


@pytest.mark.parametrize("code", LANGUAGES)
def test_keys_begin_with_their_page_and_no_sentence_is_empty(code: str) -> None:
    for page, sentences in files(code).items():
        for key, text in sentences.items():
            assert key.startswith(f"{page}."), key
            assert text.strip() == text != "", key


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_page_has_its_heading(code: str) -> None:
    said = language(code)
    for page in PAGES:
        for key in (f"{page}.title", f"{page}.lead", f"frame.nav.{page}"):
            assert said.has(key), key


def test_french_is_spaced_and_has_its_own_quotes() -> None:
    wrong = [
        key
        for sentences in files("fr").values()
        for key, text in sentences.items()
        if re.search(r"[A-Za-zÀ-ÿ0-9)}»][;!?](\s|$)|[A-Za-zÀ-ÿ)}»]:\s|[“”]", language("fr").words[key])
    ]
    assert wrong == []


def test_counted_sentences_have_both_forms() -> None:
    for code in LANGUAGES:
        known = language(code).words
        for key in (key for sentences in files(code).values() for key in sentences):
            if key.endswith(".one"):
                assert f"{key.removesuffix('.one')}.many" in known, key


def test_a_key_given_twice_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "en").mkdir()
    for name in ("a", "b"):
        (tmp_path / "en" / f"{name}.json").write_text('{"a.title": "x"}')
    monkeypatch.setattr(words, "WORDS", tmp_path)
    with pytest.raises(LimpideError, match=r"'a\.title' is given twice"):
        language.__wrapped__("en")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("fr-FR,fr;q=0.9,en;q=0.8", "fr"),
        ("en-GB,en;q=0.9", "en"),
        ("de,fr;q=0.5,en;q=0.7", "en"),
        ("de", "en"),
        ("", "en"),
        ("fr;q=0, en", "en"),
        ("fr;q=x,en;q=0.1", "en"),
        ("*" * 10000, "en"),
    ],
)
def test_the_browsers_language(header: str, code: str) -> None:
    assert preferred(header) == code
    assert preferred("de", "fr") == "fr"
