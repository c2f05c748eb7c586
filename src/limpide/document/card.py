"""The model card: README.md of the release, with metadata that the Hugging Face Hub reads.

Metadata is checked here, offline, against our own schema; the card is never sent anywhere to be checked.
Source: model card metadata and template of the Hugging Face Hub; Mitchell et al. 2019, Model Cards for Model Reporting.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # ships no types; the reader the Hub's own client uses
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import Field, model_validator

from limpide.core.digests import slug
from limpide.core.errors import LimpideError
from limpide.core.measure import Frozen, Measure
from limpide.core.visible import visible
from limpide.document import correction, facts, findings, leads, tables
from limpide.document.evidence import Evidence
from limpide.document.hub import HUB_IDS, LICENCES, TASKS
from limpide.document.language import Language, language
from limpide.document.leanings import bias
from limpide.document.limits import limits
from limpide.document.report import SUITES, report_name
from limpide.document.suites import ordered
from limpide.document.tiles import but

TEMPLATES = Path(__file__).parent / "templates"
BLANKS = re.compile(r"[^\S\u00a0\u202f]+")  # French puts the two others before its colons
HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
SUITES_IN_INDEX = ("domain", "bias", "retention", "memorisation")


class Task(Frozen):
    type: str = Field(min_length=1)
    name: str | None = None


class Dataset(Frozen):
    type: str = Field(min_length=1)
    name: str = Field(min_length=1)
    split: str | None = None
    revision: str | None = None


class Metric(Frozen):
    type: str = Field(min_length=1)
    value: float = Field(allow_inf_nan=False)
    name: str | None = None
    args: dict[str, Any] | None = None


class IndexResult(Frozen):
    task: Task
    dataset: Dataset
    metrics: tuple[Metric, ...] = Field(min_length=1)


class IndexEntry(Frozen):
    name: str
    results: tuple[IndexResult, ...] = Field(min_length=1)


class Metadata(Frozen):
    """The front matter. Field names are the Hub's, `model_index` being `model-index` there."""

    language: tuple[str, ...] | None = None
    license: str
    license_name: str | None = None
    license_link: str | None = None
    library_name: str = "transformers"
    pipeline_tag: str | None = None
    base_model: str | None = Field(default=None, pattern=HUB_ID.pattern)
    base_model_relation: str | None = Field(default=None, pattern="^(adapter|merge|quantized|finetune)$")
    tags: tuple[str, ...] = ()
    model_index: tuple[IndexEntry, ...] | None = Field(default=None, serialization_alias="model-index")

    @model_validator(mode="after")
    def _is_accepted_by_the_hub(self) -> "Metadata":
        if self.license not in LICENCES:
            raise ValueError(f"the Hub knows no licence '{self.license}'")
        if (self.license == "other") != (self.license_name is not None):
            raise ValueError("a licence called 'other' needs a name, and only that one")
        if self.base_model_relation is not None and self.base_model is None:
            raise ValueError("a relation to a base needs the base")
        strange = [code for code in self.language or () if not re.fullmatch(r"[a-z]{2,3}|multilingual|code", code)]
        if strange:
            raise ValueError(f"not ISO 639 codes: {strange}")
        return self


def card(evidence: Evidence, code: str) -> str:
    """README.md in language `code`, front matter first. The same evidence gives the same bytes."""
    spoken = language(code)
    body = markdown().get_template("card.md.jinja").render(_view(evidence, spoken))
    return f"---\n{front_matter(metadata(evidence))}---\n\n{body}"


@cache
def markdown() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_in_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"code": inline_code, "block": code_block}
    return environment


def front_matter(record: Frozen) -> str:
    """YAML of a card's metadata. Raises LimpideError when it does not read back as it was written."""
    written = record.model_dump(mode="json", by_alias=True, exclude_none=True)
    text: str = yaml.safe_dump(written, sort_keys=False, allow_unicode=True, width=100)
    if yaml.safe_load(text) != written:
        raise LimpideError("The metadata of the card does not read back as it was written.", received=text)
    return text


def metadata(evidence: Evidence) -> Metadata:
    """What the Hub indexes. The licence is the base's: nobody types it. A base without a Hub name is left out."""
    base = hub_id(evidence.base.ref)
    task = TASKS.get(kind_of(evidence) or "")
    declared = (evidence.base.licence or "").strip()
    known = declared.lower() in LICENCES
    licence = declared.lower() if known else "other" if declared else "unknown"
    other = licence == "other"
    results = _index(evidence, task or "text-generation")
    tags = ("limpide", *(slug(t) for t in (evidence.base.title, evidence.training.method) if t))
    return Metadata(
        language=tuple(c for c in evidence.languages if re.fullmatch(r"[a-z]{2,3}", c)) or None,
        license=licence,
        license_name=(declared if not known else "other") if other else None,
        license_link="LICENSE" if other else None,
        pipeline_tag=task,
        base_model=base,
        base_model_relation="finetune" if base else None,
        tags=tuple(dict.fromkeys(tags)),
        model_index=(IndexEntry(name=f"{evidence.name}-{evidence.version}", results=results),) if results else None,
    )


def hub_id(ref: str) -> str | None:
    """The Hub's name of a base: of 'hub:owner/name@revision', or of an alias whose weights are there; else None."""
    if ref in HUB_IDS:
        return HUB_IDS[ref]
    name = ref.removeprefix("hub:").partition("@")[0]
    return name if ref.startswith("hub:") and HUB_ID.fullmatch(name) else None


