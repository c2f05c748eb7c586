"""Chat templates are programs. This reads their syntax tree and lets through only what a conversation needs.

`transformers` also renders them in a sandbox; this check comes first, and says which line is at fault. It cannot tell
whether the words a template adds are honest: `oddities` shows what a person should look at.
"""

import re
from collections.abc import Iterator
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.tests import TESTS

from limpide.core.errors import ModelError, UntrustedInput

LARGEST = 200_000  # characters; the longest published templates have some 20 thousand
LARGEST_FACTOR = 10_000  # in `text * number`
NODES = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Scope),
    *(nodes.For, nodes.If, nodes.Break, nodes.Continue, nodes.With),
    *(nodes.Assign, nodes.AssignBlock, nodes.NSRef, nodes.Macro, nodes.CallBlock, nodes.FilterBlock),
    *(nodes.Name, nodes.Const, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Keyword),
    *(nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Call, nodes.Filter, nodes.Test, nodes.CondExpr),
    *(nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Concat),
)
FUNCTIONS = frozenset({"raise_exception", "strftime_now", "namespace", "range", "dict", "caller"})
_words = re.compile(r"\w+").findall
METHODS = frozenset(
    _words(
        """append capitalize count cycle endswith find get index isalnum isalpha isdigit isspace items join keys lower
        lstrip partition removeprefix removesuffix replace rfind rpartition rsplit rstrip split splitlines startswith
        strip title tojson upper values zfill"""
    )
)
FILTERS = frozenset(
    _words(
        """abs batch capitalize count d default dictsort e escape first float forceescape groupby indent int items join
        last length list lower map max min reject rejectattr replace reverse round safe select selectattr slice sort
        string sum title tojson trim truncate unique upper urlencode wordcount"""
    )
)
_TAKES_ATTRIBUTE = frozenset({"map", "selectattr", "rejectattr", "groupby", "sort", "unique", "sum", "min", "max"})
_DUNDER = re.compile(r"__\w+__")
_URL = re.compile(r"https?://[^\s'\"<>)]+")
# Zero-width and direction-changing characters: a person reading the template does not see them.
_HIDDEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\U000e0000-\U000e007f]")


class _Generation(Extension):
    """Reads `{% generation %}…{% endgeneration %}`, by which templates mark what the assistant says."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares a set

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


def _environment() -> Environment:
    return Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"])


def check_template(text: str, where: str) -> tuple[str, ...]:
    """Oddities of the chat template `text`, which was found at `where`.

    Raises UntrustedInput when it uses anything outside the lists above, ModelError when it is not a template.
    """
    if len(text) > LARGEST:
        raise _refused(where, None, f"it is {len(text)} characters long; {LARGEST} are allowed")
    try:
        tree = _environment().parse(text)
    except TemplateSyntaxError as error:
        raise ModelError(
            f"{where}: the chat template is not valid Jinja.",
            received=f"line {error.lineno}: {error.message}",
            remedy="take the template from the model's publisher again",
        ) from error
    except RecursionError as error:
        raise _refused(where, None, "it is nested too deeply to be read") from error
    macros = {macro.name for macro in tree.find_all(nodes.Macro)}
    for node in _walk(tree):
        fault = _fault(node, macros)
        if fault is not None:
            raise _refused(where, getattr(node, "lineno", None), fault)
    return tuple(_oddities(text, where))


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(current.iter_child_nodes())


def _fault(node: nodes.Node, macros: set[str]) -> str | None:
    """Why this node may not stand in a chat template, or None."""
    if type(node) not in NODES:
        return f"it uses '{type(node).__name__.lower()}'"
    match node:
        case nodes.Getattr(attr=name) if name.startswith("_"):
            return f"it reaches for the attribute '{name}'"
        case nodes.Getitem(arg=nodes.Const(value=str() as name)) if name.startswith("_"):
            return f"it reaches for the item '{name}'"
        case nodes.NSRef(attr=name) if name.startswith("_"):
            return f"it sets the attribute '{name}'"
        case nodes.Const(value=str() as value) if _DUNDER.search(value):
            return f"it holds the text {value[:60]!r}, the form of Python's internal names"
        case nodes.Name(name=name) if _DUNDER.search(name):
            return f"it names '{name}'"
        case nodes.Call():
            return _call_fault(node, macros)
        case nodes.Filter(name=name):
            return _filter_fault(node, name)
        case nodes.Test(name=name) if name not in TESTS:
            return f"it uses the test '{name}'"
        case nodes.Mul(left=left, right=right):
            factors = [side.value for side in (left, right) if isinstance(side, nodes.Const)]
            if any(isinstance(factor, int) and factor > LARGEST_FACTOR for factor in factors):
                return "it repeats something more times than any conversation needs"
    return None


def _call_fault(node: nodes.Call, macros: set[str]) -> str | None:
    match node.node:
        case nodes.Name(name=name) if name in FUNCTIONS or name in macros:
            return None
        case nodes.Getattr(attr=name) if name in METHODS:
            return None
        case nodes.Name(name=name) | nodes.Getattr(attr=name):
            return f"it calls '{name}'"
    return "it calls something that is not a plain name"


def _filter_fault(node: nodes.Filter, name: str) -> str | None:
    if name not in FILTERS:
        return f"it uses the filter '{name}'"
    first = node.args[0] if node.args else None
    if name == "map" and first is not None:
        chosen = first.value if isinstance(first, nodes.Const) else None
        if chosen not in FILTERS:
            return f"it maps the filter '{chosen}'" if chosen else "it maps a filter chosen while it runs"
    if name in _TAKES_ATTRIBUTE:
        given: list[Any] = [*node.args, *(pair.value for pair in node.kwargs if pair.key == "attribute")]
        for argument in given:
            if isinstance(argument, nodes.Const) and isinstance(argument.value, str):
                part = next((p for p in argument.value.split(".") if p.startswith("_")), None)
                if part is not None:
                    return f"it reaches for the attribute '{part}'"
    return None


def _oddities(text: str, where: str) -> Iterator[str]:
    for url in sorted(set(_URL.findall(text))):
        yield f"{where}: the chat template contains the address {url}"
    hidden = sorted({f"U+{ord(character):04X}" for character in _HIDDEN.findall(text)})
    if hidden:
        yield f"{where}: the chat template contains characters that do not show on a screen: {', '.join(hidden)}"


def _refused(where: str, line: int | None, why: str) -> UntrustedInput:
    return UntrustedInput(
        f"{where}: the chat template was refused: {why}.",
        received=None if line is None else f"line {line} of the template",
        expected="loops, conditions, text, and the few functions that chat templates need",
        remedy="use the template of the model's publisher; if this is it, do not open the model before someone "
        "who knows Jinja has read it",
    )
