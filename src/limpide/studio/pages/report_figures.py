"""Pictures and explanations as the documents draw them, for a page of the studio: the same templates, the same style.

The templates escape every text they are given. What is made here stands inside an element of the class EVIDENCE, whose
style reaches nothing else.
"""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from nicegui import ui
from nicegui.element import Element

from limpide.document.drawings import Picture
from limpide.document.explained import Block
from limpide.document.language import Language
from limpide.document.pages import TEMPLATES, environment

EVIDENCE = "evidence"
OWN = Path(__file__).with_name("report_look.css")


def picture(one: Picture, spoken: Language) -> str:
    """HTML of a picture of a suite."""
    return str(_macros("suite.html.jinja", spoken).picture(one))


def blocks(found: Sequence[Block], spoken: Language) -> str:
    """HTML of a part of an explanation."""
    macros = _macros("explained.jinja", spoken)
    return "".join(str(macros.block(one)) for one in found)


def _macros(template: str, spoken: Language) -> Any:
    return environment().get_template(template).make_module({"l": spoken})


def dress() -> None:
    """Give the page that is being drawn the style of pictures and numbers."""
    ui.add_css(style())


def evidence() -> Element:
    """Context manager: where pictures, tables and explanations of the documents may stand."""
    return ui.element("div").classes(EVIDENCE)


def drawn(html: str) -> Element:
    """HTML that this module made, as it is."""
    return ui.html(html, sanitize=False).classes(EVIDENCE)


@cache
def style() -> str:
    """The documents' own style, for elements of the class EVIDENCE alone; dark where the studio is."""
    light = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "explanation.css"))
    dark = re.search(r":root \{\s*(--ink[^}]*)\}", (TEMPLATES / "dark.css").read_text(encoding="utf-8"))
    assert dark is not None
    inside = light.replace(":root", "&")
    own = OWN.read_text(encoding="utf-8")
    return f".{EVIDENCE} {{\n{inside}\n}}\n.body--dark .{EVIDENCE} {{ {dark[1]} }}\n{own}"
