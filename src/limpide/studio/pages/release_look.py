"""The few rules of style that the pages of releases, questions and the service have of their own."""

from pathlib import Path

from nicegui import ui

LOOK = Path(__file__).with_name("release_look.css")


def dress() -> None:
    """Give the page that is being drawn this style."""
    ui.add_css(LOOK)
