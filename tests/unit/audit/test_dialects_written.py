"""What is written of either person: the divergence that the weights have, and none where the person is not read."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from limpide.audit.bias import BiasSettings, operation
from limpide.audit.compare import compare
from limpide.audit.dialects import registry, written
from limpide.audit.dialects.found import Chosen
from limpide.audit.dialects.written import chosen_cases
from limpide.audit.items import load_items
from limpide.core.errors import ModelError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.data.templates import read_cases
from limpide.models.model import open_model
from limpide.models.respondents import Opened
from tiny import tiny_folder

NAME = "written@limpide"
GENDER = {"axes": ("gender",), "languages": ("en",)}


def run(out, respondent, seed=0, **settings):
    out.mkdir()
    subject = Subject(out=out, respondent=respondent, seed=seed)
    result = operation.run(subject, BiasSettings(dialect=NAME, **settings), Quiet())
    result.save(out)
    return result, {m.label: m for m in result.measures}


def next_token(model, rows):
    """float[rows, vocabulary]: log p of what comes next. rows: lists of ids of one length."""
    with torch.inference_mode():
        return model.network(input_ids=torch.tensor(rows)).logits[:, -1].double().log_softmax(-1)


def jeffreys(model, first, second):
    """(J, mean length) of all texts of two tokens, or of one that ends, written out one by one."""
    vocabulary = model.network.config.vocab_size
    ids = [list(model.tokenizer(text)["input_ids"]) for text in (first, second)]
    one = [next_token(model, [row])[0] for row in ids]
    two = [next_token(model, [[*row, token] for token in range(vocabulary)]) for row in ids]
    ends = torch.zeros(vocabulary, dtype=torch.bool)
    ends[list(model.stop_ids)] = True
    law = [torch.cat([a[ends], (a[:, None] + b)[~ends].flatten()]) for a, b in zip(one, two, strict=True)]
    total = float(((law[0].exp() - law[1].exp()) * (law[0] - law[1])).sum())
    length = np.mean([1 + float(a[~ends].exp().sum()) for a in one])
    assert float(law[0].exp().sum()) == pytest.approx(1)
    return total, length


def test_the_divergence_is_that_of_the_two_laws_of_texts(tmp_path, tiny_model, monkeypatch):
    """Texts of two tokens, so that every text can be written out: 160,400 a sentence."""
    monkeypatch.setattr(written, "TOKENS", 2)
    monkeypatch.setattr(written, "TEXTS", 120)
    monkeypatch.setattr(written, "TEMPLATES", 10)
    monkeypatch.setattr(written, "PAIRS", 1)
    model = tiny_model("llama")
    _, found = run(tmp_path / "out", Opened(model), **GENDER)
    items = load_items(tmp_path / "out")
    truths = [jeffreys(model, item.shown["stereotyped"], item.shown["other"]) for item in items]
    expected = sum(nats for nats, _ in truths) / sum(length for _, length in truths)
    measure = found["bias.written_limpide_divergence[axis=gender]"]
    assert measure.low < expected < measure.high
    assert measure.low > 0
    assert measure.value == pytest.approx(expected, rel=0.15)  # 2,400 texts: half or twice it would be seen
    estimates = [item.metric["nats"] for item in items]
    assert np.corrcoef(estimates, [nats for nats, _ in truths])[0, 1] > 0.7
    assert [item.metric["tokens"] for item in items] == pytest.approx([length for _, length in truths], abs=0.1)


@pytest.mark.parametrize("read", [0.0, 0.01])
def test_a_model_that_hardly_reads_the_person_is_at_0(tmp_path, read):
    """Without attention each token sees itself alone, and both sentences of a pair end in the same one."""
    model = open_model(tiny_folder("llama", tmp_path))
    for name, weight in model.network.named_parameters():
        if "o_proj" in name:
            weight.data.mul_(read)
    _, found = run(tmp_path / "out", Opened(model), **GENDER)
    for measure in found.values():
        if read:
            assert -0.01 < measure.low < measure.high < 0.01
        else:  # nothing varies, and nothing bounds what 48 cases did not show
            assert measure.state == "insufficient evidence"
            assert "All 48 values are equal (0)" in measure.note


def test_a_person_that_is_read_less_is_seen_as_better(tmp_path, tiny_model):
    damped = open_model(tiny_folder("llama", tmp_path))
    for name, weight in damped.network.named_parameters():
        if "o_proj" in name:
            weight.data.mul_(0.01)
    for name, model in (("base", tiny_model("llama")), ("result", damped)):
        run(tmp_path / name, Opened(model), **GENDER)
    for change in compare(tmp_path / "base", tmp_path / "result"):
        assert change.verdict == "better"
        assert change.n == 48
        assert change.difference < change.high < 0


def test_an_item_shows_what_was_written_of_both_and_what_each_text_tells(tmp_path, tiny_model):
    model = tiny_model("llama")
    result, _ = run(tmp_path / "out", Opened(model), **GENDER)
    items = load_items(tmp_path / "out")
    assert result.facts["cases"] == len(items) == 48
    assert result.facts["texts"] == 2 * 2 * 48
    assert len(result.facts["most_told_apart"]) == 5
    ratios = []
    for item in items:
        sides = item.shown["written"]
        assert set(sides) == {"stereotyped", "other"}
        each = {side: [text["log_ratio"] for text in texts] for side, texts in sides.items()}
        assert all(len(texts) == 2 for texts in sides.values())
        assert item.metric["nats"] == pytest.approx(sum(np.mean(found) for found in each.values()))
        lengths = [text["tokens"] for texts in sides.values() for text in texts]
        assert item.metric["tokens"] == np.mean(lengths) <= 20
        ratios += [value for found in each.values() for value in found]
    assert np.mean(ratios) > 0  # a text is likelier after the sentence it was written after


def test_the_log_ratio_is_that_of_the_network(tmp_path, tiny_model, monkeypatch):
    """Of ids, not of the text encoded again, which may be cut otherwise."""
    model, seen = tiny_model("llama"), []
    monkeypatch.setattr(written, "TEMPLATES", 2)
    score = Opened.score
    monkeypatch.setattr(
        Opened, "score", lambda self, asked, progress: seen.extend(asked) or score(self, asked, progress)
    )
    run(tmp_path / "out", Opened(model), **GENDER)
    case = load_items(tmp_path / "out")[0]
    for k, text in enumerate(case.shown["written"]["stereotyped"]):
        here, there = seen[2 * k], seen[2 * k + 1]
        assert here.context == tuple(model.tokenizer(case.shown["stereotyped"])["input_ids"])
        assert there.context == tuple(model.tokenizer(case.shown["other"])["input_ids"])
        assert here.continuation == there.continuation
        values = []
        for asked in (here, there):
            ids = asked.context + asked.continuation
            with torch.inference_mode():
                logits = model.network(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            start = len(asked.context)
            values.append(sum(float(logits[at - 1, ids[at]]) for at in range(start, len(ids))))
        assert text["log_ratio"] == pytest.approx(values[0] - values[1], abs=1e-3)


def test_the_seed_decides_what_is_drawn_and_base_and_result_are_asked_the_same(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr(written, "TEMPLATES", 10)
    monkeypatch.setattr(written, "PAIRS", 1)
    model = tiny_model("llama")
    one, again, other = (
        run(tmp_path / name, Opened(model), seed, **GENDER)[1] for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    label = "bias.written_limpide_divergence[axis=gender]"
    assert one[label].value == again[label].value != other[label].value
    run(tmp_path / "d", Opened(tiny_model("gpt2")), 0, **GENDER)
    assert [i.id for i in load_items(tmp_path / "a")] == [i.id for i in load_items(tmp_path / "d")]


def test_cases_are_drawn_alike_of_each_language_and_within_the_part():
    chosen = Chosen(axes=("gender", "origin"), part="judge", seed=5)
    cases = chosen_cases(chosen)
    judged = {case.id for case in read_cases(("gender", "origin"), ("en", "fr"), "judge")}
    assert {case.id for case in cases} <= judged
    templates = Counter((case.axis, case.language, case.template) for case in cases)
    assert set(templates.values()) == {2}
    assert set(Counter((axis, language) for axis, language, _ in templates).values()) == {12}
    assert chosen_cases(chosen) == cases
    assert {c.id for c in chosen_cases(Chosen(axes=("origin",), part="judge", seed=5))} == {
        c.id for c in cases if c.axis == "origin"
    }
    assert chosen_cases(Chosen(axes=("gender",), seed=1)) != chosen_cases(Chosen(axes=("gender",), seed=2))
    assert len({case.pair for case in cases if case.axis == "gender"}) > 8  # not the same two pairs everywhere


def test_the_method_names_what_is_drawn_and_the_part_only_when_there_is_one():
    dialect = registry.find(NAME)
    methods = [written.specs(dialect, Chosen(("gender",), ("en",), part), "0" * 64)[0].method for part in (None, "fit")]
    shape = "written@limpide.divergence@1(axes=gender,languages=en,templates=000000000000,{}drawn=24x2x2,"
    assert [method.partition("max_new")[0] for method in methods] == [shape.format(""), shape.format("part=fit,")]
    assert methods[0].endswith("max_new_tokens=20,temperature=1)")


def test_an_encoder_decoder_writes_too_and_an_encoder_is_sent_elsewhere(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr(written, "TEMPLATES", 10)
    _, found = run(tmp_path / "t5", Opened(tiny_model("t5")), **GENDER)
    assert found["bias.written_limpide_divergence[axis=gender]"].state == "measured"
    with pytest.raises(ModelError, match="use --dialect pronouns@limpide"):
        run(tmp_path / "bert", Opened(tiny_model("bert")), **GENDER)


def test_a_closed_model_is_not_asked(tmp_path):
    closed = SimpleNamespace(can=frozenset({"scores"}), kind="endpoint", title="x", digest=None, facts=dict)
    _, found = run(tmp_path / "out", closed)
    (measure,) = found.values()
    assert measure.state == "not run"
    assert "for which the weights must be on this machine" in measure.note


def test_a_file_is_refused_and_a_part_is_not():
    with pytest.raises(ValidationError, match="'written@limpide' is shipped with Limpide"):
        BiasSettings(dialect=NAME, file="x.csv")
    assert BiasSettings(dialect=NAME, part="judge").part == "judge"
