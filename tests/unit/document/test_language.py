"""Numbers, dates and sentences as each language writes them."""

import json
import math
import re

import pytest

from limpide.core.errors import LimpideError
from limpide.document.language import WORDS, decimals, language

EN, FR = language("en"), language("fr")
PLACEHOLDER = re.compile(r"\{(\w+)\}")


@pytest.mark.parametrize(
    ("share", "english", "french"),
    [
        (0.125, "12.5%", "12,5\u202f%"),
        (1.0, "100%", "100\u202f%"),
        (0.0, "0%", "0\u202f%"),
        (0.9999, ">\u202f99.9%", ">\u202f99,9\u202f%"),
        (0.0001, "<\u202f0.1%", "<\u202f0,1\u202f%"),
        (1 / 3, "33.3%", "33,3\u202f%"),
    ],
)
def test_percent(share: float, english: str, french: str) -> None:
    assert (EN.percent(share), FR.percent(share)) == (english, french)


def test_numbers_have_a_true_minus_and_no_negative_zero() -> None:
    assert EN.number(-1234.5, 1) == "\u22121,234.5"
    assert FR.number(-1234.5, 1) == "\u22121\u202f234,5"
    assert EN.number(-0.001, 2) == "0.00"
    assert EN.number(0.5, 1, sign=True) == "+0.5"


def test_numbers_that_are_not_finite_are_said_in_words() -> None:
    assert EN.number(math.inf, 1) == "infinite"
    assert FR.value(math.nan, "nats", with_unit=False) == "pas un nombre"


def test_values_by_unit() -> None:
    assert FR.value(0.5, "share") == "50\u202f%"
    assert EN.value(3.2135, "nats per token") == "3.21\u00a0nats/token"
    assert EN.value(38.0, "rank") == "38"
    assert EN.value(None, "share") == "not measured"
    assert EN.difference(0.916, "share") == "+91.6\u00a0points"


def test_small_numbers_keep_a_digit_that_shows() -> None:
    assert decimals("nats", [0.03, -0.01]) == 3
    assert decimals("nats", [0.03, 0.4]) == 2
    assert EN.value(0.0132, "nats", with_unit=False) == "0.013"


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.4e-6, "2.4\u00a0×\u00a010⁻⁶"), (4.5e13, "4.5\u00a0×\u00a010¹³"), (0.0005, "0.0005"), (0, "0")],
)
def test_significant(value: float, text: str) -> None:
    assert EN.significant(value) == text


def test_a_number_that_rounds_up_to_ten_has_the_next_power() -> None:
    assert EN.significant(9.999e-8) == "1\u00a0×\u00a010⁻⁷"


def test_dates_sizes_and_durations() -> None:
    assert FR.date("2026-12-01") == "1er\u00a0décembre 2026"
    assert EN.date("2026-11-22T10:00:00+00:00") == "22\u00a0November 2026"
    assert EN.date("last week") == "last week"
    assert (EN.bytes(98_100_000), FR.bytes(98_100_000)) == ("98.1\u00a0MB", "98,1\u00a0Mo")
    assert EN.duration(231.4) == "3\u00a0min\u00a051\u00a0s"
    assert FR.about(134_515_008) == "135\u00a0millions de".replace("\u00a0", " ")


def test_french_counts_zero_and_one_and_a_half_as_singular() -> None:
    assert FR.say("tokens", 1.5) == "2 jeton"
    assert FR.say("tokens", 2) == "2 jetons"
    assert EN.say("tokens", 0) == "0 tokens"


def test_french_spacing() -> None:
    assert FR.say("section.job") == "A-t-il appris son métier\u202f?"
    assert FR.say("colon") == "\u00a0:"


def test_both_languages_say_the_same_things() -> None:
    english, french = (json.loads((WORDS / f"{code}.json").read_text(encoding="utf-8")) for code in ("en", "fr"))
    assert english.keys() == french.keys()
    different = [k for k in english if set(PLACEHOLDER.findall(english[k])) != set(PLACEHOLDER.findall(french[k]))]
    assert different == []


def test_nothing_is_ever_called_compliant() -> None:
    said = " ".join([*EN.words.values(), *FR.words.values()]).lower()
    assert "compliant" not in said
    assert "conforme à la" not in said


def test_an_unknown_sentence_names_the_nearest() -> None:
    with pytest.raises(LimpideError, match="have no sentence") as error:
        EN.say("verdict.ship.titel")
    assert "Did you mean 'verdict.ship.title'?" in str(error.value)


def test_an_unknown_language_lists_the_known() -> None:
    with pytest.raises(LimpideError, match="cannot be written in 'xx'") as error:
        language("xx")
    assert error.value.expected == "en, fr"


def test_text_falls_back_to_what_was_given_and_says_its_language() -> None:
    assert FR.text({"en": "only English"}) == "only English"
    assert FR.lang({"en": "only English"}) == "en"
    assert FR.lang({"fr": "français"}) is None
    assert FR.text("") is None
