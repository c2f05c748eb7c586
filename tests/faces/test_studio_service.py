"""The service page in a browser: start, a key shown once, a call with it, the log and its damage, stop and go on."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faces.browser import RunningStudio, open_page, page_faults, running_studio, shot, visitor
from faces.released import end_jobs, released
from limpide.serve.address import listen
from limpide.serve.stop_switch import stopped


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningStudio, Path]]:
    project = tmp_path_factory.mktemp("service") / "press"
    released(project)
    with running_studio(project) as started:
        yield started, project
    end_jobs(project)


def free_port() -> int:
    with listen("127.0.0.1", 0) as taken:
        return int(taken.getsockname()[1])


def call(line: str, secret: str = "") -> str:
    """What the line shown on the page prints."""
    environment = {**os.environ, "LIMPIDE_API_KEY": secret}
    return subprocess.run(line, shell=True, capture_output=True, text=True, env=environment, check=True).stdout


def test_from_the_start_button_to_the_stop_switch(
    chromium: Any, serving: tuple[RunningStudio, Path], axe: Callable[..., list[str]]
) -> None:
    studio, project = serving
    with visitor(chromium, studio.way_in()) as page:
        open_page(page, studio.url, "/service")
        page.get_by_label("Port").fill(str(free_port()))
        page.get_by_role("button", name="Start the service").click()
        page.get_by_text("answers here").wait_for(timeout=120_000)

        page.get_by_text("Make a new key").click()
        page.get_by_label("Who or what will use it").fill("HR <i>tool</i>")
        page.get_by_role("button", name="Make the key").click()
        secret = page.locator(".dialog code").inner_text()
        assert secret.startswith("lmp_")
        page.get_by_role("button", name="I have put it in a safe place").click()
        page.get_by_text("a key is asked", exact=True).wait_for()
        line = page.locator("code", has_text="curl").inner_text()
        assert '"choices"' in call(line, secret)
        assert "invalid_api_key" in call(line)

        open_page(page, studio.url, "/service")
        assert secret not in page.content()
        page.get_by_role("row").filter(has_text="HR <i>tool</i>").filter(has_text="answered").first.wait_for()
        page.get_by_role("button", name="Verify the log").click()
        page.get_by_text("The log is what was written").wait_for(timeout=60_000)
        assert axe(page) == []
        shot(page, "service")
        with visitor(chromium, studio.way_in(), language="fr", size="phone") as phone:
            open_page(phone, studio.url, "/service")
            phone.get_by_text("la réponse").first.wait_for()
            assert "À quoi pouvez-vous m’aider" in phone.locator("code", has_text="curl").inner_text()
            wide = "[...document.querySelectorAll('.table-scroll')].filter((e) => e.scrollWidth > e.clientWidth).length"
            assert phone.evaluate(wide) == 0
            assert axe(phone) == []
            shot(phone, "service-phone-fr")

        page.get_by_role("button", name="Stop answering").click()
        page.get_by_label("Reason, which callers are told").fill("wrong doses")
        page.locator(".dialog").get_by_role("button", name="Stop answering").click()
        page.get_by_text("The service is stopped").wait_for()
        assert "wrong doses" in call(line, secret)
        shot(page, "service-stopped")
        page.get_by_role("button", name="Answer again").click()
        page.locator(".dialog").get_by_role("button", name="Answer again").click()
        page.get_by_text("One order stops every answer").wait_for()
        assert stopped(project / ".limpide" / "serve") is None

        page.get_by_role("button", name="Revoke the key").click()
        page.locator(".dialog").get_by_role("button", name="Revoke").click()
        page.get_by_text("revoked", exact=True).first.wait_for()
        assert "key_revoked" in call(line, secret)
        assert "invalid_api_key" in call(line)  # a key is asked for from the first one on, though none is left
        page.get_by_role("button", name="End the service").click()
        page.locator(".dialog").get_by_role("button", name="End the service").click()
        page.get_by_text("No service is running").wait_for(timeout=60_000)
        said = "".join(file.read_text() for file in (project / ".limpide/studio/jobs").glob("*-serve-*/stderr"))
        assert "answers at" in said
        assert '"request"' not in said
        assert page_faults(page) == []


def test_a_changed_log_is_told_with_its_place(
    chromium: Any, serving: tuple[RunningStudio, Path], axe: Callable[..., list[str]]
) -> None:
    studio, project = serving
    with visitor(chromium, studio.way_in(), language="fr", theme="dark", size="phone") as page:
        open_page(page, studio.url, "/service")
        (day,) = (project / ".limpide" / "serve" / "log").glob("2*.jsonl")
        lines = day.read_bytes().splitlines(keepends=True)
        day.write_bytes(b"".join([lines[0], lines[1].replace(b'"event":"', b'"event":"x'), *lines[2:]]))
        page.get_by_role("button", name="Vérifier le journal").click()
        page.get_by_text("Le journal a été modifié").wait_for(timeout=60_000)
        assert f"{day.name}, ligne 2" in page.locator(".notice.bad").first.inner_text()
        page.get_by_role("button", name="Actualiser").click()
        page.get_by_text("The request log is damaged").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert axe(page) == []
        shot(page, "service-damaged-fr")
