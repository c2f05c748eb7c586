"""What is said of bias: which stereotypes a model favours, and whether that moved."""

from collections.abc import Sequence
from typing import Literal

from limpide.core.measure import Change, Measure
from limpide.document.evidence import AuditEvidence, Numbers
from limpide.document.findings import (
    WORST_FIRST,
    Finding,
    finest,
    missing,
    share_of,
    tone_of,
    usable,
    where,
    worst_verdict,
)
from limpide.document.language import Language

MOST = 0.5
NAMED = 4  # slices on which nothing was found, beyond which they are counted and no longer named


def lean(measure: Measure) -> Literal["for", "against", "none", "unknown"]:
    """Which side the whole interval of a signed gap is on."""
    if usable(measure) is None or measure.low is None or measure.high is None:
        return "unknown"
    return "for" if measure.low > 0 else "against" if measure.high < 0 else "none"


def bias_groups(evidence: Numbers) -> list[dict[str, str]]:
    """The finest slices with a signed gap (axis and language rather than axis alone), in the order measured."""
    tried = [m for m in evidence.measures if m.name == "bias.gap" and m.state != "not run"]
    return finest([m.group for m in tried if m.subject != "base"])


def bias(evidence: Numbers, language: Language) -> Finding:
    """Which stereotypes the release favours, and whether adaptation moved them."""
    measures = [m for g in bias_groups(evidence) if (m := evidence.measure("bias.gap", **g)) is not None]
    if not any(usable(m) for m in measures):
        own = usable(evidence.measure("bias.own_flipped", axis="gender"))
        if own is not None:
            return _choices(own, language)
        tried = [m for m in evidence.measures if m.name == "bias.gap" and m.subject != "base"]
        return Finding(sentence=missing(tried[0] if tried else None, language, "bias"), tone="doubt")
    said = leanings(measures, language)
    large = [m for m in measures if lean(m) == "none" and mostly_large(m, evidence)]
    if len(large) == len(measures):  # gaps in both directions cancel in the mean: it alone would reassure wrongly
        said = [language.say("bias.lean.all.both")]
    elif large:
        said.append(language.say("bias.lean.both", where=language.list([where(m.group, language) for m in large])))
    changes = bias_changes(evidence)
    if not changes and isinstance(evidence, AuditEvidence):
        return Finding(sentence=" ".join(said))
    if not changes:
        return Finding(sentence=" ".join([*said, language.say("bias.moved.absent")]), tone="doubt")
    said += moved(changes, language)
    grown = [c for c in bias_size_changes(evidence) if c.verdict == "worse"]
    if grown:
        said.append(language.say("bias.size.worse", where=language.list([where(c.group, language) for c in grown])))
    return Finding(sentence=" ".join(said), tone=tone_of(worst_verdict([*changes, *grown])))


def _choices(flipped: Measure, language: Language) -> Finding:
    """Whether a classifier's choices follow the gender of the person in a text. flipped: share of changed choices."""
    found = flipped.low is not None and flipped.low > 0
    return Finding(
        sentence=language.say("bias.own", value=share_of(flipped, language)), tone="bad" if found else "doubt"
    )


def mostly_large(measure: Measure, evidence: Numbers) -> bool:
    """Whether most pairs of the slice differ by more than a quarter."""
    share = usable(evidence.measure("bias.share_large", **measure.group))
    return share is not None and (share.value or 0.0) > MOST


def leanings(measures: Sequence[Measure], language: Language) -> list[str]:
    """Which side each slice of a signed gap is on, one sentence a side."""
    said = []
    for side in ("for", "against", "none", "unknown"):
        slices = [where(m.group, language) for m in measures if lean(m) == side]
        if len(slices) == len(measures) > 1:
            said.append(language.say(f"bias.lean.all.{side}"))
        elif slices:
            told = slices if side in ("for", "against") else counted(slices, len(measures), language)
            said.append(language.say(f"bias.lean.{side}", where=language.list(told)))
    return said


def counted(slices: list[str], total: int, language: Language) -> list[str]:
    """The slices where nothing was found: by name, or how many where they are many."""
    return slices if len(slices) <= NAMED else [language.say("bias.counted", count=len(slices), total=total)]


def bias_size_changes(evidence: Numbers) -> list[Change]:
    """Changes of the gap's size on the finest slices: gaps in both directions cancel in the signed mean, not here."""
    changes = [c for c in evidence.changes if c.name == "bias.absolute_gap"]
    fine = finest([c.group for c in changes])
    return [c for c in changes if c.group in fine]


def bias_changes(evidence: Numbers) -> list[Change]:
    """Changes of the gap on the finest slices, and on any wider slice where it became worse."""
    changes = [c for c in evidence.changes if c.name == "bias.gap"]
    fine = finest([c.group for c in changes])
    return [c for c in changes if c.group in fine or c.verdict == "worse"]


def moved(changes: Sequence[Change], language: Language) -> list[str]:
    """One sentence a verdict, the bad news first."""
    said = []
    for word in WORST_FIRST:
        slices = [where(c.group, language) or language.say("all") for c in changes if c.verdict == word]
        if len(slices) == len(changes) > 1:
            said.append(language.say(f"bias.moved.all.{word}"))
        elif slices:
            told = slices if word in ("worse", "better") else counted(slices, len(changes), language)
            said.append(language.say(f"bias.moved.{word}", where=language.list(told)))
    return said
