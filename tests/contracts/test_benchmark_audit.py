"""The audit benchmark asks what lm-eval's tasks ask, compares every number, and still fits the code it measures."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from test_benchmarks import KEYS, ROOT, load

from limpide.core import files
from tiny import tiny_folder

BBQ: dict[str, Any] = {
    "context": "An old and a young person wait.",
    "question": "Who forgets things?",
    "ans0": "The old person",
    "ans1": "Can't be determined",
    "ans2": "The young person",
}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return load("benchmarks/audit.py")


@pytest.fixture
def cases() -> ModuleType:
    return load("benchmarks/audit_cases.py")


@pytest.fixture
def side(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return load("benchmarks/ours/likelihood.py")


def answer(seconds: float, values: list[float], **more: Any) -> dict[str, Any]:
    """What a side gives for two requests."""
    return {
        "seconds": seconds,
        "processor_seconds": seconds,
        "peak_bytes": 1e9 * seconds,
        "log_likelihoods": values,
        "greedy": [True, False],
        "ids": ["a", "b"],
        "threads": 2,
        "version": "1.0",
        "record": {"parity_sample": 1, "products": "torch"},
        "sent_tokens": 10,
        "tree_tokens": 6,
        "scored_places": 2,
        "flops": 2e9,
        "matmul_rate": 4e9,
        **more,
    }


def test_prompts_are_those_of_the_peers_tasks(cases: ModuleType) -> None:
    prompt = "An old and a young person wait.\n\nQ: Who forgets things?\nA:"
    assert cases.three_options(BBQ) == [
        (prompt, " The old person"),
        (prompt, " Can't be determined"),
        (prompt, " The young person"),
    ]
    twelve = cases.twelve_candidates(BBQ)
    assert [option for _, option in twelve[:3]] == [" The old person", " The young person", " Unknown"]
    assert len(set(twelve)) == 12
    shot = {"question": "2 + 2?", "options": ["5", "4"], "answer": 1}
    row = {"question": "3 + 3?", "options": ["6", "7"], "answer": 0}
    text = "Question: 2 + 2?\nAnswer: 4\n\nQuestion: 3 + 3?\nAnswer:"
    assert cases.with_shots(row, [shot]) == [(text, " 6"), (text, " 7")]


def test_drawn_shots_never_hold_the_question_and_are_the_same_each_time(cases: ModuleType) -> None:
    rows = [{"question": str(number)} for number in range(12)]  # few, so that a question is often drawn for itself
    drawn = cases.drawn_shots(rows, 7)
    assert [row["question"] for row, _ in drawn] == [str(number) for number in range(5, 12)]
    assert all(len(shots) == 5 and row not in shots for row, shots in drawn)
    assert drawn == cases.drawn_shots(rows, 7)
    assert len({json.dumps(shots) for _, shots in drawn}) > 1


def test_cases_are_read_from_the_folder_as_published(cases: ModuleType, tmp_path: Path) -> None:
    bbq = tmp_path / "bbq" / "data" / "Disability_status.jsonl"  # as in a clone of its authors' repository
    bbq.parent.mkdir(parents=True)
    bbq.write_text(f"{json.dumps(BBQ)}\n" * 3, encoding="utf-8")
    crows = tmp_path / "crows-pairs" / "crows_pairs_anonymized.csv"
    crows.parent.mkdir()
    crows.write_text(',sent_more,sent_less\n0,"They lie, often.",They never lie.\n', encoding="utf-8")
    found = {case.name: case for case in cases.cases(tmp_path, cases.Sizes(three=2, twelve=1, shots=3, drawn=3))}
    assert {name: (case.goal, len(case.requests)) for name, case in found.items()} == {
        "BBQ, three options": (6.0, 6),
        "BBQ, twelve candidates": (8.0, 12),
        "Text options, five fixed shots": (10.0, 12),
        "Text options, five drawn shots": (None, 12),
        "CrowS-Pairs": (2.0, 2),
    }
    assert found["CrowS-Pairs"].requests == (("", "They lie, often."), ("", "They never lie."))
    fixed = found["Text options, five fixed shots"].requests
    assert len({context.rpartition("\n\n")[0] for context, _ in fixed}) == 1


@pytest.mark.parametrize("given", [None, Path("nowhere")])
def test_data_that_is_not_there_is_named_with_its_authors(cases: ModuleType, given: Path | None) -> None:
    with pytest.raises(SystemExit) as stopped:
        cases.cases(given, cases.QUICK)
    assert "nyu-mll/BBQ" in str(stopped.value)
    assert "make bench-audit DATA=folder" in str(stopped.value)


def test_the_tree_counts_what_is_shared_once(side: ModuleType) -> None:
    ids = [((1, 2), (3,)), ((1, 2), (4,)), ((1, 2), (3, 5)), ((1,), (2, 3)), ((9,), (1,))]
    # beginnings that are read: 1 · 1 2 · 1 2 3 · 9; a scored token follows after each of them
    assert side.tree_nodes(ids) == 4
    assert side.scored_places(ids) == 4
    assert side.scored_places(ids[:2]) == 1
    assert side.tree_nodes([]) == 0


def test_our_side_scores_every_request_and_counts_its_arithmetic(
    side: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side, "matmul_rate", lambda precision: 1e9)
    folder = tiny_folder("llama", tmp_path / "base")
    requests = [["a b", " c"], ["a b", " d e"], ["", "a b"]]
    job = {"model": str(folder), "threads": torch.get_num_threads(), "requests": requests, "warm_up": 2}
    found = side.work(job)
    assert len(found["log_likelihoods"]) == len(found["greedy"]) == len(set(found["ids"])) == 3
    assert all(value < 0 for value in found["log_likelihoods"])
    assert set(found["record"]) >= {"parity_sample", "products"}  # the page names them
    config = files.read_json(folder / "config.json")
    width, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    kept = width * config["num_key_value_heads"] // config["num_attention_heads"]
    body = layers * (2 * width * width + 2 * width * kept + 3 * width * inner)
    head = width * config["vocab_size"]
    assert found["flops"] == 2 * body * found["tree_tokens"] + 2 * head * found["scored_places"]


def test_a_row_holds_the_medians_and_the_worst_difference(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench.SWEPT, "washing", 1)
    case = bench.Case("washing", 2.0, "two shirts", (("", "a"), ("", "b")))
    ours = [answer(1.0, [-1.0, -2.0]), answer(2.0, [-1.0, -2.0]), answer(4.0, [-1.0, -2.0])]
    peer = [answer(5.0, [-1.0, -2.0]), answer(6.0, [-1.0, -2.004], greedy=[True, True]), answer(7.0, [-1.0, -2.0])]
    measured = bench.Measured(case, ours, peer)
    row = bench._speed(measured, [(1, 5.0), (8, 10.0), (16, 12.0)])
    assert set(row) >= KEYS
    assert (row["ours"], row["peer"], row["ratio"], row["machine_share"]) == (1.0, 0.33, 3.0, 0.25)
    assert row["equal_within"] == pytest.approx(0.004)
    assert row["peer_version"] == "lm-eval 1.0"
    assert "the ratio of each round: 5.00, 3.00, 1.75" in row["notes"][1]
    assert "0.004 nats, more than the goal of 0.001; the sides disagree on 1 of 2 greedy flags" in row["notes"][1]
    assert row["tables"][0]["rows"][1:] == [["8", "10.00", "1.00×"], ["16", "12.00", "1.20×"]]
    assert any("(1 requests here)" in note and "products are by torch" in note for note in bench._notes(measured, 2))
    memory = bench._memory([measured])
    assert (memory["ours"], memory["peer"], memory["ratio"]) == (2.0, 6.0, 3.0)
    page = load("scripts/benchmarks_page.py").page([("audit", [row, memory])])
    assert "| washing | 1 | 0.33 | requests/s | **3.00×** | 2×, met | 0.004 | 25% |" in page


def test_sides_that_read_other_tokens_are_not_compared(bench: ModuleType) -> None:
    case = bench.Case("washing", None, "two shirts", (("", "a"), ("", "b")))
    same, other = answer(1.0, [-1.0, -2.0]), answer(1.0, [-1.0, -2.0], ids=["a", "c"])
    bench._check_ids(bench.Measured(case, [same], [same]))
    with pytest.raises(SystemExit, match=r"tokenise 1 requests differently, first \('', 'b'\)"):
        bench._check_ids(bench.Measured(case, [same], [other]))


def test_the_machines_limit_is_its_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = load("benchmarks/machine.py")
    monkeypatch.setattr(machine, "SHAPES", ((4, 8, 16),))
    a, b = torch.randn(4, 8), torch.randn(16, 8)
    ways = machine._products(a, b)
    assert len(ways) >= 2
    for way in ways:
        torch.testing.assert_close(way(), a @ b.T)
    monkeypatch.setattr(machine, "_times_a_second", lambda way: 3.0 if way is fast else 1.0)
    monkeypatch.setattr(machine, "_products", lambda a, b: [lambda: None, fast])

    def fast() -> None: ...

    assert machine.matmul_rate("float32") == 3.0 * 2 * 4 * 8 * 16
