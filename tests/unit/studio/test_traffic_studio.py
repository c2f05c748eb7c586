"""What people do stands in the project's log, which is verified like that of the service."""

from pathlib import Path

import pytest

from limpide.core.errors import LimpideError
from limpide.serve.request_log.places import places
from limpide.serve.request_log.read import read
from limpide.studio import traffic
from limpide.studio.project import Project


def test_entries_are_written_and_the_log_is_opened_again(tmp_path: Path) -> None:
    project = Project(tmp_path)
    traffic.record(project, "studio.page", who="ada", page="data")
    traffic.close(project)
    traffic.close(project)
    traffic.record(project, "studio.upload", who="ada", size=4)
    traffic.close(project)
    entries = [entry for entry in read(places(project.service).folder) if entry.event.startswith("studio.")]
    assert sorted(entry.event for entry in entries) == ["studio.page", "studio.upload"]
    assert all(entry.facts["who"] == "ada" for entry in entries)


def test_a_log_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.service.parent.mkdir(parents=True)
    project.service.write_text("not a folder")
    with pytest.raises(LimpideError):
        traffic.record(project, "studio.page")
    project.service.unlink()
    traffic.record(project, "studio.page")  # a failure is not remembered
    traffic.close(project)
