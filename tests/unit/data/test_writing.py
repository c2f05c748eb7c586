import pytest

from limpide.data.writing import emojis, language_of, list_lines, other_persons, says_tu, says_vous, sentences, words


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Stop the press and let the oil cool.", "en"),
        ("Arrêtez la presse et attendez que l'huile refroidisse.", "fr"),
        ("How do I change the return filter?", "en"),
        ("Que faire pour l'erreur F-212 ?", "fr"),
        ("E-104", None),
        ("", None),
        ("Pompe consignée", None),
    ],
)
def test_languages(text: str, language: str | None) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(
    ("text", "vous", "tu"),
    [
        ("Arrêtez la presse.", ["arrêtez"], []),
        ("Vous pouvez appeler votre équipe.", ["vous", "pouvez", "votre"], []),
        ("Tu peux appeler ton équipe, elle t’aide.", [], ["tu", "ton", "t'"]),
        ("Le ton monte chez nous, il y a-t-il assez d'air ?", [], []),
        ("Prenez rendez-vous chez le médecin.", ["prenez"], []),
        ("Il parle : va-t-il tomber ?", [], []),
        ("L'as-tu vu ?", [], ["tu"]),
        ("Arrête la presse.", [], []),
    ],
)
def test_how_a_reader_is_spoken_to(text: str, vous: list[str], tu: list[str]) -> None:
    assert says_vous(text) == vous
    assert says_tu(text) == tu


@pytest.mark.parametrize(
    ("text", "said"),
    [("See Part I, and World War I.", []), ("Step I'd take", ["I"]), ("It is the part I like.", ["I"]), ("We do.", [])],
)
def test_a_numeral_is_no_first_person(text: str, said: list[str]) -> None:
    assert other_persons(text, "en", "we") == said


def test_words_and_sentences() -> None:
    text = "Set it to 4.5 bar. « Stop ! » Then wait…\nCall — now"
    assert len(words(text)) == 10
    assert sentences(text) == ["Set it to 4.5 bar.", "« Stop !", "» Then wait…", "Call — now"]
    assert sentences('He said "stop." Then he left.') == ['He said "stop.', "Then he left."]
    assert sentences(" ") == words("— !") == []


def test_emojis() -> None:
    assert emojis("Bravo 👍🏽 ✅ ☎️") == ["👍", "🏽", "✅", "\ufe0f"]
    assert emojis("→ ✓ © ° € « » — 48 °C") == []


@pytest.mark.parametrize("text", ["- one", "Do:\n  * one", "1. Stop", "12) Stop", "a\n• b", "– oui"])
def test_lines_of_lists(text: str) -> None:
    assert len(list_lines(text)) == 1


@pytest.mark.parametrize("text", ["-5 °C", "4.5 bar", "E-104 - stop", "*bold* word", "2026. ", "1.5 mm"])
def test_lines_that_are_no_lists(text: str) -> None:
    assert list_lines(text) == []
