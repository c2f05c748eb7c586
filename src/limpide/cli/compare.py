"""`limpide compare A B`: what differs between two models or releases, suite by suite, on the same items."""

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from limpide.cli.output import Json, print_json, progress
from limpide.cli.sides import DEFAULT, Side, Wanted, both, shared
from limpide.cli.suites import AllSettings
from limpide.cli.whom import Flag, HowAsked, Order, Outside
from limpide.core import catalogue, files
from limpide.core.errors import UsageError
from limpide.core.measure import Change
from limpide.core.operation import Subject
from limpide.models.address import EndpointSettings

CHANGES = "changes.jsonl"
MODELS = ", ".join(DEFAULT)
WORST_FIRST = ("worse", "better", "insufficient evidence", "no detectable change")
WHAT = (
    "folder of an audit, folder of a release, or a model: alias, folder, .gguf file, hub:owner/name@revision, address"
)


class CompareSettings(AllSettings):
    suites: str = Field(
        default="", description=f"suites, separated by commas; without it, what both audits hold; of models, {MODELS}"
    )


@dataclass(frozen=True)
class Compared:
    """changes: in the order of the suites. left_out: {suite: why it was not compared}. fault: of the first of them."""

    changes: tuple[Change, ...]
    left_out: dict[str, str]
    fault: UsageError | None
    report: Path | None


def compare(
    a: Annotated[str, Parameter(help=f"the first, 'before': {WHAT}")],
    b: Annotated[str, Parameter(help="the second, 'after': the same")],
    *,
    out: Annotated[Path | None, Parameter(help="folder for report.html, and for the audits of models")] = None,
    seed: int = 0,
    settings: Annotated[CompareSettings | None, Parameter(name="*")] = None,
    endpoint: HowAsked | None = None,
    yes: Annotated[bool, Flag, Parameter(name=["--yes", "-y"], help="send questions without asking first")] = False,
    as_json: Json = False,
) -> None:
    """Say what differs between two models, two audits or two releases, measure by measure, worse first.

    A model is audited first. Of two audits that were kept, the numbers are those they hold.
    Example: limpide compare smollm2-135m-instruct releases/press-operator-assistant-1.0.0 --out compared
    """
    order = Order(None, {}, seed, endpoint or EndpointSettings(), Outside(yes=yes), as_json)
    wanted = Wanted(order, settings or CompareSettings(), out)
    with both(a, b, wanted) as (first, second):
        command = command_line(a, b, wanted)
        found = compared(first, second, wanted, command)
        if as_json:
            print_json(record(first, second, found))
        else:
            print_sentences(found)
    named = [name for name in wanted.settings.names if name in found.left_out]
    if named:
        whys = "; ".join(f"{name}: {found.left_out[name]}" for name in named)
        raise UsageError("Some of the suites could not be compared.", received=whys, remedy="audit both with them")


def compared(first: Side, second: Side, wanted: Wanted, command: str) -> Compared:
    """Raises UsageError where no suite could be compared."""
    from limpide.document.audit_report import write_comparison

    suites, left_out = shared(first, second, wanted.settings.names)
    changes: dict[str, list[Change]] = {}
    fault: UsageError | None = None
    for suite in suites:
        try:
            changes[suite] = changes_of(suite, first, second, wanted)
        except UsageError as error:
            left_out[suite] = f"{error.what} {error.received or ''}".strip()
            fault = fault or error
    if not changes:
        raise fault or UsageError(
            "The two sides have no suite in common, so there is nothing to compare.",
            received=f"A: {', '.join(first.folders)}; B: {', '.join(second.folders)}",
            remedy="audit both with the same suites",
        )
    every = tuple(change for found in changes.values() for change in found)
    report = None
    if wanted.out is not None:
        files.write_jsonl(wanted.out / CHANGES, (change.model_dump(mode="json") for change in every))
        sides = ((first.audited, first.folders), (second.audited, second.folders))
        report = write_comparison(wanted.out, *sides, every, left_out=left_out, command=command)
    return Compared(every, left_out, fault, report)


def changes_of(suite: str, first: Side, second: Side, wanted: Wanted) -> list[Change]:
    """Raises UsageError where the two were measured with other settings or data."""
    operation = catalogue.find("audit.compare")
    inputs = {f"base:{suite}": first.folders[suite], f"result:{suite}": second.folders[suite]}
    shown = progress(wanted.order.as_json)
    with tempfile.TemporaryDirectory() as made:
        subject = Subject(Path(made), inputs, seed=wanted.order.seed)
        result = operation.run(subject, operation.settings(), shown)
        for warning in result.warnings:
            shown.say(warning)
        return [Change.model_validate(row) for row in files.read_jsonl(Path(made) / CHANGES)]


def worst_first(changes: Sequence[Change]) -> list[Change]:
    return sorted(changes, key=lambda change: WORST_FIRST.index(change.verdict))


def print_sentences(found: Compared) -> None:
    for change in worst_first(found.changes):
        print(change.sentence)
    counts = {verdict: sum(c.verdict == verdict for c in found.changes) for verdict in WORST_FIRST}
    print("\nB against A: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) + ".")
    if len(found.changes) > 1:
        print(f"Each is judged alone: of {len(found.changes)}, about one in twenty differs by chance.")
    for suite, why in found.left_out.items():
        print(f"{suite}: not compared. {why}")
    if found.fault is not None and found.fault.remedy:
        print(f"To compare it: {found.fault.remedy}.")
    if found.report is not None:
        print(f"Report: {found.report}")


def record(first: Side, second: Side, found: Compared) -> dict[str, object]:
    return {
        "a": first.audited.model_dump(mode="json"),
        "b": second.audited.model_dump(mode="json"),
        "changes": [change.model_dump(mode="json") for change in worst_first(found.changes)],
        "left_out": found.left_out,
        "report": None if found.report is None else str(found.report),
    }


def command_line(a: str, b: str, wanted: Wanted) -> str:
    """The command that does it again."""
    words = ["limpide", "compare", a, b]
    given = wanted.settings.model_dump(mode="json", exclude_defaults=True)
    given |= {"seed": wanted.order.seed} if wanted.order.seed else {}
    given |= {"out": str(wanted.out)} if wanted.out is not None else {}
    return shlex.join([*words, *(word for name, value in given.items() for word in (f"--{name}", str(value)))])
