"""Which of several releases or runs a page is about: the one that its address names, `?of=ID`, else the newest."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar
from urllib.parse import quote

from nicegui import ui
from nicegui.events import ValueChangeEventArguments


class Named(Protocol):
    @property
    def id(self) -> str: ...


N = TypeVar("N", bound=Named)


def asked_for(found: Sequence[N]) -> N:
    """found: at least one, the newest first."""
    asked = ui.context.client.request.query_params.get("of", "")
    return next((one for one in found if one.id == asked), found[0])


def choice(path: str, options: Mapping[str, str], chosen: Named, label: str) -> None:
    """Lets a person go to another one. path: of the page. options: id → as it is shown; with one there is no choice."""
    if len(options) < 2:
        return

    def go(event: ValueChangeEventArguments[str]) -> None:
        ui.navigate.to(f"{path}?of={quote(str(event.value))}")

    select = ui.select(dict(options), value=chosen.id, label=label, on_change=go)
    select.props("outlined").classes("field wide")
