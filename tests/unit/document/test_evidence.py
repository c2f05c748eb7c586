"""The record: reads back as written, refuses what it does not know."""

from pathlib import Path

import pytest

from evidence_sample import bare, evidence
from limpide.core.errors import DataError
from limpide.document.evidence import Evidence, load_evidence, save_evidence


@pytest.mark.parametrize("made", [evidence(), bare()], ids=["sample", "bare"])
def test_reads_back_as_written(made: Evidence, tmp_path: Path) -> None:
    save_evidence(tmp_path / "evidence.json", made)
    assert load_evidence(tmp_path / "evidence.json") == made


def test_a_record_of_something_else_is_refused_with_the_field(tmp_path: Path) -> None:
    (tmp_path / "evidence.json").write_text('{"name": "x", "surprise": 1}')
    with pytest.raises(DataError, match="not a record of evidence") as error:
        load_evidence(tmp_path / "evidence.json")
    assert "surprise" in str(error.value)
    assert "limpide run" in str(error.value)


def test_an_absent_file_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_evidence(tmp_path / "evidence.json")
