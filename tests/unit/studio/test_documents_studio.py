"""Documents of releases: under releases/ and nowhere else, in a sandbox."""

from pathlib import Path

import pytest

from limpide.studio.documents import address, serve
from limpide.studio.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    (folder / "releases" / "r-1" / "evidence").mkdir(parents=True)
    (folder / "releases" / "r-1" / "evidence" / "report é.html").write_text("<p>x")
    (folder / "releases" / "r-1" / "model.bin").write_bytes(b"x")
    (folder / "secret.html").write_text("secret")
    (folder / "releases" / "out.html").symlink_to(folder / "secret.html")
    return Project(folder)


def test_a_document_is_shown_in_a_sandbox(project: Project) -> None:
    place = project.folder / "releases" / "r-1" / "evidence" / "report é.html"
    assert address(project, place) == "/files/releases/r-1/evidence/report%20%C3%A9.html"
    shown = serve(project, "releases/r-1/evidence/report é.html")
    assert shown.status_code == 200
    assert shown.headers["content-disposition"].startswith("inline")
    policy = shown.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in policy
    kept = serve(project, "releases/r-1/evidence/report é.html", download=True)
    assert kept.headers["content-disposition"].startswith("attachment")


def test_other_files_are_only_downloaded(project: Project) -> None:
    answer = serve(project, "releases/r-1/model.bin")
    assert answer.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize(
    "path",
    [
        "secret.html",
        "releases/../secret.html",
        "releases/out.html",
        "/etc/passwd",
        "releases",
        "releases/r-1/none",
        "",
        "releases/\0",
        "releases/" + "a" * 5000,
    ],
)
def test_nothing_else_is_served(project: Project, path: str) -> None:
    assert serve(project, path).status_code == 404
