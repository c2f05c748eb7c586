"""A section a suite: a sentence, pictures, a table, items to open, limits, method, and how to measure it again.

Every suite has one, whatever it is: what is particular to a suite is its headline measures (leads.py), its pictures
(drawings.py) and the rules its opened items are chosen by (opened.py).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from limpide.core.measure import Measure
from limpide.document import leads, notes, tables
from limpide.document.drawings import Picture, pictures_of, shares
from limpide.document.evidence import Evidence, Numbers, OpenedItem, Said, SuiteEvidence
from limpide.document.findings import Finding, unseen, usable, where
from limpide.document.language import Language
from limpide.document.opened import is_drawn
from limpide.document.pictures import Role, role_of, subject_name

ANCHORS = {"domain": "job", "retention": "kept", "memorisation": "memory"}  # of sections older than the suites' names
ORDER = ("domain", "bias", "truth", "robustness", "refusal", "charter", "retention", "memorisation")
LONG = 12  # rows of a table, beyond which only the headlines and what got worse are shown closed
TITLE = 90  # characters of an item that is closed
# Numbers of items: the unit they are written in. Others are written with three significant digits.
UNITS = {"confidence": "share", "gap": "nats", "token_f1": "share", "loss": "nats per token", "margin": "nats"}
Formula = tuple[str, notes.Said]  # a measure, and how it is computed


@dataclass(frozen=True)
class Shown:
    """One field of an item. lines: one, or those of a list. plain: the text is somebody's words, not a number."""

    label: str
    lines: tuple[str, ...]
    plain: bool = True


@dataclass(frozen=True)
class Side:
    """What one model made of an item."""

    name: str
    role: Role
    fields: tuple[Shown, ...]


@dataclass(frozen=True)
class Item:
    """One item to open. title: what is seen of it closed. lang: of its texts, where it is known."""

    id: str
    title: str
    figure: str
    where: str
    lang: str | None
    asked: tuple[Shown, ...]
    sides: tuple[Side, ...]


@dataclass(frozen=True)
class Group:
    """Items chosen by one rule, which `rule` says."""

    title: str
    rule: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Section:
    """All that the page shows of one suite."""

    id: str
    title: str
    lead: Finding
    explained: str | None
    pictures: tuple[Picture, ...]
    caption: str
    columns: tuple[str, ...]
    compared: bool
    rows: tuple[tables.Compared, ...]
    more: tuple[tables.Compared, ...]
    missing: tuple[tuple[notes.Said, str], ...]
    warnings: tuple[notes.Said, ...]
    set: tuple[tuple[str, str], ...]
    groups: tuple[Group, ...]
    notes: tuple[notes.Limit, ...]
    methods: tuple[tuple[str, str, str], ...]
    rerun: str | None
    aside: tuple[tuple[str, str, tuple[Picture, ...]], ...] = field(default=())
    formula: Formula | None = None
    read_only: bool = False


def anchor(suite: str) -> str:
    return ANCHORS.get(suite, suite)


def title(suite: str, language: Language) -> str:
    key = f"section.{anchor(suite)}"
    return language.say(key) if language.has(key) else language.say("section.other", name=suite)


def ordered(names: Sequence[str]) -> list[str]:
    """The known suites in their order, then the others as they came."""
    return [n for n in ORDER if n in names] + [n for n in names if n not in ORDER]


