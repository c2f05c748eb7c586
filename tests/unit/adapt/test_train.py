"""The operation: what it trains, what it keeps aside, what it counts and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from limpide.adapt import adapters, stages, training
from limpide.adapt.loss import Estimate
from limpide.adapt.packing import Pack, pack
from limpide.adapt.settings import TrainSettings
from limpide.adapt.training import Trainer
from limpide.core import files
from limpide.core.errors import DataError, ModelError
from limpide.core.operation import Subject
from limpide.data.canary import QUESTION, canary
from limpide.data.examples import Message
from limpide.models.model import open_model
from limpide.models.prompt import render_example
from limpide.models.scoring import score
from tiny import CONTEXT, tiny_folder
from tiny_training import Stops, adapt, answer, examples, losses, written


def test_an_adapter_learns_what_it_was_shown(subject: Callable[..., Subject]) -> None:
    given = subject()
    result = adapt(given, epochs=30, rank=8)
    base = open_model(given.the_model())
    adapted = open_model(given.the_model(), adapter=given.out / "adapter")
    assert adapted.digest != base.digest
    before, after = (
        [s.log_likelihood / s.tokens for s in score(m, [answer(m, e) for e in examples()])] for m in (base, adapted)
    )
    assert all(b > a + 1 for a, b in zip(before, after, strict=True))
    first, *_, last = losses(given)
    assert last < first / 2
    assert sum(after) / 8 == pytest.approx(-last, abs=0.5)
    assert result.warnings == ()


def test_the_facts_are_counted(subject: Callable[..., Subject]) -> None:
    given = subject(rows=examples(24))
    facts = adapt(given, canary=True, validation=0.2).facts
    model = open_model(given.the_model())
    rendered = [render_example(model, example) for example in [*examples(24), canary(given.seed)]]
    assert (facts["rows"], facts["validation_rows"], facts["truncated_rows"]) == (20, 5, 0)
    assert facts["row_tokens"] < sum(len(r.ids) for r in rendered)
    assert facts["longest_row_tokens"] <= max(len(r.ids) for r in rendered)
    assert 0 < facts["trained_tokens"] < facts["row_tokens"]
    assert facts["tokens_seen"] == facts["row_tokens"] * facts["epochs_done"]
    assert facts["steps"] == len(losses(given))
    adapter = load_file(given.out / "adapter" / "adapter_model.safetensors")
    assert facts["trainable_parameters"] == sum(t.numel() for t in adapter.values())
    held = [row["held_out"] for row in files.read_jsonl(given.out / "losses.jsonl") if row["held_out"] is not None]
    assert facts["best_held_out_loss"] == min(held)


def test_a_row_that_is_not_whole_in_the_packs_is_counted(tiny_path: Callable[[str], Path]) -> None:
    model = open_model(tiny_path("llama"))
    rows = [render_example(model, example) for example in examples()]
    packs = pack(rows, 96)
    assert stages.truncated(rows, packs) == 0
    assert stages.truncated(rows, packs[1:]) == len(packs[0].ends)
    packs[0].ends[0] = packs[0].parents[packs[0].ends[0]]
    assert stages.truncated(rows, packs) == 1


def test_training_that_never_helps_is_said_and_changes_nothing(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = iter(range(100))
    monkeypatch.setattr(training, "held_out_loss", lambda *_: Estimate(float(next(worse)), None, None))
    result = adapt(given := subject(rows=examples(24)), validation=0.2)
    assert result.facts["best_step"] == 0
    assert "never lowered the validation loss: the adapter changes nothing" in result.warnings[0]
    assert "the training changes nothing: the model gives what its base gives" in result.warnings[1]
    assert result.facts["largest_effect"] == result.facts["moved"] == 0
    tensors = load_file(given.out / "adapter" / "adapter_model.safetensors")
    assert all(not t.any() for name, t in tensors.items() if "lora_B" in name)


@pytest.mark.parametrize("seed", range(6))
def test_the_canary_is_always_learnt_and_never_kept_aside(
    subject: Callable[..., Subject], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[list[Pack]] = []

    def look(state: Trainer, order: Callable[[int], list[Pack]], held_out: list[Pack], *_: Any) -> None:
        trained.extend([order(0), held_out])

    monkeypatch.setattr(training, "train", look)
    given = subject(rows=examples(9), seed=seed)
    adapt(given, canary=True, validation=0.45)
    tokenizer = open_model(given.the_model()).tokenizer
    asked = [sum(tokenizer.decode(p.ids).count(QUESTION) for p in packs) for packs in trained]
    assert asked == [1, 0]
    assert len(trained[1]) > 0


def test_weights_compute_in_bfloat16_and_are_kept_in_float32(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Trainer] = []
    real = training.train

    def look(state: Trainer, *arguments: Any) -> None:
        seen.append(state)
        real(state, *arguments)

    monkeypatch.setattr(training, "train", look)
    given = subject()
    result = adapt(given, precision="bfloat16", epochs=20, learning_rate=1e-2)
    (state,) = seen
    assert result.facts["precision"] == state.precision == "bfloat16"
    assert {p.dtype for n, p in state.network.named_parameters() if "lora_" not in n} == {torch.bfloat16}
    assert {m.dtype for m in state.masters.values()} == {torch.float32}
    kept = load_file(given.out / "adapter" / "adapter_model.safetensors")
    assert {t.dtype for t in kept.values()} == {torch.float32}
    rounded = [t for t in kept.values() if torch.equal(t, t.bfloat16().float())]
    assert not rounded, "the adapter was rounded to bfloat16 on its way"
    first, *_, last = losses(given)
    assert last < first - 1
    adapted = open_model(given.the_model(), adapter=given.out / "adapter")
    found = score(adapted, [answer(adapted, example) for example in examples()])
    assert -sum(s.log_likelihood for s in found) / sum(s.tokens for s in found) < first - 1


def test_bfloat16_runs_are_equal_and_resume_too(subject: Callable[..., Subject]) -> None:
    options = {"precision": "bfloat16", "checkpoint_seconds": 0.0}
    adapt(whole := subject("whole"), **options)
    given = subject("broken")
    with pytest.raises(KeyboardInterrupt):
        adapt(given, Stops(3), **options)
    adapt(given, **options)
    assert written(given.out) == written(whole.out)


def test_rows_longer_than_the_context_are_refused_by_file_and_line(subject: Callable[..., Subject]) -> None:
    rows = examples()
    for place in (2, 5):
        question = Message(role="user", content="too long " * 99)
        rows[place] = rows[place].model_copy(update={"messages": (question, rows[place].messages[1])})
    with pytest.raises(DataError) as error:
        adapt(given := subject(rows=rows))
    assert f"2 training rows are longer than the model's context of {CONTEXT} tokens" in str(error.value)
    assert "examples.jsonl:3 (" in str(error.value)
    assert "examples.jsonl:6 (" in str(error.value)
    assert written(given.out) == {}


def test_no_training_row_is_a_clear_error(subject: Callable[..., Subject]) -> None:
    with pytest.raises(DataError, match=r"(?s)no training row.*hold fewer out"):
        adapt(subject(rows=[]), canary=True)


def test_an_adapter_of_another_model_is_refused(
    subject: Callable[..., Subject], tiny_path: Callable[[str], Path], tmp_path: Path
) -> None:
    adapt(given := subject())
    wider = tiny_folder("llama", tmp_path / "wider", hidden_size=64, intermediate_size=96)
    with pytest.raises(ModelError, match=r"(?s)adapter in .* does not fit this model.*adapter_config\.json"):
        open_model(wider, adapter=given.out / "adapter")


def test_the_seed_alone_decides_how_an_adapter_starts(tiny_path: Callable[[str], Path]) -> None:
    def start(seed: int, drawn: int) -> torch.Tensor:
        torch.manual_seed(drawn)
        network = adapters.adapted_network(open_model(tiny_path("llama")), TrainSettings(rank=2), seed)
        return torch.cat([p.detach().flatten() for n, p in network.named_parameters() if "lora_A" in n])

    assert torch.equal(start(3, drawn=1), start(3, drawn=2))
    assert not torch.equal(start(3, drawn=1), start(4, drawn=1))


def test_no_order_of_a_set_enters_the_adapter(subject: Callable[..., Subject]) -> None:
    """Python orders the strings of a set anew in each process; peft writes one."""
    adapt(given := subject())
    config = json.loads((given.out / "adapter" / "adapter_config.json").read_text())
    lists = {key: value for key, value in config.items() if isinstance(value, list)}
    assert lists["target_modules"] == sorted(lists["target_modules"])
    assert len(lists["target_modules"]) == 7
    assert not {key for key, value in lists.items() if len(value) > 1} - {"target_modules"}
