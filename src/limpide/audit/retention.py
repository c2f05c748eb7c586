"""What did a change cost elsewhere? Ordinary texts, and general knowledge that has nothing to do with the domain."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field

from limpide.audit import truth_options
from limpide.audit.items import (
    AuditSettings,
    Item,
    Spec,
    frame_of,
    method_id,
    not_run,
    respondent_of,
    save_evidence,
    summarise,
)
from limpide.audit.measurable import measurable
from limpide.audit.semantic import drawn
from limpide.audit.truth_questions import Question, questions_digest, read_questions
from limpide.core import digests
from limpide.core.operation import Measurable, Operation, Result, Subject
from limpide.core.progress import Progress
from limpide.data.shipped import read_probe
from limpide.models.requests import Request
from limpide.models.respondents import SCORES, Opened

PROBE = "retention.jsonl"
SLICES: tuple[dict[str, str], ...] = ({}, {"language": "*"})
LIMITS = (
    "Over Limpide's own short texts, which measure general language and not skills such as arithmetic; "
    "comparable only between models with one tokenizer."
)
NO_LIKELIHOOD = "needs the likelihood of given words, which cannot be asked of this model from outside"


class RetentionSettings(AuditSettings):
    languages: tuple[Literal["en", "fr"], ...] = Field(
        default=("en", "fr"), min_length=1, description="languages of the texts and questions"
    )
    questions: int = Field(
        default=100, ge=0, description="questions of general knowledge a language, drawn by the seed; 0 asks none"
    )


def run(subject: Subject, settings: RetentionSettings, progress: Progress) -> Result:
    """Loss on Limpide's own texts, and how often the right one of four answers is the likeliest."""
    text = read_probe(PROBE)
    probe = digests.of_value(text)
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    rows = [row for row in rows if row["language"] in settings.languages]
    languages = sorted(set(settings.languages))
    asked = drawn(read_questions("options", languages), settings.questions * len(languages), subject.seed)
    respondent = respondent_of(subject, settings)
    made = specs(settings, probe)
    known = (knowledge_spec(settings, asked),) if asked else ()
    frame = frame_of(subject, respondent, probe)
    about_knowledge = replace(frame, data_digest=questions_digest(["options"], languages))
    if not isinstance(respondent, Opened) or SCORES not in respondent.can:
        missing = [not_run(spec, frame, NO_LIKELIHOOD) for spec in made]
        missing += [not_run(spec, about_knowledge, NO_LIKELIHOOD) for spec in known]
        save_evidence(subject.out, [], [])
        return Result(tuple(missing), respondent.facts())
    scores = respondent.score([Request(row["id"], "", row["text"]) for row in rows], progress)
    items = [
        Item(
            id=row["id"],
            cluster=row["id"],
            group={"language": row["language"]},
            metric={"loss": -score.log_likelihood, "tokens": float(score.tokens)},
            shown={"text": row["text"]},
        )
        for row, score in zip(rows, scores, strict=True)
    ]
    chosen = truth_options.by_likelihood(respondent, asked, progress) if asked else []
    save_evidence(subject.out, [*items, *chosen], [*made, *known])
    measures = summarise(items, made, frame) + summarise(chosen, known, about_knowledge)
    facts = {
        "texts": len(items),
        "tokens": sum(score.tokens for score in scores),
        "questions": len(asked),
        "precision": settings.precision,
    }
    return Result(tuple(measures), facts | respondent.facts())


def specs(settings: RetentionSettings, probe: str) -> tuple[Spec, ...]:
    """Both are of one ratio: all the nats over all the tokens, so that long texts weigh more."""
    languages = sorted(set(settings.languages))

    def method(name: str) -> str:
        return method_id(name, 1, languages=languages, texts=probe[: digests.SHORT], per="token")

    loss = Spec(
        name="retention.loss",
        metric="loss",
        weight="tokens",
        kind="mean",
        unit="nats per token",
        better="lower",
        slices=SLICES,
        method=method("retention.loss"),
        note=LIMITS,
    )
    perplexity = loss.model_copy(
        update={
            "name": "retention.perplexity",
            "link": "exp",
            "unit": "perplexity",
            "method": method("retention.perplexity"),
        }
    )
    return loss, perplexity


def knowledge_spec(settings: RetentionSettings, asked: Sequence[Question]) -> Spec:
    """The right one of four answers is the likeliest, as in audit.truth, on `asked` alone."""
    languages = sorted(set(settings.languages))
    return Spec(
        name="retention.truth_accuracy",
        metric="correct",
        kind="share",
        unit="share",
        better="higher",
        slices=SLICES,
        method=method_id(
            "retention.truth_accuracy",
            1,
            choice="likelihood",
            languages=languages,
            questions=questions_digest(["options"], languages)[: digests.SHORT],
            drawn=len(asked),
        ),
        note=(
            "Chance gives 0.25. General knowledge on Limpide's own questions: what a change of the model cost is the "
            "difference from its base, not the value alone."
        ),
    )


def gives(settings: RetentionSettings) -> tuple[Measurable, ...]:
    known = (knowledge_spec(settings, ()),) if settings.questions else ()
    return measurable((*specs(settings, ""), *known), language=settings.languages)


operation = Operation(
    name="audit.retention",
    verb="look",
    summary="How well the model still predicts ordinary English and French texts, and what it still knows.",
    settings=RetentionSettings,
    run=run,
    gives=gives,
    needs=("scores",),
    source="perplexity: Jelinek et al. 1977",
)
