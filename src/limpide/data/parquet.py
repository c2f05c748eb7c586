"""Rows of a .parquet file, batch by batch. Rows are counted from 1."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from limpide.core.errors import DataError, MissingError, UntrustedInput
from limpide.data.raw import Raw, Unread

BATCH = 64  # rows held at a time
MOST_UNPACKED = 2**30  # bytes from which MOST_SQUEEZED counts
MOST_SQUEEZED = 200  # unpacked size / size of a file that is believed


def parquet_rows(path: Path, name: str) -> tuple[Iterator[Raw], tuple[str, ...]]:
    """The rows, and what is to be said of them.

    Whole numbers that stand for the names of classes, as the hub's data sets write them, are read as these names.
    Raises MissingError without pyarrow, DataError for a damaged file, UntrustedInput for one packed too tightly.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingError(
            f"Reading {name} needs pyarrow, which is not installed.", remedy="pip install 'limpide[tables]'"
        ) from error
    try:
        file = ParquetFile(path, memory_map=True, buffer_size=2**20)
    except (ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{name} is not a Parquet file that can be read: it is damaged, cut short, or protected.",
            received=_first_line(error),
            remedy="export or download it again",
        ) from error
    metadata, size = file.metadata, path.stat().st_size
    unpacked = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if unpacked > MOST_UNPACKED and unpacked > MOST_SQUEEZED * size:
        raise UntrustedInput(f"{name} unpacks to {unpacked / 1e9:.0f} GB, {unpacked / size:,.0f} times its size.")
    names = file.schema_arrow.names
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{name}: two columns are named '{twice}'.", remedy="rename one of them")
    classes = _classes(file.schema_arrow.metadata or {})
    said = [f"{name}: the numbers of '{c}' are read as their names: {', '.join(classes[c][:5])} …" for c in classes]
    return _rows(file, classes), tuple(said)


def _rows(file: Any, classes: Mapping[str, Sequence[str]]) -> Iterator[Raw]:
    from pyarrow import ArrowException

    number = 0
    with file:
        try:
            for batch in file.iter_batches(batch_size=BATCH, use_threads=False):
                columns = [_values(batch.column(name), classes.get(name)) for name in batch.schema.names]
                for values in zip(*columns, strict=True):
                    number += 1
                    yield Raw(number, dict(zip(batch.schema.names, values, strict=True)))
        except (ArrowException, OSError, ValueError) as error:
            yield Raw(number + 1, fault=f"the rest of the file is damaged: {_first_line(error)}", broken=True)


def _values(column: Any, names: Sequence[str] | None) -> list[object]:
    """The values of one column of a batch. names: of its classes, by number."""
    from pyarrow import types

    if types.is_temporal(column.type):  # some have no equal in Python, and none is text
        return [Unread("a date or a time") if valid else None for valid in column.is_valid().to_pylist()]
    values = column.to_pylist()
    if names is None:
        return list(values)
    return [names[v] if isinstance(v, int) and 0 <= v < len(names) else v for v in values]


def _classes(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """{column: names of its classes}, as the `datasets` library leaves them in a file."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        found = {column: feature["names"] for column, feature in features.items() if "names" in feature}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}
    return {c: n for c, n in found.items() if isinstance(n, list) and all(isinstance(name, str) for name in n)}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
