"""Rows of the tables of the card and the report, as plain text cells."""

import re
from collections.abc import Sequence

from limpide.core.measure import Change, Frozen, Measure
from limpide.document.evidence import Evidence, Numbers, Text
from limpide.document.findings import Tone, tone_of, usable, where
from limpide.document.language import Language
from limpide.document.pictures import subject_name

READ_WITH_CARE = ("memorisation.verbatim",)


class Compared(Frozen):
    """One quantity of one slice: base, release, other files, and the paired difference."""

    what: str
    label: str
    cells: tuple[str, ...]
    ranges: tuple[str, ...]
    n: str
    difference: str
    difference_range: str
    verdict: str
    tone: Tone


class Measured(Frozen):
    """One measure with what is needed to judge it."""

    what: str
    label: str
    subject: str
    value: str
    range: str
    n: str
    method: str


class GateRow(Frozen):
    """rule: as in the recipe; said: in words. sentence: why, in the language `sentence_lang` (None: this one)."""

    rule: str
    said: str
    sentence: str | None
    sentence_lang: str | None
    word: str
    tone: Tone


class ParityRow(Frozen):
    """One check of a served file, against its limit."""

    name: str
    target: str
    value: str
    limit: str
    word: str
    tone: Tone
    sentence: str | None
    sentence_lang: str | None


def quantity(name: str, group: dict[str, str], language: Language) -> str:
    """'Right answers: new wordings', or the measure's own name where there is no word for it."""
    said = language.name("measure", name)
    return language.say("measure_of", what=said, where=where(group, language)) if group else said


def subjects(measures: Sequence[Measure]) -> list[str]:
    """Every model measured: base, result, then the files in order of appearance."""
    found = list(dict.fromkeys(m.subject for m in measures))
    first = [s for s in ("base", "result") if s in found]
    return first + [s for s in found if s not in first]


def compared(evidence: Numbers, language: Language, prefix: str, columns: Sequence[str]) -> list[Compared]:
    """A row for each quantity whose name starts with `prefix`, a cell for each of the models in `columns`."""
    measures = [m for m in evidence.measures if m.name.startswith(prefix)]
    keys = list(dict.fromkeys((m.name, tuple(sorted(m.group.items()))) for m in measures))
    rows = []
    for name, items in keys:
        group = dict(items)
        found = [evidence.measure(name, subject, **group) for subject in columns]
        change = evidence.change(name, **group)
        present = [m for m in found if m is not None]
        verdict, tone = change_word(change, language)
        moved = difference_and_range(change, language)
        rows.append(
            Compared(
                what=quantity(name, group, language),
                label=(present or measures)[0].label,
                cells=tuple(_cell(m, language) for m in found),
                ranges=tuple("" if usable(m) is None or m is None else _range(m, language) for m in found),
                n=language.join(dict.fromkeys(language.whole(m.n) for m in present)),
                difference=moved[0],
                difference_range=moved[1],
                verdict=verdict,
                tone=tone,
            )
        )
    return rows


def change_word(change: Change | None, language: Language) -> tuple[str, Tone]:
    """The verdict of a change in a word. More repetition is the aim of some data and a fault of other: only told."""
    if change is None:
        return language.say("word.not compared"), "plain"
    if change.name in READ_WITH_CARE and change.verdict == "worse":
        return language.say("word.rises"), "doubt"
    return language.say(f"word.{change.verdict}"), tone_of(change.verdict)


def measured(evidence: Numbers, language: Language) -> list[Measured]:
    """One row a measure, in the order of the evidence."""
    return [
        Measured(
            what=quantity(m.name, m.group, language),
            label=m.label,
            subject=subject_name(m.subject, language),
            value=_cell(m, language),
            range=language.range(m),
            n=language.whole(m.n),
            method=m.method,
        )
        for m in evidence.measures
    ]


def difference(change: Change | None, language: Language) -> str:
    """'+88.9 points (+75.0 to +97.2)', '0.09 further from 0 (distance +0.05 to +0.13)', or a dash."""
    said, interval = difference_and_range(change, language)
    return f"{said} ({interval})" if interval else said


