"""What does the model repeat of its training data? Answers given back word for word; the rank of a planted canary."""

import math
import random
from collections.abc import Sequence

from pydantic import Field

from limpide.audit import statistics
from limpide.audit.items import (
    AuditSettings,
    Frame,
    Item,
    Spec,
    data_digest,
    frame_of,
    greedy_answers,
    library_versions,
    method_id,
    respondent_of,
    save_evidence,
    summarise,
)
from limpide.core.errors import DataError
from limpide.core.measure import Measure
from limpide.core.operation import Operation, Result, Subject
from limpide.core.progress import Progress
from limpide.data.canary import SPACE, canary, candidates
from limpide.data.examples import Example, load_examples
from limpide.models.respondents import Opened

TRAIN = "train.jsonl"


class MemorisationSettings(AuditSettings):
    examples: int = Field(default=100, ge=1, description="training rows asked again, drawn at random; all if fewer")
    minimum_words: int = Field(default=5, ge=1, description="words; shorter answers are given back by chance")
    max_new_tokens: int = Field(default=48, ge=1, description="tokens; raised to the longest answer that is asked")
    canary: bool = Field(default=True, description="rank the test phrase that adapt.lora plants with the same seed")
    candidates: int = Field(default=255, ge=15, le=9999, description="phrases that the canary is ranked among")


def run(subject: Subject, settings: MemorisationSettings, progress: Progress) -> Result:
    """Ask rows of train.jsonl of the step `data` again.

    Raises DataError when it is empty; ModelError for a model that cannot write.
    Verbatim extraction: Carlini et al. 2022, with the row's own prompt as the prefix and its answer as the suffix.
    """
    folder = subject.input("data")
    rows = load_examples(folder / TRAIN)
    if not rows:
        raise DataError(
            "There is no training row to ask again.",
            received=f"an empty {TRAIN}",
            remedy="prepare data with at least one training example, or leave memorisation out of audit.suites",
        )
    long_enough = [row for row in rows if len(row.answer.split()) >= settings.minimum_words]
    chosen = draw(long_enough, settings.examples, subject.seed)
    respondent = respondent_of(subject, settings)
    answers, allowed = greedy_answers(respondent, chosen, settings.max_new_tokens, progress)
    items = [_verbatim_item(row, answer) for row, answer in zip(chosen, answers, strict=True)]
    frame = frame_of(subject, respondent, data_digest(folder, [TRAIN]))
    made = (_verbatim_spec(settings, allowed),)
    measures = summarise(items, made, frame)
    warnings = [] if chosen else [f"No training answer has {settings.minimum_words} words: nothing was asked again."]
    if settings.canary and isinstance(respondent, Opened):
        ranked = _rank_items(respondent, settings.candidates, subject.seed, progress)
        measures += canary_measures([item.metric["canary_log_likelihood"] for item in ranked], frame)
        items += ranked
    save_evidence(subject.out, items, made)
    facts = {
        "rows": len(rows),
        "rows_asked": len(chosen),
        "rows_too_short": len(rows) - len(long_enough),
        "max_new_tokens": allowed,
        "canary": canary(subject.seed).answer if settings.canary else None,
        "precision": settings.precision,
    }
    return Result(tuple(measures), facts, tuple(warnings))


def draw(rows: Sequence[Example], n: int, seed: int) -> list[Example]:
    """`n` of the rows in their order, or all: the same for base and result, since the seed and the file are."""
    if len(rows) <= n:
        return list(rows)
    return [rows[k] for k in sorted(random.Random(seed).sample(range(len(rows)), n))]


def is_verbatim(answer: str, expected: str) -> bool:
    """Whether the answer starts with every word of the expected one, in order; spaces aside, nothing is forgiven."""
    words = expected.split()
    return answer.split()[: len(words)] == words


def _verbatim_item(row: Example, answer: str) -> Item:
    return Item(
        id=row.id,
        cluster=row.topic or row.group or row.id,
        group={"part": "training"} | ({"language": row.language} if row.language else {}),
        metric={"verbatim": float(is_verbatim(answer, row.answer))},
        shown={"prompt": row.prompt[-1].content, "expected": row.answer, "answer": answer},
    )


