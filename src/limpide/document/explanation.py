"""The page of an explanation, of several, or of two compared; and the same as a section of a report.

One HTML file, without a script, that asks for nothing. What it shows is explanation.json alone, and all of it is
treated as somebody else's text.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from limpide.document import curves, notes
from limpide.document.again import command
from limpide.document.curves import Line
from limpide.document.explained import NARROW, WIDE, Block, Part, Table, parts
from limpide.document.findings import Tone
from limpide.document.glossary import glossary
from limpide.document.language import Language, language
from limpide.document.pages import environment
from limpide.document.telling import asked, changes, findings, not_said, verdicts
from limpide.document.tiles import Tile
from limpide.document.weighed import (
    Explanation,
    best_place,
    clip,
    moved_words,
    quote,
    signed,
    strongest,
    unsettled,
    weights,
    written,
)

TITLE = 90  # characters of an explanation that is closed
MOVED = 12  # words in the table of what changed
# What a method says of itself, in the order in which it is shown; numbers are written as they are.
KNOWN = (
    "method", "of", "unit", "steps", "total", "gap", "converged", "baseline", "lens", "stack", "exact", "clean",
    "corrupted", "difference", "after_cap", "sum", "residual", "checkpoints", "examples", "normalised", "n",
    "random_orders", "p_value",
)  # fmt: skip
ROUNDING = 1e-4  # of what is left over, or of a check: below it there is nothing but rounding
CHECKED = ("residual", "check.everything", "check.nothing")
BASELINES = {  # how the record ends what it says of its baseline, and the sentence that says it
    " in place of each token that a person wrote": "explain.baseline.each",
    " in place of what is occluded": "explain.baseline.occluded",
}
TONES: dict[str, Tone] = {"better than chance": "good", "no better than chance": "bad"}


@dataclass(frozen=True)
class Whole:
    """One explanation. warned: the first sentence says that it does no better than chance. word: of its test."""

    id: str
    title: str
    name: str
    role: str
    story: tuple[str, ...]
    warned: bool
    word: str
    tone: Tone
    parts: tuple[Part, ...]
    limits: tuple[str, ...]
    not_run: tuple[tuple[str, notes.Said], ...]
    warnings: tuple[notes.Said, ...]
    how: tuple[tuple[str, list[tuple[str, str]]], ...]
    command: str
    conversation: bool
    compared: bool = False


@dataclass(frozen=True)
class Compared:
    """Two explanations of one question, what changed first."""

    id: str
    title: str
    word: str
    tone: Tone
    changes: tuple[str, ...]
    blocks: tuple[Block, ...]
    sides: tuple[Whole, ...]
    command: str
    conversation: bool
    compared: bool = True


@dataclass(frozen=True)
class Section:
    """Explanations as a section of a report."""

    id: str
    title: str
    lead: str
    items: tuple[Whole | Compared, ...]


def page(explanations: Sequence[Explanation], code: str) -> str:
    """The page in the language `code`. explanations: one or several, or comparisons of two."""
    spoken = language(code)
    single = len(explanations) == 1
    made: list[Whole | Compared] = [whole(e, spoken, f"e{k}", limit=WIDE) for k, e in enumerate(explanations, 1)]
    one = made[0] if single and isinstance(made[0], Whole) else None
    first = explanations[0] if explanations else {}
    if one:
        one = replace(one, story=one.story[1:], warned=False)  # the banner has told it
    if single and isinstance(made[0], Compared):
        made[0] = replace(made[0], changes=made[0].changes[len(verdicts(first, spoken)) :])
    return environment().get_template("explanation.html.jinja").render(
        l=spoken,
        kind="explain.title",
        heading=heading(explanations, spoken),
        meta=model_line(first, spoken) if explanations else "",
        others=(),
        date=None,
        tiles=tiles(first, spoken) if one else [],
        banner=banner(first, spoken) if single else None,
        contents=contents(made, one, spoken),
        glossary=glossary(explanations, spoken),
        one=one,
        several=made,
        wide=any(item.compared for item in made),
    )  # fmt: skip


def section(explanations: Sequence[Explanation], spoken: Language) -> Section | None:
    """'Why the model answers so', for a report; None without explanations."""
    if not explanations:
        return None
    items = tuple(whole(e, spoken, f"e{k}", limit=NARROW) for k, e in enumerate(explanations, 1))
    chance = sum(item.tone == "bad" for item in items)
    lead = spoken.say("explain.section.understand.lead", len(items))
    if chance:
        lead = f"{lead} {spoken.say('explain.section.understand.chance', chance)}"
    return Section("understand", spoken.say("explain.section.understand"), lead, items)


def heading(explanations: Sequence[Explanation], spoken: Language) -> str:
    if len(explanations) != 1:
        return spoken.say("explain.section.understand")
    return title(explanations[0], spoken)


def title(explanation: Explanation, spoken: Language) -> str:
    """'Why “she” rather than “he”?'"""
    if explanation.get("kind") == "comparison":
        return title(explanation["after"], spoken)
    question = explanation["question"]
    texts = {key: clip(question.get(key) or "", 60) for key in ("answer", "against")}
    return spoken.say("explain.why.against" if question.get("against") else "explain.why", **texts)


def model_line(explanation: Explanation, spoken: Language) -> str:
    if explanation.get("kind") == "comparison":
        ends = {side: str(explanation[side]["model"]["title"]) for side in ("before", "after")}
        return spoken.say("explain.compared", **ends)
    return str(explanation["model"]["title"])


def contents(made: Sequence[Whole | Compared], one: Whole | None, spoken: Language) -> list[tuple[str, str]]:
    """(anchor, title) of each section."""
    if one is None:
        return [*((item.id, item.title) for item in made), ("glossary", spoken.say("explain.section.glossary"))]
    after = [(name, spoken.say(f"explain.section.{name}")) for name in ("limits", "how", "rerun", "glossary")]
    return [("story", spoken.say("explain.section.story")), *((p.id, p.title) for p in one.parts), *after]


# ------------------------------------------------------------------------------------------------- one explanation


def whole(explanation: Explanation, spoken: Language, id: str, *, limit: int, role: str = "") -> "Whole | Compared":
    """All that is shown of an explanation, or of a comparison of two. limit: columns of a grid."""
    if explanation.get("kind") == "comparison":
        return compared(explanation, spoken, id)
    verdict = str((explanation.get("methods", {}).get("faithfulness") or {}).get("verdict") or "")
    question = explanation["question"]
    prompt = spoken.say("explain.item", why=title(explanation, spoken), prompt=clip(question["prompt"], TITLE))
    return Whole(
        id=id,
        title=prompt,
        name=spoken.say(f"explain.side.{role}", title=explanation["model"]["title"]) if role else "",
        role=role,
        story=tuple(" ".join(sentences) for sentences in findings(explanation, spoken.code)),
        warned=verdict == "no better than chance",
        word=spoken.say(f"explain.verdict.{verdict}") if spoken.has(f"explain.verdict.{verdict}") else "",
        tone=TONES.get(verdict, "doubt"),
        parts=tuple(parts(explanation, spoken, limit)),
        limits=tuple(not_said(explanation, spoken.code)),
        not_run=tuple(
            (spoken.name("explain.method", name), notes.in_words(str(why), spoken))
            for name, why in explanation.get("not_run", {}).items()
        ),
        warnings=tuple(_warning(w, spoken) for w in explanation.get("warnings", ())),
        how=tuple(how(explanation, spoken)),
        command=command(explanation),
        conversation=bool({t["part"] for t in question["tokens"]} & {"system", "assistant"}),
    )


def _warning(said: str | Mapping[str, str], spoken: Language) -> notes.Said:
    """One of a record that holds it in each language, or an English sentence of an older one."""
    return notes.in_words(said, spoken) if isinstance(said, str) else (spoken.text(dict(said)) or "", None)


def how(explanation: Explanation, spoken: Language) -> Iterable[tuple[str, list[tuple[str, str]]]]:
    """(heading, facts) of the model, then of each method: steps, gap, baseline, checks, versions."""
    model = explanation["model"]
    rows = [
        (spoken.name("explain.fact", key), _written(key, value, spoken))
        for key, value in model.items()
        if value is not None
    ]
    seed = explanation.get("seed")
    rows += [(spoken.say("environment.seed"), spoken.say("unknown") if seed is None else str(seed))]
    rows += [(str(name), str(found)) for name, found in (explanation.get("versions") or {}).items()]
    yield spoken.say("explain.how.model"), rows
    for name, record in explanation.get("methods", {}).items():
        facts = [(key, record[key]) for key in KNOWN if record.get(key) is not None and _is_plain(record[key])]
        facts += [(f"check.{key}", value) for key, value in (record.get("checks") or {}).items() if _is_plain(value)]
        facts += [(f"screen.{key}", value) for key, value in (record.get("screen") or {}).items() if _is_plain(value)]
        written = [(spoken.name("explain.fact", key), _written(key, value, spoken)) for key, value in facts]
        if written:
            yield spoken.name("explain.method", name), written
    yield spoken.say("explain.how.counting"), [(spoken.say("explain.how.numbers"), spoken.say("explain.how.from_one"))]


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)


def _written(key: str, value: Any, spoken: Language) -> str:
    if isinstance(value, bool):
        return spoken.say("explain.yes" if value else "explain.no")
    if key in CHECKED and isinstance(value, float) and 0 < abs(value) < ROUNDING:
        return spoken.say("explain.rounding")
    if key == "baseline":
        return _baseline(value, spoken)
    known = isinstance(value, str) and key not in ("title", "family", "digest")
    return spoken.name("explain.value", value) if known else spoken.plain(value)


def _baseline(said: str, spoken: Language) -> str:
    """What stands in place of the words, in the words of the page where the record's are known."""
    for end, key in BASELINES.items():
        if said.endswith(end):
            return spoken.say(key, token=quote(said.removesuffix(end), spoken))
    return spoken.name("explain.baseline", said)


