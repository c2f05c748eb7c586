"""Every check finds what was planted, where it was, and nothing in honest rows; all that stops is told at once."""

import json
from pathlib import Path

import pytest

from limpide.core import catalogue
from limpide.core.errors import DataError
from limpide.core.files import read_json
from limpide.core.operation import Result, Subject
from limpide.core.progress import Quiet
from limpide.data.checks import Check, Policies, check_examples, refuse
from limpide.data.examples import Example, load_examples
from limpide.data.personal import Allow
from limpide.data.prepare import PrepareSettings
from limpide.data.sensitive import FRENCH, SORTS, holds_placeholder, mask
from limpide.data.texts import ODDITIES

PRESS = Path(__file__).parents[3] / "examples" / "press-operator" / "examples.jsonl"
VERBS = ("open", "bleed", "drain", "grease", "inspect", "replace", "label", "test", "clean", "weigh")
KEY = "API_KEY=a8Fk39dLs02mZq7X1"
CONTENT = ("secrets", "personal_data", "names", *ODDITIES, "language", "leakage", "exact_duplicates", "near_duplicates")


def honest(count: int = 10) -> list[dict[str, str]]:
    return [{"prompt": f"How do I {VERBS[i % 10]} part {i}?", "answer": f"Use tool {i}."} for i in range(count)]


