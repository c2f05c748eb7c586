"""The organisation's own questions where the answer is one of a few labels: how often is the right one chosen?

A classifier tells the probability of each class. A decoder or an encoder–decoder is asked how likely each label is as
the answer; whoever only writes is read. Beside every accuracy stands that of always answering the commonest label.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from limpide.audit.functionals import BINS
from limpide.audit.items import Item, Spec, method_id
from limpide.audit.matching import normalise
from limpide.audit.truth_options import softmax
from limpide.core import digests
from limpide.core.progress import Progress
from limpide.data.examples import Example, load_examples
from limpide.models.respondents import CLASSIFIES, GENERATES, Opened, Respondent, Sorter

HELD_OUT, UNSEEN = "held_out", "unseen"
MOST_OPTIONS = 100  # labels that are scored as options; with more, an answer is read as any other
LISTED = 50  # classes that have a row of their own: those with the most questions
MATRIX = 20  # classes of which the whole table of confusions is kept
CONFUSED = 10  # pairs of classes named as confused most often
NOTHING = -1.0  # the class of an answer that is no label
NO_HEAD = "needs a classification head, which this model does not have: it gets one when it is adapted"
NO_PROBABILITY = "needs the probability of each label, which cannot be asked of this model from outside"
SLICES = ({"slice": HELD_OUT}, {"slice": HELD_OUT, "language": "*"}, {"slice": UNSEEN})
BY_TOPIC = (*SLICES, {"slice": HELD_OUT, "topic": "*"})
BY_CLASS = ({"slice": HELD_OUT, "class": "*"},)
SURE = "The model's confidence is the probability of the label it chooses, among all labels."
Choice = tuple[str | None, Mapping[str, float] | None]  # the label chosen, and the probability of each where known


def labels_of(folder: Path, questions: Sequence[tuple[str, Example]]) -> tuple[str, ...]:
    """Every label of the data, sorted, where each question has one; else none, and answers are read as text."""
    asked = {example.label for _, example in questions}
    if None in asked:
        return ()
    train = folder / "train.jsonl"
    taught = {row.label for row in load_examples(train)} if train.is_file() else set()
    return tuple(sorted({str(label) for label in (asked | taught) - {None}}))


def commonest(folder: Path, labels: Sequence[str]) -> str:
    """The label of the most training rows, the first of equals in alphabetical order."""
    train = folder / "train.jsonl"
    counts = Counter(row.label for row in load_examples(train)) if train.is_file() else Counter()
    return max(labels, key=lambda label: counts[label])


def how_chosen(respondent: Respondent) -> str | None:
    """How this respondent chooses a label: classes, likelihood or text; None where it cannot."""
    if CLASSIFIES in respondent.can:
        return "classes"
    if isinstance(respondent, Opened):
        return None if respondent.kind == "encoder" else "likelihood"
    return "text" if GENERATES in respondent.can else None


def choose(
    respondent: Respondent,
    examples: Sequence[Example],
    labels: Sequence[str],
    answers: Sequence[str | None],
    progress: Progress,
) -> list[Choice]:
    """The label each example gets. answers: what was written, for a respondent that tells no probability."""
    if isinstance(respondent, Sorter):
        return [(max(p, key=p.__getitem__), p) for p in respondent.classify(examples, progress)]
    if not isinstance(respondent, Opened):
        spelled = {normalise(label): label for label in labels}
        return [(None if answer is None else spelled.get(normalise(answer)), None) for answer in answers]
    from limpide.models import prompt

    requests = [
        prompt.option_request(respondent.model, f"{example.id}/{place}", example.prompt, label)
        for example in examples
        for place, label in enumerate(labels)
    ]
    groups = [range(k, k + len(labels)) for k in range(0, len(requests), len(labels))]
    scores = respondent.score(requests, progress, compared=groups)
    chosen: list[Choice] = []
    for group in groups:
        p = dict(zip(labels, softmax([scores[k].log_likelihood for k in group]), strict=True))
        chosen.append((max(p, key=p.__getitem__), p))
    return chosen


def with_label(item: Item, expected: str, labels: Sequence[str], usual: str, choice: Choice | None) -> Item:
    """The item with what its label tells. usual: the commonest label. choice: None for a model that cannot choose."""
    place = {label: float(k) for k, label in enumerate(labels)}
    majority = float(expected == usual)
    own = {"class": place[expected], "majority": majority}
    if choice is None:
        return replace(item, metric={**item.metric, **own})
    said, probabilities = choice
    right = float(said == expected)
    own |= {"normalised": right, "said": place.get(str(said), NOTHING), "gain": right - majority}
    if probabilities is not None and said is not None:
        own |= {
            "confidence": probabilities[said],
            "brier": sum((p - (label == expected)) ** 2 for label, p in probabilities.items())
            + float(expected not in probabilities),
        }
    # What was written stays beside what was chosen: the served model writes.
    shown = {**item.shown, "answer": said or item.shown.get("answer", "")}
    if "answer" in item.shown and said is not None:
        shown["said"] = item.shown["answer"]
    return replace(item, metric={**item.metric, **own}, shown=shown)


def with_classes(items: Sequence[Item]) -> list[Item]:
    """The held-out items of the LISTED classes with the most questions, each in its class's slice too."""
    counts = Counter(str(i.shown["expected"]) for i in items if i.group["slice"] == HELD_OUT)
    listed = {label for label, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:LISTED]}
    return [
        replace(item, group={**item.group, "class": str(item.shown["expected"])})
        if item.group["slice"] == HELD_OUT and item.shown["expected"] in listed
        else item
        for item in items
    ]


