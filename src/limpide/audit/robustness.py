"""Does the answer stay when the same question is written otherwise? Typing faults, accents, capitals, spaces, wordings.

The same items: option questions of the shipped probe on truth, and the organisation's own held-out examples where
prepared data is given. Every changed text is asked beside the text as it was, and the two answers are compared.
"""

import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from limpide.audit.drawing import draw
from limpide.audit.items import (
    AuditSettings,
    Frame,
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
from limpide.audit.matching import normalise
from limpide.audit.measurable import measurable
from limpide.audit.thoughts import CUT, cut_short, spoken
from limpide.audit.truth_options import by_letter, by_likelihood
from limpide.audit.truth_questions import Question, questions_digest, read_questions
from limpide.core import digests
from limpide.core.measure import Measure
from limpide.core.operation import Measurable, Operation, Result, Subject
from limpide.core.progress import Progress
from limpide.data.examples import Example, Message, load_examples
from limpide.data.perturbations import PERTURBATIONS, Perturbation, perturb
from limpide.data.shipped import read_probe
from limpide.models.respondents import CLASSIFIES, GENERATES, SCORES, Opened, Respondent

PROBE = "robustness/rewordings.json"
HELD_OUT = "held_out.jsonl"
AS_IS = "as it was"
SURE = 1.0  # nats between the likeliest option and the next: the likeliest is e times as likely
LETTER_TOKENS = 16
SLICES: tuple[dict[str, str], ...] = ({}, {"perturbation": "*"}, {"language": "*"})
NO_MARGIN = "needs the likelihood of each option, which this model does not tell from outside"
NO_ANSWERS = "needs a model that writes answers, and this one only fills in words"
NONE = {
    "flipped": "no question could be written otherwise in these ways",
    "broken": "no question was answered rightly as it was written",
    "mended": "every question was answered rightly as it was written",
    "flipped_sure": f"no option led by more than {SURE:g} nat in any question",
}


class RobustnessSettings(AuditSettings):
    questions: int = Field(default=60, ge=1, description="shipped questions of each language, drawn; all if fewer")
    examples: int = Field(default=20, ge=1, description="held-out examples of your own, drawn; all if fewer")
    perturbations: tuple[Perturbation, ...] = Field(
        default=PERTURBATIONS, min_length=1, description="in what ways questions are written otherwise"
    )
    languages: tuple[Literal["en", "fr"], ...] = Field(
        default=("en", "fr"), min_length=1, description="languages of the shipped questions"
    )
    max_new_tokens: int = Field(
        default=48, ge=1, description="tokens of an answer to an example; raised to the longest expected answer"
    )


@dataclass
class Found:
    """What one part gave. facts: under its name in the result."""

    items: list[Item] = field(default_factory=list)
    specs: list[Spec] = field(default_factory=list)
    measures: list[Measure] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def run(subject: Subject, settings: RobustnessSettings, progress: Progress) -> Result:
    """Asks the shipped questions, and the held-out examples of step `data` where it is given. Raises DataError."""
    own = _own_examples(subject, settings)
    respondent = respondent_of(subject, settings)
    parts = {"questions": _questions(subject, settings, respondent, progress)}
    if own:
        parts["examples"] = _examples(own, subject, settings, respondent, progress)
    found = parts.values()
    save_evidence(subject.out, [i for part in found for i in part.items], [s for part in found for s in part.specs])
    facts = {name: part.facts for name, part in parts.items()} | {"precision": settings.precision}
    warnings = tuple(dict.fromkeys(w for part in found for w in part.warnings))
    return Result(tuple(m for part in found for m in part.measures), facts | respondent.facts(), warnings)


def written_otherwise(
    id: str, text: str, language: str | None, kinds: Iterable[Perturbation], rewordings: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """{perturbation: changed text}, of those that change something.

    Chance follows from the id alone, so that an id always stands for one text: answers given in a file stay right.
    """
    made = {
        kind: perturb(kind, text, language, random.Random(f"{kind} {id}"), rewordings.get(language or "", {}))
        for kind in dict.fromkeys(kinds)
    }
    return {kind: changed for kind, changed in made.items() if changed is not None}


# ------------------------------------------------------------------------------------------- questions with options


def _questions(subject: Subject, settings: RobustnessSettings, respondent: Respondent, progress: Progress) -> Found:
    asked, rewordings = draw_questions(settings, subject.seed), json.loads(read_probe(PROBE))
    texts = {q.id: written_otherwise(q.id, q.text, q.language, settings.perturbations, rewordings) for q in asked}
    everything = [
        replace(q, id=f"{q.id}/{kind}", text=text)
        for q in asked
        for kind, text in {AS_IS: q.text, **texts[q.id]}.items()
    ]
    if CLASSIFIES in respondent.can:
        frame, made = frame_of(subject, respondent, _probes_digest(settings)), question_specs(settings, "likelihood")
        return Found(measures=[not_run(spec, frame, NO_ANSWERS) for spec in made], facts={"asked": 0})
    likelihoods = isinstance(respondent, Opened) and SCORES in respondent.can
    if isinstance(respondent, Opened) and likelihoods:
        answers = by_likelihood(respondent, everything, progress)
    else:
        answers = by_letter(respondent, everything, letter_tokens(settings), progress)
    said = {answer.id: answer for answer in answers}
    decoded = None if likelihoods else decoding(respondent, letter_tokens(settings))
    found = Found(specs=question_specs(settings, "likelihood" if likelihoods else "letter", decoded))
    found.items = [
        _question_item(q, kind, text, said[f"{q.id}/{AS_IS}"], said[f"{q.id}/{kind}"])
        for q in asked
        for kind, text in texts[q.id].items()
    ]
    frame = frame_of(subject, respondent, _probes_digest(settings))
    found.measures = measured(found.items, found.specs, frame, {} if likelihoods else {"flipped_sure": NO_MARGIN})
    right = sum(said[f"{q.id}/{AS_IS}"].metric["correct"] for q in asked)
    cut = sum(CUT in answer.shown for answer in answers)
    found.warnings = cut_short(cut, len(answers), letter_tokens(settings))
    found.facts = {
        "asked": len(asked),
        "right_as_they_were": int(right),
        "written_otherwise": dict(Counter(item.group["perturbation"] for item in found.items)),
        "unreadable": int(sum(answer.metric.get("unreadable", 0.0) for answer in answers)),
        CUT: cut,
    }
    return found


def draw_questions(settings: RobustnessSettings, seed: int) -> list[Question]:
    """`settings.questions` of each language, in the order of the file."""
    drawn = []
    for language in sorted(set(settings.languages)):
        drawn += draw(read_questions("options", [language]), settings.questions, seed)
    return drawn


def letter_tokens(settings: RobustnessSettings) -> int:
    """A letter needs few, but a model that thinks first needs what the setting gives."""
    return max(LETTER_TOKENS, settings.max_new_tokens)


def _question_item(question: Question, kind: str, text: str, before: Item, after: Item) -> Item:
    options = list(question.options)
    chosen = [before.shown["answer"], after.shown["answer"]]
    metric = change_metrics(
        chosen[0] != chosen[1], right=before.metric["correct"] == 1, right_after=after.metric["correct"] == 1
    )
    shown: dict[str, Any] = {"question": question.text, "written_otherwise": text, "options": options}
    shown |= {"expected": options[question.right], "answer": chosen[0], "answer_otherwise": chosen[1]}
    if "log_likelihoods" in before.shown:
        best, second = sorted(before.shown["log_likelihoods"], reverse=True)[:2]
        shown |= {"margin": best - second}
        if best - second > SURE:
            metric["flipped_sure"] = metric["flipped"]
    group = {"perturbation": kind, "language": question.language}
    return Item(f"{question.id}/{kind}", question.id, group, metric, shown)


def change_metrics(flipped: bool, *, right: bool, right_after: bool, prefix: str = "") -> dict[str, float]:
    """`broken` for what was right, `mended` for what was wrong: an item has one of the two."""
    other = {f"{prefix}broken": float(not right_after)} if right else {f"{prefix}mended": float(right_after)}
    return {f"{prefix}flipped": float(flipped), **other}


# ---------------------------------------------------------------------------------------------- the user's examples


def _own_examples(subject: Subject, settings: RobustnessSettings) -> list[Example]:
    """Held-out examples of step `data`, drawn; none without it."""
    if "data" not in subject.inputs:
        return []
    return draw(load_examples(subject.input("data") / HELD_OUT), settings.examples, subject.seed)


def _examples(
    rows: Sequence[Example],
    subject: Subject,
    settings: RobustnessSettings,
    respondent: Respondent,
    progress: Progress,
) -> Found:
    frame = frame_of(subject, respondent, _own_digest(subject.input("data")))
    if not {GENERATES, CLASSIFIES} & respondent.can:
        missing = [
            not_run(s, frame, NO_ANSWERS)
            for s in example_specs(settings, decoding(respondent, settings.max_new_tokens))
        ]
        return Found(measures=missing, facts={"asked": 0})
    rewordings = json.loads(read_probe(PROBE))
    texts = {
        row.id: written_otherwise(row.id, row.prompt[-1].content, row.language, settings.perturbations, rewordings)
        for row in rows
    }
    everything = [
        _asked_otherwise(row, kind, text)
        for row in rows
        for kind, text in {AS_IS: row.prompt[-1].content, **texts[row.id]}.items()
    ]
    written, allowed = greedy_answers(respondent, everything, settings.max_new_tokens, progress)
    answers, cut = spoken(written)
    said = {example.id: answer for example, answer in zip(everything, answers, strict=True)}
    found = Found(specs=example_specs(settings, decoding(respondent, allowed)))
    found.items = [
        _example_item(row, kind, text, said[_own_id(row, AS_IS)], said[_own_id(row, kind)])
        for row in rows
        for kind, text in texts[row.id].items()
    ]
    found.measures = measured(found.items, found.specs, frame)
    right = sum(normalise(said[_own_id(row, AS_IS)]) == normalise(row.answer) for row in rows)
    found.facts = {
        "asked": len(rows),
        "right_as_they_were": right,
        "written_otherwise": dict(Counter(item.group["perturbation"] for item in found.items)),
        "max_new_tokens": allowed,
        CUT: cut,
    }
    found.warnings = cut_short(cut, len(answers), allowed)
    return found


def _own_id(row: Example, kind: str) -> str:
    return f"own/{row.id}/{kind}"


def _asked_otherwise(row: Example, kind: str, text: str) -> Example:
    """The same conversation, its last question with another text."""
    asked = Message(role="user", content=text)
    return row.model_copy(
        update={"id": _own_id(row, kind), "messages": (*row.prompt[:-1], asked, row.messages[-1])},
    )


def _example_item(row: Example, kind: str, text: str, before: str, after: str) -> Item:
    first, second, expected = normalise(before), normalise(after), normalise(row.answer)
    return Item(
        id=_own_id(row, kind),
        cluster=f"own/{row.topic or row.group or row.id}",
        group={"perturbation": kind} | ({"language": row.language} if row.language else {}),
        metric=change_metrics(first != second, right=first == expected, right_after=second == expected, prefix="own_"),
        shown={
            "question": row.prompt[-1].content,
            "written_otherwise": text,
            "expected": row.answer,
            "answer": before,
            "answer_otherwise": after,
        },
    )


# ---------------------------------------------------------------------------------------------------------- measures


def question_specs(
    settings: RobustnessSettings, choice: str, decoded: Mapping[str, object] | None = None
) -> list[Spec]:
    """choice: by 'likelihood' of each option, or by 'letter', `decoded` so. The last spec needs likelihoods."""
    how = {
        "questions": settings.questions,
        "languages": sorted(set(settings.languages)),
        "perturbations": sorted(set(settings.perturbations)),
        "texts": _probes_digest(settings)[: digests.SHORT],
        "choice": choice,
    }
    how |= decoded or {}
    sure = _spec(
        "flipped_sure",
        f"Of the questions where the chosen option led by more than {SURE:g} nat as it was written: flips here are "
        "not between options that were nearly tied.",
        how | {"margin": f"{SURE:g} nat"},
    )
    return [*_three("", "another option is chosen", how), sure]


def example_specs(settings: RobustnessSettings, decoded: Mapping[str, object]) -> list[Spec]:
    how = {
        "examples": settings.examples,
        "perturbations": sorted(set(settings.perturbations)),
        "texts": digests.of_value(read_probe(PROBE))[: digests.SHORT],
        "match": "normalised",
        **decoded,
    }
    return _three("own_", "the answer differs, case, spaces and punctuation aside,", how)


def measured(
    items: Sequence[Item], specs: Sequence[Spec], frame: Frame, reasons: Mapping[str, str] | None = None
) -> list[Measure]:
    """Every measure of every spec, 'not run' where no item is of its kind. reasons: why, where it is not in NONE."""
    made: list[Measure] = []
    for spec in specs:
        why = (NONE | dict(reasons or {}))[spec.metric.removeprefix("own_")]
        made += summarise(items, [spec], frame) or [not_run(spec, frame, why)]
    return made


def _three(prefix: str, what: str, how: Mapping[str, Any]) -> list[Spec]:
    flipped = (
        f"Share of questions where {what} once the question is written otherwise. Near ties flip as by chance: "
        "right answers that break and wrong ones that mend tell noise from harm."
    )
    broken = "Of the questions answered rightly as they were written. Compare with those that mend."
    mended = "Of the questions answered wrongly as they were written: what noise alone puts right."
    return [
        _spec(f"{prefix}flipped", flipped, how),
        _spec(f"{prefix}broken", broken, how),
        _spec(f"{prefix}mended", mended, how).model_copy(update={"better": "neither"}),
    ]


def _spec(metric: str, note: str, how: Mapping[str, Any]) -> Spec:
    name = f"robustness.{metric}"
    return Spec(
        name=name,
        metric=metric,
        kind="share",
        unit="share",
        better="lower",
        slices=SLICES,
        method=method_id(name, 1, **how),
        note=note,
    )


def _probes_digest(settings: RobustnessSettings) -> str:
    return digests.of_value([questions_digest(["options"], settings.languages), read_probe(PROBE)])


def _own_digest(folder: Path) -> str:
    return digests.of_value([data_digest(folder, [HELD_OUT]), read_probe(PROBE)])


def gives(settings: RobustnessSettings) -> tuple[Measurable, ...]:
    greedy = {"decoding": "greedy", "max_new_tokens": settings.max_new_tokens}
    kinds, own = settings.perturbations, example_specs(settings, greedy)  # in any language
    shipped = measurable(question_specs(settings, "likelihood"), perturbation=kinds, language=settings.languages)
    return (*shipped, *measurable(own, perturbation=kinds))


operation = Operation(
    name="audit.robustness",
    verb="look",
    summary="Whether answers stay the same when questions hold typing faults, or are written in other ways.",
    settings=RobustnessSettings,
    run=run,
    gives=gives,
    needs=("scores",),
    source="invariance tests: Ribeiro et al. 2020, arXiv:2005.04118",
)
