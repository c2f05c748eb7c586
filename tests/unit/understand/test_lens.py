"""The lens against the model's own logits, a naive reading, and models in which the answer is known."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.core.errors import ModelError, UsageError
from limpide.core.progress import Quiet
from limpide.models.families.registry import blocks, logits_from_hidden
from limpide.models.stacks import stacks
from limpide.models.trace import record
from limpide.understand import lens
from limpide.understand.lens import explain, first_to_the_end
from limpide.understand.question import Question, ask
from limpide.understand.settings import LensSettings
from limpide.understand.tuned_lens import unembed
from tiny import FAMILY_NAMES

PROMPT = {"bert": "The doctor said that he was [MASK] because"}
ANSWER = {"bert": "e"}


def question_of(model: Any, name: str) -> Question:
    return ask(model, PROMPT.get(name, "The valve closes and the light turns"), answer=ANSWER.get(name, "red"))


def own_logits(model: Any, question: Question) -> torch.Tensor:
    """float[places, vocabulary], as the network itself gives them."""
    row = question.decision.row
    given = {"input_ids": torch.tensor([row.ids])}
    if row.written:
        given["decoder_input_ids"] = torch.tensor([row.written])
    with torch.inference_mode():
        found: torch.Tensor = model.network(**given).logits[0]
    return found


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_at_the_last_layer_it_is_the_model_itself(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)
    question = question_of(model, name)
    own = own_logits(model, question)
    stream = record(model, question.decision.row)[stacks(model)[-1].name].residual
    torch.testing.assert_close(unembed(model, stream[-1]), own, atol=1e-5, rtol=1e-5)

    found = explain(model, question, LensSettings(top=3), Quiet())
    wanted = own[question.decision.row.read[0]].softmax(0)
    token = question.decision.token
    assert found.probability[-1] == pytest.approx(float(wanted[token]), rel=1e-4)
    assert found.rival_probability[-1] == pytest.approx(float(wanted[question.decision.rival]), rel=1e-4)
    assert found.rank[-1] == 1 + int((wanted > wanted[token]).sum())
    assert found.entropy[-1] == pytest.approx(float(-(wanted * wanted.log()).sum()), rel=1e-4)
    assert [c.probability for c in found.top[-1]] == pytest.approx(wanted.topk(3).values.tolist(), rel=1e-4)
    assert found.grid.probability[-1] == pytest.approx(own.softmax(1).max(1).values.tolist(), rel=1e-4)
    assert found.grid.top[-1] == tuple(model.tokenizer.decode([i]) for i in own.argmax(1).tolist())
    assert found.stack == ("decoder" if name == "t5" else "text")


def test_every_layer_is_read_with_the_last_norm_and_head(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    question = question_of(model, "llama")
    found = explain(model, question, LensSettings(), Quiet())
    inputs: list[torch.Tensor] = []  # of each block at the deciding place, by hooks of the test's own
    hooks = [
        block.register_forward_pre_hook(lambda _, args: inputs.append(args[0][0, -1].clone()))
        for block in blocks(model.network, model.family)
    ]
    with torch.inference_mode():
        final = model.network.model(input_ids=torch.tensor([question.decision.row.ids])).last_hidden_state[0, -1]
    for hook in hooks:
        hook.remove()
    hidden = [*(model.network.model.norm(stream) for stream in inputs), final]
    for layer, state in enumerate(hidden):
        shares = logits_from_hidden(model.network, model.family, state).softmax(0)
        assert found.probability[layer] == pytest.approx(float(shares[question.decision.token]), rel=1e-4)
        assert found.top[layer][0].text == model.tokenizer.decode([int(shares.argmax())])


def test_blocks_that_do_nothing_change_nothing(tiny_model: Callable[[str], Any]) -> None:
    """Planted: only the first of the two blocks works, so that the answer is there from layer 1 on."""
    whole = tiny_model("llama")
    model = replace(whole, network=copy.deepcopy(whole.network))
    idle = blocks(model.network, model.family)[1]
    idle.self_attn.o_proj.weight.data.zero_()
    idle.mlp.down_proj.weight.data.zero_()
    question = ask(model, "The valve closes and the light turns")
    found = explain(model, question, LensSettings(), Quiet())
    assert question.decision.token == int(own_logits(model, question)[-1].argmax())
    assert found.rank[1:] == (1, 1)
    assert found.rank[0] > 1
    assert found.first_lead == found.first_ahead == 1
    assert found.grid.top[1] == found.grid.top[2] != found.grid.top[0]
    assert found.entropy[1] == pytest.approx(found.entropy[2], abs=1e-5)


def test_first_to_the_end() -> None:
    assert first_to_the_end([False, True, True]) == 1
    assert first_to_the_end([True, True]) == 0
    assert first_to_the_end([True, False, True]) == 2  # a lead that was lost does not count
    assert first_to_the_end([True, True, False]) is None


def test_an_answer_that_never_leads_is_said_to_have_no_layer(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("gpt2")
    question = question_of(model, "gpt2")
    logits = own_logits(model, question)[-1]
    last, before = logits.argsort()[:2].tolist()
    never = replace(question, decision=replace(question.decision, token=last, rival=before))
    found = explain(model, never, LensSettings(), Quiet())
    assert found.first_lead is None
    assert found.first_ahead is None
    assert found.rank[-1] == 400


def test_the_vocabulary_is_read_in_parts(tiny_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gemma2")
    question = question_of(model, "gemma2")
    once = explain(model, question, LensSettings(), Quiet())
    sizes: list[int] = []
    plain_unembed = lens.unembed

    def counted(model: Any, stream: torch.Tensor) -> torch.Tensor:
        sizes.append(len(stream))
        return plain_unembed(model, stream)

    monkeypatch.setattr(lens, "CELLS", 800)
    monkeypatch.setattr(lens, "unembed", counted)
    parts = explain(model, question, LensSettings(), Quiet())
    assert max(sizes) == 2
    assert parts.grid.top == once.grid.top
    assert parts.probability == pytest.approx(once.probability, rel=1e-5)


def test_of_a_long_row_the_grid_keeps_the_places_that_matter(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    question = ask(model, "The light turns red and the pump stops. " * 6, answer="red")
    grid = explain(model, question, LensSettings(), Quiet()).grid
    assert (grid.first + 64, len(grid.tokens)) == (grid.of, 64)
    assert grid.of == len(question.decision.row) > 64
    assert {len(row) for row in (*grid.top, *grid.probability)} == {64}

    bert = tiny_model("bert")
    question = ask(bert, "The [MASK] turns. " + "The light turns red and the pump stops. " * 6, answer="e")
    grid = explain(bert, question, LensSettings(), Quiet()).grid
    place = question.decision.row.read[0]
    assert grid.first <= place < grid.first + 64 < grid.of
    assert grid.tokens[place - grid.first] == "[MASK]"


def test_the_record_is_plain_json(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("t5")
    question = question_of(model, "t5")
    found = explain(model, question, LensSettings(top=2), Quiet()).record()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["lens"], found["stack"], found["trained_on"]) == ("logit", "decoder", None)
    assert set(found["probability"]) == {"token", "rival"}
    assert [len(found[name]) for name in ("rank", "entropy", "top")] == [3, 3, 3]
    assert set(found["top"][0][0]) == {"text", "probability"}
    assert len(found["top"][0]) == 2
    assert len(found["grid"]["tokens"]) == len(question.decision.row.written)
    first = found["probability"]["token"][0]
    assert first == float(f"{first:.6g}")


def test_numbers_that_are_not_finite_are_refused(tiny_model: Callable[[str], Any]) -> None:
    whole = tiny_model("llama")
    question = question_of(whole, "llama")
    model = replace(whole, network=copy.deepcopy(whole.network))
    model.network.model.norm.weight.data[0] = float("inf")
    with pytest.raises(ModelError) as caught:
        explain(model, question, LensSettings(), Quiet())
    assert "not finite" in caught.value.what
    assert "float32" in str(caught.value.remedy)


def test_texts_without_a_lens_to_train(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    with pytest.raises(UsageError, match=r"tuned: true"):
        explain(model, question_of(model, "llama"), LensSettings(texts=Path("ours.txt")), Quiet())
