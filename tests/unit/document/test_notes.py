"""Notes are translated when every word of them is known, and never otherwise."""

from evidence_suites import CLOSED, measure
from limpide.document.language import language
from limpide.document.notes import in_words, limits, patterns

EN, FR = language("en"), language("fr")


def test_a_known_note_is_translated_whole() -> None:
    said, lang = in_words("Chance gives 0.25. Answers that name no option count as wrong.", FR)
    assert lang is None
    assert said == "Le hasard donne 0,25. Les réponses qui ne désignent aucun choix comptent comme fausses."


def test_numbers_of_the_run_are_kept_and_written_in_french() -> None:
    note = "255 candidates can show 8.0 bits at most, of 19.9 for a canary that is likeliest of all. One canary says "
    said, lang = in_words(note + "little about other rows.", FR)
    assert lang is None
    assert "8,0 bits" in said
    assert said.startswith("255 phrases")


def test_a_note_with_one_unknown_word_stays_as_it_is() -> None:
    note = "Chance gives 0.25. Nobody has translated this."
    assert in_words(note, FR) == (note, "en")
    assert in_words(note, EN) == (note, None)


def test_reasons_are_translated_too() -> None:
    assert in_words(CLOSED, FR)[0].startswith("il faut la vraisemblance")


def test_a_sentence_is_said_once_with_the_measures_it_is_about() -> None:
    general = "General knowledge on Limpide's own questions, not the organisation's domain."
    first = measure("truth.accuracy", 0.4, note=f"Chance gives 0.25. {general}")
    second = measure("truth.accuracy_per_token", 0.4, note="Chance gives 0.25.")
    both, one = limits([first, second, first], EN)
    assert (both.of, both.said) == ("", ("Chance gives 0.25.", None))
    assert (one.of, one.said[0]) == ("Right option chosen out of four", general)


def test_why_a_number_is_missing_is_no_limit_of_a_number() -> None:
    assert limits([measure("truth.ece", None)], EN) == []


def test_no_text_takes_more_time_than_its_length_asks_for() -> None:
    """Of all placeholders of a sentence, one alone may end in several places: the others stand in atomic groups."""
    known = patterns(language("en").words, "note.")
    assert known
    assert all(pattern.form.pattern.count(".+?") <= 1 + pattern.form.pattern.count("(?>") for pattern in known)
