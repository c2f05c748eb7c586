"""A correction in sentences: what came of it, what it cost, and what it does not show.

A correction is a plain record, correction.json, of which every field but `of` and `verdict` may be missing. The
sentence of its verdict is made here alone: records, pages, cards and terminals hold the same one.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from limpide.core.measure import Change
from limpide.document.findings import Tone, where
from limpide.document.language import Language, language

Correction = Mapping[str, Any]
SURE = 0.05  # p at most which a change is more than chance
LEAST_P = 0.001
NAMED = 3  # measures named in the sentence of a verdict; more are counted
COST = ("retention.perplexity", "retention.loss")  # the second is the logarithm of the first
QUIET = 3  # urgency of what held and did not move
COARSE = 0.1  # shares from which no decimal is told
NO_DROP = "no detectable drop"
RISE = re.compile(r"^worsens by less than (\d+(?:\.\d+)?)\s*(%?)$")
TONES: dict[str, Tone] = {"accepted": "good", "refused": "bad", "insufficient evidence": "doubt"}
PROBES = ("linear", "nonlinear")


def verdict_sentence(correction: Correction, code: str) -> str:
    """What came of a correction, in one sentence of the language `code`."""
    spoken = language(code)
    said = clauses(correction, spoken) or [spoken.say("correction.unexplained")]
    return spoken.say(f"correction.verdict.{correction['verdict']}", what=spoken.list(said))


def say(key: str, spoken: Language, /, **values: object) -> str:
    return spoken.say(f"correction.{key}", **values)


def sides(correction: Correction, spoken: Language) -> tuple[str, str]:
    """'Before' and 'After'; of a refused correction, what the weights would have been."""
    return say("before", spoken), say("after.refused" if was_refused(correction) else "after", spoken)


def columns_of(correction: Correction, spoken: Language) -> tuple[str, str]:
    """The same, short enough for the head of a column."""
    return say("before", spoken), say("after.short" if was_refused(correction) else "after", spoken)


def was_refused(correction: Correction) -> bool:
    return correction["verdict"] not in ("accepted", "nothing to correct")


def in_short(correction: Correction, code: str) -> str:
    """For a card: the verdict, then what a reader must not overlook: what got worse without a limit, what still reads
    inside."""
    spoken, accepted = language(code), correction["verdict"] == "accepted"
    said = [verdict_sentence(correction, code), unwatched(correction, spoken) if accepted else None]
    probe = probe_of(correction)
    if accepted and probe and still_read(probe):
        said.append(spoken.say("correction.not.hidden"))
    return " ".join(filter(None, said))


def clauses(correction: Correction, spoken: Language) -> list[str]:
    """The parts of that sentence: of an accepted correction the gain, the price, and the rest; else the reasons."""
    if correction["verdict"] == "accepted":
        return [*filter(None, (gain(correction, spoken), cost(correction, spoken))), *rest(correction, spoken)]
    reasons = [said for reason in correction.get("reasons") or () for said in _reason(reason, correction, spoken)]
    if not reasons and correction["verdict"] == "nothing to correct":
        reasons = [_found(correction, spoken)]
    return counted(list(dict.fromkeys(reasons)), spoken)


def counted(said: list[str], spoken: Language) -> list[str]:
    """The first ones; of the others, how many."""
    more = len(said) - NAMED
    return said if more <= 0 else [*said[:NAMED], spoken.say("correction.more", more)]


# ------------------------------------------------------------------------------------------------- what was aimed at


def axes_of(correction: Correction) -> list[str]:
    """What the two persons differ in, of a bias: of the target, else of the settings."""
    axis = ((correction.get("target") or {}).get("group") or {}).get("axis")
    return str(axis).split("+") if axis else [str(one) for one in (correction.get("settings") or {}).get("axes") or ()]


def aim(correction: Correction, spoken: Language) -> str:
    """'the gender gap', or the name of another measure, as it stands inside a sentence."""
    target = correction.get("target") or {}
    group = {key: value for key, value in (target.get("group") or {}).items() if key != "axis"}
    if correction["of"] != "bias":
        return named(str(target.get("measure", "")), group, spoken)
    axes = axes_of(correction)
    gap = spoken.words.get(f"correction.gap.{axes[0]}") if len(axes) == 1 else None
    inside = [
        *([] if gap else [spoken.name("axis", axis) for axis in axes]),
        *([where(group, spoken)] if group else []),
    ]
    gap = gap or spoken.say("correction.gap.all")
    return f"{gap} ({', '.join(inside)})" if inside else gap


def gain(correction: Correction, spoken: Language) -> str | None:
    """By how much what was to be corrected fell, or from what to what it went; None without numbers."""
    target = correction.get("target") or {}
    share, what = target.get("cut") or {}, aim(correction, spoken)
    fell = share.get("value")
    cut = written_cut(share, spoken)
    if correction["of"] == "bias" and fell is not None:
        return spoken.say("correction.fell" if fell >= 0 else "correction.rose", what=what, cut=cut)
    if target.get("before") is None or target.get("after") is None:
        return None
    ends = dict(zip(("before", "after"), both(target, spoken), strict=True))
    key = "correction.went" if fell is None else "correction.went.cut" if fell >= 0 else "correction.went.raised"
    return spoken.say(key, what=what, cut=cut, **ends)


def both(target: Mapping[str, Any], spoken: Language) -> tuple[str, str]:
    """The values before and after, with the same decimals and the unit once."""
    values, unit = (target["before"], target["after"]), str(target.get("unit", ""))
    return spoken.value(values[0], unit, with_unit=False, beside=values), spoken.value(values[1], unit, beside=values)


def written_cut(share: Mapping[str, Any], spoken: Language) -> str:
    """'46% [38; 53]' of a cut, or of a rise where it is below zero; '' where there is none."""
    value, ends = share.get("value"), [float(share[key]) for key in ("low", "high") if share.get(key) is not None]
    if value is None:
        return ""
    said = spoken.percent(abs(value), 0)
    if len(ends) < 2:
        return said
    low, high = sorted(ends) if value >= 0 else sorted(-end for end in ends)
    return f"{said} [{spoken.list([spoken.number(100 * low, 0), spoken.number(100 * high, 0)])}]"


def named(name: str, group: Mapping[str, str], spoken: Language) -> str:
    """The words for a measure as they stand inside a sentence: without a capital, but for proper names."""
    said = measure_name(name, spoken)
    if said.split(" ")[0][1:].islower():
        said = said[0].lower() + said[1:]
    return f"{said} ({where(dict(group), spoken)})" if group else said


def measure_name(name: str, spoken: Language) -> str:
    return spoken.words.get(f"measure.{name}") or spoken.name("correction.measure", name)


# ------------------------------------------------------------------------------------------------------ what it cost


def watched(correction: Correction) -> list[tuple[Change, Mapping[str, Any]]]:
    """(change, its record) of everything that was watched."""
    return [(Change.model_validate(one["change"]), one) for one in correction.get("watched") or ()]


def cost_change(correction: Correction) -> Change | None:
    """The change of perplexity over all texts, or of its logarithm."""
    found = [change for change, _ in watched(correction) if change.name in COST and not change.group]
    return min(found, key=lambda change: COST.index(change.name), default=None)


def added(change: Change) -> float | None:
    """The share by which perplexity rose."""
    if change.before is None or change.after is None:
        return None
    if change.name == "retention.loss":
        return math.expm1(change.after - change.before)
    return change.after / change.before - 1 if change.before else None


def cost(correction: Correction, spoken: Language) -> str | None:
    """'perplexity +0.6%'; None where it was not watched."""
    change = cost_change(correction)
    rose = added(change) if change else None
    return None if rose is None else spoken.say("correction.cost", relative=spoken.relative(rose))


def rest(correction: Correction, spoken: Language) -> Iterator[str]:
    """What else moved by more than chance, and that nothing did; only what was watched, which has limits."""
    others = [(change, one) for change, one in watched(correction) if change.name not in COST]
    if not others:
        yield spoken.say("correction.rest.none")
        return
    ways = {way: [c for c, one in others if moved(c, one) == way] for way in ("worse", "doubt", "better")}
    for way, changes in ways.items():
        if changes:
            names = counted([named(c.name, c.group, spoken) for c in changes], spoken)
            yield spoken.say(f"correction.rest.{way}", what=spoken.join(names))
    if not any(ways.values()):
        yield spoken.say("correction.rest.still")
    elif sum(map(len, ways.values())) < len(others):
        yield spoken.say("correction.rest.others")


def moved(change: Change, one: Mapping[str, Any]) -> str:
    """worse or better by more than chance explains, counted over all that is watched where that was done; doubt where
    there is too little evidence; '' where it did not."""
    if change.verdict == "insufficient evidence":
        return "doubt"
    p_holm = one.get("p_holm")
    if change.verdict == "no detectable change" or (p_holm is not None and p_holm > SURE):
        return ""
    return change.verdict


def is_loud(change: Change, one: Mapping[str, Any]) -> bool:
    """Whether a person should see it: it broke its limit or moved, or is the price as a whole."""
    return urgency(change, one) < QUIET


def urgency(change: Change, one: Mapping[str, Any]) -> int:
    """What is shown first: a broken limit, the price as a whole, what moved, the rest."""
    if one.get("held") is False:
        return 0
    return 1 if change.name in COST and not change.group else 2 if moved(change, one) else QUIET


def unwatched(correction: Correction, spoken: Language) -> str | None:
    """A sentence on what got worse without having a limit, so that nobody misses it: of what was to be corrected, of
    second benchmarks, of written texts."""
    limited = {change.label for change, _ in watched(correction)}
    measure = (correction.get("target") or {}).get("measure")
    found = [change for change in changes_of(correction) if change.name == measure]
    found += [c for second in correction.get("second") or () for c in changes_in(second["changes"])]
    found += changes_in(correction.get("written") or ())
    worse = [c for c in found if c.verdict == "worse" and c.label not in limited]
    names = list(dict.fromkeys(named(c.name, c.group, spoken) for c in worse))
    return spoken.say("correction.unwatched", what=spoken.join(counted(names, spoken))) if names else None


def changes_of(correction: Correction) -> list[Change]:
    """The changes on the judging part, of one audit or of several."""
    found = correction.get("changes") or ()
    return changes_in([c for one in found.values() for c in one] if isinstance(found, Mapping) else found)


def changes_in(records: Sequence[Mapping[str, Any]]) -> list[Change]:
    return [Change.model_validate(record) for record in records]


# -------------------------------------------------------------------------------------------- why it was not accepted


def _reason(reason: Mapping[str, Any], correction: Correction, spoken: Language) -> Iterator[str]:
    code, what = str(reason.get("code")), reason.get("what") or {}
    if code == "gap not cut":
        yield _not_cut(correction, spoken)
    elif code == "limit broken":
        yield _over_limit(what, correction, spoken)
    elif code == "another measure worse":
        yield _worse(what, spoken)
    elif code == "no bias found":
        yield _found(correction, spoken)
    elif code == "too few templates":
        yield _too_few(what, spoken)
    elif code == "method failed":
        method = what.get("method")
        name = "" if method is None else spoken.name("correction.method", str(method))
        key = "correction.reason.failed" if name else "correction.reason.failed.unknown"
        yield spoken.say(key, method=name)
    else:
        yield code


def _too_few(what: Mapping[str, Any], spoken: Language) -> str:
    if what.get("pairs") is not None:
        counts = {key: spoken.whole(what.get(key) or 0) for key in ("pairs", "templates")}
        return spoken.say("correction.reason.too few.pairs", **counts)
    count = next((what[key] for key in ("clusters", "templates", "received") if what.get(key) is not None), None)
    key = "correction.reason.too few"
    return spoken.say(f"{key}.unknown") if count is None else spoken.say(key, int(count))


def _not_cut(correction: Correction, spoken: Language) -> str:
    target, said = correction.get("target") or {}, gain(correction, spoken)
    if said is None:
        key = "gap not cut" if correction["of"] == "bias" else "not better"
        return spoken.say(f"correction.reason.{key}", what=aim(correction, spoken))
    p_value = target.get("p_value")
    return spoken.say("correction.by_chance", what=said) if p_value is not None and p_value > SURE else said


def _over_limit(what: Mapping[str, Any], correction: Correction, spoken: Language) -> str:
    """By how much it worsened, or may have, where how much was allowed."""
    name, group = str(what.get("name", what.get("measure", ""))), dict(what.get("group") or {})
    subject = named(name, group, spoken)
    change = next((c for c, _ in watched(correction) if c.name == name and c.group == group), None)
    allowed = limit_share(str(what.get("limit", "")))
    if change is None or allowed is None or not change.before or change.difference is None:
        return spoken.say("correction.reason.broken", what=subject)
    worse = -1.0 if change.better == "higher" else 1.0
    by = worse * change.difference / abs(change.before)
    ends = [worse * end / abs(change.before) for end in (change.low, change.high) if end is not None]
    bound = max([by, *ends])
    shares = (("by", by), ("bound", bound), ("limit", allowed))
    words = {key: spoken.percent(share, 0 if share >= COARSE else 1) for key, share in shares}
    key = "perplexity" if name == "retention.perplexity" and not group else "limit"
    if by <= 0:
        return spoken.say("correction.reason.limit.possible", what=subject, **words)
    return spoken.say(f"correction.reason.{key}{'' if by >= allowed else '.bound'}", what=subject, **words)


def _worse(what: Mapping[str, Any], spoken: Language) -> str:
    subject = named(str(what.get("name", what.get("measure", ""))), what.get("group") or {}, spoken)
    if what.get("before") is None or what.get("after") is None:
        return spoken.say("correction.reason.broken", what=subject)
    before, after = both(what, spoken)
    return spoken.say("correction.reason.another", what=subject, before=before, after=after)


def _found(correction: Correction, spoken: Language) -> str:
    """Why there is nothing to correct: the gap is chance, or too small."""
    found, what = correction.get("found") or {}, aim(correction, spoken)
    if found.get("observed") is None or found.get("by_chance") is None or found.get("p_value") is None:
        return spoken.say("correction.found.bare" if correction["of"] == "bias" else "correction.found.none", what=what)
    key = "chance" if found["p_value"] > SURE else "small"
    return spoken.say(f"correction.found.{key}", what=what, **found_words(found, spoken))


def found_words(found: Mapping[str, Any], spoken: Language) -> dict[str, str]:
    """The numbers of the test that there is a bias at all, as words."""
    beside = (found["observed"], found["by_chance"])
    observed, by_chance = (spoken.value(v, "nats", beside=beside) for v in beside)
    counts = {key: spoken.whole(found.get(key) or 0) for key in ("pairs", "templates")}
    return {"observed": observed, "by_chance": by_chance, "p": p_words(found["p_value"], spoken), **counts}


def p_words(p_value: float, spoken: Language) -> str:
    if p_value < LEAST_P:
        return spoken.say("correction.p.small", p=spoken.number(LEAST_P, 3))
    return spoken.say("correction.p", p=spoken.number(p_value, 2 if p_value >= 0.1 else 3))


def limit_share(limit: str) -> float | None:
    """The share of what it was by which a quantity may worsen: 'worsens by less than 2%', or '… than 0.02'."""
    found = RISE.match(limit.strip())
    return float(found[1]) / (100 if found[2] else 1) if found else None


def limit_words(limit: str, spoken: Language) -> str:
    if limit == NO_DROP:
        return spoken.say("correction.limit.none")
    share = limit_share(limit)
    return limit if share is None else spoken.say("correction.limit.rise", limit=spoken.percent(share))


# ------------------------------------------------------------------------------------------------ what it does not show


def not_shown(correction: Correction, spoken: Language) -> list[str]:
    """What the record says that it does not show, then what follows from what it lacks; each once."""
    codes = dict.fromkeys([*map(str, correction.get("does_not_show") or ()), *_lacking(correction)])
    return [_not_shown(code, correction, spoken) for code in codes]


def _not_shown(code: str, correction: Correction, spoken: Language) -> str:
    if code == "hidden":  # whether it is so, only a probe can tell
        probe = probe_of(correction)
        code = "not probed" if probe is None else code if still_read(probe) else "not read"
    return spoken.words.get(f"correction.not.{code}", code)


def _lacking(correction: Correction) -> Iterator[str]:
    if correction["verdict"] == "nothing to correct":
        yield "absent"
    if correction["of"] == "bias":
        yield from ("few templates", "fair")
        if correction["verdict"] in ("accepted", "refused"):
            yield "hidden"
            yield from ("no second",) if not correction.get("second") else ()
            yield from ("not written",) if not correction.get("written") else ()
    if correction["verdict"] == "accepted":
        yield from ("not served",) if not correction.get("served") else ()
        yield from ("unwatched", "one seed", "later")


def probe_of(correction: Correction) -> dict[str, Any] | None:
    """{linear, nonlinear: {before, after: {value, low, high, n}}, chance, layer}; None where nothing could be read.

    A record of one probe a side, {before, after: {linear, …}}, is turned round; its layer is told where both are alike.
    """
    found = correction.get("probe") or {}
    if "before" in found:
        first, then = found["before"] or {}, found.get("after") or {}
        layer = then.get("layer") if first.get("layer") == then.get("layer") else None
        sides = {kind: {"before": first.get(kind), "after": then.get(kind)} for kind in PROBES}
        found = {**sides, "chance": then.get("chance"), "layer": layer}
    ends = [((found.get(kind) or {}).get("after") or {}).get("value") for kind in PROBES]
    return None if all(value is None for value in ends) else {**found, "chance": found.get("chance") or 0.5}


def still_read(probe: Mapping[str, Any]) -> bool:
    """Whether some probe still reads the group: its whole interval is above chance."""
    ends = [((probe.get(kind) or {}).get("after") or {}).get("low") for kind in PROBES]
    return any(low is not None and low > probe["chance"] for low in ends)
