"""The benchmark of the charter says what was counted, and when a goal is not met."""

from types import ModuleType
from typing import Any

import pytest
from test_benchmarks import ROOT, load

from limpide.recipe.load import load_recipe


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return load("benchmarks/charter.py")


def change(name: str, before: float, after: float, half: float, **group: str) -> dict[str, Any]:
    difference = after - before
    ends = {"low": difference - half, "high": difference + half}
    known = {"n": 57, "unit": "share", "verdict": "better"}
    return {"name": name, "group": group, "before": before, "after": after, "difference": difference} | ends | known


def answer(respected: float, perplexity: float) -> dict[str, Any]:
    return {
        "facts": {"data": {"charter": {"mended": 61, "answers": 52, "preferences": 300}}, "adapt": {"rows": 124}},
        "changes": [
            change("charter.respected", 0.1, respected, 0.1),
            change("charter.respected", 0.2, 0.3, 0.1, language="en"),
            change("charter.terms", 0.0, 0.5, 0.2),
            change("retention.perplexity", 50.0, perplexity, 1.0),
        ],
        "seconds": {"adapt": 61.0},
        "peak_bytes": 2e9,
    }


def test_rows_of_a_case_that_meets_its_goals(benchmark: ModuleType) -> None:
    case = benchmark.CASES[-1]
    rows = {row["case"].partition(": ")[2]: row for row in benchmark.rows(case, answer(0.7, 52.0))}
    violations = rows["answers that break the charter"]
    assert violations["ours"] == pytest.approx(0.3)
    assert violations["goal"] == "at most 0.5 of those before, interval below 0, met"
    assert violations["note"] == "before 0.900, difference -0.600 [-0.700; -0.500], n = 57: better"
    assert rows["rise of perplexity"]["ours"] == pytest.approx(0.04)
    assert rows["rise of perplexity"]["goal"] == "at most 0.1, met"
    assert (rows["charter.terms"]["ours"], rows["rows to learn from"]["ours"]) == (0.5, 124)


def test_a_goal_that_is_not_met_is_said_so(benchmark: ModuleType) -> None:
    rows = [row["goal"] for row in benchmark.rows(benchmark.CASES[-1], answer(0.5, 60.0)) if row["goal"]]
    assert [goal.rpartition(", ")[2] for goal in rows] == ["not met", "not met"]
    assert all(row["goal"] is None for row in benchmark.rows(benchmark.CASES[0], answer(0.7, 52.0)))


def test_its_cases_are_changes_that_the_recipe_takes(benchmark: ModuleType) -> None:
    recipe = load_recipe(benchmark.RECIPE)
    for case in benchmark.CASES:
        for section, values in case.sections.items():
            read = getattr(recipe, section)
            assert type(read).model_validate(read.model_dump() | values) != read
