"""The card of a data set: what it is made of, where it comes from, what was looked for in it, what was left out.

Everything but what its owner declares (name, licence, where it comes from) is counted from the files. Sources: Gebru et
al. 2021, Datasheets for Datasets; Croissant 1.0 (MLCommons, 2024) for the machine-readable file.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from limpide.core import files
from limpide.core.measure import Frozen
from limpide.data.checks import Check
from limpide.data.examine import Examined
from limpide.data.reading import Reading
from limpide.document.card import front_matter, markdown
from limpide.document.facts import Rows
from limpide.document.language import Language, language

LANGUAGES = ("en", "fr")
MOST_PLACES = 5  # of a check, on the page
CROISSANT = "http://mlcommons.org/croissant/1.0"
MIME = {
    ".jsonl": "application/jsonlines",
    ".ndjson": "application/jsonlines",
    ".json": "application/json",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".parquet": "application/x-parquet",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
READ_BY_COLUMN = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")  # of which Croissant can name the columns


class Declared(Frozen):
    """What the owner says, shown as declared."""

    name: str = Field(min_length=1)
    description: str | None = None
    licence: str | None = None
    provenance: str | None = Field(default=None, description="where the rows come from, and who wrote them")


class CardFile(Frozen):
    """One file. columns: our name → the file's."""

    file: str
    digest: str
    bytes: int
    rows: int
    left_out: int
    columns: dict[str, str]


class CardCheck(Frozen):
    """One check, as `data.check` reports it."""

    name: str
    severity: str
    count: int
    rows: int
    places: tuple[str, ...] = ()


class DataCard(Frozen):
    """All that the card says. counts: rows by what they are. policies: what is done with what is found."""

    declared: Declared
    files: tuple[CardFile, ...]
    counts: dict[str, int]
    languages: dict[str, int]
    lengths: dict[str, float]
    checks: tuple[CardCheck, ...]
    policies: dict[str, str]
    synthetic: dict[str, int] = Field(default_factory=dict, description="what rows were made from by a machine → rows")


class Metadata(Frozen):
    """What the Hugging Face Hub indexes of a data set."""

    pretty_name: str
    size_categories: tuple[str, ...]
    language: tuple[str, ...] | None = None
    license: str | None = None


def card_of(examined: Examined, more: Sequence[Check], declared: Declared, sizes: Mapping[str, int]) -> DataCard:
    """The card of examined files. more: checks made beside, as of tokens. sizes: of each file, in bytes."""
    examples, checks = examined.examples, {check.name: check for check in (*examined.checks, *more)}
    counts = {
        "examples": len(examples),
        "topics": len({e.topic for e in examples} - {None}),
        "multi_turn": sum(len([m for m in e.messages if m.role == "assistant"]) > 1 for e in examples),
        "with_system": sum(bool(e.system) for e in examples),
        "preferences": sum(e.rejected is not None for e in examples),
        "labelled": sum(e.label is not None for e in examples),
        "synthetic": sum(e.synthetic is not None for e in examples),
    }
    lengths = {f"characters_{name}": checks["length"].facts[name] for name in ("median", "longest")}
    if "tokens" in checks:
        lengths |= {f"tokens_{name}": checks["tokens"].facts[name] for name in ("total", "median", "longest")}
    return DataCard(
        declared=declared,
        files=tuple(_file(reading, sizes[reading.name]) for reading in examined.readings),
        counts=counts,
        languages={str(code): int(n) for code, n in checks["language"].facts["found"].items()},
        lengths=lengths,
        checks=checks_of({name: check.record() for name, check in checks.items()}),
        policies=policies_of({name: check.record() for name, check in checks.items()}),
        synthetic=dict(Counter(_origin(e.synthetic) for e in examples if e.synthetic is not None).most_common()),
    )


def _file(reading: Reading, size: int) -> CardFile:
    return CardFile(
        file=reading.name,
        digest=reading.digest,
        bytes=size,
        rows=reading.rows,
        left_out=reading.skipped,
        columns=dict(reading.columns.names),
    )


def _origin(synthetic: str) -> str:
    """The document or charter that rows were made from, without the place in it: 'passage handbook.pdf, page 3'."""
    return synthetic.partition(",")[0]


