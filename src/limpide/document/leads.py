"""The first sentence of a suite: what it found, for somebody who runs an organisation.

A suite has headline measures; each is said with its value, then with what changed. What is missing is said to be
missing, and too little evidence is never good news.
"""

from collections.abc import Sequence

from limpide.core.measure import Change, Measure
from limpide.document import findings
from limpide.document.evidence import Evidence, Numbers
from limpide.document.findings import Finding, share_of, tone_of, usable, where, worst_verdict
from limpide.document.language import Language
from limpide.document.leanings import bias
from limpide.document.notes import in_words

# suite → its headline measures, in the order they are said. A suite that is not here says its first measures.
HEADLINES: dict[str, tuple[str, ...]] = {
    "domain": ("domain.accuracy", "domain.borrowed"),
    "bias": ("bias.gap", "bias.own_flipped"),
    "truth": ("truth.accuracy", "truth.short_accuracy", "truth.made_up", "truth.unsure_on_known", "truth.ece"),
    "robustness": ("robustness.flipped", "robustness.broken", "robustness.mended"),
    "refusal": ("refusal.declined_harmful", "refusal.declined_harmless"),
    "charter": ("charter.respected",),
    "retention": ("retention.loss", "retention.truth_accuracy"),
    "memorisation": ("memorisation.verbatim", "memorisation.extracted", "memorisation.personal_data"),
}
UNREAD = 0.1  # share of unreadable answers above which it is said first
SAID = 3  # measures that are said of a suite without headlines


def lead(suite: str, evidence: Numbers, language: Language) -> Finding:
    """What the suite found."""
    if isinstance(evidence, Evidence) and suite in RELEASE:  # a release says what the adaptation did
        return RELEASE[suite](evidence, language)
    found = headlines(suite, evidence)
    if not found:
        return Finding(sentence=language.say("lead.absent", suite=language.name("suite", suite)), tone="doubt")
    if suite == "bias" and found[0].name == "bias.gap" and usable(found[0]):
        return bias(evidence, language)
    said, changes = [], []
    for measure in [*found, *unread(suite, evidence)]:
        said.append(sentence(measure, language))
        change = evidence.change(measure.name, **measure.group)
        if usable(measure) and change is not None:
            said.append(moved(change, language))
            changes.append(change)
    if changes:
        return Finding(sentence=" ".join(said), tone=tone_of(worst_verdict(changes)))
    return Finding(sentence=" ".join(said), tone="plain" if any(map(usable, found)) else "doubt")


RELEASE = {
    "domain": findings.learned,
    "bias": bias,
    "retention": findings.retention,
    "memorisation": findings.memorisation,
}


def headlines(suite: str, evidence: Numbers) -> list[Measure]:
    """The measures of the result that are said first: each headline on its widest slices."""
    own = [m for m in evidence.measures if m.name.startswith(f"{suite}.") and m.subject == "result"]
    names = [name for name in HEADLINES.get(suite, ()) if any(m.name == name for m in own)]
    if not names:
        names = list(dict.fromkeys(m.name for m in own))[:SAID]
    chosen: list[Measure] = []
    for name in names:
        wide = widest_slices([m for m in own if m.name == name])
        chosen += wide if len(wide) <= SAID else [worst_of(wide)]
    return chosen


def unread(suite: str, evidence: Numbers) -> list[Measure]:
    """The share of answers that name no option, where it is so large that the share of right ones hangs on it."""
    measure = usable(evidence.measure("truth.unreadable")) if suite == "truth" else None
    return [measure] if measure is not None and (measure.value or 0.0) > UNREAD else []


def widest_slices(measures: Sequence[Measure]) -> list[Measure]:
    """Those whose slice refines no other's."""
    return [m for m in measures if not any(o.group.items() < m.group.items() for o in measures)]


def worst_of(measures: Sequence[Measure]) -> Measure:
    """The one a reader must not miss: without a number, else the least favourable value."""
    missing = next((m for m in measures if usable(m) is None), None)
    if missing is not None:
        return missing

    def badness(measure: Measure) -> float:
        assert measure.value is not None
        signs = {"higher": -measure.value, "lower": measure.value, "nearer zero": abs(measure.value)}
        return signs.get(measure.better, 0.0)

    return max(measures, key=badness)


def sentence(measure: Measure, language: Language) -> str:
    """One measure in a sentence: its value, or why there is none."""
    what = language.name("measure", measure.name)
    on = where(measure.group, language)
    if measure.state == "not run":
        why = in_words(measure.note, language)[0].rstrip(".") if measure.note else language.say("unknown")
        return language.say("lead.not_run", what=what, why=why)
    if usable(measure) is None:
        return language.say("lead.insufficient", what=f"{what} ({on})" if on else what)
    value = share_of(measure, language)
    key = f"lead.{measure.name}"
    by_slice = f"{key}.{measure.group.get('slice', '')}"
    if language.has(by_slice):
        return language.say(by_slice, value=value)
    if not language.has(key):
        return language.say("lead.other", what=f"{what} ({on})" if on else what, value=value)
    said = language.say(key, value=value)
    return language.say("lead.on", on=on, said=said) if on else said


def moved(change: Change, language: Language) -> str:
    """What became of a measure, before and after."""
    if change.before is None or change.after is None:
        return language.say("lead.moved.insufficient evidence.bare")
    both = (change.before, change.after)
    before, after = (language.value(value, change.unit, beside=both) for value in both)
    return language.say(f"lead.moved.{change.verdict}", before=before, after=after)
