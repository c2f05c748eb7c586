"""`limpide compare`: two audits, two releases, or models that are audited on the way."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from evidence_sample import evidence
from limpide.audit.items import Frame, Item, Spec, save_evidence, summarise
from limpide.cli import sides
from limpide.cli.main import main
from limpide.core import catalogue, files
from limpide.core.measure import save_measures
from limpide.core.operation import Result
from limpide.document.evidence import save_evidence as save_release_evidence
from limpide.document.read import suite_evidence


def run(*arguments: object) -> object:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as stopped:
        main([str(one) for one in arguments])
    return stopped.value.code


def spec(suite: str, method: str = "all") -> Spec:
    given: dict[str, Any] = {"kind": "share", "unit": "share", "better": "higher", "metric": "right"}
    return Spec(name=f"{suite}.accuracy", method=f"{suite}.accuracy@1({method})", **given)


def suite_folder(
    folder: Path, suite: str, rights: Sequence[int], *, label: str = "result", method: str = "all", data: str = "data"
) -> Path:
    """One audit of 40 questions, of which the first ones are right."""
    folder.mkdir(parents=True)
    items = [
        Item(f"q{k}", f"q{k}", {}, {"right": float(k < rights[0])}, {"question": f"{k}?", "answer": "x"})
        for k in range(40)
    ]
    made = [spec(suite, method)]
    save_evidence(folder, items, made)
    Result(tuple(summarise(items, made, Frame(label, 0, f"model {rights}", data)))).save(folder)
    return folder


def audit_folder(folder: Path, title: str, suites: dict[str, int], **how: str) -> Path:
    """What `limpide audit all` leaves. suites: right answers of each."""
    for name, right in suites.items():
        suite_folder(folder / name, name, [right], label=title, **how)
    record = {
        "title": title,
        "kind": "model",
        "model_digest": None,
        "seed": 0,
        "suites": {name: {"state": "finished"} for name in suites},
        "versions": {"limpide": "0.1.0"},
        "command": f"limpide audit all {title}",
        "date": "2026-11-22",
    }
    files.write_json(folder / "audit.json", record)
    return folder


def release_folder(folder: Path, right: int, *, specs: bool = True) -> Path:
    made = suite_folder(folder.parent / f"{folder.name}-made", "truth", [right])
    result = Result.load(made)
    for kept, suffix in (("items.jsonl", ".jsonl"), ("specs.json", ".specs.json")):
        if specs or kept == "items.jsonl":
            files.write_bytes(folder / f"evidence/items/result-truth{suffix}", (made / kept).read_bytes())
    base = [m.model_copy(update={"subject": "base"}) for m in result.measures]
    save_measures(folder / "evidence/measures.jsonl", [*base, *result.measures])
    record = evidence().model_copy(update={"measures": result.measures, "suites": (suite_evidence("truth", [], {}),)})
    save_release_evidence(folder / "evidence/evidence.json", record)
    if not specs:  # as before they were kept, with a field that is no longer there
        path = folder / "evidence/evidence.json"
        files.write_json(path, files.read_json(path) | {"worst_pairs": []})
    return folder


def test_two_audits_are_told_apart_worse_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = audit_folder(tmp_path / "a", "first", {"truth": 10, "refusal": 35, "bias": 20})
    b = audit_folder(tmp_path / "b", "second", {"truth": 36, "refusal": 8, "bias": 20})
    assert run("compare", a, b, "--out", tmp_path / "out") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("refusal.accuracy: worse, 87.5% → 20%")
    assert told[1].startswith("truth.accuracy: better, 25% → 90%")
    assert told[2].startswith("bias.accuracy: no detectable change")
    assert "B against A: 1 worse, 1 better, 1 no detectable change." in told
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "A · first" in page
    assert "B · second" in page
    assert f"limpide compare {a} {b} --out {tmp_path / 'out'}" in page
    assert (tmp_path / "out" / "report.fr.html").is_file()
    rows = files.read_jsonl(tmp_path / "out" / "changes.jsonl")
    assert {row["name"]: row["verdict"] for row in rows}["refusal.accuracy"] == "worse"


def test_results_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = audit_folder(tmp_path / "a", "first", {"truth": 10})
    b = audit_folder(tmp_path / "b", "second", {"truth": 36, "refusal": 4})
    assert run("compare", a, b, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["a"]["title"], said["b"]["title"]) == ("first", "second")
    assert [change["verdict"] for change in said["changes"]] == ["better"]
    assert said["left_out"] == {"refusal": "It was not asked of A."}
    assert said["report"] is None


def test_the_folder_of_one_suite_can_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = (suite_folder(tmp_path / name, "truth", [right]) for name, right in (("a", 10), ("b", 36)))
    assert run("compare", a, b) == 0
    assert "truth.accuracy: better" in capsys.readouterr().out


def test_a_suite_that_was_measured_otherwise_is_left_out_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = audit_folder(tmp_path / "a", "first", {"truth": 10})
    b = audit_folder(tmp_path / "b", "second", {"truth": 36}, method="half")
    assert run("compare", a, b) == 2  # nothing else can be compared
    said = capsys.readouterr().err
    assert "cannot be compared: base and result were measured with a different method" in said
    assert "audit both models again with the same settings and data" in said

    suite_folder(a / "bias", "bias", [20])
    suite_folder(b / "bias", "bias", [21])
    for folder in (a, b):
        record = files.read_json(folder / "audit.json")
        record["suites"]["bias"] = {"state": "finished"}
        files.write_json(folder / "audit.json", record)
    assert run("compare", a, b, "--out", tmp_path / "out") == 0
    told = capsys.readouterr().out
    assert "truth: not compared. 'truth.accuracy' cannot be compared" in told
    assert "To compare it: audit both models again with the same settings and data." in told
    assert "Not compared" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_suite_that_was_named_must_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = audit_folder(tmp_path / "a", "first", {"truth": 10})
    b = audit_folder(tmp_path / "b", "second", {"truth": 36, "refusal": 4})
    assert run("compare", a, b, "--suites", "truth,refusal") == 2
    said = capsys.readouterr()
    assert "truth.accuracy: better" in said.out  # what can be told is told first
    assert "refusal: It was not asked of A." in said.err


@pytest.mark.parametrize(
    ("suites", "words"),
    [("refuzal", "Did you mean 'refusal'?"), ("refusal", "no suite in common")],
)
def test_wrong_suites_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], suites: str, words: str) -> None:
    a, b = (audit_folder(tmp_path / name, name, {"truth": 10}) for name in "ab")
    assert run("compare", a, b, "--suites", suites) == 2
    assert words in capsys.readouterr().err


def test_releases_are_compared_by_the_evidence_they_keep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = release_folder(tmp_path / "v1", 36), release_folder(tmp_path / "v2", 9)
    assert run("compare", first, second, "--out", tmp_path / "out") == 0
    assert capsys.readouterr().out.startswith("truth.accuracy: worse, 90% → 22.5%")
    assert "press-operator-assistant 1.0.0" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert not list((tmp_path / "out").glob("*/measures.jsonl"))  # what was laid out for the comparison is gone


def test_a_release_that_keeps_no_specs_is_audited_as_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audited: list[tuple[str, str]] = []

    def run_all(order: Any, settings: Any, out: Path) -> None:
        audited.append((order.model, settings.suites))
        audit_folder(out, order.model, {"truth": 20})

    monkeypatch.setattr(sides, "run_all", run_all)
    old = release_folder(tmp_path / "old", 36, specs=False)
    a = audit_folder(tmp_path / "a", "first", {"truth": 10})
    assert run("compare", a, old, "--out", tmp_path / "out") == 0
    assert audited == [(str(old), "truth")]  # the suites of the other side
    assert (tmp_path / "out" / "b" / "audit.json").is_file()


def test_two_models_are_audited_with_the_default_suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audited: list[tuple[str, str, Path]] = []

    def run_all(order: Any, settings: Any, out: Path) -> None:
        audited.append((order.model, settings.suites, out))
        audit_folder(out, order.model, dict.fromkeys(settings.suites.split(","), 20))

    monkeypatch.setattr(sides, "run_all", run_all)
    assert run("compare", "model-one", "model-two") == 0
    assert [(model, suites) for model, suites, _ in audited] == [
        ("model-one", "bias,truth,retention"),
        ("model-two", "bias,truth,retention"),
    ]
    assert not audited[0][2].exists()  # without --out nothing is left
    assert set(sides.DEFAULT) <= set(catalogue.suites())


def test_a_broken_audit_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = audit_folder(tmp_path / "a", "first", {"truth": 10})
    files.write_text(a / "audit.json", "{")
    assert run("compare", a, a) == 2
    assert "is not the folder of an audit" in capsys.readouterr().err


def test_a_model_compared_with_itself_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = (suite_folder(tmp_path / name, "truth", [10]) for name in "ab")
    assert run("compare", a, b) == 0
    assert "byte for byte" in capsys.readouterr().err