# ------------------------------------------------------------------------------------------------- the head of a page


def banner(explanation: Explanation, spoken: Language) -> tuple[str, Tone, list[str]]:
    """Whether the explanation does better than chance, and what was asked; of two, what the tests of both say."""
    if explanation.get("kind") == "comparison":
        return _both(explanation, spoken)
    found = explanation.get("methods", {}).get("faithfulness") or {}
    verdict = found.get("verdict")
    said = findings(explanation, spoken.code)[0]
    if verdict in TONES or verdict == "insufficient evidence":
        return spoken.say(f"explain.banner.{verdict}"), TONES.get(verdict, "doubt"), said
    return spoken.say("explain.banner.untested"), "doubt", said


def _both(comparison: Explanation, spoken: Language) -> tuple[str, Tone, list[str]]:
    found = [comparison[side].get("methods", {}).get("faithfulness") or {} for side in ("before", "after")]
    tones = {TONES.get(str(one.get("verdict")), "doubt") for one in found}
    tone: Tone = "bad" if "bad" in tones else "good" if tones == {"good"} else "doubt"
    said = verdicts(comparison, spoken) or [spoken.say("explain.banner.untested.both")]
    return " ".join(said), tone, [next(asked(comparison["after"], spoken))]


def tiles(explanation: Explanation, spoken: Language) -> list[Tile]:
    """The word, the layer, the place and the test."""
    methods, made = explanation.get("methods", {}), []

    def add(name: str, value: str, before: str | None, target: str, word: str = "", tone: Tone = "plain") -> None:
        made.append(
            Tile(
                label=spoken.say(f"explain.tile.{name}"),
                value=value,
                before=before,
                word=word,
                tone=tone,
                target=target,
            )
        )

    verdict = (methods.get("faithfulness") or {}).get("verdict")
    relied = verdict != "no better than chance" and not unsettled(explanation)
    for weight in strongest(weights(explanation), 1)[:1] if relied else ():
        add(
            "word",
            quote(written(weight, spoken), spoken),
            spoken.say("explain.tile.share", of=signed(weight, spoken)),
            "words",
        )
    lens = methods.get("lens")
    if lens:
        layers, first = len(lens["probability"]["token"]) - 1, lens.get("first_lead")
        value = (
            spoken.say("explain.tile.never")
            if first is None
            else spoken.say("explain.tile.of", layer=first, layers=layers)
        )
        end = spoken.say("explain.tile.end", p=spoken.percent(lens["probability"]["token"][-1]))
        add("layer", value, end, "lens")
    patching = methods.get("patching")
    places = [p for site in ("attention", "mlp") if patching and (p := best_place(patching, site))]
    if places:
        best = max(places, key=lambda place: place.effect)
        where = spoken.say("explain.tile.at", layer=best.layer + 1, text=quote(best.text, spoken))
        add("place", spoken.say(f"explain.tile.{best.site}"), where, "patching")
    if verdict and spoken.has(f"explain.verdict.{verdict}"):
        tone = TONES.get(verdict, "doubt")
        add(
            "test",
            spoken.say(f"explain.tile.{tone}"),
            None,
            "faithfulness",
            spoken.say(f"explain.verdict.{verdict}"),
            tone,
        )
    return made