def section(suite: str, evidence: Numbers, language: Language) -> Section:
    """The section of a suite, whether it was measured or not."""
    own = [m for m in evidence.measures if m.name.startswith(f"{suite}.")]
    columns = tables.subjects(own) or tables.subjects(evidence.measures) or ["base", "result"]
    tried = {m.label for m in own if m.state != "not run"}  # the others are listed with their reasons
    rows = [row for row in tables.compared(evidence, language, f"{suite}.", columns) if row.label in tried]
    shown, more = parted(suite, rows)
    kept = evidence.suite(suite)
    explained = f"{suite}.explained"
    gaps = any(m.name == "bias.gap" and usable(m) for m in own)
    named = f"table.{suite}"
    return Section(
        id=anchor(suite),
        title=title(suite, language),
        lead=leads.lead(suite, evidence, language),
        explained=language.say(explained) if language.has(explained) and (gaps or suite != "bias") and own else None,
        pictures=pictures_of(suite, evidence, language),
        caption=language.say(named) if language.has(named) else language.say("table.other", name=suite),
        columns=tuple(subject_name(s, language) for s in columns),
        compared=isinstance(evidence, Evidence) or bool(evidence.changes) or "base" in columns,
        rows=tuple(shown),
        more=tuple(more),
        missing=missing(own, language),
        warnings=tuple(notes.in_words(warning, language) for warning in kept.warnings),
        set=public_set(kept, language),
        groups=tuple(opened(kept, evidence, language)),
        notes=tuple(notes.limits([m for m in own if m.subject != "base"], language)),
        methods=methods(suite, evidence, language),
        rerun=kept.rerun,
        aside=aside(suite, evidence, language),
        formula=formula(kept, own, language),
        read_only=read_only(kept, own),
    )


def parted(suite: str, rows: Sequence[tables.Compared]) -> tuple[list[tables.Compared], list[tables.Compared]]:
    """(rows shown, rows behind a fold). A long table keeps its headlines, and whatever got worse, in sight."""
    if len(rows) <= LONG:
        return list(rows), []

    def is_shown(row: tables.Compared) -> bool:
        name, _, slices = row.label.partition("[")
        return row.tone == "bad" or (name in leads.HEADLINES.get(suite, ()) and "topic=" not in slices)

    if not any(map(is_shown, rows)):
        return list(rows[:LONG]), list(rows[LONG:])
    return [row for row in rows if is_shown(row)], [row for row in rows if not is_shown(row)]


def missing(measures: Sequence[Measure], language: Language) -> tuple[tuple[notes.Said, str], ...]:
    """(why, what could not be measured for it) of the measures of the result."""
    found: dict[notes.Said, list[str]] = {}
    for m in measures:
        if m.state == "not run" and m.subject == "result":
            why = notes.in_words(m.note, language) if m.note else (language.say("unknown"), None)
            found.setdefault(why, []).append(tables.quantity(m.name, m.group, language))
    return tuple((why, language.list(dict.fromkeys(what))) for why, what in found.items())


def methods(suite: str, evidence: Numbers, language: Language) -> tuple[tuple[str, str, str], ...]:
    """(what, measure, method id) of each quantity, once."""
    own = [m for m in evidence.measures if m.name.startswith(f"{suite}.")]
    return tuple(dict.fromkeys((language.name("measure", m.name), m.name, m.method) for m in own))


def public_set(suite: SuiteEvidence, language: Language) -> tuple[tuple[str, str], ...]:
    """Which public set was measured and whose definition of its score, as the audit recorded it in English."""
    record = suite.facts.get("dialect")
    if not isinstance(record, dict):
        return ()
    known = ("name", "title", "paper", "source", "data", "asked", "differs", "known_limits")
    return tuple((language.say(f"set.{key}"), str(record[key])) for key in known if record.get(key))


def formula(suite: SuiteEvidence, measures: Sequence[Measure], language: Language) -> Formula | None:
    """(measure, how it is computed) of the first score of a public set: the first sentence of its note."""
    first = next((m for m in measures if m.subject == "result" and m.note and m.state != "not run"), None)
    if first is None or not isinstance(suite.facts.get("dialect"), dict):
        return None
    return language.name("measure", first.name), notes.first(first.note or "", language)


def read_only(suite: SuiteEvidence, measures: Sequence[Measure]) -> bool:
    """Whether a public set was scored on answers in text, so that its own way of asking was not used."""
    texts = "answers" in suite.facts or any("read=text" in m.method for m in measures if m.subject == "result")
    return texts and isinstance(suite.facts.get("dialect"), dict)


