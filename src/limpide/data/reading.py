"""Read the user's files of examples: every fault reported together, nothing dropped in silence."""

import gc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

import psutil

from limpide.core.errors import DataError, Fault
from limpide.data.columns import Columns, recognise
from limpide.data.examples import Example, SplitName
from limpide.data.forms import parse_row
from limpide.data.opening import SHEETS, Opened, open_rows
from limpide.data.raw import Raw

MOST_SHOWN = 50  # faults printed; the rest are counted
LOOKED_AT = 100  # rows whose keys decide which column is which
CHECKED = 20_000  # rows after which the free memory is looked at again
LEAST_FREE = 512 * 2**20  # bytes of memory left to other programs
FEWEST_CLASSED = 5  # rows from which as many labels as rows are no classes


@dataclass(frozen=True)
class Reading:
    """One file, read.

    faults: of the rows left out, empty unless bad rows are skipped. rows: rows in the file, bad ones included.
    splits: id → value of the split column. broken: the file could not be read to its end.
    """

    name: str
    examples: tuple[Example, ...]
    faults: tuple[Fault, ...]
    columns: Columns
    digest: str
    rows: int
    splits: Mapping[str, SplitName] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    broken: bool = False

    @property
    def skipped(self) -> int:
        return self.rows - len(self.examples)


def read_examples(
    path: Path,
    columns: Mapping[str, str | None] | None = None,
    *,
    sheet: str | None = None,
    skip_bad_rows: bool = False,
) -> Reading:
    """Read one file of examples. columns: our name → the file's, where it cannot be recognised.

    sheet: which one of a spreadsheet; None for the first that holds rows. Raises DataError with every fault and its
    line; with `skip_bad_rows`, rows at fault are left out and listed in `Reading.faults` instead. A file that cannot
    be read to its end always raises.
    """
    return read_all([path], columns, sheet=sheet, skip_bad_rows=skip_bad_rows)[0]


def read_all(
    paths: Sequence[Path],
    columns: Mapping[str, str | None] | None = None,
    *,
    sheet: str | None = None,
    skip_bad_rows: bool = False,
) -> tuple[Reading, ...]:
    """Read several files as one set: ids must differ across files. Raises as `read_examples`."""
    if sheet is not None and not any(path.suffix.lower() in SHEETS for path in paths):
        raise DataError(f"data.sheet names the sheet '{sheet}', and no file of examples is a spreadsheet.")
    readings: list[Reading] = []
    errors: list[tuple[str, DataError]] = []
    seen: dict[str, str] = {}
    for path, name in zip(paths, short_names(paths), strict=True):
        try:
            opened = open_rows(path, name, sheet if path.suffix.lower() in SHEETS else None)
            with _no_collection():
                readings.append(_read_one(path, name, opened, columns or {}, seen))
        except OSError as error:
            raise DataError(
                f"{path} cannot be read.", received=error.strerror, remedy="check its permissions"
            ) from error
        except DataError as error:
            errors.append((name, error))
    faults = [fault for reading in readings for fault in reading.faults]
    stopping = faults if not skip_bad_rows else [f for r in readings if r.broken for f in r.faults]
    if len(errors) == 1 and not stopping:
        raise errors[0][1]
    if errors or stopping:
        whole = [fault for name, error in errors for fault in _as_faults(name, error)]
        raise too_many([*whole, *stopping], "wrong in the examples", remedy=_remedy(readings, skip_bad_rows))
    examples = [example for reading in readings for example in reading.examples]
    if not examples:
        raise too_many(faults, "wrong in the examples, and no row is left", remedy="correct the lines above")
    if len(examples) > 1 and all(example.messages == examples[0].messages for example in examples):
        raise DataError(
            f"All {len(examples)} rows are identical: there is nothing to learn and nothing to test.",
            received=f"{examples[0].source} and {examples[-1].source} say the same",
            remedy="check how the file was exported",
        )
    return tuple(readings)