def write(folder: Path, rows: list[dict[str, str]], name: str = "examples.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def run(name: str, out: Path, *files: Path, **settings: object) -> Result:
    out.mkdir(exist_ok=True)
    chosen = PrepareSettings.model_validate({"examples": files, **settings})
    result = catalogue.find(name).run(Subject(out=out), chosen, Quiet())
    assert isinstance(result, Result)
    return result


def checked(tmp_path: Path, *rows: dict[str, str], **settings: object) -> dict[str, dict[str, object]]:
    """The records of all checks of ten honest rows and of those given, which come after."""
    result = run("data.check", tmp_path / "out", write(tmp_path, [*honest(), *rows]), **settings)
    assert result.facts == read_json(tmp_path / "out" / "checks.json")
    return dict(result.facts["checks"])


def example(question: str, answer: str, number: int = 1, **more: str) -> Example:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Example.model_validate({"id": str(number), "source": f"f.csv:{number}", "messages": messages, **more})


def records(*examples: Example, policies: Policies | None = None) -> dict[str, Check]:
    return {check.name: check for check in check_examples(examples, policies or Policies())[2]}


def test_honest_rows_pass_every_check(tmp_path: Path) -> None:
    assert {name: check["severity"] for name, check in checked(tmp_path).items() if check["severity"] != "told"} == {}
    shipped = run("data.check", tmp_path / "press", PRESS)
    assert (shipped.facts["stops"], shipped.warnings) == ([], ())
    assert shipped.facts["checks"]["language"]["facts"]["found"]["en"] > 150


def test_documents_and_the_charter_are_checked_too(tmp_path: Path) -> None:
    (tmp_path / "manual.md").write_text("# Contact\n\nWrite to ada.roux@example.org before you start.\n")
    result = run("data.check", tmp_path / "out", write(tmp_path, honest()), documents=tmp_path / "manual.md")
    assert result.facts["stops"] == ["personal_data"]
    assert result.facts["checks"]["personal_data"]["count"] == 0
    assert result.facts["documents"]["checks"]["personal_data"]["places"] == [
        "manual.md: e-mail address 'a…@…org' in Contact"
    ]
    (tmp_path / "charter.yaml").write_text("version: 1\nstyle: {max_word: 3}\n")
    with pytest.raises(DataError, match="max_word"):
        run("data.check", tmp_path / "out", write(tmp_path, honest()), charter=tmp_path / "charter.yaml")


PLANTED = [
    ("rows", "stops", {"prompt": "x"}, "'answer' is missing."),
    (
        "secrets",
        "stops",
        {"prompt": "Set it?", "answer": KEY},
        "secret given to a name 'a8Fk…' in the assistant message",
    ),
    (
        "personal_data",
        "stops",
        {"prompt": "a@ex.org?", "answer": "Yes."},
        "e-mail address 'a…@…org' in the user message",
    ),
    (
        "leakage",
        "stops",
        {"prompt": "What is the capital of Mongolia?", "answer": "It is far."},
        "holds item truth-short-en-001 of the suite truth",
    ),
    (
        "names",
        "warns",
        {"prompt": "Who?", "answer": "Ask Sylvie Roux."},
        "name of a person 'S… R…' in the assistant message",
    ),
    (
        "encoding",
        "warns",
        {"prompt": "Un cafÃ© ?", "answer": "Non."},
        "'Ã©' in the user message looks like a damaged 'é'",
    ),
    ("invisible", "warns", {"prompt": "So?", "answer": "No\u200bw."}, "U+200B at character 3 of the assistant message"),
    ("empty", "warns", {"prompt": "So?", "answer": "N/A"}, "the answer is 'N/A'"),
    ("toxic", "warns", {"prompt": "So?", "answer": "Go, moron."}, "'m…' in the assistant message"),
    (
        "language",
        "warns",
        {"prompt": "So?", "answer": "C'est la vanne du circuit.", "language": "en"},
        "declared 'en', reads as 'fr'",
    ),
    ("exact_duplicates", "warns", honest()[3], "says the same as examples.jsonl:4"),
    ("conflicts", "warns", honest()[3] | {"answer": "No."}, "asks the same, with another answer, as examples.jsonl:4"),
]


@pytest.mark.parametrize(("name", "severity", "row", "what"), PLANTED, ids=[p[0] for p in PLANTED])
def test_a_planted_fault_is_found_at_its_line(
    tmp_path: Path, name: str, severity: str, row: dict[str, str], what: str
) -> None:
    found = checked(tmp_path, row)
    assert found[name]["severity"] == severity
    assert found[name]["places"] == [f"examples.jsonl:11: {what}"]
    others = {other for other, check in found.items() if check["severity"] != "told"} - {name}
    assert others == set()


def test_near_duplicates_are_told(tmp_path: Path) -> None:
    long = "How do I clean the filter of the return circuit of the big press"
    found = checked(tmp_path, {"prompt": f"{long}?", "answer": "A."}, {"prompt": f"{long} now?", "answer": "A."})
    assert found["near_duplicates"]["places"] == ["examples.jsonl:12: nearly asks what examples.jsonl:11"]


def test_all_that_stops_is_told_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    first = write(tmp_path, [*honest(), {"prompt": "x"}, {"prompt": "Set it?", "answer": KEY}], "a.jsonl")
    second = write(
        tmp_path,
        [
            {"prompt": "Who is it?", "answer": "a@ex.org"},
            {"prompt": "What is the capital of Mongolia?", "answer": "It is far."},
        ],
        "b.jsonl",
    )
    with pytest.raises(DataError) as caught:
        run("data.prepare", tmp_path / "out", first, second)
    assert [str(fault) for fault in caught.value.faults] == [
        "a.jsonl:11: 'answer' is missing.",
        "a.jsonl:12: secret given to a name 'a8Fk…' in the assistant message",
        "b.jsonl:1: e-mail address 'a…@…org' in the assistant message",
        "b.jsonl:2: holds item truth-short-en-001 of the suite truth",
    ]
    assert "4 checks stop: 1 wrong in the examples; 1 secret in the examples" in caught.value.what
    assert "a8Fk39" not in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_one_large_fault_does_not_hide_another() -> None:
    many = Check("a", "stops", "a", places=tuple(example("q", "a", i).place for i in range(99)))  # type: ignore[arg-type]  # what a place is does not matter here
    with pytest.raises(DataError) as caught:
        refuse([many, Check("b", "stops", "b", places=many.places[:1]), Check("c", "warns", "c", places=many.places)])
    assert len(caught.value.faults) == 26
    assert "The first 25 of each are shown, 74 more follow." in caught.value.what
    refuse([Check("c", "warns", "c")])


def test_what_is_masked_is_written_masked(tmp_path: Path) -> None:
    rows = [*honest(), {"prompt": "Set?", "answer": f"{KEY} for Sylvie Roux at a@ex.org"}]
    policy = {"secrets": "mask", "names": "mask", "personal_data": "mask"}
    result = run("data.prepare", tmp_path / "out", write(tmp_path, rows), **policy)
    found = [e for name in ("train", "held_out") for e in load_examples(tmp_path / "out" / f"{name}.jsonl")]
    assert "API_KEY=[NAMED_SECRET] for [FULL_NAME] at [EMAIL]" in {e.answer for e in found}
    assert any(said.startswith("Secrets masked: 1 × secret given to a name.") for said in result.warnings)
    assert any(said.startswith("Names of people, by a dictionary, masked: 1") for said in result.warnings)


def test_allowing_is_quoted(tmp_path: Path) -> None:
    why = "a revoked key, shown in the manual"
    rows = [
        *honest(),
        {"prompt": "Set?", "answer": KEY},
        {"prompt": "What is the capital of Mongolia?", "answer": "Far."},
    ]
    result = run(
        "data.prepare", tmp_path / "out", write(tmp_path, rows), secrets={"allow": why}, leakage={"allow": why}
    )
    assert result.facts["checks"]["secrets"]["facts"]["policy"] == {"allow": why}
    assert result.facts["checks"]["leakage"]["severity"] == "warns"
    assert any("kept, as data.secrets allows" in said for said in result.warnings)


def test_names_may_be_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [*honest(), {"prompt": "Who?", "answer": "Ask Sylvie Roux."}])
    with pytest.raises(DataError, match="names of people in the examples"):
        run("data.prepare", tmp_path / "out", path, names="refuse")


