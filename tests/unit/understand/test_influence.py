"""Influence: gradients as the naive way gives them, what alone taught a fact is first, what is missing is said."""

import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.adapt.adapters import adapted_network
from limpide.adapt.settings import TrainSettings
from limpide.core.catalogue import find
from limpide.core.errors import DataError, IntegrityError, LimpideError, MissingError, ModelError, UsageError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.data.examples import Example, Message, save_examples
from limpide.models import trail
from limpide.models.model import Model, open_model
from limpide.models.prompt import render_example
from limpide.recipe.plan import Step
from limpide.understand import influence, left_out
from limpide.understand.influence import Influence, explain, row_losses, similarities
from limpide.understand.left_out import LeftOut
from limpide.understand.question import ask
from limpide.understand.settings import InfluenceSettings
from limpide.understand.trained import find_trained
from tiny_training import adapt, examples

FACT = ("Where is the key of the guard?", "The key is in the river.")
UNTAUGHT = ("Why is the light blue?", "Because the red was late.")
KEY = "0123456789abcdef"


def example(id: str, question: str, answer: str) -> Example:
    messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Example(id=id, messages=messages, source="examples.jsonl:1")


@dataclass(frozen=True)
class Project:
    """A recipe's folder as `limpide run` leaves it: a release beside .limpide/NAME/steps/."""

    root: Path
    base: Path

    @property
    def steps(self) -> Path:
        return self.root / ".limpide" / "guide" / "steps"

    @property
    def adapt(self) -> Path:
        return self.steps / f"adapt-{KEY[:12]}"

    @property
    def rows(self) -> Path:
        return self.steps / "data-1" / "train.jsonl"

    @property
    def release(self) -> Path:
        return self.root / "releases" / "guide-1.0.0"

    def explain(self, asked: tuple[str, str], model: Path | None = None, **settings: Any) -> Influence:
        opened = open_model(model or self.release)
        question = ask(opened, asked[0], answer=asked[1])
        return explain(opened, question, InfluenceSettings(**settings), Quiet())

    def copy(self, target: Path) -> "Project":
        shutil.copytree(self.root, target)
        return Project(target, self.base)


