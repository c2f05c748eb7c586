"""Which JSON schemas are refused before llama.cpp sees them, and that what it sees comes to an end."""

from typing import Any

import pytest

from limpide.serve.engines.schemas import check_schema
from limpide.serve.openai_types import ApiError

LISTS = {"type": "array", "items": {"type": "string"}}


@pytest.mark.parametrize(
    ("form", "place"),
    [
        ({"pattern": "X1"}, "'pattern'"),
        ({"properties": {"code": {"type": "string", "pattern": "X1"}}}, "'properties.code.pattern'"),
        ({"properties": {"pattern": {"anyOf": [{}, {"pattern": "X1"}]}}}, "'properties.pattern.anyOf[1].pattern'"),
    ],
)
def test_the_refusal_names_the_place_and_what_is_understood(form: dict[str, object], place: str) -> None:
    with pytest.raises(ApiError) as caught:
        check_schema(form)
    assert (caught.value.status, caught.value.code) == (400, "unsupported_pattern")
    assert f"at {place} of" in caught.value.message
    assert "^…$" in caught.value.message


def test_data_is_no_pattern() -> None:
    check_schema({"properties": {"pattern": {"const": {"pattern": "X1"}}}, "enum": [{"pattern": "X1"}]})


@pytest.mark.parametrize(
    ("form", "place"),
    [
        ({"type": "string", "minLength": 5, "maxLength": 2}, "'minLength'"),
        ({"properties": {"a": {"items": {**LISTS, "minItems": 3, "maxItems": 2}}}}, "'properties.a.items.minItems'"),
        ({"type": "integer", "minimum": 10, "maximum": 1}, "'minimum'"),
        ({"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 6}, "'minimum'"),
        ({"type": "integer", "minimum": 5, "exclusiveMaximum": 5}, "'minimum'"),
        ({"type": "string", "minLength": 2001}, "'minLength'"),
        ({"anyOf": [{}, {**LISTS, "minItems": 10**9}]}, "'anyOf[1].minItems'"),
    ],
)
def test_limits_that_nothing_meets_are_refused(form: dict[str, Any], place: str) -> None:
    with pytest.raises(ApiError) as caught:
        check_schema(form)
    assert (caught.value.status, caught.value.code) == (400, "unsupported_schema")
    assert place in caught.value.message


@pytest.mark.parametrize(
    "form",
    [
        {"type": "string", "minLength": 2, "maxLength": 2},
        {**LISTS, "minItems": 0, "maxItems": 0},
        {"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7},
        {"type": "number", "exclusiveMinimum": 5, "exclusiveMaximum": 6},
        {"type": "string", "minLength": 2000},
        {"minimum": True, "maximum": False, "minLength": "5", "maxLength": None},
        {"properties": {"minItems": {"type": "integer"}, "maxItems": {"type": "integer"}}},
        {"enum": [{"minItems": 5, "maxItems": 2}]},
    ],
)
def test_limits_that_something_meets_pass(form: dict[str, Any]) -> None:
    check_schema(form)
