"""How every page is made: templates that escape all they are given."""

import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


@cache
def environment() -> Environment:
    """Templates that escape every value."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["breakable"] = breakable
    return made


def breakable(identifier: str) -> Markup:
    """An identifier that may break before a bracket and after a comma, never inside a word."""
    return Markup("<wbr>").join(re.split(r"(?=[\[(])|(?<=[,=+])|(?<=\.)(?=[a-z])", identifier))
