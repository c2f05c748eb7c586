from types import SimpleNamespace

import pytest

from limpide.audit.charter import CharterSettings, operation
from limpide.core import catalogue, files
from limpide.core.errors import DataError, UsageError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.models.recorder import Recorder

RULES = """\
glossary:
{glossary}
forbidden:
  - {{term: guy}}
required:
  - {{when: alarm, say: call maintenance}}
style: {{no_exclamation: true, max_words: 8}}
questions: [{questions}]
"""
PLAIN = "It is done."


def write_charter(folder, terms=20, questions=20):
    """`terms` terms with a question each, and `questions` other ones, half of which speak of an alarm."""
    folder.mkdir(parents=True, exist_ok=True)
    glossary = [
        f"  - {{term: part{k}, instead_of: [bit{k}], ask: What is thing number {k}?}}" for k in range(terms)
    ] or ["  - {term: part, instead_of: [bit]}"]
    own = [f'"{"An alarm" if k % 2 else "A lamp"} of kind {k}?"' for k in range(questions)]
    path = folder / "charter.yaml"
    path.write_text(RULES.format(glossary="\n".join(glossary), questions=", ".join(own)))
    return path


@pytest.fixture
def charter(tmp_path):
    return write_charter(tmp_path / "files")


def number(question):
    return int("".join(c for c in question if c.isdigit()))


def perfect(question):
    if question.startswith("What"):
        return f"The part{number(question)}."
    return "Call maintenance." if "alarm" in question else PLAIN


def test_answers_that_follow_every_rule(tmp_path, fake, tools, charter):
    fake.answer = perfect
    result = tools.audit(operation, tmp_path / "out", charter=charter)
    found = tools.by_label(result)
    assert {m.label: (m.value, m.n) for m in result.measures} == {
        "charter.respected": (1.0, 40),
        "charter.respected[language=en]": (1.0, found["charter.respected[language=en]"].n),
        "charter.terms": (1.0, 20),
        "charter.terms[language=en]": (1.0, 20),
        "charter.deprecated": (0.0, 40),
        "charter.deprecated[language=en]": (0.0, found["charter.respected[language=en]"].n),
        "charter.forbidden": (0.0, 40),
        "charter.forbidden[language=en]": (0.0, found["charter.respected[language=en]"].n),
        "charter.required": (1.0, 10),
        "charter.required[language=en]": (1.0, found["charter.required[language=en]"].n),
        "charter.style": (1.0, 40),
        "charter.style[language=en]": (1.0, found["charter.respected[language=en]"].n),
        "charter.style_rule[rule=max_words]": (1.0, 40),
        "charter.style_rule[rule=no_exclamation]": (1.0, 40),
    }
    assert result.facts["broken"] == {}
    assert fake.allowed == [96]


def test_every_break_is_counted_where_it_belongs(tmp_path, fake, tools, charter):
    """Of 20 terms 5 are missing and 3 deprecated; of 20 other answers 4 are forbidden, 2 exclaim, 1 of 10 is silent."""

    def answer(question):
        k, good = number(question), perfect(question)
        if question.startswith("What"):
            return PLAIN if k < 5 else f"The part{k}, a bit{k}." if k < 8 else good
        if "alarm" in question:
            return PLAIN if k == 1 else good
        return {0: "Ask a guy.", 2: "Ask guys.", 4: "A guy.", 6: "Guy!", 8: "Done!"}.get(k, good)

    fake.answer = answer
    result = tools.audit(operation, tmp_path / "out", charter=charter)
    found = tools.by_label(result)
    assert found["charter.terms"].value == 12 / 20
    assert found["charter.deprecated"].value == 3 / 40
    assert found["charter.forbidden"].value == 4 / 40
    assert found["charter.required"].value == 9 / 10
    assert found["charter.style"].value == 38 / 40
    assert found["charter.style_rule[rule=no_exclamation]"].value == 38 / 40
    assert found["charter.style_rule[rule=max_words]"].value == 1.0
    assert found["charter.respected"].value == (40 - 5 - 3 - 1 - 5) / 40
    assert found["charter.forbidden"].better == "lower"
    assert found["charter.respected"].better == "higher"
    assert result.facts["broken"]["forbidden: guy"] == 4
    assert result.facts["broken"]["instead_of: part6"] == 1
    assert result.facts["charter"]["rules"] == {"glossary": 20, "forbidden": 1, "required": 1, "style": 2}


def test_items_show_the_answer_the_rule_and_the_words(tmp_path, fake, tools, charter):
    fake.answer = lambda question: "Ask a GUY!"
    tools.audit(operation, tmp_path / "out", charter=charter)
    items = files.read_jsonl(tmp_path / "out" / "items.jsonl")
    first = items[0]
    assert (first["question"], first["answer"]) == ("What is thing number 0?", "Ask a GUY!")
    assert first["broken"] == [
        {"rule": "term", "entry": "part0", "found": []},
        {"rule": "forbidden", "entry": "guy", "found": ["GUY"]},
        {"rule": "no_exclamation", "entry": "no_exclamation", "found": ["!"]},
    ]
    assert items[1]["id"] == f"{first['id']}/max_words"
    assert items[1]["metric"] == {"style_rule": 1.0}
    assert len(items) == 40 * 3


def test_an_answer_without_a_word_respects_nothing(tmp_path, fake, tools, charter):
    found = tools.by_label(tools.audit(operation, tmp_path / "out", charter=charter))
    assert found["charter.respected"].value == 0.0
    assert found["charter.forbidden"].value == 0.0


