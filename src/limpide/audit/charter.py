"""Do answers follow the organisation's editorial charter? Its terms, what must and must not be said, its style."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from limpide.audit.drawing import draw
from limpide.audit.items import (
    AuditSettings,
    Item,
    Spec,
    data_digest,
    decoding,
    frame_of,
    method_id,
    not_run,
    respondent_of,
    save_evidence,
    summarise,
)
from limpide.audit.measurable import measurable
from limpide.audit.thoughts import CUT, cut_short, spoken
from limpide.core import digests
from limpide.core.errors import DataError, UsageError
from limpide.core.operation import Measurable, Operation, Result, Subject
from limpide.core.progress import Progress
from limpide.data.charter import NAME, Charter, Entry, Forbidden, Required, Style, load_charter
from limpide.data.charter_rules import STYLE, Said, asked_to_say, breaks
from limpide.data.examples import load_examples
from limpide.data.writing import language_of
from limpide.models.requests import Asked
from limpide.models.respondents import GENERATES

HELD_OUT = "held_out.jsonl"
SLICES: tuple[dict[str, str], ...] = ({}, {"language": "*"})
NO_ANSWERS = "needs a model that writes answers, and this one only fills in words"
NONE = {
    "terms": "no term of the glossary has a question in `ask`",
    "required": "no question that was asked holds a text of `when`",
}
LIMITS = "What code can see of a charter: words and form, not meaning. An answer cut at its longest counts as it is."


class CharterSettings(AuditSettings):
    charter: Path | None = Field(
        default=None, description=f"file of the charter; without it, the {NAME} of the prepared data"
    )
    examples: int = Field(default=100, ge=1, description="held-out examples that are asked too, drawn; all if fewer")
    max_new_tokens: int = Field(default=96, ge=1, description="tokens of an answer, at most")


@dataclass(frozen=True)
class Put:
    """One question that is put. said: what is known of it before its answer. cluster: see Item."""

    asked: Asked
    cluster: str
    said: Said


def run(subject: Subject, settings: CharterSettings, progress: Progress) -> Result:
    """Asks the charter's questions, and the held-out examples of step `data` where it is given.

    Raises UsageError without a charter, DataError for a faulty one or where there is nothing to ask.
    """
    path = charter_path(subject, settings)
    charter = load_charter(path)
    put = [*own_questions(charter), *_examples(subject, settings)]
    if not put:
        raise DataError(
            f"{path} asks no question, and no prepared data is given.",
            expected="questions to check the charter's rules on",
            remedy="add `questions` to the charter, `ask` to its terms, or give prepared data with --data",
        )
    respondent = respondent_of(subject, settings)
    frame = frame_of(subject, respondent, _digest(charter, subject))
    made = specs(charter, settings, decoding(respondent, settings.max_new_tokens))
    if GENERATES not in respondent.can:
        save_evidence(subject.out, [], made)
        return Result(tuple(not_run(spec, frame, NO_ANSWERS) for spec in made), respondent.facts())
    answers, cut = spoken(respondent.answer([one.asked for one in put], settings.max_new_tokens, progress))
    said = [replace(one.said, answer=answer) for one, answer in zip(put, answers, strict=True)]
    items = [item for one, answered in zip(put, said, strict=True) for item in _items(charter, one, answered)]
    save_evidence(subject.out, items, made)
    measures = [
        m for spec in made for m in summarise(items, [spec], frame) or [not_run(spec, frame, NONE[spec.metric])]
    ]
    broken = Counter(f"{b['rule']}: {b['entry']}" for item in items for b in item.shown.get("broken", ()))
    facts = {
        "charter": {"file": path.name, "digest": digests.of_file(path), "rules": _counts(charter)},
        "not_checked": charter.tone.manner,
        "asked": len(put),
        "broken": dict(broken.most_common()),
        "max_new_tokens": settings.max_new_tokens,
        CUT: cut,
        "precision": settings.precision,
    }
    warnings = cut_short(cut, len(answers), settings.max_new_tokens)
    return Result(tuple(measures), facts | respondent.facts(), warnings)


def charter_path(subject: Subject, settings: CharterSettings) -> Path:
    """The file that was named, else that of the prepared data. Raises UsageError where there is none."""
    if settings.charter is not None:
        return settings.charter
    prepared = subject.inputs["data"] / NAME if "data" in subject.inputs else None
    if prepared is None or not prepared.is_file():
        raise UsageError(
            "No charter is given to check answers against.",
            received=None if prepared is None else f"prepared data without {NAME}",
            remedy=f"name it with --charter {NAME}, or in a recipe with data.charter",
        )
    return prepared


# ---------------------------------------------------------------------------------------------------------- questions


def own_questions(charter: Charter) -> list[Put]:
    """Each question of the charter once, with every term that it asks for. An id follows from the text alone."""
    asked: list[tuple[str | None, str | None]] = [(entry.ask, entry.language) for entry in charter.glossary]
    asked += [(question.ask, question.language) for question in charter.questions]
    languages: dict[str, str | None] = {}
    for text, language in asked:
        if text is not None:
            languages[text] = languages.get(text) or language
    put = []
    for text, language in languages.items():
        id = f"charter/{digests.of_value(text)[: digests.SHORT]}"
        entries = tuple(entry for entry in charter.glossary if entry.ask == text)
        put.append(Put(Asked.question(id, text), id, Said(text, "", language or language_of(text), entries)))
    return put


def _examples(subject: Subject, settings: CharterSettings) -> list[Put]:
    """Held-out examples of step `data`, drawn; none without it."""
    if "data" not in subject.inputs:
        return []
    rows = draw(load_examples(subject.input("data") / HELD_OUT), settings.examples, subject.seed)
    return [
        Put(
            Asked(f"own/{row.id}", row.prompt),
            f"own/{row.topic or row.group or row.id}",
            Said(row.prompt[-1].content, "", row.language or language_of(row.prompt[-1].content)),
        )
        for row in rows
    ]


def _items(charter: Charter, put: Put, said: Said) -> list[Item]:
    """One item for the answer, and one for each style rule."""
    found = breaks(charter, said)
    rules = {one.rule for one in found}
    metric = {"respected": float(not found)}
    if charter.glossary:
        metric["deprecated"] = float("instead_of" in rules)
    if said.entries:
        asked = {entry.term for entry in said.entries}
        wrong = [one for one in found if one.rule in ("term", "instead_of") and one.entry in asked]
        metric["terms"] = float(not wrong)
    if charter.forbidden:
        metric["forbidden"] = float("forbidden" in rules)
    if asked_to_say(charter, said):
        metric["required"] = float("required" not in rules)
    if charter.style_rules:
        metric["style"] = float(not rules & set(STYLE))
    group = {"language": said.language} if said.language else {}
    shown: dict[str, Any] = {"question": said.question, "answer": said.answer}
    answer = Item(put.asked.id, put.cluster, group, metric, shown | {"broken": [one.record() for one in found]})
    style = [
        Item(f"{put.asked.id}/{rule}", put.cluster, {"rule": rule}, {"style_rule": float(rule not in rules)})
        for rule in charter.style_rules
    ]
    return [answer, *style]


# ----------------------------------------------------------------------------------------------------------- measures


def specs(charter: Charter, settings: CharterSettings, decoded: Mapping[str, object] | None = None) -> list[Spec]:
    """Only of the kinds of rule that the charter has. decoded: see items.decoding; greedy when None."""
    how: dict[str, object] = {
        "charter": digests.of_value(charter.model_dump(mode="json"))[: digests.SHORT],
        "examples": settings.examples,
        **(decoded or {"decoding": "greedy", "max_new_tokens": settings.max_new_tokens}),
    }
    notes = {"respected": "Share of answers that break no rule of the charter; one without any word breaks one."}
    if charter.glossary:
        notes |= {
            "terms": "Of questions made to ask for a term: the answer uses it, and no word that it replaces.",
            "deprecated": "Share of answers with a word that the glossary replaces, whatever the question.",
        }
    if charter.forbidden:
        notes |= {"forbidden": "Share of answers that hold a forbidden term."}
    if charter.required:
        notes |= {"required": "Of questions that ask for it: the answer holds the text that is required, as written."}
    if charter.style_rules:
        notes |= {
            "style": f"Share of answers within every style rule: {', '.join(charter.style_rules)}.",
            "style_rule": "Share of answers within one style rule.",
        }
    return [
        Spec(
            name=f"charter.{metric}",
            metric=metric,
            kind="share",
            unit="share",
            better="lower" if metric in ("deprecated", "forbidden") else "higher",
            slices=({"rule": "*"},) if metric == "style_rule" else SLICES,
            method=method_id(f"charter.{metric}", 1, **how),
            note=f"{note} {LIMITS}",
        )
        for metric, note in notes.items()
    ]


def _counts(charter: Charter) -> dict[str, int]:
    return {
        "glossary": len(charter.glossary),
        "forbidden": len(charter.forbidden),
        "required": len(charter.required),
        "style": len(charter.style_rules),
    }


def _digest(charter: Charter, subject: Subject) -> str:
    """Of the charter's content, whatever its comments, and of the held-out examples."""
    held_out = data_digest(subject.input("data"), [HELD_OUT]) if "data" in subject.inputs else None
    return digests.of_value([charter.model_dump(mode="json"), held_out])


def gives(settings: CharterSettings) -> tuple[Measurable, ...]:
    """Of a charter with rules of every kind: the file itself is read later."""
    whole = Charter(
        glossary=(Entry(term="x"),),
        forbidden=(Forbidden(term="x"),),
        required=(Required(when=("x",), say="x"),),
        style=Style(no_lists=True),
    )
    return measurable(specs(whole, settings), rule=tuple(STYLE))


operation = Operation(
    name="audit.charter",
    verb="look",
    summary="Whether answers use the organisation's terms and keep to the rules of its editorial charter.",
    settings=CharterSettings,
    run=run,
    gives=gives,
    needs=("generates",),
    needs_data=("charter",),
    source="verifiable instructions, as in IFEval (Zhou et al. 2023, arXiv:2311.07911), with the user's own rules",
)
