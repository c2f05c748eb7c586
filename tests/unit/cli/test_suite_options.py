"""Options of a suite stand beside those of `limpide audit` itself: two of one name would silently be one."""

from dataclasses import fields

import pytest

from limpide.cli.whom import Order, Outside
from limpide.core import catalogue
from limpide.models.address import EndpointSettings

TAKEN = (
    {f.name for f in (*fields(Outside), *fields(Order))} | set(EndpointSettings.model_fields) | {"data", "out", "yes"}
)


@pytest.mark.parametrize("suite", catalogue.suites())
def test_no_setting_of_a_suite_has_the_name_of_an_option_of_all(suite: str) -> None:
    assert set(catalogue.find(f"audit.{suite}").settings.model_fields) & TAKEN == set()
