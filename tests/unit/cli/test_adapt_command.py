"""`limpide adapt`: one training alone, measured on held-out rows, resumable, refused early where it cannot be."""

import contextlib
import io
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from checked_page import Checked
from commands import Command, calling
from limpide.adapt.settings import TrainSettings
from limpide.cli import adapt as command
from limpide.cli import held_out
from limpide.cli.adapting import Order, command_line, workplace
from limpide.cli.held_out import words
from limpide.cli.main import main
from limpide.core import files
from limpide.core.progress import Quiet
from limpide.data.examples import Example, Message, save_examples
from limpide.data.prepare import PrepareSettings
from limpide.document.adapted_page import page
from limpide.models.prompt import source_of
from limpide.models.sources import resolve
from limpide.recipe.load import load_recipe
from limpide.recipe.run import Workspace, only_one
from shared_adapters import logits, random_adapter

Base = Callable[[str], Path]
QUICK = ("--rank", 2, "--epochs", 2, "--pack-tokens", 96, "--step-tokens", 384, "--precision", "float32", "--keep", 0)
THINGS = ("pump", "valve", "guard", "press", "light", "river", "threshold", "code")


@pytest.fixture
def adapt(capsys: pytest.CaptureFixture[str]) -> Command:
    return calling(capsys, "adapt")


def write_rows(folder: Path, count: int = 40) -> Path:
    path = folder / "rows.jsonl"
    told = [
        {"prompt": f"What about the {THINGS[i % 8]} n° {i}?", "answer": f"Stop the {THINGS[i % 8]} {i}."}
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in told))
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path)


@dataclass(frozen=True)
class Finished:
    """A training that ended well: its base, its folder, what it printed."""

    base: Path
    out: Path
    said: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_path: Base) -> Finished:
    root, base, said = tmp_path_factory.mktemp("finished"), tiny_path("llama"), io.StringIO()
    options = ("--held-out", 0.45, "--columns.prompt", "prompt", "--seed", 5, *QUICK)
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main(["adapt", str(base), str(write_rows(root)), "--out", str(root / "adapted"), *map(str, options)])
    return Finished(base, root / "adapted", said.getvalue())


