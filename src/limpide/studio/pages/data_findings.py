"""What `limpide data check --json` found, sorted for a page: the gravest first, each with what can be done about it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from limpide.studio.pages.data_places import Place, place_of

Severity = Literal["stops", "warns", "told"]
Of = Literal["examples", "documents"]
GRAVITY: tuple[Severity, ...] = ("stops", "warns", "told")
# Check → the setting of `data` that does something about all it found at once.
MENDS: Mapping[str, tuple[str, Any]] = {
    "rows": ("skip_bad_rows", True),
    "personal_data": ("personal_data", "mask"),
    "secrets": ("secrets", "mask"),
    "names": ("names", "mask"),
}


@dataclass(frozen=True)
class Finding:
    """One check that found something. count: things; rows: that hold them. places: those listed, of `count`.

    mend: (setting, value) by which all of it is dealt with at once, None where only the file can be changed.
    mended: was that setting chosen.
    """

    name: str
    severity: Severity
    of: Of
    count: int
    rows: int
    places: tuple[Place, ...]
    mend: tuple[str, Any] | None
    mended: bool


@dataclass(frozen=True)
class Findings:
    """quiet: names of the checks that found nothing."""

    found: tuple[Finding, ...]
    quiet: tuple[str, ...]

    @property
    def stops(self) -> bool:
        return any(one.severity == "stops" for one in self.found)


def findings_of(report: Mapping[str, Any], settings: Mapping[str, Any]) -> Findings:
    """What a report holds. settings: of `data`, as they were when it was made."""
    every = [*_checks(report, "examples", settings), *_checks(report.get("documents", {}), "documents", settings)]
    found = [one for one in every if one.severity != "told" or (one.count and one.places)]
    found.sort(key=lambda one: GRAVITY.index(one.severity))
    named = {one.name for one in found}
    return Findings(tuple(found), tuple(dict.fromkeys(one.name for one in every if one.name not in named)))


def _checks(report: Mapping[str, Any], of: Of, settings: Mapping[str, Any]) -> Iterator[Finding]:
    files = [str(file["file"]) for file in report.get("files", ())]
    for name, record in report.get("checks", {}).items():
        mend = MENDS.get(name) if of == "examples" or name != "rows" else None
        yield Finding(
            name=name,
            severity=record["severity"],
            of=of,
            count=record["count"],
            rows=record["rows"],
            places=tuple(place_of(printed, files) for printed in record["places"]),
            mend=mend,
            mended=mend is not None and settings.get(mend[0]) == mend[1],
        )


def totals(report: Mapping[str, Any]) -> dict[str, int]:
    """Counts for the head of the page: name → how many, zeros left out."""
    documents, charter = report.get("documents", {}), report.get("charter", {})
    found = {
        "examples": report.get("examples", 0),
        "held_back": sum(file["rows"] for file in report.get("files", ())) - report.get("examples", 0),
        "texts": len(documents.get("files", ())),
        "passages": documents.get("passages", 0),
        "rules": sum(count for part, count in charter.items() if part != "questions"),
    }
    return {name: count for name, count in found.items() if count}
