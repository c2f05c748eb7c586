"""What is looked at in the examples before a model learns from them: each check counts, says where, and how grave.

A check `stops` (the data is refused unless the recipe allows it), `warns`, or is `told`. One pass over the rows; time
grows with their number.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, Literal

from pydantic import Field

from limpide.core.errors import DataError, Fault
from limpide.core.operation import Settings
from limpide.data import leakage, texts
from limpide.data.duplicates import Duplicates, find_duplicates, normalise
from limpide.data.examples import Example
from limpide.data.personal import Policy
from limpide.data.reading import MOST_SHOWN, too_many
from limpide.data.sensitive import SORTS, Seen, look

Severity = Literal["stops", "warns", "told"]
MOST_LISTED = 50  # places written in a report; all are counted
FEW_OF_A_CLASS = 5  # rows: below, a class is learnt and tested on next to nothing
UNBALANCED = 10  # times as many rows of the largest class as of the smallest
LONGER_PREFERRED = 0.75  # share of pairs whose preferred answer is the longer one, above which length may be learnt


class AllowLeak(Settings):
    """Items of an audit stay in the examples, for a reason that the documents quote."""

    allow: str = Field(min_length=10, description="why items that the audits ask may be learnt, in a sentence")


NamesPolicy = Literal["warn", "refuse", "mask"]
LeakPolicy = Literal["refuse"] | AllowLeak


@dataclass(frozen=True)
class Policies:
    """What to do with what is found. Those that refuse give checks that stop."""

    personal_data: Policy = "refuse"
    secrets: Policy = "refuse"
    names: NamesPolicy = "warn"
    leakage: LeakPolicy = "refuse"


@dataclass(frozen=True)
class Check:
    """One check. said: a sentence. count: things found; rows: rows that hold them. places: each of them.

    what, remedy: how a refusal calls them, and what to do; given where it stops.
    """

    name: str
    severity: Severity
    said: str
    count: int = 0
    rows: int = 0
    places: tuple[Fault, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    what: str = ""
    remedy: str | None = None

    @property
    def warning(self) -> str:
        """What is said where places are not listed."""
        return f"{self.said} First: {self.places[0]}." if self.places else self.said

    def record(self, listed: int = MOST_LISTED) -> dict[str, Any]:
        """For reports: places are listed up to a number, and counted."""
        kept: dict[str, Any] = {"severity": self.severity, "count": self.count, "rows": self.rows, "said": self.said}
        kept["places"] = [str(place) for place in self.places[:listed]]
        return kept | ({"facts": dict(self.facts)} if self.facts else {})


def refuse(checks: Sequence[Check]) -> None:
    """Raise DataError with every fault of the checks that stop; nothing where none does."""
    stopping = [check for check in checks if check.severity == "stops"]
    if not stopping:
        return
    if len(stopping) == 1:
        raise too_many(stopping[0].places, stopping[0].what, remedy=stopping[0].remedy)
    each = max(5, MOST_SHOWN // len(stopping))
    left = sum(max(0, len(check.places) - each) for check in stopping)
    more = f" The first {each} of each are shown, {left} more follow." if left else ""
    named = "; ".join(f"{len(check.places)} {check.what}" for check in stopping)
    raise DataError(
        f"{len(stopping)} checks stop: {named}.{more}",
        faults=[place for check in stopping for place in check.places[:each]],
        remedy="; ".join(dict.fromkeys(check.remedy for check in stopping if check.remedy)),
    )


def check_examples(
    examples: Sequence[Example],
    policies: Policies,
    near_duplicate: float = 0.8,
    advance: Callable[[], None] = lambda: None,
) -> tuple[list[Example], Duplicates, list[Check]]:
    """The examples as the policies let them be used, which of them are alike, and every check of their content.

    near_duplicate: smallest similarity of two questions that are nearly the same. advance: called twice a row.
    """
    masked = {name for name in ("secrets", "personal_data", "names") if getattr(policies, name) == "mask"}
    kept, seen = look(examples, masked, advance)
    checks = [sensitive_check(name, seen[name], getattr(policies, name)) for name in seen]
    checks += _texts(kept, policies.leakage, near_duplicate, advance)
    duplicates = find_duplicates(kept, near_duplicate)
    checks += [_exact(kept, duplicates), _near(kept, duplicates), _conflicts(kept, duplicates)]
    checks += [_labels(kept), _preferences(kept), _lengths(kept), _synthetic(kept)]
    return kept, duplicates, checks


# --- secrets, personal data, names ---

WHAT = {
    "secrets": "secret in the examples: a model could learn it and give it away",
    "personal_data": "personal data in the examples, which a model could learn and repeat",
    "names": "names of people in the examples, which a model could learn and repeat",
}
TITLES = {"secrets": "Secrets", "personal_data": "Personal data", "names": "Names of people, by a dictionary,"}


def sensitive_check(name: str, seen: Seen, policy: Any) -> Check:
    kinds = next(sort.kinds for sort in SORTS if sort.name == name)
    counts = {kind: seen.counts[kind] for kind in kinds}
    total = seen.counts.total()
    facts = {"kinds": counts, "policy": policy if isinstance(policy, str) else {"allow": policy.allow}}
    if not total:
        return Check(name, "told", f"{TITLES[name].rstrip(',')}: none found.", facts=facts)
    listed = ", ".join(f"{count} × {kinds[kind]}" for kind, count in sorted(counts.items()) if count)
    done = {"refuse": "found", "warn": "found", "mask": "masked"}.get(str(policy), f"kept, as data.{name} allows")
    check = Check(
        name,
        "warns",
        f"{TITLES[name]} {done}: {listed}.",
        total,
        seen.rows,
        tuple(seen.places),
        facts,
        WHAT[name],
        f"remove it, or set data.{name} to mask"
        + ("" if name == "names" else ", or to {allow: <why it may be learnt>}"),
    )
    if policy == "refuse":
        return replace(check, severity="stops")
    if policy == "mask" and seen.stuck:
        hidden = {"secrets": "secrets", "personal_data": "personal data"}.get(name, "names")
        remedy = f"give ids, topics and groups names that are not {hidden}: they cannot be masked without mixing rows"
        return replace(check, severity="stops", places=tuple(seen.stuck), remedy=remedy)
    return check


# --- texts, one by one ---


def _texts(
    examples: Sequence[Example], policy: LeakPolicy, threshold: float, advance: Callable[[], None]
) -> list[Check]:
    items = leakage.shipped(threshold)
    found: dict[str, list[Fault]] = defaultdict(list)
    languages: Counter[str] = Counter()
    leaked: set[int] = set()
    for example in examples:
        for name, what in texts.oddities(example):
            found[name].append(Fault(*example.place, what))
        said = texts.language(example)
        languages[said or "not recognised"] += 1
        if said and example.language in ("en", "fr") and said != example.language:
            found["language"].append(Fault(*example.place, f"declared '{example.language}', reads as '{said}'"))
        inside = _leaks(example, items)
        if inside:
            leaked |= inside
            found["leakage"].append(Fault(*example.place, f"holds {leakage.describe(items.items, inside)}"))
        advance()
    checks = [_oddity(name, found[name]) for name in texts.ODDITIES]
    return [*checks, _languages(found["language"], languages), leakage_check(found["leakage"], leaked, items, policy)]


def _leaks(example: Example, items: leakage.Items) -> set[int]:
    question = normalise(example.question)
    found = items.near(example.question, question) | items.inside(question)
    for text in (example.answer, example.rejected):
        found |= items.inside(normalise(text)) if text else set()
    return found


def _oddity(name: str, places: Sequence[Fault]) -> Check:
    title = texts.ODDITIES[name]
    rows = len({(place.file, place.line) for place in places})
    if not places:
        return Check(name, "told", f"{title}: none found.")
    return Check(name, "warns", f"{title}: {rows} rows.", len(places), rows, tuple(places))


def _languages(places: Sequence[Fault], languages: Counter[str]) -> Check:
    spread = ", ".join(f"{name} {count}" for name, count in languages.most_common())
    facts = {"found": dict(languages.most_common())}
    if not places:
        return Check("language", "told", f"Language of the answers, as it reads: {spread}.", facts=facts)
    count = len(places)
    said = f"Rows whose answer is in another language than declared: {count}."
    return Check("language", "warns", said, count, count, tuple(places), facts)


def leakage_check(places: Sequence[Fault], leaked: set[int], items: leakage.Items, policy: LeakPolicy) -> Check:
    """places: one a row, or a passage, that holds some of the items `leaked`."""
    facts = {"policy": {"allow": policy.allow} if isinstance(policy, AllowLeak) else policy}
    if not places:
        return Check("leakage", "told", "Items of the shipped audits in the examples: none found.", facts=facts)
    suites = Counter(items.items[i].suite for i in leaked)
    spread = ", ".join(f"{count} of {suite}" for suite, count in sorted(suites.items()))
    allowed = isinstance(policy, AllowLeak)
    said = f"Items of the shipped audits in the examples: {len(leaked)} ({spread})"
    return Check(
        "leakage",
        "warns" if allowed else "stops",
        f"{said}, kept as data.leakage allows." if allowed else f"{said}.",
        len(leaked),
        len(places),
        tuple(places),
        facts | {"suites": dict(suites)},
        "in the examples and in the audits: learnt, it would make the audit of the result mean nothing",
        "leave these rows out, or set data.leakage to {allow: <why>}",
    )


# --- rows, together ---


def _exact(examples: Sequence[Example], duplicates: Duplicates) -> Check:
    repeated = sum(len(group) - 1 for group in duplicates.exact)
    if not repeated:
        return Check("exact_duplicates", "told", "Rows that repeat another word for word: none.")
    said = f"Rows that repeat another word for word: {repeated}. They were kept, on the same side."
    places = _against(examples, duplicates.exact, "says the same as")
    return Check("exact_duplicates", "warns", said, repeated, sum(map(len, duplicates.exact)), places)


def _near(examples: Sequence[Example], duplicates: Duplicates) -> Check:
    rows = sum(map(len, duplicates.near))
    if not rows:
        return Check("near_duplicates", "told", "Questions nearly the same as another: none.")
    said = f"Questions nearly the same as another: {rows} rows in {len(duplicates.near)} groups, kept on the same side."
    return Check("near_duplicates", "told", said, rows, rows, _against(examples, duplicates.near, "nearly asks what"))


def _conflicts(examples: Sequence[Example], duplicates: Duplicates) -> Check:
    if not duplicates.conflicts:
        return Check("conflicts", "told", "Questions with several different answers: none.")
    count = len(duplicates.conflicts)
    said = f"Questions with several different answers: {count}. See 'conflicts' in the report."
    places = _against(examples, duplicates.conflicts, "asks the same, with another answer, as")
    return Check("conflicts", "warns", said, count, sum(map(len, duplicates.conflicts)), places)


def _against(examples: Sequence[Example], groups: Sequence[Sequence[int]], how: str) -> tuple[Fault, ...]:
    """A place for each row of a group but its first, to which it is compared."""
    return tuple(Fault(*examples[i].place, f"{how} {examples[group[0]].source}") for group in groups for i in group[1:])


def _labels(examples: Sequence[Example]) -> Check:
    labels = Counter(example.label for example in examples if example.label is not None)
    if not labels:
        return Check("labels", "told", "Labels: no row is a text with a class.")
    ordered = labels.most_common()
    (largest, most), (smallest, least) = ordered[0], ordered[-1]
    rare = [label for label, count in ordered if count < FEW_OF_A_CLASS]
    share = most / labels.total()
    said = f"Labels: {len(labels)} classes, from {least} rows ('{smallest}') to {most} ('{largest}', {share:.0%})."
    grave: Severity = "told"
    if rare or most >= UNBALANCED * least or len(labels) == 1:
        grave = "warns"
        said += f" Always answering '{largest}' would be right {share:.0%} of the time: read accuracy beside that."
    places = [Fault(*e.place, f"class '{e.label}' has {labels[e.label]} rows") for e in examples if e.label in rare]
    return Check("labels", grave, said, len(labels), labels.total(), tuple(places), {"classes": dict(ordered)})


def _preferences(examples: Sequence[Example]) -> Check:
    pairs = [example for example in examples if example.rejected is not None]
    if not pairs:
        return Check("preferences", "told", "Preferences: no row has a rejected answer.")
    length = sum(len(example.answer) > len(example.rejected or "") for example in pairs)
    longer = length / len(pairs)
    said = f"Preferences: {len(pairs)} rows; the preferred answer is the longer one in {longer:.0%}."
    first: dict[tuple[str, str, str], Example] = {}
    places = []
    for example in pairs:
        first.setdefault((example.question, example.answer, example.rejected or ""), example)
    for example in pairs:
        other = first.get((example.question, example.rejected or "", example.answer))
        if other is not None:
            places.append(Fault(*example.place, f"prefers what {other.source} rejects, for the same question"))
    if places:
        said += f" {len(places)} rows prefer what another rejects."
    elif longer > LONGER_PREFERRED:
        said += " Length alone may be learnt."
    grave: Severity = "warns" if places or longer > LONGER_PREFERRED else "told"
    count = len(places) or (length if grave == "warns" else 0)
    return Check("preferences", grave, said, count, len(pairs), tuple(places), {"preferred_is_longer": longer})


def _lengths(examples: Sequence[Example]) -> Check:
    sizes = [sum(len(m.content) for m in example.messages) for example in examples]
    at = max(range(len(sizes)), key=sizes.__getitem__)
    said = (
        f"Length: {median(sizes):,.0f} characters a row in the middle, {sizes[at]:,} in the longest "
        f"({examples[at].source})."
    )
    return Check("length", "told", said, facts={"median": median(sizes), "longest": sizes[at], "unit": "characters"})


def _synthetic(examples: Sequence[Example]) -> Check:
    count = sum(example.synthetic is not None for example in examples)
    said = f"Rows made by a machine: {count} of {len(examples)} ({count / len(examples):.0%})."
    return Check("synthetic", "told", said, count, count)
