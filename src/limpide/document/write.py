"""Write the documents of a release: the card and a report a language."""

from pathlib import Path

from limpide.core import files
from limpide.document.card import card
from limpide.document.evidence import Evidence
from limpide.document.report import report, report_name


def write_documents(evidence: Evidence, folder: Path) -> list[Path]:
    """Write the card and the reports under `folder`; returns what was written.

    README.md is in the first of `evidence.report_languages`; so is evidence/report.html. Every other language has
    evidence/report.<language>.html. The reports link to each other. Raises UsageError when the disk refuses.
    """
    pages = {folder / "README.md": card(evidence, evidence.report_languages[0])}
    for code in dict.fromkeys(evidence.report_languages):
        pages[folder / "evidence" / report_name(evidence, code)] = report(evidence, code)
    for path, page in pages.items():
        files.write_text(path, page)
    return list(pages)
