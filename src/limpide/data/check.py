"""`data.check`: every check of the examples and the documents, and nothing written but their report."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limpide.core import files
from limpide.core.operation import Operation, Result, Subject
from limpide.core.progress import Progress
from limpide.data import texts
from limpide.data.charter import Charter, load_charter
from limpide.data.checks import MOST_LISTED, Check
from limpide.data.examine import Examined, examine
from limpide.data.prepare import PrepareSettings, rules
from limpide.data.reading import Reading

if TYPE_CHECKING:
    from limpide.data.documents import Documents


@dataclass(frozen=True)
class Looked:
    """All that was looked at. of_documents: the checks of their passages. of_tokens: those that need a tokenizer."""

    examined: Examined
    documents: "Documents | None" = None
    of_documents: tuple[Check, ...] = ()
    charter: Charter | None = None
    of_tokens: tuple[Check, ...] = ()

    @property
    def checks(self) -> tuple[Check, ...]:
        return (*self.examined.checks, *self.of_tokens, *self.of_documents)

    def stopping(self) -> list[Check]:
        return [check for check in self.checks if check.severity == "stops"]

    def report(self, listed: int = MOST_LISTED) -> dict[str, Any]:
        """The checks, what was read as what, and the names of what stops, each once. listed: places of each check."""
        of_examples = (*self.examined.checks, *self.of_tokens)
        facts: dict[str, Any] = {
            "files": [_file(reading) for reading in self.examined.readings],
            "examples": len(self.examined.examples),
            "stops": list(dict.fromkeys(check.name for check in self.stopping())),
            "checks": {check.name: check.record(listed) for check in of_examples},
        }
        if self.documents is not None:
            found = {check.name: check.record(listed) for check in self.of_documents}
            facts["documents"] = self.documents.record() | {"checks": found}
        if self.charter is not None:
            parts = ("glossary", "forbidden", "required", "style_rules", "questions")
            facts["charter"] = {part: len(getattr(self.charter, part)) for part in parts}
        return facts


def _file(reading: Reading) -> dict[str, Any]:
    """languages: as declared, or as the text reads."""
    languages = Counter(one.language or texts.language(one) or "not recognised" for one in reading.examples)
    return {
        "file": reading.name,
        "rows": reading.rows,
        "columns": reading.columns.record(),
        "languages": dict(languages.most_common()),
        "warnings": list(reading.warnings),
    }


def look(settings: PrepareSettings, seed: int, progress: Progress) -> Looked:
    """Look at all that the settings name.

    Raises DataError where a file or a document cannot be read to its end, and with the faults of the charter.
    """
    charter = load_charter(settings.charter) if settings.charter is not None else None
    examined = examine(settings.examples, settings.columns, rules(settings), seed, progress)
    if not settings.documents:
        return Looked(examined, charter=charter)
    from limpide.data.documents import read_documents  # its readers are many imports
    from limpide.data.prepare_documents import check_passages

    documents = read_documents(settings.documents, skip_bad=settings.skip_bad_rows, progress=progress)
    return Looked(examined, documents, tuple(check_passages(documents.passages, rules(settings).policies)[1]), charter)


def run(subject: Subject, settings: PrepareSettings, progress: Progress) -> Result:
    """Writes checks.json. A check that stops is reported. Raises as `look`."""
    looked = look(settings, subject.seed, progress)
    facts = looked.report()
    files.write_json(subject.out / "checks.json", facts)
    return Result(facts=facts, warnings=tuple(check.said for check in looked.checks if check.severity != "told"))


operation = Operation(
    name="data.check",
    verb="look",
    summary="Check the examples and documents: every fault with its line, and how grave it is; nothing is changed",
    settings=PrepareSettings,
    run=run,
    source="runs of 13 words: Brown et al. 2020, appendix C; similarity join: Bayardo, Ma and Srikant 2007",
)
