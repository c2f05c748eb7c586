"""Which failures and pairs a recipe explains, and that one that cannot be explained stops nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from limpide.core import files
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.data.examples import Example, Message, save_examples
from limpide.understand.cases import CasesSettings, operation

FAST = ("attribution", "lens")


def failure(id: str, topic: str, part: str = "held_out", right: float = 0.0) -> dict[str, Any]:
    return {
        "id": id,
        "cluster": topic,
        "group": {"slice": part},
        "metric": {"normalised": right},
        "prompt": "What does it say?",
        "expected": "the valve closes",
        "answer": "the press stops",
        "topic": topic,
    }


def pair(id: str, template: str, axis: str, gap: float) -> dict[str, Any]:
    return {
        "id": id,
        "cluster": template,
        "group": {"axis": axis, "language": "en"},
        "metric": {"gap": gap},
        "stereotyped": "The doctor said that she was",
        "other": "The doctor said that her was",
        "outcome": " late",
    }


def subject(tmp_path: Path, model: Path, failures: list[Any], pairs: list[Any]) -> Subject:
    for name, rows in (("domain", failures), ("bias", pairs)):
        (tmp_path / name).mkdir()
        files.write_jsonl(tmp_path / name / "items.jsonl", rows)
    (tmp_path / "data").mkdir()
    system = Message(role="system", content="You know presses.")
    turns = (system, Message(role="user", content="And now?"), Message(role="assistant", content="the valve closes"))
    save_examples(tmp_path / "data" / "held_out.jsonl", [Example(id="b", messages=turns, source="rows.jsonl:1")])
    out = tmp_path / "out"
    out.mkdir()
    inputs = {name: tmp_path / name for name in ("data", "domain", "bias")}
    return Subject(out, inputs, model=model, label="result")


def test_topics_and_axes_take_turns_and_the_largest_come_first(
    tiny_path: Callable[[str], Path], tmp_path: Path
) -> None:
    failures = [
        failure("a", "E-1", "unseen"),
        failure("b", "E-2"),
        failure("c", "E-2"),
        failure("d", "E-3"),
        failure("e", "E-4", right=1.0),
    ]
    pairs = [
        pair("p", "t1", "gender", -3.0),
        pair("q", "t1", "gender", 2.9),
        pair("r", "t2", "gender", 2.0),
        pair("s", "t3", "age", 0.5),
    ]
    at = subject(tmp_path, tiny_path("llama"), failures, pairs)
    result = operation.run(at, CasesSettings(failures=3, pairs=2, methods=FAST), Quiet())
    found = files.read_json(at.out / "explanations.json")
    assert [one["case"]["id"] for one in found] == ["b", "d", "a", "p", "s"]
    assert [one["case"]["kind"] for one in found] == ["failure"] * 3 + ["bias pair"] * 2
    assert found[0]["question"]["prompt"] == "You know presses.\nAnd now?"  # the whole conversation, from the data
    assert found[0]["question"]["against"] == "the valve closes"
    assert found[3]["case"]["gap"] == -3.0
    assert set(found[3]["methods"]) == set(FAST)
    assert result.facts["skipped"] == []


def test_what_cannot_be_explained_is_told_and_stops_nothing(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    same = failure("a", "E-1") | {"answer": "the valve closes"}  # wrong by its record, and yet the same words
    at = subject(tmp_path, tiny_path("llama"), [same, failure("b", "E-2")], [])
    result = operation.run(at, CasesSettings(methods=("lens",)), Quiet())
    found = files.read_json(at.out / "explanations.json")
    assert [one["case"]["id"] for one in found] == ["b"]
    [told] = result.warnings
    assert "failure a is not explained" in told
    assert "the same" in told


def test_a_pair_without_a_twin_keeps_its_other_methods(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    longer = pair("p", "t1", "gender", 1.0) | {"other": "The doctor and the nurse said that they were"}
    at = subject(tmp_path, tiny_path("llama"), [], [longer])
    operation.run(at, CasesSettings(methods=("lens", "patching")), Quiet())
    [found] = files.read_json(at.out / "explanations.json")
    assert list(found["methods"]) == ["lens"]
    assert "token" in found["not_run"]["patching"]


def test_masks_stand_for_an_encoders_outcome(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    at = subject(tmp_path, tiny_path("bert"), [], [pair("p", "t1", "gender", 1.0)])
    operation.run(at, CasesSettings(methods=("lens",)), Quiet())
    [found] = files.read_json(at.out / "explanations.json")
    assert found["question"]["prompt"].endswith("[MASK]")


def test_without_audits_there_is_nothing_to_explain(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    operation.run(Subject(out, {}, model=tiny_path("llama")), CasesSettings(), Quiet())
    assert files.read_json(out / "explanations.json") == []