@pytest.fixture(scope="module")
def project(tiny_path: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Ten rows, of which one alone teaches a fact."""
    made = Project(tmp_path_factory.mktemp("project"), tiny_path("llama"))
    rows = examples(9)
    rows.insert(5, example("fact", *FACT))
    save_examples(made.rows, rows)
    made.adapt.mkdir()
    adapt(Subject(out=made.adapt, inputs={"data": made.rows.parent}, model=made.base), epochs=8, rank=4, canary=True)
    shutil.copytree(made.base, made.release)
    (made.release / "recipe.lock.json").write_text(json.dumps({"steps": {"adapt": KEY}}))
    return made


@pytest.mark.parametrize("normalised", [True, False])
def test_the_example_that_alone_taught_a_fact_is_first_and_training_without_it_shows_it(
    project: Project, normalised: bool
) -> None:
    found = project.explain(FACT, normalised=normalised, check=1 if normalised else 0)
    first, second = found.raises[:2]
    assert first.id == "fact"
    assert (first.prompt, first.answer) == FACT
    assert first.influence > 2 * second.influence
    assert (found.examples, found.trained, found.checkpoints) == (11, 11, 4)
    if found.check is not None:
        assert found.check.verdict == "taught"
        assert found.check.without_top < min(found.check.without_random) - 3


def test_what_else_was_learnt_is_learnt_again_without_the_examples_left_out(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Documents, a charter's rows, preferences and general examples are no part of what is left out."""
    preference = example("preference", "May I?", "No.").model_copy(update={"rejected": "Yes."})
    trained = find_trained(project.adapt, project.base, None, None)
    for folder in (tmp_path / "data", tmp_path / "adapt"):
        folder.mkdir()
    save_examples(tmp_path / "data" / "train.jsonl", [*trained.examples, preference])
    for name in ("data/passages.jsonl", "data/charter.jsonl", "adapt/retained.jsonl"):
        (tmp_path / name).write_text(f"what {name} was")
    trained = replace(trained, folder=tmp_path / "adapt", data=tmp_path / "data")
    seen: dict[str, str] = {}

    def look(subject: Subject, settings: Any, progress: Any) -> None:
        seen.update({f"data/{path.name}": path.read_text() for path in subject.input("data").iterdir()})
        seen.update({f"adapt/{path.name}": path.read_text() for path in subject.out.iterdir()})
        raise InterruptedError

    operation = replace(find("adapt.train"), run=look)
    monkeypatch.setattr(left_out.catalogue, "find", lambda name: operation)
    with pytest.raises(InterruptedError):
        left_out._measure_without({"fact"}, trained, lambda model: 0.0)
    for name in ("data/passages.jsonl", "data/charter.jsonl", "adapt/retained.jsonl"):
        assert seen[name] == f"what {name} was"
    ids = [json.loads(line)["id"] for line in seen["data/train.jsonl"].splitlines()]
    assert "preference" in ids
    assert "fact" not in ids
    assert len(ids) == 10


def test_what_nothing_taught_is_no_more_than_chance(project: Project) -> None:
    found = project.explain(UNTAUGHT, check=1)
    assert found.check is not None
    assert found.check.verdict == "no more than chance"
    assert max(row.influence for row in found.raises) < 0.3  # of a cosine that is 1 for the very same example


def test_the_record_is_plain_json_and_the_same_each_time(project: Project) -> None:
    first, second = (project.explain(FACT, top=3).record() for _ in range(2))
    assert first == second == json.loads(json.dumps(first))
    assert len(first["raises"]) == 3
    assert set(first["raises"][0]) == {"id", "prompt", "answer", "influence"}
    assert all(row["influence"] < 0 for row in first["lowers"])
    assert (first["normalised"], first["check"]) == (True, None)


def test_the_question_against_another_answer_is_about_their_odds(project: Project) -> None:
    model = open_model(project.base, adapter=project.adapt / "adapter")
    settings = InfluenceSettings(adapter=project.adapt, normalised=False)
    both = [
        explain(model, ask(model, FACT[0], answer=a, against=b), settings, Quiet())
        for a, b in ((FACT[1], UNTAUGHT[1]), (UNTAUGHT[1], FACT[1]))
    ]
    assert both[0].raises[0].id == "fact"
    assert both[1].lowers[0].id == "fact"
    assert both[0].raises[0].influence == pytest.approx(-both[1].lowers[0].influence, rel=1e-4)


class Heard(Quiet):
    def __init__(self) -> None:
        self.told: list[str] = []

    def say(self, text: str) -> None:
        self.told.append(text)

    warn = say


def test_the_cost_is_said_beforehand_and_that_only_a_sample_is_looked_at(project: Project) -> None:
    model, heard = open_model(project.base, adapter=project.adapt / "adapter"), Heard()
    found = explain(model, ask(model, FACT[0], answer=FACT[1]), InfluenceSettings(most=5, adapter=project.adapt), heard)
    assert (found.examples, found.trained) == (5, 11)
    assert "5 of 11 examples are looked at, drawn at random" in heard.told[0]
    assert re.match(r"influence: 5 examples, \d+ tokens, at 4 states of the adapter, about \d+ s", heard.told[1])


def test_a_model_that_is_not_the_one_trained_is_told(project: Project) -> None:
    model, heard = open_model(project.base), Heard()
    explain(model, ask(model, FACT[0], answer=FACT[1]), InfluenceSettings(adapter=project.adapt), heard)
    assert re.search(r"asked gives this answer -\d+\.\d+ nats, .* are they the same model", heard.told[0])


# The definition: gradients of one example at a time, whole, by autograd.


def adapted(folder: Path) -> Model:
    """A model with a random adapter, none of whose matrices is zero."""
    model = open_model(folder)
    network = adapted_network(model, TrainSettings(rank=3), 0)
    drawn = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "lora_B" in name:
                weight.copy_(0.1 * torch.randn(weight.shape, generator=drawn))
    return Model(model.folder, model.digest, model.family, model.tokenizer, network, model.context, "float32")


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral", "gemma3", "deepseek_v3", "gpt_oss"])
def test_products_and_lengths_are_those_of_whole_gradients_one_example_at_a_time(
    tiny_path: Callable[[str], Path], name: str
) -> None:
    model = adapted(tiny_path(name))
    weights = influence._adapter_weights(model)
    rows = [render_example(model, row) for row in examples(4)]
    assert len({len(row.ids) for row in rows}) > 1
    naive = [torch.autograd.grad(row_losses(model, [row])[0], list(weights.values())) for row in rows]
    whole = [torch.cat([g.flatten() for g in gradient]).double() for gradient in naive]
    direction = {n.removesuffix(".weight"): g for n, g in zip(weights, naive[0], strict=True)}
    products, squares = similarities(model, direction, rows)
    for k, gradient in enumerate(whole):
        assert float(products[k]) == pytest.approx(float(gradient @ whole[0]), rel=1e-4, abs=1e-6)
        assert float(squares[k]) == pytest.approx(float(gradient @ gradient), rel=1e-4)
    assert all(weight.grad is None for weight in weights.values())


@pytest.mark.parametrize("normalised", [True, False])
def test_influences_are_the_sums_of_their_definition(project: Project, normalised: bool) -> None:
    trained = find_trained(project.release, None, None, None)
    model = open_model(project.base, adapter=trained.adapter)
    weights = influence._adapter_weights(model)
    question = ask(model, FACT[0], answer=FACT[1])
    expected = dict.fromkeys(trained.trail.examples, 0.0)
    for checkpoint in trained.trail.checkpoints:
        for name, tensor in trail.load_state(trained.folder, checkpoint).items():
            weights[name].data = tensor.clone()

        def gradient(loss: torch.Tensor) -> torch.Tensor:
            return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(weights.values()))]).double()

        answer = gradient(-influence._log_likelihood(model, question))
        for row in trained.examples:
            own = gradient(row_losses(model, [render_example(model, row)])[0])
            both = own.norm() * answer.norm() * sum(c.rates for c in trained.trail.checkpoints) if normalised else 1.0
            expected[row.id] += checkpoint.rates * float(own @ answer / both)
    found = project.explain(FACT, normalised=normalised, top=100)
    assert {r.id: r.influence for r in (*found.raises, *found.lowers)} == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_losses_are_those_that_training_takes(tiny_path: Callable[[str], Path]) -> None:
    from limpide.adapt.loss import summed_loss
    from limpide.adapt.packing import collate, pack

    model = adapted(tiny_path("llama"))
    rows = [render_example(model, row) for row in examples(4)]
    together = summed_loss(model.network, model.family, collate(pack(rows, 96), 0))
    assert row_losses(model, rows).sum().item() == pytest.approx(together.item(), rel=1e-5)


