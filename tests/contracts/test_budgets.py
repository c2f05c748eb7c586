"""The budgets: file ≤ 400 lines, function ≤ 60, class ≤ 300, parameters ≤ 8."""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py")) + sorted((ROOT / "scripts").rglob("*.py"))
FILE, FUNCTION, CLASS, PARAMETERS = 400, 60, 300, 8


def over_budget(name: str, source: str) -> dict[str, str]:
    """{place: what is over} of one file."""
    found = {}
    lines = source.count("\n")
    if lines > FILE:
        found[name] = f"{lines} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            limit = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
            if length > limit:
                found[f"{name}:{node.name}"] = f"{length} lines"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = len([p for p in parameters if p.arg not in ("self", "cls")])
            if count > PARAMETERS:
                found[f"{name}:{node.name}"] = f"{count} parameters"
    return found


def test_every_file_keeps_its_budget() -> None:
    allowed = tomllib.loads((ROOT / "scripts" / "budget.toml").read_text(encoding="utf-8"))["exceptions"]
    found = {}
    for path in SOURCES:
        found |= over_budget(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    assert {place: what for place, what in found.items() if place not in allowed} == {}
    assert set(allowed) <= set(found), "an exception that is no longer needed"


def test_the_measure_itself() -> None:
    long = "def f(a, b, c, d, e, f, g, h, i):\n" + "    x = 1\n" * 70
    assert over_budget("x.py", long) == {"x.py:f": "9 parameters"}
    assert over_budget("y.py", "x = 1\n" * 401) == {"y.py": "401 lines"}