def test_labels_that_tell_rows_apart_cannot_be_masked() -> None:
    row = example("Who?", "Nobody.", group="a@ex.org")
    found = records(row, policies=Policies(personal_data="mask"))["personal_data"]
    assert (found.severity, str(found.places[0])) == ("stops", "f.csv:1: e-mail address 'a…@…org' in the group")
    assert (
        records(row, policies=Policies(personal_data=Allow(allow="a public list")))["personal_data"].severity == "warns"
    )


def test_a_mask_reaches_both_answers_and_the_class() -> None:
    rows = [
        example("Who?", "Ask a@ex.org.", rejected="Ask b@ex.org, please."),
        example("Which?", "a@ex.org", 2, label="a@ex.org"),
    ]
    kept, _, _ = check_examples(rows, Policies(personal_data="mask"))
    assert (kept[0].answer, kept[0].rejected) == ("Ask [EMAIL].", "Ask [EMAIL], please.")
    assert (kept[1].answer, kept[1].label) == ("[EMAIL]", "[EMAIL]")
    assert [Example.model_validate(row.model_dump()) for row in kept] == kept


def test_a_french_row_is_masked_in_french() -> None:
    french = "Il faut écrire à a@ex.org ou appeler Mme Roux au 06 12 34 56 78."
    rows = [
        example("Qui ?", french),
        example("Qui ?", "a@ex.org", 2, language="fr"),
        example("Who?", french, 3, language="en"),
        example("Qui ?", "Il faut écrire à a@ex.org.", 4, label="Il faut écrire à a@ex.org."),
    ]
    kept, _, _ = check_examples(rows, Policies(personal_data="mask", names="mask"))
    assert [row.answer for row in kept] == [
        "Il faut écrire à [COURRIEL] ou appeler Mme [NOM] au [TÉLÉPHONE].",
        "[COURRIEL]",
        "Il faut écrire à [EMAIL] ou appeler Mme [FULL_NAME] au [PHONE].",
        "Il faut écrire à [EMAIL].",
    ]
    assert all(holds_placeholder(row.answer) for row in kept)


