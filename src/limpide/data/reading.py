"""Read the user's files of examples: every fault reported together, nothing dropped in silence."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from limpide.core.errors import DataError, Fault, nearest
from limpide.data import raw
from limpide.data.columns import Columns, recognise
from limpide.data.examples import Example, SplitName
from limpide.data.raw import Raw
from limpide.data.rows import parse_row

MOST_SHOWN = 50  # faults printed; the rest are counted
LOOKED_AT = 100  # rows whose keys decide which column is which
READERS: dict[str, Callable[[Path], Iterator[Raw]]] = {
    ".jsonl": raw.jsonl_rows,
    ".ndjson": raw.jsonl_rows,
    ".json": raw.json_rows,
    ".csv": raw.csv_rows,
    ".tsv": raw.csv_rows,
}
EXPECTED = ".jsonl, .json or .csv"


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
    path: Path, columns: Mapping[str, str | None] | None = None, *, skip_bad_rows: bool = False
) -> Reading:
    """Read one .jsonl, .json or .csv file. columns: our name → the file's, where it cannot be recognised.

    Raises DataError with every fault and its line; with `skip_bad_rows`, rows at fault are left out and
    listed in `Reading.faults` instead. A file that cannot be read to its end always raises.
    """
    return read_all([path], columns, skip_bad_rows=skip_bad_rows)[0]


def read_all(
    paths: Sequence[Path], columns: Mapping[str, str | None] | None = None, *, skip_bad_rows: bool = False
) -> tuple[Reading, ...]:
    """Read several files as one set: ids must differ across files. Raises as `read_examples`."""
    readings: list[Reading] = []
    errors: list[tuple[str, DataError]] = []
    seen: dict[str, str] = {}
    for path, name in zip(paths, short_names(paths), strict=True):
        try:
            readings.append(_read_one(path, name, columns or {}, seen))
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


def _read_one(path: Path, name: str, given: Mapping[str, str | None], seen: dict[str, str]) -> Reading:
    reader = _reader(path, name)
    known = raw.check_bytes(path, name)
    rows = reader(path)
    first = list(islice(rows, LOOKED_AT))
    if not any(row.fault is None for row in first):
        if not first:
            raise DataError(
                f"{name} is empty: it holds no row.", received=f"{known.size} bytes", expected="one example a row"
            )
        rest = [row for row in chain(first, rows) if row.fault is not None]
        raise too_many(
            [Fault(name, row.line, row.fault or "") for row in rest], f"wrong in {name}", remedy=_first_aid(path)
        )
    keys = dict.fromkeys(key for row in first if isinstance(row.value, dict) for key in row.value)
    columns = recognise(name, list(keys), given)
    return _parse(name, columns, chain(first, rows), known, seen)


def _reader(path: Path, name: str) -> Callable[[Path], Iterator[Raw]]:
    """The reader for the file's extension. Raises DataError for a missing file, a folder or another extension."""
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix.lower() in READERS)
        remedy = f"give one of its files: {', '.join(inside[:10])}" if inside else None
        raise DataError(f"{path} is a folder.", expected=f"a file, {EXPECTED}", remedy=remedy)
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
        where = (
            f"in the folder {path.parent}"
            if path.parent.is_dir()
            else f": the folder {path.parent} is not there either"
        )
        raise DataError(f"There is no file {path.name} {where}.{nearest(path.name, beside)}", received=str(path))
    if path.suffix.lower() not in READERS:
        raise DataError(
            f"{name}: Limpide does not read examples from '{path.suffix}' files.",
            expected=EXPECTED,
            remedy="export it from your spreadsheet as 'CSV UTF-8', or from your script as JSON Lines",
        )
    return READERS[path.suffix.lower()]


def _first_aid(path: Path) -> str:
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return 'write one object a line: {"prompt": "…", "answer": "…"}'
    return "correct the file and run the same command again"


def _parse(name: str, columns: Columns, rows: Iterator[Raw], known: raw.Bytes, seen: dict[str, str]) -> Reading:
    """Parse every row. seen: id → source, over all files; changed."""
    examples: list[Example] = []
    faults: list[Fault] = []
    splits: dict[str, SplitName] = {}
    extra: set[str] = set()
    odd: list[tuple[int, str]] = []
    count, broken = 0, False
    for row in rows:
        count, broken = count + 1, broken or row.broken
        if row.fault is not None:
            faults.append(Fault(name, row.line, row.fault))
            continue
        parsed = parse_row(row.value, columns, f"{name}:{row.line}", f"{name.rsplit('.', 1)[0]}-{row.line}")
        extra |= parsed.extra
        odd.extend((row.line, text) for text in parsed.odd[:1])
        faults.extend(Fault(name, row.line, what) for what in parsed.faults)
        if (example := parsed.example) is None:
            continue
        if example.id in seen:
            faults.append(Fault(name, row.line, f"the id '{example.id}' is already that of {seen[example.id]}"))
            continue
        seen[example.id] = example.source
        examples.append(example)
        if parsed.split is not None:
            splits[example.id] = parsed.split
    warnings = [f"{name} starts with a byte order mark (BOM); it was passed over."] if known.has_mark else []
    if odd:
        warnings.append(_odd_text(name, odd))
    return Reading(
        name=name,
        examples=tuple(examples),
        faults=tuple(faults),
        columns=replace(columns, unused=tuple(sorted(extra))),
        digest=known.digest,
        rows=count,
        splits=splits,
        warnings=tuple(warnings),
        broken=broken,
    )


def _odd_text(name: str, odd: Sequence[tuple[int, str]]) -> str:
    lines = ", ".join(str(line) for line, _ in odd[:5]) + (" …" if len(odd) > 5 else "")
    shown = odd[0][1]
    meant = shown.encode("cp1252", errors="replace").decode("utf-8", errors="replace")
    because = "characters were already lost" if shown == "\ufffd" else f"'{shown}' looks like a damaged '{meant}'"
    return f"{name}: {len(odd)} rows seem to have been saved with the wrong encoding (line {lines}): {because}."
