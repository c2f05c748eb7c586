"""Sentences and their twins: grammar kept, or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpide.core.errors import DataError, UsageError
from limpide.data.swaps import before_gender, cased, entries, read_swaps, swapped

BOTH_WAYS_EN = [
    ("She is a nurse and her brother is a doctor.", "He is a nurse and his sister is a doctor."),
    ("I saw her at the station.", "I saw him at the station."),
    ("The book is hers.", "The book is his."),
    ("The red car is his, not mine.", "The red car is hers, not mine."),
    ("Mrs Parker said that she hurt herself.", "Mr Parker said that he hurt himself."),
    ("An actress met a waiter.", "An actor met a waitress."),
    ("A hostess saw an empress.", "A host saw an emperor."),
    ("The heiress greeted a gentleman.", "The heir greeted a lady."),
    ("An heir of the queen.", "An heiress of the king."),
    ("SHE LEFT.", "HE LEFT."),
    ("Emily lost her own keys.", "Michael lost his own keys."),
    ("She's late, isn't she?", "He's late, isn't he?"),
    ("Give it to her, please.", "Give it to him, please."),
    ("My grandmother's house", "My grandfather's house"),
    ("He told her that her mother was late.", "She told him that his father was late."),
]
BOTH_WAYS_FR = [
    ("La femme est infirmière.", "L'homme est infirmier."),
    ("Elle est partie hier.", "Il est parti hier."),
    ("Cette femme est fatiguée et heureuse.", "Cet homme est fatigué et heureux."),
    ("La directrice générale est arrivée en retard.", "Le directeur général est arrivé en retard."),
    ("Madame Lambert a été licenciée.", "Monsieur Lambert a été licencié."),
    ("Mme Lambert est venue.", "M. Lambert est venu."),
    ("Je vais au marché avec elle.", "Je vais au marché avec lui."),
    ("Il faut que la vendeuse parte.", "Il faut que le vendeur parte."),
    ("C'est une vieille femme.", "C'est un vieil homme."),
    ("La belle actrice", "Le bel acteur"),
    ("Je parle de la femme à la vendeuse.", "Je parle de l'homme au vendeur."),
    ("L'infirmière de l'hôpital a mangé.", "L'infirmier de l'hôpital a mangé."),
    ("Ma fille est étudiante.", "Mon fils est étudiant."),
    ("Ma femme est malade.", "Mon mari est malade."),
    ("La fille court.", "Le garçon court."),
    ("La grand-mère est couchée.", "Le grand-père est couché."),
    ("Les femmes sont heureuses.", "Les hommes sont heureux."),
    ("La secrétaire est absente.", "Le secrétaire est absent."),
    ("Une journaliste sportive est morte.", "Un journaliste sportif est mort."),
    ("Elle-même est venue.", "Lui-même est venu."),
    ("A-t-elle mangé ?", "A-t-il mangé ?"),
    ("Si elle vient, elle sera contente.", "S'il vient, il sera content."),
    ("Sophie est plus grande qu'elle.", "Laurent est plus grand que lui."),
    ("Elle est fière d'elle.", "Il est fier de lui."),
    ("La femme qui est partie est ma tante.", "L'homme qui est parti est mon oncle."),
    ("La porte est fermée, dit la patronne.", "La porte est fermée, dit le patron."),
    ("Mon amie est venue avec une belle robe.", "Mon ami est venu avec une belle robe."),
    ("La chanteuse est créative, sérieuse et motivée.", "Le chanteur est créatif, sérieux et motivé."),
    ("Elle est musicienne.", "Il est musicien."),
    ("Elle s'est levée.", "Il s'est levé."),
    ("Le chat est mort, dit la voisine.", "Le chat est mort, dit le voisin."),
    ("La patronne du café parisien est venue.", "Le patron du café parisien est venu."),
    ("La dame garde son sang-froid.", "Le monsieur garde son sang-froid."),
    ("La femme est devenue directrice.", "L'homme est devenu directeur."),
]
UNSURE = [
    ("en", "I gave her money."),  # money to her, or hers
    ("en", "Call her back."),
    ("en", "The dogs follow her closely."),
    ("en", "Nobody likes his and her cars."),
    ("fr", "La voiture est belle, elle roule vite."),  # the car
    ("fr", "La femme a garé la voiture, elle est grise."),
    ("fr", "Paul et Marie sont arrivés."),
    ("fr", "Elle la juge."),
    ("fr", "Je l'ai vue avec la voisine."),
    ("fr", "Fatiguée, la femme rentre."),
    ("fr", "Il s'est lavé les mains."),
    ("fr", "Le petit-déjeuner du voisin, celui de lundi."),
    ("fr", "Une femme indépendante travaille."),
]
NOTHING = [
    ("en", "The water is cold."),
    ("en", "My mother tongue is French."),
    ("en", "Themes of otherwise sheer mothering."),
    ("fr", "Il pleut."),
    ("fr", "Il est temps de partir."),
    ("fr", "Il y a un pont."),
    ("fr", "La porte est fermée."),
    ("fr", "Je lui parle."),
]


@pytest.mark.parametrize(("text", "twin"), BOTH_WAYS_EN)
def test_english_twins_keep_their_grammar_both_ways(text, twin):
    assert swapped(text, "en") == twin
    assert swapped(twin, "en") == text


@pytest.mark.parametrize(("text", "twin"), BOTH_WAYS_FR)
def test_french_twins_agree_both_ways(text, twin):
    assert swapped(text, "fr") == twin
    assert swapped(twin, "fr") == text


@pytest.mark.parametrize(("language", "text"), UNSURE)
def test_there_is_no_twin_where_the_grammar_is_not_sure(language, text):
    assert swapped(text, language) is None


@pytest.mark.parametrize(("language", "text"), NOTHING)
def test_there_is_no_twin_where_nobody_is_named(language, text):
    assert swapped(text, language) is None


def test_words_with_two_counterparts_go_one_way():
    assert swapped("Miss Parker is here.", "en") == "Mr Parker is here."
    assert swapped("Le monsieur est là.", "fr") == "La dame est là."
    assert swapped("Monsieur Lambert est là.", "fr") == "Madame Lambert est là."


def test_typographic_apostrophes_are_read():
    assert swapped("L’homme est parti.", "fr") == "La femme est partie."
    assert swapped("She’s here.", "en") == "He’s here."


# ------------------------------------------------------------------------------------------------- over every word

EN = [e for e in entries("en") if e.kind in ("noun", "name")]
FR = [e for e in entries("fr") if e.kind == "noun" and not e.first.endswith("s") and e.first not in ("madame", "mme")]
FRAMES_EN = ("The {} left early.", "We met the {} and he laughed.", "{} said so.", "My {}, who had left, wrote to him.")
FRAMES_FR = ("{} est là.", "Je pense à {}.", "La voisine sourit à {}.", "Nous parlons avec {}, et il rit.")


@given(st.sampled_from(EN), st.sampled_from(FRAMES_EN), st.booleans(), st.booleans())
def test_an_english_swap_undoes_itself(entry, frame, first, capitals):
    text = frame.format(entry.first if first else entry.second)
    text = text.upper() if capitals and entry.kind == "noun" else text[0].upper() + text[1:]
    twin = swapped(text, "en")
    assert twin is not None
    assert twin != text
    assert swapped(twin, "en") == text


@given(st.sampled_from(FR), st.sampled_from(FRAMES_FR), st.sampled_from(("cette", "une")))
def test_a_french_swap_undoes_itself(entry, frame, determiner):
    text = frame.format(f"{determiner} {entry.first}")
    text = text[0].upper() + text[1:]
    twin = swapped(text, "fr")
    assert twin is not None
    assert entry.second in twin
    assert swapped(twin, "fr") == text


@given(st.text(alphabet="aeil 'hmnrsu-.,LME", max_size=40), st.sampled_from(("en", "fr")))
def test_any_text_has_a_twin_or_none(text, language):
    twin = swapped(text, language)
    assert twin is None or twin != text


def test_capitals_are_kept():
    assert [cased(like, "madame") for like in ("monsieur", "Monsieur", "MONSIEUR", "M")] == [
        "madame",
        "Madame",
        "MADAME",
        "Madame",
    ]
    assert cased("L'", "la") == "La"


def test_what_stands_before_the_first_word_of_a_gender():
    assert before_gender(" works there and then she left", "en") == " works there and then "
    assert before_gender(" works with Emily", "en") == " works with "
    assert before_gender(" is a nurse at the hospital", "en") == " is a nurse at the hospital"
    assert before_gender(" travaille dans la ville, chez elle", "fr") == " travaille dans la ville, chez "
    assert before_gender(" est souvent fatiguée", "fr") == " est souvent "
    assert before_gender(" a acheté une belle maison", "fr") == " a acheté une belle maison"


# -------------------------------------------------------------------------------------------------- lists of one's own


def test_a_list_of_ones_own_swaps_whole_words_and_keeps_capitals():
    pairs = (("Lagos", "Oslo"), ("old nurse", "young nurse"))
    assert swapped("The OLD nurse of Lagos.", "en", "origin", pairs) == "The Young nurse of Oslo."
    assert swapped("Lagosian music", "en", "origin", pairs) is None
    assert swapped("From Oslo to Lagos", "en", "origin", pairs) == "From Lagos to Oslo"


def test_an_article_follows_a_word_of_the_list_and_an_elision_has_no_twin():
    assert swapped("I met a Norwegian.", "en", "origin", (("Norwegian", "Algerian"),)) == "I met an Algerian."
    assert swapped("Il vient d'Oslo.", "fr", "origin", (("Oslo", "Lagos"),)) is None
    assert swapped("Il vient d'Oslo.", "fr", "origin", (("Oslo", "Alger"),)) == "Il vient d'Alger."


def test_faults_of_a_list_are_told_together_with_their_lines(tmp_path):
    path = tmp_path / "swaps.tsv"
    path.write_text("# who\nman\twoman\n\nnurse\tNurse\nman\tlady\nboy\t\nking\n", encoding="utf-8")
    with pytest.raises(DataError) as told:
        read_swaps(path)
    text = str(told.value)
    assert "swaps.tsv:4: 'nurse' is swapped with itself" in text
    assert "swaps.tsv:5: 'man' is swapped twice" in text
    assert "swaps.tsv:6: an empty word" in text
    assert "swaps.tsv:7: 1 columns, expected 2" in text


def test_a_list_is_read_with_tabs_semicolons_or_commas(tmp_path):
    path = tmp_path / "swaps.csv"
    path.write_text('\ufeffman\twoman\nboy;girl\n"uncle","aunt"\n', encoding="utf-8")
    assert read_swaps(path) == (("man", "woman"), ("boy", "girl"), ("uncle", "aunt"))


def test_a_list_that_is_empty_missing_or_not_text_is_refused(tmp_path):
    (tmp_path / "empty.tsv").write_text("# nothing\n", encoding="utf-8")
    (tmp_path / "bytes.tsv").write_bytes(b"\xff\xfe\x00")
    for name, said in (("empty.tsv", "is empty"), ("bytes.tsv", "cannot be read"), ("absent.tsv", "cannot be read")):
        with pytest.raises(DataError, match=said):
            read_swaps(tmp_path / name)


def test_pairs_given_in_code_are_checked_too():
    with pytest.raises(DataError, match="swapped with itself"):
        swapped("a man", "en", swaps=(("man", "Man"),))


def test_an_axis_or_a_language_without_a_list_says_what_to_give():
    with pytest.raises(UsageError, match="no shipped list of words to swap for origin"):
        swapped("The man from Oslo", "en", "origin")
    with pytest.raises(UsageError, match="in 'de'"):
        swapped("Die Frau", "de")
