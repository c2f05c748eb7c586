"""The operation as a recipe runs it: what it writes, what it says, and that a refusal leaves nothing."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from limpide.core import catalogue
from limpide.core.digests import of_file
from limpide.core.errors import DataError
from limpide.core.files import read_json
from limpide.core.operation import Result, Subject
from limpide.core.progress import Quiet
from limpide.data.examples import load_examples
from limpide.data.personal import Allow
from limpide.data.prepare import PrepareSettings, inputs, operation

PRESS = Path(__file__).parents[3] / "examples" / "press-operator" / "examples.jsonl"
UNSEEN = ("E-104", "E-253", "oil-sample", "F-212", "arret-fin-poste")
VERBS = ("open", "bleed", "drain", "grease", "inspect", "replace", "label", "test", "clean", "weigh")


def rows(count: int = 10) -> list[dict[str, str]]:
    return [{"prompt": f"How do I {VERBS[i % 10]} part {i}?", "answer": f"Use tool {i}."} for i in range(count)]


def write(folder: Path, data: list[dict[str, str]], name: str = "examples.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in data))
    return folder / name


def prepare(out: Path, *files: Path, seed: int = 0, **settings: object) -> Result:
    out.mkdir(exist_ok=True)
    chosen = PrepareSettings.model_validate({"examples": files, **settings})
    result = operation.run(Subject(out=out, seed=seed), chosen, Quiet())
    assert isinstance(result, Result)
    return result


def test_the_example_data_divides_as_its_readme_says(tmp_path: Path) -> None:
    result = prepare(tmp_path / "out", PRESS, unseen_topics=UNSEEN)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "held_out.jsonl",
        "report.json",
        "train.jsonl",
        "unseen.jsonl",
    ]
    train, held_out, unseen = (load_examples(tmp_path / "out" / f"{n}.jsonl") for n in ("train", "held_out", "unseen"))
    assert (len(train), len(held_out), len(unseen)) == (173, 43, 28)
    assert {e.topic for e in unseen} == set(UNSEEN)
    assert {e.topic for e in train} == {e.topic for e in held_out}
    facts = result.facts
    assert facts == read_json(tmp_path / "out" / "report.json")
    assert (facts["rows"], facts["train"], facts["held_out"], facts["unseen"]) == (244, 173, 43, 28)
    assert facts["topics"] == {"count": 42, "unseen": sorted(UNSEEN), "only_in_train": [], "rows_without": 0}
    assert facts["languages"] == {"en": 210, "fr": 34}
    assert facts["sources"] == [{"file": "examples.jsonl", "digest": of_file(PRESS), "rows": 244, "skipped": 0}]
    # Fault codes, torques and litres are neither personal data nor near duplicates of one another.
    assert not any(facts["personal_data"].values())
    assert (
        facts["exact_duplicates"]["groups"] == facts["near_duplicates"]["groups"] == facts["conflicts"]["groups"] == 0
    )
    assert result.warnings == ()


def test_a_charter_goes_with_the_data(tmp_path: Path) -> None:
    path, charter = write(tmp_path, rows(12)), tmp_path / "ours.yaml"
    charter.write_text("# ours\nstyle: {no_emoji: true}\n")
    result = prepare(tmp_path / "out", path, charter=charter)
    assert (tmp_path / "out" / "charter.yaml").read_bytes() == charter.read_bytes()
    assert result.facts["charter"].items() >= {"file": "ours.yaml", "digest": of_file(charter)}.items()
    settings = PrepareSettings.model_validate({"examples": [path], "charter": charter})
    assert inputs(settings) == [path, charter]


def test_a_faulty_charter_stops_before_anything_is_written(tmp_path: Path) -> None:
    charter = tmp_path / "charter.yaml"
    charter.write_text("stile: {}\n")
    with pytest.raises(DataError) as caught:
        prepare(tmp_path / "out", write(tmp_path, rows(12)), charter=charter)
    assert [str(f) for f in caught.value.faults] == ["charter.yaml:1: unknown key 'stile'. Did you mean 'style'?"]
    assert list((tmp_path / "out").iterdir()) == []


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    path = write(tmp_path, rows(30))
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        prepare(tmp_path / name, path, seed=seed)
    a, b, c = ((tmp_path / name / "held_out.jsonl").read_bytes() for name in "abc")
    assert a == b != c


def test_everything_done_to_the_data_is_said(tmp_path: Path) -> None:
    data = rows(12)
    data[3] |= {"answer": "Ask jean.dupont@exemple.fr."}
    data.append(data[0])
    data.append(data[1] | {"answer": "Another tool."})
    data.append({"prompt": "no answer"})
    result = prepare(tmp_path / "out", write(tmp_path, data), personal_data="mask", skip_bad_rows=True)
    said = "\n".join(result.warnings)
    assert "1 of 15 rows (7%) were left out as faulty" in said
    assert "Personal data masked: 1 × e-mail address." in said
    assert "Training answers that hold a placeholder, as [EMAIL]: 1." in said
    assert "Held-out answers that hold" not in said
    assert "Rows that repeat another word for word: 1. They were kept" in said
    assert "Questions with several different answers: 1." in said
    facts = result.facts
    assert facts["skipped"] == ["examples.jsonl:15: 'answer' is missing."]
    assert facts["exact_duplicates"] == {"groups": 1, "rows": 2, "listed": [["examples.jsonl:1", "examples.jsonl:13"]]}
    assert facts["conflicts"]["listed"] == [["examples.jsonl:2", "examples.jsonl:14"]]
    assert facts["personal_data"]["email"] == 1
    written = "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    assert "dupont" not in written
    assert "[EMAIL]" in written


def test_held_out_placeholders_are_counted(tmp_path: Path) -> None:
    data = [r | {"answer": f"Write to agent{k}@exemple.fr, desk {k}."} for k, r in enumerate(rows(12))]
    result = prepare(tmp_path / "out", write(tmp_path, data), personal_data="mask")
    counted = f"Held-out answers that hold a placeholder: {result.facts['held_out']}."
    assert any(warning.startswith(counted) for warning in result.warnings)


def test_guessed_and_unused_columns_are_said(tmp_path: Path) -> None:
    data = [{"question": r["prompt"], "response": r["answer"], "author": "x"} for r in rows()]
    said = "\n".join(prepare(tmp_path / "out", write(tmp_path, data)).warnings)
    assert "'question' as prompt, 'response' as answer" in said
    assert "columns left out: author" in said


def test_declared_split_is_followed_and_said(tmp_path: Path) -> None:
    data = [row | {"split": "held_out" if i < 2 else "train"} for i, row in enumerate(rows())]
    result = prepare(tmp_path / "out", write(tmp_path, data), held_out=0.5)
    assert (result.facts["split_by"], result.facts["held_out"]) == ("column", 2)
    assert "held_out and unseen_topics were not used" in "\n".join(result.warnings)


def test_several_files_and_the_reason_for_allowing(tmp_path: Path) -> None:
    first = write(tmp_path, rows(5), "a.jsonl")
    second = write(tmp_path, [{"prompt": "Who?", "answer": "a@ex.org"}, *rows(10)[5:]], "b.jsonl")
    why = "addresses of the public town hall"
    result = prepare(tmp_path / "out", first, second, personal_data={"allow": why})
    assert result.facts["policy"] == {"allow": why}
    assert "kept, as data.personal_data allows" in "\n".join(result.warnings)
    assert [s["file"] for s in result.facts["sources"]] == ["a.jsonl", "b.jsonl"]


BAD: dict[str, tuple[list[dict[str, str]], dict[str, object], str]] = {
    "personal data": (
        [*rows(), {"prompt": "Who?", "answer": "Call 06 12 34 56 78."}],
        {},
        "examples.jsonl:11: telephone",
    ),
    "malformed rows": ([*rows(), {"prompt": "x"}], {}, "examples.jsonl:11: 'answer' is missing"),
    "all identical": (rows(1) * 4, {}, "All 4 rows are identical"),
    "nothing to hold out": (rows(1), {}, "No row can be held out"),
    "unknown topic": ([r | {"topic": "pump"} for r in rows()], {"unseen_topics": ["pumps"]}, "Did you mean 'pump'?"),
    "leak in the split column": (
        [*(r | {"split": "train"} for r in rows()), rows()[0] | {"split": "held_out"}],
        {},
        "examples.jsonl:11: held_out, but says the same, or nearly, as examples.jsonl:1 (train)",
    ),
    "unknown column": (rows(), {"columns": {"prompt": "promt"}}, "Did you mean 'prompt'?"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_is_refused_and_nothing_is_left(tmp_path: Path, case: str) -> None:
    data, settings, said = BAD[case]
    path = write(tmp_path, data)
    before = path.read_bytes()
    with pytest.raises(DataError) as caught:
        prepare(tmp_path / "out", path, **settings)
    assert caught.value.exit_code == 2
    assert said in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"held_out": 0},
        {"held_out": 1},
        {"unseen_topics": 1.5},
        {"near_duplicate": 0.2},
        {"personal_data": "ignore"},
        {"personal_data": {"allow": ""}},
        {"examples": []},
        {"hold_out": 0.2},
    ],
)
def test_settings_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PrepareSettings.model_validate({"examples": "a.jsonl", **wrong})


def test_settings_accept_what_a_recipe_writes() -> None:
    made = PrepareSettings.model_validate(
        {"examples": "a.csv", "unseen_topics": [104, "E-1"], "personal_data": {"allow": "public directory"}}
    )
    assert inputs(made) == [Path("a.csv")]
    assert made.unseen_topics == ("104", "E-1")
    assert made.personal_data == Allow(allow="public directory")
    assert PrepareSettings.model_validate(made.model_dump(mode="json")) == made
    assert "properties" in PrepareSettings.model_json_schema()


def test_it_is_in_the_catalogue() -> None:
    assert catalogue.find("data.prepare") is operation
    assert all(field.description for field in operation.settings.model_fields.values())
