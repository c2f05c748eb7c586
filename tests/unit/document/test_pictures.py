"""Where marks fall."""

import pytest

from evidence_sample import evidence, losses
from limpide.document import pictures
from limpide.document.evidence import LossPoint
from limpide.document.language import language

EN = language("en")


def test_bars_are_percentages_of_the_width() -> None:
    picture = pictures.share_bars([evidence().measures[1]], EN)
    assert picture is not None
    (mark,) = picture.marks
    assert (mark.at, mark.low, mark.high) == (91.67, 78.17, 97.12)
    assert mark.role == "after"
    assert [tick.label for tick in picture.ticks] == ["0%", "25%", "50%", "75%", "100%"]


def test_no_number_no_picture() -> None:
    empty = evidence().measures[5]
    assert empty.value is None
    assert pictures.share_bars([empty], EN) is None
    assert pictures.gap_rows([("nothing", [empty])], EN) is None
    assert pictures.loss_curve([LossPoint(step=0, epoch=0, train=1.0)], None, EN) is None


def test_zero_is_in_the_middle_and_intervals_are_inside() -> None:
    gaps = [m for m in evidence().measures if m.name == "bias.gap"]
    picture = pictures.gap_rows([("all", gaps)], EN)
    assert picture is not None
    assert picture.zero == 50.0
    for mark in picture.rows[0][1]:
        assert mark.low is not None
        assert mark.high is not None
        assert 0 <= mark.low <= mark.at <= mark.high <= 100


def test_the_kept_epoch_is_marked_on_the_held_out_line() -> None:
    curve = pictures.loss_curve(losses(), 5.0, EN)
    assert curve is not None
    assert curve.kept in curve.held_out
    assert [tick.label for tick in curve.across] == ["1", "2", "3", "4", "5", "6"]
    assert all(0 <= down <= 100 for _, down in curve.train + curve.held_out)


@pytest.mark.parametrize(("rough", "step"), [(0.3, 0.5), (1.0, 1.0), (7.1, 10.0), (0.021, 0.05)])
def test_nice_step(rough: float, step: float) -> None:
    assert pictures.nice_step(rough) == pytest.approx(step)