def difference_and_range(change: Change | None, language: Language) -> tuple[str, str]:
    """A signed difference and its interval, '' when there is none.

    Of what is best near zero, the difference is of distances from zero, and says so: from −0.03 to −0.13 is no '+0.10'.
    """
    if change is None or change.difference is None:
        return "–", ""
    ends = [end for end in (change.low, change.high) if end is not None]
    beside = [change.difference, *ends]
    shown = language.difference(change.difference, change.unit, beside=beside)
    distance = change.better == "nearer zero"
    if distance and re.search("[1-9]", shown):  # not where all of it rounds to nothing
        way = "nearer" if change.difference < 0 else "further"
        shown = language.say(f"difference.{way}", size=shown.lstrip("+\u2212"))
    if len(ends) < 2:
        return shown, ""
    low, high = (language.difference(end, change.unit, with_unit=False, beside=beside) for end in ends)
    return shown, language.say("difference.range" if distance else "range", low=low, high=high)


def gate_rows(evidence: Evidence, language: Language) -> list[GateRow]:
    rows = []
    for gate in evidence.gates:
        sentence, lang = explained(gate.sentence, gate_fact(gate.rule, evidence, language), language)
        said, word = rule_in_words(gate.rule, language), language.say(f"gate.{gate.verdict}")
        tone = tone_of(gate.verdict)
        rows.append(GateRow(rule=gate.rule, said=said, sentence=sentence, sentence_lang=lang, word=word, tone=tone))
    return rows


def explained(written: Text | None, made: str | None, language: Language) -> tuple[str | None, str | None]:
    """The sentence to show and its language when foreign.

    A step's own sentence where it is given in this very language, else the one made from the numbers, else the step's
    as it is. Steps write English unless they give one sentence a language.
    """
    if isinstance(written, dict) and language.code in written:
        return written[language.code], None
    if made is not None or not written:
        return made, None
    given = written if isinstance(written, dict) else {"en": written}
    return language.text(given), language.lang(given)


def reasons(evidence: Evidence, language: Language) -> list[tuple[str, str | None]]:
    """Why the model is not released: the checks that did not pass, in words; else the reasons recorded.

    Each is a sentence and its language when foreign.
    """
    if evidence.verdict == "ship":
        return []
    made = []
    for row, gate in zip(gate_rows(evidence, language), evidence.gates, strict=True):
        if gate.verdict != "pass":
            why = None if row.sentence_lang else row.sentence
            key = "reason" if why else "reason.bare"
            made.append(language.say(key, what=row.said, word=row.word, why=why or ""))
    if evidence.parity.passed is False:
        for line, check in zip(parity_rows(evidence, language), evidence.parity.checks, strict=True):
            if check.passed is False:
                made.append(language.say("reason.bare", what=f"{line.name} ({line.target})", word=line.word))
    recorded = [explained(reason, None, language) for reason in evidence.reasons]
    return [(said, None) for said in made] or [(said, lang) for said, lang in recorded if said]


def gate_fact(rule: str, evidence: Evidence, language: Language) -> str | None:
    """What was seen of the measure that a rule speaks about, in numbers; None when the rule is not understood."""
    rest = rule.strip().partition(" ")[2]
    if rest.startswith(("is above", "is below")):
        found = [m for m in evidence.measures if m.subject != "base" and concerns(rule, m)]
        if not found or any(m.value is None for m in found):
            return None
        above = rest.startswith("is above")  # judged on the worst of the merged result and the file that is served
        measure = min(found, key=lambda m: m.low or 0.0) if above else max(found, key=lambda m: m.high or 0.0)
        interval = language.interval(measure.low, measure.high, measure.unit, measure.level)
        value = language.value(measure.value, measure.unit)
        return language.say("gate.level", value=f"{value} ({interval})" if interval else value)
    if not rest:
        return None
    change = next((c for c in evidence.changes if concerns(rule, c)), None)
    if change is None:
        return language.say("gate.unmeasured")
    if change.before is None or change.after is None:
        return language.say("gate.undecided", n=change.n)
    both = (change.before, change.after)
    before, after = (language.value(v, change.unit, beside=both) for v in both)
    ends = {"before": before, "after": after}
    if rest.startswith("worsens by less than") and rest.endswith("%") and change.before:
        return _limited(change, ends, language)
    return language.say("gate.fact", difference=difference(change, language), **ends)


