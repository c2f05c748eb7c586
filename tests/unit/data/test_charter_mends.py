"""What code puts right is right, and what is not certain is left alone."""

import pytest

from limpide.data import french, terms
from limpide.data.charter import Charter
from limpide.data.charter_mends import mend
from limpide.data.charter_rules import Said
from limpide.data.swapping import plural, swap_all

CHARTER = Charter.model_validate(
    {
        "glossary": [
            {"term": "hub", "language": "en", "instead_of": ["dock", "service station"]},
            {"term": "e-bike", "language": "en", "instead_of": ["electric bike"]},
            {"term": "borne", "language": "fr", "instead_of": ["station", "point"]},
            {"term": "antivol", "language": "fr", "instead_of": ["cadenas", "verrou"]},
        ],
        "forbidden": [
            {"term": "cheap", "instead": "affordable", "drop_in": True},
            {"term": "bypass", "instead": "call us"},
        ],
        "required": [
            {"say": "If anyone is hurt, call 112", "at": "end", "when": ["accident"], "language": "en"},
            {"say": "electrician", "when": ["E-219"]},
        ],
        "tone": {"person": "we", "address": "vous"},
        "style": {"no_exclamation": True, "no_emoji": True, "no_lists": True, "no_contractions": True, "max_words": 30},
    }
)
GENDERS = french.genders(["La borne, une station, le point, le cadenas, un antivol, le verrou."])


def mended(answer: str, question: str = "?", language: str = "en") -> tuple[str, tuple[str, ...], list[str]]:
    found = mend(CHARTER, Said(question, answer, language), GENDERS)
    return found.text, found.rules, [one.rule for one in found.left]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("Leave it at a dock, there are two docks.", "Leave it at a hub, there are two hubs."),
        ("A service station is near.", "A hub is near."),
        ("It's an electric bike.", "It is an e-bike."),
        ("Take a cheap bicycle.", "Take an affordable bicycle."),
        ("Well done!! Is it free?! Yes !", "Well done. Is it free? Yes."),
        ("I'm sure that I was there, and it is my job.", "We are sure that we were there, and it is our job."),
        ("Call me. Am I late?", "Call us. Are we late?"),
        ("Can I help? I've checked, and I never lost it.", "Can we help? We have checked, and we never lost it."),
        ("See Part I. I don't know what I was told.", "See Part I. We do not know what we were told."),
        ("You're right, they can't, we won't.", "You are right, they cannot, we will not."),
        ("Done 👍 Thank you 😊", "Done. Thank you."),
        ("Do this:\n- Stop it\n- Call us", "Do this: Stop it. Call us."),
        ("Bring:\n1. a key\n2. a card", "Bring: a key, a card."),
    ],
)
def test_what_is_put_right(answer: str, text: str) -> None:
    found, _, left = mended(answer)
    assert found == text
    assert left == []


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("Les stations et le point.", "Les bornes et le point."),  # another gender: an article would be wrong
        ("Va à la station, tu fermes ton verrou.", "Allez à la borne, vous fermez votre antivol."),
        ("Fermez le cadenas, mettez les cadenas.", "Fermez l'antivol, mettez les antivol."),
    ],
)
def test_in_french(answer: str, text: str) -> None:
    assert mended(answer, language="fr")[0] == text


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        ("Don't you see it?", "no_contractions"),  # 'do not you'
        ("It's been a day.", "no_contractions"),  # it has
        ("You'd see it.", "no_contractions"),  # had, would
        ("It's become hard.", "no_contractions"),  # it has
        ("Use a wheel if x != y.", "no_exclamation"),  # code
        ("Start with #!/bin/sh, then stop.", "no_exclamation"),
        ("It was a type I error.", "person"),  # 'type we'
        ("It is the part I like.", "person"),  # a relative clause, or a part that is called I
        ("The lever I released is on O and I will show.", "person"),
        ('Press "I will call" on the screen.', "person"),  # what is written there
        ("Open My Account.", "person"),
        ("I am a doctor.", "person"),  # 'we are a doctor'
        ("I called and was told.", "person"),  # 'we called and was told'
        ("Turn it I times.", "person"),
        ("Bypass the guard.", "forbidden"),  # 'call us the guard': no drop-in
        ("word " * 31, "max_words"),  # what would be cut?
        ("Je ferme la porte et elle est dans le mur.", "person"),  # 'nous ferme'
    ],
)
def test_what_is_not_certain_is_left(answer: str, rule: str) -> None:
    assert mended(answer) == (answer, (), [rule])


