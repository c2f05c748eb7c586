"""docs/benchmarks.md says what benchmarks/results/ holds, and the benchmark still fits the code it measures."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from limpide.core import files
from limpide.data.examples import Example, Message, save_examples
from limpide.models.model import open_model
from limpide.models.prompt import render_example
from tiny import tiny_folder

ROOT = Path(__file__).parents[2]
KEYS = {
    "case",
    "ours",
    "peer",
    "peer_version",
    "unit",
    "ratio",
    "goal",
    "equal_within",
    "machine_share",
    "cpu",
    "date",
}
ROW: dict[str, Any] = {
    "case": "washing",
    "ours": 300.0,
    "peer": 100.0,
    "peer_version": "Other 2.0",
    "unit": "tokens/s",
    "ratio": 3.0,
    "goal": 4.0,
    "equal_within": 0.012,
    "machine_share": 0.42,
    "cpu": "a processor, 2 cores",
    "date": "2026-11-22",
    "notes": ["Both wash the same shirts."],
    "tables": [{"title": "Swept", "columns": ["soap", "tokens/s"], "rows": [["a|b", "100"]]}],
}


def load(path: str) -> ModuleType:
    """A module of a folder that is no package."""
    spec = importlib.util.spec_from_file_location(f"bench_{Path(path).stem}", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_fresh() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "benchmarks_page.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nrun: python scripts/benchmarks_page.py --write"


def test_results_are_whole_and_agree_with_themselves() -> None:
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        for row in json.loads(path.read_text(encoding="utf-8")):
            assert set(row) >= (KEYS if "peer" in row else {"case", "ours", "unit", "goal", "cpu", "date"}), path.name
            if row.get("peer") is None:
                continue
            ratio = row["ratio"]
            # rates: ours ÷ peer; memory and times: peer ÷ ours
            assert any(
                r == pytest.approx(ratio, rel=0.02) for r in (row["ours"] / row["peer"], row["peer"] / row["ours"])
            )


def test_page_says_the_row_and_when_a_goal_is_not_met() -> None:
    page = load("scripts/benchmarks_page.py").page
    text = page([("laundry", [ROW])])
    line = "| washing | 300 | 100 | tokens/s | **3.00×** | 4×, not met | 0.012 | 42% |"
    assert line in text
    assert "- Both wash the same shirts." in text
    assert "| a\\|b | 100 |" in text
    assert "4×, met" in page([("laundry", [ROW | {"ratio": 4.0}])])
    assert "No benchmark has been recorded yet." in page([])


def test_page_takes_rows_without_a_peer() -> None:
    row = {"case": "start", "ours": 0.31, "unit": "s", "goal": "under 0.5", "note": None, "cpu": "x", "date": "d"}
    text = load("scripts/benchmarks_page.py").page([("demo", [row, row])])
    assert "| start | 0.31 | s | under 0.5 |  |" in text
    assert text.count("On x, d.") == 1


def test_rate_leaves_out_the_first_step() -> None:
    rate = load("benchmarks/child.py").rate
    assert rate([(10.0, 1000), (11.0, 30), (13.0, 60)]) == pytest.approx(30.0)
    with pytest.raises(ValueError, match="two steps"):
        rate([(10.0, 1000)])


def test_a_child_that_fails_ends_the_run_with_its_last_words(tmp_path: Path) -> None:
    run = load("benchmarks/child.py").run
    with pytest.raises(SystemExit, match="KeyError: 'recipe'"):
        run(Path(sys.executable), "ours/rows.py", {}, tmp_path)


def test_our_side_times_each_step_of_the_operation_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    side = load("benchmarks/ours/lora.py")
    monkeypatch.setattr(side, "matmul_rate", lambda precision: 1e9)
    base = tiny_folder("llama", tmp_path / "base")
    examples = [
        Example(
            id=str(i),
            messages=(Message(role="user", content=f"fault {i}?"), Message(role="assistant", content="Call. " * i)),
            source=f"x.jsonl:{i}",
        )
        for i in range(1, 9)
    ]
    save_examples(tmp_path / "data" / "train.jsonl", examples)
    model = open_model(base)
    rendered = [render_example(model, e) for e in examples]
    rows = {
        "base": str(base),
        "targets": list(model.family.lora_targets),
        "row_tokens": sum(len(r.ids) for r in rendered),
        "trained_tokens": sum(sum(r.trained) for r in rendered),
        "rank": 2,
        "alpha": 2,
        "learning_rate": 1e-3,
        "warmup": 0.05,
        "weight_decay": 0.0,
        "pack_tokens": 64,
        "step_tokens": 64,
    }
    job = {
        "rows": rows,
        "data": str(tmp_path / "data"),
        "epochs": 2,
        "seed": 0,
        "changes": {},
        "threads": torch.get_num_threads(),
    }
    answer = side.work(job | {"folder": str(tmp_path / "out")})
    ends = [end for end, _ in answer["steps"]]
    assert len(ends) == len(files.read_jsonl(tmp_path / "out" / "losses.jsonl")) - 1
    assert ends == sorted(ends)
    assert sum(tokens for _, tokens in answer["steps"]) == 2 * rows["row_tokens"]
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()
    # 2 layers of width 32, so the frozen matrices alone are a few thousand weights, at 4 operations each
    assert answer["flops"] > 4 * 2 * 4 * 32 * 16
