"""Whatever subset of the evidence exists and whatever the verdicts, both documents are written and hold no blank."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from evidence_sample import evidence
from limpide.document.card import card
from limpide.document.evidence import Data, Environment, Evidence, Parity, Training
from limpide.document.report import report

SAMPLE = evidence()
WORDS = ("better", "worse", "no detectable change", "insufficient evidence")


@st.composite
def subsets(draw: st.DrawFn) -> Evidence:
    def some(items: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(item for item in items if draw(st.booleans()))

    changes = tuple(c.model_copy(update={"verdict": draw(st.sampled_from(WORDS))}) for c in SAMPLE.changes)
    states = ("measured", "insufficient evidence", "not run")
    measures = [
        m
        if (state := draw(st.sampled_from(states))) == "measured"
        else m.model_copy(update={"state": state, "value": None})
        for m in SAMPLE.measures
    ]
    outcome = st.sampled_from(("pass", "fail", "insufficient evidence"))
    return SAMPLE.model_copy(
        update={
            "changes": some(changes),
            "measures": some(tuple(measures)),
            "gates": some(tuple(g.model_copy(update={"verdict": draw(outcome)}) for g in SAMPLE.gates)),
            "verdict": draw(st.sampled_from(("ship", "hold", "insufficient evidence"))),
            "parity": draw(
                st.sampled_from((SAMPLE.parity, Parity(), SAMPLE.parity.model_copy(update={"passed": False})))
            ),
            "data": draw(st.sampled_from((SAMPLE.data, Data()))),
            "training": draw(st.sampled_from((SAMPLE.training, Training(), Training(losses=SAMPLE.training.losses)))),
            "environment": draw(st.sampled_from((SAMPLE.environment, Environment()))),
            "examples": some(SAMPLE.examples),
            "files": some(SAMPLE.files),
        }
    )


@given(subsets(), st.sampled_from(("en", "fr")))
@settings(max_examples=25, deadline=None)
def test_every_document_can_be_written(made: Evidence, code: str) -> None:
    page, readme = report(made, code), card(made, code)
    assert re.search(r"<(dd|td|p|h1|h2|h3)[^>]*>\s*</\1>", page) is None
    assert ">None<" not in page
    assert re.search(r"\{\w+\}", page.split("</style>")[1]) is None
    assert "None" not in readme
    if made.verdict != "ship":
        assert 'class="banner good"' not in page