# ------------------------------------------------------------------------------------------------------ two compared


def compared(comparison: Explanation, spoken: Language, id: str) -> Compared:
    sides = [whole(comparison[side], spoken, f"{id}{side}", limit=NARROW, role=side) for side in ("before", "after")]
    return Compared(
        id=id,
        title=spoken.say(
            "explain.item", why=title(comparison, spoken), prompt=clip(comparison["after"]["question"]["prompt"], TITLE)
        ),
        word="",
        tone="bad" if any(side.tone == "bad" for side in sides) else "plain",
        changes=tuple(changes(comparison, spoken.code)),
        blocks=tuple(_changed(comparison, spoken)),
        sides=tuple(side for side in sides if isinstance(side, Whole)),
        command=command(comparison),
        conversation=any(side.conversation for side in sides if isinstance(side, Whole)),
    )


def _changed(comparison: Mapping[str, Any], spoken: Language) -> Iterable[Block]:
    """The probability of the token layer by layer in both, and the words whose weight moved most."""
    before, after = comparison["before"], comparison["after"]
    lenses = [side.get("methods", {}).get("lens") for side in (before, after)]
    names = [
        spoken.say(f"explain.side.{side}", title=comparison[side]["model"]["title"]) for side in ("before", "after")
    ]
    if all(lenses) and lenses[0]["token"] == lenses[1]["token"]:
        values = [lens["probability"]["token"] for lens in lenses]
        at = range(max(map(len, values)))
        caption = spoken.say("explain.compared.curve", token=quote(lenses[1]["token"], spoken))
        words = spoken.say("explain.axis.layer"), spoken.say("explain.axis.probability"), caption
        pair = [Line(names[0], "before", values[0]), Line(names[1], "after", values[1])]
        drawn = curves.lines(pair, at, [spoken.whole(k) for k in at], words, spoken, share=True)
        if drawn:
            yield Block("lines", drawn)
    moved = moved_words(before, after)[:MOVED]
    if moved:
        nats = partial(spoken.difference, unit="nats", with_unit=False, beside=(1.0,))
        rows = tuple((written(w, spoken), nats(old), nats(w.value)) for w, old in moved)
        columns = (spoken.say("explain.column.word"), *names)
        yield Block("table", Table(spoken.say("explain.table.moved"), columns, rows))
