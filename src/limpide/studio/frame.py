"""The frame around every page: header, the way from model to service, one heading, footer.

How to write a page:

1. `pages/data.py` defines `PAGE = Page("/data", "data", build, icon="folder_open")` and `build(visit)`, plain or async.
   The frame has drawn the heading (`data.title`) and the line under it (`data.lead`) already: `build` draws below them,
   in `<main>`, at most 72rem wide; headings inside begin at h2 (`parts.heading`).
2. Its sentences stand in `words/en/data.json` and `words/fr/data.json`: `{"data.title": "Data", …}`, the same keys and
   placeholders in both; `visit.say("data.faults", 3)` takes `data.faults.one` or `.many`.
   French spacing is set for you.
3. Draw with `studio/parts.py` first (buttons, fields, tables, notices, cards, panels of jobs): they are named,
   reachable and readable already. Any `ui.…` of NiceGUI works too; there is no Tailwind: use the classes of `look.css`
   (`muted`, `small`, `strong`, `numbers`, `code`, `end`) or `.style(…)`. Icons
   (`ui.icon`) only decorate.
4. Text of a user, a file or a model goes through `ui.label`, never `ui.html` or `ui.markdown`.
5. What takes longer than 50 ms: `await run.io_bound(f)` (nicegui.run); what takes longer than a few seconds, or loads a
   model: a job, `visit.jobs.start("prepare", ["data", "check", …], who=visit.name)`, shown by `parts.job_panel`.
6. Whatever changes something checks `visit.may("…")` when it is done, not only when the button is drawn, and says so in
   the log: `visit.log("studio.release.sign", release=name)`.
7. What you raise (LimpideError) in a handler is shown as a notice with its remedy: `parts.button` and `parts.safely`.
8. Files go up by `parts.upload`; documents of a release come down at `/files/releases/<name>/…` (`documents.address`),
   in a sandboxed frame: `parts.document`.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote

from nicegui import ui
from starlette.requests import Request

from limpide import __version__
from limpide.core.errors import LimpideError
from limpide.studio import parts
from limpide.studio.boxes import LOGO, look
from limpide.studio.visit import Visit

THEMES = {"system": None, "light": False, "dark": True}


@dataclass(frozen=True)
class Page:
    """One page. name: the first word of its sentences' keys. icon: a name of Material Icons."""

    path: str
    name: str
    build: Callable[[Visit], Awaitable[None] | None]
    icon: str = "circle"


async def draw(page: Page, visit: Visit, request: Request, ways: tuple[Page, ...]) -> None:
    """Draw `page` in its frame, in the visit's language and theme."""
    title = f"{visit.say(f'{page.name}.title')} · {visit.project.name} · Limpide"
    client = ui.context.client
    client.page = ui.page(
        page.path,
        title=title,
        language="fr" if visit.language == "fr" else "en-GB",
        dark=THEMES[visit.theme],
        reconnect_timeout=client.page.resolve_reconnect_timeout(),
    )
    ui.add_head_html(f'<link rel="stylesheet" href="{look("look.css")}">')
    ui.add_head_html(f'<script defer src="{look("studio.js")}"></script>')
    _around(page, visit, request, ways)
    with ui.element("div").classes("page").props(f'id=content data-form="{visit.session.form}"'):
        with ui.element("div").classes("page-head"):
            parts.word("h1", visit.say(f"{page.name}.title"))
            parts.text(visit.say(f"{page.name}.lead")).classes("lead")
        try:
            visit.log("studio.page", page=page.name)
        except LimpideError as error:
            parts.error_notice(visit, error.record())  # looking changes nothing, so the page is shown all the same
        try:
            made = page.build(visit)
            if inspect.isawaitable(made):
                await made
        except LimpideError as error:
            parts.error_notice(visit, error.record())
        except Exception as error:
            parts.error_notice(visit, parts.fault(visit, error).record())


