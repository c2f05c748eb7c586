"""Every family: the edited key has the value that was asked for, or the reason why not is told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.adapt.correct import edit, edit_keys, edit_scores, edit_values, edit_writing
from limpide.adapt.correct.edit_rows import Edit, EditSettings
from limpide.core.errors import ModelError, UntrustedInput, UsageError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.models.encoding import Encoded
from limpide.models.model import open_model
from limpide.models.stacks import stacks
from limpide.models.update import applied, load_update
from tiny import FAMILY_NAMES, tiny_folder, tiny_gguf

QUICK: dict[str, Any] = {"own_tokens": 256, "contexts": 3, "steps": 4}
EDIT = Edit(prompt="The pump of the press is", subject="the press", answer=" red", instead_of=" valve")
NORMED = ("bert", "gemma2", "gemma3")


def settings(**more: Any) -> EditSettings:
    return EditSettings(**QUICK, **more)


@pytest.mark.parametrize("name", [*FAMILY_NAMES, "shared expert"])
def test_the_key_has_its_new_value(name: str, tiny_model: Callable[[str], Any], tmp_path: Path) -> None:
    """Ŵ k* = W k* + δ, seen through the network: its mean over the contexts, that k* is the mean key of."""
    shared = name == "shared expert"  # DeepSeek's first layer has no experts
    model = open_model(tiny_folder("deepseek_v3", tmp_path, num_hidden_layers=3)) if shared else tiny_model(name)
    layer = int(shared)
    texts = edit_writing.edit_texts.ordinary_texts(model, "en", QUICK["own_tokens"], 0)
    starts = edit_writing.edit_texts.beginnings(model, texts, "en", QUICK["contexts"])
    fact = edit_writing.fact_of(model, EDIT, starts, "en")
    memory = edit_keys.memory_of(model, stacks(model)[0], layer, [fact.contexts])
    assert ("shared_experts" in memory.write.name) == shared
    assert (memory.expert is not None) == (name == "gpt_oss")
    update, facts = edit_writing.write(model, [EDIT], settings(layers=(layer,)), 0, Quiet())
    assert facts["weights"] == {memory.write.name: memory.expert}
    ((left, right),) = update.factors.values()
    assert torch.linalg.matrix_rank(left @ right).max() == 1

    def given() -> tuple[torch.Tensor, torch.Tensor]:
        met = [(memory.module, edit_keys.GIVEN), (memory.module, edit_keys.GIVES)]
        values, gives = edit_keys.at_subject(model, met, fact.contexts)
        keys, weights = memory.keys(model, values)
        return (keys[weights > 0], gives) if memory.expert is None else (keys[weights > 0], gives[weights > 0])

    keys, before = given()
    with applied(model, update):
        same, after = given()
    assert torch.equal(keys, same)
    if memory.expert is None:  # an expert's output is mixed with others': its own weight is looked at below
        assert float((after - before).mean(0).norm()) == pytest.approx(facts["values"][0]["size"], rel=1e-3)
    else:
        whole = (left @ right)[memory.expert]
        change = keys.mean(0) @ (whole if memory.write.transposed else whole.T)
        assert float(change.norm()) == pytest.approx(facts["values"][0]["size"], rel=1e-3)
        others = [e for e in range(len(left)) if e != memory.expert]
        assert (left @ right)[others].abs().max() == 0


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_several_layers_or_why_not(name: str, tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model(name)
    asked = settings(form="several layers")
    if name in NORMED:
        with pytest.raises(ModelError, match="take form: one layer"):
            edit_writing.write(model, [EDIT], asked, 0, Quiet())
        return
    update, facts = edit_writing.write(model, [EDIT], asked, 0, Quiet())
    assert len(update.factors) == len(facts["layers"])
    assert all(torch.isfinite(part).all() for pair in update.factors.values() for part in pair)


def test_an_experts_keys_are_what_its_last_layer_is_given(tiny_model: Callable[[str], Any]) -> None:
    """gpt-oss, written out: keys times the last layer, with its bias, is what the expert gives."""
    model = tiny_model("gpt_oss")
    stack = stacks(model)[0]
    fact = edit_writing.fact_of(model, EDIT, [""], "en")
    memory = edit_keys.memory_of(model, stack, 0, [fact.contexts])
    module = stack.module(0, "mlp.experts")
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        keys = memory._expert_keys(model, x)
        one = torch.full((5, 1), memory.expert)
        direct = module(x, one, torch.ones(5, 1))
        again = keys @ module.down_proj[memory.expert] + module.down_proj_bias[memory.expert]
    assert keys.shape == (5, module.down_proj.shape[1])
    assert torch.allclose(again, direct, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "bert", "t5"])
def test_the_operation_leaves_an_update_and_its_scores(
    name: str, tiny_path: Callable[[str], Path], tmp_path: Path
) -> None:
    asked = settings(prompt=EDIT.prompt, subject=EDIT.subject, answer="red")
    result = edit.run(Subject(out=tmp_path, model=tiny_path(name)), asked, Quiet())
    assert load_update(tmp_path / "update").factors
    assert result.facts["strengths"] == [1.0]
    assert result.facts["edits"][0]["instead_of"]
    assert result.facts["before"]["efficacy"]["right"] == 0
    assert result.facts["before"]["neighbourhood"]["share"] == 1
    assert result.facts["after"]["efficacy"]["state"] == "insufficient evidence"
    assert result.facts["after"]["paraphrase"]["n"] == 6
    asks = edit_scores.load_asks(tmp_path)
    assert [ask.kind for ask in asks[:2]] == ["efficacy", "paraphrase"]


def test_a_layer_that_does_not_exist(tiny_model: Callable[[str], Any]) -> None:
    with pytest.raises(UsageError, match="no such layer"):
        edit_writing.write(tiny_model("llama"), [EDIT], settings(layers=(2,)), 0, Quiet())


def test_a_layer_that_nothing_reads(tiny_model: Callable[[str], Any]) -> None:
    with pytest.raises(ModelError, match="give an earlier layer"):
        edit_writing.write(tiny_model("llama"), [EDIT], settings(layers=(1,)), 0, Quiet())


def test_one_layer_means_one(tiny_model: Callable[[str], Any]) -> None:
    with pytest.raises(ModelError, match="one layer"):
        edit_writing.write(tiny_model("llama"), [EDIT], settings(layers=(0, 1)), 0, Quiet())


def test_an_answer_that_the_model_gives_already(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    now = edit_scores.says(model, EDIT.prompt, "a")
    with pytest.raises(ModelError, match="nothing to edit"):
        edit_scores.with_old_answer(model, EDIT.model_copy(update={"answer": now, "instead_of": None}))


def test_a_gguf_file_is_not_a_models_folder(tmp_path: Path) -> None:
    asked = settings(prompt=EDIT.prompt, subject=EDIT.subject, answer="red")
    (tmp_path / "out").mkdir()
    with pytest.raises((ModelError, UntrustedInput)):
        edit.run(Subject(out=tmp_path / "out", model=tiny_gguf(tmp_path / "tiny" / "a.gguf")), asked, Quiet())


def test_a_search_that_diverges() -> None:
    change = torch.zeros(3, requires_grad=True)
    (change * float("nan")).sum().backward()
    with pytest.raises(ModelError, match="diverged"):
        edit_values._check_slope(change, 3)


def test_a_subject_that_is_one_token_with_the_answer(tiny_model: Callable[[str], Any]) -> None:
    with pytest.raises(ModelError, match="not read before the answer"):
        edit_keys._places(tiny_model("llama"), Encoded(0, (), (50, 51)), "ab", (0, 2))


def test_an_expert_that_reads_no_text_or_no_subject(
    tiny_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("gpt_oss")
    fact = edit_writing.fact_of(model, EDIT, [""], "en")
    memory = edit_keys.memory_of(model, stacks(model)[0], 0, [fact.contexts])
    given = edit_keys.at_subject(model, [(memory.module, edit_keys.GIVEN)], fact.contexts)[0]
    idle = [replace(memory, expert=e) for e in range(4)]
    idle = [m for m in idle if not m.keys(model, given)[1].any()]
    with pytest.raises(ModelError, match="never reads one subject"):
        edit_writing._keys(model, idle[0], [fact])
    monkeypatch.setattr(edit_keys, "key_totals", lambda *_: [(torch.zeros(()), 0)])
    with pytest.raises(ModelError, match="its keys are unknown"):
        edit_writing._moments(model, [memory], edit_keys.Texts(()))


def test_an_edit_that_did_not_take_is_told() -> None:
    assert edit._warnings({"efficacy": {"share": 1.0}}) == []
    assert "50% of the edits" in edit._warnings({"efficacy": {"share": 0.5}})[0]


def test_several_edits_of_one_layer_form_need_their_own_keys(tiny_model: Callable[[str], Any]) -> None:
    same = EDIT.model_copy(update={"prompt": "The pump of the press was", "answer": " on"})
    with pytest.raises(ModelError, match="take form: several layers"):
        edit_writing.write(tiny_model("llama"), [EDIT, same], settings(layers=(0,)), 0, Quiet())