def test_one_small_step_on_an_example_changes_the_answer_by_its_influence(tiny_path: Callable[[str], Path]) -> None:
    """The formula against what it is a first-order estimate of."""
    model = adapted(tiny_path("llama"))
    weights = influence._adapter_weights(model)
    question = ask(model, FACT[0], answer=FACT[1])
    row = render_example(model, examples(1)[0])
    products, _ = similarities(model, influence._answer_gradient(model, question, weights), [row])
    before, rate = influence.log_likelihood(model, question), 1e-5
    gradients = torch.autograd.grad(row_losses(model, [row])[0], list(weights.values()))
    with torch.no_grad():
        for weight, gradient in zip(weights.values(), gradients, strict=True):
            weight -= rate * gradient
    change = influence.log_likelihood(model, question) - before
    assert change == pytest.approx(rate * float(products[0]), rel=0.05)


def test_the_verdict_needs_to_fall_below_every_draw_and_below_what_draws_would_do() -> None:
    def verdict(without_top: float, *draws: float) -> str:
        return LeftOut(1, -1.0, without_top, draws).verdict

    assert verdict(-9.0, -2.0, -3.0, -2.5) == "taught"
    assert verdict(-2.9, -2.0, -3.0, -2.5) == "no more than chance"
    assert verdict(-3.5, -2.0, -3.0, -2.5) == "no more than chance"  # the lowest, as one of four is
    assert verdict(-0.5, -0.1, -0.2, -0.15) == "no more than chance"  # likelier without it
    assert verdict(-1.004, -1.0, -1.0005, -0.9998) == "no more than chance"  # lowest of all, by nothing that matters


def test_a_ranking_that_knows_nothing_is_rarely_believed() -> None:
    drawn = random.Random(0)
    verdicts = [
        LeftOut(1, 0.0, drawn.gauss(-5, 1), tuple(drawn.gauss(-5, 1) for _ in range(3))).verdict for _ in range(2000)
    ]
    assert verdicts.count("taught") / 2000 == pytest.approx(0.05, abs=0.015)


# Where things are.


def test_steps_are_named_as_recipes_name_them(project: Project) -> None:
    assert Step("adapt", find("adapt.train"), TrainSettings(), KEY).folder == project.adapt.name


def test_states_computed_in_bfloat16_are_looked_at_in_float32(project: Project, tmp_path: Path) -> None:
    data = {"data": project.rows.parent}
    adapt(Subject(out=tmp_path, inputs=data, model=project.base), epochs=6, learning_rate=0.05, precision="bfloat16")
    kept = trail.load_trail(tmp_path)
    found = trail.load_state(tmp_path, kept.checkpoints[0])
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}
    assert project.explain(FACT, project.base, adapter=tmp_path, examples=project.rows).raises[0].id == "fact"


@pytest.mark.parametrize("given", ["step", "adapter"])
def test_it_works_from_the_folder_of_the_step_or_the_adapter_in_it(project: Project, given: str) -> None:
    folder = {"step": project.adapt, "adapter": project.adapt / "adapter"}[given]
    assert project.explain(FACT, project.base, adapter=folder).raises[0].id == "fact"


