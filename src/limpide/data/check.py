"""`data.check`: every check of the examples and the documents, and nothing written but their report."""

from collections.abc import Sequence
from typing import Any

from limpide.core import files
from limpide.core.operation import Operation, Result, Subject
from limpide.core.progress import Progress
from limpide.data.charter import load_charter
from limpide.data.checks import Check
from limpide.data.examine import Examined, examine
from limpide.data.prepare import PrepareSettings, rules


def run(subject: Subject, settings: PrepareSettings, progress: Progress) -> Result:
    """Writes checks.json. A check that stops is reported.

    Raises DataError where a file or a document cannot be read to its end, and with the faults of the charter.
    """
    if settings.charter is not None:
        load_charter(settings.charter)
    examined = examine(settings.examples, settings.columns, rules(settings), subject.seed, progress)
    facts, checks = report(examined), list(examined.checks)
    if settings.documents:
        record, found = _documents(settings, progress)
        facts |= {"documents": record, "stops": _stopping([*checks, *found])}
        checks += found
    files.write_json(subject.out / "checks.json", facts)
    return Result(facts=facts, warnings=tuple(c.said for c in checks if c.severity != "told"))


def _documents(settings: PrepareSettings, progress: Progress) -> tuple[dict[str, Any], list[Check]]:
    from limpide.data.documents import read_documents  # its readers are many imports
    from limpide.data.prepare_documents import check_passages

    documents = read_documents(settings.documents, skip_bad=settings.skip_bad_rows, progress=progress)
    checks = check_passages(documents.passages, rules(settings).policies)[1]
    return documents.record() | {"checks": {check.name: check.record() for check in checks}}, checks


def _stopping(checks: Sequence[Check]) -> list[str]:
    """Names of the checks that stop, each once."""
    return list(dict.fromkeys(check.name for check in checks if check.severity == "stops"))


def report(examined: Examined) -> dict[str, Any]:
    """The checks, and what was read as what."""
    return {
        "files": [{"file": r.name, "rows": r.rows, "columns": r.columns.record()} for r in examined.readings],
        "examples": len(examined.examples),
        "stops": _stopping(examined.checks),
        "checks": {check.name: check.record() for check in examined.checks},
    }


operation = Operation(
    name="data.check",
    verb="look",
    summary="Check the examples and documents: every fault with its line, and how grave it is; nothing is changed",
    settings=PrepareSettings,
    run=run,
    source="runs of 13 words: Brown et al. 2020, appendix C; similarity join: Bayardo, Ma and Srikant 2007",
)
