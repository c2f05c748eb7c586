"""Which patterns of a JSON schema llama.cpp keeps to; the others are refused, where it would drop them in silence."""

import re

import pytest

from limpide.serve.engines.patterns import understood

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
