"""The documents of the sample, byte for byte. After a wanted change: python tests/golden/test_documents_golden.py"""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "documents"
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2] / "src")] if __name__ == "__main__" else []

from evidence_sample import evidence  # noqa: E402
from limpide.document.card import card  # noqa: E402
from limpide.document.write import write_documents  # noqa: E402

NAMES = ("README.md", "evidence/report.html", "evidence/report.fr.html")


@pytest.mark.parametrize("name", NAMES)
def test_documents_are_what_they_were(name: str, tmp_path: Path) -> None:
    write_documents(evidence(), tmp_path)
    assert (tmp_path / name).read_text(encoding="utf-8") == (HERE / name).read_text(encoding="utf-8")


def test_the_french_card_is_what_it_was() -> None:
    assert card(evidence(), "fr") == (HERE / "README.fr.md").read_text(encoding="utf-8")


if __name__ == "__main__":
    write_documents(evidence(), HERE)
    (HERE / "README.fr.md").write_text(card(evidence(), "fr"), encoding="utf-8")
