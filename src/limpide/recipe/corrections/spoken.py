"""Which of two answers that say the same thing in two tones does the model find likelier?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from limpide.audit.items import Frame, Item, Spec, method_id, save_evidence, summarise
from limpide.core import digests
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress
from limpide.data.templates import Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from limpide.data.examples import Example

LEAD, PREFERRED = "tone.lead", "tone.preferred"


class SpokenSettings(Settings):
    """The two files, and which of their questions."""

    wanted: Path = Field(description="examples answered in the tone wanted")
    unwanted: Path = Field(description="the same questions, answered in the other tone")
    part: Part | None = Field(None, description="one part of the questions alone")


def run(subject: Subject, settings: SpokenSettings, progress: Progress) -> Result:
    """Log-likelihood of a token of the answer wanted, less that of the other, question by question; and the share of
    questions in which it is above zero. It says what the model would rather say, not what it writes."""
    from limpide.adapt.correct.contrasts import twins

    pairs = twins(settings.wanted, settings.unwanted, settings.part)
    respondent = subject.respondent
    leads = _leads(respondent, pairs, progress)
    items = [
        Item(
            id=wanted.id,
            cluster=wanted.question,
            group={},
            metric={"lead": lead, "preferred": float(lead > 0)},
            shown={"prompt": wanted.question, "wanted": wanted.answer, "unwanted": unwanted.answer},
        )
        for (wanted, unwanted), lead in zip(pairs, leads, strict=True)
    ]
    made = specs()
    save_evidence(subject.out, items, made)
    files = digests.of_value([digests.of_file(path) for path in (settings.wanted, settings.unwanted)])
    frame = Frame(subject.label, subject.seed, respondent.digest, files)
    return Result(tuple(summarise(items, made, frame)))


def _leads(respondent: object, pairs: Sequence[tuple[Example, Example]], progress: Progress) -> list[float]:
    """Nats a token, one a pair."""
    from limpide.models.prompt import answer_request
    from limpide.models.respondents import Opened

    assert isinstance(respondent, Opened)  # a correction opens its model
    requests = [answer_request(respondent.model, answer) for both in pairs for answer in both]
    means = [score.log_likelihood / score.tokens for score in respondent.score(requests, progress)]
    return [wanted - unwanted for wanted, unwanted in zip(means[::2], means[1::2], strict=True)]


def specs() -> tuple[Spec, ...]:
    lead = Spec(
        name=LEAD,
        metric="lead",
        kind="mean",
        unit="nats/token",
        better="higher",
        slices=({},),
        method=method_id(LEAD, 1),
        note="Mean log-likelihood of a token of the answer in the tone wanted, less that of the other answer.",
    )
    preferred = lead.model_copy(
        update={
            "name": PREFERRED,
            "metric": "preferred",
            "kind": "share",
            "unit": "share",
            "method": method_id(PREFERRED, 1),
            "note": "Share of questions whose answer in the tone wanted is the likelier one, token by token.",
        }
    )
    return lead, preferred


operation = Operation(
    name="correct.spoken",
    verb="look",
    summary="ask in which of two tones a model would rather say the same thing",
    settings=SpokenSettings,
    run=run,
    needs=("scores",),
)
