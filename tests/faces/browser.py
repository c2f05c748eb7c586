"""A real browser on a real studio: a studio process on a temporary folder, Chromium through Playwright, axe-core.

Use the fixtures of conftest.py: `studio` (one a module), `page` (one a test, let in), `axe(page)`.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SHOTS = Path(__file__).parent / "shots"
AXE = ROOT / ".venv" / "axe" / "package" / "axe.min.js"
START_SECONDS = 120.0
OFFLINE = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
SIZES = {"phone": (360, 740), "desk": (1440, 900), "wall": (3840, 2160)}


@dataclass
class RunningStudio:
    """A studio under test. url: without a token; each `way_in()` is good for one browser."""

    folder: Path
    process: subprocess.Popen[str]
    url: str
    first: str

    def way_in(self) -> str:
        """A fresh one-time address."""
        command = [sys.executable, "-m", "limpide.cli.main", "studio", str(self.folder), "--token"]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=_environment()).stdout.strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def running_studio(folder: Path, *options: str, port: int = 0) -> Iterator[RunningStudio]:
    """`limpide studio FOLDER` as a process; closed at the end."""
    started = start_studio(folder, *options, port=port)
    try:
        yield started
    finally:
        started.close()


def start_studio(folder: Path, *options: str, port: int = 0, command: Sequence[str] = ()) -> RunningStudio:
    """command: another program that prints the same line when it is ready."""
    if not command:
        command = [sys.executable, "-m", "limpide.cli.main", "studio", str(folder), "--no-open", "--port", str(port)]
    log = folder.parent / f"{folder.name}.studio.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*command, *options], stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, text=True, env=_environment()
        )
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        found = re.search(r"(https?://\S+?)(/enter\?token=\S+)?(?= \(the| \(Ctrl|\s|$)", log.read_text())
        if found and found[1]:
            return RunningStudio(folder, process, found[1].partition("/enter")[0], found[0])
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    process.wait()
    raise AssertionError(f"the studio did not start: {log.read_text()}")


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, through Playwright; skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine: `make test` says how to install it")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=list(OFFLINE))
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def visitor(
    browser: Any,
    address: str,
    *,
    language: str = "en",
    theme: str = "light",
    size: str | tuple[int, int] = "desk",
    self_signed: bool = False,
) -> Iterator[Any]:
    """A page of a new browser profile that opened `address`. Whatever it asks of another host fails the test."""
    width, height = SIZES[size] if isinstance(size, str) else size
    context = browser.new_context(
        locale={"en": "en-GB", "fr": "fr-FR"}.get(language, language),
        color_scheme=theme,
        viewport={"width": width, "height": height},
        reduced_motion="reduce",
        ignore_https_errors=self_signed,
    )
    context.set_default_timeout(30_000)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: page_faults(page).append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page_faults(page).append(str(error)))
    try:
        page.goto(address)
        page.wait_for_selector("h1")
        yield page
        host = re.sub(r"^(https?://[^/]+).*", r"\1", address)
        outside = [url for url in asked if not url.startswith((host, "data:", "blob:", "about:"))]
        assert outside == [], "the studio asked something of the network"
    except Exception:
        tell_what_stood_there(page)
        raise
    finally:
        context.close()


def tell_what_stood_there(page: Any) -> None:
    """What a test that failed was looking at, in its output; the picture is kept as failed.png."""
    with suppress(Exception):
        print(page.url, page.locator("body").inner_text(), *page_faults(page), sep="\n")
        shot(page, "failed")


def page_faults(page: Any) -> list[str]:
    """What the browser's console called an error on this page: refused scripts, failed requests, exceptions."""
    if not hasattr(page, "limpide_faults"):
        page.limpide_faults = []
    faults: list[str] = page.limpide_faults
    return faults


def open_page(page: Any, url: str, path: str) -> None:
    """Go to a page of the studio and wait until it is drawn and connected."""
    page.goto(url + path)
    page.wait_for_selector("#content h1")
    page.wait_for_function("window.did_handshake === true")


def shot(page: Any, name: str, *, whole: bool = True) -> Path:
    """A screenshot, kept in tests/faces/shots/ to be looked at."""
    SHOTS.mkdir(exist_ok=True)
    place = SHOTS / f"{name}.png"
    page.screenshot(path=place, full_page=whole)
    return place


def axe_violations(page: Any, *, ignore: Sequence[str] = ()) -> list[str]:
    """Serious and critical faults that axe-core finds: 'rule: what (where)'. Skipped without axe-core."""
    if not AXE.is_file():
        pytest.skip("axe-core is not there: `make test` fetches it")
    session = page.context.new_cdp_session(page)  # page.add_script_tag would be refused by the page's own policy
    session.send("Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")})
    result = page.evaluate("async () => await axe.run(document, {resultTypes: ['violations']})")
    found = [v for v in result["violations"] if v["impact"] in ("serious", "critical") and v["id"] not in ignore]
    return [f"{v['id']}: {v['help']}\n" + "\n".join(map(_node, v["nodes"][:4])) for v in found]


def _node(node: Any) -> str:
    why = [check["message"] for check in (*node["any"], *node["all"], *node["none"])]
    return f"  {node['target'][0]} {node['html'][:160]} {why[:1]}"
