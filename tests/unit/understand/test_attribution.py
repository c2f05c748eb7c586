"""Attribution against its definitions: completeness, one plain pass a replacement, differences, and a planted word."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.core.errors import ModelError, UsageError
from limpide.models.model import open_model
from limpide.models.row import Row, embed, final_hidden, target_log_likelihoods
from limpide.understand import attribution
from limpide.understand.attribution import baseline_of, explain, explained, neutral_token, terms
from limpide.understand.integrated import StraightPath, Term, gauss_legendre, path_gradients
from limpide.understand.question import Question, ask
from limpide.understand.settings import AttributionMethod, AttributionSettings
from tiny import FAMILY_NAMES, tiny_folder

METHODS: list[AttributionMethod] = ["integrated-gradients", "gradient-x-input", "occlusion"]
PROMPT = "The valve closes and the light turns"


def asked(model: Any, **options: Any) -> Question:
    if model.kind == "encoder":
        prompt = "The valve closes and the light [MASK][MASK]"
        return ask(model, prompt, **({"answer": "th"} | options))
    return ask(model, PROMPT, **({"answer": "red"} | options))


def settings(method: AttributionMethod, **options: Any) -> AttributionSettings:
    return AttributionSettings(method=method, **options)


def fixed(method: AttributionMethod, **options: Any) -> AttributionSettings:
    """Integrated gradients at 16 points, enough or not."""
    return settings(method, steps=16, most_steps=16, **options)


def f_of(model: Any, row: Row, ids: Any) -> float:
    """The log-likelihood of a row's targets with other ids before them, one plain pass."""
    with torch.inference_mode():
        hidden = final_hidden(model, row, embed(model, ids)[None])
        return float(target_log_likelihoods(model, row, hidden).sum())


@pytest.fixture
def smooth(tiny_model: Callable[[str], Any], tmp_path: Path) -> Callable[[str], Any]:
    """Tiny models whose experts all take part: a choice among experts makes F jump."""

    def opened(name: str) -> Any:
        experts = "num_experts_per_tok" in dir(tiny_model(name).network.config)
        return open_model(tiny_folder(name, tmp_path, num_experts_per_tok=4)) if experts else tiny_model(name)

    return opened


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_integrated_gradients_are_complete(smooth: Callable[[str], Any], name: str) -> None:
    model = smooth(name)
    question = asked(model)
    found = explain(model, question, settings("integrated-gradients", most_steps=256))
    row, places = question.row, explained(model, question)
    changed = [neutral_token(model) if k in places else token for k, token in enumerate(row.ids)]
    assert found.total == pytest.approx(f_of(model, row, row.ids) - f_of(model, row, changed), abs=1e-4)
    assert found.total is not None
    assert found.gap is not None
    assert found.gap == pytest.approx(abs(sum(found.tokens) - found.total), abs=1e-9)
    assert found.converged
    assert found.gap <= max(0.05 * abs(found.total), attribution.ROUNDING)
    assert all(found.tokens[k] == 0 for k in range(len(question.tokens)) if k not in places)
    assert any(found.tokens[k] != 0 for k in places)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_occlusion_is_one_plain_pass_a_replacement(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)
    question = asked(model)
    found = explain(model, question, settings("occlusion"))
    row, token = question.row, neutral_token(model)
    whole, places = f_of(model, row, row.ids), explained(model, question)

    def loss(gone: Any) -> float:
        return whole - f_of(model, row, [token if k in gone else own for k, own in enumerate(row.ids)])

    for k in range(len(question.tokens)):
        assert found.tokens[k] == pytest.approx(loss([k]) if k in places else 0, abs=2e-4)
    for word, value in zip(question.words, found.words, strict=True):
        assert value == pytest.approx(loss([k for k in word.tokens if k in places]), abs=2e-4)
    assert any(len(word.tokens) > 1 for word in question.words)


