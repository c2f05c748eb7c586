import json
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from limpide.audit.robustness import AS_IS, PROBE, RobustnessSettings, draw_questions, operation, written_otherwise
from limpide.audit.truth_questions import LETTERS
from limpide.core import files
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.data.perturbations import PERTURBATIONS
from limpide.data.shipped import read_probe
from limpide.models.recorder import Recorder

REWORDINGS = json.loads(read_probe(PROBE))
SMALL = {"questions": 20}


def texts(kinds=PERTURBATIONS, **settings):
    """{text: (question, how it was written)} of everything that is asked."""
    found = {}
    for q in draw_questions(RobustnessSettings(**(SMALL | settings)), 0):
        otherwise = written_otherwise(q.id, q.text, q.language, kinds, REWORDINGS)
        found |= {q.text: (q, AS_IS)} | {text: (q, kind) for kind, text in otherwise.items()}
    return found


def planted(chosen, lead=5.0):
    """A model that gives one option `lead` nats more than the others. chosen: (question, kind) → its index."""
    known = texts()

    def likelihood(context, continuation):
        question, kind = known[context[0]]
        return -1.0 if question.options[chosen(question, kind)] == " ".join(continuation[:-1]) else -1.0 - lead

    return likelihood


def one_off(index):
    return (index + 1) % 4


def test_flips_are_found_in_the_writing_that_causes_them_and_in_no_other(tmp_path, fake, tools):
    """Right on every question, until it is in capitals."""
    fake.likelihood = planted(lambda q, kind: one_off(q.right) if kind == "uppercase" else q.right)
    result = tools.audit(operation, tmp_path / "out", **SMALL)
    found = tools.by_label(result)
    for kind in PERTURBATIONS:
        expected = 1.0 if kind == "uppercase" else 0.0
        assert found[f"robustness.flipped[perturbation={kind}]"].value == expected
        assert found[f"robustness.broken[perturbation={kind}]"].value == expected
        assert found[f"robustness.flipped_sure[perturbation={kind}]"].value == expected
    whole, asked = found["robustness.flipped"], sum(result.facts["questions"]["written_otherwise"].values())
    assert whole.value == pytest.approx(40 / asked)
    assert (whole.n, whole.clusters) == (asked, 40)
    assert found["robustness.flipped[language=fr]"].n < asked
    assert found["robustness.mended"].state == "not run"
    assert "every question was answered rightly" in found["robustness.mended"].note
    assert result.facts["questions"]["right_as_they_were"] == 40


def test_what_breaks_and_what_mends_are_counted_among_right_and_wrong(tmp_path, fake, tools):
    """Right as they are on English, wrong on French; typing faults turn both round."""

    def chosen(q, kind):
        right = (q.language == "en") != (kind == "typos")
        return q.right if right else one_off(q.right)

    fake.likelihood = planted(chosen)
    found = tools.by_label(tools.audit(operation, tmp_path / "out", **SMALL, perturbations=("typos", "lowercase")))
    assert (found["robustness.broken"].value, found["robustness.broken"].n) == (0.5, 40)
    assert (found["robustness.mended"].value, found["robustness.mended"].n) == (0.5, 40)
    assert found["robustness.broken[perturbation=typos]"].value == 1.0
    assert found["robustness.mended[perturbation=lowercase]"].value == 0.0
    assert found["robustness.mended[language=fr]"].n == 40
    assert "robustness.mended[language=en]" not in found
    assert found["robustness.mended"].better == "neither"


def test_flips_between_options_that_are_nearly_tied_are_told_apart(tmp_path, fake, tools):
    """English led by 5 nats and French by 0.9: capitals flip both, and only the first were sure."""
    strong, weak = (planted(lambda q, kind: one_off(q.right) if kind == "uppercase" else q.right, x) for x in (5, 0.9))
    known = texts()
    fake.likelihood = lambda context, option: (strong if known[context[0]][0].language == "en" else weak)(
        context, option
    )
    found = tools.by_label(tools.audit(operation, tmp_path / "out", **SMALL, perturbations=("uppercase", "spacing")))
    assert (found["robustness.flipped"].value, found["robustness.flipped"].n) == (0.5, 80)
    assert (found["robustness.flipped_sure"].value, found["robustness.flipped_sure"].n) == (0.5, 40)
    assert "robustness.flipped_sure[language=fr]" not in found


def test_a_model_that_knows_nothing_for_sure_has_no_sure_flips(tmp_path, fake, tools):
    fake.likelihood = lambda context, option: -2.0
    found = tools.by_label(tools.audit(operation, tmp_path / "out", **SMALL))
    assert found["robustness.flipped"].value == 0.0
    assert found["robustness.flipped_sure"].state == "not run"
    assert "no option led by more than 1 nat" in found["robustness.flipped_sure"].note