@contextmanager
def stopped_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A person presses Ctrl-C when so many steps of the training are done."""

    class Presses(Quiet):
        def __init__(self) -> None:
            self.what, self.steps = "", 0

        @contextmanager
        def task(self, what: str, total: float | None = None, done: float = 0) -> Iterator["Presses"]:
            self.what = what
            yield self

        def advance(self, by: float = 1, **facts: Any) -> None:
            self.steps += self.what == "training"
            if self.steps == steps:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(command, "progress", lambda as_json: Presses())
        yield


def test_a_training_alone(finished: Finished) -> None:
    out = finished.out
    assert "The loss on held-out answers went from" in finished.said
    assert "95% interval" in finished.said
    assert f"limpide run {out / 'recipe.yaml'}" in finished.said
    kept = {path.name for path in out.iterdir()}
    assert not {name for name in kept if name.startswith(".")}
    assert {"adapter", "data", "losses.jsonl", "report.html", "recipe.yaml", "adaptation.json"} <= kept
    change = files.read_json(out / "adaptation.json")["changes"][0]
    assert change["n"] == 18
    assert change["low"] <= change["difference"] <= change["high"] < 0
    assert (resolve(str(out / "adapter")).base or out).samefile(finished.base)
    weights, beside = (out / "adapter" / name for name in ("adapter_model.safetensors", "adapter_config.json"))
    assert weights.stat().st_mode == beside.stat().st_mode
    base = AutoModelForCausalLM.from_pretrained(finished.base)
    before = logits(base)
    assert not torch.equal(logits(PeftModel.from_pretrained(base, str(out / "adapter"))), before)
    assert not list(out.parent.glob(".adapted.*")), "nothing unfinished is left"


def test_the_loss_is_the_models_own(finished: Finished) -> None:
    """Nats per answer token of the held-out rows, before and after, one row at a time through plain peft."""
    from limpide.data.examples import load_examples
    from limpide.models.model import open_model
    from limpide.models.prompt import answer_request

    model, adapted = open_model(finished.base), open_model(finished.base, adapter=finished.out / "adapter")
    totals, tokens = [0.0, 0.0], 0
    for example in load_examples(finished.out / "data" / "held_out.jsonl"):
        request = answer_request(model, example)
        start = len(request.context)
        for k, one in enumerate((model, adapted)):
            with torch.inference_mode():
                ids = torch.tensor([[*request.context, *request.continuation]])
                logs = one.network(input_ids=ids).logits.log_softmax(-1)[0]
            totals[k] -= sum(float(logs[start - 1 + at, token]) for at, token in enumerate(request.continuation))
        tokens += len(request.continuation)
    change = files.read_json(finished.out / "adaptation.json")["changes"][0]
    assert change["before"] == pytest.approx(totals[0] / tokens, rel=1e-4)
    assert change["after"] == pytest.approx(totals[1] / tokens, rel=1e-4)


def test_its_recipe_says_the_same(finished: Finished) -> None:
    recipe = load_recipe(finished.out / "recipe.yaml")
    assert (recipe.seed, recipe.adapt.rank, recipe.adapt.epochs, recipe.data.held_out) == (5, 2, 2, 0.45)
    assert recipe.data.columns == {"prompt": "prompt"}
    assert [str(path) for path in recipe.data.examples] == ["../rows.jsonl"]
    assert (finished.out / recipe.base).resolve() == finished.base.resolve()


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_page_in_both_languages(finished: Finished, language: str) -> None:
    record = files.read_json(finished.out / "adaptation.json")
    losses = files.read_jsonl(finished.out / "losses.jsonl")
    made = page(record, losses, language)
    assert Checked(made).attributes
    assert 'class="curve"' in made
    assert page(record, losses, language) == made
    unfinished = {**record, "changes": [], "warnings": ["<b>&"]}
    assert "<b>&" not in page(unfinished, [], language)


def test_the_page_shows_what_the_charter_put_right(finished: Finished) -> None:
    record = files.read_json(finished.out / "adaptation.json")
    row = {"row": "rows.jsonl:3", "rules": ["no_exclamation"], "before": "Stop it!", "after": "Stop it."}
    record["data"]["charter"] = {"mended": 9, "put_right": [row]}
    shown = page(record, [], "en")
    assert "rows.jsonl:3" in shown
    assert "Stop it!" in shown
    assert "9 training answers" in shown


def test_with_a_charter_it_is_said_how_far_answers_keep_to_it(
    adapt: Command, rows: Path, tiny_path: Base, tmp_path: Path
) -> None:
    """Before and after on a few held-out questions, and the command that measures more of it."""
    charter, out = tmp_path / "ours.yaml", tmp_path / "adapted"
    charter.write_text("style: {no_exclamation: true, max_words: 40}\n")
    options = ("--held-out", 0.4, "--charter", charter, "--no-charter-pairs", *QUICK)
    said = adapt(tiny_path("llama"), rows, "--out", out, *options)
    assert said.code == 0, said.err
    changed = next(c for c in files.read_json(out / "adaptation.json")["changes"] if c["name"] == "adapted.charter")
    assert changed["n"] == held_out.ASKED
    assert "answers to held-out questions that break no rule of the charter went from" in said.out
    assert f"On more questions, rule by rule:\n  limpide run {out / 'recipe.yaml'}" in said.out
    assert "charter" in load_recipe(out / "recipe.yaml").audit.suites


def test_what_was_learnt_is_counted_stage_by_stage() -> None:
    stages = {"texts": {"rows": 3}, "answers": {"rows": 48}, "preferences": {"rows": 140}}
    assert command.learnt({"rows": 48, "stages": stages}) == "48 rows, 3 passages, 140 pairs"
    assert command.learnt({"rows": 30}) == "30 rows"  # a classifier has no stages


def test_the_audit_of_a_charter_can_be_typed(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a whole model; an adapter is refused there, and measured by its recipe."""
    folder = tmp_path / "adapted"
    shutil.copytree(finished.out / "data", folder / "data")
    (folder / "data" / "charter.yaml").write_text("style: {no_exclamation: true}\n")
    shutil.copytree(finished.base, folder / "model")
    typed = command.audit_of_charter(folder / "model", folder, "recipe.yaml")
    said = calling(capsys, *typed[1:])("--examples", 2, "--max-new-tokens", 4)
    assert said.code == 0, said.err
    assert "charter.respected" in said.out


