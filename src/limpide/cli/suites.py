"""Audits run from the command line: one suite into a folder, or several, each kept as soon as it is whole."""

import shlex
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

import limpide
from limpide.audit.items import AuditSettings, library_versions, respondent_of
from limpide.cli.output import progress
from limpide.cli.whom import Order, Outside, Whom, agree, calls_of, opened, rehearsed
from limpide.core import catalogue, digests, files
from limpide.core.errors import DataError, UsageError, nearest
from limpide.core.measure import Measure, load_measures
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress
from limpide.document.audit_report import write_report
from limpide.models.address import EndpointError
from limpide.models.given import Given
from limpide.models.recorder import Call, Recorder, save_questions

RECORD, SUITE_RECORD, REPORT = "audit.json", "suite.json", "report.html"


class AllSettings(AuditSettings):
    suites: str = Field(default="", description="suites, separated by commas; without it, every one that can run")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name.strip() for name in self.suites.split(",") if name.strip()))

    @field_validator("suites")
    @classmethod
    def _known(cls, given: str) -> str:
        known = catalogue.suites()
        for name in cls.model_construct(suites=given).names:
            if name not in known:
                raise ValueError(f"there is no suite '{name}'.{nearest(name, known)} There are {', '.join(known)}")
        return given


@dataclass(frozen=True)
class Planned:
    """One suite to run. key: digest of all that its numbers depend on."""

    name: str
    operation: Operation
    settings: Settings
    key: str


class Lacking(UsageError):
    """A suite needs the folder of an earlier step, and none was given."""


class Bare(Subject):
    """A subject that says which kind of error a missing input is, so that such a suite can be left out."""

    def input(self, name: str) -> Path:
        if name not in self.inputs:
            raise Lacking(f"It needs prepared data: --{name}.")
        return super().input(name)


# ------------------------------------------------------------------------------------------------------- one suite


def run_one(operation: Operation, settings: Settings, order: Order, out: Path | None) -> Result:
    """Run one suite, and keep its folder as `out` if it ends well."""
    shown = progress(order.as_json)
    suite = operation.name.split(".")[1]
    if out is not None and out.exists():
        raise UsageError(f"{out} exists.", remedy="name a folder that does not exist yet")
    with opened(order, suite) as whom:
        subject = subject_of(whom, order)
        agree(whom, rehearsed(whom, operation, settings, subject))
        record = record_of_one(operation, settings, whom, order, out) if out is not None else None
        subject = replace(subject, respondent=whom.respondent)
        result = into(needing_answers(operation, whom), settings, subject, out, shown, record)
        if out is not None:
            write_report(out)
        return result


def record_of_one(operation: Operation, settings: Settings, whom: Whom, order: Order, out: Path) -> dict[str, Any]:
    """The suite.json of a suite run alone: who was audited, with what, and how to do it again."""
    suite = operation.name.split(".")[1]
    return {
        "suite": suite,
        "operation": operation.name,
        "key": _key(operation, settings, whom, order),
        "settings": settings.model_dump(mode="json"),
        "command": command_line(order, settings, out, suite),
        **_who(whom, order),
    }


def needing_answers(operation: Operation, whom: Whom) -> Operation:
    """The operation, which then raises UsageError where a file of answers was given and no measure came of it."""
    if whom.kind != "answers":
        return operation
    suite = operation.name.split(".")[1]

    def run(subject: Subject, settings: Settings, progress: Progress) -> Result:
        result = operation.run(subject, settings, progress)
        if all(measure.state == "not run" for measure in result.measures):
            dialect = "dialect" in operation.settings.model_fields and getattr(settings, "dialect", None) is None
            raise UsageError(
                f"The {suite} suite asks nothing that an answer in text can tell: the file was not read.",
                expected="a suite that asks for answers; likelihoods need the weights of the model",
                remedy="name the public set that was answered with --dialect, for example --dialect bbq@parrish"
                if dialect
                else "audit the open model itself, or another suite",
            )
        return result

    return replace(operation, run=run)


def subject_of(whom: Whom, order: Order, kind: type[Subject] = Subject) -> Subject:
    """Without a folder to write in and without its respondent yet."""
    return kind(Path(), order.inputs, whom.folder, whom.label, order.seed, fresh=order.outside.fresh)


