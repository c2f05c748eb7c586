"""Does the model answer the organisation's own questions? New wordings of known topics, and topics never taught."""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from limpide.audit.items import (
    AuditSettings,
    Item,
    Spec,
    data_digest,
    frame_of,
    greedy_answers,
    method_id,
    respondent_of,
    save_evidence,
    summarise,
)
from limpide.core.errors import DataError
from limpide.core.operation import Operation, Result, Subject
from limpide.core.progress import Progress
from limpide.data.examples import Example, load_examples
from limpide.models.requests import Score
from limpide.models.respondents import Opened

HELD_OUT, UNSEEN = "held_out", "unseen"
SLICES = ({"slice": HELD_OUT}, {"slice": HELD_OUT, "language": "*"}, {"slice": UNSEEN})
_INSIDE_NUMBERS = ".,:/-–"


class DomainSettings(AuditSettings):
    max_new_tokens: int = Field(
        default=48, ge=1, description="tokens; raised to the longest expected answer where that is longer"
    )


def run(subject: Subject, settings: DomainSettings, progress: Progress) -> Result:
    """Greedy answers and answer likelihoods on held_out.jsonl and unseen.jsonl of the step `data`.

    Raises DataError when nothing was held out; ModelError for a model that cannot write.
    """
    from limpide.models import prompt

    folder = subject.input("data")
    examples = read_questions(folder)
    respondent = respondent_of(subject, settings)
    everything = [example for _, example in examples]
    answers, allowed = greedy_answers(respondent, everything, settings.max_new_tokens, progress)
    scores: list[Score | None] = [None] * len(everything)
    if isinstance(respondent, Opened):
        requests = [prompt.answer_request(respondent.model, example) for example in everything]
        scores = [*respondent.score(requests, progress)]
    items = [
        domain_item(part, example, answer, score)
        for (part, example), answer, score in zip(examples, answers, scores, strict=True)
    ]
    made = specs(allowed)
    save_evidence(subject.out, items, made)
    data = data_digest(folder, _names(folder))
    facts = {
        "items": {part: sum(i.group["slice"] == part for i in items) for part in (HELD_OUT, UNSEEN)},
        "max_new_tokens": allowed,
        "precision": settings.precision,
    }
    return Result(tuple(summarise(items, made, frame_of(subject, respondent, data))), facts)


def accuracy_spec(**how: Any) -> Spec:
    """The share of expected answers, however they were obtained. how: what changes the result, for the method id."""
    return Spec(
        name="domain.accuracy",
        metric="normalised",
        kind="share",
        unit="share",
        better="higher",
        slices=SLICES,
        method=method_id("domain.accuracy", 1, match="normalised", **how),
        note="Equal up to case, spaces and sentence punctuation. A right answer in other words counts as wrong.",
    )


def specs(max_new_tokens: int) -> tuple[Spec, ...]:
    greedy = {"decoding": "greedy", "max_new_tokens": max_new_tokens}
    return (
        accuracy_spec(**greedy),
        Spec(
            name="domain.exact",
            metric="exact",
            kind="share",
            unit="share",
            better="higher",
            slices=SLICES,
            method=method_id("domain.exact", 1, match="exact", **greedy),
            note="Equal character by character, spaces at both ends aside.",
        ),
        Spec(
            name="domain.log_likelihood",
            metric="log_likelihood",
            weight="tokens",
            kind="mean",
            unit="nats per token",
            better="higher",
            slices=SLICES,
            method=method_id("domain.log_likelihood", 1, of="answer and its end token", per="token"),
            note="Of the expected answer in its own words; comparable only between models with one tokenizer.",
        ),
    )


def normalise(text: str) -> str:
    """The text as it is compared: NFKC, case folded, sentence punctuation and repeated spaces gone, accents kept.

    What changes the meaning stays: symbols (%, °, +, €), the sign of a number, and what joins two digits
    (4.5, 4,5, 12:30, 3-4), so that −5 is not 5 and 4.5 is not 45.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).replace("\u2212", "-")
    kept = [char if not _is_punctuation(char) or _is_in_number(text, at) else " " for at, char in enumerate(text)]
    return re.sub(r"\s+", " ", "".join(kept)).strip()


def _is_punctuation(char: str) -> bool:
    return unicodedata.category(char).startswith("P") and char not in "%‰&@#§"


def _is_in_number(text: str, at: int) -> bool:
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if text[at] in _INSIDE_NUMBERS and before.isdigit() and after.isdigit():
        return True
    return text[at] == "-" and after.isdigit() and not before.isalnum()


def domain_item(part: str, example: Example, answer: str, score: Score | None) -> Item:
    """One question asked. score: of the expected answer; None where the engine gives no likelihoods."""
    expected = example.answer
    likelihood = {} if score is None else {"log_likelihood": score.log_likelihood, "tokens": float(score.tokens)}
    return Item(
        id=example.id,
        cluster=example.topic or example.group or example.id,
        group={"slice": part} | ({"language": example.language} if example.language else {}),
        metric={
            "exact": float(answer.strip() == expected.strip()),
            "normalised": float(normalise(answer) == normalise(expected)),
            **likelihood,
        },
        shown={"prompt": _last_question(example), "expected": expected, "answer": answer, "topic": example.topic},
    )


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


operation = Operation(
    name="audit.domain",
    verb="look",
    summary="How often the model gives the expected answer to questions it was not trained on.",
    settings=DomainSettings,
    run=run,
    needs=("generates", "scores"),
    source="exact and normalised match, as in SQuAD (Rajpurkar et al. 2016), without dropping articles",
)