def policies_of(records: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What was to be done with what each check finds, where it has a policy; 'allow: why' for a reason."""
    found = {name: record["facts"]["policy"] for name, record in records.items() if "policy" in record.get("facts", {})}
    return {name: how if isinstance(how, str) else f"allow: {how['allow']}" for name, how in found.items()}


def write_card(card: DataCard, folder: Path, first: str = "en", *, croissant: bool = False) -> list[Path]:
    """Write README.md in the language `first`, README.<other>.md, card.json, and croissant.json where asked."""
    pages = {"README.md" if code == first else f"README.{code}.md": page(card, code) for code in LANGUAGES}
    for name, text in pages.items():
        files.write_text(folder / name, text)
    written = [folder / name for name in pages]
    files.write_json(folder / "card.json", card.model_dump(mode="json"))
    written.append(folder / "card.json")
    if croissant:
        files.write_json(folder / "croissant.json", as_croissant(card))
        written.append(folder / "croissant.json")
    return written


def page(card: DataCard, code: str) -> str:
    """The card in a language, as Markdown with the front matter that the Hugging Face Hub reads."""
    spoken = language(code)
    body = markdown().get_template("data_card.md.jinja").render(_view(card, spoken))
    return f"---\n{front_matter(_metadata(card))}---\n\n{body}"


def _metadata(card: DataCard) -> Metadata:
    size = next(name for most, name in SIZES if card.counts["examples"] < most)
    return Metadata(
        pretty_name=card.declared.name,
        size_categories=(size,),
        language=tuple(name for name in card.languages if name in LANGUAGES) or None,
        license=card.declared.licence.lower() if card.declared.licence else None,
    )


SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (float("inf"), "n>1M"),
)


def _view(card: DataCard, spoken: Language) -> dict[str, Any]:
    found = [check for check in card.checks if check.severity != "told" or check.count]
    return {
        "card": card,
        "l": spoken,
        "composition": composition(card, spoken),
        "lengths": [(spoken.say(f"data_length.{name}"), spoken.whole(value)) for name, value in card.lengths.items()],
        "found": [
            (spoken.say(f"data_check.{c.name}"), spoken.say(f"data_severity.{c.severity}"), c.count, c.rows, c.places)
            for c in found
        ],
        "quiet": spoken.join(spoken.say(f"data_check.{c.name}") for c in card.checks if c not in found),
        "policies": [(spoken.say(f"data_check.{name}"), policy(how, spoken)) for name, how in card.policies.items()],
        "stops": any(check.severity == "stops" for check in card.checks),
        "read": sum(file.rows for file in card.files),
        "left_out": sum(file.left_out for file in card.files),
        "most": MOST_PLACES,
    }


def composition(card: DataCard, spoken: Language) -> Rows:
    rows = [(spoken.say(f"data_count.{name}"), spoken.whole(count)) for name, count in card.counts.items()]
    read = (f"{spoken.name('language', code)} ({spoken.whole(count)})" for code, count in card.languages.items())
    return [*rows, (spoken.say("data_fact.languages"), spoken.join(read))]


def policy(how: str, spoken: Language) -> str:
    """A policy in words; 'allow: why' quotes the reason."""
    why = how.removeprefix("allow:").strip()
    return spoken.say("policy.allow", why=why) if why != how else spoken.name("data_policy", how)


def as_croissant(card: DataCard) -> dict[str, Any]:
    """The set as JSON-LD of Croissant 1.0: its files with digests, and the columns of those it can read by column."""
    declared = card.declared
    record: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CROISSANT,
        "name": declared.name,
        "description": declared.description or declared.provenance or declared.name,
        "distribution": [_file_object(f"file-{at}", file) for at, file in enumerate(card.files, start=1)],
        "recordSet": [
            _record_set(at, file)
            for at, file in enumerate(card.files, start=1)
            if Path(file.file).suffix.lower() in READ_BY_COLUMN
        ],
    }
    return record | ({"license": declared.licence} if declared.licence else {})


def _file_object(id: str, file: CardFile) -> dict[str, Any]:
    """id: without a space, which Croissant does not take, and file names may have."""
    return {
        "@type": "cr:FileObject",
        "@id": id,
        "name": file.file,
        "contentUrl": file.file,
        "contentSize": f"{file.bytes} B",
        "encodingFormat": MIME.get(Path(file.file).suffix.lower(), "application/octet-stream"),
        "sha256": file.digest,
    }


def _record_set(at: int, file: CardFile) -> dict[str, Any]:
    id = f"rows-{at}"
    return {
        "@type": "cr:RecordSet",
        "@id": id,
        "name": id,
        "description": f"The rows of {file.file}.",
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{id}/{ours}",
                "name": ours,
                "dataType": "sc:Text",
                "source": {"fileObject": {"@id": f"file-{at}"}, "extract": {"column": theirs}},
            }
            for ours, theirs in file.columns.items()
        ],
    }


# The context that Croissant prescribes, as the validator of MLCommons (mlcroissant 1.1) has it.
CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def checks_of(records: Mapping[str, Mapping[str, Any]]) -> tuple[CardCheck, ...]:
    """The checks of a report of data.prepare or data.check, by name."""

    def made(name: str, record: Mapping[str, Any]) -> CardCheck:
        places: Sequence[str] = record.get("places", ())
        return CardCheck(
            name=name,
            severity=record["severity"],
            count=record["count"],
            rows=record["rows"],
            places=tuple(places[:MOST_PLACES]),
        )

    return tuple(made(name, record) for name, record in records.items())
