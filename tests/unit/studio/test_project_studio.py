"""One folder is one project; names of files that strangers send are made harmless."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpide.core.errors import UsageError
from limpide.studio.frame import marked
from limpide.studio.project import DEVICES, FORBIDDEN, LONGEST_NAME, Project, clean_name


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("examples.jsonl", "examples.jsonl"),
        ("../../x", "x"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\me\\données.csv", "données.csv"),
        ("a\x00b\n.csv", "ab.csv"),
        (".htaccess", "htaccess"),
        ("con.txt", "_con.txt"),
        ("NUL", "_NUL"),
        ("aux", "_aux"),
        ("invoice\u202egpj.exe", "invoicegpj.exe"),
        ("ﬁle．csv", "file.csv"),
        ("a∕b.csv", "a∕b.csv"),
        ("what?<b>.csv", "what__b_.csv"),
        ("  spaced  out .csv ", "spaced out.csv"),
        ("x" * 500 + ".jsonl", "x" * (LONGEST_NAME - 6) + ".jsonl"),
        ("..csv", "csv"),
    ],
)
def test_names_are_cleaned(given: str, kept: str) -> None:
    assert clean_name(given) == kept


@pytest.mark.parametrize("name", ["", "..", "/", "...", "\u202e", " ", "///", "\x00", "🙂"])
def test_a_name_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no name that can be kept") as raised:
        clean_name(name)
    assert raised.value.remedy == "give it another name"


@given(st.text(max_size=300))
def test_whatever_comes_stays_in_the_folder(name: str) -> None:
    try:
        kept = clean_name(name)
    except UsageError:
        return
    assert Path(kept).name == kept
    assert not kept.startswith(".")
    assert not FORBIDDEN.search(kept)
    assert not DEVICES.fullmatch(kept)
    assert len(kept.encode()) <= LONGEST_NAME
    assert clean_name(kept) == kept


def test_the_draft_is_kept_and_changed_field_by_field(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert project.draft().base == ""
    project.change_draft(base="smollm2-135m-instruct")
    project.change_draft(files=("a.csv",))
    draft = Project(tmp_path).draft()
    assert (draft.base, draft.files) == ("smollm2-135m-instruct", ("a.csv",))
    (project.own / "draft.json").write_text("{")
    assert project.draft().base == ""


def test_the_next_thing_to_do(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert project.next_path() == "/model"
    project.change_draft(base="x")
    assert project.next_path() == "/data"
    project.data.mkdir()
    (project.data / ".half.part").write_text("")
    assert project.next_path() == "/data"
    (project.data / "a.csv").write_text("")
    assert project.next_path() == "/recipe"
    project.recipe.write_text("")
    assert project.next_path() == "/run"
    (tmp_path / "releases" / "r-1").mkdir(parents=True)
    (tmp_path / "releases" / "r-1" / "recipe.lock.json").write_text("{}")
    assert project.next_path() == "/release"
    assert [path.name for path in project.releases()] == ["r-1"]


def test_a_signed_and_approved_release_is_to_be_served(tmp_path: Path) -> None:
    project, made = Project(tmp_path), tmp_path / "releases" / "r-1"
    (made / "attestations").mkdir(parents=True)
    (made / "recipe.lock.json").write_text('{"approval": "required"}')
    (made / "model.sig").write_text("{}")
    assert project.next_path() == "/release", "nobody approved it"
    (made / "attestations" / "approval-1.json").write_text("{}")
    assert project.next_path() == "/service"


def test_a_run_that_goes_on_is_not_to_do(tmp_path: Path) -> None:
    states = iter(["running", "done"])
    jobs = SimpleNamespace(last=lambda kind: kind, state=lambda job: next(states))
    visit: Any = SimpleNamespace(jobs=jobs, project=Project(tmp_path))
    assert marked(visit) == ("/run", "frame.job.chip.running")
    assert marked(visit) == ("/model", "frame.following")


def test_uploads_are_listed_without_what_is_being_received(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert project.uploads() == []
    project.data.mkdir()
    for name in ("b.csv", "A.csv", ".x.part"):
        (project.data / name).write_text("")
    assert [path.name for path in project.uploads()] == ["A.csv", "b.csv"]
    assert project.place_for_upload("../../x") == project.data / "x"
