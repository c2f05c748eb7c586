"""The files of a project, what a check says of them in both languages, and what the page makes of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from limpide.core.errors import DataError, MissingError, UsageError
from limpide.core.progress import Quiet
from limpide.data.check import look
from limpide.data.prepare import PrepareSettings
from limpide.data.sensitive import SORTS
from limpide.studio.jobs import Jobs
from limpide.studio.pages.data import DataPage
from limpide.studio.pages.data_advice import figures
from limpide.studio.pages.data_columns import concerns_columns
from limpide.studio.pages.data_files import (
    arguments,
    change_settings,
    files_of,
    layout,
    remove,
    role_of,
    shipped_example,
    take_example,
    use,
    used,
)
from limpide.studio.pages.data_findings import findings_of, totals
from limpide.studio.pages.data_held import receive, understood
from limpide.studio.pages.data_places import place_of, told
from limpide.studio.pages.data_recipe import other_base, other_data
from limpide.studio.pages.data_rows import LONGEST, columns_of, row_at
from limpide.studio.pages.model import ModelPage
from limpide.studio.project import Draft, Project
from limpide.studio.session import Session
from limpide.studio.visit import Visit
from limpide.studio.words import LANGUAGES, language

VERBS = ("open", "bleed", "drain", "grease", "inspect", "replace", "label", "weigh")
HONEST = [{"prompt": f"How do I {verb} part {i}?", "answer": f"Use tool {i}."} for i, verb in enumerate(VERBS)]
# A row for each thing that can be told of a row.
ODD: list[Any] = [
    {"prompt": "Who?", "answer": "Call 06 12 34 56 78, or ada.roux@example.org, or Sylvie Roux."},
    {"prompt": "Set?", "answer": "API_KEY=a8Fk39dLs02mZq7X1", "topic": "bob@example.org"},
    {"prompt": "How do I open part 0?", "answer": "Use tool 0."},
    {"prompt": "How do I bleed part 1?", "answer": "Ask the foreman."},
    {
        "prompt": "Which colour has it?",
        "answer": "Le bouton est rouge et la porte est bleue dans la salle.",
        "language": "en",
    },
    {"prompt": "Accents?", "answer": "Ã©tÃ©"},
    {"prompt": "Lost?", "answer": "caf\ufffd"},
    {"prompt": "Hidden?", "answer": "zero\u200bwidth"},
    {"prompt": "Insult?", "answer": "Ask that jackass."},
    {"prompt": "Nothing?", "answer": "N/A"},
    {"prompt": "Empty?", "answer": ""},
    {"prompt": "Missing?"},
    {"prompt": "Number?", "answer": 3},
    {"prompt": "Bad?", "answer": "Yes.", "label": False},
    {"prompt": "Part?", "answer": "Yes, it is.", "split": "somewhere"},
    ["no object"],
    {"id": "twice", "prompt": "First of two?", "answer": "One."},
    {"id": "twice", "prompt": "Second of two?", "answer": "Two."},
    {"prompt": "Which one?", "answer": "Left.", "rejected": "Right."},
    {"prompt": "Which one?", "answer": "Right.", "rejected": "Left."},
]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project")
    made.data.mkdir(parents=True)
    return made


def visit_of(project: Project, code: str = "fr") -> Visit:
    session = Session(id="s", name="ada", role=None, form="f")
    return Visit(project, Jobs(project.jobs, project.folder), session, code)


def drop(project: Project, name: str, content: str = "x") -> None:
    (project.data / name).write_text(content, encoding="utf-8")
    use(project, name)


def rows(*more: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in [*HONEST, *more])


def checked(*files: Path, **settings: Any) -> dict[str, Any]:
    documents = [file for file in files if file.suffix == ".md"]
    examples = [file for file in files if file not in documents]
    chosen = PrepareSettings.model_validate({"examples": examples, "documents": documents, **settings})
    return look(chosen, 0, Quiet()).report()


# ---- files ----------------------------------------------------------------------------------------------------------


def test_roles_follow_endings() -> None:
    of = {"a.CSV": "examples", "a.xlsx": "examples", "a.parquet": "examples", "a.jsonl": "examples"}
    of |= {
        "a.pdf": "documents",
        "a.MD": "documents",
        "c.yaml": "charter",
        "c.YML": "charter",
        "p.png": "unread",
        "p": "unread",
    }
    assert {name: role_of(Path(name)) for name in of} == of


def test_documents_are_those_that_are_read() -> None:
    from limpide.data.documents import READERS
    from limpide.studio.pages.data_files import DOCUMENTS

    assert set(DOCUMENTS) == set(READERS)


def test_files_are_taken_in_left_out_and_removed(project: Project) -> None:
    for name in ("a.csv", "b.md", "one.yaml", "two.yaml", "p.png"):
        drop(project, name)
    assert {one.name: one.used for one in files_of(project)} == {
        "a.csv": True,
        "b.md": True,
        "one.yaml": False,  # one charter at a time
        "two.yaml": True,
        "p.png": False,
    }
    use(project, "one.yaml")
    use(project, "a.csv", on=False)
    assert [one.name for one in files_of(project) if one.used] == ["b.md", "one.yaml"]
    remove(project, "b.md")
    assert project.draft().files == ("one.yaml", "p.png")
    for name in ("b.md", "../project/data/one.yaml", "/etc/passwd"):
        with pytest.raises(MissingError):
            remove(project, name)


def test_commands_are_told_of_files_and_settings(project: Project) -> None:
    for name in ("-rf.csv", "manual.md", "rules.yaml", "aside.csv"):
        drop(project, name)
    use(project, "aside.csv", on=False)
    settings = change_settings(
        project, personal_data="mask", skip_bad_rows=True, columns={"prompt": "--the Q", "answer": "R"}
    ).data
    place = project.data
    assert arguments(files_of(project), settings) == [
        "--personal-data=mask",
        "--skip-bad-rows",
        "--columns.prompt=--the Q",
        "--columns.answer=R",
        f"--charter={place / 'rules.yaml'}",
        str(place / "-rf.csv"),
        str(place / "manual.md"),
    ]
    assert layout(settings) == ["--mask=personal_data", "--columns.prompt=--the Q", "--columns.answer=R"]
    assert change_settings(project, columns=None, skip_bad_rows=None).data == {"personal_data": "mask"}


def test_the_command_line_takes_them(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    from limpide.cli.main import main

    drop(
        project,
        "a.csv",
        "Q,--R\n" + "".join(f"{row['prompt']},{row['answer']}\n" for row in HONEST) + "Who?,a@ex.org\n",
    )
    drop(project, "manual.md", "# Oil\n\nChange the oil of the press in the morning, and lock it before you begin.\n")
    drop(project, "rules.yaml", "forbidden: [{term: cheap}]\nstyle: {no_emoji: true}\n")
    settings = {"personal_data": "mask", "columns": {"prompt": "Q", "answer": "--R"}}
    with pytest.raises(SystemExit) as end:
        main(["data", "check", "--places=60", *arguments(files_of(project), settings), "--json"])
    assert end.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["stops"], found["examples"], found["documents"]["passages"]) == ([], 9, 1)
    assert found["charter"] == {"glossary": 0, "forbidden": 1, "required": 0, "style_rules": 1, "questions": 0}
    assert found["files"][0]["languages"]["en"] > 0


def test_a_file_of_a_known_name_takes_its_place_and_both_are_kept(project: Project) -> None:
    visit = visit_of(project, "en")
    drop(project, "a.csv")
    (project.data / "a-2.csv").write_text("y")
    said = receive(visit, {"name": "a-2.csv", "wanted": "a.csv", "path": "…", "size": 1})
    assert (said.taken, said.words) == (True, "a-2.csv takes the place of a.csv, which is kept aside.")
    assert {one.name: one.used for one in files_of(project)} == {"a.csv": False, "a-2.csv": True}
    (project.data / "part-2.csv").write_text("z")
    assert receive(visit, {"name": "part-2.csv", "wanted": "part-2.csv", "path": "…", "size": 1}).taken
    assert project.draft().files == ("a-2.csv", "part-2.csv")
    refused = receive(visit, {"name": "big.csv", "what": "It is too large.", "to_do": "cut it"})
    assert (refused.kind, refused.taken, refused.remedy) == ("bad", False, "cut it")
    (project.data / "p.png").write_bytes(b"")
    assert receive(visit, {"name": "p.png", "path": "…", "size": 1}).kind == "warning"
    with pytest.raises(MissingError):
        receive(visit, {"name": "../../etc/passwd", "path": "/etc/passwd", "size": 1})
    assert project.draft().files == ("a-2.csv", "part-2.csv")


def test_the_example_is_copied(project: Project) -> None:
    assert shipped_example() is not None
    name = take_example(project)
    assert used(files_of(project), "examples")[0].name == name
    assert checked(project.data / name)["stops"] == []


# ---- what was found -------------------------------------------------------------------------------------------------


def test_every_finding_is_told_in_french(project: Project) -> None:
    """Nothing that a row can be told of is left in English, and the words of each check are there."""
    drop(project, "odd.jsonl", rows(*ODD))
    drop(project, "manual.md", "# Contact\n\nWrite to ada.roux@example.org before you start the press.\n")
    report = checked(project.data / "odd.jsonl", project.data / "manual.md")
    found = findings_of(report, {})
    visit = visit_of(project)
    english = [place.what for one in found.found for place in one.places if not told(place.what, visit)[1]]
    assert english == []
    named = {one.name for one in found.found}
    assert {"rows", "secrets", "personal_data", "names", "encoding", "invisible", "toxic", "empty", "language"} <= named
    assert {"exact_duplicates", "conflicts", "preferences"} <= named
    assert [one.severity for one in found.found] == sorted(
        (one.severity for one in found.found), key=["stops", "warns", "told"].index
    )
    assert all(place.line for one in found.found if one.of == "examples" for place in one.places)


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_check_has_its_words(code: str, project: Project) -> None:
    drop(project, "odd.jsonl", rows(*ODD))
    said = language(code)
    for name in [*checked(project.data / "odd.jsonl")["checks"], "template", "tokens"]:
        for key in (f"data.why.{name}", f"data.do.{name}", f"data_check.{name}"):
            assert said.has(key), key
    for sort in SORTS:
        for kind in sort.kinds:
            assert said.has(f"data.kind.{kind}"), kind


def test_places_are_found_in_files_of_any_name() -> None:
    files = ["a.csv", "a.csv:12: b.csv", "x: y.csv"]
    assert place_of("a.csv:3: 'x' is empty", files) == place_of("a.csv:3: 'x' is empty", ["a.csv"])
    odd = place_of("a.csv:12: b.csv:7: it: is 3: so", files)
    assert (odd.file, odd.line, odd.what) == ("a.csv:12: b.csv", 7, "it: is 3: so")
    whole = place_of("x: y.csv: cannot be read", files)
    assert (whole.file, whole.line, whole.what) == ("x: y.csv", None, "cannot be read")
    assert place_of("the division: no topic", files).file is None


def test_what_is_told_is_never_more_than_the_check_said(project: Project) -> None:
    visit = visit_of(project)
    words, translated = told("e-mail address 'a…@…org' in the user message", visit)
    assert (words, translated) == ("adresse électronique «\u00a0a…@…org\u00a0» dans la question", True)
    assert told("something quite new", visit) == ("something quite new", False)
    assert told("something quite new", visit_of(project, "en"))[1]


def test_mending_is_offered_and_seen_to_be_chosen(project: Project) -> None:
    drop(project, "odd.jsonl", rows(*ODD))
    before = findings_of(checked(project.data / "odd.jsonl"), {})
    offered = {one.name: one.mend for one in before.found if one.mend}
    assert before.stops
    assert offered == {
        "rows": ("skip_bad_rows", True),
        "secrets": ("secrets", "mask"),
        "personal_data": ("personal_data", "mask"),
        "names": ("names", "mask"),
    }
    settings = dict(offered.values())
    # A label that tells rows apart is not masked: that one still stops.
    without = [row for row in ODD if not isinstance(row, dict) or "topic" not in row]
    drop(project, "odd.jsonl", rows(*without, {"prompt": "Set?", "answer": "API_KEY=a8Fk39dLs02mZq7X1"}))
    after = findings_of(checked(project.data / "odd.jsonl", **settings), settings)
    assert not after.stops
    assert {one.name for one in after.found if one.mended} == set(offered)


def test_totals_count_what_is_there(project: Project) -> None:
    drop(project, "odd.jsonl", rows({"prompt": "x"}))
    drop(project, "manual.md", "# Oil\n\nChange the oil of the press in the morning, and lock it before.\n")
    assert totals(checked(project.data / "odd.jsonl", project.data / "manual.md")) == {
        "examples": 8,
        "held_back": 1,
        "texts": 1,
        "passages": 1,
    }


def test_what_was_understood_of_each_file(project: Project) -> None:
    drop(project, "q.csv", "Question,réponse,n\n" + "".join(f"{r['prompt']},{r['answer']},1\n" for r in HONEST))
    drop(project, "manual.md", "# Oil\n\nChange the oil of the press in the morning, and lock it before.\n")
    drop(project, "new.csv")
    report = checked(project.data / "q.csv", project.data / "manual.md")
    visit = visit_of(project)
    lines = {one.name: list(understood(visit, one, report)) for one in files_of(project)}
    assert lines["q.csv"][0] == "8 lignes : questions et réponses".replace(" :", "\u00a0:")
    assert "réponse = «\u00a0réponse\u00a0»" in lines["q.csv"][1]
    assert lines["q.csv"][2].endswith("n")
    assert lines["manual.md"] == ["1 passage, 14 mots"]
    assert lines["new.csv"] == ["pas encore contrôlé"]


# ---- one row, columns, advice ---------------------------------------------------------------------------------------


def test_a_row_is_shown_as_it_stands_with_its_secrets_masked(project: Project) -> None:
    drop(
        project,
        "odd.jsonl",
        rows({"prompt": "<b>Who?</b>", "answer": "ada@example.org", "n": None}) + "{broken me@ex.org\n",
    )
    path = project.data / "odd.jsonl"
    assert row_at(path, 9) == [("prompt", "<b>Who?</b>"), ("answer", "[EMAIL]"), ("n", "")]
    assert row_at(path, 10) == [("", "{broken [EMAIL]")]
    assert row_at(path, 99) is None
    drop(project, "long.csv", f"Q,R\n{'x' * 9000},\u202ey\n")
    found = row_at(project.data / "long.csv", 2)
    assert found is not None
    assert (len(found[0][1]), found[1][1]) == (LONGEST, "\\u202ey")
    with pytest.raises(DataError):
        row_at(project.data / "gone.csv", 1)


def test_columns_can_be_chosen_where_no_name_tells(project: Project) -> None:
    drop(project, "odd.csv", "Q,R\nWhy?,So.\n")
    assert columns_of(project.data / "odd.csv") == ["Q", "R"]
    with pytest.raises(DataError) as unknown:
        checked(project.data / "odd.csv")
    assert concerns_columns(unknown.value.record())
    assert not concerns_columns(DataError("The disk is full.").record())


def test_a_recipe_that_says_otherwise_is_noticed(project: Project) -> None:
    drop(project, "a.csv")
    project.change_draft(base="m", data={"personal_data": "mask"})
    assert (other_base(project), other_data(project)) == (None, False)
    project.recipe.write_text("base: m\ndata: {examples: data/a.csv, personal_data: mask, held_out: 0.3}\n")
    assert (other_base(project), other_data(project)) == (None, False)
    project.recipe.write_text("base: n\ndata: {examples: [data/a.csv, data/b.csv], personal_data: mask}\n")
    assert (other_base(project), other_data(project)) == ("n", True)
    project.recipe.write_text("base: m\ndata: {examples: data/a.csv}\n")
    assert other_data(project)
    for broken in ("{", "[]", "data: x\n"):
        project.recipe.write_text(broken)
        assert (other_base(project), other_data(project)) == (None, False)


def test_the_figures_of_advice(project: Project) -> None:
    record = {
        "cost": {"seconds": 946.0, "peak_bytes": 1_400_000_000, "machine_bytes": 25_300_000_000},
        "rows": {"held_out": 49, "smallest": 0.195},
    }
    assert dict(figures(visit_of(project, "en"), record)) == {
        "time": "15\u00a0min\u00a046\u00a0s",
        "memory": "1.4\u00a0GB of 25.3\u00a0GB",
        "kept": "49 questions",
        "seen": "19.5%",
    }
    record["cost"]["seconds"], record["rows"] = None, {"held_out": 0, "smallest": None}  # type: ignore[assignment]
    told_in = dict(figures(visit_of(project), record))
    assert (told_in["time"], told_in["kept"]) == ("non essayée", "0 question")
    assert told_in["seen"].startswith("aucun")


def test_who_may_only_look_changes_nothing(project: Project) -> None:
    session = Session(id="s", name="ada", role="reader", form="f")
    reader = Visit(project, Jobs(project.jobs, project.folder), session, "en")
    page, model = DataPage(reader), ModelPage(reader)
    for change in (
        page.take_example,
        lambda: page.use("a.csv", True),
        lambda: page.set("names", "mask"),
        lambda: page.start("data-check", ["data", "check"]),
        lambda: model.open("m"),
        lambda: model.choose("m"),
    ):
        with pytest.raises(UsageError, match="Your account may look"):
            change()
    assert (project.draft(), project.uploads(), reader.jobs.all()) == (Draft(), [], [])
