import json

import pytest

from limpide.core import errors
from limpide.core.errors import Fault, LimpideError, RecipeError, nearest

CODES = {
    "LimpideError": 1,
    "UsageError": 2,
    "RecipeError": 2,
    "DataError": 2,
    "ModelError": 2,
    "MissingError": 2,
    "GateFailed": 3,
    "ApprovalNeeded": 4,
    "UntrustedInput": 5,
    "IntegrityError": 6,
}


def test_exit_codes_never_change() -> None:
    tree = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert {name: kind.exit_code for name, kind in tree.items()} == CODES


@pytest.mark.parametrize("name", CODES)
def test_the_docstring_draws_every_error(name: str) -> None:
    assert errors.__doc__ is not None
    assert f"{name} " in errors.__doc__


def test_a_message_says_what_received_expected_and_what_to_do() -> None:
    faults = [Fault("recipe.yaml", 3, "unknown key 'nam'"), Fault("data.csv", None, "is empty")]
    error = RecipeError("Two faults.", received=0, expected="", remedy="limpide init", faults=faults)
    assert str(error) == (
        "Two faults.\n"
        "  recipe.yaml:3: unknown key 'nam'\n"
        "  data.csv: is empty\n"
        "  received: 0\n"
        "  expected: \n"
        "  to do:    limpide init"
    )


def test_what_was_not_given_is_not_shown() -> None:
    assert LimpideError("Only this.").lines() == ["Only this."]


def test_record_is_the_same_for_programs() -> None:
    error = RecipeError("No.", received=3, remedy="do this", faults=[Fault("r.yaml", 2, "bad")])
    assert json.loads(json.dumps(error.record())) == {
        "error": "RecipeError",
        "exit_code": 2,
        "what": "No.",
        "received": "3",
        "expected": None,
        "to_do": "do this",
        "faults": [{"file": "r.yaml", "line": 2, "what": "bad"}],
    }


def test_nearest() -> None:
    assert nearest("epoch", ["epochs", "rank"]) == " Did you mean 'epochs'?"
    assert nearest("zzz", ["epochs", "rank"]) == ""
    assert nearest("x", []) == ""
