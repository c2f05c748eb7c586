"""The loop: equal however a step is cut, stopped in time, honest when memory or numbers run out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.adapt import training
from limpide.adapt.loss import Estimate
from limpide.adapt.packing import Pack
from limpide.adapt.training import Plan, Trainer
from limpide.core.errors import ModelError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.models.model import open_model
from limpide.models.scoring import score
from tiny_training import a_trainer, adapt, answer, examples, losses, some_packs, written


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3", "deepseek_v3", "gpt_oss"])
def test_a_step_is_the_same_however_it_is_cut(tiny_path: Callable[[str], Path], name: str, tmp_path: Path) -> None:
    states = []
    for micro in (1, 8):
        model = open_model(tiny_path(name))
        state = a_trainer(model, micro)
        packs = some_packs(model)
        assert 4 <= len(packs) <= 8
        training.train(state, lambda epoch, packs=packs: packs, [], tmp_path / str(micro), Quiet())
        states.append(state)
    one, other = states
    assert [row["train"] for row in one.losses[1:]] == pytest.approx(
        [row["train"] for row in other.losses[1:]], abs=1e-5
    )
    for key, master in one.masters.items():
        # Adam divides by the gradient's size: where it is near zero, rounding alone decides the sign of the move.
        torch.testing.assert_close(master, other.masters[key], rtol=0, atol=1e-6)


def test_the_loss_of_a_step_is_the_mean_over_its_trained_tokens(tiny_path: Callable[[str], Path]) -> None:
    model = open_model(tiny_path("llama"))
    state, packs = a_trainer(model), some_packs(model)
    scored = score(model, [answer(model, example) for example in examples()])
    expected = -sum(s.log_likelihood for s in scored) / sum(s.tokens for s in scored)
    found = training.held_out_loss(state, packs)
    assert found.mean == pytest.approx(expected, abs=1e-5)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.mean < found.high
    assert training._gradients(state, packs) == pytest.approx(expected, abs=1e-5)


def test_the_learning_rate_rises_then_falls_to_almost_nothing() -> None:
    plan = Plan(10, 1, 10, 1e-3, 0.1, 0.0, 3, 0, 30.0)
    rates = [plan.rate(step) for step in range(plan.steps)]
    assert rates[:10] == pytest.approx([1e-4 * (k + 1) for k in range(10)])
    assert max(rates) == rates[9] == rates[10] == 1e-3
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 1e-6
    assert Plan(1, 1, 1, 1e-3, 0.5, 0.0, 3, 0, 30.0).rate(0) == 1e-3


def test_it_stops_when_validation_no_longer_improves_and_keeps_the_best(
    tiny_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(tiny_path("llama"))
    state, packs = a_trainer(model, epochs=50, patience=2), some_packs(model)
    told = iter([5.0, 3.0, 2.0, 2.5, 2.0, 9.0])
    kept: list[dict[str, torch.Tensor]] = []

    def fake(state: Trainer, held_out: Sequence[Pack]) -> Estimate:
        kept.append({name: master.detach().clone() for name, master in state.masters.items()})
        return Estimate(next(told), None, None)

    monkeypatch.setattr(training, "held_out_loss", fake)
    training.train(state, lambda epoch: packs, packs, tmp_path, Quiet())
    assert [row["held_out"] for row in state.losses] == [5.0, 3.0, 2.0, 2.5, 2.0]
    assert (state.step, state.best_step, state.best_loss) == (4, 2, 2.0)
    for name, weight in state.weights.items():
        assert torch.equal(weight, kept[2][name])
        assert torch.equal(state.masters[name], kept[2][name])
    assert not torch.equal(kept[2][name], kept[4][name])


def test_an_error_that_is_not_about_memory_is_not_hidden(
    tiny_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(tiny_path("llama"))
    state, packs = a_trainer(model), some_packs(model)

    def broken(*_: Any) -> torch.Tensor:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(training, "_nats", broken)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        training.train(state, lambda epoch: packs, [], tmp_path, Quiet())


# --- memory and numbers

OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
    MemoryError(),
)


def runs_out(times: int, error: BaseException, from_call: int = 0) -> Callable[..., torch.Tensor]:
    """`_nats` that fails `times` times, from its call number `from_call` on."""
    real, calls = training._nats, iter(range(10_000))

    def loss(*arguments: Any) -> torch.Tensor:
        if from_call <= next(calls) < from_call + times:
            raise error
        return real(*arguments)

    return loss


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["torch", "allocator", "python"])
@pytest.mark.parametrize("from_call", [0, 1, 2])
def test_when_memory_runs_out_the_micro_batch_is_halved_and_said(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch, error: BaseException, from_call: int
) -> None:
    untouched = adapt(whole := subject("whole"), step_tokens=384)
    monkeypatch.setattr(training, "_nats", runs_out(1, error, from_call))
    result = adapt(given := subject(), step_tokens=384)
    assert (untouched.facts["packs_at_once"], result.facts["packs_at_once"]) == (4, 2)
    said = f"answers: memory ran out: 2 packs at a time after step {from_call}, the steps themselves unchanged"
    assert list(result.warnings) == [said], "what the runner prints"
    for left, right in zip(losses(whole), losses(given), strict=True):
        assert left == pytest.approx(right, abs=1e-5)


def test_half_the_work_of_a_failed_step_is_not_counted_twice(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs out at the second of two micro-batches: the first one's gradients must be thrown away."""
    model = open_model(subject().the_model())
    packs, gradients = some_packs(model), []
    for micro, failing in ((1, None), (2, 1)):
        state = a_trainer(open_model(subject().the_model()), micro)
        with monkeypatch.context() as patch:
            if failing is not None:
                patch.setattr(training, "_nats", runs_out(1, OUT_OF_MEMORY[1], failing))
            training._in_memory(state, lambda state=state: training._gradients(state, packs))  # type: ignore[misc] # lambda
        gradients.append(training._gradient(state))
        assert state.micro == 1
    assert torch.equal(*gradients)


def test_memory_that_runs_out_in_validation_is_halved_too(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_nats", runs_out(1, OUT_OF_MEMORY[1]))
    result = adapt(subject(rows=examples(24)), validation=0.2)
    assert result.facts["packs_at_once"] == 1
    assert "after step 0" in result.warnings[0]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["torch", "allocator", "python"])
def test_too_little_memory_for_one_pack_is_a_clear_error(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(training, "_nats", runs_out(99, error))
    with pytest.raises(ModelError) as found:
        adapt(given := subject(), keep=0)
    assert "not enough memory to train on a single pack" in str(found.value)
    assert (str(error) or "MemoryError") in str(found.value)
    assert "adapt.pack_tokens" in str(found.value)
    assert written(given.out) == {}


@pytest.mark.parametrize("validation", [0.0, 0.2])
def test_a_loss_that_is_not_a_number_stops_the_run(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch, validation: float
) -> None:
    real = training._nats
    monkeypatch.setattr(training, "_nats", lambda *a: real(*a) * float("nan"))
    what = "validation loss after step 0" if validation else "training loss of step 1"
    with pytest.raises(ModelError, match=rf"(?s){what} is not a number.*received: nan.*learning_rate"):
        adapt(subject(rows=examples(24)), validation=validation)


def test_a_gradient_that_is_not_a_number_stops_the_run(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = training._collect

    def spoilt(state: Trainer) -> None:
        real(state)
        training._gradient(state)[0] = float("inf")

    monkeypatch.setattr(training, "_collect", spoilt)
    with pytest.raises(ModelError, match="gradient of step 1 is not a number"):
        adapt(given := subject())
    assert not (given.out / "adapter").exists()
