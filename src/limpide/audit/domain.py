"""Does the model answer the organisation's own questions? New wordings of known topics, and topics never taught."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from limpide.audit import domain_labels, statistics
from limpide.audit.items import (
    NO_TEXT,
    AuditSettings,
    Item,
    Spec,
    data_digest,
    decoding,
    frame_of,
    greedy_answers,
    method_id,
    not_run,
    respondent_of,
    save_evidence,
    summarise,
)
from limpide.audit.matching import normalise, token_f1
from limpide.audit.measurable import measurable
from limpide.audit.thoughts import CUT, cut_short, spoken
from limpide.core import digests
from limpide.core.errors import DataError
from limpide.core.operation import Measurable, Operation, Result, Subject
from limpide.core.progress import Progress
from limpide.data.examples import Example, load_examples
from limpide.models.requests import Score
from limpide.models.respondents import GENERATES, Opened, Respondent, Sorter

HELD_OUT, UNSEEN = "held_out", "unseen"
SLICES = ({"slice": HELD_OUT}, {"slice": HELD_OUT, "language": "*"}, {"slice": UNSEEN})
BY_TOPIC = (*SLICES, {"slice": HELD_OUT, "topic": "*"})
WRITTEN = ("exact", "normalised", "token_f1", "borrowed")  # item metrics of written answers
WHOLE = "answer and its end token"
TOPICS_LISTED = 50  # up to so many, a topic with too few questions has its row too, and says so
NO_LIKELIHOOD = "needs the likelihood of a given answer, which cannot be asked of this model from outside"


class DomainSettings(AuditSettings):
    max_new_tokens: int = Field(
        default=48, ge=1, description="tokens; raised to the longest expected answer where that is longer"
    )


def run(subject: Subject, settings: DomainSettings, progress: Progress) -> Result:
    """Greedy answers and answer likelihoods on held_out.jsonl and unseen.jsonl of the step `data`; or, where every
    question has a label, the label chosen among all.

    Raises DataError when nothing was held out. A model that cannot write has its likelihoods alone.
    """
    from limpide.models import prompt

    folder = subject.input("data")
    examples = read_questions(folder)
    respondent = respondent_of(subject, settings)
    labels = domain_labels.labels_of(folder, examples)
    if labels and (len(labels) <= domain_labels.MOST_OPTIONS or isinstance(respondent, Sorter)):
        return _labelled(subject, respondent, labels, settings, progress)
    everything = [example for _, example in examples]
    answers: Sequence[str | None] = [None] * len(everything)
    allowed, cut, missing = settings.max_new_tokens, 0, dict.fromkeys(WRITTEN, NO_TEXT)
    if GENERATES in respondent.can:
        written, allowed = greedy_answers(respondent, everything, settings.max_new_tokens, progress)
        (answers, cut), missing = spoken(written), {}
    scores: list[Score | None] = [None] * len(everything)
    if isinstance(respondent, Opened):
        requests = [prompt.answer_request(respondent.model, example) for example in everything]
        scores = [*respondent.score(requests, progress)]
    else:
        missing["log_likelihood"] = NO_LIKELIHOOD
    taught = taught_answers(folder)
    items = [
        domain_item(part, example, answer, score, taught if part == UNSEEN else None)
        for (part, example), answer, score in zip(examples, answers, scores, strict=True)
    ]
    items, topics = with_topics(items)
    made = specs(decoding(respondent, allowed), taught, "answer" if respondent.kind == "encoder" else WHOLE)
    save_evidence(subject.out, items, made)
    frame = frame_of(subject, respondent, data_digest(folder, _names(folder)))
    measures = summarise(items, made, frame)
    measures += [not_run(spec, frame, missing[spec.metric]) for spec in made if spec.metric in missing]
    facts = {
        "items": {part: sum(i.group["slice"] == part for i in items) for part in (HELD_OUT, UNSEEN)},
        "topics": topics,
        "taught_answers": len(taught),
        "max_new_tokens": allowed,
        CUT: cut,
        "precision": settings.precision,
    }
    return Result(tuple(measures), facts | respondent.facts(), cut_short(cut, len(answers), allowed))


def _labelled(
    subject: Subject, respondent: Respondent, labels: Sequence[str], settings: DomainSettings, progress: Progress
) -> Result:
    """The label that each question gets, and beside it what a model that writes answers by itself."""
    folder = subject.input("data")
    examples = read_questions(folder)
    everything = [example for _, example in examples]
    how, usual = domain_labels.how_chosen(respondent), domain_labels.commonest(folder, labels)
    answers: Sequence[str | None] = [None] * len(everything)
    made, allowed, cut = domain_labels.specs(labels, usual, how or "classes"), settings.max_new_tokens, 0
    if GENERATES in respondent.can:
        written, allowed = greedy_answers(respondent, everything, settings.max_new_tokens, progress)
        answers, cut = spoken(written)
        made += tuple(spec for spec in specs(decoding(respondent, allowed)) if spec.metric == "exact")
    choices: Sequence[domain_labels.Choice | None] = [None] * len(everything)
    if how is not None:
        choices = domain_labels.choose(respondent, everything, labels, answers, progress)
    items = [
        domain_labels.with_label(domain_item(part, example, answer, None), str(example.label), labels, usual, choice)
        for (part, example), answer, choice in zip(examples, answers, choices, strict=True)
    ]
    items, topics = with_topics(domain_labels.with_classes(items))
    save_evidence(subject.out, items, made)
    frame = frame_of(subject, respondent, data_digest(folder, _names(folder)))
    missing = domain_labels.missing(how)
    measures = summarise(items, made, frame)
    measures += [not_run(spec, frame, missing[spec.metric]) for spec in made if spec.metric in missing]
    facts = {
        "items": {part: sum(i.group["slice"] == part for i in items) for part in (HELD_OUT, UNSEEN)},
        "topics": topics,
        "labels": len(labels),
        "commonest": usual,
        "confusion": domain_labels.confusion(items, labels),
        "max_new_tokens": allowed,
        CUT: cut,
        "precision": settings.precision,
    }
    return Result(tuple(measures), facts | respondent.facts(), cut_short(cut, len(answers), allowed))


def accuracy_spec(**how: Any) -> Spec:
    """The share of expected answers, however they were obtained. how: what changes the result, for the method id."""
    return Spec(
        name="domain.accuracy",
        metric="normalised",
        kind="share",
        unit="share",
        better="higher",
        slices=BY_TOPIC,
        nested="topic",
        method=method_id("domain.accuracy", 1, match="normalised", **how),
        note="Equal up to case, spaces and sentence punctuation. A right answer in other words counts as wrong.",
    )


def specs(how: Mapping[str, Any], taught: Iterable[str] = (), of: str = WHOLE) -> tuple[Spec, ...]:
    """how: the decoding, see items.decoding. taught: normalised answers of the topics that were taught.

    of: what the likelihood is of.
    """
    answers = digests.of_value(sorted(taught))[: digests.SHORT]
    return (
        accuracy_spec(**how),
        Spec(
            name="domain.exact",
            metric="exact",
            kind="share",
            unit="share",
            better="higher",
            slices=SLICES,
            method=method_id("domain.exact", 1, match="exact", **how),
            note="Equal character by character, spaces at both ends aside.",
        ),
        Spec(
            name="domain.token_f1",
            metric="token_f1",
            kind="mean",
            ends=(0.0, 1.0),
            unit="share",
            better="higher",
            slices=BY_TOPIC,
            nested="topic",
            method=method_id("domain.token_f1", 1, words="normalised", **how),
            note="Words shared with the expected answer, in any order, from 0 to 1. A missing 'not' costs one word.",
        ),
        Spec(
            name="domain.borrowed",
            metric="borrowed",
            kind="share",
            unit="share",
            better="lower",
            slices=({"slice": UNSEEN},),
            method=method_id("domain.borrowed", 1, match="normalised", taught=answers, **how),
            note=(
                "Share of questions on topics never taught that get, word for word, the expected answer of a taught "
                "topic, instead of 'I do not know'. An answer that fits any question, such as whom to call, counts too."
            ),
        ),
        Spec(
            name="domain.log_likelihood",
            metric="log_likelihood",
            weight="tokens",
            kind="mean",
            unit="nats per token",
            better="higher",
            slices=SLICES,
            method=method_id("domain.log_likelihood", 1, of=of, per="token"),
            note="Of the expected answer in its own words; comparable only between models with one tokenizer.",
        ),
    )


def domain_item(
    part: str, example: Example, answer: str | None, score: Score | None, taught: frozenset[str] | None = None
) -> Item:
    """One question asked. answer: None for a model that cannot write.

    score: of the expected answer; None where the engine gives no likelihoods.
    taught: normalised answers of other topics, to see whether one of them was given; None where that is not asked.
    """
    likelihood = {} if score is None else {"log_likelihood": score.log_likelihood, "tokens": float(score.tokens)}
    shown = {"prompt": _last_question(example), "expected": example.answer, "topic": example.topic}
    return Item(
        id=example.id,
        cluster=example.topic or example.group or example.id,
        group={"slice": part} | ({"language": example.language} if example.language else {}),
        metric=({} if answer is None else _written(answer, example.answer, taught)) | likelihood,
        shown=shown if answer is None else shown | {"answer": answer},
        within=example.group if example.topic else None,
    )


def _written(answer: str, expected: str, taught: frozenset[str] | None) -> dict[str, float]:
    said, wanted = normalise(answer), normalise(expected)
    borrowed = {} if taught is None else {"borrowed": float(said != wanted and said in taught)}
    return {
        "exact": float(answer.strip() == expected.strip()),
        "normalised": float(said == wanted),
        "token_f1": token_f1(answer, expected),
        **borrowed,
    }


def taught_answers(folder: Path) -> frozenset[str]:
    """Normalised answers of the topics that were taught; one that holds no word is none."""
    files = [folder / name for name in ("train.jsonl", f"{HELD_OUT}.jsonl")]
    rows = [example for file in files if file.is_file() for example in load_examples(file)]
    return frozenset(normalise(row.answer) for row in rows) - {""}


def with_topics(items: Sequence[Item]) -> tuple[list[Item], dict[str, int]]:
    """The items, each held-out one of a listed topic in its topic's slice too; and how many topics were asked.

    Inside one topic the wordings count, or their groups, not the topic: what is independent there. A table is made
    when one topic at least has enough of them; beyond TOPICS_LISTED, of those topics only.
    """
    inside: defaultdict[str, set[str]] = defaultdict(set)
    for item in items:
        if item.group["slice"] == HELD_OUT and item.shown["topic"]:
            inside[item.shown["topic"]].add(item.within or item.id)
    needed = statistics.minimum_clusters("share")
    enough = {topic for topic, found in inside.items() if len(found) >= needed}
    listed = set(inside) if enough and len(inside) <= TOPICS_LISTED else enough
    placed = [
        replace(item, group={**item.group, "topic": item.shown["topic"]})
        if item.group["slice"] == HELD_OUT and item.shown["topic"] in listed
        else item
        for item in items
    ]
    return placed, {"asked": len(inside), "with_enough_questions": len(enough), "listed": len(listed)}


def _last_question(example: Example) -> str:
    return example.prompt[-1].content


def _names(folder: Path) -> list[str]:
    return [name for name in (f"{HELD_OUT}.jsonl", f"{UNSEEN}.jsonl") if (folder / name).is_file()]


def read_questions(folder: Path) -> list[tuple[str, Example]]:
    """(slice, example) of everything that was kept out of training. Raises DataError when nothing was held out."""
    held_out: Sequence[Example] = load_examples(folder / f"{HELD_OUT}.jsonl")
    if not held_out:
        raise DataError(
            "No example was held out, so there is nothing to test the model's answers on.",
            received=f"an empty {HELD_OUT}.jsonl",
            expected="at least one example kept out of training, better 50",
            remedy="set data.held_out to 0.2 in the recipe, or bring more examples",
        )
    unseen = load_examples(folder / f"{UNSEEN}.jsonl") if f"{UNSEEN}.jsonl" in _names(folder) else []
    return [(HELD_OUT, example) for example in held_out] + [(UNSEEN, example) for example in unseen]


def gives(settings: DomainSettings) -> tuple[Measurable, ...]:
    texts = specs({"decoding": "greedy", "max_new_tokens": settings.max_new_tokens})
    known = {spec.name for spec in texts}
    return measurable((*texts, *(spec for spec in domain_labels.specs((), "", "classes") if spec.name not in known)))


operation = Operation(
    name="audit.domain",
    verb="look",
    summary="How often the model gives the expected answer to questions it was not trained on.",
    settings=DomainSettings,
    run=run,
    gives=gives,
    needs=("generates", "scores"),
    source="exact and normalised match, as in SQuAD (Rajpurkar et al. 2016), without dropping articles",
)