def _around(page: Page, visit: Visit, request: Request, ways: tuple[Page, ...]) -> None:
    """Header and way before the page, footer after it, outside <main>."""
    layout = ui.context.client.layout
    with layout:
        with ui.element("header").classes("top") as header:
            parts.link(visit.say("frame.skip"), "#content").classes("skip")
            _brand(visit)
            ui.element("div").classes("spring")
            _language_switch(visit, request)
            _theme_switch(visit)
            _person(visit)
            _menu_button(visit)
        with ui.element("nav").classes("way").props("id=way") as nav:
            _way(page, visit, ways)
        nav.props["aria-label"] = visit.say("frame.way")
        header.move(target_index=0)
        nav.move(target_index=1)
        with ui.element("footer").classes("foot"):
            parts.text(visit.say("frame.private")).classes("muted small")
            parts.text(f"Limpide {__version__}").classes("muted small")


def _brand(visit: Visit) -> None:
    home = ui.element("a").classes("brand").props("href=/")
    home.props["aria-label"] = visit.say("frame.home")
    with home:
        ui.html(LOGO, sanitize=False)
        parts.word("span", "Limpide").classes("brand-name")
    project = parts.word("span", visit.project.name).classes("project")
    project.props["title"] = str(visit.project.folder)


def marked(visit: Visit) -> tuple[str, str]:
    """(path, key of its chip): the run that goes on, else the next thing to do."""
    job = visit.jobs.last("run")
    if job is not None and visit.jobs.state(job) == "running":
        return "/run", "frame.job.chip.running"
    return visit.project.next_path(), "frame.following"


def _way(page: Page, visit: Visit, ways: tuple[Page, ...]) -> None:
    following, chip = marked(visit)
    with ui.element("ol"):
        for step in ways:
            with ui.element("li"):
                link = ui.element("a").props(f'href="{step.path}"')
                if step.path == page.path:
                    link.props("aria-current=page")
                with link:
                    ui.icon(step.icon)
                    parts.word("span", visit.say(f"frame.nav.{step.name}"))
                    if step.path == following != page.path:
                        parts.word("span", visit.say(chip)).classes("following")


def _language_switch(visit: Visit, request: Request) -> None:
    other = "fr" if visit.language == "en" else "en"
    back = quote(request.url.path)
    link = parts.link(visit.say("frame.other_language"), f"/language/{other}?back={back}").classes("switch")
    link.props(f"lang={other} hreflang={other}")


def _theme_switch(visit: Visit) -> None:
    button = ui.element("button").classes("switch icon").props("type=button id=theme")
    button.props["aria-label"] = visit.say("frame.theme")
    button.props["title"] = visit.say("frame.theme")
    with button:
        ui.icon("contrast")
    button.on("click", js_handler="() => limpide.nextTheme()")


def _person(visit: Visit) -> None:
    button = ui.element("button").classes("switch icon").props("type=button aria-haspopup=menu")
    button.props["aria-label"] = visit.say("frame.you", name=visit.name)
    button.props["title"] = visit.name
    with button:
        ui.icon("person")
        with ui.menu().props("auto-close anchor='bottom right' self='top right'"):
            with ui.element("div").classes("who"):
                parts.text(visit.say("frame.you", name=visit.name)).classes("strong")
                if visit.session.role is not None:
                    parts.text(visit.say(f"frame.role.{visit.session.role}")).classes("muted small")
            if visit.session.role is None:
                ui.menu_item(visit.say("frame.elsewhere"), on_click=lambda: ui.navigate.to("/elsewhere"))
            leave = ui.menu_item(visit.say("frame.leave" if visit.session.role is None else "frame.sign_out"))
            leave.on("click", js_handler="() => limpide.leave()")


def _menu_button(visit: Visit) -> None:
    button = ui.element("button").classes("switch icon menu-button").props("type=button id=menu aria-controls=way")
    button.props["aria-expanded"] = "false"
    button.props["aria-label"] = visit.say("frame.menu")
    with button:
        ui.icon("menu")
    button.on("click", js_handler="() => limpide.toggleMenu()")