def _index(evidence: Evidence, task: str) -> tuple[IndexResult, ...]:
    """Measures of the result in the Hub's form, grouped by what they were measured on."""
    grouped: dict[tuple[str, str, str | None], list[Measure]] = {}
    for m in evidence.measures:
        suite = m.name.split(".")[0]
        if m.subject == "result" and suite in SUITES_IN_INDEX and findings.usable(m):
            where = ", ".join(f"{k} {v}" for k, v in sorted(m.group.items()))
            grouped.setdefault((suite, where, m.data_digest), []).append(m)
    return tuple(
        IndexResult(
            task=Task(type=task, name=suite),
            dataset=Dataset(type=f"limpide-{suite}", name=f"{suite} ({where})" if where else suite, revision=digest),
            metrics=tuple(map(_metric, measures)),
        )
        for (suite, where, digest), measures in grouped.items()
    )


def _metric(measure: Measure) -> Metric:
    assert measure.value is not None
    kept = {"unit": measure.unit, "n": measure.n, "low": measure.low, "high": measure.high, "level": measure.level}
    args = {key: _rounded(value) for key, value in kept.items() if value is not None}
    kind = {"domain.accuracy": "accuracy", "retention.perplexity": "perplexity"}.get(measure.name, measure.name)
    return Metric(type=kind, value=float(_rounded(measure.value)), name=measure.label, args=args)


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _view(evidence: Evidence, spoken: Language) -> dict[str, Any]:
    return {
        "e": evidence,
        "l": spoken,
        "verdict": " ".join(filter(None, (findings.verdict(evidence, spoken).sentence, but(evidence, spoken)))),
        "say": {
            "what": findings.what_it_is(evidence, spoken),
            "learned": findings.learned(evidence, spoken).sentence,
            "unseen": findings.unseen(evidence, spoken),
            "training": findings.training(evidence, spoken),
            "bias": bias(evidence, spoken).sentence,
            "retention": findings.retention(evidence, spoken).sentence,
            "memorisation": findings.memorisation(evidence, spoken).sentence,
            "parity": findings.parity(evidence, spoken).sentence,
            "data": findings.data(evidence, spoken),
            "gates": findings.gates(evidence, spoken),
            "base": findings.base(evidence, spoken),
            "corrections": [correction.in_short(one, spoken.code) for one in evidence.corrections],
            "others": [(leads.lead(name, evidence, spoken).sentence, f"{name}.*") for name in other_suites(evidence)],
        },
        "summary": summary(evidence, spoken),
        "measured": tables.measured(evidence, spoken),
        "gates": tables.gate_rows(evidence, spoken),
        "training": facts.training(evidence, spoken),
        "data": facts.data(evidence, spoken),
        "environment": facts.environment(evidence, spoken),
        "limits": limits(evidence, spoken),
        "languages": spoken.join(spoken.name("language", c) for c in evidence.languages) or spoken.say("not_declared"),
        "hub_base": hub_id(evidence.base.ref),
        "report": f"evidence/{report_name(evidence, spoken.code)}"
        if spoken.code in evidence.report_languages
        else "evidence/report.html",
        "ggufs": [f.name for f in evidence.files if f.name.endswith(".gguf")],
        "snippet": SNIPPETS.get(kind_of(evidence) or "decoder"),
    }


def kind_of(evidence: Evidence) -> str | None:
    """What the release is: of its base's kind, unless it got a classification head."""
    return "classifier" if evidence.training.classes else evidence.base.kind


def other_suites(evidence: Evidence) -> list[str]:
    """Suites beside those that every release shows."""
    return [name for name in ordered(evidence.suite_names()) if name not in SUITES]


def summary(evidence: Evidence, spoken: Language) -> list[tables.Compared]:
    """Before and after, of what a reader should know first; single topics are in the report."""
    kinds = ["domain.", "bias.gap", "retention.loss", "memorisation."]
    rows = [row for kind in kinds for row in tables.compared(evidence, spoken, kind, ["base", "result"])]
    for suite in other_suites(evidence):
        found = tables.compared(evidence, spoken, f"{suite}.", ["base", "result"])
        rows += [row for row in found if row.label in leads.HEADLINES.get(suite, ())]
    tried = {m.label for m in evidence.measures if m.state != "not run"}
    return [row for row in rows if "topic=" not in row.label and row.label in tried]


SNIPPETS = {
    "decoder": """from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this folder
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
messages = [{"role": "user", "content": "Your question"}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**inputs, max_new_tokens=64, do_sample=False)
print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))""",
    "classifier": """from transformers import pipeline

classify = pipeline("text-classification", model=".")  # this folder
print(classify("Your text", top_k=None))  # the probability of each class""",
}


# ------------------------------------------------------------------------------------------------ text into Markdown
def _in_markdown(value: Any) -> Any:
    """Every value the template prints: text is escaped, what is already Markdown is left."""
    return value if isinstance(value, Markup) else Markup(escape(str(value)))


def escape(text: str) -> str:
    """Text on one line that Markdown and HTML print as it is, in a paragraph, a list item or a table cell."""
    line = BLANKS.sub(" ", text).strip(" ")
    line = visible(line).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*_\[\]|~$!#])", r"\\\1", line)
    line = re.sub(r"^([-+])(?=\s|$)|^(?=(?:=+|-+)$)", r"\\\1", line)  # would begin a list, or underline a title
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", line)


def inline_code(text: object) -> Markup:
    """A code span; a character that would end the span or the table cell is replaced."""
    return Markup("`{}`").format(Markup(" ".join(visible(str(text)).split()).replace("`", "'").replace("|", "¦")))


def code_block(text: object, kind: str = "") -> Markup:
    """A fenced block, with a fence longer than any inside."""
    longest = max((len(run) for run in re.findall(r"`+", str(text))), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}{kind}\n{text}\n{fence}")  # inside the fence nothing is interpreted
