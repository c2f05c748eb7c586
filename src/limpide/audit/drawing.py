"""Which rows are asked where there are more than are wanted."""

import random
from collections.abc import Sequence
from typing import TypeVar

Row = TypeVar("Row")


def draw(rows: Sequence[Row], n: int, seed: int | str) -> list[Row]:
    """`n` of the rows in their order, or all: the same for base and result, since the seed and the file are."""
    if len(rows) <= n:
        return list(rows)
    return [rows[k] for k in sorted(random.Random(seed).sample(range(len(rows)), n))]
