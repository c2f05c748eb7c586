import random

import pytest

from limpide.audit.drawing import draw

ROWS = [f"r{k}" for k in range(300)]


def test_rows_are_drawn_by_seed_and_in_order():
    first = draw(ROWS, 100, seed=1)
    assert first == draw(ROWS, 100, seed=1)
    assert first != draw(ROWS, 100, seed=2)
    assert len(set(first)) == 100
    assert [ROWS.index(row) for row in first] == sorted(ROWS.index(row) for row in first)
    assert draw(ROWS, 300, seed=1) == ROWS
    assert draw(ROWS[:3], 4, seed="1/fr") == ROWS[:3]


@pytest.mark.parametrize("seed", [7, "7/fr"])
def test_the_rows_are_those_of_a_plain_sample(seed):
    """So that audits made before and after a change of this file are of the same rows."""
    assert set(draw(ROWS, 40, seed)) == set(random.Random(seed).sample(ROWS, 40))
