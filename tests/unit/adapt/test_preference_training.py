"""Preference training: its losses by hand, its steps however they are cut, and what it refuses."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import logsigmoid

from limpide.adapt.correct.low_rank import update_of, with_adapter
from limpide.adapt.preference import Pair, Plan, Sides, dpo, orpo, train
from limpide.core.errors import DataError, ModelError
from limpide.core.progress import Quiet
from limpide.models.encoding import encode_requests
from limpide.models.likelihood import read
from limpide.models.model import Model, open_model
from limpide.models.requests import Request
from limpide.models.update import applied

CONTEXTS = ("The pump stops", "The valve closes", "The light turns", "The press waits", "The river rises", "A code")
PLAN = Plan(steps=4, batch=6, micro=6, learning_rate=0.02, beta=0.5, warmup=0.0)
FAMILIES = ("llama", "gpt2", "bert", "t5", "gpt_oss", "deepseek_v3")


def sides(level: bool = False, **changes: float) -> Sides:
    given = {"chosen": -3.0, "rejected": -5.0, "chosen_before": -4.0, "rejected_before": -4.5}
    values = {name: torch.tensor([x], dtype=torch.float64) for name, x in (given | changes).items()}
    lengths = torch.tensor([2.0], dtype=torch.float64), torch.tensor([4.0], dtype=torch.float64)
    return Sides(**values, chosen_tokens=lengths[0], rejected_tokens=lengths[1], level=torch.tensor([level]))


def pairs(model: Model, level: bool = False) -> list[Pair]:
    requests = [Request(c, c, end) for c in CONTEXTS for end in (" red until the pump is checked", " late")]
    items = encode_requests(model, requests)
    return [Pair(a, b, level) for a, b in zip(items[::2], items[1::2], strict=True)]


@pytest.fixture
def fresh(tiny_path: Callable[[str], Path]) -> Callable[..., Model]:
    """A tiny model with an adapter that has learnt nothing yet."""
    return lambda name="llama", rank=2: with_adapter(open_model(tiny_path(name)), rank, 0)


def adapter(model: Model) -> dict[str, torch.Tensor]:
    return {name: w.detach().clone() for name, w in model.network.named_parameters() if w.requires_grad}


def gaps(model: Model, given: list[Pair]) -> torch.Tensor:
    with torch.no_grad():
        nats = read(model, [item for pair in given for item in (pair.chosen, pair.rejected)]).log_likelihoods(model)
    return nats[::2] - nats[1::2]


def test_dpo_by_hand() -> None:
    losses, margins = dpo(sides(), beta=0.2)
    assert margins.item() == pytest.approx((-3 + 4) - (-5 + 4.5))
    assert losses.item() == pytest.approx(math.log(1 + math.exp(-0.2 * 1.5)))
    with_text, _ = dpo(sides(), beta=0.2, sft=0.7)
    assert with_text.item() - losses.item() == pytest.approx(0.7 * 3 / 2)


def test_dpo_is_what_trl_defines() -> None:
    """TRL 0.29, DPOTrainer.dpo_loss, loss_type 'sigmoid': −logsigmoid(β (policy log ratio − reference log ratio))."""
    rng = torch.Generator().manual_seed(0)
    chosen, rejected, chosen_before, rejected_before = torch.randn(4, 50, generator=rng) * 8 - 20
    tokens = torch.full((50,), 3.0)
    given = Sides(chosen, rejected, chosen_before, rejected_before, tokens, tokens, torch.zeros(50, dtype=torch.bool))
    expected = -logsigmoid(0.1 * ((chosen - rejected) - (chosen_before - rejected_before)))
    assert torch.allclose(dpo(given, 0.1)[0], expected, atol=1e-6)


def test_orpo_by_hand() -> None:
    chosen, rejected = math.exp(-3 / 2), math.exp(-5 / 4)  # mean probability of a token
    odds = math.log(chosen / (1 - chosen)) - math.log(rejected / (1 - rejected))
    losses, margins = orpo(sides(), beta=0.25)
    assert margins.item() == pytest.approx(odds)
    assert losses.item() == pytest.approx(3 / 2 + 0.25 * math.log(1 + math.exp(-odds)))
    assert math.isfinite(orpo(sides(chosen=0.0), beta=0.25)[0].item())


@pytest.mark.parametrize("level", [False, True])
def test_gradients_of_the_losses(level: bool) -> None:
    def both(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        given = replace(sides(level), chosen=chosen, rejected=rejected)
        return torch.cat([dpo(given, 0.3, 0.5)[0], orpo(given, 0.3)[0]])

    points = [torch.tensor([x], dtype=torch.float64, requires_grad=True) for x in (-3.0, -5.0)]
    assert torch.autograd.gradcheck(both, points)


@pytest.mark.parametrize("before", [-12.0, -2.0])  # the reference prefers the rejected text by far, then the chosen
def test_a_pair_to_level_is_settled_where_both_are_as_likely(before: float) -> None:
    def slope(chosen: float) -> float:
        x = torch.tensor([chosen], dtype=torch.float64, requires_grad=True)
        given = replace(sides(True, rejected=-4.5, chosen_before=before), chosen=x)
        dpo(given, 0.7)[0].sum().backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        return x.grad.item()

    assert slope(-4.5) == pytest.approx(0, abs=1e-12)
    assert slope(-4.6) == pytest.approx(-slope(-4.4))
    assert [slope(-40.0), slope(40.0)] == pytest.approx([-0.35, 0.35])
    assert slope(-4.6) < 0


def test_which_side_of_a_pair_to_level_is_called_chosen_does_not_matter() -> None:
    one = sides(True)
    other = replace(one, chosen=one.rejected, rejected=one.chosen)
    assert dpo(one, 0.4)[0].item() == pytest.approx(dpo(other, 0.4)[0].item())


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_learns_and_its_update_is_what_it_learnt(name: str, fresh: Callable[..., Model]) -> None:
    model = fresh(name)
    given = pairs(model)
    before = gaps(model, given)
    trained = train(model, given, PLAN, Quiet())
    learnt = gaps(model, given)
    assert trained.losses[0] == pytest.approx(math.log(2), abs=1e-4)  # it starts where the reference is
    assert trained.margins[0] == pytest.approx(0, abs=1e-3)
    assert (learnt > before).all()
    update = update_of(model)
    bare = open_model(model.folder)
    with applied(bare, update):
        assert torch.allclose(gaps(bare, given), learnt, atol=1e-3)
    assert torch.allclose(gaps(bare, given), before, atol=1e-3)


def test_the_reference_is_the_model_without_its_adapter(fresh: Callable[..., Model]) -> None:
    model = fresh()
    given = pairs(model)
    before = gaps(model, given)
    train(model, given, PLAN, Quiet())
    again = train(model, given, Plan(steps=1, batch=6, beta=0.5, learning_rate=1e-9), Quiet())
    assert again.margins[0] == pytest.approx(float((gaps(model, given) - before).mean()), abs=1e-3)
    assert again.margins[0] > 0.1


@pytest.mark.parametrize(("loss", "level"), [("dpo", False), ("dpo", True), ("orpo", False)])
def test_how_a_step_is_cut_changes_nothing(loss: Any, level: bool, fresh: Callable[..., Model]) -> None:
    found = []
    for micro in (6, 4, 1):
        model = fresh()
        plan = Plan(steps=1, batch=6, micro=micro, loss=loss, learning_rate=0.01, warmup=0.0, sft=0.1)
        trained = train(model, pairs(model, level), plan, Quiet())
        gradients = torch.cat([w.grad.flatten() for w in model.network.parameters() if w.grad is not None])
        found.append((gradients, trained))
    for gradients, trained in found[1:]:
        assert torch.allclose(gradients, found[0][0], atol=1e-6)
        assert trained.losses == pytest.approx(found[0][1].losses, abs=1e-5)


def test_equal_seeds_give_equal_weights(fresh: Callable[..., Model]) -> None:
    def run(seed: int) -> dict[str, torch.Tensor]:
        model = fresh()
        train(model, pairs(model), Plan(steps=3, batch=2, micro=2, learning_rate=0.01, seed=seed), Quiet())
        return adapter(model)

    first, same, other = run(0), run(0), run(1)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_levelled_pairs_end_level_and_plain_ones_go_on(fresh: Callable[..., Model]) -> None:
    plan = Plan(steps=60, batch=6, micro=6, beta=1.0, learning_rate=0.02)
    ends = {}
    for level in (True, False):
        model = fresh(rank=8)
        given = pairs(model, level)
        trained = train(model, given, plan, Quiet())
        ends[level] = gaps(model, given).abs().mean().item()
        assert trained.accuracies[-1] > 0.6
        assert level is False or trained.margins[-1] == pytest.approx(-ends[level], abs=0.2)
    assert ends[True] < 0.3 < 5 < ends[False]


def test_pairs_to_level_need_no_reference(fresh: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr("limpide.adapt.preference.read", lambda m, items: seen.append(len(items)) or read(m, items))
    model = fresh()
    train(model, pairs(model, level=True), Plan(steps=2, batch=3, micro=3, learning_rate=0.01), Quiet())
    assert seen == [6, 6]


def test_orpo_needs_no_reference(fresh: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    model = fresh()
    monkeypatch.setattr(type(model.network), "disable_adapter", lambda _: pytest.fail("read a reference"))
    given = pairs(model)
    before = gaps(model, given)
    trained = train(model, given, Plan(steps=6, batch=6, loss="orpo", beta=1.0, learning_rate=0.02), Quiet())
    assert trained.losses[-1] < trained.losses[0]
    assert (gaps(model, given) > before).all()


def test_it_stops_when_the_margin_is_enough(fresh: Callable[..., Model]) -> None:
    model = fresh()
    plan = Plan(steps=200, batch=6, beta=0.1, learning_rate=0.02, enough=2.0)
    trained = train(model, pairs(model), plan, Quiet())
    assert len(trained.losses) < 100
    assert trained.margins[-1] >= 2.0 > trained.margins[-2]
    facts = trained.facts()
    assert facts["steps"] == len(trained.losses)
    assert facts["margin_last"] == pytest.approx(sum(trained.margins[-5:]) / 5)


def test_a_loss_that_is_no_number_stops_it(fresh: Callable[..., Model]) -> None:
    model = fresh()
    given = pairs(model)
    next(w for w in model.network.parameters() if w.requires_grad).data.fill_(float("nan"))
    with pytest.raises(ModelError, match=r"loss of step 1 of the preference training is not a number"):
        train(model, given, PLAN, Quiet())


def test_pairs_that_teach_nothing_are_refused(fresh: Callable[..., Model]) -> None:
    model = fresh()
    given = pairs(model)
    with pytest.raises(DataError, match="no pair"):
        train(model, [], PLAN, Quiet())
    with pytest.raises(DataError, match="prefers a text to itself") as caught:
        train(model, [given[0], Pair(given[1].chosen, given[1].chosen)], PLAN, Quiet())
    assert caught.value.received == "1 of 2 pairs, the first is number 2"


def test_progress_tells_loss_and_margin(fresh: Callable[..., Model]) -> None:
    class Seen(Quiet):
        def __init__(self) -> None:
            self.facts: list[dict[str, Any]] = []

        def advance(self, by: float = 1, **facts: Any) -> None:
            self.facts.append(facts)

    model = fresh()
    train(model, pairs(model), PLAN, seen := Seen())
    assert [set(f) for f in seen.facts[-PLAN.steps :]] == [{"loss", "margin"}] * PLAN.steps
