"""What the folders of audits hold, read as it is: measures, items and facts, for the documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from limpide.core import files
from limpide.core.errors import DataError
from limpide.core.measure import Measure, load_measures
from limpide.document.evidence import Audited, SuiteEvidence
from limpide.document.opened import choose

RECORD, SUITE_RECORD = "audit.json", "suite.json"
MEASURES, ITEMS, RESULT = "measures.jsonl", "items.jsonl", "result.json"
# Facts of a result that the documents show; the others stay in its folder.
KEPT = ("dialect", "reliability", "risk_coverage", "topics", "confusion")
REMEDY = "name a folder written by `limpide audit`, with --out"


@dataclass(frozen=True)
class SuiteFolder:
    """The folder of one suite of one model, read."""

    measures: tuple[Measure, ...]
    items: tuple[Mapping[str, Any], ...]
    facts: Mapping[str, Any]
    warnings: tuple[str, ...]


def read_suite(folder: Path) -> SuiteFolder:
    """Raises DataError when the folder is not what an audit leaves."""
    try:
        result = files.read_json(folder / RESULT)
        items = files.read_jsonl(folder / ITEMS) if (folder / ITEMS).is_file() else []
        return SuiteFolder(
            tuple(load_measures(folder / MEASURES)), tuple(items), dict(result["facts"]), tuple(result["warnings"])
        )
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise _not_an_audit(folder, error) from error


def suite_evidence(
    name: str,
    items: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
    *,
    before: Sequence[Mapping[str, Any]] = (),
    facts_before: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    rerun: str | None = None,
) -> SuiteEvidence:
    """What a suite shows beside its measures. items, before: rows of items.jsonl of the result and of the base."""
    return SuiteEvidence(
        name=name,
        opened=choose(name, items, before),
        facts={key: facts[key] for key in KEPT if key in facts},
        facts_before={key: facts_before[key] for key in KEPT if key in facts_before} if facts_before else {},
        warnings=tuple(warnings),
        rerun=rerun,
    )


def is_audit(folder: Path) -> bool:
    """Whether the folder was left by `limpide audit`: of several suites, or of one."""
    return (folder / RECORD).is_file() or (folder / MEASURES).is_file()


def read_audited(folder: Path) -> tuple[Audited, dict[str, Path]]:
    """Who was audited, and the folder of each suite that ended. Raises DataError when it is no audit.

    A folder of one suite is read from its measures, and from what its suite.json tells.
    """
    if not (folder / RECORD).is_file():
        return _one_suite(folder)
    try:
        record = files.read_json(folder / RECORD)
        suites: Mapping[str, Any] = record["suites"]
        finished = {name: folder / name for name, suite in suites.items() if suite["state"] == "finished"}
        versions = {str(name): str(version) for name, version in record["versions"].items()}
        audited = Audited(
            title=record["title"],
            kind=record["kind"],
            digest=record["model_digest"],
            seed=record["seed"],
            date=record["date"],
            versions=versions,
            command=record["command"],
            left_out={name: str(suite["why"]) for name, suite in suites.items() if suite["state"] == "not run"},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise _not_an_audit(folder, error) from error
    return audited, finished


def _one_suite(folder: Path) -> tuple[Audited, dict[str, Path]]:
    measures = read_suite(folder).measures
    if not measures:
        raise DataError(f"{folder} holds no measure.", expected="an audit that ended", remedy=REMEDY)
    first = measures[0]
    audited = Audited(title=first.subject, digest=first.model_digest, seed=first.seed, versions=first.versions)
    path = folder / SUITE_RECORD
    record = files.read_json(path) if path.is_file() else {}
    told = {name: record[name] for name in ("title", "kind", "date", "command") if name in record}
    return audited.model_copy(update=told), {first.name.split(".")[0]: folder}


def _not_an_audit(folder: Path, error: Exception) -> DataError:
    why = f"{type(error).__name__}: {error}" if not isinstance(error, OSError) else error.strerror
    return DataError(f"{folder} is not the folder of an audit.", received=why, remedy=REMEDY)
