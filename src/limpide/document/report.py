"""The report: one page a language that a director reads, an auditor checks, and a printer prints.

One HTML file with its style and pictures inside: no script, no request, a policy in the page that forbids both.
"""

from collections.abc import Sequence
from typing import Any

from limpide.document import correction_page, explanation, facts, findings, pictures, suites, tables
from limpide.document.evidence import Answered, Evidence
from limpide.document.language import Language, language
from limpide.document.limits import limits
from limpide.document.pages import environment
from limpide.document.tiles import but, tiles

SHOWN = 10  # examples on the page
SHOWN_UNSEEN = 3
# Of a release; sections of other suites that were measured stand after that of bias.
SECTIONS = (
    "what", "job", "training", "bias", "kept", "memory", "served", "data",
    "gates", "examples", "base", "limits", "verify", "files", "environment",
)  # fmt: skip
SUITES = ("domain", "bias", "retention", "memorisation")  # shown, measured or not


def report_name(evidence: Evidence, code: str) -> str:
    return "report.html" if code == evidence.report_languages[0] else f"report.{code}.html"


def report(evidence: Evidence, code: str) -> str:
    """The page in language `code`. The same evidence gives the same bytes."""
    spoken = language(code)
    return environment().get_template("report.html.jinja").render(view(evidence, spoken))


def view(evidence: Evidence, spoken: Language) -> dict[str, Any]:
    """Everything the template shows, as plain text and records."""
    codes = dict.fromkeys(c for c in evidence.report_languages if c != spoken.code)
    measured = {name: suites.section(name, evidence, spoken) for name in suites.ordered(evidence.suite_names())}
    parts = [measured.get(name) or suites.section(name, evidence, spoken) for name in SUITES]
    others = [part for name, part in measured.items() if name not in SUITES]
    why = explanation.section(evidence.explanations, spoken)
    corrected = correction_page.section(evidence.corrections, spoken)
    return {
        "e": evidence,
        "l": spoken,
        "kind": "title",
        "heading": f"{evidence.name} {evidence.version}",
        "date": evidence.environment.date,
        "others": [(c, report_name(evidence, c)) for c in codes],
        "contents": contents(others, spoken, corrected, why),
        "corrected": corrected,
        "why": why,
        "parts": {part.id: part for part in parts},
        "others_measured": others,
        "verdict": findings.verdict(evidence, spoken),
        "reasons": tables.reasons(evidence, spoken),
        "but": but(evidence, spoken),
        "tiles": tiles(evidence, spoken),
        "say": sentences(evidence, spoken),
        "languages": spoken.join(spoken.name("language", c) for c in evidence.languages) or spoken.say("not_declared"),
        "tables": {"parity": tables.parity_rows(evidence, spoken), "gates": tables.gate_rows(evidence, spoken)},
        "pictures": {"losses": pictures.loss_curve(evidence.training.losses, evidence.training.best_epoch, spoken)},
        "loss_words": {k: spoken.say(f"picture.losses.{k}") for k in ("train", "held_out", "kept")},
        "examples": {part: chosen(evidence, part) for part in ("held_out", "unseen")},
        "training": facts.training(evidence, spoken),
        "data": facts.data(evidence, spoken),
        "base": facts.base(evidence, spoken),
        "environment": facts.environment(evidence, spoken),
        "limits": limits(evidence, spoken),
        "commands": [
            (spoken.say("verify.check"), evidence.how_to_verify),
            (spoken.say("verify.serve"), evidence.how_to_serve),
            (spoken.say("verify.rerun"), evidence.how_to_rerun),
        ],
    }


def contents(
    others: Sequence[suites.Section],
    spoken: Language,
    corrected: correction_page.Section | None = None,
    why: explanation.Section | None = None,
) -> list[tuple[str, str]]:
    """(anchor, title) of each section."""
    made = [(name, spoken.say(f"section.{name}")) for name in SECTIONS]
    after = SECTIONS.index("bias") + 1
    between = [(part.id, part.title) for part in (corrected, *others, why) if part]
    return [*made[:after], *between, *made[after:]]


def sentences(evidence: Evidence, spoken: Language) -> dict[str, Any]:
    """The first sentence of each section."""
    total = sum(file.bytes for file in evidence.files)
    known = bool(evidence.environment.versions) and evidence.environment.seed is not None
    return {
        "what": findings.what_it_is(evidence, spoken),
        "training": findings.training(evidence, spoken),
        "parity": findings.parity(evidence, spoken),
        "data": findings.data(evidence, spoken),
        "gates": findings.gates(evidence, spoken),
        "examples": findings.examples(evidence, spoken, SHOWN),
        "examples_unseen": findings.examples(evidence, spoken, SHOWN_UNSEEN, "unseen"),
        "base": findings.base(evidence, spoken),
        "files": spoken.say("files.lead", len(evidence.files), size=spoken.bytes(total))
        if evidence.files
        else spoken.say("files.absent"),
        "environment": spoken.say("environment.lead" if known else "environment.unknown"),
    }


def chosen(evidence: Evidence, part: str) -> list[Answered]:
    """The first examples of a slice, in the order of the evidence: none is picked for looking good."""
    limit = SHOWN if part == "held_out" else SHOWN_UNSEEN
    return [e for e in evidence.examples if e.slice == part][:limit]
