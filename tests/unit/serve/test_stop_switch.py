import json
import os
from pathlib import Path

import pytest

from limpide.core.errors import UsageError
from limpide.serve.stop_switch import FILE, resume, stop, stopped


def test_an_order_holds_until_it_is_taken_back(tmp_path: Path) -> None:
    assert stopped(tmp_path) is None
    order = stop(tmp_path, "A. Martin", "wrong  doses\n")
    assert (order.who, order.why) == ("A. Martin", "wrong doses")
    assert stopped(tmp_path) == order
    again = stop(tmp_path, "B. Petit", "still wrong")
    assert stopped(tmp_path) == again
    assert resume(tmp_path, "A. Martin") == again
    assert stopped(tmp_path) is None
    assert resume(tmp_path, "A. Martin") is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"who": "a"}', json.dumps({"who": "a", "why": "b", "since": "x"})])
def test_a_file_that_cannot_be_read_stops_the_service_too(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    order = stopped(tmp_path)
    assert order is not None
    assert order.who == "unknown"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this account may read everything")
def test_a_folder_that_may_not_be_looked_into(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0)
    assert stopped(state) is not None


@pytest.mark.parametrize(("who", "why"), [("", "a"), (" ", "a"), ("a", ""), ("a", "\n"), ("a", "b" * 501)])
def test_nobody_stops_without_a_name_and_a_reason(tmp_path: Path, who: str, why: str) -> None:
    with pytest.raises(UsageError, match="named person") as caught:
        stop(tmp_path, who, why)
    assert "limpide stop --who" in str(caught.value)
    assert stopped(tmp_path) is None
    with pytest.raises(UsageError):
        resume(tmp_path, " ")