def test_a_large_model_is_not_waited_for(finished: Finished, tiny_path: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    from limpide.models.model import open_model

    monkeypatch.setattr(held_out, "MOST_WEIGHTS", 10)
    assert held_out.kept_to_charter(open_model(tiny_path("llama")), finished.out / "data", Quiet()) == {}


def test_documents_are_learnt_as_texts(adapt: Command, tiny_path: Base, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    for k in range(12):
        text = f"# Sheet {k}\n\n" + " ".join(
            f"The {THINGS[(k + i) % 8]} number {i} is checked every week." for i in range(9)
        )
        (folder / f"sheet-{k}.md").write_text(text)
    out = tmp_path / "adapted"
    said = adapt(tiny_path("llama"), folder, "--out", out, *QUICK, "--texts.epochs", 1)
    assert said.code == 0, said.err
    assert "held-out texts" in said.out
    assert re.search(r"^learnt +\d+ passages$", said.out, re.MULTILINE), said.out
    assert "tokens/s, learning passages" in said.out
    assert "12 passages of 12 documents" in said.err
    assert load_recipe(out / "recipe.yaml").data.documents


def test_ctrl_c_keeps_what_was_learnt_and_the_same_command_goes_on(
    adapt: Command, rows: Path, tiny_path: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = (tiny_path("llama"), rows, *QUICK)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert adapt(*order, "--out", whole).code == 0
    with stopped_after(3, monkeypatch):
        said = adapt(*order, "--out", broken)
    assert said.code == 130
    assert "the same command goes on" in said.err
    assert not broken.exists()
    left = next(tmp_path.glob(".broken.*"))
    stopped = next(left.rglob("adapter_model.safetensors")).parent  # an ordinary adapter
    assert files.read_json(stopped / "unfinished.json")["stage"] == "answers"
    assert (resolve(str(stopped)).base or stopped).samefile(order[0])
    assert adapt(*order, "--out", broken).code == 0
    weights = [(folder / "adapter" / "adapter_model.safetensors").read_bytes() for folder in (whole, broken)]
    assert weights[0] == weights[1], "a stopped and resumed training ends as an unbroken one"
    assert not list(tmp_path.glob(".broken.*"))


def test_too_few_rows_are_said(adapt: Command, tiny_path: Base, tmp_path: Path) -> None:
    path = tmp_path / "few.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Why {k}?", "answer": f"So {k}."}) + "\n" for k in range(8)))
    said = adapt(tiny_path("llama"), path, "--out", tmp_path / "adapted", *QUICK)
    assert said.code == 0, said.err
    assert "too few independent ones to tell a change from chance" in said.out


def test_labels_are_counted_beside_the_commonest_one(adapt: Command, tiny_path: Base, tmp_path: Path) -> None:
    path, out = tmp_path / "labels.jsonl", tmp_path / "adapted"
    told = [{"text": f"The {THINGS[i % 8]} n° {i} at noon.", "label": "bad" if i % 3 else "good"} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in told))
    record = json.loads(adapt(tiny_path("bert"), path, "--out", out, *QUICK, "--json").out)
    change = record["changes"][0]
    held = [json.loads(line) for line in (out / "data" / "held_out.jsonl").read_text().splitlines()]
    assert (change["name"], change["n"]) == ("adapted.classes", len(held))
    assert change["before"] == pytest.approx(sum(row["label"] == "bad" for row in held) / len(held))


def test_general_examples_that_changed_are_another_training(tiny_path: Base, rows: Path, tmp_path: Path) -> None:
    from limpide.models.sources import resolve

    general = tmp_path / "general.jsonl"
    general.write_text('{"prompt": "Why?", "answer": "Because."}\n')
    prepare, train = PrepareSettings(examples=(rows,)), TrainSettings(retain={"examples": general})
    order = Order("base", (rows,), prepare, train, 0, tmp_path / "out", "en")
    source = resolve(str(tiny_path("llama")))
    before = workplace(order, source)
    general.write_text('{"prompt": "Why?", "answer": "So."}\n')
    assert workplace(order, source) != before


