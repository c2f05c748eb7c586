"""A good charter is read; every fault of a bad one is told with its line; rules break where they should."""

from pathlib import Path

import pytest

from limpide.core import files
from limpide.core.errors import DataError, MissingError
from limpide.data.charter import Charter, load_charter
from limpide.data.charter_rules import Said, asked_to_say, breaks

EXAMPLE = Path(__file__).parents[3] / "examples" / "press-operator" / "charter.yaml"
GOOD = """\
version: 1
glossary:
  - term: ram
    language: en
    means: the part that comes down
    instead_of: [piston, slide]
    ask: Which part comes down?
  - {term: return filter, instead_of: filter}
forbidden:
  - {term: guy, why: familiar, instead: Guy line}
required:
  - {when: [E-305, emergency stop], say: remove the danger first}
tone: {address: vous}
style:
  max_words_per_sentence: 10
  max_words: 20
  no_exclamation: true
  no_emoji: true
  no_lists: true
  same_language: true
questions:
  - What is the press?
  - {ask: Qui appeler ?, language: fr}
"""


def load(tmp_path: Path, text: str) -> Charter:
    path = tmp_path / "charter.yaml"
    path.write_text(text, encoding="utf-8")
    return load_charter(path)


def faults(tmp_path: Path, text: str) -> list[tuple[int | None, str]]:
    with pytest.raises(DataError) as caught:
        load(tmp_path, text)
    assert "charter.yaml" in caught.value.what
    return [(fault.line, fault.what) for fault in caught.value.faults]


def test_a_good_one(tmp_path: Path) -> None:
    charter = load(tmp_path, GOOD)
    assert charter.glossary[1].instead_of == ("filter",)
    assert [q.ask for q in charter.questions] == ["What is the press?", "Qui appeler ?"]
    assert charter.required[0].when == ("E-305", "emergency stop")
    assert charter.style_rules == (
        "address",
        "same_language",
        "max_words",
        "max_words_per_sentence",
        "no_exclamation",
        "no_emoji",
        "no_lists",
    )


def test_the_example_loads() -> None:
    charter = load_charter(EXAMPLE)
    assert {entry.language for entry in charter.glossary} == {"en", "fr"}
    assert sum(entry.ask is not None for entry in charter.glossary) >= 10
    assert charter.forbidden
    assert charter.required
    assert charter.tone.address == "vous"


def test_the_examples_own_answers_follow_their_charter() -> None:
    """No rule of it cries wolf on 244 good answers."""
    charter = load_charter(EXAMPLE)
    rows = files.read_jsonl(EXAMPLE.with_name("examples.jsonl"))
    assert [
        (r["id"], found) for r in rows if (found := breaks(charter, Said(r["prompt"], r["answer"], r["language"])))
    ] == []


def test_every_key_is_described() -> None:
    def descriptions(schema: dict[str, object]) -> list[str]:
        parts = [schema, *schema.get("$defs", {}).values()]  # type: ignore[attr-defined]  # a dict of dicts
        return [k for part in parts for k, v in part["properties"].items() if not v.get("description")]

    assert descriptions(Charter.model_json_schema()) == []


