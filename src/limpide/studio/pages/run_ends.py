"""How a run ended, and what to do next: each way it can end has its own words and its own next page."""

from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Any

from limpide.core.errors import DataError
from limpide.document import tables
from limpide.document.evidence import Evidence, Gate, load_evidence
from limpide.recipe.finish import WRITTEN
from limpide.release.listing import ATTESTATIONS
from limpide.studio import parts
from limpide.studio.jobs import Job
from limpide.studio.project import Project
from limpide.studio.visit import Visit

HELD, WAITS = 3, 4  # exit codes: a gate failed; a named person must approve
GATE_KINDS: Mapping[str, parts.Kind] = {"pass": "good", "fail": "bad", "insufficient evidence": "warning"}


def ended(visit: Visit, job: Job, name: str, version: str) -> None:
    """What the end of a job says. name, version: of the recipe, whose documents tell which gates held."""
    code, state = visit.jobs.code(job), visit.jobs.state(job)
    if state == "done":
        _done(visit, job)
    elif code == HELD:
        _held(visit, name)
    elif code == WAITS:
        approved = any(visit.project.folder.glob(f"releases/{escape(f'{name}-{version}')}/{ATTESTATIONS}/approval-*"))
        parts.notice("good" if approved else "info", visit.say("run.end.approved" if approved else "run.end.waits"))
        with parts.row():
            parts.link(visit.say("run.to.release"), "/release").classes("button primary")
            parts.link(visit.say("run.to.report"), "/report").classes("button plain")
    elif state in ("stopped", "killed"):
        parts.notice("warning", visit.say(f"run.end.{state}"), visit.say("run.end.kept"))
    else:
        _failed(visit, job)


def _done(visit: Visit, job: Job) -> None:
    result = visit.jobs.result(job)
    made = isinstance(result, Mapping) and result.get("made")
    parts.notice("good", visit.say("run.end.made" if made else "run.end.same"))
    with parts.row():
        parts.link(visit.say("run.to.report"), "/report").classes("button primary")
        parts.link(visit.say("run.to.ask"), "/ask").classes("button plain")


def _held(visit: Visit, name: str) -> None:
    """The release is not made: which rules failed, in the words of the evidence."""
    parts.notice("bad", visit.say("run.end.held"), visit.say("run.end.held.next"))
    evidence = last_evidence(visit.project, name)
    if evidence is not None:
        _gates(visit, evidence)
    with parts.row():
        parts.link(visit.say("run.to.report"), "/report").classes("button primary")
        parts.link(visit.say("run.to.recipe"), "/recipe").classes("button plain")
        parts.link(visit.say("run.to.data"), "/data").classes("button plain")


def _gates(visit: Visit, evidence: Evidence) -> None:
    """Each rule, those that do not hold first, with what was found, as the report says it."""
    told = sorted(zip(evidence.gates, tables.gate_rows(evidence, visit.words), strict=True), key=_holds)
    rows = [(_verdict(visit, gate), _rule(row), row.sentence or "") for gate, row in told]
    columns = [visit.say(f"run.gates.{column}") for column in ("verdict", "rule", "why")]
    if rows:
        parts.table(columns, rows, caption=visit.say("run.gates.caption"))
    shown = [row.sentence for _, row in told if row.sentence]
    for words, _ in tables.reasons(evidence, visit.words):
        if not any(sentence in words for sentence in shown):
            parts.text(words).classes("muted")


def _holds(told: tuple[Gate, tables.GateRow]) -> bool:
    return told[0].verdict == "pass"


def _rule(row: tables.GateRow) -> Any:
    def draw() -> None:
        parts.word("div", row.said)
        if row.said != row.rule:
            parts.word("div", row.rule).classes("muted small")

    return draw


def _verdict(visit: Visit, gate: Gate) -> Any:
    key = f"run.gate.{gate.verdict.replace(' ', '_')}"
    return lambda: parts.chip(visit.say(key), GATE_KINDS[gate.verdict])


def _failed(visit: Visit, job: Job) -> None:
    error = visit.jobs.error(job)
    if error is None:
        parts.notice("bad", visit.say("run.end.unknown"), visit.say("run.end.kept"))
        return
    parts.error_notice(visit, error, of_command=True)
    if error.get("exit_code") == 2:
        page = "data" if error.get("error") == DataError.__name__ else "recipe"
        parts.link(visit.say(f"run.to.{page}"), f"/{page}")


def last_evidence(project: Project, name: str) -> Evidence | None:
    """What the last run of the recipe `name` found, kept whatever the verdict; None where nothing can be read."""
    root = project.folder / ".limpide" / name / "documents"
    if not name or Path(name).name != name or not root.is_dir():
        return None
    found = [folder / WRITTEN for folder in root.iterdir() if (folder / WRITTEN).is_file()]
    try:
        return load_evidence(max(found, key=lambda path: path.stat().st_mtime))
    except (ValueError, OSError, DataError):
        return None
