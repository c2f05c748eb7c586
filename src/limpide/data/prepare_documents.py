"""The documents' part of `data.prepare`: read, checked for what must not be learnt, divided, written."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from limpide.core.errors import Fault
from limpide.core.progress import Progress
from limpide.data import leakage
from limpide.data.checks import Check, LeakPolicy, Policies, leakage_check, refuse, sensitive_check
from limpide.data.documents import Documents, read_documents
from limpide.data.duplicates import normalise
from limpide.data.passage_parts import PassageParts, divide
from limpide.data.passages import HELD_OUT, TRAIN, Passage, save_passages
from limpide.data.sensitive import SORTS, Seen, mask, pieces
from limpide.data.splits import SplitSettings
from limpide.data.writing import language_of

SENSITIVE = ("secrets", "personal_data", "names")


@dataclass(frozen=True)
class PreparedDocuments:
    """What is learnt from documents. checks: of secrets, personal data, names and leakage, as for examples."""

    documents: Documents
    parts: PassageParts
    checks: tuple[Check, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        said = [f"In the documents: {check.said}" for check in self.checks if check.severity == "warns"]
        return (*self.documents.warnings, *said, *self.parts.warnings)

    def record(self) -> dict[str, Any]:
        """For the report: plain JSON."""
        return self.documents.record() | {
            "train": len(self.parts.train),
            "held_out": len(self.parts.held_out),
            "split_by": self.parts.by,
            "near_duplicates": {"groups": len(self.parts.near), "passages": sum(map(len, self.parts.near))},
            "checks": {check.name: check.record() for check in self.checks},
        }

    def save(self, folder: Path) -> None:
        save_passages(folder / TRAIN, self.parts.train)
        save_passages(folder / HELD_OUT, self.parts.held_out)

    def said(self) -> str:
        return (
            f"{_counted(len(self.documents.passages), 'passage')} of "
            f"{_counted(len(self.documents.readings), 'document')}: "
            f"{len(self.parts.train)} to learn from, {len(self.parts.held_out)} held out"
        )


def prepare_documents(
    paths: Sequence[Path], policies: Policies, division: SplitSettings, seed: int, skip_bad: bool, progress: Progress
) -> PreparedDocuments:
    """Read the documents and divide their passages.

    Raises DataError with every fault of the documents, or with all that the policies refuse in them.
    """
    documents = read_documents(paths, skip_bad=skip_bad, progress=progress)
    passages, checks = check_passages(documents.passages, policies)
    refuse(checks)
    parts = divide(passages, division.held_out, seed, division.near_duplicate)
    return PreparedDocuments(documents, parts, tuple(checks))


def check_passages(passages: Sequence[Passage], policies: Policies) -> tuple[list[Passage], list[Check]]:
    """The passages as the policies let them be used, and what was found: secrets, personal data, names of people, and
    items of the shipped audits."""
    masked = {name for name in SENSITIVE if getattr(policies, name) == "mask"}
    seen = {sort.name: Seen() for sort in SORTS}
    spoken = _languages(passages) if masked else {}
    kept = []
    for passage in passages:
        found = pieces(passage.text)
        where = f"in {mask(passage.place, SENSITIVE)}" if passage.place else "in its text"
        for sort, piece in found:
            what = f"{sort.kinds[piece.kind]} '{sort.hint(piece)}' {where}"
            seen[sort.name].counts[piece.kind] += 1
            seen[sort.name].places.append(Fault(passage.document, None, what))
        for name in {sort.name for sort, _ in found}:
            seen[name].rows += 1
        hidden = any(sort.name in masked for sort, _ in (*found, *pieces(passage.place or "")))
        kept.append(_masked(passage, masked, spoken[passage.document]) if hidden else passage)
    checks = [sensitive_check(name, seen[name], getattr(policies, name)) for name in SENSITIVE]
    checks.append(_leakage(passages, policies.leakage))
    return kept, [_of_documents(check) for check in checks]


def _leakage(passages: Sequence[Passage], policy: LeakPolicy) -> Check:
    items = leakage.shipped(SplitSettings().near_duplicate)
    inside = [items.inside(normalise(passage.text)) for passage in passages]
    places = [
        Fault(passage.document, None, f"holds {leakage.describe(items.items, found)}, in {passage.place or 'its text'}")
        for passage, found in zip(passages, inside, strict=True)
        if found
    ]
    return leakage_check(places, set().union(*inside), items, policy)


def _of_documents(check: Check) -> Check:
    what, said = (text.replace("the examples", "the documents") for text in (check.what, check.said))
    remedy = None if check.remedy is None else check.remedy.replace("these rows", "these passages")
    return replace(check, what=what, said=said, remedy=remedy)


def _languages(passages: Sequence[Passage]) -> dict[str, str | None]:
    """{document: its language}: all of a document is masked in one, however little some of its passages say."""
    texts: dict[str, list[str]] = {}
    for passage in passages:
        texts.setdefault(passage.document, []).append(passage.text)
    return {document: language_of("\n".join(own)) for document, own in texts.items()}


def _masked(passage: Passage, masked: Collection[str], language: str | None) -> Passage:
    """Its place too, which is made of the headings above it."""
    place = None if passage.place is None else mask(passage.place, masked, language)
    return passage.model_copy(update={"text": mask(passage.text, masked, language), "place": place})


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
