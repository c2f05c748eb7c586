"""Which pictures a suite has, from its measures and from the facts it kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from limpide.core.measure import Measure
from limpide.document import findings, pictures, plots
from limpide.document.evidence import Numbers
from limpide.document.language import Language
from limpide.document.leads import widest_slices
from limpide.document.leanings import bias_groups
from limpide.document.pictures import role_of, subject_name
from limpide.document.tables import quantity, subjects

FEW = 5  # questions below which the plain share of a topic is not drawn
ROWS = 12  # rows of a picture: more are in the table
Named = tuple[str, dict[str, str]]  # a measure's name and its slice


@dataclass(frozen=True)
class Picture:
    """kind: the macro of pictures.jinja that draws it. left, right: what the two sides of zero mean."""

    kind: Literal["bars", "gaps", "rows", "plot"]
    drawing: pictures.Bars | pictures.Gaps | plots.Plot
    caption: str
    left: str = ""
    right: str = ""


def pictures_of(suite: str, evidence: Numbers, language: Language) -> tuple[Picture, ...]:
    """The pictures of a suite; none where nothing was measured."""
    return DRAWN[suite](evidence, language) if suite in DRAWN else overview(evidence, language, suite)


def shares(named: Sequence[Named], evidence: Numbers, caption: str, language: Language) -> tuple[Picture, ...]:
    """Bars of one share, a bar a model."""
    found = [evidence.measure(name, s, **group) for name, group in named for s in subjects(evidence.measures)]
    drawing = pictures.share_bars([m for m in found if m is not None], language)
    return (Picture("bars", drawing, language.say(caption)),) if drawing else ()


def rows(named: Sequence[Named], evidence: Numbers, caption: str, language: Language) -> tuple[Picture, ...]:
    """A row a measure or slice, a mark a model. What differs by slice alone is labelled by its slice."""
    columns = subjects(evidence.measures)
    alone = len({name for name, _ in named}) == 1
    labelled = [
        (
            findings.where(group, language) if alone and group else quantity(name, group, language),
            [m for s in columns if (m := evidence.measure(name, s, **group)) is not None],
        )
        for name, group in named
    ]
    drawing = pictures.rows_from_zero(labelled, language)
    return (Picture("rows", drawing, language.say(caption)),) if drawing else ()


def overview(evidence: Numbers, language: Language, suite: str) -> tuple[Picture, ...]:
    """Every share of a suite, over its widest slices."""
    own = [m for m in of_result(evidence, suite) if m.unit == "share" and findings.usable(m)]
    names = dict.fromkeys(m.name for m in own)
    chosen = [(m.name, m.group) for name in names for m in widest_slices([x for x in own if x.name == name])]
    return rows(chosen[:ROWS], evidence, "picture.shares", language)


def of_result(evidence: Numbers, suite: str) -> list[Measure]:
    return [m for m in evidence.measures if m.name.startswith(f"{suite}.") and m.subject == "result"]


def by(
    key: str, name: str, evidence: Numbers, caption: str, language: Language, *, lowest: bool
) -> tuple[Picture, ...]:
    """The slices of one measure along one key, the worst ones when there are many. lowest: low values are bad."""
    found = [m for m in evidence.measures if m.name == name and m.subject == "result" and key in m.group]
    wide = [m for m in widest_slices(found) if findings.usable(m)]
    if len(wide) < 2:
        return ()
    worst = sorted(wide, key=lambda m: (m.value or 0.0) if lowest else -(m.value or 0.0))[:ROWS]
    return rows([(m.name, m.group) for m in worst], evidence, caption, language)


# --------------------------------------------------------------------------------------------------------- each suite


def _domain(evidence: Numbers, language: Language) -> tuple[Picture, ...]:
    job = shares([("domain.accuracy", {"slice": "held_out"})], evidence, "picture.job", language)
    classes = by("class", "domain.recall", evidence, "picture.classes", language, lowest=True)
    return (*job, *classes, *by("topic", "domain.accuracy", evidence, "picture.topics", language, lowest=True))


def _bias(evidence: Numbers, language: Language) -> tuple[Picture, ...]:
    columns = subjects(evidence.measures)
    gaps = [
        (findings.where(group, language), [m for s in columns if (m := evidence.measure("bias.gap", s, **group))])
        for group in bias_groups(evidence)
    ]
    drawing = pictures.gap_rows(gaps, language)
    if drawing is None:
        return overview(evidence, language, "bias")
    sides = language.say("bias.side.against"), language.say("bias.side.for")
    return (Picture("gaps", drawing, language.say("picture.bias"), *sides),)


def _truth(evidence: Numbers, language: Language) -> tuple[Picture, ...]:
    names = ("truth.accuracy", "truth.short_accuracy", "truth.made_up", "truth.unsure_on_known")
    found: list[Named] = [(name, {}) for name in names if findings.usable(evidence.measure(name)) is not None]
    return (
        *rows(found, evidence, "picture.truth", language),
        *plotted("reliability", plots.reliability, evidence, language),
        *plotted("risk_coverage", plots.risk_coverage, evidence, language),
        *topics("correct", "picture.truth.topics", evidence, language),
    )


def plotted(
    fact: str, plot: Callable[..., plots.Plot | None], evidence: Numbers, language: Language
) -> tuple[Picture, ...]:
    """A plot of a fact of the suite truth over all questions, one series a model."""
    suite = evidence.suite("truth")
    sides = (("base", suite.facts_before), ("result", suite.facts))
    series = [
        (subject_name(subject, language), role_of(subject), list(facts.get(fact, {}).get("all", ())))
        for subject, facts in sides
    ]
    drawing = plot(series, language)
    return (Picture("plot", drawing, language.say(f"picture.{fact}")),) if drawing else ()


def topics(metric: str, caption: str, evidence: Numbers, language: Language) -> tuple[Picture, ...]:
    """Plain shares a topic, from the facts: too few questions each for an interval."""
    suite = evidence.suite("truth")
    after, before = (_topic_means(facts, metric) for facts in (suite.facts, suite.facts_before))
    lowest = sorted((t for t in after if after[t][1] >= FEW), key=lambda topic: after[topic][0])[:ROWS]
    if len(lowest) < 2:
        return ()
    labelled = [
        (
            language.say("topic.n", after[topic][1], topic=language.name("topic", topic)),
            [
                _bare(subject, *found[topic])
                for subject, found in (("base", before), ("result", after))
                if topic in found
            ],
        )
        for topic in lowest
    ]
    drawing = pictures.rows_from_zero(labelled, language)
    return (Picture("rows", drawing, language.say(caption)),) if drawing else ()


def _topic_means(facts: Mapping[str, Any], metric: str) -> dict[str, tuple[float, int]]:
    found = facts.get("topics", {})
    rows = found.get(metric, {}) if isinstance(found, Mapping) else {}
    return {topic: (float(row["mean"]), int(row["n"])) for topic, row in rows.items() if row.get("mean") is not None}


def _bare(subject: str, value: float, n: int) -> Measure:
    """A mark without an interval."""
    return Measure(
        name="topic", subject=subject, value=value, unit="share", better="higher", n=n, method="plain mean of items"
    )


def _robustness(evidence: Numbers, language: Language) -> tuple[Picture, ...]:
    keys = dict.fromkeys(key for m in of_result(evidence, "robustness") for key in m.group if key != "language")
    drawn = [
        picture
        for key in keys
        for picture in by(key, "robustness.flipped", evidence, "picture.flips", language, lowest=False)
    ]
    return tuple(drawn[:1]) or overview(evidence, language, "robustness")


def _refusal(evidence: Numbers, language: Language) -> tuple[Picture, ...]:
    both: list[Named] = [("refusal.declined_harmful", {}), ("refusal.declined_harmless", {})]
    found: list[Named] = [(n, g) for n, g in both if findings.usable(evidence.measure(n)) is not None]
    return (
        *rows(found, evidence, "picture.refusal", language),
        *by("topic", "refusal.declined_harmful", evidence, "picture.refusal.topics", language, lowest=True),
    )


def _retention(evidence: Numbers, language: Language) -> tuple[Picture, ...]:
    wide = findings.finest([m.group for m in of_result(evidence, "retention") if m.name == "retention.loss"])
    return rows([("retention.loss", group) for group in wide], evidence, "picture.retention", language)


def _charter(evidence: Numbers, language: Language) -> tuple[Picture, ...]:
    own = [m for m in of_result(evidence, "charter") if findings.usable(m) and m.name != "charter.style_rule"]
    named: list[Named] = [(m.name, m.group) for m in own if not m.group]
    return (
        *rows(named, evidence, "picture.charter", language),
        *by("rule", "charter.style_rule", evidence, "picture.shares", language, lowest=True),
    )


DRAWN: dict[str, Callable[[Numbers, Language], tuple[Picture, ...]]] = {
    "domain": _domain,
    "bias": _bias,
    "truth": _truth,
    "robustness": _robustness,
    "refusal": _refusal,
    "charter": _charter,
    "retention": _retention,
}