def test_a_release_that_was_carried_away_needs_two_folders(project: Project, tmp_path: Path) -> None:
    away = tmp_path / "elsewhere" / "guide"
    shutil.copytree(project.release, away)
    with pytest.raises(MissingError) as error:
        project.explain(FACT, away)
    assert "is not on this machine" in str(error.value)
    assert "--influence.adapter FOLDER" in str(error.value)
    assert "--influence.examples FILE" in str(error.value)
    step = tmp_path / "step"
    shutil.copytree(project.adapt, step)
    with pytest.raises(MissingError, match=r"(?s)examples .* are not beside it.*--influence.examples FILE"):
        project.explain(FACT, away, adapter=step)
    assert project.explain(FACT, away, adapter=step, examples=project.rows).raises[0].id == "fact"


def unadapted(project: Project) -> None:
    (project.release / "recipe.lock.json").write_text('{"steps": {}}')


def no_lock(project: Project) -> None:
    (project.release / "recipe.lock.json").unlink()


def nothing_kept(project: Project) -> None:
    shutil.rmtree(project.adapt / "checkpoints")
    (project.adapt / "checkpoints").mkdir()


def damaged(project: Project) -> None:
    path = project.adapt / "checkpoints" / "000000.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def other_rows(project: Project) -> None:
    project.rows.write_text(project.rows.read_text().replace("river", "water"))


def no_base(project: Project) -> None:
    index = project.adapt / "checkpoints" / "index.json"
    index.write_text(index.read_text().replace(str(project.base), "/nowhere"))
    config = project.release / "config.json"
    config.write_text(config.read_text() + "\n")


def never_helped(project: Project) -> None:
    index = project.adapt / "checkpoints" / "index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"checkpoints": [], "steps": 0}))


@pytest.mark.parametrize(
    ("damage", "kind", "what"),
    [
        (unadapted, ModelError, r"Influence needs an adapted model: the recipe of guide-1\.0\.0 adapts nothing"),
        (no_lock, ModelError, r"(?s)Influence needs an adapted model: nothing in guide-1\.0\.0.*--influence.adapter"),
        (nothing_kept, MissingError, r"(?s)kept no state.*adapt\.keep: 0, or it was run by a version .* older"),
        (damaged, IntegrityError, r"(?s)checkpoint of the training is damaged.*changed after training"),
        (other_rows, MissingError, r"(?s)examples .* are not beside it.*--influence.examples FILE"),
        (no_base, MissingError, r"(?s)base model .* is not where it was.*/nowhere"),
        (never_helped, ModelError, r"Training changed nothing"),
    ],
)
def test_what_is_missing_is_said(
    project: Project, tmp_path: Path, damage: Callable[[Project], None], kind: type[LimpideError], what: str
) -> None:
    copy = project.copy(tmp_path / "project")
    damage(copy)
    with pytest.raises(kind, match=what):
        copy.explain(FACT)


def test_other_examples_than_those_trained_on_are_refused(project: Project, tmp_path: Path) -> None:
    save_examples(tmp_path / "train.jsonl", examples(3))
    with pytest.raises(DataError, match=r"(?s)not the file this adapter was trained on.*SHA-256"):
        project.explain(FACT, examples=tmp_path / "train.jsonl")
    with pytest.raises(MissingError, match=r"(?s)There is no file .*none\.jsonl"):
        project.explain(FACT, examples=tmp_path / "none.jsonl")
    with pytest.raises(MissingError, match=r"(?s)There is no folder .*none"):
        project.explain(FACT, adapter=tmp_path / "none")


def test_too_few_examples_to_leave_out(project: Project) -> None:
    with pytest.raises(UsageError, match=r"(?s)too few examples to leave 8 of them out.*10 examples.*influence\.check"):
        project.explain(FACT, check=8)


def test_only_decoders_are_adapted(tiny_model: Callable[[str], Any], project: Project) -> None:
    for name, text in (("bert", "The [MASK] stops."), ("t5", "Stop the press")):
        model = tiny_model(name)
        question = ask(model, text, answer="a")
        with pytest.raises(ModelError, match=r"told for adapted decoders; (BERT|T5) is an encoder"):
            explain(model, question, InfluenceSettings(adapter=project.adapt), Quiet())


def test_an_adapter_of_another_shape_is_not_taken_for_it(
    project: Project, tmp_path: Path, tiny_path: Callable[[str], Path]
) -> None:
    copy = project.copy(tmp_path / "project")
    shutil.rmtree(copy.adapt / "adapter")
    other = tmp_path / "other"
    other.mkdir()
    adapt(Subject(out=other, inputs={"data": copy.rows.parent}, model=project.base), epochs=1, rank=2)
    shutil.copytree(other / "adapter", copy.adapt / "adapter")
    with pytest.raises(IntegrityError, match="does not fit the adapter beside it"):
        copy.explain(FACT)
