"""The four key numbers under the banner of the report."""

from limpide.core.measure import Frozen
from limpide.document import leads
from limpide.document.evidence import Evidence
from limpide.document.findings import (
    Tone,
    retention_changes,
    tone_of,
    usable,
    widest,
    worst_verdict,
)
from limpide.document.language import Language
from limpide.document.leanings import bias_changes, bias_size_changes


class Tile(Frozen):
    """One key number: before and after, and what the comparison says."""

    label: str
    value: str
    before: str | None
    word: str
    tone: Tone
    target: str


def tiles(evidence: Evidence, language: Language) -> list[Tile]:
    """Four key results: the job, bias, general language, the served file."""
    return [_job(evidence, language), _bias(evidence, language), _kept(evidence, language), _served(evidence, language)]


def but(evidence: Evidence, language: Language) -> str | None:
    """For a model that may be released: the key figures that got worse all the same, so that no one misses them."""
    worse = [tile.label for tile in tiles(evidence, language) if tile.tone == "bad"]
    for suite in evidence.suite_names():
        if suite not in leads.RELEASE and leads.lead(suite, evidence, language).tone == "bad":
            worse.append(language.name("suite", suite))
    if evidence.verdict != "ship" or not worse:
        return None
    return language.say("verdict.ship.but", what=language.list(worse))


def _tile(language: Language, label: str, target: str, value: str, word: str | None, before: str | None = None) -> Tile:
    said = language.say(f"word.{word}") if word else language.say("word.not compared")
    tone: Tone = tone_of(word) if word else "doubt"
    return Tile(label=language.say(label), value=value, before=before, word=said, tone=tone, target=target)


def _job(evidence: Evidence, language: Language) -> Tile:
    after = usable(evidence.measure("domain.accuracy", slice="held_out"))
    before = usable(evidence.measure("domain.accuracy", "base", slice="held_out"))
    change = evidence.change("domain.accuracy", slice="held_out")
    shown = language.value(after.value, after.unit) if after else language.say("not_measured")
    was = language.say("tile.before", before=language.value(before.value, before.unit)) if before and after else None
    return _tile(language, "tile.job", "job", shown, change.verdict if change else None, was)


def _bias(evidence: Evidence, language: Language) -> Tile:
    changes = bias_changes(evidence)
    if not changes:
        return _tile(language, "tile.bias", "bias", language.say("not_measured"), None)
    both = [*changes, *bias_size_changes(evidence)]  # the preference's direction, and its size
    groups = {tuple(sorted(c.group.items())): False for c in both}
    groups |= {tuple(sorted(c.group.items())): True for c in both if c.verdict == "worse"}
    word = worst_verdict(both)
    value = language.say("tile.bias.value", worse=sum(groups.values()), total=len(groups))
    return _tile(language, "tile.bias", "bias", value, word, language.say("tile.bias.note"))


def _kept(evidence: Evidence, language: Language) -> Tile:
    changes = retention_changes(evidence)
    relative = [(c.after - c.before) / c.before for c in widest(changes) if c.before and c.after is not None]
    if not relative:
        return _tile(language, "tile.kept", "kept", language.say("not_measured"), None)
    largest = max(relative)
    word = worst_verdict(changes)
    return _tile(language, "tile.kept", "kept", language.relative(largest), word, language.say("tile.kept.note"))


def _served(evidence: Evidence, language: Language) -> Tile:
    checks = evidence.parity.checks
    passed = evidence.parity.passed
    if passed is None:
        return _tile(language, "tile.served", "served", language.say("not_measured"), None)
    value = language.say("tile.served.value", passed=sum(c.passed is True for c in checks), total=len(checks))
    note = language.say("tile.served.note")
    return _tile(language, "tile.served", "served", value, "pass" if passed else "fail", note)
