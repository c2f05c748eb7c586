import math

import pytest

from limpide.audit.items import read_probe
from limpide.audit.retention import operation


def test_loss_is_all_nats_over_all_tokens(tmp_path, fake, tools):
    """2 nats a token in English and 3 in French, whatever the length of the texts."""
    french = {line for line in read_probe("retention.jsonl").splitlines() if '"language": "fr"' in line}

    def likelihood(context, text):
        return -(3.0 if any(text[:40] in line for line in french) else 2.0) * len(text.split())

    fake.likelihood = likelihood
    found = tools.by_label(tools.audit(operation, tmp_path / "out"))
    assert found["retention.loss[language=en]"].value == pytest.approx(2.0)
    assert found["retention.loss[language=fr]"].value == pytest.approx(3.0)
    whole = found["retention.loss"]
    assert 2.0 < whole.low < whole.value < whole.high < 3.0
    assert whole.clusters == whole.n == len(fake.asked)
    perplexity = found["retention.perplexity"]
    assert perplexity.value == pytest.approx(math.exp(whole.value))
    assert perplexity.low == pytest.approx(math.exp(whole.low), rel=1e-3)
    assert perplexity.high == pytest.approx(math.exp(whole.high), rel=1e-3)


def test_whole_texts_are_scored_without_context(tmp_path, fake, tools):
    tools.audit(operation, tmp_path / "out")
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
