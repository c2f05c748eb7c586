"""The report: one page a language that a director reads, an auditor checks, and a printer prints.

One HTML file with its style and pictures inside: no script, no request, a policy in the page that forbids both.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from limpide.document import facts, findings, pictures, tables
from limpide.document.evidence import Answered, Evidence, Slice
from limpide.document.language import Language, language
from limpide.document.tiles import but, tiles

TEMPLATES = Path(__file__).parent / "templates"
SHOWN = 10  # examples on the page
SHOWN_UNSEEN = 3
SECTIONS = (
    "what", "job", "training", "bias", "kept", "memory", "served", "data",
    "gates", "examples", "base", "limits", "verify", "files", "environment",
)  # fmt: skip


def report_name(evidence: Evidence, code: str) -> str:
    return "report.html" if code == evidence.report_languages[0] else f"report.{code}.html"


def report(evidence: Evidence, code: str) -> str:
    """The page in language `code`. The same evidence gives the same bytes."""
    spoken = language(code)
    return _environment().get_template("report.html.jinja").render(view(evidence, spoken))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["breakable"] = breakable
    return environment


def breakable(identifier: str) -> Markup:
    """An identifier that may break before a bracket and after a comma, never inside a word."""
    return Markup("<wbr>").join(re.split(r"(?=\[)|(?<=,)|(?<=\.)(?=[a-z])", identifier))


def view(evidence: Evidence, spoken: Language) -> dict[str, Any]:
    """Everything the template shows, as plain text and records."""
    columns = tables.subjects(evidence.measures) or ["base", "result"]
    codes = dict.fromkeys(c for c in evidence.report_languages if c != spoken.code)
    return {
        "e": evidence,
        "l": spoken,
        "others": [(c, report_name(evidence, c)) for c in codes],
        "sections": SECTIONS,
        "verdict": findings.verdict(evidence, spoken),
        "reasons": tables.reasons(evidence, spoken),
        "but": but(evidence, spoken),
        "tiles": tiles(evidence, spoken),
        "say": sentences(evidence, spoken),
        "languages": spoken.join(spoken.name("language", c) for c in evidence.languages) or spoken.say("not_declared"),
        "columns": [pictures.subject_name(s, spoken) for s in columns],
        "tables": {
            "domain": tables.compared(evidence, spoken, "domain.", columns),
            "bias": tables.compared(evidence, spoken, "bias.", columns),
            "retention": tables.compared(evidence, spoken, "retention.", columns),
            "memorisation": tables.compared(evidence, spoken, "memorisation.", columns),
            "parity": tables.parity_rows(evidence, spoken),
            "gates": tables.gate_rows(evidence, spoken),
        },
        "pictures": drawn(evidence, spoken, columns),
        "loss_words": {k: spoken.say(f"picture.losses.{k}") for k in ("train", "held_out", "kept")},
        "pairs": word_pairs(evidence, spoken),
        "examples": {part: chosen(evidence, part) for part in ("held_out", "unseen")},
        "training": facts.training(evidence, spoken),
        "data": facts.data(evidence, spoken),
        "base": facts.base(evidence, spoken),
        "environment": facts.environment(evidence, spoken),
        "limits": findings.limits(evidence, spoken),
        "notes": findings.notes(evidence),
        "commands": [
            (spoken.say("verify.check"), evidence.how_to_verify),
            (spoken.say("verify.serve"), evidence.how_to_serve),
            (spoken.say("verify.rerun"), evidence.how_to_rerun),
        ],
    }


def sentences(evidence: Evidence, spoken: Language) -> dict[str, Any]:
    """The first sentence of each section."""
    total = sum(file.bytes for file in evidence.files)
    known = bool(evidence.environment.versions) and evidence.environment.seed is not None
    return {
        "what": findings.what_it_is(evidence, spoken),
        "learned": findings.learned(evidence, spoken),
        "unseen": findings.unseen(evidence, spoken),
        "training": findings.training(evidence, spoken),
        "bias": findings.bias(evidence, spoken),
        "retention": findings.retention(evidence, spoken),
        "memorisation": findings.memorisation(evidence, spoken),
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


def drawn(evidence: Evidence, spoken: Language, columns: list[str]) -> dict[str, Any]:
    def shares(part: Slice) -> pictures.Bars | None:
        found = [evidence.measure("domain.accuracy", subject, slice=part) for subject in columns]
        return pictures.share_bars([m for m in found if m is not None], spoken)

    gaps = [
        (findings.where(group, spoken), [m for s in columns if (m := evidence.measure("bias.gap", s, **group))])
        for group in findings.bias_groups(evidence)
    ]
    losses = pictures.loss_curve(evidence.training.losses, evidence.training.best_epoch, spoken)
    return {
        "job": shares("held_out"),
        "unseen": shares("unseen"),
        "bias": pictures.gap_rows(gaps, spoken),
        "losses": losses,
    }


def chosen(evidence: Evidence, part: str) -> list[Answered]:
    """The first examples of a slice, in the order of the evidence: none is picked for looking good."""
    limit = SHOWN if part == "held_out" else SHOWN_UNSEEN
    return [e for e in evidence.examples if e.slice == part][:limit]


def word_pairs(evidence: Evidence, spoken: Language) -> list[dict[str, str]]:
    """Pairs of sentences that differ by the person, with their gaps."""
    return [
        {
            "first": f"{pair.context_a}{pair.outcome}",
            "second": f"{pair.context_b}{pair.outcome}",
            "where": findings.where({"axis": pair.axis, "language": pair.language}, spoken),
            "language": pair.language,
            "before": facts.write_or_unknown(pair.gap_before, spoken, lambda v: spoken.number(v, 2, sign=True)),
            "after": facts.write_or_unknown(pair.gap_after, spoken, lambda v: spoken.number(v, 2, sign=True)),
        }
        for pair in evidence.worst_pairs
    ]