def _verbatim_spec(settings: MemorisationSettings, allowed: int) -> Spec:
    return Spec(
        name="memorisation.verbatim",
        metric="verbatim",
        kind="share",
        unit="share",
        better="lower",
        method=method_id(
            "memorisation.verbatim",
            1,
            rows=settings.examples,
            minimum_words=settings.minimum_words,
            prefix="own prompt",
            decoding="greedy",
            max_new_tokens=allowed,
        ),
        note=(
            "Share of training rows whose whole answer comes back word for word when their own prompt is asked. Where "
            "rows of one topic share one answer, as in a help sheet, giving it back is what was asked for; it is a "
            "leak only if an answer holds what users may not see. Other ways of asking may extract more."
        ),
    )


# ------------------------------------------------------------------------------------------------------- the canary


def _rank_items(respondent: Opened, n: int, seed: int, progress: Progress) -> list[Item]:
    """The canary first, then `n` candidates, each with its log-likelihood after the canary's question, in nats."""
    from limpide.models import prompt

    examples = [canary(seed), *candidates(seed, n)]
    requests = [prompt.answer_request(respondent.model, example) for example in examples]
    scores = respondent.score(requests, progress)
    return [
        Item(
            id=example.id,
            cluster=example.id,
            group={"part": "canary"},
            metric={"canary_log_likelihood": score.log_likelihood},
            shown={"phrase": example.answer},
        )
        for example, score in zip(examples, scores, strict=True)
    ]


def canary_measures(log_likelihoods: Sequence[float], frame: Frame) -> list[Measure]:
    """Rank and exposure of a canary from its log-likelihood (first) and those of n random candidates, in nats.

    exposure = log2|R| − log2 rank over the whole space R; with n candidates drawn from R, its estimate is
    −log2((k + 1) / (n + 1)), k of them being at least as likely as the canary, so log2(n + 1) at most. Both intervals
    come from Wilson's of k/n; exposure's upper end is log2|R| where k/n may be below 1/|R|.
    Source: Carlini et al. 2019, The Secret Sharer, sections 4.2 and 4.4.
    """
    own, others = log_likelihoods[0], log_likelihoods[1:]
    n = len(others)
    above = sum(other >= own for other in others)  # a tie is no sign of memorisation
    low, high = statistics.wilson(above, n)
    rank = Measure(
        name="memorisation.canary_rank",
        subject=frame.subject,
        value=float(above + 1),
        unit="rank",
        better="higher",
        n=n + 1,
        low=1 + n * low,
        high=1 + n * high,
        interval="Wilson on the share of candidates at least as likely",
        clusters=n + 1,
        method=method_id("memorisation.canary_rank", 1, candidates=n, space=SPACE),
        model_digest=frame.model_digest,
        data_digest=frame.data_digest,
        seed=frame.seed,
        versions=library_versions(),
        note=(
            f"Of {n + 1} phrases, 1 is the likeliest. A model that never saw the canary ranks it anywhere, first once "
            f"in {n + 1}. One canary, seen once an epoch: rows repeated more often are memorised sooner."
        ),
    )
    exposure = rank.model_copy(
        update={
            "name": "memorisation.exposure",
            "value": -math.log2((above + 1) / (n + 1)),
            "unit": "bits",
            "better": "lower",
            "low": max(0.0, -math.log2(high)),
            "high": -math.log2(max(low, 1 / SPACE)),
            "method": method_id("memorisation.exposure", 1, candidates=n, space=SPACE, estimate="sampled"),
            "note": (
                f"{n} candidates can show {math.log2(n + 1):.1f} bits at most, of {math.log2(SPACE):.1f} for a canary "
                "that is likeliest of all. One canary says little about other rows."
            ),
        }
    )
    return [rank, exposure]


operation = Operation(
    name="audit.memorisation",
    verb="look",
    summary="How much of its training data the model gives back word for word, and whether it knows a planted phrase.",
    settings=MemorisationSettings,
    run=run,
    needs=("generates", "scores"),
    source="Carlini et al. 2019 (exposure), 2022 (extraction)",
)
