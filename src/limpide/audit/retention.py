"""What did a change cost elsewhere? Likelihood of ordinary texts that have nothing to do with the domain."""

import json
from typing import Literal

from pydantic import Field

from limpide.audit.items import (
    AuditSettings,
    Item,
    Spec,
    frame_of,
    method_id,
    read_probe,
    respondent_of,
    save_evidence,
    summarise,
)
from limpide.core import digests
from limpide.core.operation import Operation, Result, Subject
from limpide.core.progress import Progress
from limpide.models.requests import Request

PROBE = "retention.jsonl"
SLICES: tuple[dict[str, str], ...] = ({}, {"language": "*"})
LIMITS = (
    "Over Limpide's own short texts, which measure general language and not skills such as arithmetic; "
    "comparable only between models with one tokenizer."
)


class RetentionSettings(AuditSettings):
    languages: tuple[Literal["en", "fr"], ...] = Field(
        default=("en", "fr"), min_length=1, description="languages of the texts"
    )


def run(subject: Subject, settings: RetentionSettings, progress: Progress) -> Result:
    text = read_probe(PROBE)
    probe = digests.of_value(text)
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    rows = [row for row in rows if row["language"] in settings.languages]
    respondent = respondent_of(subject, settings)
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
    made = specs(settings, probe)
    save_evidence(subject.out, items, made)
    facts = {"texts": len(items), "tokens": sum(score.tokens for score in scores), "precision": settings.precision}
    return Result(tuple(summarise(items, made, frame_of(subject, respondent, probe))), facts)


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


operation = Operation(
    name="audit.retention",
    verb="look",
    summary="How well the model still predicts ordinary English and French texts.",
    settings=RetentionSettings,
    run=run,
    needs=("scores",),
    source="perplexity: Jelinek et al. 1977",
)