def test_held_out_examples_are_asked_too(tmp_path, fake, tools):
    rows = [tools.example(f"h{k}", f"Alarm {k}, what now?", "Call maintenance.", topic=f"t{k % 8}") for k in range(24)]
    data = tools.write_data(tmp_path / "data", held_out=rows)
    write_charter(data, terms=0, questions=0)
    fake.answer = lambda question: "Call maintenance." if number(question) < 12 else "No."
    result = tools.audit(operation, tmp_path / "out", data)
    found = tools.by_label(result)
    assert (found["charter.required"].value, found["charter.required"].n) == (0.5, 24)
    assert found["charter.required"].clusters == 8
    assert found["charter.terms"].state == "not run"
    assert "no term of the glossary has a question" in found["charter.terms"].note
    assert files.read_jsonl(tmp_path / "out" / "items.jsonl")[0]["id"] == "own/h0"
    drawn = tools.audit(operation, tmp_path / "few", data, examples=10)
    assert drawn.facts["asked"] == 10


def test_a_requirement_that_nobody_asked_for_is_not_run(tmp_path, fake, tools):
    path = tmp_path / "c.yaml"
    path.write_text("required:\n  - {when: alarm, say: stop}\nquestions: [Why?]\n")
    found = tools.by_label(tools.audit(operation, tmp_path / "out", charter=path))
    assert found["charter.required"].state == "not run"
    assert "no question that was asked" in found["charter.required"].note
    assert found["charter.respected"].state == "insufficient evidence"
    assert set(found) == {"charter.required", "charter.respected"}


def test_a_question_that_several_terms_ask_is_put_once(tmp_path, fake, tools):
    path = tmp_path / "c.yaml"
    path.write_text(
        "glossary:\n  - {term: ram, ask: Why?}\n  - {term: guard, ask: Why?, language: en}\nquestions: [Why?]\n"
    )
    fake.answer = lambda question: "The ram."
    result = tools.audit(operation, tmp_path / "out", charter=path)
    assert result.facts["asked"] == 1
    (item,) = files.read_jsonl(tmp_path / "out" / "items.jsonl")
    assert item["metric"] == {"respected": 0.0, "deprecated": 0.0, "terms": 0.0}
    assert item["broken"] == [{"rule": "term", "entry": "guard", "found": []}]
    assert item["group"] == {"language": "en"}


def test_ids_follow_from_the_question_alone(tmp_path, tools, charter):
    """A charter whose rules changed keeps the answers that were given to its questions."""
    ids = []
    for k, more in enumerate(("", "tone: {address: vous}\n")):
        charter.write_text(charter.read_text() + more)
        recorder = Recorder()
        (tmp_path / str(k)).mkdir()
        operation.run(Subject(out=tmp_path / str(k), respondent=recorder), CharterSettings(charter=charter), Quiet())
        ids.append([one.id for one in recorder.questions()])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 40


def test_the_numbers_belong_to_the_charter_and_not_to_its_comments(tmp_path, fake, tools, charter):
    def digest():
        return tools.audit(operation, tmp_path / "out", charter=charter).measures[0].data_digest

    before = digest()
    charter.write_text("# a comment\n" + charter.read_text())
    assert digest() == before
    charter.write_text(charter.read_text().replace("guy", "chap"))
    assert digest() != before


def test_no_charter_is_told_before_the_model_is_opened(tmp_path, tools):
    with pytest.raises(UsageError, match="No charter is given") as caught:
        tools.audit(operation, tmp_path / "out")
    assert "--charter charter.yaml" in str(caught.value.remedy)
    assert "data.charter" in str(caught.value.remedy)
    data = tools.write_data(tmp_path / "data")
    with pytest.raises(UsageError) as caught:
        tools.audit(operation, tmp_path / "out", data)
    assert caught.value.received == "prepared data without charter.yaml"


def test_a_charter_that_asks_nothing_needs_prepared_data(tmp_path, tools):
    path = tmp_path / "c.yaml"
    path.write_text("style: {no_emoji: true}\n")
    with pytest.raises(DataError, match="asks no question") as caught:
        tools.audit(operation, tmp_path / "out", charter=path)
    assert "--data" in str(caught.value.remedy)


def test_a_model_that_only_fills_in_words_is_not_asked(tmp_path, charter):
    encoder = SimpleNamespace(can=frozenset({"scores"}), kind="encoder", title="x", digest="d", facts=dict)
    result = operation.run(Subject(out=tmp_path, respondent=encoder), CharterSettings(charter=charter), Quiet())
    assert {m.state for m in result.measures} == {"not run"}
    assert "only fills in words" in str(result.measures[0].note)


def test_answers_of_a_file_are_as_they_were_given(tmp_path, charter, tools):
    given = tools.closed(say=lambda question: "Yes.", kind="answers", can=frozenset({"generates"}))
    for respondent, how in ((given, "decoding=given)"), (tools.closed(), "decoding=greedy,max_new_tokens=96)")):
        result = operation.run(Subject(out=tmp_path, respondent=respondent), CharterSettings(charter=charter), Quiet())
        assert {m.method.rpartition("decoding")[2] for m in result.measures} == {how.removeprefix("decoding")}


def test_the_suite_is_offered_and_says_which_file_it_needs():
    assert "charter" in catalogue.suites()
    assert catalogue.find("audit.charter").needs_data == ("charter",)


def test_a_tone_in_words_is_named_as_what_was_not_checked(tmp_path, fake, tools):
    path = tmp_path / "c.yaml"
    path.write_text("tone: {manner: calm and plain, person: we}\nquestions: [Why?]\n")
    fake.answer = lambda question: "I know it, and it is so."
    result = tools.audit(operation, tmp_path / "out", charter=path)
    assert result.facts["not_checked"] == "calm and plain"
    assert result.facts["broken"] == {"person: person": 1}
