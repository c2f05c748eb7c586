"""The studio's shell in a real browser: it opens, in two languages and two themes, from a phone to a wall; killing it
loses nothing; who floods it, forges requests or brings no token is turned away."""

import re
from pathlib import Path
from typing import Any

import pytest
from browser import RunningStudio, axe_violations, open_page, page_faults, shot, start_studio, visitor

pytestmark = pytest.mark.whole
PATHS = ("/model", "/data", "/recipe", "/run", "/report", "/ask", "/release", "/service", "/elsewhere")


@pytest.mark.parametrize(
    ("language", "theme", "size"),
    [
        ("en", "light", "desk"),
        ("fr", "dark", "desk"),
        ("fr", "light", "phone"),
        ("en", "dark", "phone"),
        ("en", "light", "wall"),
    ],
)
def test_every_page(chromium: Any, studio: RunningStudio, language: str, theme: str, size: str) -> None:
    """No serious fault for axe-core, no error in the console, nothing wider than the screen, one heading."""
    faults: dict[str, list[str]] = {}
    with visitor(chromium, studio.way_in(), language=language, theme=theme, size=size) as page:
        for path in PATHS:
            open_page(page, studio.url, path)
            found = axe_violations(page)
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            found += [f"{wide} pixels too wide"] if wide > 0 else []
            found += [] if page.locator("h1").count() == 1 else ["not one h1"]
            found += [] if page.locator("html").get_attribute("lang")[:2] == language else ["wrong language"]
            dark = page.evaluate("document.body.classList.contains('body--dark')")
            found += [] if dark == (theme == "dark") else ["wrong theme"]
            if found:
                faults[path] = found
            shot(page, f"{path[1:]}-{language}-{theme}-{size}", whole=size != "wall")
        if page_faults(page):
            faults["console"] = page_faults(page)
    assert faults == {}


def test_keyboard_skip_link_menu_and_switches(chromium: Any, studio: RunningStudio) -> None:
    with visitor(chromium, studio.way_in(), size="phone") as page:
        open_page(page, studio.url, "/data")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.url.endswith("#content")
        menu = page.get_by_role("button", name="Pages")
        assert not page.get_by_role("link", name="Service").is_visible()
        menu.press("Enter")
        assert menu.get_attribute("aria-expanded") == "true"
        shot(page, "shell-menu-phone", whole=False)
        page.keyboard.press("Escape")
        assert menu.get_attribute("aria-expanded") == "false"
        menu.click()
        page.get_by_role("link", name="Service").click()
        page.wait_for_url("**/service")
        page.get_by_role("button", name="Change between light and dark").click()
        page.wait_for_selector("body.body--dark")
        page.get_by_role("link", name="Français").click()
        page.wait_for_selector("html[lang=fr]")
        assert page.evaluate("document.body.classList.contains('body--dark')"), "the theme is remembered"
        assert page.url.endswith("/service")
        page.reload()
        page.wait_for_selector("html[lang=fr]")


def test_without_a_token_it_is_closed_and_an_address_works_once(chromium: Any, studio: RunningStudio) -> None:
    address = studio.way_in()
    with visitor(chromium, studio.url + "/data") as page:
        assert "closed to this browser" in page.locator("h1").inner_text()
        assert axe_violations(page) == []
        shot(page, "shell-closed", whole=False)
        page.get_by_label("Or paste").fill(address)
        page.get_by_role("button", name="Open").click()
        page.wait_for_url("**/model")
        assert all(c["httpOnly"] and c["sameSite"] == "Strict" for c in page.context.cookies() if "studio" in c["name"])
        page.goto(studio.url + "/nowhere")
        assert page.locator("h1").inner_text() == "There is no such page"
        assert axe_violations(page) == []
        page.goto(studio.url + "/elsewhere")
        page.get_by_role("button", name="Make an address").click()
        second = page.locator("code").inner_text()
        with visitor(chromium, second) as other:
            other.wait_for_url("**/model")
        with visitor(chromium, second, language="fr") as third:
            assert "déjà servi" in third.locator("h1").inner_text()
        page.get_by_role("button", name=re.compile("You are")).click()
        page.get_by_text("Close in this browser").click()
        page.wait_for_selector(".entry h1")


def test_scripts_of_strangers_do_not_run(chromium: Any, tmp_path: Path) -> None:
    """The project's own name is a script, and so is the name of a file that is dropped."""
    hostile = "<img src=x onerror=alert(1)>'\"`${alert(2)}"
    studio = start_studio(tmp_path / hostile.replace("/", ""))
    try:
        with visitor(chromium, studio.way_in()) as page:
            page.on("dialog", lambda dialog: pytest.fail("a script of a stranger ran"))
            open_page(page, studio.url, "/data")
            assert hostile in page.locator(".project").inner_text()
            assert page.locator(".project img").count() == 0
            assert page_faults(page) == []
            page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=/x onerror=\"window.ran = 1\">')")
            page.wait_for_timeout(200)
            assert page.evaluate("window.ran") is None, "the policy stops what is put into the page"
    finally:
        studio.close()