def test_items_show_both_texts_and_both_answers(tmp_path, fake, tools):
    fake.likelihood = planted(lambda q, kind: q.right)
    tools.audit(operation, tmp_path / "out", **SMALL, perturbations=("uppercase",), languages=("fr",))
    item = files.read_jsonl(tmp_path / "out" / "items.jsonl")[0]
    assert item["id"] == f"{item['cluster']}/uppercase"
    assert item["written_otherwise"] == item["question"].upper()
    assert item["answer"] == item["answer_otherwise"] == item["expected"]
    assert item["margin"] == pytest.approx(5.0)
    assert item["metric"] == {"flipped": 0.0, "broken": 0.0, "flipped_sure": 0.0}
    assert item["group"] == {"perturbation": "uppercase", "language": "fr"}


def test_too_few_questions_are_insufficient_evidence(tmp_path, fake, tools):
    fake.likelihood = planted(lambda q, kind: q.right)
    few = tools.audit(operation, tmp_path / "out", questions=2, languages=("en",), perturbations=("typos",))
    assert {m.state for m in few.measures if m.name != "robustness.mended"} == {"insufficient evidence"}


def test_every_option_of_a_question_is_compared_where_it_decides(tmp_path, fake, tools):
    fake.likelihood = planted(lambda q, kind: q.right)
    tools.audit(operation, tmp_path / "out", **SMALL, perturbations=("typos",), languages=("en",))
    assert len(fake.asked) == 20 * 2 * 4


# ----------------------------------------------------------------------------------------------- from outside


class Outside:
    """An endpoint that answers with a letter."""

    kind, title, digest, can = "endpoint", "x", None, frozenset({"generates", "samples"})

    def __init__(self, chosen):
        self.chosen, self.known = chosen, texts()

    def answer(self, asked, max_new_tokens, progress):
        said = []
        for one in asked:
            question, kind = self.known[one.messages[0].content.rsplit("\n", 5)[0]]
            place = self.chosen(question, kind)
            said.append("I would rather not say." if place is None else f"{LETTERS[place]}.")
        return said

    def facts(self):
        return {"endpoint": {"host": "x"}}


def test_an_endpoint_is_asked_for_letters_and_its_margins_are_not_known(tmp_path):
    asked = Outside(lambda q, kind: None if kind == "typos" else one_off(q.right) if kind == "accents" else q.right)
    settings = RobustnessSettings(**SMALL)
    result = operation.run(Subject(out=tmp_path, respondent=asked), settings, Quiet())
    found = {m.label: m for m in result.measures}
    assert found["robustness.flipped[perturbation=typos]"].value == 1.0  # no answer is another answer
    assert found["robustness.broken[perturbation=accents]"].value == 1.0
    assert found["robustness.flipped[perturbation=lowercase]"].value == 0.0
    assert found["robustness.flipped_sure"].state == "not run"
    assert "likelihood of each option" in found["robustness.flipped_sure"].note
    assert "choice=letter" in found["robustness.flipped"].method
    assert result.facts["questions"]["unreadable"] == 40
    assert result.facts["endpoint"] == {"host": "x"}


def test_questions_written_for_others_have_ids_of_their_own(tmp_path, tools):
    data = tools.write_data(tmp_path / "data", held_out=[tools.example("h1", "What does fault E-104 mean?", "Heat.")])
    recorder = Recorder()
    (tmp_path / "out").mkdir()
    subject = Subject(out=tmp_path / "out", inputs={"data": data}, respondent=recorder)
    operation.run(subject, RobustnessSettings(**SMALL), Quiet())
    ids = [one.id for one in recorder.questions()]
    assert len(ids) == len(set(ids))
    assert f"own/h1/{AS_IS}" in ids
    assert "own/h1/typos" in ids


def test_an_id_stands_for_one_text_whatever_the_seed():
    """Answers given in a file are found by id."""
    few = RobustnessSettings(questions=150)
    drawn = [{q.id: q.text for q in draw_questions(few, seed)} for seed in (0, 1)]
    assert drawn[0].keys() != drawn[1].keys()
    assert len(drawn[0]) == 300
    q = draw_questions(few, 0)[0]
    one, two = (written_otherwise(q.id, q.text, q.language, kinds, REWORDINGS) for kinds in (PERTURBATIONS, ["typos"]))
    assert one["typos"] == two["typos"]


# ---------------------------------------------------------------------------------------------- the user's examples


@pytest.fixture
def data(tmp_path, tools):
    rows = [
        tools.example(f"h{k}", f"Where is valve {k} kept?", f"In drawer {k}.", group=f"g{k % 12}") for k in range(24)
    ]
    return tools.write_data(tmp_path / "data", held_out=rows)