def into(
    operation: Operation,
    settings: Settings,
    subject: Subject,
    out: Path | None,
    shown: Progress,
    record: dict[str, Any] | None = None,
) -> Result:
    """Run in a folder beside `out`, which takes its name when it is whole. record: kept in it as suite.json.

    A folder that is there is replaced where its suite.json has the same key, and stays as it is if the run fails.
    """
    if out is not None:
        with files.clear_write_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
    with (
        files.clear_write_errors(out or Path(tempfile.gettempdir()) / "audit"),
        tempfile.TemporaryDirectory(dir=out.parent if out else None) as made,
    ):
        started = time.monotonic()
        result = operation.run(replace(subject, out=Path(made)), settings, shown)
        result.save(Path(made))
        if record is not None:
            seconds = round(time.monotonic() - started, 1)
            files.write_json(Path(made) / SUITE_RECORD, record | {"date": now(), "seconds": seconds})
        if out is not None:
            _settle(Path(made), out, replaced=record is not None and _has_key(out, record["key"]))
            Path(made).mkdir()  # what the context manager removes
    return result


def _settle(made: Path, out: Path, *, replaced: bool) -> None:
    """Give `made` the name `out`. replaced: a folder of that name goes, once the new one is in its place."""
    if not replaced:
        made.rename(out)
        return
    with tempfile.TemporaryDirectory(dir=out.parent) as aside:
        old = out.rename(Path(aside) / "old")
        try:
            made.rename(out)
        except BaseException:
            old.rename(out)
            raise


def now() -> str:
    return datetime.now(UTC).replace(microsecond=0).isoformat()


# -------------------------------------------------------------------------------------------------------- questions


def write_questions(suites: Sequence[tuple[Operation, Settings]], order: Order, *, several: bool) -> dict[str, int]:
    """Write what the suites ask into the file of --write-questions. Returns {suite: questions}.

    several: ids are 'suite/id', and a suite that cannot be answered in text is left out; alone, it raises.
    """
    path = order.outside.write_questions
    assert path is not None
    subject = Bare(Path(), order.inputs, None, "questions", order.seed)
    counts: dict[str, int] = {}
    rows: list[tuple[str, Recorder]] = []
    for operation, settings in suites:
        suite, recorder = operation.name.split(".")[1], Recorder()
        try:
            calls_of(operation, settings, subject, recorder)
        except UsageError as error:
            if not several:
                raise
            progress(order.as_json).say(f"{suite}: left out. {error.what}")
            continue
        counts[suite] = len(recorder.questions())
        rows.append((f"{suite}/" if several else "", recorder))
    if not sum(counts.values()):
        raise DataError(
            "There is no question that could be answered in text.",
            received=", ".join(op.name.split(".")[1] for op, _ in suites),
            expected="a suite that asks for answers; likelihoods need the weights of the model",
        )
    save_questions(path, [replace(one, id=prefix + one.id) for prefix, r in rows for one in r.questions()])
    return counts


# --------------------------------------------------------------------------------------------------- several suites


@dataclass(frozen=True)
class Audited:
    """What `limpide audit all` leaves. record: audit.json. wanted: suites that were named and could not run."""

    record: dict[str, Any]
    measures: tuple[Measure, ...]
    wanted: tuple[str, ...]


def run_all(order: Order, settings: AllSettings, out: Path) -> Audited:
    """Run several suites into out/SUITE, one after the other; those that are whole there are kept, unless fresh.

    With --fresh, each is replaced when the new one is whole.
    Raises UsageError where a suite's folder there was made with other settings, data or model.
    """
    shown = progress(order.as_json)
    names = settings.names or tuple(catalogue.suites())
    with opened(order, "all", several=True) as whom:
        planned = [_planned(name, whom, order, settings) for name in names]
        whole = [p for p in planned if _is_whole(p, out)]
        kept = [] if order.outside.fresh else whole
        for one in kept:
            shown.say(f"{one.name}: kept, measured on {files.read_json(out / one.name / SUITE_RECORD)['date']}.")
        subject = subject_of(whom, order, Bare)
        todo, calls, not_run = _rehearse(whom, [p for p in planned if p not in kept], subject, shown)
        agree(whom, calls)
        if todo and whom.folder is not None:  # opened once, for every suite
            whom = replace(whom, respondent=respondent_of(subject, AuditSettings(precision=settings.precision)))
        for one in todo:
            why = _keep(one, replace(subject, respondent=whom.for_suite(one.name)), out, shown)
            not_run |= {one.name: why} if why else {}
            _write_record(out, planned, whom, order, settings, not_run)
        made = _write_record(out, planned, whom, order, settings, not_run)
    if any(suite["state"] == "finished" for suite in made["suites"].values()):
        write_report(out)
    measures = [m for p in planned if p.name not in not_run for m in load_measures(out / p.name / "measures.jsonl")]
    return Audited(made, tuple(measures), tuple(name for name in settings.names if name in not_run))


