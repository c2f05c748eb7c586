"""The report page in a browser: the verdict first, and numbers that open."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from evidence_sample import evidence
from faces.browser import RunningStudio, open_page, page_faults, running_studio, shot, visitor
from faces.released import released
from limpide.document.evidence import save_evidence

EMPTY = {"/report": "nothing to report yet", "/release": "no release yet", "/ask": "no release to ask"}


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    """A project with a release, and a newer run that was held back."""
    project = tmp_path_factory.mktemp("report") / "press"
    released(project)
    later = evidence().environment.model_copy(update={"date": "2027-01-01T00:00:00Z"})
    gates = tuple(gate.model_copy(update={"verdict": "fail"}) for gate in evidence().gates)
    held = evidence().model_copy(update={"verdict": "hold", "version": "1.1.0", "environment": later, "gates": gates})
    documents = project / ".limpide" / "press" / "documents" / "abc"
    save_evidence(documents / "evidence" / "evidence.json", held)
    page = "<h1>Whole report of a held run</h1><script>top.document.title='owned'</script>"
    (documents / "evidence" / "report.html").write_text(page)
    with running_studio(project) as started:
        yield started


def test_a_held_run_says_by_which_gates_and_opens_its_whole_report(
    chromium: Any, reported: RunningStudio, axe: Callable[..., list[str]]
) -> None:
    with visitor(chromium, reported.way_in()) as page:
        open_page(page, reported.url, "/report")
        banner = page.locator(".banner")
        assert "1.1.0 was not released" in banner.inner_text()
        assert banner.locator("li").count() == len(evidence().gates)
        page.get_by_text("Read the whole report here").click()
        frame = page.frame_locator("iframe.document")
        assert frame.locator("h1").inner_text() == "Whole report of a held run"
        assert "owned" not in page.title()
        assert axe(page) == []


def test_every_number_opens_to_its_method_and_items(
    chromium: Any, reported: RunningStudio, axe: Callable[..., list[str]]
) -> None:
    with visitor(chromium, reported.way_in(), theme="dark") as page:
        open_page(page, reported.url, "/report?of=release-press-operator-assistant-1.0.0")
        assert "was made" in page.locator(".banner").inner_text()
        shot(page, "report")
        page.get_by_role("button", name="91.7%").first.focus()
        page.keyboard.press("Enter")
        window = page.locator(".number-dialog")
        window.get_by_text("1 to 10 of 25").wait_for()
        said = window.inner_text()
        for expected in ("domain.accuracy@1(match=normalised)", "78.2% to 97.1%", "Seed of chance", "p-value"):
            assert expected in said
        window.locator("details.item summary").first.click()
        assert "base says 1" in window.inner_text()
        assert "<script>" in window.inner_text()
        assert "owned" not in page.title()
        assert axe(page) == []
        window.get_by_role("button", name="Next items").click()
        window.get_by_text("11 to 20 of 25").wait_for()
        shot(page, "report-number", whole=False)
        page.keyboard.press("Escape")
        window.wait_for(state="detached")
        assert page_faults(page) == []


def test_on_a_phone_in_french_nothing_runs_over_the_edge(
    chromium: Any, reported: RunningStudio, axe: Callable[..., list[str]]
) -> None:
    with visitor(chromium, reported.way_in(), language="fr", size="phone") as page:
        open_page(page, reported.url, "/report?of=release-press-operator-assistant-1.0.0")
        shot(page, "report-phone-fr")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert "Peut-on l’utiliser" in page.locator(".lead").inner_text()
        assert axe(page) == []


def test_without_a_run_it_says_what_to_do(chromium: Any, studio: RunningStudio) -> None:
    with visitor(chromium, studio.way_in()) as page:
        for path, words in EMPTY.items():
            open_page(page, studio.url, path)
            assert words in page.locator(".empty").inner_text()
        open_page(page, studio.url, "/service")
        assert "no signed release to serve" in page.locator(".empty").inner_text()
