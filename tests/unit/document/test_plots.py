"""Where dots and lines fall, and which pictures a suite has."""

from evidence_sample import bare, evidence
from evidence_suites import TRUTH_FACTS, measure
from limpide.document import drawings, pictures, plots
from limpide.document.evidence import Audited, AuditEvidence
from limpide.document.language import language

EN, FR = language("en"), language("fr")
BINS = TRUTH_FACTS["reliability"]["all"]


def test_a_dot_stands_at_its_confidence_and_accuracy() -> None:
    plot = plots.reliability([("model", "after", BINS)], EN)
    assert plot is not None
    few, many = plot.series[0].dots  # the empty bin has none
    assert few.at == (46.0, 70.0)
    assert many.at == (97.0, 58.0)
    assert many.radius == plots.LARGEST > few.radius
    assert many.title == "120 answers: sure at 97%, right at 42%"
    assert plot.diagonal


def test_a_curve_is_scaled_to_its_worst_risk() -> None:
    rows = [{"coverage": 0.5, "risk": 0.1}, {"coverage": 1.0, "risk": 0.2}]
    plot = plots.risk_coverage([("model", "after", rows)], FR)
    assert plot is not None
    assert plot.series[0].line == ((50.0, 50.0), (100.0, 0.0))
    assert plot.down[-1].label == "20\u202f%"


def test_no_answer_no_plot() -> None:
    assert plots.reliability([("model", "after", BINS[2:])], EN) is None
    assert plots.risk_coverage([("model", "after", [])], EN) is None


def test_rows_from_zero_need_one_unit() -> None:
    shares = [("a", [measure("truth.accuracy", 0.5)])]
    picture = pictures.rows_from_zero(shares, EN)
    assert picture is not None
    assert picture.rows[0][1][0].at == 50.0
    assert [tick.label for tick in picture.ticks] == ["0%", "25%", "50%", "75%", "100%"]
    loss = ("b", [measure("retention.loss", 3.2, unit="nats per token", low=3.1, high=3.3)])
    assert pictures.rows_from_zero([*shares, loss], EN) is None
    scaled = pictures.rows_from_zero([loss], EN)
    assert scaled is not None
    assert [tick.label for tick in scaled.ticks] == ["0", "1", "2", "3", "4"]


def test_each_suite_has_its_pictures() -> None:
    kinds = {
        suite: [picture.kind for picture in drawings.pictures_of(suite, evidence(), EN)]
        for suite in evidence().suite_names()
    }
    assert kinds["truth"] == ["rows", "plot", "plot", "rows"]
    assert kinds["bias"] == ["gaps"]
    assert kinds["domain"] == ["bars"]
    assert all(kinds.values())


def test_nothing_measured_nothing_drawn() -> None:
    for suite in (*drawings.DRAWN, "novelty"):
        assert drawings.pictures_of(suite, bare(), EN) == ()


def test_an_unknown_suite_shows_its_shares() -> None:
    made = measure("novelty.share", 0.3, subject="result")
    (picture,) = drawings.pictures_of("novelty", AuditEvidence(audited=Audited(title="x"), measures=(made,)), EN)
    assert picture.kind == "rows"


def test_flips_are_shown_by_the_way_of_writing_the_worst_first() -> None:
    (picture,) = drawings.pictures_of("robustness", evidence(), EN)
    assert isinstance(picture.drawing, pictures.Gaps)
    assert [label for label, _ in picture.drawing.rows] == ["typing faults", "accents left out"]
