"""Gates that so few held-out rows can never pass are told before the run, by the rules that judge them after it."""

from pathlib import Path

import pytest

from limpide.data.examples import Example, Message
from limpide.data.splits import Split
from limpide.recipe.gates import parse_gate
from limpide.recipe.held_out import Few, judged, too_few
from limpide.recipe.load import load_recipe

EXAMPLE = Path(__file__).parents[3] / "examples" / "press-operator"


def row(number: int, topic: str | None = None) -> Example:
    said = (Message(role="user", content=f"Question {number}?"), Message(role="assistant", content=f"Answer {number}"))
    return Example(id=str(number), messages=said, topic=topic, source=f"a.jsonl:{number}")


def few(gate: str, held_out: int, *, topics: int = 0, unseen: int = 0) -> list[Few]:
    rows = tuple(row(k, f"t{k % topics}" if topics else None) for k in range(held_out))
    parts = Split((), rows, tuple(row(1000 + k) for k in range(unseen)))
    return list(judged([parse_gate(gate)], parts))


@pytest.mark.parametrize("gate", ["domain.accuracy improves", "domain.accuracy does not worsen"])
def test_a_change_of_a_share_needs_six(gate: str) -> None:
    """With five, even all of them turned right is p = 1/16."""
    assert few(gate, 5) == [Few(gate, "independent", 6, 5)]
    assert few(gate, 6) == []
    assert few(gate, 60, topics=5) == [Few(gate, "independent", 6, 5)]


def test_a_mean_needs_ten() -> None:
    assert few("domain.log_likelihood improves", 9) == [Few("domain.log_likelihood improves", "independent", 10, 9)]
    assert few("domain.token_f1 does not worsen", 10) == []


def test_a_level_needs_as_many_as_its_interval_asks_when_all_are_right() -> None:
    gate = "domain.accuracy is above 90%"
    assert few(gate, 34) == [Few(gate, "questions", 35, 34)]  # 34 / (34 + 1.96²) = 0.899
    assert few(gate, 35) == []
    assert few("domain.accuracy is below 10%", 34)[0].needed == 35
    assert few(gate, 40, topics=5) == []  # some wrong ones may leave their rows nearly independent: not told


def test_a_gate_is_about_its_own_questions() -> None:
    assert few("domain.unseen.accuracy does not worsen", 60, unseen=2)[0].held == 2
    assert few("domain.accuracy improves", 0)[0].held == 0


def test_a_recipe_with_enough_rows_is_not_warned(tmp_path: Path) -> None:
    for name in ("examples.jsonl", "charter.yaml"):
        (tmp_path / name).write_bytes((EXAMPLE / name).read_bytes())
    (tmp_path / "recipe.yaml").write_bytes((EXAMPLE / "recipe.yaml").read_bytes())
    recipe = load_recipe(tmp_path / "recipe.yaml")
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"unseen_topics": 0.0})})
    assert too_few(recipe, tmp_path) == []
    lines = (tmp_path / "examples.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "examples.jsonl").write_text("".join(lines[:12]))
    told = too_few(recipe, tmp_path)
    assert "domain.accuracy improves" in {one.gate for one in told}
    assert "rows of one topic or group count as one" in str(told[0])
    (tmp_path / "examples.jsonl").write_text("no json\n")
    assert too_few(recipe, tmp_path) == []