@pytest.mark.parametrize("name", FAMILY_NAMES)
@pytest.mark.parametrize("method", METHODS)
def test_against_another_answer_it_is_the_difference(
    tiny_model: Callable[[str], Any], name: str, method: AttributionMethod
) -> None:
    model = tiny_model(name)
    alike = model.kind == "encoder"  # there, answers fill the same masks; else these differ in length
    options = {"answer": "th", "against": "ed"} if alike else {"answer": "red", "against": "closed now"}
    question = asked(model, **options)
    assert len(terms(question)) == (1 if alike else 2)
    both = explain(model, question, fixed(method))
    one = explain(model, asked(model, answer=options["answer"]), fixed(method))
    two = explain(model, asked(model, answer=options["against"]), fixed(method))
    difference = [a - b for a, b in zip(one.tokens, two.tokens, strict=True)]
    size = max(map(abs, difference))
    assert list(both.tokens) == pytest.approx(difference, abs=2e-4 * max(1, size))
    assert both.record()["of"] == "answer against another"
    if method == "integrated-gradients":
        assert both.total == pytest.approx(one.total - two.total, abs=1e-3)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["llama", "gpt_oss", "bert", "t5"])
@pytest.mark.parametrize("method", METHODS)
def test_the_answer_s_tokens_sum_to_the_whole(
    tiny_model: Callable[[str], Any], name: str, method: AttributionMethod
) -> None:
    model = tiny_model(name)
    question = asked(model)
    found = explain(model, question, fixed(method, each_token=True))
    assert found.answer_tokens is not None
    assert len(found.answer_tokens) == len(question.answer_tokens) > 1
    summed = [sum(column) for column in zip(*found.answer_tokens, strict=True)]
    assert summed == pytest.approx(list(found.tokens), abs=1e-3 * max(map(abs, found.tokens)))
    without = explain(model, question, fixed(method))
    assert list(without.tokens) == pytest.approx(list(found.tokens), abs=1e-3 * max(map(abs, found.tokens)))
    assert without.answer_tokens is None