def test_every_fault_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = """\
version: 2
glosary: []
glossary:
  - {term: "…"}
  - {trem: ram}
  - term: ram
    language: de
    instead_of: 3
forbidden:
  - guy
required:
  - {when: [], say: x}
tone: {address: on}
style:
  max_words: 0
  no_emojis: true
questions:
  - 5
"""
    found = faults(tmp_path, text)
    assert found == sorted(found, key=lambda f: f[0] or 0)
    told = {(line, what.split(",")[0]) for line, what in found}
    assert (1, "version: Input should be 1") in told
    assert (2, "unknown key 'glosary'. Did you mean 'glossary'?") in told
    assert (4, "glossary.0.term: Value error") in told
    assert any("a term needs at least one letter or digit" in what for _, what in found)
    assert (5, "unknown key 'glossary.1.trem'. Did you mean 'term'?") in told
    assert (5, "missing key 'glossary.1.term'") in told
    assert (7, "glossary.2.language: Input should be 'en' or 'fr'") in told
    assert (8, "glossary.2.instead_of: Input should be a valid tuple") in told
    assert (10, "forbidden.0: Input should be a section with keys of its own") in told
    assert any(line == 12 and what.startswith("required.0.when: ") for line, what in found)
    assert (13, "tone.address: Input should be 'vous' or 'tu'") in told
    assert any(line == 15 and what.startswith("style.max_words: ") for line, what in found)
    assert (16, "unknown key 'style.no_emojis'. Did you mean 'no_emoji'?") in told
    assert any(line == 18 and what.startswith("questions.0: ") for line, what in found)
    assert len(found) == 13


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("glossary:\n  - term: ram\n  - term: Ram\n", 3, "glossary.1: 'Ram' is already term 0 of the glossary"),
        (
            "glossary:\n  - {term: ram, instead_of: [rams]}\n",
            2,
            "glossary.0: 'rams' is both the term and a word not to use for it",
        ),
        (
            "glossary:\n  - {term: press}\nforbidden:\n  - {term: presses}\n",
            4,
            "forbidden.0: 'presses' is forbidden, and glossary.0.term asks for 'press'",
        ),
        (
            "required:\n  - {when: x, say: call a guy}\nforbidden:\n  - {term: guy}\n",
            4,
            "forbidden.0: 'guy' is forbidden, and required.0.say asks for 'call a guy'",
        ),
        (
            "tone:\n  address: tu\nstyle:\n  language: en\n",
            2,
            "tone.address: it is for French answers, and style.language is en",
        ),
        (
            "style:\n  language: en\n  same_language: true\n",
            3,
            "style.same_language: style.language says already which language it is",
        ),
        ("style:\n  min_words: 9\n  max_words: 8\n", 2, "style.min_words: it is above style.max_words"),
        (
            "required:\n  - {say: Call 112!}\nstyle: {no_exclamation: true}\n",
            2,
            "required.0: style.no_exclamation forbids what 'say' holds",
        ),
        (
            "required:\n  - {say: I am no doctor., language: en}\ntone: {person: we}\n",
            2,
            "required.0: 'say' does not keep to tone.person, we",
        ),
        (
            "required:\n  - {say: Call a doctor first.}\nstyle: {max_words: 3}\n",
            2,
            "required.0: 'say' is longer than style.max_words",
        ),
        (
            "required:\n  - {say: Call 112., at: end}\n  - {say: Appelez le 112., at: end, language: fr}\n",
            3,
            "required.1: required.0 is at the end of the same answers",
        ),
    ],
)
def test_rules_that_contradict_each_other(tmp_path: Path, text: str, line: int, said: str) -> None:
    assert faults(tmp_path, text) == [(line, said)]


