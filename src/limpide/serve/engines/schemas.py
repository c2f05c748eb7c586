"""JSON schemas of answers, as llama.cpp obeys them.

What it would drop in silence, or never come to an end with, is refused here: a pattern that it cannot read, and limits
that nothing meets. Of `minItems` 5 with `maxItems` 2 it makes a grammar until the memory is full.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from limpide.serve.engines.patterns import MOST_REPEATED, understood
from limpide.serve.openai_types import ApiError

NAMED = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})  # name → schema
DATA = frozenset({"enum", "const", "default", "examples"})  # no schema inside
LIMITS = (("minLength", "maxLength"), ("minItems", "maxItems"), ("minimum", "maximum"))
LARGEST_LEAST = 2000  # of `minLength` and `minItems`: of more, llama.cpp prints the whole grammar, and refuses it


def check_schema(form: Mapping[str, Any]) -> None:
    """form: a JSON schema. Raises ApiError (400) that names the first place that would not be kept."""
    for place, one in _objects(form):
        pattern = one.get("pattern")
        if isinstance(pattern, str) and not understood(pattern):
            raise _refused(
                "unsupported_pattern",
                f"The pattern at '{_at(place, 'pattern')}' of the schema would not be kept by llama.cpp. Understood "
                "are: ^…$ around plain ASCII characters, classes such as [0-9A-Z] (not negated, without quotation mark "
                "and backslash), groups, | and the repetitions * + ? {n} {n,} {n,m}, up to "
                f"{MOST_REPEATED} times in all. \\d is written [0-9].",
            )
        for least, most in LIMITS:
            low, high = _limits(one, least, most)
            if low > high:
                raise _refused("unsupported_schema", f"Nothing meets '{_at(place, least)}' and '{most}' of the schema.")
        for name in ("minLength", "minItems"):
            if _number(one, name, 0) > LARGEST_LEAST:
                raise _refused("unsupported_schema", f"'{_at(place, name)}' of the schema is over {LARGEST_LEAST}.")


def _limits(one: Mapping[str, Any], least: str, most: str) -> tuple[float, float]:
    """Of a whole number, with what its exclusive limits leave."""
    lows, highs = [_number(one, least, -math.inf)], [_number(one, most, math.inf)]
    if least == "minimum" and one.get("type") == "integer":
        lows.append(_number(one, "exclusiveMinimum", -math.inf) + 1)
        highs.append(_number(one, "exclusiveMaximum", math.inf) - 1)
    return max(lows), min(highs)


def _number(one: Mapping[str, Any], name: str, absent: float) -> float:
    value = one.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else absent


def _objects(form: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, schema) of the schema and all within it."""
    waiting: list[tuple[str, Any]] = [("", form)]
    while waiting:
        place, one = waiting.pop()
        if isinstance(one, list):
            waiting += [(f"{place}[{index}]", inner) for index, inner in enumerate(one)]
        if not isinstance(one, dict):
            continue
        yield place, one
        for name, inner in one.items():
            if name in NAMED and isinstance(inner, dict):
                waiting += [(f"{place}.{name}.{key}", schema) for key, schema in inner.items()]
            elif name not in DATA:
                waiting.append((f"{place}.{name}", inner))


def _at(place: str, name: str) -> str:
    return f"{place}.{name}".removeprefix(".")


def _refused(code: str, message: str) -> ApiError:
    return ApiError(400, message, code=code, param="response_format")
