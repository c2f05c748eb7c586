"""A job is nobody's: the studio is killed in the middle of it, two browsers look at it, and nothing is lost."""

import sys
from pathlib import Path
from typing import Any

import pytest
from browser import RunningStudio, axe_violations, open_page, page_faults, shot, start_studio, visitor

from limpide.studio.jobs import Jobs

pytestmark = pytest.mark.whole
SCRIPT = Path(__file__).with_name("trial_studio.py")


def start(folder: Path, upto: int, port: int = 0) -> RunningStudio:
    return start_studio(folder, command=[sys.executable, str(SCRIPT), str(upto), str(folder), str(port)])


def jobs_of(folder: Path) -> Jobs:
    return Jobs(folder / ".limpide" / "studio" / "jobs", folder)


def test_the_studio_is_killed_in_mid_job_and_started_again(chromium: Any, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    studio = start(folder, 10)
    try:
        with visitor(chromium, studio.way_in()) as first, visitor(chromium, studio.way_in(), language="fr") as second:
            open_page(first, studio.url, "/trial")
            first.get_by_role("button", name="Begin").click()
            first.get_by_text("Work under way").wait_for()
            open_page(second, studio.url, "/trial")
            second.get_by_text("5 / 10").wait_for()
            assert second.get_by_text("Signature vérifiée : press-1.0.0, clé ab12").count() == 1
            assert second.locator(".job-lines [lang=en] p").all_inner_texts() == ["<b>bold</b> & odd"]
            assert second.locator(".job-tasks [lang=en]").all_inner_texts() == ["Counting"]
            assert first.locator(".job [lang]").count() == 0
            shot(second, "job-running-fr", whole=False)
            assert axe_violations(second) == []
            studio.kill()
            jobs = jobs_of(folder)
            job = jobs.last("trial")
            assert job is not None
            studio = start(folder, 10, int(studio.url.rpartition(":")[2]))
            assert jobs.state(job) == "running"
            (folder / "go").touch()
            first.get_by_role("heading", name="It is done").wait_for()  # the page came back by itself, with its session
            second.get_by_role("heading", name="C’est terminé").wait_for()
            assert first.get_by_text("<b>bold</b> & odd").count() == 1
            assert jobs.result(job) == {"counted": 10}
            assert len(jobs.all()) == 1
    finally:
        studio.close()


def test_one_browser_stops_it_and_the_other_goes_on(chromium: Any, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    studio = start(folder, 10)
    try:
        with visitor(chromium, studio.way_in(), size="phone") as first, visitor(chromium, studio.way_in()) as second:
            open_page(first, studio.url, "/trial")
            first.get_by_role("button", name="Begin").click()
            first.get_by_text("Work under way").wait_for()
            open_page(second, studio.url, "/trial")
            second.get_by_text("5 / 10").wait_for()
            second.get_by_role("button", name="Stop").click()
            first.get_by_role("heading", name="It was stopped").wait_for()
            shot(first, "job-stopped-phone")
            assert axe_violations(first) == []
            (folder / "go").touch()
            first.get_by_role("button", name="Go on").click()
            first.get_by_role("heading", name="It is done").wait_for()
            jobs = jobs_of(folder)
            assert [jobs.state(job) for job in jobs.all()] == ["done", "stopped"]
            assert jobs.events(jobs.all()[0])[0]["done"] == 5
            assert page_faults(first) == page_faults(second) == []
    finally:
        studio.close()