def aside(suite: str, evidence: Numbers, language: Language) -> tuple[tuple[str, str, tuple[Picture, ...]], ...]:
    """(heading, sentence, pictures) of what stands apart: classes that are taken for one another; and in a release,
    questions on topics that were never taught."""
    if suite != "domain":
        return ()
    confused = confusions(evidence, language)
    if not isinstance(evidence, Evidence):
        return confused
    labelled = usable(evidence.measure("domain.majority", slice="unseen"))
    caption = "picture.unseen.labels" if labelled else "picture.unseen"
    drawn = shares([("domain.accuracy", {"slice": "unseen"})], evidence, caption, language)
    return (*confused, (language.say("job.unseen"), unseen(evidence, language), drawn))


def confusions(evidence: Numbers, language: Language) -> tuple[tuple[str, str, tuple[Picture, ...]], ...]:
    """Which classes are taken for which, most often first, where answers are labels."""
    found = evidence.suite("domain").facts.get("confusion")
    if not isinstance(found, dict):
        return ()
    pairs = [
        language.say(
            "job.confused.pair", one["count"], expected=one["expected"], said=one["said"] or language.say("field.none")
        )
        for one in found.get("confused", ())
    ]
    said = language.list(pairs) + "." if pairs else language.say("job.confused.none")
    return ((language.say("job.confused"), said, ()),)


# ------------------------------------------------------------------------------------------------------ opened items


def opened(suite: SuiteEvidence, evidence: Numbers, language: Language) -> list[Group]:
    groups = []
    for found in suite.opened:
        total, shown = found.total, len(found.items)
        words = {"shown": language.whole(shown), "total": language.whole(total)}
        key = found.why if language.has(f"opened.{found.why}") else "first"
        rule = language.say(f"opened.{key}.rule")
        if is_drawn(found.why) and any(item.before is not None for item in found.items):
            rule = f"{rule} {language.say('opened.new_first')}"
        groups.append(
            Group(
                title=language.say(f"opened.{key}"),
                rule=f"{rule} {language.say('opened.count', **words)}",
                items=tuple(item(one, language) for one in found.items),
            )
        )
    return groups


def item(one: OpenedItem, language: Language) -> Item:
    asked = tuple(shown(name, said, language) for name, said in one.asked.items())
    sides = [("result", one.after)] if one.before is None else [("base", one.before), ("result", one.after)]
    first = next((field.lines[0] for field in asked if field.plain and field.lines), one.id)
    return Item(
        id=one.id,
        title=first if len(first) <= TITLE else f"{first[: TITLE - 1].rstrip()}…",
        figure=figure(one, language),
        where=where({k: v for k, v in one.group.items() if k not in ("part", "slice", "kind")}, language),
        lang=one.group.get("language"),
        asked=asked,
        sides=tuple(
            Side(
                name=subject_name(subject, language),
                role=role_of(subject),
                fields=tuple(shown(name, said, language) for name, said in fields.items()),
            )
            for subject, fields in sides
        ),
    )


def figure(one: OpenedItem, language: Language) -> str:
    """The number beside a closed item: the first one of the later model, signed where a sign means something."""
    found = next(((n, v) for n, v in one.after.items() if isinstance(v, int | float)), None)
    return number(*found, language) if found else ""


def shown(name: str, said: Said, language: Language) -> Shown:
    label = language.words.get(f"field.{name}", name.replace("_", " "))
    if said is None:
        return Shown(label, (language.say("field.none"),), plain=False)
    if isinstance(said, str):
        translated = language.words.get(f"said.{name}.{said}")
        if translated:
            return Shown(label, (translated,), plain=False)
        return Shown(label, (said,)) if said.strip() else Shown(label, (language.say("examples.empty"),), plain=False)
    if name == "broken" and not isinstance(said, int | float):  # 'rule: entry (what was found)'
        return Shown(label, tuple(re.sub(r"^\w+", lambda m: language.name("rule", m[0]), line) for line in said))
    if isinstance(said, tuple | list):
        return Shown(label, tuple(map(str, said)))
    return Shown(label, (number(name, said, language),), plain=False)


def number(name: str, value: float, language: Language) -> str:
    unit = UNITS.get(name)
    if unit is None:
        return language.significant(value)
    if unit == "nats":
        return language.difference(value, unit)
    return language.value(value, unit)