def _rehearse(
    whom: Whom, planned: Sequence[Planned], subject: Subject, shown: Progress
) -> tuple[list[Planned], list[Call], dict[str, str]]:
    """(suites that will run, what they will ask of an endpoint, {suite that cannot run: why})."""
    todo: list[Planned] = []
    calls: list[Call] = []
    not_run: dict[str, str] = {}
    for one in planned:
        try:
            calls += rehearsed(whom, one.operation, one.settings, subject)
            todo.append(one)
        except UsageError as error:
            not_run[one.name] = error.what
            shown.say(f"{one.name}: not run. {error.what}")
    return todo, calls, not_run


def _keep(one: Planned, subject: Subject, out: Path, shown: Progress) -> str | None:
    """Run one suite into its folder. Returns why it cannot run, None where it did; an endpoint's faults are raised."""
    settings = one.settings.model_dump(mode="json")
    record = {"suite": one.name, "operation": one.operation.name, "key": one.key, "settings": settings}
    try:
        into(one.operation, one.settings, subject, out / one.name, shown, record)
    except EndpointError:
        raise
    except UsageError as error:
        shown.say(f"{one.name}: not run. {error.what}")
        return error.what
    return None


def _planned(name: str, whom: Whom, order: Order, settings: AllSettings) -> Planned:
    operation = catalogue.find(f"audit.{name}")
    shared = {"precision": settings.precision} if "precision" in operation.settings.model_fields else {}
    own = operation.settings(**shared)
    return Planned(name, operation, own, _key(operation, own, whom, order))


def _key(operation: Operation, own: Settings, whom: Whom, order: Order) -> str:
    data = {of: digests.of_folder(folder) for of, folder in order.inputs.items() if folder.is_dir()}
    parts = [operation.name, operation.version, own.model_dump(mode="json"), order.seed, whom.kind, whom.identity, data]
    return digests.of_value([*parts, limpide.__version__])


def _has_key(folder: Path, key: str) -> bool:
    record = folder / SUITE_RECORD
    return record.is_file() and files.read_json(record).get("key") == key


def _is_whole(planned: Planned, out: Path) -> bool:
    """Whether the suite's folder is there. Raises UsageError for one that something else was measured in."""
    folder = out / planned.name
    if not folder.exists():
        return False
    if _has_key(folder, planned.key):
        return True
    raise UsageError(
        f"{folder} holds an audit of another model, or with other settings or data.",
        remedy="name another folder with --out, or remove this one",
    )


def _write_record(
    out: Path, planned: Sequence[Planned], whom: Whom, order: Order, settings: AllSettings, not_run: dict[str, str]
) -> dict[str, Any]:
    """Write audit.json: who was audited, with what, and how to do it again."""
    suites: dict[str, Any] = {}
    for one in planned:
        if (out / one.name / SUITE_RECORD).is_file():
            suites[one.name] = {"state": "finished", **files.read_json(out / one.name / SUITE_RECORD)}
        elif one.name in not_run:
            suites[one.name] = {"state": "not run", "suite": one.name, "why": not_run[one.name]}
    record = {
        **_who(whom, order),
        "suites": suites,
        "command": command_line(order, settings, out),
        "date": now(),
    }
    files.write_json(out / RECORD, record)
    return record


def _who(whom: Whom, order: Order) -> dict[str, Any]:
    told: dict[str, Any] = {
        "title": whom.label,
        "kind": whom.kind,
        "model_digest": whom.digest,
        "identity": whom.identity,
        "seed": order.seed,
        "data": {name: str(folder) for name, folder in order.inputs.items()},
        "versions": library_versions() | {"limpide": limpide.__version__},
    }
    if isinstance(whom.respondent, Given):
        told["answers"] = {"file": str(whom.respondent.path), "file_digest": whom.respondent.file_digest}
    return told


def command_line(order: Order, settings: Settings, out: Path | None, suite: str = "all") -> str:
    """The command that does it again. A key is never part of it."""
    words = ["limpide", "audit", suite, *([order.model] if order.model else [])]
    words += ["--out", str(out)] if out is not None else []
    words += [word for name, folder in order.inputs.items() for word in (f"--{name}", str(folder))]
    given: dict[str, Any] = {"seed": order.seed} if order.seed else {}
    given |= settings.model_dump(exclude_defaults=True) | order.endpoint.model_dump(exclude_defaults=True)
    if order.outside.answers is not None:
        given["answers"] = order.outside.answers
        if order.outside.answer_field != Outside().answer_field:
            given["answer_field"] = order.outside.answer_field
    for name, value in given.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)]
    return shlex.join(words)
