"""The page of a correction, and corrections as a section of a report.

One HTML file, without a script, that asks for nothing. What it shows is correction.json alone, and all of it is treated
as somebody else's text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limpide.document.corrected import method, parts
from limpide.document.correction import (
    COST,
    PROBES,
    TONES,
    Correction,
    added,
    axes_of,
    both,
    clauses,
    cost_change,
    limit_words,
    measure_name,
    moved,
    p_words,
    probe_of,
    still_read,
    unwatched,
    watched,
    written_cut,
)
from limpide.document.explained import Part
from limpide.document.findings import Tone
from limpide.document.language import Language, language
from limpide.document.pages import environment
from limpide.document.tiles import Tile

OPEN = ("groups", "watched")  # parts that a report shows without being asked
# A word that the parts use, and what it means; 'nats' and 'gap' are of a bias alone.
TERMS = ("gap", "template", "interval", "p_value", "holm", "perplexity", "layer", "probe")
OF_BIAS = ("gap", "template", "layer", "probe")


@dataclass(frozen=True)
class Whole:
    """All that is shown of one correction. said: its verdict without the word. but: what got worse without a limit."""

    title: str
    banner: str
    said: str
    but: str | None
    word: str
    tone: Tone
    parts: tuple[Part, ...]
    how: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    explained: str | None
    command: str | None

    @property
    def first(self) -> tuple[Part, ...]:
        """The parts that a report shows at once."""
        return tuple(part for part in self.parts if part.id in OPEN)

    @property
    def others(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.id not in OPEN)


@dataclass(frozen=True)
class Section:
    """Corrections as a section of a report."""

    id: str
    title: str
    lead: str
    items: tuple[Whole, ...]


def page(correction: Correction, code: str) -> str:
    """The page of one correction in the language `code`. The same record gives the same bytes."""
    spoken = language(code)
    made = whole(correction, spoken)
    after = [(name, spoken.say(f"correction.section.{name}")) for name in ("how", "rerun", "glossary")]
    model = correction.get("model") or {}
    return environment().get_template("correction.html.jinja").render(
        l=spoken,
        kind="correction.title",
        heading=made.title,
        meta=str(model.get("title") or spoken.say("unknown")),
        others=(),
        date=None,
        tiles=tiles(correction, spoken),
        one=made,
        contents=[*((part.id, part.title) for part in made.parts), *after],
        glossary=glossary(correction, spoken),
    )  # fmt: skip


def section(corrections: Sequence[Correction], spoken: Language) -> Section | None:
    """'What was corrected', for a report; None without corrections."""
    if not corrections:
        return None
    lead = [spoken.say("correction.report.lead", len(corrections))]
    unchanged = sum(one["verdict"] != "accepted" for one in corrections)
    if unchanged and len(corrections) > 1:
        lead.append(spoken.say("correction.report.refused", unchanged))
    items = tuple(whole(one, spoken) for one in corrections)
    return Section("corrected", spoken.say("correction.section.report"), " ".join(lead), items)


def whole(correction: Correction, spoken: Language) -> Whole:
    verdict = str(correction["verdict"])
    said = spoken.list(clauses(correction, spoken)) or spoken.say("correction.unexplained")
    means = f"correction.method.{correction.get('method')}.means"
    return Whole(
        title=title(correction, spoken),
        banner=spoken.say(f"correction.banner.{verdict}"),
        said=f"{said[0].upper()}{said[1:]}.",
        but=unwatched(correction, spoken) if verdict == "accepted" else None,
        word=spoken.say(f"correction.word.{verdict}"),
        tone=TONES.get(verdict, "plain"),
        parts=tuple(parts(correction, spoken)),
        how=tuple(how(correction, spoken)),
        explained=spoken.words.get(means),
        command=correction.get("rerun"),
    )


def title(correction: Correction, spoken: Language) -> str:
    """'Bias corrected: gender', or, where nothing came of it, 'Bias, a correction tried: gender'."""
    key = "correction.heading" if correction["verdict"] == "accepted" else "correction.heading.tried"
    if correction["of"] == "bias":
        axes = spoken.join(spoken.name("axis", axis) for axis in axes_of(correction))
        return spoken.say(f"{key}.bias", axes=axes or spoken.say("correction.groups.all"))
    return spoken.words.get(f"{key}.{correction['of']}") or spoken.say(f"{key}.other", of=str(correction["of"]))


# ----------------------------------------------------------------------------------------------- the head of the page


def tiles(correction: Correction, spoken: Language) -> list[Tile]:
    """What was aimed at, what it cost, how many limits held, and what can still be read."""
    makers = (_target, _cost, _limits, _probe)
    return [tile for make in makers if (tile := make(correction, spoken)) is not None]


def _target(correction: Correction, spoken: Language) -> Tile | None:
    target = correction.get("target") or {}
    if target.get("before") is None or target.get("after") is None:
        return None
    before, after = both({**target, "unit": target.get("unit") if target.get("unit") == "share" else ""}, spoken)
    share = target.get("cut") or {}
    fell, cut = share.get("value"), written_cut(share, spoken)
    gap = spoken.say("correction.tile.gap", unit=spoken.unit(str(target.get("unit", ""))))
    tone = TONES.get(str(correction["verdict"]), "plain")
    return Tile(
        label=gap if correction["of"] == "bias" else measure_name(str(target.get("measure", "")), spoken),
        value=spoken.say("correction.tile.moved", before=before, after=after),
        before=None if fell is None else spoken.say(f"correction.tile.{'cut' if fell >= 0 else 'risen'}", cut=cut),
        word=spoken.say(f"correction.word.{correction['verdict']}"),
        tone=tone,
        target="groups",
    )


def _cost(correction: Correction, spoken: Language) -> Tile | None:
    change = cost_change(correction)
    rose = added(change) if change else None
    if change is None or rose is None:
        return None
    own = next(one for found, one in watched(correction) if found is change or found == change)
    held = own.get("held")
    limit = limit_words(str(own.get("limit") or ""), spoken)
    tone: Tone = "good" if held else "bad" if held is False else "doubt"
    return Tile(
        label=spoken.say("correction.tile.cost"),
        value=spoken.relative(rose),
        before=spoken.say("correction.tile.allowed", limit=limit) if limit else spoken.say("correction.tile.unlimited"),
        word=spoken.say(f"correction.{'held' if held else 'broken' if held is False else 'undecided'}"),
        tone=tone,
        target="watched",
    )


def _limits(correction: Correction, spoken: Language) -> Tile | None:
    found = watched(correction)
    if not found:
        return None
    held = sum(bool(one.get("held")) for _, one in found)
    count = sum(moved(change, one) in ("worse", "better") for change, one in found if change.name not in COST)
    broken = any(one.get("held") is False for _, one in found)
    said = spoken.say("correction.tile.moved", count) if count else spoken.say("correction.tile.moved.none")
    return Tile(
        label=spoken.say("correction.tile.watched"),
        value=spoken.say("correction.tile.of", held=held, total=len(found)),
        before=said,
        word=spoken.say("correction.broken" if broken else "correction.held"),
        tone="bad" if broken else "good",
        target="watched",
    )


def _probe(correction: Correction, spoken: Language) -> Tile | None:
    probe = probe_of(correction)
    if probe is None:
        return None
    ends = [((probe.get(kind) or {}).get("after") or {}).get("value") for kind in PROBES]
    read = still_read(probe)
    return Tile(
        label=spoken.say("correction.tile.probe"),
        value=spoken.percent(max(value for value in ends if value is not None), 0),
        before=spoken.say("correction.tile.chance", chance=spoken.percent(probe["chance"])),
        word=spoken.say("correction.tile.hidden" if read else "correction.tile.near_chance"),
        tone="doubt" if read else "plain",
        target="readable",
    )


# ------------------------------------------------------------------------------------------------------ how it was done


def how(correction: Correction, spoken: Language) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """(heading, facts) of the run, its settings and versions."""
    target, model = correction.get("target") or {}, correction.get("model") or {}
    other = "" if correction["of"] == "bias" else ".other"
    strength, seconds, seed = (correction.get(key) for key in ("strength", "seconds", "seed"))
    facts = {
        "method": method(correction["method"], spoken) if correction.get("method") else None,
        "strength": None if strength is None else spoken.significant(float(strength)),
        f"items{other}": _count(target.get("n"), spoken),
        f"clusters{other}": _count(target.get("clusters"), spoken),
        "p_value": None if target.get("p_value") is None else p_words(target["p_value"], spoken),
        "model": model.get("title"),
        "family": model.get("family"),
        "kind": model.get("kind"),
        "digest": model.get("digest"),
        "seed": None if seed is None else str(seed),
        "seconds": None if seconds is None else spoken.duration(float(seconds)),
    }
    run = [(spoken.say(f"correction.fact.{key}"), str(value)) for key, value in facts.items() if value is not None]
    given = [(key, value) for key, value in _flat(correction.get("settings") or {}) if value is not None]
    settings = [(key, _setting(value, spoken)) for key, value in given]
    versions = [(str(name), str(version)) for name, version in (correction.get("versions") or {}).items()]
    made = (("run", run), ("settings", settings), ("versions", versions))
    return [(spoken.say(f"correction.how.{name}"), tuple(rows)) for name, rows in made if rows]


def _count(value: Any, spoken: Language) -> str | None:
    return None if value is None else spoken.whole(value)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Settings of settings by names with points, as options are written."""
    found: list[tuple[str, Any]] = []
    for name, value in settings.items():
        key = f"{prefix}{name}"
        found += _flat(value, f"{key}.") if isinstance(value, Mapping) else [(key, value)]
    return found


def _setting(value: Any, spoken: Language) -> str:
    if isinstance(value, bool):
        return spoken.say("explain.yes" if value else "explain.no")
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else spoken.plain(value)


def glossary(correction: Correction, spoken: Language) -> list[tuple[str, str]]:
    names = [term for term in TERMS if correction["of"] == "bias" or term not in OF_BIAS]
    found = [(spoken.say(f"correction.term.{t}"), spoken.say(f"correction.term.{t}.means")) for t in names]
    if correction["of"] == "bias":
        found += [(spoken.say(f"explain.term.{t}"), spoken.say(f"explain.term.{t}.means")) for t in ("head", "mlp")]
    return found
