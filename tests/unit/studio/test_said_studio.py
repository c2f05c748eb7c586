"""What jobs say is told in French where the whole of it is known, and stays English, marked as such, elsewhere."""

from typing import Any

import pytest

from limpide.document.language import NARROW, NO_BREAK
from limpide.studio.said import LONGEST, fact, fault, said, step_title, task
from limpide.studio.words import language

EN, FR = language("en"), language("fr")
NO_BREAKS = str.maketrans({NARROW: " ", NO_BREAK: " "})


def in_french(text: str) -> str:
    """With ordinary spaces; a text that is not known is refused."""
    words, lang = said(text, FR)
    assert lang is None, text
    return words.translate(NO_BREAKS)


def test_a_sentence_within_a_sentence_and_a_step_are_told_too() -> None:
    text = "[3/7] audit-base-domain: How often the model gives the expected answer to questions it was not trained on."
    assert in_french(text) == (
        "[3/7] Avant : Votre domaine. La part des questions jamais apprises auxquelles le modèle donne la réponse "
        "attendue."
    )
    assert in_french("answers: training never lowered the validation loss: the adapter changes nothing") == (
        "Apprendre des réponses : l’apprentissage n’a jamais fait baisser la perte de validation : "
        "l’adaptateur ne change rien"
    )


def test_what_is_not_known_stays_english_and_says_so() -> None:
    for text in ("something quite new", "fitting: something quite new", "a.csv is empty: it holds no row. And new."):
        assert said(text, FR) == (text, "en")
        assert said(text, EN) == (text, None)


def test_no_unknown_sentence_hides_in_a_placeholder() -> None:
    text = "Nobody translated this. a.csv is empty: it holds no row."
    assert said(text, FR) == (text, "en")
    assert said("Many odd things sentences are left out: their two versions, or their second person, are unclear.", FR)[
        1
    ]


def test_numbers_are_written_as_in_french() -> None:
    assert said("a.csv: 1,244 rows, read as chat messages", FR)[0] == f"a.csv{NO_BREAK}: 1{NARROW}244 lignes, " + (
        "lues comme conversations"
    )
    assert "4,5 Mo" in in_french("kept 8 states of the adapter, 4.5 MB, to tell which examples taught an answer")
    assert "(12 %)" in in_french("a.csv: 3 of 25 rows (12%) were left out as faulty.")
    words = in_french(
        "layers: all 30 learn at 120 tokens/s, the upper 10 at 300 once the rest is kept, and after 20 steps lose "
        "-0.0123 nats a token more (-0.0200 to +0.0010) on rows kept aside: adapters on 10"
    )
    assert "−0,0123 nats par jeton de plus (−0,0200 à +0,0010)" in words


def test_the_sentence_with_the_most_words_of_its_own_is_tried_first() -> None:
    """'counterfactual: {sentence}', not 'counterfactual: 3' sentences."""
    text = (
        "counterfactual: 3 of 40 sentences were left out: no person of theirs could be swapped with the grammar kept "
    )
    assert in_french(f"{text}for sure, or nothing followed that both twins share.").startswith("counterfactual : 3 phr")
    assert in_french("Items of the shipped audits in the examples: 2 (2 of truth), kept as data.leakage allows.") == (
        "Questions des audits fournis dans les exemples : 2 (2 de « Vérité »), gardées comme le permet data.leakage."
    )


def test_what_a_check_found_is_told_with_its_place() -> None:
    text = "Personal data masked: 3 × e-mail address. First: data.csv:3: e-mail address 'a…@…org' in the user message."
    assert in_french(text) == (
        "Données personnelles, masquées : 3 × adresse électronique. "
        "Par exemple : data.csv, ligne 3 : adresse électronique « a…@…org » dans la question."
    )
    assert said("Personal data masked: 3 × shoe size.", FR)[1] == "en"


@pytest.mark.parametrize(
    ("text", "french"),
    [
        (
            "a.csv: columns were recognised by their name: 'Question' as prompt, 'R' as answer.",
            "« Question » = question, « R » = réponse",
        ),
        ("This may take up to 3 min: faithfulness 3 min, lens 4.5 s.", "jusqu’à 3 min : test 3 min, couches 4,5 s."),
        ("2 checks stop: rows, personal_data.", "Lignes fautives, Données personnelles"),
        (
            "Training answers that break the charter where no code can mend them: 5, of address (3), forbidden (2).",
            "5, dont forme d’adresse (3), terme interdit (2).",
        ),
    ],
)
def test_lists_are_told_piece_by_piece(text: str, french: str) -> None:
    assert french in in_french(text)


