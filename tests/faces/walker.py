"""A person in front of the studio: one browser, one language, and what they look at, press and type.

What is pressed and what must be read is looked up by its key in the studio's own words, and found by roles and names,
never by the look of a page.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from browser import AXE, RunningStudio, axe_violations, page_faults, shot, start_studio, visitor

from limpide.models.embedded import SMOLLM2, is_here
from limpide.studio.jobs import Jobs
from limpide.studio.words import language

TYPED = {  # what a person writes, in their language
    "en": {
        "intended": "Answer operators' questions on the fault codes of the HP-80 press.",
        "users": "trained press operators",
        "statement": "For a trial in the workshop.",
        "caller": "workshop tablet",
        "reason": "the answers on E-104 are being checked",
    },
    "fr": {
        "intended": "Répondre aux questions des opérateurs sur les codes de défaut de la presse HP-80.",
        "users": "opérateurs de presse formés",
        "statement": "Pour un essai à l’atelier.",
        "caller": "tablette de l’atelier",
        "reason": "les réponses sur E-104 sont en cours de vérification",
    },
}


@dataclass
class Walk:
    """One person in one language.

    code: of the language. page: of the browser that is open now. number: of the last picture. faults: picture → what
    is wrong there.
    """

    chromium: Any
    folder: Path
    code: str
    studio: RunningStudio
    opened: ExitStack = field(default_factory=ExitStack)
    page: Any = None
    number: int = 0
    faults: dict[str, Any] = field(default_factory=dict)

    def say(self, key: str, count: float | None = None, /, **values: object) -> str:
        """A sentence of the studio, as a test compares it: every space alike."""
        return " ".join(language(self.code).say(key, count, **values).split())

    def pattern(self, key: str, count: float | None = None, /, **values: object) -> re.Pattern[str]:
        """The sentence with anything where the values '§' stand."""
        return re.compile(r"\s".join(map(_any, self.say(key, count, **values).split(" "))))

    def enter(self) -> None:
        """Open a new browser, with a new one-time address."""
        self.page = self.opened.enter_context(visitor(self.chromium, self.studio.way_in(), language=self.code))

    def leave(self) -> None:
        """Close the browser."""
        self.opened.close()

    def go(self, name: str) -> None:
        """To a page, by the navigation."""
        nav = self.page.get_by_role("navigation", name=self.say("frame.way"))
        nav.get_by_role("link", name=self.say(f"frame.nav.{name}")).click()
        self.arrived(name)

    def arrived(self, name: str) -> None:
        self.page.wait_for_url(re.compile(rf"/{name}(\?|#|$)"))
        self.page.get_by_role("heading", level=1, name=self.say(f"{name}.title"), exact=True).wait_for()
        self.page.wait_for_function("window.did_handshake === true")

    def seen(self, name: str, *, whole: bool = True) -> None:
        """A picture to be looked at; what axe-core, the console or the width find wrong is told at the end."""
        self.number += 1
        picture = f"walk-{self.code}-{self.number:02}-{name}"
        if whole:
            self.page.evaluate("scrollTo(0, 0)")  # what sticks to the top is drawn at the top
        shot(self.page, picture, whole=whole)
        wide = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        told = page_faults(self.page)
        found = [*told, *([f"{wide} pixels too wide"] if wide > 0 else [])]
        found += axe_violations(self.page) if AXE.is_file() else []  # without it, other tests are skipped and say so
        told.clear()
        if found:
            self.faults[picture] = found

    @property
    def typed(self) -> dict[str, str]:
        return TYPED[self.code]

    def button(self, key: str, within: Any = None, **values: object) -> Any:
        return (within or self.page).get_by_role("button", name=self.say(key, **values), exact=True)

    def link(self, key: str, within: Any = None) -> Any:
        return (within or self.page).get_by_role("link", name=self.say(key), exact=True)

    def text(self, key: str, count: float | None = None, /, **values: object) -> Any:
        return self.page.get_by_text(self.say(key, count, **values)).first

    def fill(self, label: str, words: str, within: Any = None) -> None:
        """Type into the field with this label, and leave it."""
        field = (within or self.page).get_by_label(label, exact=True)
        field.fill(words)
        field.press("Tab")

    @property
    def dialog(self) -> Any:
        return self.page.get_by_role("dialog")

    def jobs(self) -> Jobs:
        return Jobs(self.folder / ".limpide" / "studio" / "jobs", self.folder)

    def until(self, true: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Wait for what no single element of the page tells."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, what
            self.page.wait_for_timeout(100)


@contextmanager
def walking(chromium: Any, folder: Path, code: str) -> Iterator[Walk]:
    """A person at a studio of an empty folder; whatever still runs at the end is ended, and the folder removed."""
    with pytest.MonkeyPatch.context() as patch:
        if not is_here(SMOLLM2):
            patch.setenv("LIMPIDE_CACHE", str(new_cache(folder.parent)))
        walk = Walk(chromium, folder, code, start_studio(folder))
        try:
            walk.enter()
            yield walk
        finally:
            walk.leave()
            end(walk.jobs())
            walk.studio.close()
            shutil.rmtree(folder)


def new_cache(beside: Path) -> Path:
    """Of a machine where the embedded model never was: it is fetched on the way, or taken from LIMPIDE_TEST_WHEEL."""
    cache = beside / "cache"
    (cache / "wheels").mkdir(parents=True)
    if wheel := os.environ.get("LIMPIDE_TEST_WHEEL"):
        shutil.copy(wheel, cache / "wheels")
    return cache


def end(jobs: Jobs) -> None:
    """Stop what runs, and wait for it: its files are removed next."""
    for job in jobs.all():
        jobs.stop(job, grace=5)
    limit = time.monotonic() + 60
    while any(jobs.state(job) == "running" for job in jobs.all()) and time.monotonic() < limit:
        time.sleep(0.1)


def _any(word: str) -> str:
    return re.escape(word).replace("§", r".*")
