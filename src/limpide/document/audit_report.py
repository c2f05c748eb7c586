"""The page of an audit: who was asked, a section a suite, and what cannot be said. Of one model, or of two compared.

It reads the folders that `limpide audit` leaves, and needs nothing else of Limpide but its words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from limpide.core import files
from limpide.core.measure import Change, Measure
from limpide.document import facts, findings, leads, notes, suites, tables
from limpide.document.evidence import Audited, AuditEvidence, SuiteEvidence
from limpide.document.findings import Finding, Tone, usable
from limpide.document.language import Language, language
from limpide.document.limits import audit_limits
from limpide.document.pages import environment
from limpide.document.read import SuiteFolder, read_audited, read_suite, suite_evidence
from limpide.document.tiles import Tile

LANGUAGES = ("en", "fr")  # the first one is report.html
TILES = 8
LONGEST_TITLE = 34  # characters of a model's name at the head of a column
DECIDED = ("worse", "better")


def write_report(folder: Path) -> Path:
    """Write report.html and report.fr.html into the folder of an audit; returns the first.

    folder: of several suites, with audit.json, or of one. Raises DataError when it is no audit.
    """
    return write_pages(audit_evidence(folder), folder)


def write_comparison(
    out: Path,
    before: tuple[Audited, Mapping[str, Path]],
    after: tuple[Audited, Mapping[str, Path]],
    changes: Sequence[Change],
    *,
    left_out: Mapping[str, str] | None = None,
    command: str | None = None,
) -> Path:
    """Write the pages that set two audited models side by side, suite by suite; returns report.html.

    before, after: who, and the folder of each suite. left_out: {suite: why it was not compared}.
    """
    first, second = ({name: read_suite(path) for name, path in side[1].items()} for side in (before, after))
    shared = [name for name in second if name in first and name not in (left_out or {})]
    evidence = AuditEvidence(
        audited=after[0],
        before=before[0],
        measures=tuple(
            m for name in shared for m in (*_as(first[name].measures, "base"), *_as(second[name].measures, "result"))
        ),
        changes=tuple(changes),
        suites=tuple(_suite(name, second[name], first[name], command) for name in shared),
        left_out=dict(left_out or {}),
        how_to_rerun=(command,) if command else (),
    )
    return write_pages(evidence, out)


def audit_evidence(folder: Path) -> AuditEvidence:
    """What the folder of an audit says of one model."""
    audited, folders = read_audited(folder)
    found = {name: read_suite(path) for name, path in folders.items()}
    return AuditEvidence(
        audited=audited,
        measures=tuple(m for suite in found.values() for m in _as(suite.measures, "result")),
        suites=tuple(_suite(name, suite, None, audited.command) for name, suite in found.items()),
        how_to_rerun=(audited.command,) if audited.command else (),
    )


def _as(measures: Sequence[Measure], subject: str) -> list[Measure]:
    return [m.model_copy(update={"subject": subject}) for m in measures]


def _suite(name: str, after: SuiteFolder, before: SuiteFolder | None, rerun: str | None) -> SuiteEvidence:
    return suite_evidence(
        name,
        after.items,
        after.facts,
        before=before.items if before else (),
        facts_before=before.facts if before else None,
        warnings=after.warnings,
        rerun=rerun,
    )


# ---------------------------------------------------------------------------------------------------------- the page


def write_pages(evidence: AuditEvidence, folder: Path) -> Path:
    for code in LANGUAGES:
        files.write_text(folder / page_name(code), page(evidence, code))
    return folder / page_name(LANGUAGES[0])


def page_name(code: str) -> str:
    return "report.html" if code == LANGUAGES[0] else f"report.{code}.html"


def page(evidence: AuditEvidence, code: str) -> str:
    """The page in language `code`. The same evidence gives the same bytes."""
    return environment().get_template("audit.html.jinja").render(view(evidence, spoken_of(evidence, code)))


def spoken_of(evidence: AuditEvidence, code: str) -> Language:
    """The language with the words of an audit, where nothing was adapted: A and B instead of before and after."""
    spoken = language(code)
    words = dict(spoken.words)
    for prefix in ("audited.", "compared.") if evidence.before else ("audited.",):
        words |= {key.removeprefix(prefix): text for key, text in spoken.words.items() if key.startswith(prefix)}
    if evidence.before is None:
        words["subject.result"] = short(evidence.audited.title)
    else:
        words["subject.base"] = f"A · {short(evidence.before.title)}"
        words["subject.result"] = f"B · {short(evidence.audited.title)}"
    return replace(spoken, words=words)


def called(title: str) -> str:
    """A model's name: of a folder or a file, its own name without those above it."""
    return (
        title if "://" in title or title.startswith("hub:") else title.rstrip("/\\").replace("\\", "/").split("/")[-1]
    )