def test_every_kind_has_its_name_in_french() -> None:
    assert list(FRENCH) == [kind for sort in SORTS for kind in sort.kinds]
    assert len(set(FRENCH.values())) == len(FRENCH)
    every = {sort.name for sort in SORTS}
    for name in FRENCH.values():
        for text in (f"Mme [{name}]", f"API_KEY=[{name}]", f"mot de passe : [{name}]"):
            assert mask(text, every, "fr") == text


def test_a_mask_that_makes_both_answers_one_stops() -> None:
    row = example("Who?", "Ask a@ex.org.", rejected="Ask b@ex.org.")
    found = records(row, policies=Policies(personal_data="mask"))["personal_data"]
    assert found.severity == "stops"
    assert "masked, the preferred and the rejected answer are the same" in str(found.places[0])


def test_balance_of_classes() -> None:
    rows = [
        example(f"Text {VERBS[i]} {i}", "spam" if i < 9 else "ham", i, label="spam" if i < 9 else "ham")
        for i in range(10)
    ]
    found = records(*rows)["labels"]
    assert (found.severity, found.facts["classes"]) == ("warns", {"spam": 9, "ham": 1})
    assert "Always answering 'spam' would be right 90%" in found.said
    assert [str(place) for place in found.places] == ["f.csv:9: class 'ham' has 1 rows"]
    even = [example(f"Text {VERBS[i]} {i}", "ab"[i % 2], i, label="ab"[i % 2]) for i in range(10)]
    assert records(*even)["labels"].severity == "told"


def test_preferences_that_contradict_each_other() -> None:
    rows = [
        example("Which?", "Left.", 1, rejected="Right."),
        example("Which?", "Right.", 2, rejected="Left."),
        example("Where?", "Up.", 3, rejected="Down."),
    ]
    found = records(*rows)["preferences"]
    assert [str(place) for place in found.places] == [
        "f.csv:1: prefers what f.csv:2 rejects, for the same question",
        "f.csv:2: prefers what f.csv:1 rejects, for the same question",
    ]
    longer = [example(f"Which {i}?", "A long answer.", i, rejected="Short.") for i in range(4)]
    assert records(*longer)["preferences"].said.endswith("in 100%. Length alone may be learnt.")


def test_rows_made_by_a_machine_are_counted() -> None:
    rows = [example("Which?", "Left.", 1, synthetic="passage a.pdf, page 3"), example("Where?", "Up.", 2)]
    assert records(*rows)["synthetic"].said == "Rows made by a machine: 1 of 2 (50%)."


def test_what_cannot_be_divided_is_a_check_that_stops(tmp_path: Path) -> None:
    result = run("data.check", tmp_path / "out", write(tmp_path, honest(1)))
    assert result.facts["stops"] == ["splits"]
    assert "No row can be held out" in result.facts["checks"]["splits"]["said"]
    rows = [row | {"split": "train"} for row in honest()] + [honest()[0] | {"split": "held_out"}]
    result = run("data.check", tmp_path / "leak", write(tmp_path, rows))
    assert "says the same, or nearly, as examples.jsonl:1 (train)" in result.facts["checks"]["splits"]["places"][0]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://ada:p4ss-Word@example.org", "https://ada:[URL_PASSWORD]@example.org"),
        (f"{KEY} a@ex.org Mme Roux", "API_KEY=[NAMED_SECRET] [EMAIL] Mme [FULL_NAME]"),
        ("06 12 34 56 78, 0612345678", "[PHONE], [PHONE]"),
        ("Nothing here.", "Nothing here."),
    ],
)
def test_masking_twice_changes_nothing_more(text: str, masked: str) -> None:
    every = {"secrets", "personal_data", "names"}
    assert mask(text, every) == masked
    assert mask(masked, every) == masked
    assert mask(text, ()) == text