def test_gradients_times_input_by_torch_alone(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    question = asked(model)
    inputs = embed(model, question.row.ids)[None].clone().requires_grad_()
    target_log_likelihoods(model, question.row, final_hidden(model, question.row, inputs)).sum().backward()  # type: ignore[no-untyped-call]
    assert inputs.grad is not None
    wanted = (inputs.grad * inputs).sum(-1)[0].tolist()
    found = explain(model, question, settings("gradient-x-input"))
    places = explained(model, question)
    assert [found.tokens[k] for k in places] == pytest.approx([wanted[k] for k in places], rel=1e-3, abs=1e-4)
    for word, value in zip(question.words, found.words, strict=True):
        assert value == pytest.approx(sum(found.tokens[k] for k in word.tokens))


def test_the_rule_is_gauss_legendre_s() -> None:
    nodes, weights = gauss_legendre(3, 1.0, 3.0)
    at = torch.tensor(nodes, dtype=torch.float64)
    assert float(weights @ at**5) == pytest.approx((3**6 - 1) / 6)  # degree 2·3 − 1 is exact
    assert float(weights @ at**6) != pytest.approx((3**7 - 1) / 7)


def test_pieces_are_halved_where_the_path_bends(tiny_model: Callable[[str], Any]) -> None:
    """With as many points, a smaller gap than evenly spread ones; and every piece is still the same integral."""
    from limpide.core.progress import Quiet

    model = tiny_model("llama")
    question = asked(model)
    row = question.row
    baseline = baseline_of(model, row, explained(model, question), neutral_token(model))
    path = StraightPath(model, [(Term(row), baseline)], Quiet())
    path.refine(16, 64, 0.0)
    assert path.points == 64
    even = StraightPath(model, [(Term(row), baseline)], Quiet())
    even.refine(64, 64, 0.0)
    assert path.gap < even.gap
    assert sorted((p.start, p.end) for p in path.pieces)[0][0] == 0.0
    assert sum(p.end - p.start for p in path.pieces) == pytest.approx(1.0)
    nodes, weights = gauss_legendre(512)
    exact = weights @ path_gradients(model, Term(row), baseline, nodes)
    torch.testing.assert_close(path.share(), exact, atol=0.02 * float(exact.abs().max()), rtol=0)


def test_a_choice_among_experts_leaves_a_gap_that_is_shown(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("deepseek_v3")
    found = explain(model, asked(model), settings("integrated-gradients", most_steps=128))
    assert found.total is not None
    assert found.gap is not None
    assert found.gap > 0.05 * abs(found.total)
    assert found.converged is False


def test_points_stop_at_the_most_and_it_says_so(tiny_model: Callable[[str], Any]) -> None:
    found = explain(
        tiny_model("llama"),
        asked(tiny_model("llama")),
        settings("integrated-gradients", steps=8, most_steps=24, tolerance=1e-9),
    )
    assert found.steps is not None
    assert found.steps <= 24
    assert found.converged is False


def test_a_long_prompt_is_occluded_by_runs(tiny_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    question = asked(model)
    monkeypatch.setattr(attribution, "MOST_UNITS", 3)
    found = explain(model, question, settings("occlusion", each_token=True))
    assert found.units is not None
    count, _, rest = found.units.partition(" ")
    assert (1 < int(count) <= 3, rest) == (True, "runs of neighbouring words")
    values = [found.tokens[k] for k in explained(model, question)]
    assert len(set(values)) == int(count)
    assert sum(found.words) == pytest.approx(sum(found.tokens))
    first = [k for k in explained(model, question) if found.tokens[k] == values[0]]
    changed = [neutral_token(model) if k in first else own for k, own in enumerate(question.row.ids)]
    loss = f_of(model, question.row, question.row.ids) - f_of(model, question.row, changed)
    assert values[0] * len(first) == pytest.approx(loss, abs=2e-4)


@pytest.mark.parametrize("method", ["integrated-gradients", "occlusion"])
def test_the_planted_word_decides_alone(tiny_model: Callable[[str], Any], method: AttributionMethod) -> None:
    """All tokens look alike to the network but those of one word; planted nowhere, nothing is found."""
    model = replace(tiny_model("qwen2"), network=copy.deepcopy(tiny_model("qwen2").network))  # its head is not tied
    weight = model.network.get_input_embeddings().weight
    question = asked(model)
    planted = next(k for k, word in enumerate(question.words) if word.text == "light")
    place = question.words[planted].tokens[0]
    generator = torch.Generator().manual_seed(1)
    alike, other = torch.randn(2, weight.shape[1], generator=generator)
    weight[:] = alike
    assert max(map(abs, explain(model, question, fixed(method)).words)) < 1e-4
    weight[question.row.ids[place]] = other
    found = explain(model, question, fixed(method)).words
    assert abs(found[planted]) > 1e-2
    assert max(abs(v) for k, v in enumerate(found) if k != planted) < 1e-4


def test_the_neutral_token_of_each_kind(tiny_model: Callable[[str], Any]) -> None:
    assert neutral_token(tiny_model("bert")) == tiny_model("bert").tokenizer.mask_token_id
    assert neutral_token(tiny_model("t5")) == tiny_model("t5").tokenizer.unk_token_id
    assert neutral_token(tiny_model("llama")) == tiny_model("llama").tokenizer.unk_token_id


def test_a_text_of_masks_alone_has_nothing_to_explain(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("bert")
    with pytest.raises(UsageError, match="no word of its own to explain") as caught:
        explain(model, ask(model, "[MASK]", answer="e"), settings("occlusion"))
    assert "--method lens" in str(caught.value)


def test_gradients_that_are_not_numbers(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    question = asked(model)
    broken = torch.full_like(embed(model, question.row.ids), float("nan"))
    with pytest.raises(ModelError, match="not numbers") as caught:
        path_gradients(model, Term(question.row), broken, [0.5])
    assert "--method occlusion" in str(caught.value)


def test_the_record_is_plain_and_rounded(tiny_model: Callable[[str], Any]) -> None:
    import json

    model = tiny_model("llama")
    record = explain(model, asked(model), fixed("integrated-gradients", each_token=True)).record()
    assert json.loads(json.dumps(record)) == record
    assert record["unit"] == "nats"
    assert record["baseline"].startswith("<unk> in place of")
    assert all(value == float(f"{value:.6g}") for value in record["tokens"])
    assert replace(explain(model, asked(model), settings("occlusion"))).record()["total"] is None