def short(title: str) -> str:
    title = called(title)
    return title if len(title) <= LONGEST_TITLE else f"{title[: LONGEST_TITLE - 1]}…"


def view(evidence: AuditEvidence, spoken: Language) -> dict[str, Any]:
    """Everything the template shows."""
    audited, before = evidence.audited, evidence.before
    sections = [suites.section(name, evidence, spoken) for name in suites.ordered(evidence.suite_names())]
    missing = not_measured(evidence, spoken)
    missing_title = spoken.say("section.missing.closed" if audited.closed else "section.missing")
    changed = differing(evidence, spoken)
    contents = [
        ("who", spoken.say("section.who")),
        *([("changes", spoken.say("section.changes"))] if before else []),
        *((section.id, section.title) for section in sections),
        *([("missing", missing_title)] if missing else []),
        *((name, spoken.say(f"section.{name}")) for name in ("limits", "rerun", "environment")),
    ]
    heading = called(audited.title)
    if before:
        heading = spoken.say("audit.heading", a=called(before.title), b=heading)
    return {
        "e": evidence,
        "l": spoken,
        "kind": "audit.title.compared" if before else "audit.title",
        "heading": heading,
        "date": audited.date,
        "others": [(code, page_name(code)) for code in LANGUAGES if code != spoken.code],
        "contents": contents,
        "tiles": tiles(evidence, spoken),
        "banner": banner(evidence, spoken) if before else None,
        "who": who(evidence, spoken),
        "who_facts": [(called(model.title), model_facts(model, spoken)) for model in (before, audited) if model],
        "changed": changed,
        "columns": [spoken.say(f"subject.{s}") for s in ("base", "result")] if before else [],
        "sections": sections,
        "missing": missing,
        "missing_title": missing_title,
        "missing_lead": spoken.say("missing.lead.closed" if audited.closed else "missing.lead"),
        "limits": audit_limits(evidence, spoken),
        "environment": facts.versions(audited.versions, spoken),
    }


def who(evidence: AuditEvidence, spoken: Language) -> str:
    if evidence.before:
        key = "who.compared.apart" if apart(evidence) else "who.compared"
        return spoken.say(key, a=called(evidence.before.title), b=called(evidence.audited.title))
    return spoken.say("who.sentence", len(evidence.suite_names()), title=called(evidence.audited.title))


def model_facts(model: Audited, spoken: Language) -> facts.Rows:
    unknown = spoken.say("unknown")
    digest = model.digest or (spoken.say("who.closed") if model.closed else unknown)
    return [
        (spoken.say("who.title"), model.title),
        (spoken.say("who.kind"), spoken.name("kind", model.kind)),
        (spoken.say("who.digest"), digest),
        (spoken.say("who.date"), spoken.date(model.date) or unknown),
        (spoken.say("who.seed"), unknown if model.seed is None else str(model.seed)),
    ]


