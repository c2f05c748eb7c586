import math

import pytest

from limpide.audit.compare import compare
from limpide.audit.items import load_items
from limpide.audit.retention import operation
from limpide.audit.truth_questions import read_questions
from limpide.data.shipped import read_probe


def test_loss_is_all_nats_over_all_tokens(tmp_path, fake, tools):
    """About 2 nats a token in English and 3 in French, whatever the length of the texts."""
    french = {line for line in read_probe("retention.jsonl").splitlines() if '"language": "fr"' in line}

    def likelihood(context, text):
        more = 0.01 * (len(text) % 3 - 1)
        return -(3.0 + more if any(text[:40] in line for line in french) else 2.0 + more) * len(text.split())

    fake.likelihood = likelihood
    found = tools.by_label(tools.audit(operation, tmp_path / "out", questions=0))
    assert found["retention.loss[language=en]"].value == pytest.approx(2.0, abs=0.01)
    assert found["retention.loss[language=fr]"].value == pytest.approx(3.0, abs=0.01)
    whole = found["retention.loss"]
    assert 2.0 < whole.low < whole.value < whole.high < 3.0
    assert whole.clusters == whole.n == len(fake.asked)
    perplexity = found["retention.perplexity"]
    assert perplexity.value == pytest.approx(math.exp(whole.value))
    assert perplexity.low == pytest.approx(math.exp(whole.low), rel=1e-3)
    assert perplexity.high == pytest.approx(math.exp(whole.high), rel=1e-3)


def test_whole_texts_are_scored_without_context(tmp_path, fake, tools):
    tools.audit(operation, tmp_path / "out", questions=0)
    assert {request.context for request in fake.asked} == {""}
    assert all(len(request.continuation) > 100 for request in fake.asked)


def test_languages_choose_texts_and_name_the_method(tmp_path, fake, tools):
    result = tools.audit(operation, tmp_path / "out", languages=("fr",))
    assert "languages=fr,texts=" in result.measures[0].method
    assert {m.label for m in result.measures if m.name == "retention.loss"} == {
        "retention.loss",
        "retention.loss[language=fr]",
    }
    assert all(m.state == "measured" for m in result.measures)


def knows(*languages):
    """likelihood: the right option is the likeliest, in these languages; a wrong one in others."""
    questions = {q.text: q for q in read_questions("options", ("en", "fr"))}

    def likelihood(context, words):
        if not context:
            return -2.0 * len(words.split())
        question = questions[context[0]]
        right = " ".join(words[:-1]) == question.options[question.right]
        return -1.0 if right == (question.language in languages) else -5.0

    return likelihood


def test_lost_knowledge_is_seen(tmp_path, fake, tools):
    """Every question is known before, and only the English ones after; the loss on texts does not move."""
    fake.likelihood = knows("en", "fr")
    before = tools.by_label(tools.audit(operation, tmp_path / "before"))
    fake.likelihood = knows("en")
    after = tools.by_label(tools.audit(operation, tmp_path / "after", label="result"))
    name = "retention.truth_accuracy"
    assert [before[f"{name}{part}"].value for part in ("", "[language=en]", "[language=fr]")] == [1, 1, 1]
    assert [after[f"{name}{part}"].value for part in ("", "[language=en]", "[language=fr]")] == [0.5, 1, 0]
    assert (after[name].n, after[name].better, after[name].interval) == (200, "higher", "Wilson")
    changes = {change.label: change for change in compare(tmp_path / "before", tmp_path / "after")}
    assert changes[name].verdict == changes[f"{name}[language=fr]"].verdict == "worse"
    assert changes["retention.loss"].verdict == "no detectable change"


def test_questions_are_drawn_by_the_seed(tmp_path, fake, tools):
    fake.likelihood = knows("en")

    def drawn(out, **how):
        result = tools.audit(operation, tmp_path / out, languages=("en",), **how)
        return result, {i.id for i in load_items(tmp_path / out) if "correct" in i.metric}

    first, asked = drawn("a", questions=30)
    assert len(asked) == 30 == first.facts["questions"]
    assert drawn("b", questions=30)[1] == asked
    assert drawn("c", questions=30, seed=1)[1] != asked
    method = tools.by_label(first)["retention.truth_accuracy"].method
    assert "languages=en,questions=" in method
    assert "drawn=30" in method
    none, nothing = drawn("d", questions=0)
    assert nothing == set()
    assert not any(m.name == "retention.truth_accuracy" for m in none.measures)


def test_questions_and_texts_have_their_own_data(tmp_path, fake, tools):
    fake.likelihood = knows("en")
    found = tools.by_label(tools.audit(operation, tmp_path / "out"))
    assert found["retention.loss"].data_digest != found["retention.truth_accuracy"].data_digest


def test_a_closed_model_has_none_of_it_and_is_told_why(tmp_path, tools):
    result = tools.audit(operation, tmp_path / "out", respondent=tools.closed())
    assert {m.name for m in result.measures} == {"retention.loss", "retention.perplexity", "retention.truth_accuracy"}
    assert {m.state for m in result.measures} == {"not run"}
    assert all("needs the likelihood" in m.note for m in result.measures)