def test_what_looks_like_a_contradiction_and_is_none(tmp_path: Path) -> None:
    load(tmp_path, "glossary:\n  - {term: ram, language: en}\n  - {term: ram, language: fr}\n")
    load(tmp_path, "glossary:\n  - {term: pain, language: fr}\nforbidden:\n  - {term: pain, language: en}\n")
    load(
        tmp_path, "required:\n  - {say: Call 112., at: end, language: en}\n  - {say: Appelez., at: end, language: fr}\n"
    )
    load(tmp_path, "required:\n  - {say: Call 112., at: end}\n  - {say: Wait., at: end, when: danger}\n")
    load(tmp_path, "glossary:\n  - {term: guy line}\nforbidden:\n  - {term: guy, instead: guy line}\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("- a\n", "holds no keys"),
        ("questions: [Why?]\n", "holds no rule that could be checked"),
        ("style: {no_lists: false}\n", "holds no rule that could be checked"),
        ("glossary: [\n", "is not valid YAML"),
        ("glossary: !!python/object:os.system [ls]\n", "fault"),
        ("glossary: []\nglossary: []\n", "is not valid YAML"),
    ],
)
def test_what_is_no_charter(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        load(tmp_path, text)


def test_a_missing_one_suggests_what_is_beside(tmp_path: Path) -> None:
    load(tmp_path, GOOD)
    with pytest.raises(MissingError, match=r"There is no charter .*Did you mean 'charter\.yaml'\?"):
        load_charter(tmp_path / "chart.yaml")


# ------------------------------------------------------------------------------------------------------------- rules


def broken(tmp_path: Path, question: str, answer: str, language: str | None = None) -> list[tuple[str, str]]:
    charter = load(tmp_path, GOOD)
    entries = tuple(entry for entry in charter.glossary if entry.ask == question)
    return [(b.rule, b.entry) for b in breaks(charter, Said(question, answer, language, entries))]


@pytest.mark.parametrize(
    ("question", "answer", "rules"),
    [
        ("Which part comes down?", "The ram does.", []),
        ("Which part comes down?", "The table does.", [("term", "ram")]),
        ("Which part comes down?", "The ram, a slide.", [("instead_of", "ram")]),
        ("Other?", "The piston of the machine.", [("instead_of", "ram")]),
        ("Other?", "Le piston est là, et le reste de la machine.", []),  # a term of English answers
        ("Other?", "Clean the return filter.", []),
        ("Other?", "Clean the filter.", [("instead_of", "return filter")]),
        ("Other?", "Ask the guys.", [("forbidden", "guy")]),
        ("Other?", "Hold the guy line.", []),
        ("What of e-305?", "Remove the danger first, then reset.", []),
        ("What of e-305?", "Reset.", [("required", "remove the danger first")]),
        ("Other?", "Then Stop!", [("no_exclamation", "no_exclamation")]),
        ("Other?", "Done 👍", [("no_emoji", "no_emoji")]),
        ("Other?", "Do:\n- stop", [("no_lists", "no_lists")]),
        ("Other?", " ".join(["word"] * 11) + ".", [("max_words_per_sentence", "max_words_per_sentence")]),
        ("Other?", "word. " * 21, [("max_words", "max_words")]),
        ("Other?", "Tu dois appeler le service de la maintenance.", [("address", "address")]),
        ("Other?", " …", [("no_answer", "an answer")]),
    ],
)
def test_which_rules_an_answer_breaks(tmp_path: Path, question: str, answer: str, rules: list[tuple[str, str]]) -> None:
    assert broken(tmp_path, question, answer) == rules


def test_the_language_of_the_question_counts_where_it_is_asked_for(tmp_path: Path) -> None:
    english = "Stop the press and call the maintenance."
    assert broken(tmp_path, "Que faire ?", english, "fr") == [("same_language", "same_language")]
    assert broken(tmp_path, "What now?", english, "en") == []
    assert broken(tmp_path, "What now?", english) == []  # not known: not judged
    assert broken(tmp_path, "Que faire ?", "E-104", "fr") == []
    assert broken(tmp_path, "Que faire ?", "Appelle ton chef", "fr") == [("address", "address")]


def test_one_language_for_all(tmp_path: Path) -> None:
    charter = load(tmp_path, "style: {language: fr}\n")
    (found,) = breaks(charter, Said("Que faire ?", "Stop the press and call the maintenance.", "fr"))
    assert (found.rule, found.found) == ("language", ("en",))


def test_tu_where_it_is_wanted(tmp_path: Path) -> None:
    charter = load(tmp_path, "tone: {address: tu}\n")
    (found,) = breaks(charter, Said("Que faire ?", "Arrêtez la presse, appelez votre chef.", "fr"))
    assert found.found == ("arrêtez", "appelez", "votre")


def test_found_words_are_shown_as_they_stand(tmp_path: Path) -> None:
    charter = load(tmp_path, GOOD)
    (found,) = breaks(charter, Said("Other?", "The Slides and the pistons."))
    assert found.record() == {"rule": "instead_of", "entry": "ram", "found": ["pistons", "Slides"]}


def test_what_a_question_requires(tmp_path: Path) -> None:
    charter = load(tmp_path, GOOD)
    assert [r.say for r in asked_to_say(charter, Said("After an Emergency  Stop?", ""))] == ["remove the danger first"]
    assert asked_to_say(charter, Said("E-304?", "")) == []


def rules_of(charter: Charter, question: str, answer: str, language: str | None = None) -> list[str]:
    return [b.rule for b in breaks(charter, Said(question, answer, language))]


def test_a_disclaimer_ends_the_answers_it_is_for(tmp_path: Path) -> None:
    charter = load(tmp_path, "required:\n  - {say: Ask a doctor., at: end, language: en}\n")
    assert rules_of(charter, "A cough?", "Rest. Ask a  doctor", "en") == []
    assert rules_of(charter, "A cough?", "Ask a doctor. Rest.", "en") == ["required"]
    assert rules_of(charter, "Une toux ?", "Du repos.", "fr") == []
    assert rules_of(charter, "A cough?", "The rest is for you.") == ["required"]  # of the answer's language
    first = load(tmp_path, "required:\n  - {say: Bonjour, at: start}\n")
    assert rules_of(first, "?", "« Bonjour, entrez. »") == []
    assert rules_of(first, "?", "Entrez, bonjour.") == ["required"]


@pytest.mark.parametrize(
    ("person", "answer", "found"),
    [
        ("we", "We do it, and you help us in our work.", []),
        ("we", "I think that my answer is the right one, US or not.", ["I", "my"]),
        ("we", "J’ai la clé, et c'est à moi que vous la demandez.", ["J'", "moi"]),
        ("we", "Nous avons la clé, aujourd'hui, et vous la demandez.", []),
        ("I", "Notre équipe vous répond dans la journée.", ["Notre"]),
        ("none", "We think that I am with you in the shop.", ["We", "I"]),
        ("none", "E-104", []),  # of a language that is not known
    ],
)
def test_the_first_person_of_an_answer(tmp_path: Path, person: str, answer: str, found: list[str]) -> None:
    charter = load(tmp_path, f"tone: {{person: {person}}}\n")
    assert [word for b in breaks(charter, Said("?", answer)) for word in b.found] == found


def test_lengths_and_contracted_forms(tmp_path: Path) -> None:
    charter = load(tmp_path, "style: {min_words: 3, no_contractions: true}\n")
    assert rules_of(charter, "?", "Stop it.") == ["min_words"]
    assert rules_of(charter, "?", "Do not open the pump's lid.") == []
    assert rules_of(charter, "?", "Don’t open it, it's hot, we'll come.") == ["no_contractions"]


def test_a_tone_in_words_alone_is_no_rule_to_check(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no rule that could be checked"):
        load(tmp_path, "tone: {manner: calm and plain}\n")
