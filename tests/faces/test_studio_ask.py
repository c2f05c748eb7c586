"""The page where one asks, in a browser: two answers through the private gateway, blind, and a word explained."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from explanation_sample import explanation
from faces.browser import RunningStudio, open_page, page_faults, running_studio, shot, visitor
from faces.released import end_jobs, released
from limpide.core import files
from limpide.serve.request_log.read import read
from limpide.studio.pages.ask_words import argv, kept, tokens_of, words
from limpide.studio.project import Project


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningStudio, Path]]:
    project = tmp_path_factory.mktemp("ask") / "press"
    released(project, approval="required")
    with running_studio(project) as started:
        yield started, project
    end_jobs(project)


def asked_file(project: Path, answer: str) -> Path:
    return kept(Project(project).asked, "What is E-104?", answer)


def made_before(project: Path, command: list[str], record: dict[str, Any]) -> None:
    """An explanation that was made before, as a job leaves it."""
    folder = project / ".limpide" / "studio" / "jobs" / "20260101-000000-explain-abcdef"
    job = {"kind": "explain", "argv": [*command, "--json"], "started": 1.0, "who": "Ada", "home": str(project)}
    for name, content in (("job.json", job), ("ended.json", {"code": 0, "ended": 2.0})):
        files.write_json(folder / name, content)
    (folder / "stdout").write_text(json.dumps(record))
    (folder / "stderr").write_text("")


def one_stop_of_the_tab_key(page: Any, side: Any, count: int) -> None:
    """The words of an answer, with the keyboard: Tab comes to one of them, arrows go from there."""
    named = side.get_by_role("toolbar", name="The words of the answer")
    assert named.locator("[tabindex='0']").count() == 1

    def at() -> int:
        found = "[...document.activeElement.parentElement.children].filter((e) => e.matches('.answer-word'))"
        return int(page.evaluate(f"{found}.indexOf(document.activeElement)"))

    side.locator(".answer-word").first.focus()
    for key, expected in (("End", count - 1), ("ArrowRight", count - 1), ("ArrowLeft", max(0, count - 2)), ("Home", 0)):
        page.keyboard.press(key)
        assert at() == expected
    before = at()
    page.keyboard.press("ArrowDown")
    down = at()
    page.keyboard.press("ArrowUp")
    assert down >= before == at()
    page.keyboard.press("Tab")
    assert not page.evaluate(
        "document.activeElement.matches('.answer-word') && "
        "document.activeElement.closest('.answer-side').innerText.includes('Release, after')"
    )
    page.keyboard.press("Shift+Tab")
    assert at() == before
    assert side.locator(".answer-word[tabindex='0']").count() == 1


def test_both_answer_side_by_side_and_a_word_opens(
    chromium: Any, asked: tuple[RunningStudio, Path], axe: Callable[..., list[str]]
) -> None:
    studio, project = asked
    with visitor(chromium, studio.way_in()) as page:
        open_page(page, studio.url, "/ask")
        page.get_by_role("button", name="Ask both").click()
        page.locator(".dialog").get_by_text("Write a question first").wait_for()
        page.locator(".dialog").get_by_role("button", name="Close").click()
        page.get_by_label("Your question").fill("What is E-104?")
        page.locator(".dialog").wait_for(state="hidden")  # it gives the focus back to the button as it goes
        page.get_by_label("Your question").press("Control+Enter")
        page.locator(".answer-side .small", has_text="token").nth(1).wait_for(timeout=120_000)
        release = page.locator(".answer-side", has_text="Release, after")
        log = project / ".limpide" / "serve" / "log"
        assert sum(entry.event == "answer" for entry in read(log)) == 2
        assert "E-104" not in "".join(path.read_text() for path in log.glob("*.jsonl"))
        assert axe(page) == []

        said = release.locator(".answer-word").all_inner_texts()
        assert said
        release.get_by_text("Click a word to see why it was said.").wait_for()
        one_stop_of_the_tab_key(page, release, len(said))
        answer, tokens = " ".join(said), [f" {word}" for word in said]
        record = explanation()
        record["question"]["answer_tokens"] = [{"id": 1, "text": text, "nats": -0.1} for text in tokens]
        record["question"]["decision"]["at"] = 0
        places = tokens_of(words(answer)[0], tokens)
        assert places[0] == 0
        model = str(project / "releases" / "press-operator-assistant-1.0.0")
        for text in (release.locator(".answer-text").inner_text(), answer):
            made_before(project, argv(model, asked_file(project, text.strip()), 0), record)
        release.locator(".answer-word").first.click()
        why = page.get_by_role("region", name="Why a word was said")
        why.get_by_text("Can this explanation be believed?").wait_for()
        assert "Which layer?" in why.inner_text()
        assert why.get_by_role("button", name="Look for the training examples").is_visible()
        assert axe(page) == []
        shot(page, "ask-why")
        assert page_faults(page) == []


def test_blind_until_asked_on_a_phone_in_french(
    chromium: Any, asked: tuple[RunningStudio, Path], axe: Callable[..., list[str]]
) -> None:
    studio, _ = asked
    with visitor(chromium, studio.way_in(), language="fr", theme="dark", size="phone") as page:
        open_page(page, studio.url, "/ask")
        page.get_by_text("Cacher qui est qui").click()
        page.get_by_label("Votre question").fill("Que veut dire E-104 ?")
        page.get_by_role("button", name="Demander aux deux").click()
        page.get_by_role("button", name="Montrer qui est qui").wait_for(timeout=120_000)
        assert page.locator(".answer-side h2").all_inner_texts() == ["Réponse A", "Réponse B"]
        page.get_by_role("button", name="Montrer qui est qui").click()
        page.get_by_role("heading", name="Version, après").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert axe(page) == []
        shot(page, "ask-phone-fr")
        page.get_by_role("button", name="L’arrêter").click()
