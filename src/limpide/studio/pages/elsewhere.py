"""A fresh one-time address, for a second browser of the same person."""

from nicegui import ui

from limpide.studio import parts
from limpide.studio.frame import Page
from limpide.studio.session import LocalSessions
from limpide.studio.visit import Visit


def build(visit: Visit) -> None:
    with parts.card() as box:
        parts.button(visit.say("elsewhere.make"), lambda: _make(visit, box), kind="primary", icon="add_link")


def _make(visit: Visit, box: ui.element) -> None:
    if visit.session.role is not None:
        return  # with accounts, the other browser signs in
    visit.log("studio.token")
    request = ui.context.client.request
    token = LocalSessions(visit.project.own).new_token()
    box.clear()
    with box:
        parts.text(visit.say("elsewhere.made"))
        parts.code(f"{request.url.scheme}://{request.url.netloc}/enter?token={token}")


PAGE = Page("/elsewhere", "elsewhere", build, icon="add_link")
