"""Make the pictures of the README from a release: its report, and two pages of a studio that holds it.

In a headless Chromium, without any network. Usage: scripts/pictures.py RELEASE
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import FloatRect, Page, sync_playwright

from limpide.studio.jobs import Jobs
from limpide.studio.words import language

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
OFFLINE = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--hide-scrollbars")
PROJECT = "Press workshop"  # what the studio calls the folder
QUESTION = "What does fault E-104 mean?"
START_SECONDS, JOB_MS = 120, 600_000
LARGEST = 300_000  # bytes of a picture


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release", type=Path)
    release = parser.parse_args().release.absolute()
    report = release / "evidence" / "report.html"
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None or not report.is_file():
        print(f"needs chromium, and a report at {report}", file=sys.stderr)
        return 2
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, project_with(release) as folder:
        browser = playwright.chromium.launch(executable_path=found, args=list(OFFLINE))
        context = browser.new_context(locale="en-GB", color_scheme="light", reduced_motion="reduce")
        context.set_default_timeout(JOB_MS)
        page = context.new_page()
        with studio(folder) as way_in:
            picture_of_file(page, report)
            page.goto(way_in)
            picture_of_report(page)
            picture_of_answers(page)
        browser.close()
    return 0


@contextmanager
def project_with(release: Path) -> Iterator[Path]:
    """A folder of a project that holds the release, in links to its files: beside it, where links can be made."""
    with tempfile.TemporaryDirectory(prefix=".pictures-", dir=release.parent) as folder:
        project = Path(folder, PROJECT)
        shutil.copytree(release, project / "releases" / release.name, copy_function=os.link)
        yield project


@contextmanager
def studio(folder: Path) -> Iterator[str]:
    """A one-time address of a studio of the folder. It and the jobs that it started are ended."""
    limpide = [sys.executable, "-m", "limpide.cli.main", "studio", str(folder)]
    process = subprocess.Popen(
        [*limpide, "--no-open", "--port", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        yield address_of([*limpide, "--token"], process)
    finally:
        jobs = Jobs(folder / ".limpide" / "studio" / "jobs", folder)
        while running := [job for job in jobs.all() if jobs.state(job) == "running"]:
            for job in running:
                jobs.stop(job)
            time.sleep(1)
        process.terminate()
        process.wait()


def address_of(command: list[str], process: subprocess.Popen[bytes]) -> str:
    """Raises SystemExit when the studio does not start."""
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            return asked.stdout.strip()
        time.sleep(0.5)
    raise SystemExit("the studio does not start")


def say(key: str) -> str:
    return language("en").say(key)


def picture_of_file(page: Page, report: Path) -> None:
    page.set_viewport_size({"width": 1200, "height": 1250})
    page.goto(report.as_uri())
    keep(page, "report")


def picture_of_report(page: Page) -> None:
    """The report in the studio: the verdict, key numbers, what had to be passed."""
    page.set_viewport_size({"width": 1440, "height": 900})
    page.get_by_role("link", name=say("frame.nav.report"), exact=True).click()
    page.get_by_role("list", name=say("tiles")).wait_for()
    keep(page, "studio")


def picture_of_answers(page: Page) -> None:
    """Base and release asked the same, and why the release said its first word."""
    page.get_by_role("link", name=say("frame.nav.ask"), exact=True).click()
    page.get_by_label(say("ask.question")).fill(QUESTION)
    page.get_by_role("button", name=say("ask.go")).click()
    release = page.locator("section").filter(has=page.get_by_role("heading", name=say("ask.side.release")))
    words = release.locator("p").get_by_role("button")
    words.first.wait_for()
    stop = page.get_by_role("button", name=say("ask.stop"), exact=True)
    while stop.is_enabled():
        page.wait_for_timeout(200)
    words.first.click()
    page.get_by_role("heading", name=say("explain.section.words")).wait_for()
    page.set_viewport_size({"width": 1440, "height": 2400})
    page.evaluate("scrollTo(0, 0)")
    weights = page.get_by_role("region", name=say("ask.why")).get_by_role("table").first.bounding_box()
    keep(page, "ask", height=None if weights is None else weights["y"] + weights["height"] + 12)


def keep(page: Page, name: str, *, height: float | None = None) -> None:
    """Write the picture of what the window shows, or of its upper part. Raises SystemExit when it is too large."""
    place, clip = PICTURES / f"{name}.png", None
    if height is not None and page.viewport_size is not None:
        clip = FloatRect(x=0, y=0, width=page.viewport_size["width"], height=height)
    page.screenshot(path=place, clip=clip)
    if place.stat().st_size > LARGEST:
        raise SystemExit(f"{place.relative_to(ROOT)} has more than {LARGEST // 1000} kB")
    print(f"written: {place.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