def tiles(evidence: AuditEvidence, spoken: Language) -> list[Tile]:
    """The first headline of each suite."""
    made = []
    for name in suites.ordered(evidence.suite_names()):
        found = leads.headlines(name, evidence)
        if not found:
            continue
        first = found[0]
        change = evidence.change(first.name, **first.group)
        value = spoken.say("not_measured") if first.state == "not run" else spoken.say("word.insufficient evidence")
        if usable(first):
            value = spoken.measured(first)
        before = usable(evidence.measure(first.name, "base", **first.group))
        word, tone = tables.change_word(change, spoken) if evidence.before else ("", "plain")
        made.append(
            Tile(
                label=tables.quantity(first.name, first.group, spoken),
                value=value,
                before=f"A{spoken.say('colon')} {spoken.measured(before)}" if before else None,
                word=word,
                tone=tone,
                target=suites.anchor(name),
            )
        )
    return made[:TILES]


def banner(evidence: AuditEvidence, spoken: Language) -> tuple[str, Finding]:
    """(title, how many measures are worse, better, the same) of two models that are compared."""
    verdicts: list[str] = [change.verdict for change in evidence.changes]
    if not verdicts and apart(evidence):
        return spoken.say("compared.banner.apart"), Finding(sentence=spoken.say("changes.apart"), tone="plain")
    if not verdicts:
        return spoken.say("compared.banner.doubt"), Finding(sentence=spoken.say("changes.none"), tone="doubt")
    counted = [(verdict, verdicts.count(verdict)) for verdict in findings.WORST_FIRST]
    order = [*DECIDED, "no detectable change", "insufficient evidence"]
    counted.sort(key=lambda pair: order.index(pair[0]))
    said = " ".join(spoken.say(f"changes.{verdict}", count) for verdict, count in counted if count)
    key, tone = heading_of(dict(counted))
    return spoken.say(f"compared.banner.{key}"), Finding(sentence=said, tone=tone)


def apart(evidence: AuditEvidence) -> bool:
    """Whether both sides were measured, and no measure is common to both: two definitions of one thing."""
    first, second = ({m.name for m in evidence.measures if m.subject == s} for s in ("base", "result"))
    return bool(first and second) and not first & second


def heading_of(counted: Mapping[str, int]) -> tuple[str, Tone]:
    """What the banner says: bad news first, and too little evidence is no good news."""
    if counted["worse"]:
        return "worse", "bad"
    if counted["better"]:
        return "better", "good"
    return ("none", "plain") if counted["no detectable change"] else ("doubt", "doubt")


def differing(evidence: AuditEvidence, spoken: Language) -> list[tables.Compared]:
    """The measures on which the two differ by more than chance explains, worse first."""
    rows = [
        row
        for name in suites.ordered(evidence.suite_names())
        for row in tables.compared(evidence, spoken, f"{name}.", ["base", "result"])
    ]
    verdicts = {change.label: change.verdict for change in evidence.changes}
    chosen = [row for row in rows if verdicts.get(row.label) in DECIDED]
    return sorted(chosen, key=lambda row: DECIDED.index(verdicts[row.label]))


def not_measured(evidence: AuditEvidence, spoken: Language) -> list[tuple[notes.Said, list[str]]]:
    """[(reason, what could not be measured for it)]: whole suites first, then single measures."""
    found: dict[notes.Said, list[str]] = {}

    def add(what: str, why: str | None) -> None:
        said = notes.in_words(why, spoken) if why else (spoken.say("unknown"), None)
        found.setdefault(said, []).append(what)

    for name, why in evidence.audited.left_out.items():
        add(spoken.say("missing.suite", suite=spoken.name("suite", name)), why)
    for name, why in evidence.left_out.items():
        add(spoken.say("missing.compared", suite=spoken.name("suite", name)), why)
    for measure in evidence.measures:
        if measure.state == "not run" and measure.subject == "result":
            add(tables.quantity(measure.name, measure.group, spoken), measure.note)
    return [(why, list(dict.fromkeys(what))) for why, what in found.items()]
