"""Read, check, divide: what `data.prepare` does before it writes, and all that `data.check` does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from limpide.core.errors import DataError, Fault
from limpide.core.progress import Progress
from limpide.data.checks import Check, Policies, check_examples, refuse
from limpide.data.duplicates import Duplicates
from limpide.data.examples import Example
from limpide.data.reading import Reading, read_all
from limpide.data.splits import Split, SplitSettings, split


@dataclass(frozen=True)
class Rules:
    """How the data is read, checked and divided. skip_bad_rows: rows at fault are left out instead of stopping.

    sheet: which one of a spreadsheet; None for the first that holds rows.
    """

    policies: Policies = field(default_factory=Policies)
    division: SplitSettings = field(default_factory=SplitSettings)
    skip_bad_rows: bool = False
    sheet: str | None = None


@dataclass(frozen=True)
class Examined:
    """examples: of all files, as the policies let them be used. parts: None where they cannot be divided, for `error`.

    checks: every one, those that found nothing too.
    """

    readings: tuple[Reading, ...]
    examples: tuple[Example, ...]
    duplicates: Duplicates
    parts: Split | None
    checks: tuple[Check, ...]
    error: DataError | None = None

    def the_parts(self) -> Split:
        """The division, where nothing stops. Raises DataError with the faults of every check that does."""
        stopping = [check for check in self.checks if check.severity == "stops"]
        if self.error is not None and [check.name for check in stopping] == ["splits"]:
            raise self.error
        refuse(stopping)
        assert self.parts is not None  # what cannot be divided is a check that stops
        return self.parts


def examine(
    files: Sequence[Path], columns: Mapping[str, str | None], rules: Rules, seed: int, progress: Progress
) -> Examined:
    """Every check of the examples in `files`. Raises DataError where a file cannot be read to its end.

    Without a file, as where only documents are learnt from, there is nothing to check.
    """
    if not files:
        return Examined((), (), Duplicates((), (), (), ()), Split((), (), ()), ())
    with progress.task("Reading the examples"):
        readings = read_all(files, columns, sheet=rules.sheet, skip_bad_rows=True)
    found = [example for reading in readings for example in reading.examples]
    with progress.task("Checking the examples", total=2 * len(found)) as task:
        threshold = rules.division.near_duplicate
        examples, duplicates, checks = check_examples(found, rules.policies, threshold, task.advance)
    declared = {id: name for reading in readings for id, name in reading.splits.items()}
    parts, error = None, None
    try:
        parts = split(examples, rules.division, seed, duplicates=duplicates, declared=declared)
    except DataError as cannot:
        error = cannot
    every = (_rows(readings, rules.skip_bad_rows), *checks, _splits(parts, error))
    return Examined(readings, tuple(examples), duplicates, parts, every, error)


def _rows(readings: Sequence[Reading], skipping: bool) -> Check:
    """Roles, empty turns, broken encoding, wrong types: what makes a row no example."""
    faults = tuple(fault for reading in readings for fault in reading.faults)
    skipped = sum(reading.skipped for reading in readings)
    if not faults:
        return Check("rows", "told", f"Rows: all {sum(reading.rows for reading in readings)} can be read.")
    return Check(
        "rows",
        "warns" if skipping else "stops",
        f"Rows at fault: {skipped}" + (", left out." if skipping else "."),
        len(faults),
        skipped,
        faults,
        what="wrong in the examples",
        remedy="correct these lines, or leave such rows out with skip_bad_rows: true (they are counted and listed)",
    )


def _splits(parts: Split | None, error: DataError | None) -> Check:
    if parts is not None:
        counts = f"{len(parts.train)} to learn from, {len(parts.held_out)} held out, {len(parts.unseen)} unseen"
        return Check("splits", "told", f"Division: {counts}; no row is nearly the same as one of another part.")
    assert error is not None
    places = error.faults or (Fault("the division", None, error.what),)
    return Check(
        "splits", "stops", error.what, len(places), len(places), places, {}, "wrong in the division", error.remedy
    )
