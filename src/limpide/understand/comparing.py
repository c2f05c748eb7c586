"""One question, two models: what changed in how the answer is decided. No number here is new: all are differences."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from limpide.core.operation import Subject
from limpide.core.progress import Progress
from limpide.understand.explain import Explained, ExplainSettings, explain, opened, options, question_of

Explanation = Mapping[str, Any]
PARTS = 20  # heads and MLPs listed, those that changed most first


def compare(before: Subject, after: Subject, settings: ExplainSettings, progress: Progress) -> Explained:
    """Explain both on the same prompt, the same answer and, where their vocabularies are one, the same decision.

    Without an answer given, it is the one that the model after gives. One model is in memory at a time.
    Returns {"version", "kind": "comparison", "before", "after", "settings", "changes"}. Raises what `explain` raises,
    but no method need answer for the model before: a base has no training to look at.
    """
    model = opened(after, progress)
    vocabulary, like = model.tokenizer.get_vocab(), question_of(model, settings)
    second = explain(model, like, settings, progress, **_named(after))
    model = opened(before, progress)
    same = model.tokenizer.get_vocab() == vocabulary
    answered = settings if same else settings.model_copy(update={"answer": like.answer, "at": None})
    question = question_of(model, answered, like if same else None)
    first = explain(model, question, settings, progress, **_named(before), may_be_empty=True)
    record = {
        "version": 1,
        "kind": "comparison",
        "before": first.record,
        "after": second.record,
        "settings": options(settings),
        "changes": changes(first.record, second.record),
    }
    took = [side.seconds for side in (first, second)]
    seconds = {name: round(sum(side.get(name, 0.0) for side in took), 1) for name in took[0] | took[1]}
    return Explained(record, seconds)


def _named(subject: Subject) -> dict[str, Any]:
    return {"title": subject.label, "seed": subject.seed, "adapter": subject.inputs.get("adapter")}


def changes(before: Explanation, after: Explanation) -> dict[str, Any]:
    """What differs, as {"before", "after"} of each number; None where one side has none.

    words: their share of all weight, signs kept, what changed most first. parts: heads and MLPs, what they add to
    logit(token) − logit(rival), likewise; None where the two models have not the same parts or do not decide between
    the same two tokens. verdict: of the test of the explanation.
    """
    questions = before["question"], after["question"]
    return {
        "log_likelihood": _both(*(question["log_likelihood"] for question in questions)),
        "log_odds": _both(*(question["log_odds"] for question in questions)),
        "words": _words(before, after),
        "first_lead": _both(*(_of(side, "lens", "first_lead") for side in (before, after))),
        "parts": _parts(before, after),
        "verdict": _both(*(_of(side, "faithfulness", "verdict") for side in (before, after))),
    }


def _both(before: Any, after: Any) -> dict[str, Any]:
    return {"before": before, "after": after}


def _of(side: Explanation, method: str, name: str) -> Any:
    return side["methods"].get(method, {}).get(name)


def _words(before: Explanation, after: Explanation) -> list[dict[str, Any]] | None:
    """The words that people wrote; None where they are not split alike."""
    sides = [_shares(side) for side in (before, after)]
    if sides[0] is None or sides[1] is None or [w for w, _ in sides[0]] != [w for w, _ in sides[1]]:
        return None
    rows = [{"text": text, **_both(old, new)} for (text, old), (_, new) in zip(*sides, strict=True)]
    return sorted(rows, key=_moved)


def _shares(side: Explanation) -> list[tuple[str, float]] | None:
    values: Sequence[float] | None = _of(side, "attribution", "words")
    if values is None:
        return None
    total = sum(map(abs, values)) or 1.0
    words = side["question"]["words"]
    return [
        (word["text"], float(f"{value / total:.6g}"))
        for word, value in zip(words, values, strict=True)
        if word["part"] != "frame"
    ]


def _parts(before: Explanation, after: Explanation) -> list[dict[str, Any]] | None:
    sides = [side["methods"].get("parts") for side in (before, after)]
    decisions = [{side["question"]["decision"][name] for name in ("token", "rival")} for side in (before, after)]
    if not all(sides) or decisions[0] != decisions[1]:
        return None
    found = [dict(_table(side)) for side in sides]
    if list(found[0]) != list(found[1]):
        return None
    rows = [
        {"kind": kind, "layer": layer, "index": index, **_both(found[0][kind, layer, index], new)}
        for (kind, layer, index), new in found[1].items()
    ]
    return sorted(rows, key=_moved)[:PARTS]


def _table(parts: Explanation) -> Iterator[tuple[tuple[str, int, int | None], float]]:
    """((kind, layer, index), value) of each head and each MLP."""
    for layer, row in enumerate(parts["heads"]):
        yield from ((("head", layer, index), value) for index, value in enumerate(row))
    yield from ((("mlp", layer, None), value) for layer, value in enumerate(parts["mlps"]))


def _moved(row: Mapping[str, Any]) -> float:
    change: float = row["after"] - row["before"]
    return -abs(change)
