import pytest

from limpide.core import catalogue
from limpide.core.errors import UsageError
from limpide.core.operation import Settings


@pytest.mark.parametrize("name", catalogue.CATALOGUE)
def test_every_operation_answers_to_its_name_and_explains_itself(name: str) -> None:
    operation = catalogue.find(name)
    assert operation.name == name
    assert operation.summary
    assert issubclass(operation.settings, Settings)
    undocumented = [n for n, field in operation.settings.model_fields.items() if not field.description]
    assert undocumented == []


def test_an_unknown_operation_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'audit\.bais'.*Did you mean 'audit\.bias'\?") as caught:
        catalogue.find("audit.bais")
    assert "adapt.train" in str(caught.value.expected)


def test_rooms() -> None:
    assert [op.name for op in catalogue.every()] == list(catalogue.CATALOGUE)
    assert {op.room for op in catalogue.in_room("audit")} == {"audit"}
    assert catalogue.in_room("aud") == []
