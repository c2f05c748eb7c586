"""General examples mixed in: how many, whose, and what is said where they are too few."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limpide.adapt import retain
from limpide.adapt.retain import wanted
from limpide.core.errors import DataError, ModelError
from limpide.core.operation import Subject
from limpide.data.shipped import read_probe
from limpide.models.requests import Answer
from tiny_training import Stops, adapt, examples, written


@pytest.fixture
def talks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The base answers every question but each third, whose answer does not end in time."""
    asked: list[int] = []

    def answers(model: Any, prompts: Any, sampling: Any, progress: Any) -> list[list[Answer]]:
        asked.append(len(prompts))
        longest = sampling.max_new_tokens
        return [[Answer(f"Answer {k}.", 0.0, longest if k % 3 == 0 else 4)] for k in range(len(prompts))]

    monkeypatch.setattr(retain, "sample", answers)
    return asked


@pytest.mark.parametrize(("share", "rows", "expected"), [(0.2, 80, 20), (0.5, 7, 7), (0.01, 10, 1), (0.9, 1, 9)])
def test_the_share_is_of_all_rows(share: float, rows: int, expected: int) -> None:
    assert wanted(share, rows) == expected


def test_answers_that_end_are_mixed_in(subject: Callable[..., Subject], talks: list[int]) -> None:
    given = subject()
    result = adapt(given, retain={"share": 0.5})
    assert (result.facts["rows"], result.facts["retained_rows"]) == (16, 8)
    assert result.warnings == ()
    rows = [json.loads(line) for line in (given.out / "retained.jsonl").read_text().splitlines()]
    assert [row["synthetic"] for row in rows] == ["the base model's own answer"] * 8
    numbers = [int(row["messages"][1]["content"].split()[1].strip(".")) for row in rows]
    assert all(n % 3 for n in numbers), "an answer that was cut would teach to stop in mid-sentence"
    adapt(without := subject("without"))
    assert (
        written(given.out)["adapter/adapter_model.safetensors"]
        != written(without.out)["adapter/adapter_model.safetensors"]
    )


def test_the_base_answers_once_also_when_the_run_goes_on(subject: Callable[..., Subject], talks: list[int]) -> None:
    given = subject()
    with pytest.raises(KeyboardInterrupt):
        adapt(given, Stops(3), retain={"share": 0.3})
    adapt(given, retain={"share": 0.3})
    assert len(talks) == 1


def test_fewer_than_asked_for_is_said(subject: Callable[..., Subject], tmp_path: Path) -> None:
    general = tmp_path / "general.jsonl"
    general.write_text("".join(json.dumps({"prompt": f"Say {k}", "answer": f"{k}"}) + "\n" for k in "abc"))
    result = adapt(subject(), retain={"share": 0.5, "examples": str(general)})
    assert result.facts["retained_rows"] == 3
    assert "3 general examples are mixed in, 27% of the rows, where retain.share asks for 50%" in result.warnings[0]


def test_a_base_whose_answers_never_end_has_nothing_to_keep(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retain, "sample", lambda m, prompts, s, p: [[Answer("on and on", 0.0, 96)] for _ in prompts])
    with pytest.raises(DataError, match=r"(?s)None of the base's own answers ends within 96 tokens.*retain\.tokens"):
        adapt(subject(), retain={})


def test_an_encoder_has_no_answers_of_its_own(subject: Callable[..., Subject]) -> None:
    with pytest.raises(ModelError, match=r"(?s)BERT only fills in words.*give a file"):
        adapt(subject(model="bert"), retain={})


def test_the_general_questions_are_of_no_suite() -> None:
    """A question that a suite asks would be trained on and then asked."""
    ours = [json.loads(line) for line in read_probe("general.jsonl").splitlines()]
    assert len({row["id"] for row in ours}) == len({row["text"] for row in ours}) == len(ours) == 120
    suites = ["truth/options", "truth/short", "truth/unanswerable", "refusal/requests"]
    asked = {
        row.get("question", row.get("request")).casefold()
        for suite in suites
        for language in ("en", "fr")
        for row in map(json.loads, read_probe(f"{suite}.{language}.jsonl").splitlines())
    }
    assert len(asked) > 500
    assert not asked & {row["text"].casefold() for row in ours}
    assert examples(1)[0].question not in asked
