"""Texts, answers, preferences in one run: each learns, tells of itself, and goes on where it was killed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from limpide.adapt import preference, stages
from limpide.core import files
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.data.examples import Example, Message, save_examples
from limpide.data.passages import Passage, save_passages
from limpide.models import trail
from limpide.models.changed import of_steps
from limpide.models.model import Model, open_model
from limpide.models.requests import Request
from limpide.models.scoring import score
from tiny_training import Stops, adapt, answer, examples, written

FEW = {"epochs": 2, "texts": {"epochs": 2}, "preferences": {"epochs": 2, "pairs": 4}, "validation": 0.34}


def passages(count: int = 12) -> list[Passage]:
    return [
        Passage(id=f"p{i}", document="guide.txt", text=f"The valve n° {i} closes when the pressure drops below {i}.")
        for i in range(count)
    ]


def preferred(count: int = 12) -> list[Example]:
    return [
        Example(
            id=f"r{i}",
            messages=(
                Message(role="user", content=f"May I open guard {i}?"),
                Message(role="assistant", content="No. Stop the press first."),
            ),
            rejected="Yes, of course, open it.",
            source=f"examples.jsonl:{i + 1}",
        )
        for i in range(count)
    ]


@pytest.fixture
def whole(subject: Callable[..., Subject]) -> Callable[..., Subject]:
    """A subject with something to learn in every stage."""

    def make(name: str = "out", model: str = "llama", **given: Any) -> Subject:
        made = subject(name, rows=[*examples(12), *preferred()], model=model, **given)
        save_passages(made.input("data") / "passages.jsonl", passages())
        return made

    return make


def nats(model: Model, requests: list[Request]) -> float:
    return sum(found.log_likelihood for found in score(model, requests))


def margin(model: Model) -> float:
    """Nats by which the preferred answers are likelier than the rejected ones."""
    rejected = [
        row.model_copy(update={"messages": (*row.prompt, Message(role="assistant", content=str(row.rejected)))})
        for row in preferred(4)
    ]
    return nats(model, [answer(model, r) for r in preferred(4)]) - nats(model, [answer(model, r) for r in rejected])


def test_each_stage_learns_what_it_is_for(whole: Callable[..., Subject]) -> None:
    given = whole()
    rates = {"texts": {"epochs": 6, "learning_rate": 0.02}, "preferences": {"learning_rate": 0.01, "pairs": 4}}
    facts = adapt(given, epochs=8, **rates).facts
    assert list(facts["stages"]) == ["texts", "answers", "preferences"]
    assert facts["stage"] == "answers"
    assert all(stage["moved"] > 0 for stage in facts["stages"].values())
    base, tuned = open_model(given.the_model()), open_model(given.the_model(), adapter=given.out / "adapter")
    texts = [Request(p.id, "", p.text) for p in passages(4)]
    assert nats(tuned, texts) > nats(base, texts) + 4
    assert nats(tuned, [answer(tuned, e) for e in examples(4)]) > nats(base, [answer(base, e) for e in examples(4)]) + 4
    assert margin(tuned) > margin(base) + 4
    assert facts["stages"]["preferences"]["margin_last"] > facts["stages"]["preferences"]["margin_first"]
    rows = files.read_jsonl(given.out / "losses.jsonl")
    assert list(dict.fromkeys(row["stage"] for row in rows)) == ["texts", "answers", "preferences"]
    made = trail.load_trail(given.out)
    assert set(made.examples) == {row.id for row in examples(12)}, "preferences are not taught as answers"


def test_the_speed_is_that_of_the_main_stage(whole: Callable[..., Subject]) -> None:
    facts = adapt(whole(), **FEW).facts
    answers = facts["stages"]["answers"]
    assert facts["tokens_per_second"] == pytest.approx(answers["tokens_seen"] / answers["seconds"], abs=0.1)
    assert facts["seconds"] == pytest.approx(sum(stage["seconds"] for stage in facts["stages"].values()))


def test_every_stage_keeps_the_best_of_what_was_kept_aside(whole: Callable[..., Subject]) -> None:
    given = whole()
    facts = adapt(given, **FEW).facts
    rows = files.read_jsonl(given.out / "losses.jsonl")
    for name, stage in facts["stages"].items():
        held = {row["step"]: row["held_out"] for row in rows if row["stage"] == name and row["held_out"] is not None}
        assert stage["validation_rows"] == 4
        assert len(held) > 1
        assert stage["best_held_out_loss"] == min(held.values()) == held[stage["best_step"]]


@pytest.mark.parametrize("kills", [(2,), (4, 2), (8, 1), (12,), (13, 1, 1)])
def test_a_killed_run_goes_on_in_the_stage_where_it_was(whole: Callable[..., Subject], kills: tuple[int, ...]) -> None:
    adapt(unbroken := whole("unbroken"), **FEW, checkpoint_seconds=0.0)
    given = whole("broken")
    for at in kills:
        with pytest.raises(KeyboardInterrupt):
            adapt(given, Stops(at), **FEW, checkpoint_seconds=0.0)
        torch.rand(3)  # a new process has another random state
    adapt(given, **FEW, checkpoint_seconds=0.0)
    assert written(given.out) == written(unbroken.out)
    assert (given.out / "adapter").is_dir()
    assert not (given.out / "stages").exists()


def test_preferences_alone_go_on_in_the_precision_they_were_begun_in(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limpide.models.model.faster_precision", lambda: "bfloat16")
    given = subject("out", rows=preferred())
    with pytest.raises(KeyboardInterrupt):
        adapt(given, Stops(5), **FEW | {"precision": "auto"}, checkpoint_seconds=0.0)
    assert (given.out / "stages" / "preferences" / "preferences.safetensors").is_file()
    monkeypatch.setattr("limpide.models.model.faster_precision", lambda: "float32")
    assert adapt(given, **FEW | {"precision": "auto"}).facts["precision"] == "bfloat16"


def test_preferences_that_had_stopped_stay_stopped(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the last step and the end: no step more is taken."""
    worse = FEW | {"preferences": {"epochs": 9, "pairs": 4, "learning_rate": 1.0}, "patience": 1}
    adapt(unbroken := subject("unbroken", rows=preferred()), **worse, checkpoint_seconds=0.0)
    given, save = subject("broken", rows=preferred()), stages._save

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "_save", killed)
    with pytest.raises(KeyboardInterrupt):
        adapt(given, **worse, checkpoint_seconds=0.0)
    monkeypatch.setattr(stages, "_save", save)
    adapt(given, **worse, checkpoint_seconds=0.0)
    assert len(files.read_jsonl(unbroken.out / "losses.jsonl")) < 9 * 2 + 1
    assert written(given.out) == written(unbroken.out)


