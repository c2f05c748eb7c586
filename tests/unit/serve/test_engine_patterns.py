"""Which patterns of a JSON schema llama.cpp keeps to; the others are refused, where it would drop them in silence."""

import re

import pytest

from limpide.serve.engines.patterns import check_patterns, understood
from limpide.serve.openai_types import ApiError

KEPT = ("^X1$", "^[0-9]{2}-[A-Z]+$", "^(?:ab|c)+$", r"^a\.b$", r"^[\]a]+$", "^a{2,3}$", "^[é-ü]+$", "^$", r"^\($")
DROPPED = ("X1", "^X1", "X1$", r"^\d$", r"^[\w-]+$", r"^a\bb$", r"^\p{L}$", "^(?=a)b$", "^(?i)a$", r"^(a)\1$", "^a$b$")
BROKEN = (r"^[\t]$", '^"$', "^.$", "^[^a]$", "^[A-z]$", "^[ -~]$", "^é+$", "^a+?$", "^a{3,2}$", "^a{9999}$", "^(a$")
NESTED = (
    "^((a{40}){40})$",
    "^" + "(" * 51 + "a" + ")" * 51 + "$",
    "^)a($",
    "^*a$",
    "^a++$",
    "^[z-a]$",
    "^a{,3}$",
    "^[]$",
)


@pytest.mark.parametrize("pattern", KEPT)
def test_kept(pattern: str) -> None:
    assert understood(pattern)
    assert re.compile(pattern)


@pytest.mark.parametrize("pattern", [*DROPPED, *BROKEN, *NESTED])
def test_not_kept(pattern: str) -> None:
    assert not understood(pattern)


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
        check_patterns(form)
    assert (caught.value.status, caught.value.code) == (400, "unsupported_pattern")
    assert f"at {place} of" in caught.value.message
    assert "^…$" in caught.value.message


def test_data_is_no_pattern() -> None:
    check_patterns({"properties": {"pattern": {"const": {"pattern": "X1"}}}, "enum": [{"pattern": "X1"}]})
