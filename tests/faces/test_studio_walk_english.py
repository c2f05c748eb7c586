"""The whole way in a real browser, in English; the browser is closed in the middle of the run."""

from pathlib import Path
from typing import Any

import pytest
from walk import the_whole_way
from walker import walking

pytestmark = [pytest.mark.whole, pytest.mark.timeout(3600)]


def test_from_a_model_to_a_service_in_english(chromium: Any, tmp_path: Path) -> None:
    with walking(chromium, tmp_path / "Press workshop", "en") as person:
        the_whole_way(person, killed=False)
    assert person.faults == {}
