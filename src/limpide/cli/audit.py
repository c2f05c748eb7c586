"""`limpide audit SUITE MODEL`: one command a suite of the catalogue, its options from the suite's settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from limpide.audit.statistics import smallest_detectable_share
from limpide.cli.lists import repeated
from limpide.cli.output import Json, print_json, print_rows
from limpide.cli.suites import REPORT, AllSettings, Audited, command_line, run_all, run_one, write_questions
from limpide.cli.whom import HowAsked, HowOutside, Model, Order, Outside, check_order
from limpide.core import catalogue
from limpide.core.errors import UsageError
from limpide.core.measure import Measure
from limpide.core.operation import Operation
from limpide.models.address import EndpointSettings

HELP = """Measure one thing about a model, or several.

Example: limpide audit bias smollm2-135m-instruct
"""
NO_DISTANCE = ("rank", "bits", "count", "perplexity")  # units in which a difference says little
DETECTED = 2.8 / 1.96  # half an interval at 95 % → what is found 8 times in 10: (z.975 + z.8) / z.975

app = App(name="audit", help=HELP, help_format="plaintext")
Data = Annotated[Path | None, Parameter(help="prepared data: the folder of a recipe's step 'data'")]


def command(operation: Operation) -> Callable[..., None]:
    """The command line of one audit, derived from its settings."""
    suite = operation.name.split(".")[1]

    def audit(
        model: Model = None,
        *,
        data: Data = None,
        out: Annotated[Path | None, Parameter(help="folder to keep measures and items in; it must not exist")] = None,
        seed: int = 0,
        settings: Any = None,
        endpoint: HowAsked | None = None,
        outside: HowOutside | None = None,
        as_json: Json = False,
    ) -> None:
        order = Order(model, inputs(data), seed, endpoint or EndpointSettings(), outside or Outside(), as_json)
        check_order(order)
        chosen = settings or operation.settings()
        if order.outside.write_questions is not None:
            counts = write_questions([(operation, chosen)], order, several=False)
            print_questions(counts, order, command_line(answered(order), chosen, out, suite))
            return
        result = run_one(operation, chosen, order, out)
        if as_json:
            print_json([m.model_dump(mode="json") for m in result.measures])
        else:
            print_rows([(m.label, in_words(m)) for m in result.measures])

    audit.__doc__ = f"{operation.summary}\n\nExample: limpide audit {suite} smollm2-135m-instruct"
    audit.__annotations__["settings"] = Annotated[operation.settings, Parameter(name="*")]
    return audit


def all_(
    model: Model = None,
    *,
    out: Annotated[Path | None, Parameter(help="folder: one folder a suite, and audit.json")] = None,
    data: Data = None,
    seed: int = 0,
    settings: Annotated[AllSettings | None, Parameter(name="*")] = None,
    endpoint: HowAsked | None = None,
    outside: HowOutside | None = None,
    as_json: Json = False,
) -> None:
    """Run several suites, one after the other; the same command goes on where a stopped one was.

    Example: limpide audit all smollm2-135m-instruct --suites bias,retention --out audited
    """
    order = Order(model, inputs(data), seed, endpoint or EndpointSettings(), outside or Outside(), as_json)
    check_order(order)
    chosen = settings or AllSettings()
    if order.outside.write_questions is not None:
        suites = [catalogue.find(f"audit.{name}") for name in chosen.names or catalogue.suites()]
        counts = write_questions([(op, op.settings()) for op in suites], order, several=True)
        print_questions(counts, order, command_line(answered(order), chosen, out or Path("audited")))
        return
    if out is None:
        raise UsageError("Several suites need a folder.", remedy="name one with --out")
    print_audited(run_all(order, chosen, out), out, as_json)


def inputs(data: Path | None) -> dict[str, Path]:
    return {} if data is None else {"data": data}


def spread(arguments: Sequence[str]) -> list[str]:
    """The command line with every list of a suite's settings repeated."""
    if len(arguments) < 2 or arguments[1] not in catalogue.suites():
        return list(arguments)
    return repeated(arguments, catalogue.find(f"audit.{arguments[1]}").settings)


def answered(order: Order) -> Order:
    """The same order once its questions are answered."""
    return replace(order, outside=replace(order.outside, answers=Path("ANSWERS.jsonl"), write_questions=None))


def print_questions(counts: Mapping[str, int], order: Order, then: str) -> None:
    """then: the command that audits the answers."""
    path = order.outside.write_questions
    if order.as_json:
        print_json({"file": str(path), "questions": dict(counts)})
        return
    print(f"{sum(counts.values())} questions are in {path}. Put each answer beside its id, in a field 'answer', then:")
    print(f"  {then}")


def print_audited(audited: Audited, out: Path, as_json: bool) -> None:
    """Raises UsageError where a suite that was named could not run: the others are kept."""
    suites = audited.record["suites"]
    if as_json:
        print_json({**audited.record, "measures": [m.model_dump(mode="json") for m in audited.measures]})
    else:
        rows = [(m.label, in_words(m)) for m in audited.measures]
        rows += [(name, f"not run: {s['why']}") for name, s in suites.items() if s["state"] == "not run"]
        print_rows(rows)
        print(f"Report: {out / REPORT}")
    if audited.wanted:
        whys = "; ".join(f"{name}: {suites[name]['why']}" for name in audited.wanted)
        raise UsageError("Some of the suites could not run.", received=whys, remedy=f"the others are kept in {out}")


def in_words(measure: Measure) -> str:
    """A number with its interval and how large a difference it could show, or why there is none."""
    if measure.value is None:
        because = f": {measure.note}" if measure.state == "not run" and measure.note else f" (n = {measure.n})"
        return f"{measure.state}{because}"
    if measure.low is None or measure.high is None:
        return f"{measure.value:.4g} {measure.unit} (n = {measure.n})"
    shows = "" if measure.unit in NO_DISTANCE else f"; sees differences ≥ {detectable(measure):.2g}"
    return f"{measure.value:.4g} [{measure.low:.4g}; {measure.high:.4g}] {measure.unit} (n = {measure.n}{shows})"


def detectable(measure: Measure) -> float:
    """Smallest distance from a fixed value that this many items find 8 times in 10, in the measure's unit.

    Of a share: at one half, where it is largest. Of anything else: from the width of the interval, taken as normal.
    """
    assert measure.low is not None
    assert measure.high is not None
    if measure.unit == "share":
        return smallest_detectable_share(measure.clusters or measure.n)
    return (measure.high - measure.low) / 2 * DETECTED


for _suite in catalogue.suites():
    app.command(command(catalogue.find(f"audit.{_suite}")), name=_suite)
app.command(all_, name="all")