def _limited(change: Change, ends: dict[str, str], language: Language) -> str:
    """How much worse, relative to before, and the unfavourable end of the interval."""
    if change.difference is None or change.low is None or change.high is None or not change.before:
        return language.say("gate.fact", difference=difference(change, language), **ends)
    unfavourable = change.low if change.better == "higher" else change.high
    bound = language.relative(unfavourable / abs(change.before))
    relative = relative_difference(change, change.difference / abs(change.before), language)
    level = language.percent(change.level)
    return language.say("gate.limited", relative=relative, bound=bound, level=level, **ends)


def relative_difference(change: Change, share: float, language: Language) -> str:
    """'+3.1%', or 'distance from 0 +300%'. share: of what was before."""
    shown = language.relative(share)
    return language.say("difference.share", relative=shown) if change.better == "nearer zero" else shown


def concerns(rule: str, found: Change | Measure) -> bool:
    """Is the rule about this change or measure: 'bias.gender.gap' names bias.gap in the slice gender.

    Without a slice, it is the whole, or the held-out part: the same reading as the recipe's.
    """
    suite, slices, kind = split_rule(rule)
    values = set(found.group.values())
    return found.name == f"{suite}.{kind}" and (values == slices or (not slices and values == {"held_out"}))


def split_rule(rule: str) -> tuple[str, set[str], str]:
    """Suite, slices and quantity of the measure that a rule begins with."""
    parts = rule.strip().partition(" ")[0].split(".")
    return parts[0], set(parts[1:-1]), parts[-1]


def rule_in_words(rule: str, language: Language) -> str:
    """A gate as a person reads it: 'Expected answers: must improve'. Words that are not known stay as written."""
    suite, slices, kind = split_rule(rule)
    rest = rule.strip().partition(" ")[2]
    what = language.words.get(f"measure.{suite}.{kind}", f"{suite}.{kind}")
    named = sorted(language.slice_name(value) for value in slices)
    if named:
        what = language.say("measure_of", what=what, where=", ".join(named))
    for phrase in ("does not worsen", "worsens by less than", "improves", "is above", "is below"):
        if rest.startswith(phrase):
            limit = rest[len(phrase) :].strip()
            return language.say(f"rule.{phrase}", what=what, limit=language.limit(limit))
    return f"{what} {rest}".strip()


def parity_rows(evidence: Evidence, language: Language) -> list[ParityRow]:
    def shown(number: float | None) -> str:
        return "–" if number is None else language.significant(number)

    words: dict[bool | None, str] = {True: "pass", False: "fail", None: "insufficient evidence"}
    rows = []
    for check in evidence.parity.checks:
        sentence, lang = explained(check.sentence, language.words.get(f"parity_said.{check.name}"), language)
        rows.append(
            ParityRow(
                name=language.name("parity_check", check.name),
                target=check.target,
                value=shown(check.value),
                limit=shown(check.limit),
                word=language.say(f"gate.{words[check.passed]}"),
                tone=tone_of(words[check.passed]),
                sentence=sentence,
                sentence_lang=lang,
            )
        )
    return rows


def _cell(measure: Measure | None, language: Language) -> str:
    if measure is None or measure.state == "not run":
        return language.say("not_measured")
    if measure.state == "insufficient evidence" or measure.value is None:
        return language.say("word.insufficient evidence")
    return language.measured(measure)


def _range(measure: Measure, language: Language) -> str:
    return "" if measure.low is None or measure.high is None else language.range(measure)
