"""How long rows are for a model: counted as it is taught, and what a cut would lose, by decoding it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from limpide.data.examples import Example
from limpide.models.lengths import Reader, length_checks, lengths, lost, open_reader
from limpide.models.prompt import render


def example(question: str, answer: str, number: int = 1) -> Example:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Example.model_validate({"id": str(number), "source": f"f.csv:{number}", "messages": messages})


@pytest.fixture
def reader(tiny_path: Callable[[str], Path]) -> Reader:
    return open_reader(tiny_path("llama"))


ROWS = [example("Which way?", "Left."), example("And now?", "Right, then left, then right again, and so on.", 2)]


def test_rows_are_as_long_as_they_are_taught(reader: Reader) -> None:
    taught = [len(render(reader.tokenizer, row.messages, reader.stop_ids).ids) for row in ROWS]
    assert list(lengths(reader, ROWS * 300, lambda done: None)) == taught * 300


def test_what_a_cut_would_lose_is_the_end_of_the_answer(reader: Reader) -> None:
    rendered = render(reader.tokenizer, ROWS[1].messages, reader.stop_ids)
    found = lost(reader, ROWS[1], len(rendered.ids) - 7)
    assert (found.tokens, found.trained) == (7, sum(rendered.trained))
    assert found.of_the_answer == sum(rendered.trained[-7:])
    assert found.begins
    assert " ".join(reader.tokenizer.decode(rendered.ids[-7:]).split()).startswith(found.begins)
    assert lost(reader, ROWS[1], 10_000).tokens == 0


def test_rows_longer_than_the_context_stop_and_say_what_would_go(reader: Reader) -> None:
    counts = list(lengths(reader, ROWS, lambda done: None))
    template, tokens = length_checks(replace(reader, context=max(counts) - 1), ROWS, pack_tokens=min(counts))
    assert template.severity == "told"
    assert (tokens.severity, tokens.rows, tokens.facts["total"]) == ("stops", 1, sum(counts))
    assert str(tokens.places[0]).startswith(f"f.csv:2: {max(counts)} tokens: cut, it would lose the last 1, ")
    assert "1 row is longer than adapt.pack_tokens" in tokens.said
    _, tokens = length_checks(reader, ROWS, pack_tokens=max(counts))
    assert tokens.severity == "told"
    assert "pack_tokens" not in tokens.said


def test_a_control_token_in_a_row_is_found_at_its_line(reader: Reader) -> None:
    (control,) = (t for t in reader.tokenizer.all_special_tokens[:1])
    template, tokens = length_checks(reader, [*ROWS, example("So?", f"Stop {control} here.", 3)], 64)
    assert (template.severity, template.rows) == ("stops", 1)
    assert str(template.places[0]).startswith("f.csv:3: An assistant message contains the control token")
    assert tokens.facts["median"] > 0


@pytest.mark.parametrize("family", ["t5", "bert"])
def test_other_kinds_are_counted_too(tiny_path: Callable[[str], Path], family: str) -> None:
    reader = open_reader(tiny_path(family))
    counts = list(lengths(reader, ROWS, lambda done: None))
    assert all(count > 3 for count in counts)
    _, tokens = length_checks(replace(reader, context=counts[1] - 2), ROWS, 64)
    assert str(tokens.places[0]) == f"f.csv:2: {counts[1]} tokens: 2 too many"