class Heard(Stops):
    """Stops, and what was said until then."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.parametrize(("at", "stage"), [(2, "texts"), (6, "answers"), (13, "preferences")])
def test_a_person_who_stops_a_run_is_told_where_its_best_is(whole: Callable[..., Subject], at: int, stage: str) -> None:
    given, heard = whole(), Heard(at)
    with pytest.raises(KeyboardInterrupt):
        adapt(given, heard, **FEW)
    place = given.out / "interrupted" / "adapter"
    assert any(f"stopped in the stage {stage}" in said and str(place) in said for said in heard.said)
    open_model(given.the_model(), adapter=place)
    adapt(given, **FEW)
    assert not place.exists()


def test_texts_of_pairs_are_read_once_for_all_runs(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run that was stopped had read is kept; the line above says pairs, learnt and kept aside."""
    given, heard, read = subject(rows=preferred()), Heard(5), []
    references = preference.references
    monkeypatch.setattr(preference, "references", lambda *a: read.append(1) or references(*a))
    with pytest.raises(KeyboardInterrupt):
        adapt(given, heard, **FEW)
    adapt(given, **FEW)
    assert read == [1]
    assert any("pairs to learn and" in said and "kept aside" in said for said in heard.said)


def test_documents_alone_are_learnt(subject: Callable[..., Subject]) -> None:
    given = subject(rows=[])
    save_passages(given.input("data") / "passages.jsonl", passages(4))
    facts = adapt(given, canary=True, texts={"learning_rate": 0.02}).facts
    assert (facts["stage"], list(facts["stages"]), facts["canary"]) == ("texts", ["texts"], False)
    assert facts["rows"] == 4
    assert not (given.out / "checkpoints").exists()


@pytest.mark.parametrize("loss", ["dpo", "orpo"])
def test_preferences_alone_are_learnt(subject: Callable[..., Subject], loss: str) -> None:
    given = subject(rows=preferred(6))
    facts = adapt(given, preferences={"loss": loss, "learning_rate": 0.02, "epochs": 6}).facts
    assert (facts["stage"], facts["loss"], facts["rows"]) == ("preferences", loss, 6)
    assert facts["reference"] == (None if loss == "orpo" else "base")
    tuned = open_model(given.the_model(), adapter=given.out / "adapter")
    assert margin(tuned) > margin(open_model(given.the_model())) + 4


def test_every_weight_learns_preferences_against_what_it_was(subject: Callable[..., Subject]) -> None:
    given = subject(rows=[*examples(4), *preferred(6)])
    options = {"method": "full", "learning_rate": 1e-3, "preferences": {"learning_rate": 1e-3, "epochs": 6}}
    facts = adapt(given, **options).facts
    assert facts["stages"]["preferences"]["reference"] == "before"
    assert facts["stages"]["preferences"]["margin_first"] < facts["stages"]["preferences"]["margin_last"]
    tuned = of_steps(Subject(out=given.out, inputs={"adapt": given.out}, model=given.model))
    assert margin(tuned) > margin(open_model(given.the_model())) + 1


def test_what_a_charter_yields_is_learnt_among_the_rest(subject: Callable[..., Subject]) -> None:
    given = subject(rows=examples(4))
    yielded = [row.model_copy(update={"id": f"charter/{row.id}", "source": "charter.yaml"}) for row in examples(6)[4:]]
    save_examples(given.input("data") / "charter.jsonl", [*yielded, *preferred(3)])
    facts = adapt(given).facts
    assert {name: stage["rows"] for name, stage in facts["stages"].items()} == {"answers": 6, "preferences": 3}
    assert trail.load_trail(given.out).examples == tuple(row.id for row in examples(4))


def test_stages_turned_off_are_not_run(whole: Callable[..., Subject]) -> None:
    facts = adapt(whole(), texts={"epochs": 0}, preferences={"epochs": 0}).facts
    assert list(facts["stages"]) == ["answers"]


def test_the_base_is_left_as_it_was(whole: Callable[..., Subject], tiny_path: Callable[[str], Path]) -> None:
    before = written(tiny_path("llama"))
    adapt(whole(), Quiet())
    assert written(tiny_path("llama")) == before


def test_a_stage_begins_with_the_whole_weights_of_the_one_before(whole: Callable[..., Subject]) -> None:
    """Between stages weights are float32, also where the base computes in bfloat16."""
    given = whole()
    adapt(given, precision="bfloat16", epochs=1, texts={"epochs": 1, "learning_rate": 0.02}, preferences={"epochs": 0})
    kept = load_file(given.out / "adapter" / "adapter_model.safetensors")
    assert not [name for name, t in kept.items() if torch.equal(t, t.bfloat16().float())]
