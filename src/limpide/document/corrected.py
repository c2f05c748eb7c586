"""A correction as parts of a page: a title and blocks in order, as of an explanation. A part stands only where the
record has what it shows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limpide.core.measure import Change
from limpide.document import correction_pictures as drawn
from limpide.document.correction import (
    COST,
    Correction,
    aim,
    axes_of,
    both,
    changes_in,
    changes_of,
    clauses,
    columns_of,
    found_words,
    is_loud,
    limit_share,
    limit_words,
    measure_name,
    not_shown,
    p_words,
    probe_of,
    say,
    sides,
    still_read,
    urgency,
    watched,
    written_cut,
)
from limpide.document.correction_items import edits, pairs
from limpide.document.explained import Block, Fold, Part, Table
from limpide.document.findings import Tone, where, widest
from limpide.document.inside_corrected import sits
from limpide.document.language import Language
from limpide.document.tables import Compared, change_word, difference_and_range, relative_difference

LONG = 12  # rows of what was watched, beyond which those that held and did not move are behind a fold


@dataclass(frozen=True)
class Measures:
    """Changes in the table that all pages share."""

    caption: str
    columns: tuple[str, str]
    rows: tuple[Compared, ...]


@dataclass(frozen=True)
class Limited:
    """One quantity that was watched. test: its p, where several were judged together."""

    what: str
    label: str
    cells: tuple[str, str]
    difference: str
    difference_range: str
    test: str
    limit: str
    word: str
    tone: Tone


@dataclass(frozen=True)
class Limits:
    caption: str
    columns: tuple[str, str]
    rows: tuple[Limited, ...]


def parts(correction: Correction, spoken: Language) -> list[Part]:
    """The parts that the correction has, in the order in which they are read."""
    makers = {
        "groups": groups,
        "watched": costs,
        "trials": trials,
        "sits": sits,
        "edits": edits,
        "pairs": pairs,
        "readable": readable,
        "elsewhere": elsewhere,
        "served": served,
        "limits": limits,
    }
    made = [(name, tuple(make(correction, spoken))) for name, make in makers.items()]
    titles = {"groups": "groups" if correction["of"] == "bias" else "groups.other"}
    return [Part(name, say(f"section.{titles.get(name, name)}", spoken), blocks) for name, blocks in made if blocks]


def _kind(correction: Correction) -> str:
    return str(correction["of"]) if correction["of"] in ("bias", "fact") else "other"


def table(changes: Sequence[Change], caption: str, columns: tuple[str, str], spoken: Language) -> Block:
    return Block("measures", Measures(caption, columns, tuple(_compared(c, spoken) for c in changes)))


def _compared(change: Change, spoken: Language) -> Compared:
    verdict, tone = change_word(change, spoken)
    difference, interval = difference_and_range(change, spoken)
    return Compared(
        what=_what(change, spoken),
        label=change.label,
        cells=_cells(change, spoken),
        ranges=("", ""),
        n=spoken.whole(change.n),
        difference=difference,
        difference_range=interval,
        verdict=verdict,
        tone=tone,
    )


def _what(change: Change, spoken: Language) -> str:
    said = measure_name(change.name, spoken)
    return spoken.say("measure_of", what=said, where=where(change.group, spoken)) if change.group else said


def _cells(change: Change, spoken: Language) -> tuple[str, str]:
    beside = [v for v in (change.before, change.after) if v is not None]
    before, after = (
        "–" if v is None else spoken.value(v, change.unit, beside=beside) for v in (change.before, change.after)
    )
    return before, after


# --------------------------------------------------------------------------------------------------------- by group


def groups(correction: Correction, spoken: Language) -> Iterator[Block]:
    """What was to be corrected in each group, drawn; then the groups that were left alone, and every number."""
    target, changes = correction.get("target") or {}, changes_of(correction)
    own = [c for c in changes if c.name == target.get("measure") and c.before is not None and c.after is not None]
    axes = axes_of(correction)
    aimed = once([c for c in own if not axes or c.group.get("axis") in axes])
    others = widest([c for c in own if axes and c.group.get("axis") not in axes])
    columns, bias = sides(correction, spoken), correction["of"] == "bias"
    if not aimed and not others and target.get("before") is None:
        return
    yield Block("lead", say("groups.lead" if bias else f"groups.lead.{_kind(correction)}", spoken))
    first = drawn.moved(aimed, columns, spoken) or drawn.alone(target, aim(correction, spoken), columns, spoken)
    if first:
        yield Block("picture", first)
    found = correction.get("found") or {}
    if bias and found.get("p_value") is not None and correction["verdict"] != "nothing to correct":
        yield Block("note", say("found.sure", spoken, what=aim(correction, spoken), **found_words(found, spoken)))
    second = drawn.moved(others, columns, spoken)
    if second:
        yield Block("heading", say("groups.others", spoken))
        yield Block("picture", second)
    if changes:
        title = say("groups.table" if bias else "groups.table.other", spoken)
        yield Block("fold", Fold(title, (table(changes, title, columns_of(correction, spoken), spoken),)))


def once(changes: Sequence[Change]) -> list[Change]:
    """Without slices that are all there is of a wider one, as the only language asked in."""

    def told(change: Change) -> bool:
        same = (o for o in changes if (o.n, o.before, o.after) == (change.n, change.before, change.after))
        return any(other.group.items() < change.group.items() for other in same)

    return [change for change in changes if not told(change)]


# ------------------------------------------------------------------------------------------------------ what it cost


def costs(correction: Correction, spoken: Language) -> Iterator[Block]:
    """Everything that was watched, with its limit: what is broken first, then what moved."""
    if correction["verdict"] == "nothing to correct":
        return
    found = watched(correction)
    if not found:
        yield Block("lead", say("watched.none", spoken))
        return
    yield Block("lead", say("watched.lead", spoken))
    ordered = sorted(found, key=lambda pair: urgency(*pair))
    loud = [pair for pair in ordered if is_loud(*pair)]
    shown = ordered if len(ordered) <= LONG else loud
    caption, columns = say("watched.table", spoken), columns_of(correction, spoken)

    def block(pairs: Sequence[tuple[Change, Mapping[str, Any]]]) -> Block:
        return Block("limits", Limits(caption, columns, tuple(_limited(*pair, spoken) for pair in pairs)))

    if shown:
        yield block(shown)
    rest = ordered[len(shown) :]
    if rest:
        yield Block("fold", Fold(spoken.say("correction.watched.more", len(rest)), (block(rest),)))


def _limited(change: Change, one: Mapping[str, Any], spoken: Language) -> Limited:
    difference, interval = _relative(change, one, spoken) or difference_and_range(change, spoken)
    held, p_holm = one.get("held"), one.get("p_holm")
    words: dict[bool | None, tuple[str, Tone]] = {True: ("held", "good"), False: ("broken", "bad")}
    word, tone = words.get(held, ("undecided", "doubt"))
    return Limited(
        what=_what(change, spoken),
        label=change.label,
        cells=_cells(change, spoken),
        difference=difference,
        difference_range=interval,
        test="" if p_holm is None else p_words(p_holm, spoken),
        limit=limit_words(str(one.get("limit", "")), spoken),
        word=say(word, spoken),
        tone=tone,
    )


def _relative(change: Change, one: Mapping[str, Any], spoken: Language) -> tuple[str, str] | None:
    """The difference and its interval as shares of what was before, as the limit is; None where it is not."""
    ends = (change.difference, change.low, change.high)
    if limit_share(str(one.get("limit", ""))) is None or not change.before or None in ends:
        return None
    value, low, high = ((end or 0.0) / abs(change.before) for end in ends)
    between = spoken.say("range", low=spoken.relative(low), high=spoken.relative(high))
    return relative_difference(change, value, spoken), between


# ---------------------------------------------------------------------------------------------------- what was tried


def trials(correction: Correction, spoken: Language) -> Iterator[Block]:
    """Gap against perplexity of every trial, then a table of them, and the methods that could not be tried."""
    found = correction.get("trials") or ()
    run = [trial for trial in found if not trial.get("error")]
    if run:
        yield Block("lead", " ".join(_tried(correction, run, spoken)))
        target = correction.get("target") or {}
        picture = drawn.trials(run, target, allowed(correction), spoken)
        if picture:
            yield Block("picture", picture)
        goal = "gap" if correction["of"] == "bias" else "aimed"
        columns = ("trial", "method", "strength", goal, "perplexity", "limits", "outcome", "seconds")
        unit = str(target.get("unit", "nats"))
        rows = tuple(_trial(k, trial, unit, spoken) for k, trial in enumerate(run, 1))
        named = tuple(say(f"column.{c}", spoken) for c in columns)
        body = Block("table", Table(say("trials.table", spoken), named, rows, numbers=2))
        yield body if len(rows) <= LONG else Block("fold", Fold(say("trials.table", spoken), (body,)))
    failed = [trial for trial in found if trial.get("error")]
    if failed:
        yield Block("heading", say("trials.failed", spoken))
        lines = [f"{method(t.get('method'), spoken)}{spoken.say('colon')} {_first(t['error'])}" for t in failed]
        yield Block("list", lines)


def _tried(correction: Correction, run: Sequence[Mapping[str, Any]], spoken: Language) -> Iterator[str]:
    """How many trials, on what, which one was judged, and what became of those that were judged first."""
    kind = _kind(correction)
    yield spoken.say(f"correction.trials.lead.{kind}", len(run))
    turns = sum(bool(trial.get("judged")) for trial in run)
    if turns:
        within = any(trial.get("within_limits") for trial in run)
        yield say("trials.best" if within else "trials.none_within", spoken)
        yield say(f"trials.unseen.{kind}", spoken)
    for earlier in correction.get("refused_before") or ():
        why = clauses({**correction, "reasons": (), **earlier, "verdict": "refused"}, spoken)
        if why:
            name = method(earlier.get("method"), spoken)
            yield say("trials.earlier", spoken, method=name, what=spoken.list(why))
    if turns > 1:
        yield spoken.say("correction.trials.judged", turns)


def allowed(correction: Correction) -> float | None:
    """The share by which perplexity could rise at most."""
    limits = (limit_share(str(one.get("limit", ""))) for c, one in watched(correction) if c.name == COST[0])
    return next((limit for limit in limits if limit is not None), None)


def _first(error: str) -> str:
    """What happened, without what was received and what to do."""
    return str(error).strip().partition("\n")[0]


def method(name: object, spoken: Language) -> str:
    return spoken.name("correction.method", str(name))


def _trial(number: int, trial: Mapping[str, Any], unit: str, spoken: Language) -> tuple[str, ...]:
    ratio, gap, seconds = (trial.get(key) for key in ("perplexity_ratio", "gap", "seconds"))
    outcome = [say(f"trial.{key}", spoken) for key in ("chosen", "judged") if trial.get(key)]
    return (
        spoken.whole(number),
        method(trial.get("method"), spoken),
        "–" if trial.get("strength") is None else spoken.significant(trial["strength"]),
        "–" if gap is None else spoken.value(gap, unit, with_unit=False),
        "–" if ratio is None else spoken.relative(ratio - 1),
        say("trial.within" if trial.get("within_limits") else "trial.outside", spoken),
        ", ".join(outcome) or "–",
        "–" if seconds is None else spoken.duration(seconds),
    )


# ------------------------------------------------------------------------------------------- inside, elsewhere, served


def readable(correction: Correction, spoken: Language) -> Iterator[Block]:
    """How well probes read the group before and after, and that hidden is not removed."""
    probe = probe_of(correction)
    picture = drawn.probes(probe, sides(correction, spoken), spoken) if probe else None
    if not probe or not picture:
        return
    said = [say("readable.lead", spoken, chance=spoken.percent(probe["chance"]))]
    if probe.get("layer") is not None:
        said.append(say("readable.layer", spoken, layer=int(probe["layer"]) + 1))
    yield Block("lead", " ".join(said))
    yield Block("picture", picture)
    yield Block("lead", say("readable.hidden" if still_read(probe) else "readable.unread", spoken))


def elsewhere(correction: Correction, spoken: Language) -> Iterator[Block]:
    """Second benchmarks and generated text: printed whatever they say, and never chosen by."""
    second = [(s["dialect"], changes_in(s["changes"])) for s in correction.get("second") or () if s.get("changes")]
    written = changes_in(correction.get("written") or ())
    suites = [c for changes in (correction.get("suites") or {}).values() for c in changes_in(changes)]
    if not second and not written and not suites:
        return
    yield Block("lead", say("elsewhere.lead", spoken))
    columns = columns_of(correction, spoken)
    named = [(say("elsewhere.second", spoken, name=name), changes) for name, changes in second]
    for title, changes in [*named, *([(say("elsewhere.written", spoken), written)] if written else [])]:
        yield table(changes, title, columns, spoken)
    if suites:
        title = say("elsewhere.every", spoken)
        yield Block("fold", Fold(title, (table(suites, title, columns, spoken),)))


def served(correction: Correction, spoken: Language) -> Iterator[Block]:
    """The target measured on the exported file."""
    found = correction.get("served")
    if not found or found.get("before") is None or found.get("after") is None:
        return
    unit = str((correction.get("target") or {}).get("unit", "nats"))
    words = dict(zip(("before", "after"), both({**found, "unit": unit}, spoken), strict=True))
    cut = written_cut(found.get("cut") or {}, spoken)
    key = "served.cut" if cut and (found["cut"]["value"] or 0.0) >= 0 else "served.lead"
    yield Block("lead", say(key, spoken, format=str(found.get("format", spoken.say("unknown"))), cut=cut, **words))


def limits(correction: Correction, spoken: Language) -> Iterator[Block]:
    said = not_shown(correction, spoken)
    if said:
        yield Block("list", said)