def too_many(faults: Sequence[Fault], what: str, *, remedy: str | None) -> DataError:
    """One error for all faults: the first ones are shown, all are counted."""
    count = "1 thing is" if len(faults) == 1 else f"{len(faults)} things are"
    more = (
        f" The first {MOST_SHOWN} are shown, {len(faults) - MOST_SHOWN} more follow."
        if len(faults) > MOST_SHOWN
        else ""
    )
    return DataError(f"{count} {what}.{more}", faults=faults[:MOST_SHOWN], remedy=remedy)


def short_names(paths: Sequence[Path]) -> list[str]:
    """File names for messages and `source`, with as many folders as tell them apart. Raises DataError on a repeat."""
    parts = [path.absolute().parts for path in paths]
    for first, second in ((i, j) for j in range(len(paths)) for i in range(j)):
        if parts[first] == parts[second]:
            raise DataError(f"{paths[first]} is given twice.", remedy="name it once in data.examples")
    names = []
    for own in parts:
        depth = 1
        while sum(other[-depth:] == own[-depth:] for other in parts) > 1:
            depth += 1
        names.append("/".join(own[-depth:]))
    return names


@contextmanager
def _no_collection() -> Iterator[None]:
    """Rows make no reference cycles; looking for some among millions of records takes longer than reading them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _as_faults(name: str, error: DataError) -> list[Fault]:
    """What is wrong with a whole file, as one line among the faults of other files."""
    if error.faults:
        return list(error.faults)
    rest = [f"received {error.received}"] if error.received is not None else []
    rest += [f"to do: {error.remedy}"] if error.remedy is not None else []
    return [Fault(name, None, "; ".join([error.what, *rest]))]


def _remedy(readings: Sequence[Reading], skipping: bool) -> str:
    if skipping or any(reading.broken for reading in readings):
        return "correct the file and run the same command again"
    return "correct these lines, or leave such rows out with skip_bad_rows: true (they are counted and listed)"


def _read_one(path: Path, name: str, opened: Opened, given: Mapping[str, str | None], seen: dict[str, str]) -> Reading:
    first = list(islice(opened.rows, LOOKED_AT))
    if not any(row.fault is None for row in first):
        if not first:
            raise DataError(
                f"{name} is empty: it holds no row.",
                received=f"{opened.known.size} bytes",
                expected="one example a row",
            )
        rest = [row for row in chain(first, opened.rows) if row.fault is not None]
        raise too_many(
            [Fault(name, row.line, row.fault or "") for row in rest], f"wrong in {name}", remedy=_first_aid(path)
        )
    reading = _parse(name, replace(opened, rows=chain(first, opened.rows)), _Recognised(name, first, given), seen)
    _check_classes(reading)
    return reading


def _first_aid(path: Path) -> str:
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return 'write one object a line: {"prompt": "…", "answer": "…"}'
    return "correct the file and run the same command again"


class _Recognised:
    """The columns of a file, as its first rows show them; a later row may add some, as the first rejected answer."""

    def __init__(self, name: str, first: Sequence[Raw], given: Mapping[str, str | None]) -> None:
        self.name, self.given = name, given
        self.keys = dict.fromkeys(key for row in first if isinstance(row.value, dict) for key in row.value)
        self.columns = recognise(name, list(self.keys), given)

    def of(self, row: object) -> Columns:
        """The columns, with those that `row` is the first to have. What was recognised does not change."""
        if isinstance(row, dict) and not self.keys.keys() >= row.keys():
            self.keys |= dict.fromkeys(row)
            try:
                wider = recognise(self.name, list(self.keys), self.given)
            except DataError:  # two columns could now be the answer: the one of the first rows is
                return self.columns
            if wider.form == self.columns.form and wider.names.items() >= self.columns.names.items():
                self.columns = wider
        return self.columns


def _parse(name: str, opened: Opened, recognised: _Recognised, seen: dict[str, str]) -> Reading:
    """Parse every row. seen: id → source, over all files; changed."""
    examples: list[Example] = []
    faults: list[Fault] = []
    splits: dict[str, SplitName] = {}
    extra: set[str] = set()
    odd: list[tuple[int, str]] = []
    count, broken, line, nth = 0, False, 0, 0
    for row in opened.rows:
        count, broken = count + 1, broken or row.broken
        line, nth = row.line, nth + 1 if row.line == line else 1  # a JSON document may hold all its rows on one line
        if count % CHECKED == 0:
            _check_memory(name, count)
        if row.fault is not None:
            faults.append(Fault(name, row.line, row.fault))
            continue
        columns = recognised.of(row.value)
        default_id = f"{name.rsplit('.', 1)[0]}-{line}" + (f".{nth}" if nth > 1 else "")
        parsed = parse_row(row.value, columns, f"{name}:{line}", default_id)
        extra |= parsed.extra
        odd.extend((row.line, text) for text in parsed.odd[:1])
        nth_said = f"object {nth} of the line: " if nth > 1 else ""
        faults.extend(Fault(name, line, f"{nth_said}{what}") for what in parsed.faults)
        if (example := parsed.example) is None:
            continue
        if example.id in seen:
            faults.append(Fault(name, row.line, f"the id '{example.id}' is already that of {seen[example.id]}"))
            continue
        seen[example.id] = example.source
        examples.append(example)
        if parsed.split is not None:
            splits[example.id] = parsed.split
    columns = replace(recognised.columns, unused=tuple(sorted(extra)))
    warnings = [*opened.notes, *_warnings(name, columns, examples)]
    if odd:
        warnings.append(_odd_text(name, odd))
    return Reading(
        name=name,
        examples=tuple(examples),
        faults=tuple(faults),
        columns=columns,
        digest=opened.known.digest,
        rows=count,
        splits=splits,
        warnings=tuple(warnings),
        broken=broken,
    )


def _check_memory(name: str, rows: int) -> None:
    """Raise DataError before the examples fill the memory: a killed process says nothing."""
    free = psutil.virtual_memory().available
    if free < LEAST_FREE:
        raise DataError(
            f"The memory is nearly full after {rows:,} rows of {name}.",
            received=f"{free / 1e6:,.0f} MB free",
            expected=f"{LEAST_FREE / 1e6:,.0f} MB free; an example takes about 2 kB and its text",
            remedy="learn from a part of the rows, or close other programs",
        )


def _warnings(name: str, columns: Columns, examples: Sequence[Example]) -> Iterator[str]:
    """What the owner of the file should know of how it was read."""
    if columns.note is not None:
        yield f"{name}: {columns.note}"
    plain = sum(example.rejected is None for example in examples)
    if "rejected" in columns.names and plain:
        yield f"{name}: {plain} of {len(examples)} rows have no rejected answer; they are learnt as plain examples."
    labels = {example.label for example in examples}
    if columns.form == "text" and all(label is not None and label.isdecimal() for label in labels):
        yield (
            f"{name}: the labels are numbers ({', '.join(sorted(map(str, labels))[:5])}): a model that writes its "
            "answer would write the number. Names say more."
        )


def _check_classes(reading: Reading) -> None:
    """Raise DataError where no label comes back: whatever the column holds, it is no class."""
    labels = Counter(example.label for example in reading.examples)
    if reading.columns.form == "text" and FEWEST_CLASSED <= len(labels) == len(reading.examples):
        shown = ", ".join(f"'{str(label)[:40]}'" for label in list(labels)[:3])
        text, label = reading.columns.names["text"], reading.columns.names["label"]
        raise DataError(
            f"{reading.name}: '{label}' holds another value on each of {len(labels)} rows: these are not classes.",
            received=f"{shown} …",
            expected="a few classes, each on many rows",
            remedy=f"if they are answers, read them so: data.columns: {{prompt: {text}, answer: {label}}}",
        )


def _odd_text(name: str, odd: Sequence[tuple[int, str]]) -> str:
    lines = ", ".join(str(line) for line, _ in odd[:5]) + (" …" if len(odd) > 5 else "")
    shown = odd[0][1]
    meant = shown.encode("cp1252", errors="replace").decode("utf-8", errors="replace")
    because = "characters were already lost" if shown == "\ufffd" else f"'{shown}' looks like a damaged '{meant}'"
    return f"{name}: {len(odd)} rows seem to have been saved with the wrong encoding (line {lines}): {because}."
