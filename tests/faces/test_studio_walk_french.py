"""The whole way in a real browser, in French; the studio is killed in the middle of the run, and started again."""

from pathlib import Path
from typing import Any

import pytest
from walk import the_whole_way
from walker import walking

pytestmark = [pytest.mark.whole, pytest.mark.timeout(3600)]


def test_from_a_model_to_a_service_in_french(chromium: Any, tmp_path: Path) -> None:
    with walking(chromium, tmp_path / "Atelier des presses", "fr") as person:
        the_whole_way(person, killed=True)
    assert person.faults == {}
