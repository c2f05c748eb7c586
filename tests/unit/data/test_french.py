"""'vous' and 'tu' turned into one another only where every verb and gender is known."""

import pytest

from limpide.data import french, french_verbs, writing

GENDERS = french.genders(["Le vélo est là.", "Une clé, la commande et la clé.", "Du poste, la poste."])


def test_genders_are_those_that_the_texts_show() -> None:
    assert GENDERS == {"vélo": "m", "clé": "f", "commande": "f"}  # 'poste' is shown as both


@pytest.mark.parametrize(
    ("vous", "tu"),
    [
        ("Vous pouvez rendre votre vélo, et nous vous aidons.", "Tu peux rendre ton vélo, et nous t'aidons."),
        ("Si vous avez perdu votre clé, appelez-nous.", "Si tu as perdu ta clé, appelle-nous."),
        ("Pouvez-vous fermer votre antivol ?", "Peux-tu fermer ton antivol ?"),
        ("Vous recevrez vos clés demain.", "Tu recevras tes clés demain."),
        ("Adressez-vous à votre agence.", "Adresse-toi à ton agence."),
        ("Vous ne le payez pas, c'est pour vous.", "Tu ne le paies pas, c'est pour toi."),
    ],
)
def test_there_and_back(vous: str, tu: str) -> None:
    assert french.to_tu(vous, GENDERS) == tu
    assert french.to_vous(tu) == vous


@pytest.mark.parametrize(
    ("text", "turned"),
    [
        ("Vous vous arrêtez, puis faites le 3.", "Tu t'arrêtes, puis fais le 3."),
        ("Allez-y, vous verrez.", "Vas-y, tu verras."),
        ("Vous jugerez.", None),  # no form of the table
        ("Vous rendez votre facture.", None),  # 'ton' or 'ta'?
        ("Arrêtez la presse.", None),  # an order alone does not say 'tu' to those who look for it
        ("La presse est arrêtée.", None),
    ],
)
def test_from_vous_to_tu(text: str, turned: str | None) -> None:
    assert french.to_tu(text, GENDERS) == turned


@pytest.mark.parametrize(
    ("text", "turned"),
    [
        ("Ouvre ton appli, scanne le code et tire le câble.", "Ouvrez votre appli, scannez le code et tirez le câble."),
        ("Ne ferme pas ton sac. Il ferme, tu paies.", "Ne fermez pas votre sac. Il ferme, vous payez."),
        ("As-tu ta carte ? On te la rend.", "Avez-vous votre carte ? On vous la rend."),
        ("T'inquiète, on t'aide.", None),  # an order that has lost its 'ne'
        ("Si tu ouvres et fermes la porte, ça va.", None),  # a second verb of the same subject
        ("Tu glandes.", None),
        ("La borne lit ta carte et garde le reste.", None),  # an order, or what the hub does?
        ("Le ton monte.", None),
    ],
)
def test_from_tu_to_vous(text: str, turned: str | None) -> None:
    assert french.to_vous(text) == turned


def test_every_form_of_the_table_is_of_its_kind() -> None:
    """'vous' forms are seen as such, and no form after 'tu' is one after 'vous' too."""
    unseen = [form for form in french_verbs.TU if len(form) > 4 and form.endswith("ez") and not writing.says_vous(form)]
    assert unseen == []
    assert not set(french_verbs.TU) & {present for present, _ in french_verbs.TU.values()}
    assert all(present.endswith(("s", "x")) for present, _ in french_verbs.TU.values())