def test_own_examples_are_asked_in_full_and_their_answers_compared(tmp_path, fake, tools, data):
    """Right but for capitals; a model that writes with other capitals and spaces says the same."""

    def answer(text):
        number = next(int(word) for word in text.replace("\n", " ").split() if word.isdigit())
        if text.isupper():
            return "WHO KNOWS"
        return f"In drawer {number}." if "  " not in text else f"in  drawer {number}"

    fake.answer = answer
    kinds = ("uppercase", "spacing", "accents")
    result = tools.audit(operation, tmp_path / "out", data, **SMALL, examples=24, perturbations=kinds)
    found = tools.by_label(result)
    assert (found["robustness.own_flipped"].value, found["robustness.own_flipped"].n) == (0.5, 48)
    assert found["robustness.own_flipped"].clusters == 12
    assert found["robustness.own_broken[perturbation=uppercase]"].value == 1.0
    assert found["robustness.own_broken[perturbation=spacing]"].value == 0.0
    assert found["robustness.own_mended"].state == "not run"
    assert "robustness.own_flipped[perturbation=accents]" not in found  # nothing to drop
    assert result.facts["examples"] == {
        "asked": 24,
        "right_as_they_were": 24,
        "written_otherwise": {"uppercase": 24, "spacing": 24},
        "max_new_tokens": 48,
        "thoughts_cut_short": 0,
    }
    assert "robustness.own_flipped_sure" not in found


def test_wrong_answers_that_mend_are_no_breaks(tmp_path, fake, tools, data):
    fake.answer = lambda text: "In drawer 3." if text.isupper() else "no"
    found = tools.by_label(
        tools.audit(operation, tmp_path / "out", data, **SMALL, examples=24, perturbations=("uppercase",))
    )
    assert found["robustness.own_broken"].state == "not run"
    assert found["robustness.own_mended"].value == pytest.approx(1 / 24)
    assert found["robustness.own_flipped"].value == 1.0


def test_as_many_examples_as_said_are_drawn_and_the_rest_of_a_conversation_stays(tmp_path, fake, tools, data):
    result = tools.audit(operation, tmp_path / "out", data, **SMALL, examples=5, perturbations=("lowercase",))
    assert result.facts["examples"]["asked"] == 5
    alone = tools.audit(operation, tmp_path / "alone", None, **SMALL, perturbations=("lowercase",))
    assert "examples" not in alone.facts
    assert not any("own" in m.name for m in alone.measures)


def test_a_model_that_only_fills_in_words_is_asked_options_alone(tmp_path, fake, tools, data, monkeypatch):
    from limpide.models import prompt, requests

    def option_request(model, id, messages, option):
        return requests.Request(id, (messages[-1].content,), (*option.split(), "end"))

    monkeypatch.setattr(prompt, "option_request", option_request)
    fake.kind = "encoder"
    fake.likelihood = planted(lambda q, kind: q.right)
    found = tools.by_label(tools.audit(operation, tmp_path / "out", data, **SMALL))
    assert found["robustness.flipped"].value == 0.0
    assert found["robustness.own_flipped"].state == "not run"
    assert "only fills in words" in found["robustness.own_flipped"].note


# ---------------------------------------------------------------------------------------------------- what is shipped


def test_four_rewordings_a_language_are_shipped():
    assert {language: len(made) for language, made in REWORDINGS.items()} == {"en": 4, "fr": 4}
    for made in REWORDINGS.values():
        for template in made.values():
            assert template.count("{q}") == 1
            assert not any(map(str.isdigit, template))


def test_what_cannot_be_asked_for_is_refused():
    for wrong in ({"perturbations": ["rot13"]}, {"perturbations": []}, {"questions": 0}, {"languages": ["de"]}):
        with pytest.raises(ValidationError):
            RobustnessSettings(**wrong)


def test_the_method_says_everything_that_changes_the_result(tmp_path, fake, tools):
    result = tools.audit(operation, tmp_path / "out", **SMALL, perturbations=("typos", "accents"))
    assert result.measures[0].method.startswith(
        "robustness.flipped@1(questions=20,languages=en+fr,perturbations=accents+typos,texts="
    )


def test_closed_models_are_never_asked_for_likelihoods(tmp_path):
    refuses = SimpleNamespace(
        can=frozenset({"generates"}),
        kind="answers",
        title="x",
        digest=None,
        answer=lambda asked, n, progress: ["A."] * len(asked),
        facts=dict,
    )
    result = operation.run(Subject(out=tmp_path, respondent=refuses), RobustnessSettings(**SMALL), Quiet())
    assert {m.value for m in result.measures if m.label == "robustness.flipped"} == {0.0}
    assert "choice=letter,decoding=given)" in result.measures[0].method
