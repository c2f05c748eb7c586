"""On a command line, remedies name its options; what they name can be typed."""

import json
from pathlib import Path

import pytest

from commands import calling
from limpide.cli.option_words import in_options


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "leave such rows out with skip_bad_rows: true (they are",
            "leave such rows out with --skip-bad-rows (they are",
        ),
        (
            "remove it, or set data.secrets to mask, or to {allow: <why it may be learnt>}",
            "remove it, or give --secrets mask, or --secrets.allow 'why it may be learnt'",
        ),
        ("remove it, or set data.names to mask", "remove it, or give --names mask"),
        ("leave them out, or set data.leakage to {allow: <why>}", "leave them out, or give --leakage.allow 'why'"),
        ("data.charter_pairs: false learns them", "--no-charter-pairs learns them"),
        ("kept, as data.personal_data allows: 1", "kept, as --personal-data allows: 1"),
        ("say it in the recipe: data.columns: {prompt: Q}", "say it: --columns.prompt Q"),
        ("set data.columns: {split: null} to divide", "set data.columns: {split: null} to divide"),  # no option says it
        ("change adapt.method or adapt.targets in the recipe", "change --method or --targets"),
        ("set adapt.method: lora, which needs", "set --method lora, which needs"),
        ("leave them out with adapt.texts.epochs: 0", "leave them out with --texts.epochs 0"),
        ("give data.examples more rows", "give the files of examples more rows"),
        ("the result of data.prepare, in a recipe", "the result of data.prepare, in a recipe"),
    ],
)
def test_keys_become_options(text: str, said: str) -> None:
    assert in_options(text) == said


def test_what_is_named_can_be_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, run = tmp_path / "rows.jsonl", calling(capsys, "data", "check")
    rows = [{"prompt": f"What of part {k}?", "answer": f"Turn part {k}."} for k in range(20)]
    rows[3]["answer"] = "Write to jean.dupont@exemple.fr."
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"prompt": "Why?", "answer": ""}\n')
    said = run(path)
    assert said.code == 2
    assert "--skip-bad-rows" in said.err
    assert "--personal-data mask, or --personal-data.allow" in said.err
    assert run(path, "--skip-bad-rows", "--personal-data", "mask").code == 0
    assert run(path, "--skip-bad-rows", "--personal-data.allow", "These are public addresses.").code == 0
    assert "data." not in run(path, "--skip-bad-rows", "--personal-data.allow", "These are public addresses.").out
