"""A number opened: how it was measured, and the items behind it, a page at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from limpide.core.measure import Change, Measure
from limpide.document import opened, suites, tables
from limpide.document.evidence import Evidence
from limpide.document.language import Language
from limpide.document.notes import in_words
from limpide.document.pictures import subject_name
from limpide.studio.pages.report_read import Row, items_of, metric_of

PAGE = opened.SHOWN  # items shown at once
Say = Callable[..., str]
Facts = list[tuple[str, str]]


@dataclass(frozen=True)
class Sided:
    """One model's measure, and the facts without which its value says nothing."""

    name: str
    value: str
    facts: Facts


@dataclass(frozen=True)
class Number:
    """All measures of one quantity on one slice, and what became of it."""

    title: str
    sides: tuple[Sided, ...]
    change: Facts
    note: str
    note_lang: str | None


@dataclass(frozen=True)
class ItemsPage:
    """Items `first` to `last` of `total`, from 1; `pages` in all."""

    items: tuple[suites.Item, ...]
    first: int
    last: int
    total: int
    pages: int


def became_worse(evidence: Evidence) -> list[Change]:
    """The changes for the worse, without the slices of one that became worse as a whole."""
    worse = [c for c in evidence.changes if c.verdict == "worse"]
    return [c for c in worse if not any(o.name == c.name and o.group.items() < c.group.items() for o in worse)]


def measures_of(evidence: Evidence, label: str) -> list[Measure]:
    """The measures of a row of a table, the base first."""
    found = {m.subject: m for m in evidence.measures if m.label == label}
    return [found[subject] for subject in tables.subjects(list(found.values()))]


def number(evidence: Evidence, label: str, spoken: Language, say: Say, folder: Path | None = None) -> Number:
    """What stands behind the row `label` of a table. folder: holds `evidence/`, for what feeds the measure."""
    found = measures_of(evidence, label)
    first = found[-1]
    change = evidence.change(first.name, **first.group)
    note, lang = in_words(first.note, spoken) if first.note else ("", None)
    return Number(
        title=tables.quantity(first.name, first.group, spoken),
        sides=tuple(_side(m, spoken, say, folder) for m in found),
        change=change_facts(change, spoken, say) if change else [],
        note=note,
        note_lang=lang,
    )


def _side(measure: Measure, spoken: Language, say: Say, folder: Path | None) -> Sided:
    measured = measure.state == "measured" and measure.value is not None
    state = "not_measured" if measure.state == "not run" else "word.insufficient evidence"
    value = spoken.measured(measure) if measured else spoken.say(state)
    return Sided(subject_name(measure.subject, spoken), value, measure_facts(measure, spoken, say, folder))


def measure_facts(measure: Measure, spoken: Language, say: Say, folder: Path | None = None) -> Facts:
    """Interval, items, method, seed and digests, in this order; what the record does not hold is left out."""
    interval = spoken.interval(measure.low, measure.high, measure.unit, measure.level)
    if interval and measure.interval:
        interval = say("report.fact.interval.how", interval=interval, how=measure.interval)
    facts = [
        ("interval", interval),
        ("n", spoken.whole(measure.n)),
        ("clusters", None if measure.clusters is None else spoken.whole(measure.clusters)),
        ("metric", metric_of(folder, measure) if folder else None),
        ("method", measure.method),
        ("seed", None if measure.seed is None else str(measure.seed)),
        ("model", measure.model_digest),
        ("data", measure.data_digest),
        ("versions", ", ".join(f"{name} {version}" for name, version in measure.versions.items())),
    ]
    return [(say(f"report.fact.{key}"), value) for key, value in facts if value]


def change_facts(change: Change, spoken: Language, say: Say) -> Facts:
    """The difference, how it was tested, and what so many items could have shown."""
    smallest = change.smallest_detectable
    facts = [
        ("difference", tables.difference(change, spoken)),
        ("verdict", tables.change_word(change, spoken)[0]),
        ("test", change.test),
        ("p", None if change.p_value is None else spoken.significant(change.p_value, 2)),
        ("smallest", None if smallest is None else spoken.difference(abs(smallest), change.unit).lstrip("+")),
        ("n", spoken.whole(change.n)),
    ]
    return [(say(f"report.fact.{key}"), value) for key, value in facts if value]


def items_page(evidence: Evidence, folder: Path, label: str, spoken: Language, page: int = 1) -> ItemsPage:
    """A page of the items behind a number, what the base made of them beside what the result did. Raises DataError."""
    found = measures_of(evidence, label)
    rows = {m.subject: items_of(folder, m) for m in found}
    main = next((rows[m.subject] for m in reversed(found) if rows[m.subject]), [])
    before = rows.get("base", [])
    return _paged(main, [] if main is before else before, spoken, page)


def _paged(rows: Sequence[Row], before: Sequence[Row], spoken: Language, page: int) -> ItemsPage:
    pages = max(1, -(-len(rows) // PAGE))
    page = min(max(1, page), pages)
    start = PAGE * (page - 1)
    chosen = rows[start : start + PAGE]
    groups = opened.choose("", chosen, before, rules=(opened.FIRST,)) if chosen else ()
    items = tuple(suites.item(one, spoken) for group in groups for one in group.items)
    return ItemsPage(items, start + 1 if rows else 0, start + len(items), len(rows), pages)