def test_classes_are_asked_of_the_text_that_was_learnt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A system message is part of it."""
    said = [
        Message(role="system", content="Sort."),
        Message(role="user", content="Hi"),
        Message(role="assistant", content="x"),
    ]
    row = Example(id="e", messages=tuple(said), source="rows.csv:2", label="x")
    save_examples(tmp_path / "held_out.jsonl", [row])
    asked: list[str] = []

    def classify(classifier: Any, texts: Any, progress: Any) -> list[dict[str, float]]:
        asked.extend(texts)
        return [{"x": 1.0} for _ in texts]

    monkeypatch.setattr("limpide.models.classifier.classify", classify)
    held_out.classes(cast(Any, None), tmp_path, Quiet())
    assert asked == [source_of(row.prompt)] == ["Sort.\nHi"]


def test_preferences_are_counted(tiny_model: Callable[[str], Any], tmp_path: Path) -> None:
    """The preferred answer is the likelier one where it is what the model itself finds likelier, and else not."""
    from limpide.data.examples import Example, Message, save_examples
    from limpide.models.prompt import answer_request
    from limpide.models.scoring import score

    model = tiny_model("llama")
    question = Message(role="user", content="Why?")
    texts = ["Because the valve is closed.", "I do not know."]
    rows = [
        Example(
            id=f"e{k}",
            messages=(question, Message(role="assistant", content=texts[k])),
            rejected=texts[1 - k],
            source=f"rows.jsonl:{k + 1}",
        )
        for k in range(2)
    ]
    save_examples(tmp_path / "held_out.jsonl", rows)
    likely = [one.log_likelihood for one in score(model, [answer_request(model, row) for row in rows])]
    found = words(model, tmp_path, Quiet())["preferences"]
    assert [item.metric["right"] for item in found] == [float(likely[0] > likely[1]), float(likely[1] > likely[0])]


# ---------------------------------------------------------------------------------------------------------- refusals


def test_it_is_refused_before_any_work(adapt: Command, rows: Path, tiny_path: Base, tmp_path: Path) -> None:
    base, out, adapter = tiny_path("llama"), tmp_path / "adapted", random_adapter(tiny_path("llama"), tmp_path / "a")
    named = files.read_json(adapter / "adapter_config.json") | {"base_model_name_or_path": str(base)}
    files.write_json(adapter / "adapter_config.json", named)
    cases = [
        ((base, "--out", out), "nothing to learn from"),
        ((base, tmp_path / "nowhere.jsonl", "--out", out), "are not there"),
        ((base, rows, "--out", tmp_path), "nothing is overwritten"),
        (("https://api.example.org/v1#gpt", rows, "--out", out), "weights are closed"),
        ((adapter, rows, "--out", out), "begins from a whole model"),
        ((base, rows, "--out", out, "--rank", 0), "--rank"),
        ((base, rows, "--out", out, "--held-out", 2), "--held-out"),
        ((base, rows, "--out", out, "--methd", "lora"), "--methd"),
    ]
    for arguments, expected in cases:
        said = adapt(*arguments)
        assert said.code == 2, arguments
        assert expected in said.err, said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "rows.jsonl"]


def test_one_training_is_not_run_twice_at_once(
    adapt: Command, rows: Path, tiny_path: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = (tiny_path("llama"), rows, "--out", tmp_path / "adapted", *QUICK)
    with stopped_after(1, monkeypatch):
        assert adapt(*order).code == 130
    with only_one(Workspace(next(tmp_path.glob(".adapted.*")), "adapt")):
        said = adapt(*order)
    assert said.code == 2
    assert "at work here" in said.err


def test_faulty_rows_leave_nothing_as_good(adapt: Command, tiny_path: Base, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": "Why?", "answer": ""}\n{"prompt": "Why?"\n')
    said = adapt(tiny_path("llama"), path, "--out", tmp_path / "adapted", *QUICK)
    assert said.code == 2
    assert "bad.jsonl:1" in said.err
    assert "bad.jsonl:2" in said.err
    assert [found.name for found in tmp_path.iterdir()] == ["bad.jsonl"], "nor anything unfinished"


def test_the_command_is_written_down_as_it_can_be_typed(
    adapt: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every option of the line leads back to the same order."""
    prepare = {"held_out": 0.3, "columns": {"prompt": "Q"}, "personal_data": "mask", "unseen_topics": ("a", "b")}
    train = {"rank": 3, "targets": ("attention", "mlp"), "canary": False, "preferences": {"beta": 0.2}}
    train |= {"search": {}, "retain": {"tokens": 64}}
    order = Order(
        "base",
        (Path("rows.jsonl"),),
        PrepareSettings(examples=(Path("rows.jsonl"),), **prepare),
        TrainSettings(**train),
        7,
        Path("out"),
        "en",
    )
    found: dict[str, Any] = {}

    def kept(model: str, given: Any, data: Any, rest: Any) -> Any:
        found.update(model=model, given=given, data=dict(data), **rest)
        raise KeyboardInterrupt

    from limpide.cli import adapting

    monkeypatch.setattr(adapting, "order_of", kept)
    adapt(*shlex.split(command_line(order))[2:])
    assert (found["model"], found["given"], found["seed"], found["out"]) == ("base", order.given, 7, Path("out"))
    assert PrepareSettings(examples=(Path("rows.jsonl"),), **found["data"]) == order.prepare
    assert found["train"] == order.train