@pytest.mark.parametrize(
    "answer",
    [
        "Turn the main switch to **I**, wait until it is green.",
        "Turn the main switch to I, wait until it is green.",
        "Set the lever to 'I' or to position I.",
        "Press the I/O button, where I = on.",
    ],
)
def test_a_mark_is_no_person(answer: str) -> None:
    """Neither turned into 'we', nor told as a break."""
    assert mended(answer) == (answer, (), [])


def test_a_cut_pronoun_that_is_none_is_left() -> None:
    assert mended("Tu vois comme il va-t'en dire ?", language="fr")[2] == ["address"]


def test_a_disclaimer_is_put_at_the_end() -> None:
    assert mended("Stay calm", "An accident?")[0] == "Stay calm. If anyone is hurt, call 112."
    within = "If anyone is hurt, call 112. Stay calm."
    assert mended(within, "An accident?") == (within, (), ["required"])  # said twice, it would be no better
    assert mended("...", "An accident?")[0] == "..."  # beside nothing, it would pass for an answer
    assert mended("Wait.", "E-219?") == ("Wait.", (), ["required"])  # one word is no sentence to add


def test_a_rule_can_be_kept_broken() -> None:
    said = Said("?", "I don't see a dock!", "en")
    assert mend(CHARTER, said, GENDERS, keep="no_contractions").text == "We don't see a hub."
    assert mend(CHARTER, said, GENDERS).rules == ("instead_of", "person", "no_exclamation", "no_contractions")


@pytest.mark.parametrize(
    ("text", "old", "new", "language", "swapped"),
    [
        ("A dock.", "dock", "hub", "en", "A hub."),
        ("an orange, Oranges", "orange", "pear", "en", "a pear, Pears"),
        ("a pear", "pear", "hour", "en", "an hour"),
        ("a pear", "pear", "unit", "en", "a unit"),
        ("a pear", "pear", "NASA", "en", None),  # how it is read does not show
        ("l'antivol", "antivol", "verrou", "fr", "le verrou"),
        ("le verrou", "verrou", "antivol", "fr", "l'antivol"),
        ("la station", "station", "borne", "fr", "la borne"),
        ("la station", "station", "verrou", "fr", None),
        ("les stations", "station", "borne de rue", "fr", None),  # bornes de rue
        ("la station", "station", "inconnue", "fr", None),  # of no known gender
        ("nothing", "dock", "hub", "en", None),
    ],
)
def test_swaps(text: str, old: str, new: str, language: str, swapped: str | None) -> None:
    assert swap_all(text, terms.term(old), new, language, GENDERS) == swapped


def test_a_wrong_gender_is_good_enough_for_what_is_rejected() -> None:
    assert swap_all("la station", terms.term("station"), "verrou", "fr", None) == "la verrou"


@pytest.mark.parametrize(
    ("word", "language", "many"),
    [("body", "en", "bodies"), ("day", "en", "days"), ("box", "en", "boxes"), ("tuyau", "fr", "tuyaux"),
     ("journal", "fr", "journaux"), ("prix", "fr", "prix"), ("clé", "fr", "clés")],
)  # fmt: skip
def test_plurals(word: str, language: str, many: str) -> None:
    assert plural(word, language) == many
