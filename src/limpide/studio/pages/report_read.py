"""What a folder has to report: evidence of its releases, and of runs whose release was held back or is not made yet.

Numbers are read where the run wrote them (`evidence/`); nothing here computes one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from limpide.core import files
from limpide.core.errors import DataError, LimpideError
from limpide.core.measure import Measure
from limpide.document.evidence import Evidence, Verdict, load_evidence
from limpide.document.report import report_name

EVIDENCE = Path("evidence", "evidence.json")
ITEMS = Path("evidence", "items")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Reported:
    """One run that ended. folder: holds `evidence/`. release: whether it is a release, or the documents of none."""

    id: str
    name: str
    version: str
    verdict: Verdict
    date: str
    folder: Path
    release: bool

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}"


def reports(project: Path) -> list[Reported]:
    """Releases of the folder, and runs that left documents but no release; the newest first. Without those whose
    evidence cannot be read: of releases, see `unread`; of a run, it says so itself."""
    made = [found for path in _folders(project / "releases", "*") if (found := _reported(path, release=True))]
    known = {found.title for found in made}
    others = (_reported(path, release=False) for path in _folders(project / ".limpide", "*/documents/*"))
    held = [found for found in others if found and not (found.verdict == "ship" and found.title in known)]
    return sorted([*made, *held], key=lambda found: (found.date, found.release), reverse=True)


def unread(project: Path) -> list[str]:
    """Names of releases that have evidence this version cannot read: another version wrote it, or it is damaged."""
    folders = [path for path in _folders(project / "releases", "*") if (path / EVIDENCE).is_file()]
    return [path.name for path in folders if _reported(path, release=True) is None]


def evidence_of(found: Reported) -> Evidence:
    """The whole record of a run. Raises DataError."""
    path = found.folder / EVIDENCE
    return _evidence(path, path.stat().st_mtime_ns)


def whole_report(found: Reported, language: str) -> Path | None:
    """The report as one page, in the language asked for if it was written in it."""
    evidence = evidence_of(found)
    codes = (
        [language, *evidence.report_languages]
        if language in evidence.report_languages
        else [*evidence.report_languages]
    )
    paths = (found.folder / "evidence" / report_name(evidence, code) for code in codes)
    return next((path for path in paths if path.is_file()), None)


def items_of(folder: Path, measure: Measure) -> list[Row]:
    """The items behind a measure, in the order in which they were asked; empty where the run kept none.

    Raises DataError when the file cannot be read.
    """
    suite = measure.name.partition(".")[0]
    path = folder / ITEMS / f"{measure.subject}-{suite}.jsonl"
    if not path.is_file():
        return []
    metric = metric_of(folder, measure)
    rows = _rows(path, path.stat().st_mtime_ns)
    return [row for row in rows if _inside(row, measure.group) and (metric is None or metric in row.get("metric", {}))]


def metric_of(folder: Path, measure: Measure) -> str | None:
    """Which number of its items feeds a measure; None where the run did not keep it."""
    suite = measure.name.partition(".")[0]
    path = folder / ITEMS / f"{measure.subject}-{suite}.specs.json"
    if not path.is_file():
        return None
    specs = _specs(path, path.stat().st_mtime_ns)
    return next(
        (str(spec["metric"]) for spec in specs if spec.get("name") == measure.name and spec.get("metric")), None
    )


def _inside(row: Row, group: Mapping[str, str]) -> bool:
    own = row.get("group", {})
    return all(str(own.get(key, row.get(key))) == value for key, value in group.items())


def _folders(root: Path, pattern: str) -> Iterator[Path]:
    return (path for path in sorted(root.glob(pattern)) if not path.name.startswith(".") and not path.is_symlink())


def _reported(folder: Path, *, release: bool) -> Reported | None:
    path = folder / EVIDENCE
    try:
        evidence = _evidence(path, path.stat().st_mtime_ns)
    except (OSError, LimpideError):
        return None
    date = evidence.environment.date or ""
    kind = "release" if release else "run"
    return Reported(f"{kind}-{folder.name}", evidence.name, evidence.version, evidence.verdict, date, folder, release)


@lru_cache(maxsize=32)
def _evidence(path: Path, changed: int) -> Evidence:
    """changed: when the file was written, so that a new one is read again."""
    return load_evidence(path)


@lru_cache(maxsize=16)
def _rows(path: Path, changed: int) -> Sequence[Row]:
    try:
        return tuple(files.read_jsonl(path))
    except (OSError, ValueError) as error:
        raise DataError(
            f"The items in {path.name} cannot be read.", received=error, remedy="verify the release, or run it again"
        ) from error


@lru_cache(maxsize=32)
def _specs(path: Path, changed: int) -> Sequence[Row]:
    try:
        found = files.read_json(path)
    except (OSError, ValueError):
        return ()
    return tuple(one for one in found if isinstance(one, dict)) if isinstance(found, list) else ()