@pytest.mark.parametrize("name", ["{0}", "{evil}", "{__class__}.csv", "<b>x</b>.csv", "a'b\\1.csv", "%s.csv"])
def test_hostile_names_stay_text(name: str) -> None:
    assert said(name, FR) == (name, "en")
    assert in_french(f"{name} is empty: it holds no row.") == f"{name} est vide : il ne contient aucune ligne."


@pytest.mark.parametrize("piece", [": ", "a; ", "a:1: ", "of (a) rows ", "Length alone may be learnt. ", "[1/2] x: "])
def test_long_hostile_texts_are_left_alone(piece: str) -> None:
    text = piece * (LONGEST // len(piece) - 1) + "x"
    assert said(text, FR) == (text, "en")
    assert said("x" * (LONGEST + 1), FR)[1] == "en"


def test_what_already_speaks_french_is_not_marked() -> None:
    assert in_french("Durée : occlusion 3,2 s.") == "Durée : occlusion 3,2 s."


def test_pieces_of_work_have_plain_names() -> None:
    assert task("answering", FR) == ("Il répond à des questions", None)
    assert task("answering", EN) == ("It answers questions", None)
    assert task("Downloading hub/model", FR) == ("hub/model est téléchargé", None)
    assert task("Downloading hub/model", EN) == ("Downloading hub/model", None)
    assert task("something new", FR) == ("something new", "en")


def test_a_step_without_words_keeps_its_name() -> None:
    assert step_title("audit-result-bias", FR).translate(NO_BREAKS) == "Après : Biais"
    assert step_title("adapt", EN) == EN.say("run.step.adapt")
    assert step_title("audit-result-own", FR) == "audit-result-own"
    assert step_title("my-step", FR) == "my-step"


@pytest.mark.parametrize(
    ("name", "value", "shown"), [("loss", 1.23456, "perte 1,23"), ("gap", 0.5, "gap 0,5"), ("x", "<b>", "x <b>")]
)
def test_facts_of_a_piece_of_work(name: str, value: Any, shown: str) -> None:
    assert fact(name, value, FR) == shown


@pytest.mark.parametrize(
    ("what", "french"),
    [
        ("'answer' is empty", "« answer » est vide"),
        ("message 3: 'role' must be text, not a number", "message 3 : « role » doit être un texte, pas un nombre"),
        ("'text' holds a NUL character (U+0000) at character 4: remove it", "un caractère nul (U+0000)"),
        ("broken JSON: nested too deep. The rest of the file could not be read", "Le reste du fichier n’a pas pu"),
        (
            "a.csv is empty: it holds no row.; received 0 bytes; to do: check its permissions",
            "Reçu : 0 octets. À faire",
        ),
        (
            "train, but says the same, or nearly, as a.csv:9 (held_out)",
            "à apprendre, mais dit la même chose que a.csv:9",
        ),
    ],
)
def test_faults_of_files(what: str, french: str) -> None:
    words, lang = fault(what, FR)
    assert lang is None
    assert french in words.translate(NO_BREAKS)


@pytest.mark.parametrize(
    ("text", "french"),
    [
        ("There is no file x.csv in the folder /a/b. Did you mean 'y.csv'?", "Vouliez-vous dire « y.csv » ?"),
        ("There is no file x.csv : the folder a is not there either.", "ni de dossier a"),
        ("3 things are wrong in the examples. The first 2 are shown, 1 more follow.", "3 choses sont à corriger"),
        ("1 thing is wrong in a.csv.", "Une chose est à corriger dans a.csv."),
        (
            "2 checks stop: 3 secret in the examples: a model could learn it and give it away; 1 in the examples and "
            "in the audits: learnt, it would make the audit of the result mean nothing.",
            "2 contrôles arrêtent : 3 secrets dans les exemples",
        ),
        ("remove it, or set data.secrets to mask, or to {allow: <why it may be learnt>}", "« allow » avec la raison"),
        ("a.csv has no column for the question nor the answer.", "pas de colonne pour la question ni pour la réponse"),
        ("a file, .jsonl, .json, .csv, .xlsx or .parquet", "un fichier, .jsonl, .json, .csv, .xlsx ou .parquet"),
        ("section 'Data' of README.md; section 'Bias' of README.md", "la section « Data » de README.md ; la section"),
        ("rename the column, or say which one it is in the recipe: data.columns: {prompt: q}", "{prompt: q}"),
    ],
)
def test_errors_of_files_and_models(text: str, french: str) -> None:
    assert french in in_french(text)