# ---------------------------------------------------------------------------------------------------------- measures


def specs(labels: Sequence[str], usual: str, how: str) -> tuple[Spec, ...]:
    """how: see `how_chosen`; it is part of every method id, as the labels are."""
    made = {"choice": how, "labels": digests.of_value(list(labels))[: digests.SHORT]}
    return (
        Spec(
            name="domain.accuracy",
            metric="normalised",
            kind="share",
            unit="share",
            better="higher",
            slices=BY_TOPIC,
            nested="topic",
            method=method_id("domain.accuracy", 1, **made),
            note="Share of texts that get the right label. Common labels weigh the most in it.",
        ),
        _statistic(
            "balanced_accuracy",
            ("normalised", "class"),
            "Share of right labels in each class, averaged over the classes, however rare.",
            made,
        ),
        _statistic(
            "macro_f1",
            ("said", "class"),
            "Of each class, 2 · right / (texts of the class + texts given the class), averaged over the classes.",
            made,
        ),
        Spec(
            name="domain.recall",
            metric="normalised",
            kind="share",
            unit="share",
            better="higher",
            slices=BY_CLASS,
            method=method_id("domain.recall", 1, **made),
            note="Share of the texts of one class that get its label.",
        ),
        *_calibration(made),
        *_beside_commonest(made, usual),
    )


def _statistic(name: str, columns: tuple[str, str], note: str, made: Mapping[str, Any]) -> Spec:
    return Spec(
        name=f"domain.{name}",
        metric=columns[0],
        kind="statistic",
        statistic=name,
        columns=columns,
        unit="share",
        better="higher",
        slices=SLICES,
        method=method_id(f"domain.{name}", 1, **made),
        note=note,
    )


def _calibration(made: Mapping[str, Any]) -> tuple[Spec, Spec]:
    return (
        Spec(
            name="domain.ece",
            metric="confidence",
            kind="statistic",
            statistic="ece_equal_width",
            columns=("confidence", "normalised"),
            unit="share",
            better="lower",
            slices=SLICES,
            method=method_id("domain.ece", 1, bins=BINS, width="equal", closed="right", **made),
            note="How far confidence is from the share of right labels. Noise alone lifts it above zero: a low end of "
            f"0 means that a perfectly calibrated model could have given the value. {SURE}",
        ),
        Spec(
            name="domain.brier",
            metric="brier",
            kind="mean",
            ends=(0.0, 2.0),
            unit="squared probability",
            better="lower",
            slices=SLICES,
            method=method_id("domain.brier", 1, sum_over="labels", **made),
            note="Squared distance of the probabilities from the right label: 0 is best, 2 is worst.",
        ),
    )


def _beside_commonest(made: Mapping[str, Any], usual: str) -> tuple[Spec, Spec]:
    common = {"labels": made["labels"], "commonest": digests.of_value(usual)[: digests.SHORT]}
    return (
        Spec(
            name="domain.gain",
            metric="gain",
            kind="mean",
            ends=(-1.0, 1.0),
            unit="share",
            better="higher",
            slices=SLICES,
            method=method_id("domain.gain", 1, **{**made, **common}),
            note="Accuracy minus that of always answering the commonest label of the training rows, on the same texts.",
        ),
        Spec(
            name="domain.majority",
            metric="majority",
            kind="share",
            unit="share",
            better="neither",
            slices=SLICES,
            method=method_id("domain.majority", 1, **common),
            note="What always answering the commonest label of the training rows would get right: no model is needed.",
        ),
    )


def missing(how: str | None) -> dict[str, str]:
    """{item metric: why there is none} for a respondent that chooses so."""
    if how is None:
        return dict.fromkeys(("normalised", "said", "gain", "confidence", "brier"), NO_HEAD)
    return dict.fromkeys(("confidence", "brier"), NO_PROBABILITY) if how == "text" else {}


# ------------------------------------------------------------------------------------------------------------- facts


def confusion(items: Sequence[Item], labels: Sequence[str]) -> dict[str, Any]:
    """Of the held-out questions: labels · what was said, in counts, and the pairs confused most often.

    table: int[labels, labels + 1], a row an expected label, the last column for answers that are no label; only where
    there are at most MATRIX labels.
    """
    pairs = Counter(
        (int(i.metric["class"]), int(i.metric["said"]))
        for i in items
        if i.group["slice"] == HELD_OUT and "said" in i.metric
    )
    wrong = sorted(((n, *pair) for pair, n in pairs.items() if pair[0] != pair[1]), key=lambda row: (-row[0], row[1:]))
    named = [*labels, None]
    found: dict[str, Any] = {
        "confused": [{"expected": named[e], "said": named[s], "count": n} for n, e, s in wrong[:CONFUSED]]
    }
    if len(labels) <= MATRIX:
        columns = [*range(len(labels)), int(NOTHING)]
        found |= {"labels": list(labels), "table": [[pairs[row, c] for c in columns] for row in range(len(labels))]}
    return found
